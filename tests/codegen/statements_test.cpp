// Loops, branches, gates, gathers, locals, scratch, phases, lanes and variables of kernels,
// compiled for several levels of the machine and run.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <numeric>
#include <thread>

#include "codegen/run_kernel.h"

namespace brisk {
namespace {

using test::kernel_of;

constexpr DType f32 = DType::float32;
constexpr DType i64 = DType::int64;
constexpr auto parallel = LoopKind::parallel;
constexpr auto serial = LoopKind::serial;
constexpr auto unrolled = LoopKind::unrolled;

Node number(std::int64_t value) { return constant_int(value); }

template <typename T = float>
std::vector<T> counting(std::size_t n, T first = 0) {
  std::vector<T> v(n);
  std::iota(v.begin(), v.end(), first);
  return v;
}

class StatementsTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string missing = test::missing_for_aarch64();
    if (target().isa != host_target().isa && !missing.empty()) GTEST_SKIP() << missing;
  }
  static Target target() { return test::target_of(GetParam()); }
  void run(const Kernel& kernel, test::Run arguments) const {
    test::run(kernel, std::move(arguments), target());
  }
};

TEST_P(StatementsTest, AParallelLoopOfVectorsAddsTwoArrays) {
  const Node i = make_range(0, 64);
  const Node at = mul(i, number(16));
  const auto read = [&](int p) { return load_from(make_param(p, f32), at, {}, 16); };
  const Kernel kernel =
      kernel_of("add", {f32, f32, f32},
                loop(parallel, i, store_to(make_param(2, f32), at, add(read(0), read(1)))));
  auto x = counting(1024);
  auto y = counting(1024, 5.0F);
  std::vector<float> z(1024);
  run(kernel, {{x, y, z}, {}});
  for (std::size_t k = 0; k < z.size(); ++k) ASSERT_EQ(z[k], x[k] + y[k]);
}

TEST_P(StatementsTest, NestedSerialLoopsCountFromZero) {
  const Node i = make_range(0, 5);
  const Node j = make_range(1, 7);
  const Node k = make_range(2, 1);
  const Node at = add(add(mul(i, number(7)), j), k);
  const Node out = make_param(0, i64);
  const Kernel kernel = kernel_of(
      "nest", {i64},
      loop(serial, i,
           loop(serial, j, loop(serial, k, store_to(out, at, add(mul(i, number(100)), j))))));
  std::vector<std::int64_t> z(35);
  run(kernel, {{z}, {}});
  for (int a = 0; a < 35; ++a) ASSERT_EQ(z[static_cast<std::size_t>(a)], a / 7 * 100 + a % 7);
}

TEST_P(StatementsTest, LoopsDependOnVariablesAndOnOuterCounters) {
  const Node n = variable("n", 0, 100);
  const Node i = make_range(0, Size(n));
  const Node j = make_range(1, Size(add(i, number(1))));  // a triangle
  const Node out = make_param(0, i64);
  const Node count = load_from(out, i);
  const Kernel kernel = kernel_of(
      "triangle", {i64}, loop(parallel, i, loop(serial, j, store_to(out, i, add(count, j)))), {n});
  for (const std::int64_t size : {0, 1, 9, 100}) {
    std::vector<std::int64_t> z(101);
    run(kernel, {{z}, {size}, {size}});
    for (std::int64_t a = 0; a <= 100; ++a) {
      ASSERT_EQ(z[static_cast<std::size_t>(a)], a < size ? a * (a + 1) / 2 : 0);
    }
  }
}

TEST_P(StatementsTest, ABranchRunsItsBodyWhereTheConditionHolds) {
  const Node i = make_range(0, 20);
  const Node in = make_param(0, f32);
  const Node out = make_param(1, f32);
  const Node big = cmplt(constant_float(7), load_from(in, i));
  const Node twice = mul(load_from(in, i), constant_float(2));
  const Kernel kernel =
      kernel_of("branch", {f32, f32},
                loop(serial, i,
                     block({branch(big, store_to(out, i, twice)),
                            branch(cmplt(i, number(3)), store_to(out, i, constant_float(-1)))})));
  auto x = counting(20);
  std::vector<float> z(20, 100);
  run(kernel, {{x, z}, {}});
  for (int a = 0; a < 20; ++a) {
    ASSERT_EQ(z[static_cast<std::size_t>(a)], a < 3 ? -1 : a > 7 ? 2 * a : 100);
  }
}

