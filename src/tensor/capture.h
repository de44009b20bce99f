// What a Step records while its function runs, beside the graph: random numbers, whose counters
// move on at every replay.
#pragma once

#include <cstdint>
#include <vector>

#include "brisk/create.h"
#include "graph/node.h"

namespace brisk {

struct Capture {
  struct Draw {
    Node state;  // two uint64: seed, first counter
    Generator* generator;
    std::uint64_t words;
  };
  std::vector<Draw> draws;

  /// Of the Step whose function runs on this thread; else null.
  static Capture* current();
};

}  // namespace brisk
