#include "device/cpu/cpu_device.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/host_block.h"
#include "base/target.h"
#include "device/addressed_buffer.h"
#include "device/cpu/host_memory.h"
#include "device/cpu/object_code.h"
#include "device/cpu/thread_pool.h"

namespace brisk {

namespace {

class CpuProgram final : public Program {
 public:
  CpuProgram(std::span<const std::byte> object, const std::string& symbol)
      : code_(object, symbol), entry_(reinterpret_cast<Entry>(code_.entry())) {}
  Entry entry() const { return entry_; }

 private:
  ObjectCode code_;
  Entry entry_;
};

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const auto colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "CPU";
}

// The names after '+' in LLVM's feature string.
std::vector<std::string> feature_names(const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    if (text[at] == '+') names.push_back(text.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return names;
}

// Of the last cache that the first processor reaches, as Linux says it ("32768K"); sysconf adds up
// those of a whole package on some processors.
std::size_t last_cache_bytes() {
  std::size_t bytes = 0;
  int last = 0;
  for (int index = 0;; ++index) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", index);
    std::ifstream level_file(folder + "level");
    std::ifstream size_file(folder + "size");
    int level = 0;
    std::size_t kib = 0;
    if (!(level_file >> level) || !(size_file >> kib)) break;
    if (level >= last) bytes = kib << 10;
    last = std::max(last, level);
  }
  if (bytes > 0) return bytes;
  const long said = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return said > 0 ? static_cast<std::size_t>(said) : 0;
}

DeviceInfo describe(int threads) {
  const Target host = host_target();
  DeviceInfo info;
  info.id = "cpu";
  info.name = processor_name();
  info.architecture = host.cpu;
  info.features = feature_names(host.features);
  info.compute_units = threads;
  info.memory_bytes = total_memory();
  info.free_bytes = available_memory();
  info.cache_bytes = last_cache_bytes();
  return info;
}

constexpr std::size_t worth_pages = 1 << 20;  // zeros from here on come from the system

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads)
      : info_(describe(threads)), memory_(std::make_shared<HostMemory>()), pool_(threads) {}

  const DeviceInfo& info() const override { return info_; }

  std::shared_ptr<Buffer> allocate(std::size_t bytes) override {
    const HostMemory::Block block = memory_->allocate(bytes);
    std::shared_ptr<void> owner(block.memory,
                                [memory = memory_, block](void*) { memory->free(block); });
    return std::make_shared<AddressedBuffer>(*this, block.memory, bytes, std::move(owner));
  }

  std::shared_ptr<Buffer> allocate_zeros(std::size_t bytes) override {
    if (bytes >= worth_pages) {
      std::shared_ptr<void> pages = memory_->allocate_zeros(bytes);
      void* first = pages.get();
      return std::make_shared<AddressedBuffer>(*this, first, bytes, std::move(pages));
    }
    std::shared_ptr<Buffer> buffer = allocate(bytes);
    std::memset(buffer->address(), 0, bytes);
    return buffer;
  }

  std::shared_ptr<Buffer> window(std::shared_ptr<Buffer> whole, std::size_t offset,
                                 std::size_t bytes) override {
    want_inside(*whole, offset, bytes, "window");
    auto* first = static_cast<std::byte*>(whole->address()) + offset;
    return std::make_shared<AddressedBuffer>(*this, first, bytes, std::move(whole));
  }

  std::shared_ptr<Buffer> wrap(std::span<const std::byte> host,
                               std::shared_ptr<void> keep) override {
    // Kernels do not write buffers that are only read; the graph decides which are.
    auto* first = const_cast<std::byte*>(host.data());
    return std::make_shared<AddressedBuffer>(*this, first, host.size(), std::move(keep));
  }

  void copy_in(Buffer& to, std::size_t offset, std::span<const std::byte> from) override {
    want_inside(to, offset, from.size(), "copy_in");
    if (from.empty()) return;
    std::memcpy(static_cast<std::byte*>(to.address()) + offset, from.data(), from.size());
  }

  void copy_out(std::span<std::byte> to, const Buffer& from, std::size_t offset) override {
    want_inside(from, offset, to.size(), "copy_out");
    if (to.empty()) return;
    std::memcpy(to.data(), static_cast<const std::byte*>(from.address()) + offset, to.size());
  }

  std::unique_ptr<Program> load(std::span<const std::byte> object,
                                const std::string& symbol) override {
    return std::make_unique<CpuProgram>(object, symbol);
  }

  void launch(const Launch& launch) override {
    Work work;
    work.entry = static_cast<const CpuProgram*>(launch.program)->entry();
    work.buffers = launch.buffers.data();
    work.variables = launch.variables.data();
    work.phase_tasks = launch.phase_tasks;
    work.scratch_bytes = launch.scratch_bytes;
    pool_.run(work);
  }

  void synchronize() override {}

 private:
  DeviceInfo info_;
  std::shared_ptr<HostMemory> memory_;
  ThreadPool pool_;
};

}  // namespace

DeviceInfo cpu_device_info(int threads) { return describe(threads); }

std::unique_ptr<Device> make_cpu_device(int threads) {
  if (threads < 1) user_error("cpu: {} threads; at least one is needed", threads);
  return std::make_unique<CpuDevice>(threads);
}

}  // namespace brisk
