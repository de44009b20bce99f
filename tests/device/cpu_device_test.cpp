// The CPU device's memory: alignment, windows, foreign memory, reuse, and what its errors say.
#include "device/cpu/cpu_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "base/error.h"

namespace brisk {
namespace {

class CpuDevice : public testing::Test {
 protected:
  template <typename Action>
  static std::string error_of(Action&& action) {
    try {
      action();
    } catch (const DeviceError& error) {
      return error.what();
    }
    return "";
  }
  std::unique_ptr<Device> device_ = make_cpu_device(2);
};

TEST_F(CpuDevice, SaysWhatItIs) {
  EXPECT_EQ(device_->info().id, "cpu");
  EXPECT_EQ(device_->info().compute_units, 2);
  EXPECT_GT(device_->info().memory_bytes, std::size_t{1} << 28);
  EXPECT_LE(device_->info().free_bytes, device_->info().memory_bytes);
}

TEST_F(CpuDevice, SaysTheLastCacheThatAProcessorReaches) {
  const std::filesystem::path folder = "/sys/devices/system/cpu/cpu0/cache";
  std::error_code error;
  std::size_t largest = 0;  // in KiB
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    std::size_t size = 0;
    if (std::ifstream(entry.path() / "size") >> size) largest = std::max(largest, size);
  }
  if (largest == 0) GTEST_SKIP() << folder << " says nothing of caches here";
  EXPECT_EQ(device_->info().cache_bytes, largest << 10);
}

TEST_F(CpuDevice, AllocatesAlignedMemoryOfAnySize) {
  for (const std::size_t bytes : {0UL, 1UL, 63UL, 4097UL, 5UL << 20}) {
    const auto buffer = device_->allocate(bytes);
    EXPECT_EQ(buffer->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->address()) % 64, 0U);
    std::memset(buffer->address(), 1, bytes);
  }
}

TEST_F(CpuDevice, GivesFreedMemoryOutAgain) {
  auto buffer = device_->allocate(3 << 20);
  const void* first = buffer->address();
  buffer.reset();
  EXPECT_EQ(device_->allocate(3 << 20)->address(), first);
}

TEST_F(CpuDevice, CopiesInAndOut) {
  std::vector<std::byte> data(1000, std::byte{7});
  const auto buffer = device_->allocate(2000);
  std::memset(buffer->address(), 0, 2000);
  device_->copy_in(*buffer, 500, data);
  std::vector<std::byte> back(1002);
  device_->copy_out(back, *buffer, 499);
  EXPECT_EQ(back[0], std::byte{0});
  EXPECT_EQ(back[1], std::byte{7});
  EXPECT_EQ(back[1000], std::byte{7});
  EXPECT_EQ(back[1001], std::byte{0});
}

TEST_F(CpuDevice, AWindowIsPartOfItsBufferAndKeepsIt) {
  auto whole = device_->allocate(1024);
  auto* first = static_cast<std::byte*>(whole->address());
  const std::weak_ptr<Buffer> watch = whole;
  auto window = device_->window(std::move(whole), 128, 256);
  EXPECT_EQ(window->address(), first + 128);
  EXPECT_EQ(window->bytes(), 256U);
  EXPECT_FALSE(watch.expired());
  window.reset();
  EXPECT_TRUE(watch.expired());
}

TEST_F(CpuDevice, WrapsHostMemoryInPlaceAndKeepsItsOwner) {
  auto owner = std::make_shared<std::vector<std::byte>>(100);
  const std::weak_ptr<std::vector<std::byte>> watch = owner;
  auto buffer = device_->wrap(*owner, owner);
  EXPECT_EQ(buffer->address(), owner->data());
  owner.reset();
  EXPECT_FALSE(watch.expired());
  buffer.reset();
  EXPECT_TRUE(watch.expired());
}

TEST_F(CpuDevice, SaysHowMuchWasWantedWhenMemoryIsOut) {
  const std::string error = error_of([&] { device_->allocate(std::size_t{1} << 50); });
  EXPECT_TRUE(error.starts_with("cpu: out of memory: wanted 1048576.00 GiB, available ")) << error;
  EXPECT_NE(error_of([&] { device_->allocate(~std::size_t{0}); }), "");
}

TEST_F(CpuDevice, RefusesCopiesAndWindowsOutside) {
  const auto buffer = device_->allocate(100);
  std::vector<std::byte> data(60);
  EXPECT_EQ(error_of([&] { device_->copy_in(*buffer, 41, data); }),
            "cpu: copy_in of 60 bytes at 41 in a buffer of 100 bytes");
  EXPECT_EQ(error_of([&] { device_->copy_out(data, *buffer, ~std::size_t{0}); }),
            "cpu: copy_out of 60 bytes at 18446744073709551615 in a buffer of 100 bytes");
  EXPECT_EQ(error_of([&] { device_->window(buffer, 99, 2); }),
            "cpu: window of 2 bytes at 99 in a buffer of 100 bytes");
}

TEST_F(CpuDevice, WantsAtLeastOneThread) { EXPECT_THROW(make_cpu_device(0), UserError); }

}  // namespace
}  // namespace brisk
