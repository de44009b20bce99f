// Tuning: trying out on the device what the strategies' models leave in doubt. Input: the lowered
// kernels of a plan; output: the best compiled kernels and the options that won, both in the kernel
// cache. Candidates are options whose predicted cost is near the cheapest one's; they are compiled
// side by side and timed one after another, each in a process of its own, on random data.
#pragma once

#include <chrono>
#include <mutex>
#include <span>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/target.h"
#include "engine/plan_record.h"
#include "kernel/kernel.h"

namespace brisk {

class Engine;

/// A kernel that was tuned.
struct Tuned {
  std::string name;
  int times = 1;                      // that the plan launches it
  double guessed = 0;                 // seconds of the kernel as the models have it
  double tuned = 0;                   // of the best
  int tried = 0;                      // candidates that were timed
  std::vector<std::string> failures;  // of those that could not be, why
  /// Shapes and option of each decision in which the best differs from the models.
  std::vector<std::pair<std::string, std::string>> changed;
};

class Tuner {
 public:
  /// The process's. BRISK_TUNE gives it its time.
  static Tuner& shared();

  /// So many seconds from now on may go into it. `again`: also what is known already.
  void start(double seconds, bool again);
  bool has_time() const;
  /// Whether there is time and the plan of this key was not asked for before.
  bool wants(const std::string& plan);

  /// Tunes the plan's kernels, dearest first, while there is time; the keys of those that are
  /// other ones in the cache now.
  std::vector<std::string> tune(const PlanRecord& record, const std::vector<LoweredKernel>& lowered,
                                std::span<const Node> buffers, const Engine& engine);

  /// What was tuned since the last call.
  std::vector<Tuned> take_results();

 private:
  Tuner();

  mutable std::mutex mutex_;
  std::mutex device_;  // one plan at a time
  std::chrono::steady_clock::time_point end_{};
  bool again_ = false;
  std::unordered_set<std::string> plans_;  // that were asked for since the start
  std::unordered_set<std::string> done_;   // kernels
  std::vector<Tuned> results_;
};

}  // namespace brisk
