// The scale of a loss, which falls at overflows and grows again.
#include "brisk/create.h"
#include "brisk/functional.h"
#include "brisk/optim.h"
#include "tensor/accumulator.h"
#include "tensor/build.h"
#include "tensor/capture.h"

namespace brisk::nn {

GradScaler::GradScaler(const GradScalerOptions& options)
    : options_(options), scale_(empty({})), tracker_(empty({})) {
  const Call call("GradScaler");
  if (!(options.scale > 0 && options.growth > 1 && options.backoff > 0 && options.backoff < 1 &&
        options.interval > 0)) {
    call_error("wants scale > 0, growth > 1, 0 < backoff < 1 and interval > 0, got {}, {}, {}, {}",
               options.scale, options.growth, options.backoff, options.interval);
  }
  scale_.assign(full({}, options.scale));
  realize({scale_});
}

Tensor GradScaler::scale(const Tensor& loss) const {
  const Call call("GradScaler::scale");
  want_defined(loss, "the loss");
  return loss.cast(DType::float32) * scale_;
}

Tensor GradScaler::overflow_of(const Optimizer& optimizer) const {
  for (const auto& [of, overflow] : overflows_) {
    if (of == &optimizer) return overflow;
  }
  return {};
}

void GradScaler::unscale(const Optimizer& optimizer) {
  const Call call("GradScaler::unscale");
  if (overflow_of(optimizer).defined()) {
    call_error("was called for this optimizer already since the last update()");
  }
  const NoGrad guard;
  Tensor overflow;
  for (const Tensor& parameter : optimizer.parameters()) {
    const Tensor grad = parameter.grad();
    if (!grad.defined()) continue;
    const Tensor unscaled = widen(grad) / scale_;
    const Tensor here = (~isfinite(unscaled)).any();
    overflow = overflow.defined() ? overflow | here : here;
    Tensor(parameter).set_grad(unscaled.cast(grad.dtype()));
  }
  if (!overflow.defined()) call_error("found no gradients: backward() comes first");
  compute_soon(overflow);  // of these gradients, not of the next ones
  overflows_.emplace_back(&optimizer, overflow);
}

void GradScaler::step(Optimizer& optimizer) {
  const Call call("GradScaler::step");
  if (!overflow_of(optimizer).defined()) unscale(optimizer);
  optimizer.step_unless(overflow_of(optimizer));
}

void GradScaler::update() {
  const Call call("GradScaler::update");
  if (overflows_.empty()) call_error("wants a step() or an unscale() before it");
  const NoGrad guard;
  Tensor overflow = overflows_[0].second;
  for (std::size_t i = 1; i < overflows_.size(); ++i) overflow = overflow | overflows_[i].second;
  const Tensor steps = tracker_ + 1;
  const Tensor due = steps >= static_cast<double>(options_.interval);
  const Tensor larger = scale_ * options_.growth;
  const Tensor grown = where(due & isfinite(larger), larger, scale_);
  scale_.assign(where(overflow, scale_ * options_.backoff, grown));
  tracker_.assign(where(overflow | due, 0, steps));
  overflows_.clear();
  if (Capture::current() == nullptr) realize({});
}

void GradScaler::load_state(const State& given) {
  const Call call("GradScaler::load_state");
  copy_state(given, state());
}

}  // namespace brisk::nn
