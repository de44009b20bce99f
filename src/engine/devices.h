// Graphs over several devices: each part runs where its buffers lie, and copies (Op::copy_) take
// values from one device to another. Input: roots whose buffers lie on engines of this process;
// output: as Engine::realize.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace brisk {

/// The process's engine on the device of this id, opened at the first call; Engine::shared() where
/// that is its device. DeviceError where there is no such device.
Engine& engine_of(const std::string& id);

/// The id of the device that a graph is computed on: as realize_on_devices chooses it.
std::string device_of_graph(const Node& root);

/// Each root on the device of the buffers that it reads, on the shared engine's where it reads
/// none. UserError where a root reads buffers of several devices and no copy brings them together.
std::vector<Node> realize_on_devices(std::span<const Node> roots, const VariableValues& values);

}  // namespace brisk
