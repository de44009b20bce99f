// Phases whose tasks are single threads, for processors whose tasks are groups of them. Input: a
// phase; output: the same with its tasks dealt out to the threads of groups.
#pragma once

#include "optimize/strategies/strategy.h"

namespace brisk {

/// Tasks i, i + 1, … become neighbouring threads. A phase that has groups already stays as it is.
Node spread_over_threads(const Node& phase, Workshop& workshop);

}  // namespace brisk
