#include "device/cuda/cuda_device.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <mutex>

#include "base/error.h"
#include "device/cuda/driver.h"

namespace brisk {

namespace {

using namespace cuda;

constexpr std::size_t granule = 256;  // of allocations: kernels may read a vector past the end
constexpr std::size_t staging_bytes = 4 << 20;  // of each of two pinned buffers
constexpr std::size_t most_arguments = 4096;    // bytes of a kernel's arguments, on every GPU
constexpr std::size_t argument_alignment = 16;  // that kernels rely on

/// The device's primary context with a stream of its own.
class GpuContext {
 public:
  explicit GpuContext(int number) : id_(fmt::format("cuda:{}", number)) {
    want(driver().device_get(&device_, number), "finding the device");
    want(driver().context_retain(&context_, device_), "making a context");
    enter();
    want(driver().stream_create(&stream_, stream_non_blocking), "making a stream");
    if (attribute(attribute_memory_pools) != 0) {
      want(driver().pool_of_device(&pool_, device_), "finding the memory pool");
      std::uint64_t keep = std::numeric_limits<std::uint64_t>::max();
      want(driver().pool_set(pool_, pool_release_threshold, &keep), "setting up the memory pool");
    }
  }

  ~GpuContext() {
    if (driver().context_set(context_) != success) return;
    for (Staging& staging : staging_) {
      if (staging.memory != nullptr) driver().host_free(staging.memory);
      if (staging.done != nullptr) driver().event_destroy(staging.done);
    }
    if (stream_ != nullptr) driver().stream_destroy(stream_);
    driver().context_release(device_);
    if (lost_) driver().context_reset(device_);
  }

  GpuContext(const GpuContext&) = delete;
  GpuContext& operator=(const GpuContext&) = delete;

  const std::string& id() const { return id_; }
  Stream stream() const { return stream_; }
  Ordinal device() const { return device_; }

  /// Makes it the calling thread's context.
  void enter() { want(driver().context_set(context_), "entering the context"); }

  /// Throws what the driver says.
  void want(Status error, const char* what) {
    if (error == success) return;
    if (loses_context(error)) {
      lost_ = true;
      device_error(
          "{}: {} failed with {}, of this or an earlier launch (the last one: {}); what was on the "
          "device is lost, and the device must be opened anew, if need be by a new process",
          id_, what, driver().name_of(error), last_launch());
    }
    device_error("{}: {} failed with {}", id_, what, driver().name_of(error));
  }

  int attribute(int which) {
    int value = 0;
    want(driver().device_attribute(&value, which, device_), "asking for an attribute");
    return value;
  }

  Address allocate(std::size_t wanted) {
    enter();
    const std::size_t bytes = (std::max<std::size_t>(wanted, 1) + granule - 1) / granule * granule;
    Address address = 0;
    Status error = try_allocate(&address, bytes);
    if (error == out_of_memory) {  // what is freed but kept may stand in the way
      want(driver().stream_synchronize(stream_), "waiting");
      if (pool_ != nullptr) want(driver().pool_trim(pool_, 0), "trimming the memory pool");
      error = try_allocate(&address, bytes);
    }
    if (error == out_of_memory) {
      std::size_t free = 0;
      std::size_t total = 0;
      want(driver().memory_info(&free, &total), "asking for memory");
      device_error(
          "{}: {} bytes were wanted, but only {} of {} are free; close other programs on "
          "the device, or choose a smaller model, context or batch",
          id_, wanted, free, total);
    }
    want(error, "allocating");
    return address;
  }

  void free(Address address) noexcept {
    if (driver().context_set(context_) != success) return;
    if (pool_ != nullptr) {
      driver().memory_free_ordered(address, stream_);
    } else {
      driver().memory_free(address);
    }
  }

  void fill_zeros(Address address, std::size_t bytes) {
    enter();
    want(driver().fill_bytes(address, 0, bytes, stream_), "filling memory");
  }

  void copy_in(Address to, const std::byte* from, std::size_t bytes) {
    enter();
    const std::lock_guard lock(staging_mutex_);
    for (std::size_t at = 0; at < bytes; at += staging_bytes) {
      const std::size_t part = std::min(staging_bytes, bytes - at);
      Staging& staging = next_staging();
      std::memcpy(staging.memory, from + at, part);
      want(driver().copy_to_device(to + at, staging.memory, part, stream_),
           "copying to the device");
      want(driver().event_record(staging.done, stream_), "recording an event");
    }
  }

