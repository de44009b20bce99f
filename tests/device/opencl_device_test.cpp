// Devices with an OpenCL driver: memory, windows, code from source and from the driver's own form,
// launches in phases, errors. Where there is none, these tests say so and are skipped.
#include "device/opencl/opencl_device.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/error.h"

namespace brisk {
namespace {

// p1[i] = p0[i] * n0 + scratch, in tasks; then one task that negates p1[0].
constexpr const char* source = R"(// OpenCL C of a test
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void scale_0(__global uchar* b0, long at0, __global uchar* b1, long at1, long n0,
             __global uchar* scratch, long first, long tasks) {
  if (first + (long)get_global_id(0) >= tasks) return;
  const long i = first + (long)get_global_id(0);
  __global long* own = (__global long*)(scratch + get_global_id(0) * 16777216);
  own[0] = i;
  ((__global long*)(b1 + at1))[i] = ((__global const long*)(b0 + at0))[i] * n0 + own[0];
}
__kernel __attribute__((reqd_work_group_size(GROUP, 1, 1)))
void scale_1(__global uchar* b0, long at0, __global uchar* b1, long at1, long n0,
             __global uchar* scratch, long first, long tasks) {
  if (first + (long)get_global_id(0) >= tasks) return;
  ((__global long*)(b1 + at1))[0] = -((__global long*)(b1 + at1))[0];
}
)";

std::span<const std::byte> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

class OpenClDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (opencl_devices().empty()) GTEST_SKIP() << "there is no OpenCL device on this machine";
    device_ = make_opencl_device(0);
  }

  template <typename F>
  static void expect_error(F f, const std::vector<std::string>& parts) {
    try {
      f();
      FAIL() << "no error";
    } catch (const DeviceError& error) {
      for (const std::string& part : parts) {
        EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
      }
    }
  }

  std::unique_ptr<Device> device_;
};

TEST_F(OpenClDeviceTest, IsListedAndHasATarget) {
  EXPECT_EQ(device_->info().id, "opencl:0");
  EXPECT_EQ(opencl_target(*device_).isa, Isa::opencl_c);
  EXPECT_GE(opencl_target(*device_).vector_bytes, 16);
}

TEST_F(OpenClDeviceTest, CopiesInAndOutAtOffsetsAndThroughWindows) {
  std::vector<std::byte> data(1000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7);
  const auto whole = device_->wrap(data, nullptr);
  const auto window = device_->window(whole, 100, 50);
  std::vector<std::byte> out(40);
  device_->copy_out(out, *window, 10);
  EXPECT_EQ(std::memcmp(out.data(), data.data() + 110, out.size()), 0);
  device_->copy_in(*window, 1, std::span(data).first(3));
  device_->copy_out(std::span(out).first(3), *whole, 101);
  EXPECT_EQ(std::memcmp(out.data(), data.data(), 3), 0);
  expect_error([&] { device_->copy_out(out, *window, 20); }, {"copy_out of 40 bytes at 20"});
}

TEST_F(OpenClDeviceTest, ZerosAreZero) {
  const auto zeros = device_->allocate_zeros(4097);
  std::vector<std::byte> out(4097, std::byte{1});
  device_->copy_out(out, *zeros, 0);
  EXPECT_EQ(out, std::vector<std::byte>(4097));
}

TEST_F(OpenClDeviceTest, MemoryThatIsNotThereGivesWantedAndFree) {
  expect_error([&] { device_->allocate(std::size_t{1} << 50); },
               {"out of memory: wanted 1125899906842624 bytes", "are free", "opencl:0"});
}

TEST_F(OpenClDeviceTest, SourceThatDoesNotBuildGivesTheDriversLog) {
  const std::string wrong = "// OpenCL C\n__kernel void wrong_0() { unheard_of = 1; }\n";
  expect_error([&] { device_->load(bytes_of(wrong), "wrong"); }, {"building wrong", "unheard_of"});
}

TEST_F(OpenClDeviceTest, LaunchesPhasesInOrderFromSourceAndFromItsBinary) {
  const auto from_source = device_->load(bytes_of(source), "scale");
  const std::vector<std::byte> binary = from_source->binary();
  ASSERT_FALSE(binary.empty());
  const auto from_binary = device_->load(binary, "scale");
  std::vector<std::int64_t> numbers(10);
  std::iota(numbers.begin(), numbers.end(), 1);
  const auto in = device_->wrap(std::as_bytes(std::span(numbers)), nullptr);
  for (const Program* program : {from_source.get(), from_binary.get()}) {
    const auto out = device_->allocate_zeros(88);
    // The result lies 8 bytes into its buffer; there is scratch memory for few tasks at a time.
    void* const buffers[] = {in->address(), static_cast<std::byte*>(out->address()) + 8};
    const std::int64_t variables[] = {5};
    const std::int64_t tasks[] = {10, 1};
    Launch launch;
    launch.program = program;
    launch.buffers = buffers;
    launch.variables = variables;
    launch.phase_tasks = tasks;
    launch.scratch_bytes = std::size_t{16} << 20;
    device_->launch(launch);
    device_->synchronize();
    std::vector<std::int64_t> got(11);
    device_->copy_out(std::as_writable_bytes(std::span(got)), *out, 0);
    EXPECT_EQ(got, (std::vector<std::int64_t>{0, -5, 11, 17, 23, 29, 35, 41, 47, 53, 59}));
  }
}

}  // namespace
}  // namespace brisk
