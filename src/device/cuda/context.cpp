#include "device/cuda/context.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <limits>
#include <thread>

#include "base/error.h"

namespace brisk::cuda {

namespace {

constexpr std::size_t granule = 256;  // of allocations: kernels may read a vector past the end
constexpr std::size_t staging_bytes = 4 << 20;  // of a part that is copied at once
// Above it several threads fill pinned memory: one reads some 10 GB/s, the bus takes 55.
constexpr std::size_t worth_threads = 2 * staging_bytes;

}  // namespace

GpuContext::GpuContext(int number) : id_(fmt::format("cuda:{}", number)) {
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

GpuContext::~GpuContext() {
  if (driver().context_set(context_) != success) return;
  for (Lane& lane : lanes_) {
    for (Staging& staging : lane.parts) unpin(staging);
  }
  if (stream_ != nullptr) driver().stream_destroy(stream_);
  driver().context_release(device_);
  if (lost_) driver().context_reset(device_);
}

void GpuContext::want(Status error, const char* what) {
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

int GpuContext::attribute(int which) {
  int value = 0;
  want(driver().device_attribute(&value, which, device_), "asking for an attribute");
  return value;
}

std::pair<std::size_t, std::size_t> GpuContext::memory() {
  enter();
  std::pair<std::size_t, std::size_t> bytes;
  want(driver().memory_info(&bytes.first, &bytes.second), "asking for memory");
  return bytes;
}

Status GpuContext::try_allocate(Address* address, std::size_t bytes) const {
  if (pool_ == nullptr) return driver().memory_allocate(address, bytes);
  return driver().memory_allocate_ordered(address, bytes, stream_);
}

Address GpuContext::allocate(std::size_t wanted) {
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

void GpuContext::free(Address address) noexcept {
  if (driver().context_set(context_) != success) return;
  if (pool_ != nullptr) {
    driver().memory_free_ordered(address, stream_);
  } else {
    driver().memory_free(address);
  }
}

void GpuContext::fill_zeros(Address address, std::size_t bytes) {
  enter();
  want(driver().fill_bytes(address, 0, bytes, stream_), "filling memory");
}

GpuContext::Pinned GpuContext::pin(std::size_t bytes) {
  enter();
  Pinned pinned;
  want(driver().host_allocate(&pinned.memory, bytes, 0), "allocating pinned memory");
  const Status error = driver().event_create(&pinned.done, event_disable_timing);
  if (error != success) {
    unpin(pinned);
    want(error, "making an event");
  }
  return pinned;
}

void GpuContext::unpin(Pinned& pinned) noexcept {
  if (driver().context_set(context_) != success) return;
  if (pinned.done != nullptr) {
    driver().event_synchronize(pinned.done);
    driver().event_destroy(pinned.done);
  }
  if (pinned.memory != nullptr) driver().host_free(pinned.memory);
  pinned = {};
}

void GpuContext::start_copy_out(const Pinned& to, Address from, std::size_t bytes) {
  enter();
  want(driver().copy_to_host(to.memory, from, bytes, stream_), "copying from the device");
  want(driver().event_record(to.done, stream_), "recording an event");
}

void GpuContext::wait_for(const Pinned& pinned) {
  enter();
  want(driver().event_synchronize(pinned.done), "waiting for a copy");
}

// One that no copy uses any more.
GpuContext::Staging& GpuContext::next_staging(Lane& lane) {
  Staging& staging = lane.parts[lane.turn ^= 1];
  if (staging.done == nullptr) {
    staging = pin(staging_bytes);
  } else {
    wait_for(staging);
  }
  return staging;
}

// Parts of the bytes, as long as there are some that no other thread has taken.
void GpuContext::copy_parts(Lane& lane, std::atomic<std::size_t>& next, Address to,
                            const std::byte* from, std::size_t bytes) {
  enter();
  for (std::size_t at = next.fetch_add(staging_bytes); at < bytes;
       at = next.fetch_add(staging_bytes)) {
    const std::size_t part = std::min(staging_bytes, bytes - at);
    Staging& staging = next_staging(lane);
    std::memcpy(staging.memory, from + at, part);
    want(driver().copy_to_device(to + at, staging.memory, part, stream_), "copying to the device");
    want(driver().event_record(staging.done, stream_), "recording an event");
  }
}

void GpuContext::copy_in(Address to, const std::byte* from, std::size_t bytes) {
  const std::lock_guard lock(staging_mutex_);
  std::atomic<std::size_t> next{0};
  if (bytes < worth_threads) return copy_parts(lanes_[0], next, to, from, bytes);
  const std::size_t parts = (bytes + staging_bytes - 1) / staging_bytes;
  const std::size_t count =
      std::min(parts, std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, most_lanes));
  std::array<std::exception_ptr, most_lanes> failures;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      try {
        copy_parts(lanes_[i], next, to, from, bytes);
      } catch (...) {
        failures[i] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

// While one part is copied on the host, the next one is on its way.
void GpuContext::copy_out(std::byte* to, Address from, std::size_t bytes) {
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
    Staging& staging = next_staging(lanes_[0]);
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

void GpuContext::copy_across(Address to, GpuContext& other, Address from, std::size_t bytes) {
  other.synchronize();
  enter();
  want(driver().copy_peer(to, context_, from, other.context_, bytes, stream_),
       "copying from another device");
  synchronize();  // the other one may overwrite its memory now
}

std::vector<std::byte> GpuContext::assemble(std::span<const std::byte> text,
                                            const std::string& symbol) {
  enter();
  JitLog log;
  Link link = nullptr;
  want(driver().link_create(log.options.size(), log.options.data(), log.values.data(), &link),
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
                 driver().name_of(error), log.text.data());
  }
  return result;
}

void GpuContext::launched(const std::string& symbol) {
  const std::lock_guard lock(name_mutex_);
  last_launch_ = symbol;
}

std::string GpuContext::last_launch() {
  const std::lock_guard lock(name_mutex_);
  return last_launch_.empty() ? "none" : last_launch_;
}

void GpuContext::synchronize() {
  enter();
  want(driver().stream_synchronize(stream_), "waiting for the device");
}

}  // namespace brisk::cuda