  /// While one part is copied on the host, the next one is on its way.
  void copy_out(std::byte* to, Address from, std::size_t bytes) {
    enter();
    const std::lock_guard lock(staging_mutex_);
    Staging* before = nullptr;
    std::size_t before_at = 0;
    std::size_t before_bytes = 0;
    const auto finish = [&] {
      if (before == nullptr) return;
      want(driver().event_synchronize(before->done), "copying from the device");
      std::memcpy(to + before_at, before->memory, before_bytes);
    };
    for (std::size_t at = 0; at < bytes; at += staging_bytes) {
      const std::size_t part = std::min(staging_bytes, bytes - at);
      Staging& staging = next_staging();
      want(driver().copy_to_host(staging.memory, from + at, part, stream_),
           "copying from the device");
      want(driver().event_record(staging.done, stream_), "recording an event");
      finish();
      before = &staging;
      before_at = at;
      before_bytes = part;
    }
    finish();
  }

  void launched(const std::string& symbol) {
    const std::lock_guard lock(name_mutex_);
    last_launch_ = symbol;
  }

  void synchronize() {
    enter();
    want(driver().stream_synchronize(stream_), "waiting for the device");
  }

 private:
  struct Staging {
    void* memory = nullptr;
    Event done = nullptr;
  };

  // One that no copy uses any more.
  Staging& next_staging() {
    Staging& staging = staging_[turn_ ^= 1];
    if (staging.done == nullptr) {
      want(driver().host_allocate(&staging.memory, staging_bytes, 0), "allocating pinned memory");
      want(driver().event_create(&staging.done, event_disable_timing), "making an event");
    } else {
      want(driver().event_synchronize(staging.done), "waiting for a copy");
    }
    return staging;
  }

  Status try_allocate(Address* address, std::size_t bytes) const {
    if (pool_ == nullptr) return driver().memory_allocate(address, bytes);
    return driver().memory_allocate_ordered(address, bytes, stream_);
  }

  std::string last_launch() {
    const std::lock_guard lock(name_mutex_);
    return last_launch_.empty() ? "none" : last_launch_;
  }

  std::string id_;
  Ordinal device_ = 0;
  Context context_ = nullptr;
  Stream stream_ = nullptr;
  Pool pool_ = nullptr;
  std::mutex staging_mutex_;
  std::array<Staging, 2> staging_;
  std::size_t turn_ = 0;
  std::mutex name_mutex_;
  std::string last_launch_;
  std::atomic<bool> lost_ = false;
};

class GpuBuffer final : public Buffer {
 public:
  /// Frees `owned`, where it is not 0, with itself.
  GpuBuffer(Device& device, std::shared_ptr<GpuContext> context, Address address, std::size_t bytes,
            Address owned, std::shared_ptr<Buffer> whole)
      : device_(device),
        context_(std::move(context)),
        address_(address),
        bytes_(bytes),
        owned_(owned),
        whole_(std::move(whole)) {}
  ~GpuBuffer() override {
    if (owned_ != 0) context_->free(owned_);
  }
  GpuBuffer(const GpuBuffer&) = delete;
  GpuBuffer& operator=(const GpuBuffer&) = delete;

  Device& device() const override { return device_; }
  std::size_t bytes() const override { return bytes_; }
  void* address() const override { return reinterpret_cast<void*>(address_); }

 private:
  Device& device_;
  std::shared_ptr<GpuContext> context_;
  Address address_;
  std::size_t bytes_;
  Address owned_;
  std::shared_ptr<Buffer> whole_;
};

class GpuProgram final : public Program {
 public:
  GpuProgram(std::shared_ptr<GpuContext> context, std::span<const std::byte> object,
             const std::string& symbol)
      : context_(std::move(context)), symbol_(symbol) {
    context_->enter();
    std::array<char, 8192> log{};
    std::array<int, 2> options = {jit_error_log, jit_error_log_bytes};
    std::array<void*, 2> values = {log.data(), reinterpret_cast<void*>(log.size() - 1)};
    const Status error = driver().module_load(&module_, object.data(), options.size(),
                                              options.data(), values.data());
    if (error != success) {
      device_error("{}: the driver does not take kernel '{}': {}\n{}", context_->id(), symbol,
                   driver().name_of(error), log.data());
    }
    for (int i = 0;; ++i) {
      Function function = nullptr;
      const Status found =
          driver().module_function(&function, module_, fmt::format("{}_{}", symbol, i).c_str());
      if (found == not_found && i > 0) break;
      context_->want(found, "finding a kernel");
      phases_.push_back(function);
    }
  }
  ~GpuProgram() override {
    try {
      context_->enter();
    } catch (const DeviceError&) {
      return;  // the module went with the context
    }
    driver().module_unload(module_);
  }
  GpuProgram(const GpuProgram&) = delete;
  GpuProgram& operator=(const GpuProgram&) = delete;

