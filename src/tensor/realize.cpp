// Which executor computes: the thread's own where one is set, else the process's.
#include "tensor/realize.h"

namespace brisk {

namespace {
thread_local Executor* chosen = nullptr;
}

Executor& executor() {
  if (chosen != nullptr) return *chosen;
  static const std::unique_ptr<Executor> fallback = engine_executor();
  return *fallback;
}

Executor* own_executor() { return chosen; }

Executor* use_executor(Executor* other) { return std::exchange(chosen, other); }

}  // namespace brisk
