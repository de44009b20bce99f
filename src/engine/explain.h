// A graph's way to machine code as text, stage by stage: for people, never for machines.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kernel/kernel.h"

namespace brisk {

/// The graph after simplification, a node a line.
std::string graph_text(std::span<const Node> roots);

/// The kernels of the graph in the order of their launches (those of Plan::kernels()).
class Explanation {
 public:
  Explanation(std::span<const Node> roots, const Engine& engine);
  std::string lowered(std::size_t kernel) const;    // loops over elements, movements gone
  std::string optimized(std::size_t kernel) const;  // tiles, vectors, tasks
  /// What the generator makes: LLVM IR after its passes, or OpenCL C.
  std::string generated(std::size_t kernel) const;
  std::string assembly(std::size_t kernel) const;  // empty where only the driver knows it

 private:
  Kernel compiled(std::size_t kernel) const;

  const Engine& engine_;
  std::vector<LoweredKernel> lowered_;
};

}  // namespace brisk
