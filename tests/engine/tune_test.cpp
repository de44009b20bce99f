// Tuning: kernels that are tried run in processes of their own, whatever they do there; what was
// fastest is what is compiled from then on.
#include <gtest/gtest.h>

#include <csignal>
#include <cstring>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/timing_process.h"
#include "engine/tune.h"
#include "engine/winners.h"
#include "graph/integer.h"

namespace brisk {
namespace {

constexpr std::int64_t count = 64;

// Of one store to p1[at], where p0 and p1 are `count` floats.
TimingTask task_of(const Node& at, const Node& value) {
  LoweredKernel lowered;
  lowered.params = {{DType::float32, false, true}, {DType::float32, true, false}};
  Part part;
  part.stages.push_back({{}, {store_to(make_param(1, DType::float32), at, value)}});
  lowered.parts = {part};
  Decisions decisions;
  TimingTask task;
  task.device = "cpu";
  task.kernel = compile_kernel(lowered, host_target(), decisions);
  task.arguments = {{DType::float32, 4 * count, false}, {DType::float32, 4 * count, true}};
  return task;
}

Node read(const Node& at) { return load_from(make_param(0, DType::float32), at); }

TEST(TimingProcess, GivesTheTimeAndSomeResults) {
  TimingTask task = task_of(constant_int(3), add(read(constant_int(5)), constant_float(10)));
  TimingProcess process(task);
  ASSERT_TRUE(process.wait_until_ready(20));
  const TimingOutcome outcome = process.measure(20);
  ASSERT_TRUE(std::holds_alternative<KernelTiming>(outcome)) << std::get<std::string>(outcome);
  const auto& timing = std::get<KernelTiming>(outcome);
  EXPECT_GT(timing.seconds, 0);
  EXPECT_LT(timing.seconds, 1);
  ASSERT_EQ(timing.results.size(), 1U);
  ASSERT_EQ(timing.results[0].size(), std::size_t{count});
  EXPECT_GE(timing.results[0][3], 9) << "what it stored";
  EXPECT_LE(timing.results[0][2], 1) << "random numbers between -1 and 1";
}

TEST(TimingProcess, SameSeedSameData) {
  TimingTask task = task_of(constant_int(3), read(constant_int(5)));
  const auto results = [&] {
    const TimingOutcome outcome = TimingProcess(task).measure(20);
    return std::get<KernelTiming>(outcome).results;
  };
  const auto first = results();
  EXPECT_EQ(results(), first);
  task.seed = 2;
  EXPECT_NE(results(), first);
}

TEST(TimingProcess, AKernelThatHangsIsGivenUp) {
  const Node k = make_range(0, std::int64_t{1} << 46);
  const Node sum = reduce_over(ReduceOp::add, read(mod(k, constant_int(count))), {k});
  TimingProcess process(task_of(constant_int(0), sum));
  ASSERT_TRUE(process.wait_until_ready(20));
  const TimingOutcome outcome = process.measure(0.5);
  ASSERT_TRUE(std::holds_alternative<std::string>(outcome));
  EXPECT_EQ(std::get<std::string>(outcome), "gave no answer within 0.5 s");
}

TEST(TimingProcess, AKernelThatCrashesIsAFailure) {
  const TimingTask task = task_of(constant_int(std::int64_t{1} << 44), read(constant_int(0)));
  const TimingOutcome outcome = TimingProcess(task).measure(20);
  ASSERT_TRUE(std::holds_alternative<std::string>(outcome));
  const std::string& how = std::get<std::string>(outcome);
  // By a status where a sanitizer takes the signal.
  EXPECT_TRUE(how.starts_with("was ended by signal 11") || how.starts_with("ended with status"))
      << how;
}

TEST(TimingProcess, WhatCannotBeMadeReadySaysWhy) {
  TimingTask task = task_of(constant_int(3), read(constant_int(5)));
  task.device = "cuda:77";
  TimingProcess process(task);
  EXPECT_FALSE(process.wait_until_ready(20));
  const TimingOutcome outcome = process.measure(20);
  ASSERT_TRUE(std::holds_alternative<std::string>(outcome));
  EXPECT_NE(std::get<std::string>(outcome).find("is not there"), std::string::npos)
      << std::get<std::string>(outcome);
}

TEST(TimingTask, IsTheSameAfterItsJourney) {
  TimingTask task = task_of(constant_int(3), read(constant_int(5)));
  task.variables = {{variable("position", 0, 100), 7}};
  const std::vector<std::byte> bytes = task.pack();
  const auto other = TimingTask::unpack(bytes);
  ASSERT_TRUE(other);
  EXPECT_EQ(other->pack(), bytes);
  for (std::size_t end = 0; end < bytes.size(); end += 7)
    EXPECT_FALSE(TimingTask::unpack(std::span(bytes).first(end))) << end;
}

// A product of matrices, of a size that no other test has.
Node product(Engine& engine, std::int64_t rows) {
  const std::int64_t columns = 96, depth = 88;
  const auto leaf = [&](std::int64_t a, std::int64_t b) {
    std::vector<float> values(static_cast<std::size_t>(a * b));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(i * 37 % 101) / 101.F - 0.5F;
    return engine.upload(DType::float32, {a, b}, std::as_bytes(std::span(values)), nullptr);
  };
  const Shape cube = {rows, columns, depth};
  const Node x = expand(reshape(leaf(rows, depth), {rows, 1, depth}), cube);
  const Node y = expand(reshape(leaf(columns, depth), {1, columns, depth}), cube);
  return reshape(reduce(ReduceOp::add, mul(x, y), {2}), {rows, columns});
}

TEST(Tune, TriesTheOptionsOfAClassOnceAndKeepsTheBest) {
  Engine& engine = Engine::shared();
  Tuner& tuner = Tuner::shared();
  const Node root = product(engine, 77);
  const std::vector<std::byte> before = engine.read(engine.realize(std::vector<Node>{root})[0]);
  tuner.start(60, true);
  const std::vector<std::byte> after = engine.read(engine.realize(std::vector<Node>{root})[0]);
  std::vector<Tuned> results = tuner.take_results();
  ASSERT_EQ(results.size(), 1U);
  EXPECT_GE(results[0].tried, 2);
  EXPECT_TRUE(results[0].failures.empty()) << results[0].failures[0];
  EXPECT_GT(results[0].guessed, 0);
  EXPECT_LE(results[0].tuned, results[0].guessed);
  ASSERT_EQ(after.size(), before.size());
  for (std::size_t i = 0; i < before.size(); i += 4) {
    float a, b;
    std::memcpy(&a, &before[i], 4);
    std::memcpy(&b, &after[i], 4);
    ASSERT_NEAR(a, b, 1e-4);
  }
  tuner.start(60, false);
  engine.realize(std::vector<Node>{product(engine, 76)});
  EXPECT_TRUE(tuner.take_results().empty()) << "of a class that is known by now";
  tuner.start(0, false);
  engine.realize(std::vector<Node>{product(engine, 78)});
  EXPECT_TRUE(tuner.take_results().empty()) << "the time is up";
}

TEST(Winners, AreFoundOfTheirTarget) {
  const Target here = host_target();
  const Target there = target_for("neoverse-v1");
  keep_winner(here, "a test's shapes", "4x4");
  EXPECT_EQ(winners_for(here)("a test's shapes"), "4x4");
  EXPECT_EQ(winners_for(there)("a test's shapes"), std::nullopt);
  keep_winner(here, "a test's shapes", "8x8");
  EXPECT_EQ(winners_for(here)("a test's shapes"), "8x8");
}

}  // namespace
}  // namespace brisk
