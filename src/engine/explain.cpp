#include "engine/explain.h"

#include "base/options.h"
#include "engine/backends.h"
#include "engine/plan_record.h"
#include "engine/structure.h"
#include "engine/winners.h"
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
  schedule_graph(roots, buffers, engine.target(), lowered_, options().memory);
}

std::string Explanation::lowered(std::size_t kernel) const { return print(lowered_.at(kernel)); }

Kernel Explanation::compiled(std::size_t kernel) const {
  Decisions decisions(winners_for(engine_.target()));
  return optimize(lowered_.at(kernel), engine_.target(), decisions);
}

std::string Explanation::optimized(std::size_t kernel) const { return print(compiled(kernel)); }

std::string Explanation::generated(std::size_t kernel) const {
  const Target& target = engine_.target();
  return generator_of(target.isa).text(compiled(kernel), target);
}

std::string Explanation::assembly(std::size_t kernel) const {
  const Target& target = engine_.target();
  return generator_of(target.isa).assembly(compiled(kernel), target);
}

}  // namespace brisk
