// An executor that schedules and optimizes for a target and runs nothing: which kernels a machine
// that is not here would get, with the work that each has. Values that are read are zeros.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/compile.h"
#include "engine/plan_record.h"
#include "engine/structure.h"
#include "engine/winners.h"
#include "graph/evaluate.h"
#include "kernel/verify.h"
#include "optimize/optimize.h"
#include "tensor/realize.h"

namespace bench {

/// Memory that is only told of; zeros where it is read.
struct NoMemory : brisk::Storage {};

class Planned : public brisk::Executor {
 public:
  struct Kernel {
    std::string name;
    double operations = 0;
    double bytes = 0;  // read and written, each element of an argument at most once
    double most = 0;   // as they are counted: what is read again counts again
  };

  /// Intermediate values take at most so many bytes; 0: as many as they do.
  explicit Planned(const std::string& cpu, std::int64_t budget = 0)
      : target_(brisk::target_for(cpu)), budget_(budget) {}

  std::vector<brisk::Node> realize(std::span<const brisk::Node> roots,
                                   const brisk::VariableValues& values) override {
    std::vector<brisk::Node> wanted;
    for (const brisk::Node& root : roots) {
      if (!root.is(brisk::Op::buffer_)) wanted.push_back(root);
    }
    std::vector<brisk::Node> buffers;
    std::string structure;
    brisk::append_structure(structure, wanted, buffers);
    std::vector<brisk::LoweredKernel> lowered;
    const brisk::PlanRecord record = schedule_graph(wanted, buffers, target_, lowered, budget_);
    std::vector<brisk::Node> temporaries;
    for (const auto& [dtype, shape] : record.temporaries)
      temporaries.push_back(allocate(dtype, known(shape, values)));
    const auto memory = [&](const brisk::PlanRecord::Place& place) {
      return (place.temporary ? temporaries : buffers)[static_cast<std::size_t>(place.number)];
    };
    brisk::Workspaces workspaces;
    for (std::size_t i = 0; i < lowered.size(); ++i) {
      const auto& step = record.steps[i];
      brisk::Variables variables;
      for (const brisk::Node& variable : step.variables)
        variables[variable.attr().name] = evaluate_size(brisk::Size(variable), values);
      Kernel kernel;
      kernel.operations = static_cast<double>(evaluate_size(step.work.operations, variables));
      for (std::size_t a = 0; a < step.arguments.size(); ++a) {
        const brisk::Param& param = lowered[i].params[a];
        const double counted =
            static_cast<double>(evaluate_size(step.work.elements[a], variables)) *
            byte_size(param.dtype);
        kernel.most += counted;
        kernel.bytes += std::min(counted, bytes_of(memory(step.arguments[a])) *
                                              (param.read && param.written ? 2.0 : 1.0));
      }
      const Optimized& optimized = optimized_for(lowered[i]);
      kernel.name = optimized.name;
      workspaces.push_back(optimized.workspace);
      kernels_.push_back(std::move(kernel));
      lowered_.push_back(std::move(lowered[i]));
    }
    temporary_bytes_ =
        std::max(temporary_bytes_, static_cast<double>(plan_memory(record, workspaces).total));
    std::vector<brisk::Node> result;
    std::size_t next = 0;
    for (const brisk::Node& root : roots)
      result.push_back(root.is(brisk::Op::buffer_) ? root : memory(record.roots[next++]));
    return result;
  }

  std::vector<std::byte> read(const brisk::Node& node) override {
    return std::vector<std::byte>(static_cast<std::size_t>(bytes_of(node)));
  }
  void write(const brisk::Node&, std::span<const std::byte>, std::size_t) override {}
  brisk::Node upload(brisk::DType dtype, const brisk::Shape& shape, std::span<const std::byte>,
                     std::shared_ptr<const void>) override {
    return allocate(dtype, shape);
  }
  brisk::Node allocate(brisk::DType dtype, const brisk::Shape& shape) override {
    return buffer(dtype, shape, std::make_shared<NoMemory>());
  }
  bool runs_groups() const override { return target_.group_threads > 0; }
  bool has_cheap_halves() const override { return target_.group_threads > 0; }

  const std::vector<Kernel>& kernels() const { return kernels_; }
  const std::vector<brisk::LoweredKernel>& lowered() const { return lowered_; }
  void clear() {
    kernels_.clear();
    lowered_.clear();
    temporary_bytes_ = 0;
  }
  /// Of intermediate values, of the largest plan since the last clear().
  double temporary_bytes() const { return temporary_bytes_; }

 private:
  static brisk::Shape known(const brisk::Shape& shape, const brisk::VariableValues& values) {
    brisk::Shape result;
    for (const std::int64_t size : evaluate_shape(shape, values)) result.emplace_back(size);
    return result;
  }
  static double bytes_of(const brisk::Node& node) {
    return static_cast<double>(element_count(node.shape()).value()) * byte_size(node.dtype());
  }
  struct Optimized {
    std::string name;
    std::vector<brisk::Kernel::Workspace> workspace;
  };
  // Kernels that are the same are optimized once.
  const Optimized& optimized_for(const brisk::LoweredKernel& kernel) {
    const auto [known, fresh] = optimized_.try_emplace(structure_of(kernel));
    if (!fresh) return known->second;
    brisk::Decisions decisions(winners_for(target_));
    const brisk::Kernel optimized = optimize(kernel, target_, decisions);
    verify_kernel(optimized, "optimize");
    std::string name = optimized.name;
    for (const brisk::PhaseNeeds& needs : phase_needs(optimized)) {
      if (needs.shared_bytes > std::max(target_.shared_bytes, target_.tile_bytes))
        name += " (TOO MUCH SHARED MEMORY)";
    }
    return known->second = {std::move(name), optimized.workspace};
  }

  brisk::Target target_;
  std::int64_t budget_;
  std::map<std::string, Optimized> optimized_;  // by structure
  std::vector<Kernel> kernels_;
  std::vector<brisk::LoweredKernel> lowered_;
  double temporary_bytes_ = 0;
};

}  // namespace bench
