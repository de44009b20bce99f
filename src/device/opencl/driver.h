// The OpenCL driver of this machine: the functions of libOpenCL.so.1 that brisk calls, opened at
// run time, with the few types and numbers that they need (OpenCL 1.2, section 5). Nothing else of
// OpenCL is needed to build or to start brisk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace brisk::opencl {

using Platform = struct PlatformObject*;
using DeviceId = struct DeviceObject*;
using Context = struct ContextObject*;
using Queue = struct QueueObject*;
using Memory = struct MemoryObject*;
using Code = struct CodeObject*;
using Kernel = struct KernelObject*;
using Event = struct EventObject*;
using Status = std::int32_t;

inline constexpr Status success = 0;
inline constexpr Status allocation_failure = -4;
inline constexpr Status out_of_resources = -5;
inline constexpr Status invalid_kernel_name = -46;

// What is asked of a device (clGetDeviceInfo).
enum DeviceProperty : std::uint32_t {
  type = 0x1000,
  max_compute_units = 0x1002,
  max_work_group_size = 0x1004,
  max_allocation = 0x1010,
  float_abilities = 0x101b,
  cache_size = 0x101e,
  memory_size = 0x101f,
  local_memory_type = 0x1022,
  local_memory_size = 0x1023,
  is_available = 0x1027,
  has_compiler = 0x1028,
  device_name = 0x102b,
  driver_version = 0x102d,
  device_version = 0x102f,
  extensions = 0x1030,
  native_float_lanes = 0x103a,
};
inline constexpr std::uint64_t type_cpu = 1U << 1;
inline constexpr std::uint64_t float_has_fma = 1U << 5;
inline constexpr std::uint64_t float_divides_right = 1U << 7;  // and takes roots so
inline constexpr std::uint32_t local_memory_apart = 1;         // not a part of global memory
inline constexpr std::uint64_t memory_read_write = 1U << 0;
inline constexpr std::uint32_t code_binary_sizes = 0x1165;
inline constexpr std::uint32_t code_binaries = 0x1166;
inline constexpr std::uint32_t build_log = 0x1183;

struct Driver {
  Status (*platforms)(std::uint32_t, Platform*, std::uint32_t*);
  Status (*devices)(Platform, std::uint64_t, std::uint32_t, DeviceId*, std::uint32_t*);
  Status (*device_info)(DeviceId, std::uint32_t, std::size_t, void*, std::size_t*);
  Context (*create_context)(const std::intptr_t*, std::uint32_t, const DeviceId*,
                            void (*)(const char*, const void*, std::size_t, void*), void*, Status*);
  Status (*release_context)(Context);
  Queue (*create_queue)(Context, DeviceId, std::uint64_t, Status*);
  Status (*release_queue)(Queue);
  Status (*finish)(Queue);
  Status (*flush)(Queue);
  Memory (*create_buffer)(Context, std::uint64_t, std::size_t, void*, Status*);
  Status (*release_memory)(Memory);
  Status (*write)(Queue, Memory, std::uint32_t, std::size_t, std::size_t, const void*,
                  std::uint32_t, const Event*, Event*);
  Status (*read)(Queue, Memory, std::uint32_t, std::size_t, std::size_t, void*, std::uint32_t,
                 const Event*, Event*);
  Status (*fill)(Queue, Memory, const void*, std::size_t, std::size_t, std::size_t, std::uint32_t,
                 const Event*, Event*);
  Code (*code_from_source)(Context, std::uint32_t, const char**, const std::size_t*, Status*);
  Code (*code_from_binary)(Context, std::uint32_t, const DeviceId*, const std::size_t*,
                           const unsigned char**, Status*, Status*);
  Status (*build)(Code, std::uint32_t, const DeviceId*, const char*, void (*)(Code, void*), void*);
  Status (*build_info)(Code, DeviceId, std::uint32_t, std::size_t, void*, std::size_t*);
  Status (*code_info)(Code, std::uint32_t, std::size_t, void*, std::size_t*);
  Status (*release_code)(Code);
  Kernel (*create_kernel)(Code, const char*, Status*);
  Status (*set_argument)(Kernel, std::uint32_t, std::size_t, const void*);
  Status (*release_kernel)(Kernel);
  Status (*run)(Queue, Kernel, std::uint32_t, const std::size_t*, const std::size_t*,
                const std::size_t*, std::uint32_t, const Event*, Event*);
};

/// The driver, opened at the first call; null where there is none. It stays open.
const Driver* driver();
/// "CL_OUT_OF_RESOURCES (-5)".
std::string status_text(Status status);
/// Devices of all platforms that can compile and run kernels, in the platforms' order.
std::vector<DeviceId> usable_devices(const Driver& driver);

template <typename T>
T property(const Driver& driver, DeviceId device, DeviceProperty which) {
  T value{};
  driver.device_info(device, which, sizeof value, &value, nullptr);
  return value;
}
std::string text_property(const Driver& driver, DeviceId device, DeviceProperty which);

}  // namespace brisk::opencl
