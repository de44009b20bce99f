// Kernels that this process has loaded onto its device, by key.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/compile.h"
#include "engine/engine.h"

namespace brisk {

struct LoadedKernel {
  KernelHeader header;
  std::unique_ptr<Program> program;
};

struct Engine::Loaded {
  std::mutex mutex;
  std::unordered_map<std::string, std::shared_ptr<LoadedKernel>> kernels;

  /// Kernels for the keys, in order; what is new is compiled on all processors at once.
  std::vector<std::shared_ptr<LoadedKernel>> get(const std::vector<LoweredKernel>& lowered,
                                                 const std::vector<std::string>& keys,
                                                 Engine& engine);
};

}  // namespace brisk
