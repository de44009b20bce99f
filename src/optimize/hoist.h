// Reductions that must not be computed where they are used: taken out of a part into parts of their
// own, whose results lie in working memory. Input: a part; output: the parts to run before it.
#pragma once

#include <vector>

#include "optimize/strategies/strategy.h"

namespace brisk {

/// Takes out, in the order in which they must run:
///  - reductions inside the value of a larger one (the norm before a product), and reductions over
///  few
///    outputs inside a part with many: computed once in front, so that tasks stay independent;
///  - parts of large reductions to fewer results than there are threads: partial results first. The
///    number of partial results does not depend on the number of threads, so results do not either.
/// `part` is changed to read what they leave.
std::vector<Part> hoist_reductions(Part& part, Workshop& workshop);

}  // namespace brisk
