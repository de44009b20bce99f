// A graph that runs again and again over fixed buffers: compiled once where the engine computes,
// interpreted each time where the evaluator does. Input: tensors to compute; output: their values
// after each run.
#pragma once

#include "brisk/tensor.h"
#include "engine/engine.h"
#include "graph/node.h"

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace brisk {

class ModelStep {
 public:
  /// `on_engine`: the graph's buffers are the engine's.
  ModelStep(const std::vector<Tensor>& outputs, bool on_engine);

  void run(const std::unordered_map<std::string, std::int64_t>& variables);
  /// The same, kernel by kernel, on the engine.
  std::vector<Plan::KernelInfo> timed_run(
      const std::unordered_map<std::string, std::int64_t>& variables);
  /// The graph.
  const std::vector<Node>& roots() const { return roots_; }
  /// The first `count` values of output `i`, which is float32.
  std::vector<float> read(std::size_t i, std::int64_t count) const;
  /// Of an output of a single int32.
  std::int32_t read_number(std::size_t i) const;
  /// Where output `i` lies; null on the evaluator.
  const Buffer* memory(std::size_t i) const;
  /// The compiled form; null on the evaluator.
  const Plan* plan() const { return plan_ ? &*plan_ : nullptr; }

 private:
  void read_bytes(std::size_t i, std::span<std::byte> to) const;

  std::vector<Node> roots_;
  std::vector<Node> results_;
  std::optional<Plan> plan_;
};

/// Whether this tensor's memory is the engine's.
bool lies_on_engine(const Tensor& realized);

}  // namespace brisk
