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

void ModelStep::read_bytes(std::size_t i, std::span<std::byte> to) const {
  if (const Buffer* buffer = memory(i)) {
    check(buffer->bytes() >= to.size(), "an output holds what is read of it");
    return buffer->device().copy_out(to, *buffer, 0);
  }
  const std::vector<std::byte> bytes = executor().read(results_.at(i));
  check(bytes.size() >= to.size(), "an output holds what is read of it");
  std::memcpy(to.data(), bytes.data(), to.size());
}

std::vector<float> ModelStep::read(std::size_t i, std::int64_t count) const {
  std::vector<float> values(static_cast<std::size_t>(count));
  read_bytes(i, std::as_writable_bytes(std::span(values)));
  return values;
}

std::int32_t ModelStep::read_number(std::size_t i) const {
  std::int32_t number = 0;
  read_bytes(i, std::as_writable_bytes(std::span(&number, 1)));
  return number;
}

const Buffer* ModelStep::memory(std::size_t i) const {
  return plan_ ? dynamic_cast<const Buffer*>(results_.at(i).attr().storage.get()) : nullptr;
}

bool lies_on_engine(const Tensor& realized) {
  const auto* buffer = dynamic_cast<const Buffer*>(node_of(realized).attr().storage.get());
  return buffer != nullptr && &buffer->device() == &Engine::shared().device();
}

}  // namespace brisk
