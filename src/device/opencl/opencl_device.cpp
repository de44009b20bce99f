#include "device/opencl/opencl_device.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>

#include "base/error.h"
#include "device/addressed_buffer.h"
#include "device/opencl/abilities.h"
#include "device/opencl/driver.h"

namespace brisk {

namespace {

using opencl::Driver;
using opencl::Status;

constexpr std::size_t most_slab_bytes = 64 << 20;  // of scratch memory, unless one group wants more
constexpr std::string_view source_begins = "// OpenCL C";

DeviceInfo describe(const Driver& d, opencl::DeviceId device, std::size_t index) {
  using namespace opencl;
  DeviceInfo info;
  info.id = fmt::format("opencl:{}", index);
  info.name = text_property(d, device, device_name);
  info.architecture = "OpenCL, driver " + text_property(d, device, driver_version);
  const std::string list = text_property(d, device, extensions);
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find(' ', at), list.size());
    if (end > at) info.features.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  info.compute_units = static_cast<int>(property<std::uint32_t>(d, device, max_compute_units));
  info.memory_bytes = property<std::uint64_t>(d, device, memory_size);
  info.free_bytes = info.memory_bytes;
  info.cache_bytes = property<std::uint64_t>(d, device, cache_size);
  return info;
}

// The driver's objects of one device, and where each of its buffers lies. Shared by the device, its
// buffers and its programs; released with the last of them.
class Session {
 public:
  Session(const Driver& driver, opencl::DeviceId device, DeviceInfo info)
      : d(driver),
        id(device),
        info_(std::move(info)),
        most_bytes_(opencl::property<std::uint64_t>(d, device, opencl::max_allocation)) {
    Status status = opencl::success;
    context = d.create_context(nullptr, 1, &id, nullptr, nullptr, &status);
    want(status, "making a context");
    queue = d.create_queue(context, id, 0, &status);
    if (status != opencl::success) d.release_context(context);
    want(status, "making a queue");
  }
  ~Session() {
    d.finish(queue);
    d.release_queue(queue);
    d.release_context(context);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const DeviceInfo& info() const { return info_; }

  void want(Status status, std::string_view doing) const {
    if (status == opencl::success) return;
    device_error("{} ({}): {}: {}", info_.id, info_.name, doing, opencl::status_text(status));
  }

  /// The name of `bytes` of new memory.
  void* allocate(std::size_t bytes) {
    const std::size_t free = info_.memory_bytes - std::min(used_.load(), info_.memory_bytes);
    Status status = bytes > free ? opencl::allocation_failure : opencl::success;
    opencl::Memory memory = nullptr;
    if (status == opencl::success) {
      memory = d.create_buffer(context, opencl::memory_read_write, bytes, nullptr, &status);
    }
    if (status != opencl::success) {
      device_error(
          "{} ({}): out of memory: wanted {} bytes; {} of {} are free, {} at most in one "
          "piece ({})",
          info_.id, info_.name, bytes, free, info_.memory_bytes, most_bytes_,
          opencl::status_text(status));
    }
    used_ += bytes;
    const std::lock_guard lock(mutex_);
    const std::uintptr_t name = next_;
    next_ += (bytes / page + 2) * page;  // no two touch
    blocks_.emplace(name, Block{memory, bytes});
    return reinterpret_cast<void*>(name);
  }

  void free(void* address) {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(reinterpret_cast<std::uintptr_t>(address));
    used_ -= found->second.bytes;
    d.release_memory(found->second.memory);  // the driver waits for launches that use it
    blocks_.erase(found);
  }

  struct Place {
    opencl::Memory memory;
    std::int64_t offset;
  };
  Place place(const void* address) const {
    const auto name = reinterpret_cast<std::uintptr_t>(address);
    const std::lock_guard lock(mutex_);
    auto found = blocks_.upper_bound(name);
    check(found != blocks_.begin(), "an address of this device");
    --found;
    check(name - found->first <= found->second.bytes, "an address of a buffer that is alive");
    return {found->second.memory, static_cast<std::int64_t>(name - found->first)};
  }

  const Driver& d;
  const opencl::DeviceId id;
  opencl::Context context = nullptr;
  opencl::Queue queue = nullptr;

 private:
  struct Block {
    opencl::Memory memory;
    std::size_t bytes;
  };
  static constexpr std::uintptr_t page = 4096;

  DeviceInfo info_;
  std::size_t most_bytes_;
  std::atomic<std::size_t> used_{0};
  mutable std::mutex mutex_;
  std::map<std::uintptr_t, Block> blocks_;  // by the first address
  std::uintptr_t next_ = std::uintptr_t{1} << 40;
};

// The kernels of a program, one for each phase.
class OpenClProgram final : public Program {
 public:
  OpenClProgram(std::shared_ptr<Session> session, std::span<const std::byte> object,
                const std::string& symbol, const std::string& build_options)
      : session_(std::move(session)) {
    const Driver& d = session_->d;
    try {
      create(object, symbol);
      build(symbol, build_options);
      for (Status status = opencl::success;;) {
        const std::string name = fmt::format("{}_{}", symbol, kernels_.size());
        opencl::Kernel kernel = d.create_kernel(code_, name.c_str(), &status);
        if (status == opencl::invalid_kernel_name && !kernels_.empty()) break;
        session_->want(status, "the kernel " + name);
        kernels_.push_back(kernel);
      }
    } catch (...) {
      release();
      throw;
    }
  }
  ~OpenClProgram() override { release(); }
  OpenClProgram(const OpenClProgram&) = delete;
  OpenClProgram& operator=(const OpenClProgram&) = delete;

