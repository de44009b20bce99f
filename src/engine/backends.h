// The back ends: how each finds and opens its devices, and who makes code for what they run. One
// line of a table for each; nothing else in brisk names them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/target.h"
#include "codegen/codegen.h"
#include "device/device.h"

namespace brisk {

/// A device and what its processors can do.
struct OpenDevice {
  std::unique_ptr<Device> device;
  Target target;
};

struct Backend {
  std::string_view name;  // what the ids of its devices begin with
  /// The devices that are there, in the order of their index; none where there is no driver.
  std::vector<DeviceInfo> (*devices)();
  /// The device at this place in that list.
  OpenDevice (*open)(int index);
};

/// Every device of every back end of this machine.
std::vector<DeviceInfo> all_devices();
/// The device of this id ("cpu", "opencl:0"; "opencl" is its first). DeviceError, which lists what
/// there is, where it is not there.
OpenDevice open_device(const std::string& id);

/// Who makes code for an instruction set.
struct Generator {
  Isa isa;
  CodeObject (*compile)(const Kernel&, const Target&);
  std::string (*text)(const Kernel&, const Target&);      // the generated code, to read
  std::string (*assembly)(const Kernel&, const Target&);  // what the processor runs; may be empty
};

const Generator& generator_of(Isa isa);

}  // namespace brisk
