#include "llm/model_step.h"

#include "base/error.h"
#include "tensor/node_of.h"
#include "tensor/realize.h"

#include <cstring>

namespace brisk {

ModelStep::ModelStep(const std::vector<Tensor>& outputs, bool on_engine) {
  for (const Tensor& output : outputs) roots_.push_back(node_of(output));
  if (!on_engine) return;
  plan_.emplace(roots_, Engine::shared());
  results_ = plan_->outputs();
}

void ModelStep::run(const std::unordered_map<std::string, std::int64_t>& variables) {
  if (plan_) {
    plan_->run(variables);
  } else {
    results_ = executor().realize(roots_, variables);
  }
}

std::vector<Plan::KernelInfo> ModelStep::timed_run(
    const std::unordered_map<std::string, std::int64_t>& variables) {
  if (!plan_) user_error("only compiled steps have kernels to time; this one is interpreted");
  return plan_->timed_run(variables);
}

std::vector<float> ModelStep::read(std::size_t i, std::int64_t count) const {
  const std::vector<std::byte> bytes =
      plan_ ? Engine::shared().read(results_.at(i)) : executor().read(results_.at(i));
  std::vector<float> values(static_cast<std::size_t>(count));
  check(bytes.size() >= values.size() * sizeof(float), "an output holds what is read of it");
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

bool lies_on_engine(const Tensor& realized) {
  const auto* buffer = dynamic_cast<const Buffer*>(node_of(realized).attr().storage.get());
  return buffer != nullptr && &buffer->device() == &Engine::shared().device();
}

}  // namespace brisk
