// NVIDIA's GPUs as devices. Where there is none, the tests say so; what can be told without one is
// tested everywhere.
#include "device/cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/target.h"
#include "codegen/codegen.h"

namespace brisk {
namespace {

std::string message_of(const auto& work) {
  try {
    work();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "no DeviceError";
}

TEST(CudaDriver, ADeviceThatIsNotThereIsSaidSo) {
  const std::string said = message_of([] { make_cuda_device(99); });
  EXPECT_TRUE(said.starts_with("cuda:99 is not there")) << said;
  EXPECT_EQ(cuda_devices().empty(), !why_no_cuda_devices().empty());
}

class CudaDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda_devices().empty()) GTEST_SKIP() << why_no_cuda_devices();
    device_ = make_cuda_device(0);
  }

  std::vector<std::byte> numbers(std::size_t bytes) const {
    std::vector<std::byte> data(bytes);
    for (std::size_t i = 0; i < bytes; ++i) data[i] = static_cast<std::byte>(i * 7 + i / 251);
    return data;
  }

  // p0[i + offset] = 2 p0[i + offset], in groups of 64 threads.
  Kernel doubling(std::int64_t count, std::int64_t offset) const {
    const Node p = make_param(0, DType::float32);
    const Node group = make_range(0, (count + 63) / 64);
    const Node thread = make_range(1, 64);
    const Node at = add(mul(group, constant_int(64)), thread);
    const Node place = add(at, constant_int(offset));
    Kernel kernel;
    kernel.name = "doubling";
    kernel.params = {{DType::float32, true, true}};
    kernel.body =
        loop(LoopKind::parallel, group,
             loop(LoopKind::threads, thread,
                  branch(cmplt(at, constant_int(count)),
                         store_to(p, place, mul(load_from(p, place), constant_float(2))))));
    return kernel;
  }

  void launch(const Kernel& kernel, void* buffer, bool assembled) {
    const CodeObject code = compile(kernel, target_for(device_->info().architecture));
    auto program = device_->load(code.object, code.symbol);
    if (assembled) program = device_->load(program->binary(), code.symbol);
    std::vector<std::int64_t> tasks;
    for (const Size& size : phase_tasks(kernel)) tasks.push_back(size.value());
    const std::vector<PhaseNeeds> needs(tasks.size(), {64, 0, false});
    Launch launch;
    launch.program = program.get();
    launch.buffers = {&buffer, 1};
    launch.phase_tasks = tasks;
    launch.phase_needs = needs;
    device_->launch(launch);
    device_->synchronize();
  }

  std::unique_ptr<Device> device_;
};

TEST_F(CudaDevice, SaysWhatItIs) {
  const DeviceInfo& info = device_->info();
  EXPECT_EQ(info.id, "cuda:0");
  EXPECT_FALSE(info.name.empty());
  EXPECT_NO_THROW(target_for(info.architecture));
  EXPECT_GT(info.compute_units, 0);
  EXPECT_GT(info.memory_bytes, std::size_t{1} << 30);
  EXPECT_LE(info.free_bytes, info.memory_bytes);
}

TEST_F(CudaDevice, CopiesOfEverySizeComeBack) {
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{1000}, std::size_t{4} << 20, (std::size_t{9} << 20) + 3,
        (std::size_t{70} << 20) + 5}) {  // the last by several threads
    const auto data = numbers(bytes);
    const auto buffer = device_->allocate(bytes);
    device_->copy_in(*buffer, 0, data);
    std::vector<std::byte> back(bytes);
    device_->copy_out(back, *buffer, 0);
    EXPECT_EQ(back, data);
  }
  const auto zeros = device_->allocate_zeros(5000);
  device_->copy_in(*zeros, 17, numbers(100));
  std::vector<std::byte> back(5000);
  device_->copy_out(back, *zeros, 0);
  std::vector<std::byte> wanted(5000);
  std::memcpy(wanted.data() + 17, numbers(100).data(), 100);
  EXPECT_EQ(back, wanted);
  EXPECT_TRUE(message_of([&] { device_->copy_out(back, *zeros, 1); }).find("5000 bytes at 1") !=
              std::string::npos);
}

