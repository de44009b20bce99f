#include "engine/backends.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/log.h"
#include "codegen/opencl_c/render.h"
#include "device/cpu/cpu_device.h"
#include "device/cuda/cuda_device.h"
#include "device/opencl/opencl_device.h"

namespace brisk {

namespace {

OpenDevice open_cpu(int) {
  Target target = host_target();
  return {make_cpu_device(target.threads), target};
}

std::vector<DeviceInfo> cpu_devices() { return {cpu_device_info(host_target().threads)}; }

OpenDevice open_cuda(int index) {
  std::unique_ptr<Device> device = make_cuda_device(index);
  Target target = target_for(device->info().architecture);
  target.threads = device->info().compute_units;
  return {std::move(device), std::move(target)};
}

OpenDevice open_opencl(int index) {
  std::unique_ptr<Device> device = make_opencl_device(index);
  Target target = opencl_target(*device);
  return {std::move(device), std::move(target)};
}

// The driver compiles further; what it makes is its own.
std::string no_assembly(const Kernel&, const Target&) { return {}; }

Sensors no_sensors(int) { return {}; }

constexpr std::array backends = {
    Backend{"cpu", cpu_devices, open_cpu, no_sensors},
    Backend{"cuda", cuda_devices, open_cuda, cuda_sensors, true},
    Backend{"opencl", opencl_devices, open_opencl, no_sensors},
};

constexpr std::array generators = {
    CodeGenerator{Isa::x86_64, compile, llvm_ir, assembly},
    CodeGenerator{Isa::aarch64, compile, llvm_ir, assembly},
    CodeGenerator{Isa::nvptx, compile, llvm_ir, assembly},
    CodeGenerator{Isa::opencl_c, compile_opencl_c, opencl_source, no_assembly},
};

[[noreturn]] void refuse(const std::string& id) {
  std::string there;
  for (const DeviceInfo& info : all_devices()) {
    there += fmt::format("{}{} ({})", there.empty() ? "" : ", ", info.id, info.name);
  }
  device_error("there is no device \"{}\" here; BRISK_DEVICE or --device may be {}", id, there);
}

}  // namespace

std::vector<DeviceInfo> all_devices() {
  std::vector<DeviceInfo> list;
  for (const Backend& backend : backends) {
    for (DeviceInfo& info : backend.devices()) list.push_back(std::move(info));
  }
  return list;
}

OpenDevice open_default_device() {
  for (const Backend& backend : backends) {
    if (!backend.automatic) continue;
    const std::vector<DeviceInfo> devices = backend.devices();
    for (std::size_t i = 0; i < devices.size(); ++i) {
      try {
        return backend.open(static_cast<int>(i));
      } catch (const DeviceError& error) {
        write_log(
            fmt::format("{} ({}) is not used: {}", devices[i].id, devices[i].name, error.what()));
      }
    }
  }
  return open_cpu(0);
}

Sensors read_sensors(const std::string& id) {
  for (const Backend& backend : backends) {
    const std::vector<DeviceInfo> devices = backend.devices();
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if (devices[i].id == id) return backend.sensors(static_cast<int>(i));
    }
  }
  refuse(id);
}

OpenDevice open_device(const std::string& id) {
  const std::string_view name = std::string_view(id).substr(0, id.find(':'));
  for (const Backend& backend : backends) {
    if (backend.name != name) continue;
    const std::vector<DeviceInfo> devices = backend.devices();
    if (devices.empty()) return backend.open(0);  // which says why there are none
    const auto found = std::find_if(devices.begin(), devices.end(), [&](const DeviceInfo& info) {
      return info.id == id || info.id == id + ":0";
    });
    if (found != devices.end()) return backend.open(static_cast<int>(found - devices.begin()));
  }
  refuse(id);
}

const CodeGenerator& generator_of(Isa isa) {
  const auto* found =
      std::find_if(generators.begin(), generators.end(),
                   [&](const CodeGenerator& generator) { return generator.isa == isa; });
  check(found != generators.end(), "a generator for every instruction set of the back ends");
  return *found;
}

}  // namespace brisk