  std::vector<std::byte> binary() const override {
    std::size_t size = 0;
    const Driver& d = session_->d;
    if (d.code_info(code_, opencl::code_binary_sizes, sizeof size, &size, nullptr) !=
        opencl::success) {
      return {};
    }
    std::vector<std::byte> bytes(size);
    void* to = bytes.data();
    const Status status =
        d.code_info(code_, opencl::code_binaries, sizeof to, static_cast<void*>(&to), nullptr);
    return status == opencl::success ? bytes : std::vector<std::byte>();
  }

  opencl::Kernel kernel(std::size_t phase) const { return kernels_[phase]; }

 private:
  void create(std::span<const std::byte> object, const std::string& symbol) {
    const Driver& d = session_->d;
    Status status = opencl::success;
    const std::string_view text(reinterpret_cast<const char*>(object.data()), object.size());
    const std::size_t bytes = object.size();
    if (text.starts_with(source_begins)) {
      const char* source = text.data();
      code_ = d.code_from_source(session_->context, 1, &source, &bytes, &status);
    } else {
      const auto* binary = reinterpret_cast<const unsigned char*>(object.data());
      code_ = d.code_from_binary(session_->context, 1, &session_->id, &bytes, &binary, nullptr,
                                 &status);
    }
    session_->want(status, "loading " + symbol);
  }

  void build(const std::string& symbol, const std::string& options) {
    const Driver& d = session_->d;
    const Status status = d.build(code_, 1, &session_->id, options.c_str(), nullptr, nullptr);
    if (status == opencl::success) return;
    std::size_t size = 0;
    d.build_info(code_, session_->id, opencl::build_log, 0, nullptr, &size);
    std::string log(size, '\0');
    d.build_info(code_, session_->id, opencl::build_log, size, log.data(), nullptr);
    device_error("{} ({}): building {}: {}\n{}", session_->info().id, session_->info().name, symbol,
                 opencl::status_text(status), log.c_str());
  }

  void release() {
    for (const opencl::Kernel kernel : kernels_) session_->d.release_kernel(kernel);
    if (code_ != nullptr) session_->d.release_code(code_);
  }

  std::shared_ptr<Session> session_;
  opencl::Code code_ = nullptr;
  std::vector<opencl::Kernel> kernels_;
};

// A kernel's arguments, set one after the other.
class Arguments {
 public:
  Arguments(const Session& session, opencl::Kernel kernel) : session_(session), kernel_(kernel) {}

  template <typename T>
  void add(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    session_.want(session_.d.set_argument(kernel_, next_++, bytes.size(), bytes.data()),
                  "setting an argument");
  }
  void add_memory(const void* address) {
    const Session::Place place = session_.place(address);
    add(place.memory);
    add(place.offset);
  }

 private:
  const Session& session_;
  opencl::Kernel kernel_;
  std::uint32_t next_ = 0;
};

class OpenClDevice final : public Device {
 public:
  OpenClDevice(const Driver& d, opencl::DeviceId id, const DeviceInfo& info)
      : session_(std::make_shared<Session>(d, id, info)), way_(opencl::way_of(d, id, info)) {}

  const DeviceInfo& info() const override { return session_->info(); }
  Target target() { return opencl::target_of(session_->d, session_->id, way_, *this); }

  std::shared_ptr<Buffer> allocate(std::size_t bytes) override {
    void* address = session_->allocate(std::max<std::size_t>(bytes, 1));
    std::shared_ptr<void> owner(address,
                                [session = session_](void* memory) { session->free(memory); });
    return std::make_shared<AddressedBuffer>(*this, address, bytes, std::move(owner));
  }

  std::shared_ptr<Buffer> allocate_zeros(std::size_t bytes) override {
    std::shared_ptr<Buffer> buffer = allocate(bytes);
    if (bytes == 0) return buffer;
    const std::uint8_t zero = 0;
    const Session& s = *session_;
    s.want(s.d.fill(s.queue, s.place(buffer->address()).memory, &zero, sizeof zero, 0, bytes, 0,
                    nullptr, nullptr),
           "filling memory");
    return buffer;
  }

  std::shared_ptr<Buffer> window(std::shared_ptr<Buffer> whole, std::size_t offset,
                                 std::size_t bytes) override {
    want_inside(*whole, offset, bytes, "window");
    auto* first = static_cast<std::byte*>(whole->address()) + offset;
    return std::make_shared<AddressedBuffer>(*this, first, bytes, std::move(whole));
  }

