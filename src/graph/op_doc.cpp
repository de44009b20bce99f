#include "graph/op_doc.h"

#include <fmt/format.h>

#include "base/error.h"
#include "graph/node.h"

namespace brisk {

namespace {

struct Group {
  OpGroup group;
  std::string_view title;
};

constexpr Group groups[] = {
    {OpGroup::arithmetic, "Arithmetic"}, {OpGroup::integer, "Integers and bits"},
    {OpGroup::reduction, "Reduction"},   {OpGroup::movement, "Movement"},
    {OpGroup::memory, "Memory"},         {OpGroup::symbolic, "Symbolic sizes and positions"},
    {OpGroup::gradient, "Gradients"},    {OpGroup::kernel, "Inside kernels"},
};

std::string cell(std::string_view text) {  // a bar would end it
  std::string result;
  for (const char c : text) result += c == '|' ? std::string("\\|") : std::string(1, c);
  return result;
}

}  // namespace

std::string op_documentation() {
  std::string text =
      "# The instruction set\n\n"
      "Generated from `src/graph/ops.def` by `brisk_opdoc`; edit that file, not this page.\n\n"
      "Integers wrap modulo 2^bits. Floating-point results are rounded to nearest even in the "
      "node's dtype; 16- and 8-bit floats may be computed in float32 and rounded once. NaN and "
      "infinity propagate unless stated.\n";
  int printed = 0;
  for (const Group& group : groups) {
    text += fmt::format("\n## {}\n\n| op | sources | value | semantics |\n|---|---|---|---|\n",
                        group.title);
    for (int i = 0; i < op_count(); ++i) {
      const OpInfo& op = info(static_cast<Op>(i));
      if (op.group != group.group) continue;
      text += fmt::format("| `{}` | {} | {} | {} |\n", op.name,
                          op.arity < 0 ? "varies" : std::to_string(op.arity), cell(op.summary),
                          cell(op.semantics));
      ++printed;
    }
  }
  check(printed == op_count(), "every group of ops.def is on the page");
  return text;
}

}  // namespace brisk