  Function phase(std::size_t i) const {
    check(i < phases_.size(), "a kernel function for each phase");
    return phases_[i];
  }
  const std::string& symbol() const { return symbol_; }

 private:
  std::shared_ptr<GpuContext> context_;
  std::string symbol_;
  Module module_ = nullptr;
  std::vector<Function> phases_;
};

// The target (base/target.h) whose code the device runs best; empty where there is none.
std::string architecture_of(int major, int minor) {
  const int capability = 10 * major + minor;
  if (capability < 75) return {};
  if (capability == 90) return "sm_90a";
  if (capability >= 89) return "sm_89";  // later ones take its PTX, but not sm_90a's
  if (capability >= 86) return "sm_86";
  return capability >= 80 ? "sm_80" : "sm_75";
}

DeviceInfo describe(GpuContext& context, int number) {
  DeviceInfo info;
  std::array<char, 256> name{};
  context.want(driver().device_name(name.data(), name.size(), context.device()),
               "asking for its name");
  info.id = fmt::format("cuda:{}", number);
  info.name = name.data();
  const int major = context.attribute(attribute_capability_major);
  const int minor = context.attribute(attribute_capability_minor);
  info.architecture = architecture_of(major, minor);
  if (info.architecture.empty()) {
    device_error("{} ({}) has compute capability {}.{}; brisk needs 7.5 or later", info.id,
                 info.name, major, minor);
  }
  int version = 0;
  context.want(driver().driver_version(&version), "asking for the driver's version");
  info.features = {fmt::format("compute_{}.{}", major, minor),
                   fmt::format("cuda_{}.{}", version / 1000, version % 1000 / 10)};
  info.compute_units = context.attribute(attribute_processors);
  info.cache_bytes = static_cast<std::size_t>(context.attribute(attribute_cache_bytes));
  context.want(driver().memory_info(&info.free_bytes, &info.memory_bytes), "asking for memory");
  return info;
}

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int number)
      : context_(std::make_shared<GpuContext>(number)), info_(describe(*context_, number)) {}

  const DeviceInfo& info() const override { return info_; }

  std::shared_ptr<Buffer> allocate(std::size_t bytes) override {
    const Address address = context_->allocate(bytes);
    return std::make_shared<GpuBuffer>(*this, context_, address, bytes, address, nullptr);
  }

  std::shared_ptr<Buffer> allocate_zeros(std::size_t bytes) override {
    std::shared_ptr<Buffer> buffer = allocate(bytes);
    if (bytes > 0) context_->fill_zeros(address_of(*buffer), bytes);
    return buffer;
  }

  std::shared_ptr<Buffer> window(std::shared_ptr<Buffer> whole, std::size_t offset,
                                 std::size_t bytes) override {
    want_inside(*whole, offset, bytes, "window");
    const Address first = address_of(*whole) + offset;
    return std::make_shared<GpuBuffer>(*this, context_, first, bytes, 0, std::move(whole));
  }

  std::shared_ptr<Buffer> wrap(std::span<const std::byte> host, std::shared_ptr<void>) override {
    std::shared_ptr<Buffer> buffer = allocate(host.size());
    copy_in(*buffer, 0, host);
    return buffer;
  }

  void copy_in(Buffer& to, std::size_t offset, std::span<const std::byte> from) override {
    want_inside(to, offset, from.size(), "copy_in");
    context_->copy_in(address_of(to) + offset, from.data(), from.size());
  }

  void copy_out(std::span<std::byte> to, const Buffer& from, std::size_t offset) override {
    want_inside(from, offset, to.size(), "copy_out");
    context_->copy_out(to.data(), address_of(from) + offset, to.size());
  }