  std::shared_ptr<Buffer> wrap(std::span<const std::byte> host, std::shared_ptr<void>) override {
    std::shared_ptr<Buffer> buffer = allocate(host.size());
    copy_in(*buffer, 0, host);
    return buffer;
  }

  void copy_in(Buffer& to, std::size_t offset, std::span<const std::byte> from) override {
    want_inside(to, offset, from.size(), "copy_in");
    if (from.empty()) return;
    const Session& s = *session_;
    const Session::Place place = s.place(to.address());
    s.want(s.d.write(s.queue, place.memory, 1, static_cast<std::size_t>(place.offset) + offset,
                     from.size(), from.data(), 0, nullptr, nullptr),
           "copying to the device");
  }

  void copy_out(std::span<std::byte> to, const Buffer& from, std::size_t offset) override {
    want_inside(from, offset, to.size(), "copy_out");
    if (to.empty()) return;
    const Session& s = *session_;
    const Session::Place place = s.place(from.address());
    s.want(s.d.read(s.queue, place.memory, 1, static_cast<std::size_t>(place.offset) + offset,
                    to.size(), to.data(), 0, nullptr, nullptr),
           "copying from the device");
  }

  std::unique_ptr<Program> load(std::span<const std::byte> object,
                                const std::string& symbol) override {
    return std::make_unique<OpenClProgram>(session_, object, symbol, way_.build_options);
  }

  // A kernel of the driver holds the arguments of its next run, and there is one slab for all.
  void launch(const Launch& launch) override {
    const std::lock_guard lock(launching_);
    for (std::size_t i = 0; i < launch.phase_tasks.size(); ++i) {
      if (launch.phase_tasks[i] > 0) phase(i, launch);
    }
    session_->want(session_->d.flush(session_->queue), "starting kernels");
  }

  void synchronize() override {
    session_->want(session_->d.finish(session_->queue), "waiting for kernels");
  }

 private:
  // As many tasks at once as there is scratch memory for.
  void phase(std::size_t number, const Launch& launch) {
    const std::int64_t tasks = launch.phase_tasks[number];
    const std::int64_t threads = way_.groups ? launch.phase_needs[number].threads : 1;  // of a task
    const std::int64_t side = way_.tasks_together;
    std::int64_t at_once = (tasks + side - 1) / side * side;
    if (launch.scratch_bytes > 0) {
      const std::size_t each = launch.scratch_bytes * static_cast<std::size_t>(threads);
      const auto fit = static_cast<std::int64_t>(most_slab_bytes / each);
      at_once = std::min(at_once, std::max(fit / side, std::int64_t{1}) * side);
      grow_slab(static_cast<std::size_t>(at_once) * each);
    }
    const opencl::Kernel kernel = static_cast<const OpenClProgram*>(launch.program)->kernel(number);
    const auto group = static_cast<std::size_t>(threads * side);
    for (std::int64_t first = 0; first < tasks; first += at_once) {
      Arguments arguments(*session_, kernel);
      for (const void* buffer : launch.buffers) arguments.add_memory(buffer);
      for (const std::int64_t variable : launch.variables) arguments.add(variable);
      arguments.add(launch.scratch_bytes > 0 ? session_->place(slab_->address()).memory : nullptr);
      arguments.add(first);
      arguments.add(tasks);
      const std::int64_t left = (tasks - first + side - 1) / side * side;
      const auto items = static_cast<std::size_t>(std::min(at_once, left) * threads);
      session_->want(
          session_->d.run(session_->queue, kernel, 1, nullptr, &items, &group, 0, nullptr, nullptr),
          "launching a kernel");
    }
  }

  void grow_slab(std::size_t bytes) {
    if (!slab_ || slab_->bytes() < bytes) slab_ = allocate(bytes);
  }

  std::shared_ptr<Session> session_;
  opencl::Way way_;
  std::mutex launching_;
  std::shared_ptr<Buffer> slab_;
};

struct Found {
  const Driver& d;
  opencl::DeviceId id;
};

Found find(int index) {
  const Driver* d = opencl::driver();
  if (d == nullptr) device_error("opencl:{}: there is no libOpenCL.so.1 here", index);
  const std::vector<opencl::DeviceId> ids = opencl::usable_devices(*d);
  if (index < 0 || static_cast<std::size_t>(index) >= ids.size()) {
    device_error("opencl:{}: the driver has {} devices", index, ids.size());
  }
  return {*d, ids[static_cast<std::size_t>(index)]};
}

}  // namespace

std::vector<DeviceInfo> opencl_devices() {
  std::vector<DeviceInfo> list;
  const Driver* d = opencl::driver();
  if (d == nullptr) return list;
  for (const opencl::DeviceId id : opencl::usable_devices(*d)) {
    list.push_back(describe(*d, id, list.size()));
  }
  return list;
}

std::unique_ptr<Device> make_opencl_device(int index) {
  const Found found = find(index);
  const DeviceInfo info = describe(found.d, found.id, static_cast<std::size_t>(index));
  return std::make_unique<OpenClDevice>(found.d, found.id, info);
}

Target opencl_target(Device& device) { return static_cast<OpenClDevice&>(device).target(); }

}  // namespace brisk
