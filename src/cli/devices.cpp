// brisk devices: what this machine computes with.
#include <CLI/CLI.hpp>

#include <fmt/core.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "engine/backends.h"

namespace brisk {

namespace {

void print_device(const DeviceInfo& info) {
  fmt::print("{}: {} ({}), {} compute units, {} of memory, {} free, {} of cache\n", info.id,
             info.name, info.architecture, info.compute_units,
             byte_text(static_cast<double>(info.memory_bytes)),
             byte_text(static_cast<double>(info.free_bytes)),
             byte_text(static_cast<double>(info.cache_bytes)));
  if (!info.features.empty()) fmt::print("  {}\n", fmt::join(info.features, " "));
}

}  // namespace

void add_devices(CLI::App& program) {
  CLI::App* devices = program.add_subcommand("devices", "list the devices of this machine");
  devices->callback([] {
    for (const DeviceInfo& info : all_devices()) print_device(info);
  });
}

}  // namespace brisk
