// Plans on a device that replays recordings: it is the CPU, but for launches that it keeps, so that
// what a plan asks of a recording is tested without a GPU.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "device/addressed_buffer.h"
#include "device/cpu/cpu_device.h"
#include "engine/engine.h"

namespace brisk {
namespace {

struct Counts {
  int recordings = 0;
  int updates = 0;
  int replays = 0;
  int launches = 0;  // one by one
};

// A launch with what it points to.
struct KeptLaunch {
  explicit KeptLaunch(const Launch& launch) { set(launch); }
  void set(const Launch& launch) {
    launch_ = launch;
    buffers_.assign(launch.buffers.begin(), launch.buffers.end());
    variables_.assign(launch.variables.begin(), launch.variables.end());
    tasks_.assign(launch.phase_tasks.begin(), launch.phase_tasks.end());
  }
  Launch get() const {
    Launch launch = launch_;
    launch.buffers = buffers_;
    launch.variables = variables_;
    launch.phase_tasks = tasks_;
    return launch;
  }

 private:
  Launch launch_;
  std::vector<void*> buffers_;
  std::vector<std::int64_t> variables_;
  std::vector<std::int64_t> tasks_;
};

class KeptRecording final : public Recording {
 public:
  KeptRecording(Device& device, std::span<const Launch> launches, Counts& counts)
      : device_(device), launches_(launches.begin(), launches.end()), counts_(counts) {}
  void update(std::size_t i, const Launch& launch) override {
    ++counts_.updates;
    launches_.at(i).set(launch);
  }
  void replay() override {
    ++counts_.replays;
    for (const KeptLaunch& launch : launches_) device_.launch(launch.get());
  }

 private:
  Device& device_;
  std::vector<KeptLaunch> launches_;
  Counts& counts_;
};

class RecordingDevice final : public Device {
 public:
  explicit RecordingDevice(Counts& counts) : cpu_(make_cpu_device(2)), counts_(counts) {}

  const DeviceInfo& info() const override { return cpu_->info(); }
  std::shared_ptr<Buffer> allocate(std::size_t bytes) override {
    return own(cpu_->allocate(bytes));
  }
  std::shared_ptr<Buffer> allocate_zeros(std::size_t bytes) override {
    return own(cpu_->allocate_zeros(bytes));
  }
  std::shared_ptr<Buffer> window(std::shared_ptr<Buffer> whole, std::size_t offset,
                                 std::size_t bytes) override {
    return own(cpu_->window(std::move(whole), offset, bytes));
  }
  std::shared_ptr<Buffer> wrap(std::span<const std::byte> host,
                               std::shared_ptr<void> keep) override {
    return own(cpu_->wrap(host, std::move(keep)));
  }
  void copy_in(Buffer& to, std::size_t offset, std::span<const std::byte> from) override {
    cpu_->copy_in(to, offset, from);
  }
  void copy_out(std::span<std::byte> to, const Buffer& from, std::size_t offset) override {
    cpu_->copy_out(to, from, offset);
  }
  std::unique_ptr<Program> load(std::span<const std::byte> object,
                                const std::string& symbol) override {
    return cpu_->load(object, symbol);
  }
  void launch(const Launch& launch) override {
    ++counts_.launches;
    cpu_->launch(launch);
  }
  void synchronize() override { cpu_->synchronize(); }
  std::unique_ptr<Recording> record(std::span<const Launch> launches) override {
    ++counts_.recordings;
    return std::make_unique<KeptRecording>(*cpu_, launches, counts_);
  }

 private:
  std::shared_ptr<Buffer> own(std::shared_ptr<Buffer> buffer) {
    void* address = buffer->address();
    const std::size_t bytes = buffer->bytes();
    return std::make_shared<AddressedBuffer>(*this, address, bytes, std::move(buffer));
  }
  std::unique_ptr<Device> cpu_;
  Counts& counts_;
};

class PlanRecording : public testing::Test {
 protected:
  Counts counts_;
  Engine engine_{std::make_unique<RecordingDevice>(counts_), host_target()};

