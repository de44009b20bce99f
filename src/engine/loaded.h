// Kernels that this process has loaded onto its device, by key.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/compile.h"
#include "engine/engine.h"
#include "engine/plan_record.h"

namespace brisk {

struct LoadedKernel {
  KernelHeader header;
  std::unique_ptr<Program> program;
  std::shared_ptr<const LoweredKernel> lowered;  // with BRISK_VERIFY only
};

struct Engine::Loaded {
  std::mutex mutex;
  std::unordered_map<std::string, std::shared_ptr<LoadedKernel>> kernels;

  std::unordered_map<std::string, std::shared_ptr<const PlanRecord>> plans;

  /// The plan of a graph with its kernels: known to this process, from the cache, or made now.
  std::shared_ptr<const PlanRecord> plan(const std::string& key, std::span<const Node> roots,
                                         std::span<const Node> buffers, Engine& engine,
                                         std::int64_t memory,
                                         std::vector<std::shared_ptr<LoadedKernel>>& kernels);

 private:
  /// Kernels of the steps in order; what is new is compiled on all processors at once, from
  /// `lowered` (one per step) where the cache has not got it. False where it is needed and empty.
  bool get(const PlanRecord& record, const std::vector<LoweredKernel>& lowered, Engine& engine,
           std::vector<std::shared_ptr<LoadedKernel>>& kernels);
  std::shared_ptr<const PlanRecord> known_plan(const std::string& key);
};

}  // namespace brisk
