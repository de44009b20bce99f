// Prints docs/ops.md from graph/ops.def: brisk_opdoc > docs/ops.md. Input: none; output: the page.
#include <fmt/core.h>

#include <array>
#include <string>
#include <string_view>

namespace {

struct Row {
  std::string_view name;
  int arity;
  std::string_view group;
  std::string_view summary;
  std::string_view semantics;
};

constexpr std::array rows = {
#define BRISK_OP(name, arity, group, summary, semantics) \
  Row{#name, arity, #group, summary, semantics},
#include "graph/ops.def"
};

struct Group {
  std::string_view name;
  std::string_view title;
};

constexpr std::array groups = {
    Group{"arithmetic", "Arithmetic"}, Group{"integer", "Integers and bits"},
    Group{"reduction", "Reduction"},   Group{"movement", "Movement"},
    Group{"memory", "Memory"},         Group{"symbolic", "Symbolic sizes and positions"},
    Group{"kernel", "Inside kernels"},
};

std::string cell(std::string_view text) {
  std::string result;
  for (const char c : text) result += c == '|' ? std::string("\\|") : std::string(1, c);
  return result;
}

}  // namespace

int main() {
  fmt::print(
      "# The instruction set\n\n"
      "Generated from `src/graph/ops.def` by `brisk_opdoc`; edit that file, not this page.\n\n"
      "Integers wrap modulo 2^bits. Floating-point results are rounded to nearest even in the "
      "node's dtype; 16- and 8-bit floats may be computed in float32 and rounded once. NaN and "
      "infinity propagate unless stated.\n");
  std::size_t printed = 0;
  for (const Group& group : groups) {
    fmt::print("\n## {}\n\n| op | sources | value | semantics |\n|---|---|---|---|\n", group.title);
    for (const Row& row : rows) {
      if (row.group != group.name) continue;
      fmt::print("| `{}` | {} | {} | {} |\n", row.name,
                 row.arity < 0 ? "varies" : std::to_string(row.arity), cell(row.summary),
                 cell(row.semantics));
      ++printed;
    }
  }
  if (printed != rows.size()) {
    fmt::print(stderr, "opdoc: a group of ops.def is missing from the page\n");
    return 1;
  }
  return 0;
}