  std::vector<std::byte> assemble(std::vector<std::byte> object) override;

  std::unique_ptr<Program> load(std::span<const std::byte> object,
                                const std::string& symbol) override {
    return std::make_unique<GpuProgram>(context_, object, symbol);
  }

  void launch(const Launch& launch) override {
    context_->enter();
    const auto& program = static_cast<const GpuProgram&>(*launch.program);
    check(launch.phase_threads.size() == launch.phase_tasks.size(), "threads for each phase");
    std::vector<std::uint64_t> values;  // every argument has 8 bytes
    for (void* buffer : launch.buffers) {
      values.push_back(reinterpret_cast<std::uintptr_t>(buffer));
      check(values.back() % argument_alignment == 0, "cuda: arguments are aligned");
    }
    for (const std::int64_t variable : launch.variables)
      values.push_back(static_cast<std::uint64_t>(variable));
    values.push_back(0);  // the first task
    if (values.size() * sizeof(std::uint64_t) > most_arguments) {
      device_error("{}: kernel '{}' has {} arguments, the device takes {}", context_->id(),
                   program.symbol(), values.size(), most_arguments / sizeof(std::uint64_t));
    }
    std::vector<void*> arguments;
    for (std::uint64_t& value : values) arguments.push_back(&value);
    context_->launched(program.symbol());
    for (std::size_t i = 0; i < launch.phase_tasks.size(); ++i) {
      const auto threads = static_cast<unsigned>(launch.phase_threads[i]);
      for (std::int64_t begin = 0; begin < launch.phase_tasks[i]; begin += largest_grid) {
        const auto groups = static_cast<unsigned>(
            std::min<std::int64_t>(launch.phase_tasks[i] - begin, largest_grid));
        values.back() = static_cast<std::uint64_t>(begin);
        context_->want(driver().launch(program.phase(i), groups, 1, 1, threads, 1, 1, 0,
                                       context_->stream(), arguments.data(), nullptr),
                       "launching");
      }
    }
  }

  void synchronize() override { context_->synchronize(); }

 private:
  static Address address_of(const Buffer& buffer) {
    return reinterpret_cast<Address>(buffer.address());
  }

  void want_inside(const Buffer& buffer, std::size_t offset, std::size_t bytes,
                   const char* what) const {
    if (offset <= buffer.bytes() && bytes <= buffer.bytes() - offset) return;
    device_error("{}: {} of {} bytes at {} in a buffer of {} bytes", info_.id, what, bytes, offset,
                 buffer.bytes());
  }

  std::shared_ptr<GpuContext> context_;
  DeviceInfo info_;
};

// Through the driver's linker, which gives its result out.
std::vector<std::byte> CudaDevice::assemble(std::vector<std::byte> object) {
  context_->enter();
  std::array<char, 8192> log{};
  std::array<int, 2> options = {jit_error_log, jit_error_log_bytes};
  std::array<void*, 2> values = {log.data(), reinterpret_cast<void*>(log.size() - 1)};
  Link link = nullptr;
  context_->want(driver().link_create(options.size(), options.data(), values.data(), &link),
                 "starting the assembler");
  void* cubin = nullptr;
  std::size_t bytes = 0;
  Status error = driver().link_add(link, jit_input_ptx, object.data(), object.size(), "kernel", 0,
                                   nullptr, nullptr);
  if (error == success) error = driver().link_complete(link, &cubin, &bytes);
  std::vector<std::byte> result;
  if (error == success) {
    const auto* first = static_cast<const std::byte*>(cubin);
    result.assign(first, first + bytes);
  }
  driver().link_destroy(link);
  if (error != success) {
    device_error("{}: the driver does not assemble a kernel: {}\n{}", info_.id,
                 driver().name_of(error), log.data());
  }
  return result;
}

}  // namespace

int cuda_device_count(std::string* why_not) {
  if (why_not != nullptr) *why_not = driver().missing;
  return driver().devices;
}

std::unique_ptr<Device> make_cuda_device(int number) {
  if (driver().devices == 0) {
    device_error("cuda:{} is not there: {}", number, driver().missing);
  }
  if (number < 0 || number >= driver().devices) {
    device_error("cuda:{} is not there; the driver has cuda:0 to cuda:{}", number,
                 driver().devices - 1);
  }
  return std::make_unique<CudaDevice>(number);
}

}  // namespace brisk