  Node all(float value) {  // [100, 8]
    const std::vector<float> values(800, value);
    return engine_.upload(DType::float32, {100, 8}, std::as_bytes(std::span(values)), nullptr);
  }
  float first(const Plan& plan) {
    const std::vector<std::byte> bytes = engine_.read(plan.outputs()[0]);
    float value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  // The first n rows turned times themselves, and the rows times that: two kernels.
  static std::vector<Node> two_products(const Node& x, const Size& n) {
    const Node rows = shrink(x, {0, n, 0, 8});
    const Node square = product(permute(rows, {1, 0}), rows);
    return {product(rows, square), square};
  }
  static Node product(const Node& a, const Node& b) {  // [M, K] · [K, N]
    const Shape cube = {a.shape()[0], b.shape()[1], a.shape()[1]};
    const Node left = expand(reshape(a, {cube[0], 1, cube[2]}), cube);
    const Node right = expand(reshape(permute(b, {1, 0}), {1, cube[1], cube[2]}), cube);
    return reshape(reduce(ReduceOp::add, mul(left, right), {2}), {cube[0], cube[1]});
  }
  // For an x of ones.
  static float expected(std::int64_t n) { return 8 * static_cast<float>(n); }
};

TEST_F(PlanRecording, TheSecondRunRecordsAndLaterOnesReplay) {
  const Node x = all(1);
  const std::vector<Node> roots = two_products(x, 100);
  Plan plan(roots, engine_);
  ASSERT_EQ(plan.kernels().size(), 2U);
  for (int i = 0; i < 4; ++i) {
    plan.run();
    EXPECT_EQ(first(plan), expected(100));
  }
  EXPECT_EQ(counts_.recordings, 1);
  EXPECT_EQ(counts_.updates, 0);
  EXPECT_EQ(counts_.replays, 3);
  EXPECT_EQ(counts_.launches, 2);
  const std::vector<float> twos(800, 2);
  engine_.write(x, std::as_bytes(std::span(twos)));
  plan.run();
  EXPECT_EQ(first(plan), 8 * expected(100)) << "the buffers are read as they are";
}

TEST_F(PlanRecording, ChangedVariablesAreUpdatedAndEqualOnesAreNot) {
  const Node x = all(1);
  const Size n = variable("n", 1, 100);
  const std::vector<Node> roots = two_products(x, n);
  Plan plan(roots, engine_);
  for (const std::int64_t count : {5, 7, 7, 100, 1}) {
    plan.run({{"n", count}});
    EXPECT_EQ(first(plan), expected(count)) << count;
  }
  EXPECT_EQ(counts_.recordings, 1);
  EXPECT_EQ(counts_.updates, 2 * 2);  // two kernels, at 100 and 1
  EXPECT_EQ(counts_.replays, 4);
}

TEST_F(PlanRecording, AMissingVariableLeavesNothingStale) {
  const Node x = all(1);
  const std::vector<Node> roots = two_products(x, variable("n", 1, 100));
  Plan plan(roots, engine_);
  for (const std::int64_t count : {5, 7}) plan.run({{"n", count}});
  EXPECT_THROW(plan.run({{"m", 3}}), UserError);
  EXPECT_THROW(plan.run({}), UserError);
  plan.run({{"n", 9}});
  EXPECT_EQ(first(plan), expected(9));
}

TEST_F(PlanRecording, ATimedRunBetweenReplaysDoesNotDisturbThem) {
  const Node x = all(1);
  const std::vector<Node> roots = two_products(x, variable("n", 1, 100));
  Plan plan(roots, engine_);
  for (const std::int64_t count : {5, 7}) plan.run({{"n", count}});
  plan.timed_run({{"n", 50}});
  EXPECT_EQ(first(plan), expected(50));
  plan.run({{"n", 50}});
  EXPECT_EQ(first(plan), expected(50));
  plan.run({{"n", 7}});
  EXPECT_EQ(first(plan), expected(7));
}

TEST_F(PlanRecording, AGraphThatRunsOnceIsNotRecorded) {
  const Node x = all(1);
  engine_.realize(two_products(x, 100));
  EXPECT_EQ(counts_.recordings, 0);
  EXPECT_EQ(counts_.launches, 2);
}

}  // namespace
}  // namespace brisk
