#include "device/cuda/sensors.h"

#include <dlfcn.h>

#include <cstdint>

namespace brisk::cuda {

namespace {

using Handle = struct nvmlDevice_st*;
constexpr int temperature_of_chip = 0;  // nvmlTemperatureSensors_t
constexpr int clock_of_processors = 1;  // nvmlClockType_t

// Functions and numbers of the documented ABI (NVML API reference).
// clang-format off
#define BRISK_NVML_FUNCTIONS(X)                                                            \
  X(start, nvmlInit_v2, ())                                                                \
  X(find, nvmlDeviceGetHandleByPciBusId_v2, (const char*, Handle*))                        \
  X(power, nvmlDeviceGetPowerUsage, (Handle, unsigned*))                                   \
  X(power_limit, nvmlDeviceGetEnforcedPowerLimit, (Handle, unsigned*))                     \
  X(energy, nvmlDeviceGetTotalEnergyConsumption, (Handle, unsigned long long*))            \
  X(temperature, nvmlDeviceGetTemperature, (Handle, int, unsigned*))                       \
  X(clock, nvmlDeviceGetClockInfo, (Handle, int, unsigned*))                               \
  X(memory, nvmlDeviceGetMemoryInfo, (Handle, Memory*))
// clang-format on

struct Memory {
  unsigned long long total, free, used;
};

struct Library {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters has its own
#define BRISK_NVML_MEMBER(name, symbol, arguments) int(*name) arguments = nullptr;
  BRISK_NVML_FUNCTIONS(BRISK_NVML_MEMBER)
#undef BRISK_NVML_MEMBER
  bool ready = false;
};

Library open_library() {
  Library library;
  void* file = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (file == nullptr) return library;
#define BRISK_NVML_OPEN(name, symbol, arguments) \
  library.name = reinterpret_cast<decltype(library.name)>(dlsym(file, #symbol));
  BRISK_NVML_FUNCTIONS(BRISK_NVML_OPEN)
#undef BRISK_NVML_OPEN
  library.ready = library.start != nullptr && library.find != nullptr && library.start() == 0;
  return library;
}

const Library& library() {
  static const Library opened = open_library();
  return opened;
}

// What the function says of the device, times `unit`; nothing where it fails or is missing.
template <typename T, typename... Arguments>
std::optional<double> ask(int (*function)(Handle, Arguments...), Handle device, double unit,
                          auto... arguments) {
  T value = 0;
  if (function == nullptr || function(device, arguments..., &value) != 0) return std::nullopt;
  return static_cast<double>(value) * unit;
}

}  // namespace

Sensors read_sensors(const std::string& pci_bus_id) {
  Sensors sensors;
  const Library& nvml = library();
  Handle device = nullptr;
  if (!nvml.ready || nvml.find(pci_bus_id.c_str(), &device) != 0) return sensors;
  sensors.watts = ask<unsigned>(nvml.power, device, 1e-3);
  sensors.most_watts = ask<unsigned>(nvml.power_limit, device, 1e-3);
  sensors.joules = ask<unsigned long long>(nvml.energy, device, 1e-3);
  sensors.celsius = ask<unsigned>(nvml.temperature, device, 1, temperature_of_chip);
  sensors.megahertz = ask<unsigned>(nvml.clock, device, 1, clock_of_processors);
  Memory memory{};
  if (nvml.memory != nullptr && nvml.memory(device, &memory) == 0) {
    sensors.free_bytes = static_cast<std::size_t>(memory.free);
  }
  return sensors;
}

}  // namespace brisk::cuda
