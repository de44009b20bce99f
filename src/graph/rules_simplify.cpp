// The pass: all tables together, shown and verified.
#include "graph/rules_simplify.h"

#include "base/log.h"
#include "graph/print.h"
#include "graph/verify.h"

namespace brisk {

std::vector<Node> simplify(std::span<const Node> roots, Trace* trace) {
  static const std::vector<Rule> all = [] {
    std::vector<Rule> rules;
    for (const auto table : {arithmetic_rules(), movement_rules(), reduction_rules()}) {
      rules.insert(rules.end(), table.begin(), table.end());
    }
    return rules;
  }();
  Trace shown;
  if (trace == nullptr && log_enabled(2)) trace = &shown;
  std::vector<Node> result = rewrite(roots, all, trace);
  if (log_enabled(2)) {
    log_line(2, "graph before simplify\n{}{}graph after simplify\n{}", print(roots), print(*trace),
             print(result));
  }
  verify_graph(result, "simplify");
  return result;
}

Node simplify(const Node& root, Trace* trace) { return simplify({&root, 1}, trace)[0]; }

}  // namespace brisk
