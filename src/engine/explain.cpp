#include "engine/explain.h"

#include "engine/backends.h"
#include "engine/plan_record.h"
#include "engine/structure.h"
#include "graph/print.h"
#include "graph/rules_simplify.h"
#include "kernel/print.h"
#include "optimize/optimize.h"

namespace brisk {

std::string graph_text(std::span<const Node> roots) { return print(simplify(roots)); }

Explanation::Explanation(std::span<const Node> roots, const Engine& engine) : engine_(engine) {
  std::string structure;
  std::vector<Node> buffers;
  append_structure(structure, roots, buffers);
  schedule_graph(roots, buffers, engine.target(), lowered_);
}

std::string Explanation::lowered(std::size_t kernel) const { return print(lowered_.at(kernel)); }

std::string Explanation::optimized(std::size_t kernel) const {
  return print(optimize(lowered_.at(kernel), engine_.target()));
}

std::string Explanation::generated(std::size_t kernel) const {
  const Target& target = engine_.target();
  return generator_of(target.isa).text(optimize(lowered_.at(kernel), target), target);
}

std::string Explanation::assembly(std::size_t kernel) const {
  const Target& target = engine_.target();
  return generator_of(target.isa).assembly(optimize(lowered_.at(kernel), target), target);
}

}  // namespace brisk
