// brisk devices: what this machine computes with.
#include <CLI/CLI.hpp>

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "cli/command.h"
#include "engine/backends.h"

namespace brisk {

namespace {

std::string sensors_text(const Sensors& sensors) {
  std::vector<std::string> parts;
  if (sensors.watts) {
    parts.push_back(fmt::format("{:.0f} W", *sensors.watts));
    if (sensors.most_watts) parts.back() += fmt::format(" of {:.0f}", *sensors.most_watts);
  }
  if (sensors.celsius) parts.push_back(fmt::format("{:.0f} °C", *sensors.celsius));
  if (sensors.megahertz) parts.push_back(fmt::format("{:.0f} MHz", *sensors.megahertz));
  return fmt::format("{}", fmt::join(parts, ", "));
}

// A GPU's free memory is only known to its sensors before it is opened.
void print_device(const DeviceInfo& info) {
  const Sensors sensors = read_sensors(info.id);
  fmt::print("{}: {} ({}), {} compute units, {} of memory, {} free, {} of cache\n", info.id,
             info.name, info.architecture, info.compute_units,
             byte_text(static_cast<double>(info.memory_bytes)),
             byte_text(static_cast<double>(sensors.free_bytes.value_or(info.free_bytes))),
             byte_text(static_cast<double>(info.cache_bytes)));
  if (!info.features.empty()) fmt::print("  {}\n", fmt::join(info.features, " "));
  const std::string measured = sensors_text(sensors);
  if (!measured.empty()) fmt::print("  {}\n", measured);
}

}  // namespace

void add_devices(CLI::App& program) {
  CLI::App* devices = program.add_subcommand("devices", "list the devices of this machine");
  devices->callback([] {
    for (const DeviceInfo& info : all_devices()) print_device(info);
  });
}

}  // namespace brisk
