#include "device/opencl/abilities.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/options.h"
#include "base/power_of_two.h"

namespace brisk::opencl {

namespace {

// What the strategies for groups of threads want at least.
constexpr std::size_t least_group = 256;
constexpr std::uint64_t least_local_bytes = 32 << 10;
constexpr std::size_t most_group = 512;
constexpr std::uint64_t most_local_bytes = 48 << 10;

bool has_extension(const DeviceInfo& info, std::string_view name) {
  return std::find(info.features.begin(), info.features.end(), name) != info.features.end();
}
bool has_sub_groups(const DeviceInfo& info) {
  return has_extension(info, "cl_khr_subgroup_shuffle");
}
bool has_byte_products(const DeviceInfo& info) {
  return has_extension(info, "cl_khr_integer_dot_product");
}

bool is_processor(const Driver& d, DeviceId id) {
  return (property<std::uint64_t>(d, id, type) & type_cpu) != 0;
}

// "OpenCL 3.0 …": both kinds of functions are of that language.
bool has_version_3(const Driver& d, DeviceId id) {
  const std::string version = text_property(d, id, device_version);
  return version.size() > 7 && version[7] >= '3';
}

bool wants_groups(const Driver& d, DeviceId id) {
  const bool can = property<std::size_t>(d, id, max_work_group_size) >= least_group &&
                   property<std::uint64_t>(d, id, local_memory_size) >= least_local_bytes;
  if (options().opencl_groups) return *options().opencl_groups && can;
  return can && !is_processor(d, id) &&
         property<std::uint32_t>(d, id, local_memory_type) == local_memory_apart;
}

// Writes the size of the work item's sub-group, or 0 where sub-groups are not neighbours in a row
// or do not exchange what they should.
constexpr std::string_view probe = R"(// OpenCL C
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#pragma OPENCL EXTENSION cl_khr_subgroup_shuffle : enable
__kernel __attribute__((reqd_work_group_size(256, 1, 1)))
void brisk_probe_0(__global uint* out, const long at, __global uchar* scratch, const long first,
                   const long tasks) {
  const uint thread = get_local_id(0);
  const uint size = get_max_sub_group_size();
  const bool in_a_row = get_sub_group_id() * size + get_sub_group_local_id() == thread;
  const bool exchanged = sub_group_shuffle_xor(thread, size / 2) == (thread ^ (size / 2));
  out[thread] = in_a_row && exchanged ? size : 0;
}
)";

// Work items of a sub-group; 0 where they cannot be used as threads that run in step.
int sub_group_size(Device& device) {
  try {
    const auto text = std::as_bytes(std::span(probe));
    const auto program = device.load(text, "brisk_probe");
    std::vector<std::uint32_t> sizes(least_group);
    const auto out = device.allocate(sizes.size() * sizeof sizes[0]);
    void* const buffers[] = {out->address()};
    const std::int64_t tasks[] = {1};
    const PhaseNeeds needs[] = {{.threads = least_group}};
    Launch launch;
    launch.program = program.get();
    launch.buffers = buffers;
    launch.phase_tasks = tasks;
    launch.phase_needs = needs;
    device.launch(launch);
    device.copy_out(std::as_writable_bytes(std::span(sizes)), *out, 0);
    const bool same = std::count(sizes.begin(), sizes.end(), sizes[0]) ==
                      static_cast<std::ptrdiff_t>(sizes.size());
    return same && is_power_of_two(sizes[0]) ? static_cast<int>(sizes[0]) : 0;
  } catch (const DeviceError& error) {
    log_line(1, "{}: sub-groups are not used: {}", device.info().id, error.what());
    return 0;
  }
}

}  // namespace

Way way_of(const Driver& d, DeviceId id, const DeviceInfo& info) {
  Way way;
  way.groups = wants_groups(d, id);
  if (!way.groups && !is_processor(d, id)) {  // what a GPU runs in step
    const auto most = property<std::size_t>(d, id, max_work_group_size);
    way.tasks_together = std::clamp<std::int64_t>(static_cast<std::int64_t>(most), 1, 64);
  }
  const bool new_functions = has_sub_groups(info) || has_byte_products(info);
  way.build_options =
      fmt::format("-w -cl-std={} -DGROUP={}",
                  new_functions && has_version_3(d, id) ? "CL3.0" : "CL1.2", way.tasks_together);
  if ((property<std::uint64_t>(d, id, float_abilities) & float_divides_right) != 0)
    way.build_options += " -cl-fp32-correctly-rounded-divide-sqrt";
  return way;
}

Target target_of(const Driver& d, DeviceId id, const Way& way, Device& device) {
  const DeviceInfo& info = device.info();
  Target target;
  target.isa = Isa::opencl_c;
  target.cpu = info.name;
  target.features = info.architecture;
  const auto lanes = property<std::uint32_t>(d, id, native_float_lanes);
  target.vector_bytes = std::clamp<int>(static_cast<int>(lanes) * 4, 16, 64);
  target.has_fma = (property<std::uint64_t>(d, id, float_abilities) & float_has_fma) != 0;
  target.has_float64 = has_extension(info, "cl_khr_fp64");
  target.has_half_convert = has_extension(info, "cl_khr_fp16");
  target.has_int8_dot = target.has_signed_dot = has_byte_products(info) && has_version_3(d, id);
  target.threads = std::max(1, info.compute_units * static_cast<int>(way.tasks_together));
  if (info.cache_bytes > 0 && info.compute_units > 0) {
    const auto share = static_cast<std::int64_t>(info.cache_bytes) / info.compute_units;
    target.l2_bytes = std::clamp<std::int64_t>(share, 256 << 10, 1 << 20);
  }
  if (!way.groups) return target;
  const int in_step = has_sub_groups(info) && has_version_3(d, id) ? sub_group_size(device) : 0;
  target.vector_bytes = 16;
  target.vector_registers = 32;
  target.group_threads = static_cast<int>(
      std::bit_floor(std::min(property<std::size_t>(d, id, max_work_group_size), most_group)));
  target.has_exchange = in_step > 1;
  target.group_step = std::max(32, in_step);
  target.shared_bytes = static_cast<std::int64_t>(
      std::min(property<std::uint64_t>(d, id, local_memory_size), most_local_bytes));
  target.task_operations = 1;
  target.partial_results = 1024;
  target.l1_bytes = target.l2_bytes = 0;  // of a thread's own
  return target;
}

}  // namespace brisk::opencl
