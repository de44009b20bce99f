// The executor over kernels as a target gets them, interpreted: schedule, lower, optimize, then
// kernel/interpret. So what a processor would run is compared where there is none. Input: roots;
// output: buffers in host memory.
#pragma once

#include <algorithm>
#include <functional>

#include "engine/plan_record.h"
#include "engine/structure.h"
#include "graph/evaluate.h"
#include "kernel/interpret.h"
#include "kernel/verify.h"
#include "optimize/optimize.h"
#include "tensor/host_storage.h"
#include "tensor/realize.h"

namespace brisk::ops_test {

class Interpreted : public Executor {
 public:
  using Look = std::function<void(const Kernel&, const Target&)>;
  /// Intermediate values of a graph take at most `memory` bytes, unless that is 0.
  explicit Interpreted(Target target, Look look = {}, std::int64_t memory = 0)
      : target_(std::move(target)), look_(std::move(look)), memory_(memory) {}
  explicit Interpreted(const std::string& cpu, Look look = {}, std::int64_t memory = 0)
      : Interpreted(target_for(cpu), std::move(look), memory) {}

  std::vector<Node> realize(std::span<const Node> roots, const VariableValues& values) override {
    std::vector<Node> wanted;
    for (const Node& root : roots) {
      if (!root.is(Op::buffer_)) wanted.push_back(root);
    }
    std::vector<Node> buffers;
    std::string structure;
    append_structure(structure, wanted, buffers);
    std::vector<LoweredKernel> kernels;
    const PlanRecord record = schedule_graph(wanted, buffers, target_, kernels, memory_);
    std::vector<Node> temporaries;
    for (const auto& [dtype, shape] : record.temporaries) {
      Shape known;
      for (const std::int64_t size : evaluate_shape(shape, values)) known.emplace_back(size);
      temporaries.push_back(allocate(dtype, known));
    }
    const auto memory = [&](const PlanRecord::Place& place) {
      return (place.temporary ? temporaries : buffers)[static_cast<std::size_t>(place.number)];
    };
    for (std::size_t i = 0; i < kernels.size(); ++i) {
      std::vector<Argument> arguments;
      for (const auto& place : record.steps[i].arguments)
        arguments.push_back({memory(place), static_cast<std::size_t>(place.offset)});
      std::vector<std::int64_t> variables;
      for (const Node& variable : record.steps[i].variables)
        variables.push_back(evaluate_size(Size(variable), values));
      run(kernels[i], arguments, variables);
    }
    bytes_ = std::max(bytes_, plan_memory(record, workspaces_).total);
    workspaces_.clear();
    std::vector<Node> result;
    std::size_t next = 0;
    for (const Node& root : roots)
      result.push_back(root.is(Op::buffer_) ? root : memory(record.roots[next++]));
    return result;
  }

  std::vector<std::byte> read(const Node& node) override {
    const auto bytes = host_storage(node)->bytes();
    return {bytes.begin(), bytes.end()};
  }
  void write(const Node& node, std::span<const std::byte> bytes, std::size_t offset) override {
    host_storage(node)->write(bytes, offset);
  }
  Node upload(DType dtype, const Shape& shape, std::span<const std::byte> bytes,
              std::shared_ptr<const void>) override {
    return buffer(
        dtype, shape,
        std::make_shared<HostStorage>(std::vector<std::byte>(bytes.begin(), bytes.end())));
  }
  Node allocate(DType dtype, const Shape& shape) override {
    const auto bytes = static_cast<std::size_t>(element_count(shape).value() * byte_size(dtype));
    return buffer(dtype, shape, std::make_shared<HostStorage>(std::vector<std::byte>(bytes)));
  }

  bool runs_groups() const override { return target_.group_threads > 0; }
  /// Of the kernels so far.
  const std::vector<std::string>& names() const { return names_; }
  /// That intermediate values took, of the largest graph so far.
  std::int64_t bytes() const { return bytes_; }

 private:
  struct Argument {
    Node buffer;
    std::size_t offset;  // bytes
  };
  void run(const LoweredKernel& lowered, const std::vector<Argument>& arguments,
           std::span<const std::int64_t> variables) {
    const Kernel kernel = optimize(lowered, target_);
    verify_kernel(kernel, "optimize");
    names_.push_back(kernel.name);
    workspaces_.push_back(kernel.workspace);
    if (look_) look_(kernel, target_);
    std::vector<std::vector<std::byte>> memory;
    std::vector<HostBuffer> buffers;
    for (const Argument& argument : arguments) {
      const auto bytes = host_storage(argument.buffer)->bytes().subspan(argument.offset);
      memory.emplace_back(bytes.begin(), bytes.end());
      buffers.push_back({memory.back().data(), static_cast<std::int64_t>(memory.back().size())});
    }
    interpret(kernel, buffers, variables);
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      if (lowered.params[i].written) write(arguments[i].buffer, memory[i], arguments[i].offset);
    }
  }

  Target target_;
  Look look_;
  std::int64_t memory_;
  std::vector<std::string> names_;
  Workspaces workspaces_;  // of the graph that runs
  std::int64_t bytes_ = 0;
};

}  // namespace brisk::ops_test
