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
  /// What its sensors say.
  Sensors (*sensors)(int index);
  /// Whether the first device that works is used where nobody has chosen one; of several such back
  /// ends, the first with a device.
  bool automatic = false;
};

/// Every device of every back end of this machine.
std::vector<DeviceInfo> all_devices();
/// The device of this id ("cpu", "opencl:0"; "opencl" is its first). DeviceError, which lists what
/// there is, where it is not there.
OpenDevice open_device(const std::string& id);
/// The device that is used where nobody has chosen one: the first GPU of an automatic back end that
/// opens, else the CPU. A GPU that is there and does not open is told on stderr.
OpenDevice open_default_device();
/// What the sensors of a device that is there say.
Sensors read_sensors(const std::string& id);

/// Who makes code for an instruction set.
struct CodeGenerator {
  Isa isa;
  CodeObject (*compile)(const Kernel&, const Target&);
  std::string (*text)(const Kernel&, const Target&);      // the generated code, to read
  std::string (*assembly)(const Kernel&, const Target&);  // what the processor runs; may be empty
};

const CodeGenerator& generator_of(Isa isa);

}  // namespace brisk
