// Prints docs/ops.md from graph/ops.def: brisk_opdoc > docs/ops.md. Input: none; output: the page.
#include <fmt/core.h>

#include "graph/op_doc.h"

int main() { fmt::print("{}", brisk::op_documentation()); }
