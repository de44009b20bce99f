#include "device/cuda/cuda_device.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <mutex>
#include <tuple>

#include "base/error.h"
#include "device/cuda/driver.h"

namespace brisk {

namespace {

using namespace cuda;

constexpr std::size_t granule = 256;  // of allocations: kernels may read a vector past the end
constexpr std::size_t staging_bytes = 4 << 20;  // of each of two pinned buffers
constexpr std::size_t most_arguments = 4096;    // bytes of a kernel's arguments, on every GPU
constexpr std::size_t argument_alignment = 16;  // that kernels rely on
constexpr std::int64_t shared_without_asking = 48 << 10;  // bytes of a group

struct alignas(64) TensorMap {
  std::array<std::uint64_t, 16> words;
};

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

  /// Free and all bytes.
  std::pair<std::size_t, std::size_t> memory() {
    enter();
    std::pair<std::size_t, std::size_t> bytes;
    want(driver().memory_info(&bytes.first, &bytes.second), "asking for memory");
    return bytes;
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
      const auto [free, total] = memory();
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

  /// PTX → machine code, by the driver's linker, which gives its result out.
  std::vector<std::byte> assemble(std::span<const std::byte> text, const std::string& symbol) {
    enter();
    std::array<char, 8192> log{};
    std::array<int, 2> options = {jit_error_log, jit_error_log_bytes};
    std::array<void*, 2> values = {log.data(), reinterpret_cast<void*>(log.size() - 1)};
    Link link = nullptr;
    want(driver().link_create(options.size(), options.data(), values.data(), &link),
         "starting the assembler");
    void* code = nullptr;
    std::size_t bytes = 0;
    Status error = driver().link_add(link, jit_input_ptx, const_cast<std::byte*>(text.data()),
                                     text.size(), symbol.c_str(), 0, nullptr, nullptr);
    if (error == success) error = driver().link_complete(link, &code, &bytes);
    std::vector<std::byte> result;
    if (error == success) {
      const auto* first = static_cast<const std::byte*>(code);
      result.assign(first, first + bytes);
    }
    driver().link_destroy(link);
    if (error != success) {
      device_error("{}: the driver does not assemble kernel '{}': {}\n{}", id_, symbol,
                   driver().name_of(error), log.data());
    }
    return result;
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
    if (!is_machine_code(object)) binary_ = context_->assemble(object, symbol);
    context_->enter();
    const std::byte* code = binary_.empty() ? object.data() : binary_.data();
    const Status error = driver().module_load(&module_, code, 0, nullptr, nullptr);
    if (error != success) {
      device_error("{}: the driver does not take kernel '{}': {}", context_->id(), symbol,
                   driver().name_of(error));
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

  std::vector<std::byte> binary() const override { return binary_; }

  /// The kernel of a phase whose groups have this much shared memory.
  Function phase(std::size_t i, std::int64_t shared_bytes) const {
    check(i < phases_.size(), "a kernel function for each phase");
    if (shared_bytes > shared_without_asking) {
      context_->want(
          driver().function_set(phases_[i], function_shared_bytes, static_cast<int>(shared_bytes)),
          "asking for shared memory");
    }
    return phases_[i];
  }
  const std::string& symbol() const { return symbol_; }

  /// The i-th of a launch's arrays at this address, made by `make` where the last launch had
  /// another.
  template <typename Make>
  TensorMap tensor_map(std::size_t i, const TileMap& tile, Address first, const Make& make) const {
    const std::lock_guard lock(maps_mutex_);
    if (maps_.size() <= i) maps_.resize(i + 1);
    Map& known = maps_[i];
    if (known.first != first || !(known.tile == tile)) known = {tile, first, make()};
    return known.map;
  }

 private:
  struct Map {
    TileMap tile;
    Address first = 0;
    TensorMap map{};
  };

  std::shared_ptr<GpuContext> context_;
  // An ELF file.
  static bool is_machine_code(std::span<const std::byte> object) {
    constexpr std::array<char, 4> magic = {'\x7f', 'E', 'L', 'F'};
    return object.size() > magic.size() && std::memcmp(object.data(), magic.data(), 4) == 0;
  }

  std::string symbol_;
  std::vector<std::byte> binary_;  // where it was made here
  Module module_ = nullptr;
  std::vector<Function> phases_;
  mutable std::mutex maps_mutex_;
  mutable std::vector<Map> maps_;
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

void want(Status error, int number, const char* what) {
  if (error == success) return;
  device_error("cuda:{}: {} failed with {}", number, what, driver().name_of(error));
}

// Needs no context, so that a list of devices costs no memory of any.
DeviceInfo describe(int number) {
  Ordinal device = 0;
  want(driver().device_get(&device, number), number, "finding the device");
  const auto attribute = [&](int which) {
    int value = 0;
    want(driver().device_attribute(&value, which, device), number, "asking for an attribute");
    return value;
  };
  DeviceInfo info;
  std::array<char, 256> name{};
  want(driver().device_name(name.data(), name.size(), device), number, "asking for its name");
  info.id = fmt::format("cuda:{}", number);
  info.name = name.data();
  const int major = attribute(attribute_capability_major);
  const int minor = attribute(attribute_capability_minor);
  info.architecture = architecture_of(major, minor);
  int version = 0;
  want(driver().driver_version(&version), number, "asking for the driver's version");
  info.features = {fmt::format("compute_{}.{}", major, minor),
                   fmt::format("cuda_{}.{}", version / 1000, version % 1000 / 10)};
  info.compute_units = attribute(attribute_processors);
  info.cache_bytes = static_cast<std::size_t>(attribute(attribute_cache_bytes));
  want(driver().device_memory(&info.memory_bytes, device), number, "asking for memory");
  return info;
}

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int number)
      : context_(std::make_shared<GpuContext>(number)), info_(describe(number)) {
    if (info_.architecture.empty()) {
      device_error("{} ({}, {}) is too old; brisk needs compute capability 7.5 or later", info_.id,
                   info_.name, info_.features[0]);
    }
    std::tie(info_.free_bytes, info_.memory_bytes) = context_->memory();
  }

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

  std::unique_ptr<Program> load(std::span<const std::byte> object,
                                const std::string& symbol) override {
    return std::make_unique<GpuProgram>(context_, object, symbol);
  }

  void launch(const Launch& launch) override {
    context_->enter();
    const auto& program = static_cast<const GpuProgram&>(*launch.program);
    check(launch.phase_needs.size() == launch.phase_tasks.size(), "needs of each phase");
    std::vector<std::uint64_t> values;  // each of these arguments has 8 bytes
    for (void* buffer : launch.buffers) {
      values.push_back(reinterpret_cast<std::uintptr_t>(buffer));
      check(values.back() % argument_alignment == 0, "cuda: arguments are aligned");
    }
    for (const std::int64_t variable : launch.variables)
      values.push_back(static_cast<std::uint64_t>(variable));
    values.resize(values.size() + 2);  // the first task and the one after the last
    std::uint64_t& first = values[values.size() - 2];
    std::uint64_t& end = values.back();
    std::vector<TensorMap> maps;
    for (std::size_t i = 0; i < launch.tiles.size(); ++i)
      maps.push_back(tensor_map(i, launch, program));
    if (values.size() * sizeof(std::uint64_t) + maps.size() * sizeof(TensorMap) > most_arguments) {
      device_error("{}: kernel '{}' has {} arguments, which is more than the device takes",
                   context_->id(), program.symbol(), values.size() + maps.size());
    }
    std::vector<void*> arguments;
    for (std::uint64_t& value : values) arguments.push_back(&value);
    for (TensorMap& map : maps) arguments.push_back(&map);
    context_->launched(program.symbol());
    for (std::size_t i = 0; i < launch.phase_tasks.size(); ++i) {
      const PhaseNeeds& needs = launch.phase_needs[i];
      const auto start = [&](std::int64_t begin, std::int64_t groups) {
        first = static_cast<std::uint64_t>(begin);
        context_->want(
            driver().launch(program.phase(i, needs.shared_bytes), static_cast<unsigned>(groups), 1,
                            1, static_cast<unsigned>(needs.threads), 1, 1,
                            static_cast<unsigned>(needs.shared_bytes), context_->stream(),
                            arguments.data(), nullptr),
            "launching");
      };
      const std::int64_t tasks = launch.phase_tasks[i];
      end = static_cast<std::uint64_t>(tasks);
      if (needs.persistent) {
        if (tasks > 0) start(0, std::min<std::int64_t>(tasks, info_.compute_units));
        continue;
      }
      for (std::int64_t begin = 0; begin < tasks; begin += largest_grid)
        start(begin, std::min<std::int64_t>(tasks - begin, largest_grid));
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

  // CUtensorMapDataType.
  static int tensor_type(DType dtype) {
    switch (dtype) {
      case DType::float16: return 6;
      case DType::float32: return 7;
      case DType::bfloat16: return 9;
      case DType::int32: return 3;
      default: check(byte_size(dtype) == 1, "a dtype of tiles"); return 0;
    }
  }

  // The driver takes a microsecond for one: a program keeps those of its last launch.
  TensorMap tensor_map(std::size_t i, const Launch& launch, const GpuProgram& program) const {
    const TileMap& tile = launch.tiles[i];
    const Address first =
        reinterpret_cast<Address>(launch.buffers[tile.buffer]) + static_cast<Address>(tile.start);
    return program.tensor_map(i, tile, first,
                              [&] { return encode(tile, first, program.symbol()); });
  }

  TensorMap encode(const TileMap& tile, Address first, const std::string& symbol) const {
    TensorMap map{};
    std::vector<std::uint64_t> sizes(tile.sizes.begin(), tile.sizes.end());
    std::vector<std::uint64_t> strides(tile.strides.begin(), tile.strides.end());
    std::vector<std::uint32_t> box(sizes.size(), 1);
    std::vector<std::uint32_t> steps(sizes.size(), 1);
    box[0] = static_cast<std::uint32_t>(tile.box_columns);
    box[1] = static_cast<std::uint32_t>(tile.box_rows);
    if (driver().tensor_map == nullptr) {
      device_error(
          "{}: NVIDIA's driver is too old for the device; brisk needs one of CUDA 12.0 or "
          "later (525)",
          info_.id);
    }
    const Status error =
        driver().tensor_map(&map, tensor_type(tile.dtype), static_cast<std::uint32_t>(sizes.size()),
                            first, sizes.data(), strides.data(), box.data(), steps.data(), 0,
                            swizzle_128_bytes, promote_256_bytes, 0);
    if (error != success) {
      device_error("{}: an array of kernel '{}' cannot be copied in tiles: {}", info_.id, symbol,
                   driver().name_of(error));
    }
    return map;
  }

  std::shared_ptr<GpuContext> context_;
  DeviceInfo info_;
};

}  // namespace

std::vector<DeviceInfo> cuda_devices() {
  std::vector<DeviceInfo> list;
  for (int i = 0; i < driver().devices; ++i) list.push_back(describe(i));
  return list;
}

const std::string& why_no_cuda_devices() { return driver().missing; }

std::unique_ptr<Device> make_cuda_device(int index) {
  if (driver().devices == 0) device_error("cuda:{} is not there: {}", index, driver().missing);
  if (index < 0 || index >= driver().devices) {
    device_error("cuda:{} is not there; the driver has cuda:0 to cuda:{}", index,
                 driver().devices - 1);
  }
  return std::make_unique<CudaDevice>(index);
}

}  // namespace brisk