// Memory whose last byte is followed by a page that must not be touched.
class Fenced {
 public:
  explicit Fenced(std::size_t bytes) : bytes_(bytes) {
    page_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    pages_ = (bytes + page_ - 1) / page_ * page_;
    map_ = static_cast<std::byte*>(
        mmap(nullptr, pages_ + page_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(map_ + pages_, page_, PROT_NONE);
  }
  ~Fenced() { munmap(map_, pages_ + page_); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  std::byte* data() { return map_ + pages_ - bytes_; }
  std::size_t size() const { return bytes_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data());
  }

 private:
  std::size_t bytes_;
  std::size_t page_ = 0;
  std::size_t pages_ = 0;
  std::byte* map_ = nullptr;
};

// out[i] = in[i] + 1 for i < n, in vectors that reach past n.
template <typename T>
void check_gated_tail(DType dtype, int lanes, const Target& target) {
  const bool emulated = target.isa != host_target().isa;
  for (const int n : {3 * lanes - 1, 1, 3, lanes, lanes + 1}) {
    if (emulated && n != 3 * lanes - 1) break;
    const Node i = make_range(0, (n + lanes - 1) / lanes);
    const Node at = mul(i, number(lanes));
    const Node inside = cmplt(lanes == 1 ? at : ramp(at, lanes), number(n));
    const Node value = load_from(make_param(0, dtype), at, inside, lanes);
    const Kernel kernel = kernel_of(
        "tail", {dtype, dtype},
        loop(parallel, i,
             store_to(make_param(1, dtype), at, add(value, constant_like(1, dtype)), inside)));
    Fenced in(static_cast<std::size_t>(n) * sizeof(T));
    Fenced out(static_cast<std::size_t>(n) * sizeof(T));
    for (int k = 0; k < n; ++k) in.as<T>()[k] = static_cast<T>(k);
    test::run(kernel, {{in, out}, {}}, target);
    for (int k = 0; k < n; ++k)
      ASSERT_EQ(out.as<T>()[k], static_cast<T>(k + 1)) << lanes << " " << n;
  }
}

TEST_P(StatementsTest, GatesKeepVectorsWithinTheirMemory) {
  for (const int lanes : {1, 4, 5, 16, 64}) {
    check_gated_tail<float>(f32, lanes, target());
    check_gated_tail<double>(DType::float64, lanes, target());
    check_gated_tail<std::int8_t>(DType::int8, lanes, target());
    check_gated_tail<std::uint16_t>(DType::uint16, lanes, target());
    check_gated_tail<std::int64_t>(i64, lanes, target());
  }
}

TEST_P(StatementsTest, AScalarGateGoesForAllLanesAndAFalseOneReadsZero) {
  const Node i = make_range(0, 6);
  const Node at = mul(i, number(8));
  const Node even = cmpne(mod(i, number(2)), number(1));
  const Node inside = cmplt(i, number(3));
  const Node value = load_from(make_param(0, f32), at, inside, 8);
  const Kernel kernel = kernel_of(
      "gate", {f32, f32},
      loop(serial, i, store_to(make_param(1, f32), at, add(value, constant_float(1)), even)));
  Fenced in(24 * sizeof(float));
  std::fill_n(in.as<float>(), 24, 5.0F);
  std::vector<float> z(48, -1);
  run(kernel, {{in, z}, {}});
  for (int a = 0; a < 48; ++a) {
    const int row = a / 8;
    ASSERT_EQ(z[static_cast<std::size_t>(a)], row % 2 ? -1 : row < 3 ? 6 : 1);
  }
}

TEST_P(StatementsTest, AMaskFromDataGatesLoadsAndStores) {
  for (const int lanes : {4, 16, 7}) {
    const Node at = number(0);
    const Node mask = load_from(make_param(0, DType::boolean), at, {}, lanes);
    const Node value = load_from(make_param(1, f32), at, mask, lanes);
    const Kernel kernel = kernel_of("mask", {DType::boolean, f32, f32, f32},
                                    block({store_to(make_param(2, f32), at, value),
                                           store_to(make_param(3, f32), at, value, mask)}));
    std::vector<std::uint8_t> m = {1, 0, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1};
    auto x = counting(16, 1.0F);
    std::vector<float> all(16, -1);
    std::vector<float> some(16, -1);
    run(kernel, {{m, x, all, some}, {}});
    for (std::size_t k = 0; k < static_cast<std::size_t>(lanes); ++k) {
      ASSERT_EQ(all[k], m[k] ? x[k] : 0);
      ASSERT_EQ(some[k], m[k] ? x[k] : -1);
    }
  }
}

template <typename T>
void check_gather(DType dtype, const Target& target) {
  for (const int lanes : {1, 4, 16, 7}) {
    const Node at = number(0);
    const Node index = load_from(make_param(0, i64), at, {}, lanes);
    const Node inside = cmplt(number(-1), index);
    const Node source = make_param(1, dtype);
    const Node out = make_param(2, dtype);
    const Node scattered = make_param(3, dtype);
    const Node value = load_from(source, index, inside, lanes);
    const Kernel kernel =
        kernel_of("gather", {i64, dtype, dtype, dtype},
                  block({store_to(out, at, value), store_to(scattered, index, value, inside)}));
    std::vector<std::int64_t> ix = {9, 3, -5, 0, 11, 11, 2, -1, 7, 1, 31, 30, 3, 15, 16, 5};
    auto x = counting<T>(32, 50);
    std::vector<T> z(16);
    std::vector<T> s(32);
    test::run(kernel, {{ix, x, z, s}, {}}, target);
    std::vector<T> wanted(32);
    for (std::size_t k = 0; k < static_cast<std::size_t>(lanes); ++k) {
      ASSERT_EQ(z[k], ix[k] < 0 ? T{0} : x[static_cast<std::size_t>(ix[k])]);
      if (ix[k] >= 0) wanted[static_cast<std::size_t>(ix[k])] = x[static_cast<std::size_t>(ix[k])];
    }
    ASSERT_EQ(s, wanted);
  }
}

TEST_P(StatementsTest, IndicesOfSeveralLanesGatherAndScatter) {
  check_gather<float>(f32, target());
  check_gather<double>(DType::float64, target());
  check_gather<std::uint8_t>(DType::uint8, target());
  check_gather<std::int16_t>(DType::int16, target());
  check_gather<std::int64_t>(i64, target());
}

TEST_P(StatementsTest, AScatterKeepsTheLastLaneOfOneIndex) {
  const Node index = load_from(make_param(0, i64), number(0), {}, 8);
  const Kernel kernel =
      kernel_of("last", {i64, i64}, store_to(make_param(1, i64), index, ramp(number(10), 8)));
  std::vector<std::int64_t> ix = {1, 0, 1, 1, 2, 0, 1, 2};
  std::vector<std::int64_t> z(3);
  run(kernel, {{ix, z}, {}});
  EXPECT_EQ(z, (std::vector<std::int64_t>{15, 16, 17}));
}

TEST_P(StatementsTest, IndicesWithAStepReadAndWriteEveryFewElements) {
  const Node i = make_range(0, 4);
  const Node column = add(mul(ramp(number(0), 8), number(4)), i);  // transposes 8×4
  const Kernel kernel =
      kernel_of("step", {f32, f32, f32},
                loop(serial, i,
                     block({store_to(make_param(1, f32), mul(i, number(8)),
                                     load_from(make_param(0, f32), column, {}, 8)),
                            store_to(make_param(2, f32), column,
                                     load_from(make_param(1, f32), mul(i, number(8)), {}, 8))})));
  auto x = counting(32);
  std::vector<float> turned(32);
  std::vector<float> back(32);
  run(kernel, {{x, turned, back}, {}});
  for (int a = 0; a < 32; ++a) ASSERT_EQ(turned[static_cast<std::size_t>(a)], a % 8 * 4 + a / 8);
  EXPECT_EQ(back, x);
}

// out[k] = in[2 k - 3] where that lies inside, 0 elsewhere.
template <typename T>
void check_every_other(DType dtype, int lanes, const Target& target) {
  for (const int n : {1, lanes, 2 * lanes - 1, 6 * lanes + 1}) {
    const int count = (n + 3) / 2 + 1;
    const Node i = make_range(0, (count + lanes - 1) / lanes);
    const Node at = mul(i, number(lanes));
    const Node index = add(mul(ramp(at, lanes), number(2)), number(-3));
    const Node inside = bit_and(cmplt(number(-1), index), cmplt(index, number(n)));
    const Kernel kernel =
        kernel_of("other", {dtype, dtype},
                  loop(serial, i,
                       store_to(make_param(1, dtype), at,
                                load_from(make_param(0, dtype), index, inside, lanes),
                                cmplt(ramp(at, lanes), number(count)))));
    Fenced in(static_cast<std::size_t>(n) * sizeof(T));
    for (int k = 0; k < n; ++k) in.as<T>()[k] = static_cast<T>(k + 1);
    std::vector<T> out(static_cast<std::size_t>(count), T{77});
    test::run(kernel, {{in, out}, {}}, target);
    for (int k = 0; k < count; ++k) {
      const int from = 2 * k - 3;
      ASSERT_EQ(out[static_cast<std::size_t>(k)],
                static_cast<T>(from < 0 || from >= n ? 0 : from + 1))
          << lanes << " " << n << " " << k;
    }
  }
}

TEST_P(StatementsTest, EveryOtherElementIsReadWithinItsMemory) {
  for (const int lanes : {4, 6, 8, 16}) {
    check_every_other<float>(f32, lanes, target());
    check_every_other<double>(DType::float64, lanes, target());
    check_every_other<std::int8_t>(DType::int8, lanes, target());
    check_every_other<std::int16_t>(DType::int16, lanes, target());
  }
  const Node i = make_range(0, 3);
  const Node index = add(mul(ramp(number(0), 8), number(2)), mul(i, number(15)));
  const Kernel kernel =
      kernel_of("last", {f32, f32},
                loop(serial, i,
                     store_to(make_param(1, f32), mul(i, number(8)),
                              load_from(make_param(0, f32), index, cmplt(i, number(2)), 8))));
  Fenced in(30 * sizeof(float));
  for (int k = 0; k < 30; ++k) in.as<float>()[k] = static_cast<float>(k);
  std::vector<float> out(24, -1);
  run(kernel, {{in, out}, {}});
  for (int k = 0; k < 24; ++k)
    ASSERT_EQ(out[static_cast<std::size_t>(k)], k < 16 ? k / 8 * 15 + k % 8 * 2 : 0);
}

TEST_P(StatementsTest, RegistersHoldAccumulatorsOverALoop) {
  const Node acc = make_local(0, f32, 64, Memory::registers);
  const Node row = make_range(0, 10);
  const Node i = make_range(1, 4);
  const Node j = make_range(2, 4);
  const Node k = make_range(3, 100);
  const Node l = make_range(4, 4);
  const auto at = [](const Node& r) { return mul(r, number(16)); };
  const Node in = make_param(0, f32);
  const Node out = make_param(1, f32);
  const Node more = load_from(in, add(mul(k, number(64)), at(j)), {}, 16);
  const Node scale = splat(cast(row, f32), 16);
  const Node body =
      block({loop(unrolled, i, store_to(acc, at(i), splat(constant_float(0), 16))),
             loop(serial, k,
                  loop(unrolled, j,
                       store_to(acc, at(j), add(load_from(acc, at(j), {}, 16), mul(more, scale))))),
             loop(unrolled, l,
                  store_to(out, add(mul(row, number(64)), at(l)), load_from(acc, at(l), {}, 16)))});
  const Kernel kernel = kernel_of("sum", {f32, f32}, loop(parallel, row, body));
  std::vector<float> x(6400);
  for (std::size_t a = 0; a < x.size(); ++a) x[a] = static_cast<float>(a % 13);
  std::vector<float> z(640);
  run(kernel, {{x, z}, {}});
  for (std::size_t r = 0; r < 10; ++r) {
    for (std::size_t c = 0; c < 64; ++c) {
      float sum = 0;
      for (std::size_t a = 0; a < 100; ++a) sum += x[a * 64 + c];
      ASSERT_EQ(z[r * 64 + c], sum * static_cast<float>(r));
    }
  }
}

TEST_P(StatementsTest, RegistersTakeIndicesThatAreNotConstant) {
  const Node table = make_local(0, i64, 10, Memory::registers);
  const Node i = make_range(0, 10);
  const Node j = make_range(1, 10);
  const Node back = add(number(9), mul(j, number(-1)));
  const Kernel kernel = kernel_of(
      "table", {i64},
      block({loop(
          parallel, make_range(5, 1),
          block({loop(serial, i, store_to(table, i, mul(i, i))),
                 loop(serial, j, store_to(make_param(0, i64), j, load_from(table, back)))}))}));
  std::vector<std::int64_t> z(10);
  run(kernel, {{z}, {}});
  for (std::int64_t a = 0; a < 10; ++a)
    ASSERT_EQ(z[static_cast<std::size_t>(a)], (9 - a) * (9 - a));
}

TEST_P(StatementsTest, ScratchBelongsToATaskAndIsAligned) {
  const Node first = make_local(0, f32, 100, Memory::scratch);
  const Node second = make_local(1, DType::uint8, 10, Memory::scratch);
  const Node task = make_range(0, 50);
  const Node i = make_range(1, 100);
  const Node j = make_range(2, 10);
  const Node k = make_range(3, 100);
  const Node value = add(cast(mul(task, number(1000)), f32), cast(i, f32));
  const Node out = make_param(0, f32);
  const Node flipped = load_from(first, add(number(99), mul(k, number(-1))));
  const Node small = cast(load_from(second, mod(k, number(10))), f32);
  const Kernel kernel = kernel_of(
      "scratch", {f32},
      loop(parallel, task,
           block({loop(serial, i, store_to(first, i, value)),
                  loop(serial, j, store_to(second, j, cast(j, DType::uint8))),
                  loop(serial, k,
                       store_to(out, add(mul(task, number(100)), k), add(flipped, small)))})));
  EXPECT_EQ(scratch_bytes(kernel), 448 + 64);
  std::vector<float> z(5000);
  run(kernel, {{z}, {}, {}, {}, 4});
  for (int a = 0; a < 5000; ++a) {
    ASSERT_EQ(z[static_cast<std::size_t>(a)], a / 100 * 1000 + 99 - a % 100 + a % 10);
  }
}

TEST_P(StatementsTest, PhasesSeeWhatEarlierPhasesWrote) {
  // Partial sums in the workspace, then their sum, then every element divided by it.
  const Node part = make_range(0, 16);
  const Node i = make_range(1, 64);
  const Node j = make_range(2, 16);
  const Node k = make_range(3, 64);
  const Node in = make_param(0, f32);
  const Node out = make_param(1, f32);
  const Node sums = make_param(2, f32);
  const Node total = make_param(3, f32);
  Kernel kernel = kernel_of(
      "phases", {f32, f32},
      block({loop(parallel, part,
                  block({store_to(sums, part, constant_float(0)),
                         loop(serial, i,
                              store_to(sums, part,
                                       add(load_from(sums, part),
                                           load_from(in, add(mul(part, number(64)), i)))))})),
             store_to(total, number(0), constant_float(0)),
             loop(serial, j,
                  store_to(total, number(0), add(load_from(total, number(0)), load_from(sums, j)))),
             loop(parallel, k,
                  store_to(out, mul(k, number(16)),
                           mul(load_from(in, mul(k, number(16)), {}, 16),
                               recip(load_from(total, number(0))))))}));
  kernel.workspace = {{f32, Size(16)}, {f32, Size(1)}};
  std::vector<float> x(1024, 0.5F);
  std::vector<float> z(1024);
  run(kernel, {{x, z}, {}});
  for (const float v : z) ASSERT_EQ(v, 0.5F / 512);
}

TEST_P(StatementsTest, HorizontalReducesAnyNumberOfLanes) {
  for (const int lanes : {1, 2, 3, 7, 8, 16, 21, 64}) {
    const Node at = number(0);
    const Node floats = load_from(make_param(0, f32), at, {}, lanes);
    const Node ints = cast(floats, DType::int32);
    const Node bools = cmplt(floats, constant_float(2));
    const auto put = [](int p, DType dtype, int index, const Node& v) {
      return store_to(make_param(p, dtype), number(index), v);
    };
    const Kernel kernel =
        kernel_of("across", {f32, f32, DType::int32, DType::boolean},
                  block({put(1, f32, 0, horizontal(ReduceOp::add, floats)),
                         put(1, f32, 1, horizontal(ReduceOp::max, floats)),
                         put(2, DType::int32, 0, horizontal(ReduceOp::add, ints)),
                         put(2, DType::int32, 1,
                             horizontal(ReduceOp::mul, add(ints, constant_int(0, DType::int32)))),
                         put(3, DType::boolean, 0, horizontal(ReduceOp::add, bools)),
                         put(3, DType::boolean, 1, horizontal(ReduceOp::mul, bools))}));
    auto x = counting(64, 1.0F);
    std::vector<float> f(2);
    std::vector<std::int32_t> n(2);
    std::vector<std::uint8_t> b(2, 9);
    run(kernel, {{x, f, n, b}, {}});
    std::uint32_t product = 1;
    for (int a = 1; a <= lanes; ++a) product *= static_cast<std::uint32_t>(a);
    EXPECT_EQ(f[0], lanes * (lanes + 1) / 2);
    EXPECT_EQ(f[1], lanes);
    EXPECT_EQ(n[0], lanes * (lanes + 1) / 2);
    EXPECT_EQ(n[1], static_cast<std::int32_t>(product));
    EXPECT_EQ(b[0], 1);
    EXPECT_EQ(b[1], lanes < 2);
  }
}

TEST_P(StatementsTest, ShufflesSplitJoinRepeatAndPickLanes) {
  const Node at = number(0);
  const Node a = load_from(make_param(0, f32), at, {}, 4);
  const Node b = load_from(make_param(0, f32), number(4), {}, 4);
  const Node out = make_param(1, f32);
  const Kernel kernel = kernel_of(
      "shuffle", {f32, f32},
      block(
          {store_to(out, number(0), shuffle(a, b, {0, 4, 1, 5, 2, 6, 3, 7})),
           store_to(out, number(8), shuffle(a, {}, {3, 1})),
           store_to(out, number(10), shuffle(lane(a, 2), lane(b, 0), {1, 0})),
           store_to(out, number(12), shuffle(shuffle(a, {}, {0, 1}), {}, {0, 1, 0, 1, 0, 1, 0, 1})),
           store_to(out, number(20), shuffle(b, {}, {2}))}));
  auto x = counting(8);
  std::vector<float> z(21);
  run(kernel, {{x, z}, {}});
  EXPECT_EQ(z, (std::vector<float>{0, 4, 1, 5, 2, 6, 3, 7, 3, 1, 4, 2, 0, 1, 0, 1, 0, 1, 0, 1, 6}));
}

// src1 as loaded, and made of it so that bounds are known: a nibble, a nibble less 8.
enum class Left { any, nibble, centred };

template <typename A, typename B>
void expect_exact_dots(DType a_type, DType b_type, Left left, std::int64_t group) {
  for (const int lanes : {1, 4, 8, 16, 6, 32}) {
    const int wide = static_cast<int>(group) * lanes;
    const Node at = number(0);
    const Node sum = load_from(make_param(2, DType::int32), at, {}, lanes);
    Node a = load_from(make_param(0, a_type), at, {}, wide);
    if (left != Left::any) a = bit_and(a, splat(constant_int(15, a_type), wide));
    if (left == Left::centred) a = add(a, splat(constant_int(-8, a_type), wide));
    const Node b = load_from(make_param(1, b_type), at, {}, wide);
    const Kernel kernel = kernel_of("dot", {a_type, b_type, DType::int32},
                                    store_to(make_param(2, DType::int32), at, dot(sum, a, b)));
    std::vector<A> x(128);
    std::vector<B> y(128);
    std::vector<std::int32_t> z = counting<std::int32_t>(32, -7);
    for (std::size_t k = 0; k < x.size(); ++k) {
      x[k] = k % 8 < 4
                 ? (k % 3 == 0 ? std::numeric_limits<A>::max() : std::numeric_limits<A>::min())
                 : static_cast<A>(k * 37);
      y[k] = k % 16 < 4   ? std::numeric_limits<B>::min()
             : k % 16 < 8 ? std::numeric_limits<B>::max()
                          : static_cast<B>(k * 91);
    }
    std::vector<std::int32_t> wanted = z;
    for (std::size_t k = 0; k < static_cast<std::size_t>(wide); ++k) {
      std::int64_t value = x[k];
      if (left != Left::any) value &= 15;
      if (left == Left::centred) value -= 8;
      std::int32_t& to = wanted[k / static_cast<std::size_t>(group)];
      to = static_cast<std::int32_t>(to + value * y[k]);
    }
    test::run(kernel, {{x, y, z}, {}});
    EXPECT_EQ(z, wanted) << lanes;
  }
}

TEST_P(StatementsTest, DotMultipliesBytesIntoInt32Exactly) {
  using U8 = std::uint8_t;
  using S8 = std::int8_t;
  expect_exact_dots<U8, S8>(DType::uint8, DType::int8, Left::any, 4);
  expect_exact_dots<U8, S8>(DType::uint8, DType::int8, Left::nibble, 4);
  expect_exact_dots<S8, S8>(DType::int8, DType::int8, Left::any, 4);
  expect_exact_dots<S8, S8>(DType::int8, DType::int8, Left::nibble, 4);
  expect_exact_dots<S8, S8>(DType::int8, DType::int8, Left::centred, 4);
}

// Sums that start from other sums may be made together, in fewer bits as long as these do.
TEST_P(StatementsTest, DotsOfDotsAreExact) {
  for (const std::int64_t most : {3, 15, 31, 127}) {
    const auto part = [](int param, DType dtype, std::int64_t from) {
      return load_from(make_param(param, dtype), number(from), {}, 32);
    };
    Node sum = load_from(make_param(2, DType::int32), number(0), {}, 8);
    for (int i = 0; i < 19; ++i) {
      const Node a =
          bit_and(part(0, DType::uint8, 32L * i), splat(constant_int(most, DType::uint8), 32));
      sum = dot(sum, a, part(1, DType::int8, 32L * i));
    }
    const Kernel kernel = kernel_of("dots", {DType::uint8, DType::int8, DType::int32},
                                    store_to(make_param(2, DType::int32), number(0), sum));
    for (const int end : {-128, 127}) {
      std::vector<std::uint8_t> x(19 * 32, 255);
      std::vector<std::int8_t> y(19 * 32, static_cast<std::int8_t>(end));
      for (std::size_t k = 0; k < 64; ++k) y[5 * k] = static_cast<std::int8_t>(k);
      std::vector<std::int32_t> z = counting<std::int32_t>(8, -7);
      std::vector<std::int32_t> wanted = z;
      for (std::size_t k = 0; k < x.size(); ++k)
        wanted[k % 32 / 4] += static_cast<std::int32_t>(most) * y[k];
      test::run(kernel, {{x, y, z}, {}});
      EXPECT_EQ(z, wanted) << most << " * " << end;
    }
  }
}

TEST_P(StatementsTest, DotMultipliesInt16IntoInt32Wrapping) {
  using S16 = std::int16_t;
  expect_exact_dots<S16, S16>(DType::int16, DType::int16, Left::any, 2);
}

TEST_P(StatementsTest, DotMultipliesBfloat16IntoFloat32) {
  for (const int lanes : {1, 4, 8, 16, 5, 32}) {
    const Node at = number(0);
    const DType bf16 = DType::bfloat16;
    const Node sum = load_from(make_param(2, f32), at, {}, lanes);
    const Node a = load_from(make_param(0, bf16), at, {}, 2 * lanes);
    const Node b = load_from(make_param(1, bf16), at, {}, 2 * lanes);
    const Kernel kernel =
        kernel_of("dot", {bf16, bf16, f32}, store_to(make_param(2, f32), at, dot(sum, a, b)));
    std::vector<std::uint16_t> x(64);
    std::vector<std::uint16_t> y(64);
    auto z = counting(32, 1.0F);
    auto wanted = z;
    for (std::size_t k = 0; k < x.size(); ++k) {  // small whole numbers: exact in any order
      x[k] = float_to_bfloat16(static_cast<float>(k) - 30);
      y[k] = float_to_bfloat16(static_cast<float>(k * 7 % 64));
    }
    for (std::size_t k = 0; k < static_cast<std::size_t>(2 * lanes); ++k) {
      wanted[k / 2] += bfloat16_to_float(x[k]) * bfloat16_to_float(y[k]);
    }
    run(kernel, {{x, y, z}, {}});
    EXPECT_EQ(z, wanted) << lanes;
  }
}

TEST_P(StatementsTest, AStatementReadsMemoryWhenItRuns) {
  // The second statement sees what the first wrote, though both load the same node.
  const Node out = make_param(0, f32);
  const Node value = add(load_from(out, number(0)), constant_float(1));
  const Node i = make_range(0, 10);
  const Kernel kernel = kernel_of(
      "again", {f32},
      loop(serial, i, block({store_to(out, number(0), value), store_to(out, number(0), value)})));
  std::vector<float> z = {5};
  run(kernel, {{z}, {}});
  EXPECT_EQ(z[0], 25);
}

TEST_P(StatementsTest, AnUnrolledCounterIsAValueOfItsIteration) {
  const Node i = make_range(0, 3);
  const Node j = make_range(1, 4);
  const Node sum = add(add(mul(i, number(10)), mul(j, number(2))), number(5));
  const Node at = add(mul(i, number(8)), mul(j, number(2)));
  const Kernel kernel = kernel_of(
      "value", {i64},
      loop(parallel, i, loop(unrolled, j, store_to(make_param(0, i64), at, ramp(sum, 2)))));
  std::vector<std::int64_t> z(24);
  run(kernel, {{z}, {}});
  for (std::int64_t a = 0; a < 24; ++a) {
    ASSERT_EQ(z[static_cast<std::size_t>(a)], a / 8 * 10 + a % 8 / 2 * 2 + 5 + a % 2);
  }
}

TEST_P(StatementsTest, QuotientsOfIndicesAreRightWithVectorsToo) {
  const Node i = make_range(0, 30);
  const Node at = mul(i, number(8));
  const Node lanes = ramp(at, 8);
  const Node row = make_node(Op::idiv_, i64, {lanes, number(7)}, {}, 8);
  const Node column = make_node(Op::mod_, i64, {lanes, number(7)}, {}, 8);
  const Kernel kernel = kernel_of("rows", {i64, i64},
                                  loop(parallel, i,
                                       block({store_to(make_param(0, i64), at, row),
                                              store_to(make_param(1, i64), at, column)})));
  std::vector<std::int64_t> r(240);
  std::vector<std::int64_t> c(240);
  run(kernel, {{r, c}, {}});
  for (std::int64_t a = 0; a < 240; ++a) {
    ASSERT_EQ(r[static_cast<std::size_t>(a)], a / 7);
    ASSERT_EQ(c[static_cast<std::size_t>(a)], a % 7);
  }
}

// out[i] = in[i] + 1 over enough to be streamed, in tasks of 4096.
Kernel large_map(std::int64_t elements) {
  const Node task = make_range(0, elements / 4096);
  const Node i = make_range(1, 256);
  const Node at = add(mul(task, number(4096)), mul(i, number(16)));
  const Node more = add(load_from(make_param(0, f32), at, {}, 16), constant_float(1));
  return kernel_of("large", {f32, f32},
                   loop(parallel, task, loop(serial, i, store_to(make_param(1, f32), at, more))));
}

TEST_P(StatementsTest, LargeResultsGoPastTheCachesWhereTheyAreAligned) {
  constexpr std::int64_t n = 9 << 20;
  const bool x86 = target().isa == Isa::x86_64;
  EXPECT_EQ(assembly(large_map(n), target()).find("movnt") != std::string::npos, x86);
  EXPECT_EQ(assembly(large_map(n / 2), target()).find("movnt"), std::string::npos);
  if (!x86) return;
  const auto memory = test::cpu().allocate(n * sizeof(float) + 64);
  auto x = counting(n);
  for (const std::size_t shift : {0, 1}) {
    const std::span<float> z(static_cast<float*>(memory->address()) + shift, n);
    std::fill(z.begin(), z.end(), -1.0F);
    run(large_map(n), {{x, z}, {}});
    for (std::size_t k = 0; k < n; ++k) ASSERT_EQ(z[k], x[k] + 1);
  }
}

TEST_P(StatementsTest, ConstantsThatRegistersCannotHoldComeFromMemory) {
  const Node i = make_range(0, 8);
  const Node j = make_range(1, 4);
  const Node at = add(mul(i, number(64)), mul(j, number(16)));
  const Node x = load_from(make_param(0, f32), at, {}, 16);
  const auto coefficient = [](int k) { return 1 / (3 + static_cast<float>(k)); };
  Node sum = splat(constant_float(coefficient(0)), 16);
  for (int k = 1; k < 24; ++k) sum = add(mul(sum, x), splat(constant_float(coefficient(k)), 16));
  const Kernel kernel =
      kernel_of("dense", {f32, f32},
                loop(parallel, i, loop(serial, j, store_to(make_param(1, f32), at, sum))));
  if (target().isa == Isa::x86_64 && target().vector_bytes == 32) {
    EXPECT_EQ(assembly(kernel, target()).find("vbroadcastss"), std::string::npos);
  }
  std::vector<float> in(512);
  for (std::size_t k = 0; k < in.size(); ++k) in[k] = static_cast<float>(k) / 512;
  std::vector<float> z(512);
  run(kernel, {{in, z}, {}});
  for (std::size_t a = 0; a < z.size(); ++a) {
    double expected = coefficient(0);
    for (int k = 1; k < 24; ++k) expected = expected * in[a] + coefficient(k);
    ASSERT_NEAR(z[a], expected, 1e-6 * expected);
  }
}

TEST_P(StatementsTest, AProductWithAReciprocalIsOneDivision) {
  const Node i = make_range(0, 64);
  const Node at = mul(i, number(16));
  const auto read = [&](int p) { return load_from(make_param(p, f32), at, {}, 16); };
  const Kernel kernel =
      kernel_of("divide", {f32, f32, f32},
                loop(parallel, i, store_to(make_param(2, f32), at, mul(read(0), recip(read(1))))));
  auto x = counting(1024);
  auto y = counting(1024, 5.0F);
  std::vector<float> z(1024);
  run(kernel, {{x, y, z}, {}});
  for (std::size_t k = 0; k < z.size(); ++k) ASSERT_EQ(z[k], x[k] / y[k]);  // rounded once
}

TEST_P(StatementsTest, CompilesInSeveralThreadsAtOnce) {
  const Node i = make_range(0, 4);
  const Kernel kernel = kernel_of(
      "threads", {f32},
      loop(parallel, i,
           store_to(make_param(0, f32), mul(i, number(16)), exp2(splat(cast(i, f32), 16)))));
  const CodeObject expected = compile(kernel, target());
  std::vector<std::thread> threads;
  std::atomic<int> same = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int k = 0; k < 5; ++k) same += compile(kernel, target()).object == expected.object;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, 20);  // and one kernel gives one object
}

INSTANTIATE_TEST_SUITE_P(Targets, StatementsTest,
                         testing::Values("host", "x86-64-v2", "x86-64-v3", "neoverse-n1"));

}  // namespace
}  // namespace brisk
