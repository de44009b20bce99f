// Sums of gradients over several batches.
#include "brisk/create.h"
#include "brisk/train.h"
#include "tensor/build.h"

namespace brisk::nn {

GradAccumulator::GradAccumulator(std::vector<Tensor> parameters)
    : parameters_(std::move(parameters)) {
  const Call call("GradAccumulator");
  const NoGrad guard;
  for (const Tensor& parameter : parameters_) {
    want_defined(parameter, "a parameter");
    sums_.push_back(empty(parameter.dims(), compute_dtype(parameter.dtype())));
    sums_.back().assign(zeros_like(sums_.back()));
  }
  realize(sums_);
}

void GradAccumulator::add() {
  const Call call("GradAccumulator::add");
  const NoGrad guard;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor grad = parameters_[i].grad();
    if (!grad.defined()) continue;
    sums_[i].assign(sums_[i] + widen(grad));
    parameters_[i].set_grad({});
  }
}

void GradAccumulator::take(std::int64_t count) {
  const Call call("GradAccumulator::take");
  if (count < 1) call_error("wants at least 1 batch, got {}", count);
  const NoGrad guard;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor sum = sums_[i].contiguous();
    parameters_[i].set_grad((sum / static_cast<double>(count)).cast(parameters_[i].dtype()));
    sums_[i].assign(zeros_like(sums_[i]));
  }
}

}  // namespace brisk::nn
