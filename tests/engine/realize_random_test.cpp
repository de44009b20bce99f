// Random graphs on the engine against the evaluator. BRISK_RANDOM_GRAPHS=first:count takes other
// seeds than the suite's.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "engine/random_graph.h"

namespace brisk {
namespace {

TEST(RealizeRandom, RandomGraphsComputeWhatTheEvaluatorSays) {
  unsigned first = 1;
  unsigned count = 300;
  if (const char* text = std::getenv("BRISK_RANDOM_GRAPHS")) {
    ASSERT_EQ(std::sscanf(text, "%u:%u", &first, &count), 2);
  }
  int wrong = 0;
  for (unsigned seed = first; seed < first + count && wrong < 10; ++seed) {
    const RandomTensorGraph graph(seed, Engine::shared());
    if (graph.difference(graph.roots).empty()) continue;
    ++wrong;
    ADD_FAILURE() << "seed " << seed << ": " << graph.first_difference();
  }
}

}  // namespace
}  // namespace brisk