TEST_F(CudaDevice, RunsKernelsFromTextAndFromMachineCode) {
  std::vector<float> values(1000);
  std::iota(values.begin(), values.end(), 0.0F);
  const auto buffer = device_->allocate(4000);
  device_->copy_in(*buffer, 0, std::as_bytes(std::span(values)));
  launch(doubling(1000, 0), buffer->address(), false);
  launch(doubling(1000, 0), buffer->address(), true);
  std::vector<float> back(1000);
  device_->copy_out(std::as_writable_bytes(std::span(back)), *buffer, 0);
  for (std::size_t i = 0; i < back.size(); ++i) ASSERT_EQ(back[i], 4 * values[i]);
}

TEST_F(CudaDevice, RecordedLaunchesReplayAndTakeNewTasks) {
  const std::vector<float> ones(1000, 1);
  const auto buffer = device_->allocate(4000);
  device_->copy_in(*buffer, 0, std::as_bytes(std::span(ones)));
  const auto last = [&] {
    std::vector<float> values(1000);
    device_->copy_out(std::as_writable_bytes(std::span(values)), *buffer, 0);
    return values.back();
  };
  const Kernel kernel = doubling(1000, 0);
  const CodeObject code = compile(kernel, target_for(device_->info().architecture));
  const auto program = device_->load(code.object, code.symbol);
  void* address = buffer->address();
  const std::int64_t groups = 16;
  const std::int64_t none = 0;
  const PhaseNeeds needs = {64, 0, false};
  Launch launch;
  launch.program = program.get();
  launch.buffers = {&address, 1};
  launch.phase_tasks = {&groups, 1};
  launch.phase_needs = {&needs, 1};
  Launch idle = launch;
  idle.phase_tasks = {&none, 1};
  const auto recording = device_->record(std::vector<Launch>{launch, idle, launch});
  if (recording == nullptr) GTEST_SKIP() << "the driver has no graphs that can be changed";
  EXPECT_EQ(last(), 1) << "recording runs nothing";
  recording->replay();
  EXPECT_EQ(last(), 4);
  recording->update(0, idle);
  recording->replay();
  EXPECT_EQ(last(), 8);
  recording->update(0, launch);
  recording->update(1, launch);
  recording->replay();
  recording->replay();
  EXPECT_EQ(last(), 512);
}

TEST_F(CudaDevice, TooMuchMemoryIsSaidWithWhatThereIs) {
  const std::string said = message_of([&] { device_->allocate(std::size_t{1} << 45); });
  EXPECT_NE(said.find("35184372088832 bytes were wanted"), std::string::npos) << said;
  EXPECT_NE(said.find("are free"), std::string::npos) << said;
  EXPECT_NO_THROW(device_->allocate(1 << 20));
}

TEST_F(CudaDevice, TextThatIsNoKernelIsRefused) {
  const std::string text = "this is no PTX";
  std::vector<std::byte> bytes(text.size() + 1);
  std::memcpy(bytes.data(), text.c_str(), bytes.size());
  EXPECT_NE(message_of([&] { device_->load(bytes, "k"); }).find("does not assemble kernel 'k'"),
            std::string::npos);
}

// The last of this file: it breaks the process's context.
TEST_F(CudaDevice, ZAnIllegalAddressIsADeviceErrorThatNamesTheKernel) {
  const auto buffer = device_->allocate(4000);
  const std::string said =
      message_of([&] { launch(doubling(1000, std::int64_t{1} << 40), buffer->address(), false); });
  EXPECT_NE(said.find("brisk_doubling"), std::string::npos) << said;
  EXPECT_NE(said.find("must be opened anew"), std::string::npos) << said;
  RecordProperty("said", said);
}

}  // namespace
}  // namespace brisk
