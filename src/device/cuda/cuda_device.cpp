#include "device/cuda/cuda_device.h"

#include <array>
#include <tuple>

#include "base/error.h"
#include "base/target.h"
#include "device/cuda/context.h"
#include "device/cuda/driver.h"
#include "device/cuda/program.h"
#include "device/cuda/sensors.h"

namespace brisk {

namespace {

using namespace cuda;

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
  GpuContext& context() const { return *context_; }

 private:
  Device& device_;
  std::shared_ptr<GpuContext> context_;
  Address address_;
  std::size_t bytes_;
  Address owned_;
  std::shared_ptr<Buffer> whole_;
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

class PinnedCopy final : public HostCopy {
 public:
  PinnedCopy(const Device& device, std::shared_ptr<GpuContext> context, std::size_t bytes)
      : device_(device),
        context_(std::move(context)),
        bytes_(bytes),
        pinned_(context_->pin(bytes)) {}
  ~PinnedCopy() override { context_->unpin(pinned_); }
  PinnedCopy(const PinnedCopy&) = delete;
  PinnedCopy& operator=(const PinnedCopy&) = delete;

  void start(const Buffer& from, std::size_t offset) override {
    device_.want_inside(from, offset, bytes_, "host_copy");
    context_->start_copy_out(pinned_, reinterpret_cast<Address>(from.address()) + offset, bytes_);
  }
  std::span<const std::byte> wait() override {
    context_->wait_for(pinned_);
    return {static_cast<const std::byte*>(pinned_.memory), bytes_};
  }

 private:
  const Device& device_;
  std::shared_ptr<GpuContext> context_;
  std::size_t bytes_;
  GpuContext::Pinned pinned_;
};

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

  std::unique_ptr<HostCopy> host_copy(std::size_t bytes) override {
    return std::make_unique<PinnedCopy>(*this, context_, bytes);
  }

  std::unique_ptr<Program> load(std::span<const std::byte> object,
                                const std::string& symbol) override {
    return std::make_unique<GpuProgram>(context_, object, symbol);
  }

  void launch(const Launch& launch) override {
    start_launch(*context_, launch, info_.compute_units);
  }

  std::unique_ptr<Recording> record(std::span<const Launch> launches) override {
    const bool overlaps = target_for(info_.architecture).overlaps_launches;
    return record_launches(context_, launches, info_.compute_units, overlaps);
  }

  bool copy_across(Buffer& to, const Buffer& from) override {
    const auto* other = dynamic_cast<const GpuBuffer*>(&from);
    if (other == nullptr) return false;
    want_inside(to, 0, from.bytes(), "copy_across");
    context_->copy_across(address_of(to), other->context(), address_of(from), from.bytes());
    return true;
  }

  void synchronize() override { context_->synchronize(); }

 private:
  static Address address_of(const Buffer& buffer) {
    return reinterpret_cast<Address>(buffer.address());
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

Sensors cuda_sensors(int index) {
  Ordinal device = 0;
  std::array<char, 32> place{};
  want(driver().device_get(&device, index), index, "finding the device");
  want(driver().pci_bus_id(place.data(), place.size(), device), index, "asking for its place");
  return read_sensors(place.data());
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
