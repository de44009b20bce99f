// Concatenations. Input: a part whose results are one thing up to some counter of a range and
// another from it on; output: a part for each, with sums of its own, which strategies then know.
#pragma once

#include <vector>

#include "kernel/kernel.h"

namespace brisk {

/// The part alone where no range can be cut without computing a sum in several pieces.
std::vector<Part> pieces_of(const Part& part, int& next_range);

}  // namespace brisk
