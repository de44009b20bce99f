// Plans: replay over buffers and variables that change, several threads, thousands of realizations,
// and what the kernel cache spares or must not spoil.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "device/cpu/cpu_device.h"
#include "engine/compile.h"
#include "engine/engine.h"
#include "engine/kernel_cache.h"
#include "engine/structure.h"
#include "graph/evaluate.h"
#include "kernel/lower.h"

namespace brisk {
namespace {

std::vector<float> counting(std::size_t count, float first = 0) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

Node upload(Engine& engine, const std::vector<float>& values, const Shape& shape) {
  return engine.upload(DType::float32, shape, std::as_bytes(std::span(values)), nullptr);
}

std::vector<float> floats(Engine& engine, const Node& node) {
  const std::vector<std::byte> bytes = engine.read(node);
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

TEST(Plan, ReplaysReadBuffersAsTheyAreAndVariablesAsTheyAreGiven) {
  Engine& engine = Engine::shared();
  const Node n = variable("n", 0, 64);
  const Node a = upload(engine, counting(64), {64});
  const Node root = reduce(ReduceOp::add, shrink(a, {0, Size(n)}), {0});
  Plan plan({&root, 1}, engine);
  for (const float first : {0.0F, 5.0F}) {
    const std::vector<float> values = counting(64, first);
    engine.write(a, std::as_bytes(std::span(values)));
    for (const std::int64_t size : {64, 1, 0, 17}) {
      plan.run({{"n", size}});
      const auto count = static_cast<float>(size);
      EXPECT_EQ(floats(engine, plan.outputs()[0])[0], count * (count - 1) / 2 + first * count);
    }
  }
  EXPECT_THROW(plan.run({{"n", 65}}), UserError);
  EXPECT_THROW(plan.run({}), UserError);
}

TEST(Engine, WritesAPartOfABufferAndNothingBeyondIt) {
  Engine& engine = Engine::shared();
  const Node a = upload(engine, counting(6), {6});
  const std::vector<float> part = {-1, -2};
  const auto bytes = std::as_bytes(std::span(part));
  engine.write(a, bytes, 12);
  EXPECT_EQ(floats(engine, a), (std::vector<float>{0, 1, 2, -1, -2, 5}));
  EXPECT_THROW(engine.write(a, bytes, 20), InternalError);
  EXPECT_THROW(engine.write(a, bytes, 28), InternalError);
}

TEST(Plan, ReplayedStoresGoOnFromWhatTheLastOneLeft) {
  Engine& engine = Engine::shared();
  const Node a = upload(engine, counting(10), {10});
  const Node root = store(a, mul(a, constant_float(2)));
  Plan plan({&root, 1}, engine);
  for (int i = 0; i < 5; ++i) plan.run();
  EXPECT_EQ(plan.outputs()[0], a);
  EXPECT_EQ(floats(engine, a)[3], 96);
}

TEST(Plan, KernelsSayWhatTheyReadAndWriteAndCompute) {
  Engine& engine = Engine::shared();
  const Node a = upload(engine, counting(1000), {1000});
  const Node root = add(mul(a, a), a);
  const Plan plan({&root, 1}, engine);
  ASSERT_EQ(plan.kernels().size(), 1U);
  EXPECT_EQ(plan.kernels()[0].arguments, 2);
  EXPECT_EQ(plan.kernels()[0].bytes, 8000);
  EXPECT_EQ(plan.kernels()[0].operations, 2000);
}

// a [rows, 64] · w [64, 64].
Node product(const Node& a, const Node& w) {
  const Size& rows = a.shape()[0];
  const Shape cube = {rows, 64, 64};
  const Node terms =
      mul(expand(reshape(a, {rows, 64, 1}), cube), expand(reshape(w, {1, 64, 64}), cube));
  return reshape(reduce(ReduceOp::add, terms, {1}), {rows, 64});
}

TEST(Plan, ABudgetMakesAnotherPlanOfTheSameResults) {
  Engine& engine = Engine::shared();
  const Node n = variable("n", 1, 512);
  const Node w = upload(engine, std::vector<float>(64 * 64, 1.0F / 64), {64, 64});
  const Node x = upload(engine, counting(512 * 64), {512, 64});
  for (const Size& rows : {Size(512), Size(n)}) {
    // Results that are read in the opposite order.
    std::vector<Node> results = {shrink(x, {0, rows, 0, 64})};
    for (int i = 0; i < 12; ++i) results.push_back(product(results.back(), w));
    Node root = results.back();
    for (auto result = results.rbegin(); result != results.rend(); ++result)
      root = product(add(root, *result), w);
    Plan free({&root, 1}, engine);
    const std::int64_t budget = free.intermediate_bytes() * 6 / 10;
    Plan tight({&root, 1}, engine, budget);
    EXPECT_LE(tight.intermediate_bytes(), budget);
    EXPECT_EQ(Plan({&root, 1}, engine).intermediate_bytes(), free.intermediate_bytes());
    EXPECT_EQ(Plan({&root, 1}, engine, budget).intermediate_bytes(), tight.intermediate_bytes());
    for (const std::int64_t size : {512, 7}) {
      free.run({{"n", size}});
      tight.run({{"n", size}});
      EXPECT_EQ(floats(engine, tight.outputs()[0]), floats(engine, free.outputs()[0]));
    }
    EXPECT_THROW(Plan({&root, 1}, engine, 64), UserError);
  }
}

TEST(Plan, ThreadsBuildRealizeAndReplayAtOnce) {
  Engine& engine = Engine::shared();
  const Node shared = upload(engine, counting(4096), {64, 64});
  std::atomic<int> wrong{0};
  const auto work = [&](int thread) {
    const auto t = static_cast<float>(thread);
    const Node own = mul(shared, constant_float(t));
    const Node sums = reduce(ReduceOp::add, own, {1});
    Plan plan({&sums, 1}, engine);
    for (int round = 0; round < 40; ++round) {
      const auto r = static_cast<float>(round);
      // Some graphs are every thread's, some its own.
      const Node product =
          reduce(ReduceOp::max, add(own, constant_float(static_cast<float>(round % 4))), {0, 1});
      const Node made = upload(engine, counting(100, t + r), {100});
      const std::vector<Node> got = engine.realize({{product, reduce(ReduceOp::add, made, {0})}});
      wrong += floats(engine, got[0])[0] != 4095 * t + static_cast<float>(round % 4);
      wrong += floats(engine, got[1])[0] != 4950 + 100 * (t + r);
      plan.run();
      wrong += floats(engine, plan.outputs()[0])[1] != t * (64 * 64 + 63 * 32);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 1; i <= 6; ++i) threads.emplace_back(work, i);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Plan, ThreadsMayReplayOnePlan) {
  Engine& engine = Engine::shared();
  const Node n = variable("n", 1, 4096);
  const Node a = upload(engine, counting(4096), {4096});
  const Node root = reduce(ReduceOp::add, shrink(a, {0, Size(n)}), {0});
  const Node twice = mul(expand(root, {Size(n)}), constant_float(2));
  Plan plan({&twice, 1}, engine);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 200; ++round) plan.run({{"n", i % 2 == 0 ? 100 : 4000}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  plan.run({{"n", 100}});
  EXPECT_EQ(floats(engine, plan.outputs()[0])[99], 9900);
}

std::int64_t resident_pages() {
  std::int64_t all = 0;
  std::int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident;
}

TEST(Plan, TenThousandRealizationsKeepNoNodesAndNoMemory) {
  Engine& engine = Engine::shared();
  const auto once = [&](int i) {
    const Node a = upload(engine, counting(2048, static_cast<float>(i)), {32, 64});
    Node x = add(a, constant_float(static_cast<float>(i % 8)));
    if (i % 2 == 0) x = reduce(ReduceOp::max, x, {1});
    const std::vector<Node> got = engine.realize({{x, store(a, mul(a, constant_float(0.5)))}});
    EXPECT_EQ(floats(engine, got[1])[2], (static_cast<float>(i) + 2) / 2);
  };
  for (int i = 0; i < 100; ++i) once(i);
  const std::int64_t nodes = live_nodes();
  const std::int64_t pages = resident_pages();
  for (int i = 0; i < 10'000; ++i) once(i);
  EXPECT_LE(live_nodes(), nodes + 16);
  EXPECT_LT((resident_pages() - pages) * ::sysconf(_SC_PAGESIZE), 16 << 20);
}

// ---- the kernel cache
// ----------------------------------------------------------------------------

Node sample(Engine& engine) {
  const Node a = upload(engine, counting(960), {30, 32});
  const Node top = reduce(ReduceOp::max, a, {1});
  return reduce(
      ReduceOp::add,
      exp2(mul(add(a, mul(expand(top, {30, 32}), constant_float(-1))), constant_float(0.125F))),
      {1});
}

TEST(Plan, ADamagedEntryOfTheCacheIsMadeAnew) {
  Engine first(make_cpu_device(2), host_target());
  const Node root = sample(first);
  const std::vector<float> want = floats(first, first.realize({{root}})[0]);
  std::string plan_key = "plan " + compiler_identity() + fingerprint(first.target()) + "\n";
  std::vector<Node> buffers;
  append_structure(plan_key, {&root, 1}, buffers);
  const auto plan = KernelCache::shared().find(plan_key);
  ASSERT_TRUE(plan) << "the plan's key is another one";
  const LoweredKernel lowered = lower({root}, {root}).kernel;
  const std::string kernel = kernel_key(lowered, first.target());
  const auto code = KernelCache::shared().find(kernel);
  for (const std::string& key : {plan_key, kernel}) {
    if (key == kernel && !code) continue;  // several kernels
    const std::vector<std::byte> whole = *KernelCache::shared().find(key);
    for (const std::size_t length :
         {std::size_t{0}, std::size_t{1}, whole.size() / 2, whole.size() - 1}) {
      KernelCache::shared().insert(key, std::span(whole).first(length));
      Engine other(make_cpu_device(2), host_target());
      EXPECT_EQ(floats(other, other.realize({{sample(other)}})[0]), want);
      EXPECT_EQ(KernelCache::shared().find(key), whole) << "put right again";
    }
  }
}

// Run by the next test in processes of its own: all that it needs is in the cache, or nothing.
TEST(Plan, AProcessOnACacheThatIsWarmCompilesNothing) {
  const char* wanted = std::getenv("BRISK_TEST_CACHE");
  if (wanted == nullptr)
    GTEST_SKIP() << "ASecondProcessFindsEverything starts it with BRISK_TEST_CACHE";
  Engine& engine = Engine::shared();
  engine.realize({{sample(engine)}});
  const KernelCache::Statistics statistics = KernelCache::shared().statistics();
  if (std::string(wanted) == "warm") {
    EXPECT_EQ(statistics.misses, 0);
    EXPECT_GE(statistics.hits, 2);  // the plan and its kernel
  } else {
    EXPECT_GE(statistics.misses, 2);
    EXPECT_EQ(statistics.hits, 0);
  }
}

TEST(Plan, ASecondProcessFindsEverything) {
  const auto cache =
      std::filesystem::temp_directory_path() / fmt::format("brisk-warm-{}", ::getpid());
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  for (const char* state : {"cold", "warm", "warm"}) {
    const std::string command = fmt::format(
        "BRISK_VERIFY=0 BRISK_TEST_CACHE={} BRISK_CACHE='{}' '{}' "
        "--gtest_filter='Plan.AProcessOn*' >/dev/null 2>&1",
        state, cache.string(), program);
    EXPECT_EQ(std::system(command.c_str()), 0) << state;
  }
  std::filesystem::remove_all(cache);
}

}  // namespace
}  // namespace brisk
