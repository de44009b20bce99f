// Memory that a graph refers to without knowing the device that owns it.
#pragma once

namespace brisk {

/// Memory behind a `buffer` node. Devices derive from it; the graph only keeps it alive.
struct Storage {
  virtual ~Storage() = default;
};

}  // namespace brisk
