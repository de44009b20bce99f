// The interpreter of kernels in their final form: loops, branches, vectors, memories, and what it
// tells about accesses that leave memory.
#include "kernel/interpret.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "graph/integer.h"
#include "kernel/print.h"
#include "kernel/verify.h"

namespace brisk {
namespace {

template <typename T>
HostBuffer over(std::vector<T>& values) {
  return {reinterpret_cast<std::byte*>(values.data()),
          static_cast<std::int64_t>(values.size() * sizeof(T))};
}

void run(const Kernel& kernel, std::vector<HostBuffer> buffers,
         std::vector<std::int64_t> variables = {}) {
  verify_kernel(kernel, "test");
  interpret(kernel, buffers, variables);
}

constexpr Param in_float{DType::float32, false, true};
constexpr Param out_float{DType::float32, true, false};
constexpr Param inout_float{DType::float32, true, true};

Node number(std::int64_t value) { return constant_int(value); }

TEST(Interpret, loopsOverVariableSizesAddVectors) {
  const Node n = variable("n", 0, 100);
  const Node p = make_param(0, DType::float32);
  const Node a = make_param(1, DType::float32);
  const Node task = make_range(0, n / Size(4));
  const Node at = mul(task, number(4));
  Kernel kernel{"double", {out_float, in_float}, {n}, {}, {}};
  const Node x = load_from(a, at, {}, 4);
  kernel.body = loop(LoopKind::parallel, task, store_to(p, at, add(x, x)));
  std::vector<float> out(8, -1);
  std::vector<float> in = {1, 2, 3, 4, 5, 6, 7, 8};
  run(kernel, {over(out), over(in)}, {8});
  EXPECT_EQ(out, (std::vector<float>{2, 4, 6, 8, 10, 12, 14, 16}));
  out.assign(8, -1);
  run(kernel, {over(out), over(in)}, {4});
  EXPECT_EQ(out, (std::vector<float>{2, 4, 6, 8, -1, -1, -1, -1}));
}

TEST(Interpret, registersAccumulateInSerialLoopsAndBranchesChoose) {
  const Node p = make_param(0, DType::float32);
  const Node a = make_param(1, DType::float32);
  const Node sum = make_local(0, DType::float32, 1, Memory::registers);
  const Node row = make_range(0, 3);
  const Node column = make_range(1, 4);
  const Node x = load_from(a, add(mul(row, number(4)), column));
  Kernel kernel{"row_sum", {out_float, in_float}, {}, {}, {}};
  kernel.body =
      loop(LoopKind::parallel, row,
           block({store_to(sum, number(0), constant_float(0)),
                  loop(LoopKind::serial, column,
                       branch(cmplt(constant_float(0), x),
                              store_to(sum, number(0), add(load_from(sum, number(0)), x)))),
                  store_to(p, row, load_from(sum, number(0)))}));
  std::vector<float> out(3);
  std::vector<float> in = {1, -2, 3, 4, -5, -6, -7, -8, 9, 10, -11, 12};
  run(kernel, {over(out), over(in)});
  EXPECT_EQ(out, (std::vector<float>{8, 0, 31}));
}

TEST(Interpret, statementsSeeTheMemoryThatEarlierOnesWrote) {
  const Node p = make_param(0, DType::float32);
  const Node first = make_range(0, 4);
  const Node second = make_range(1, 4);
  Kernel kernel{"phases", {inout_float}, {}, {{DType::float32, 4}}, {}};
  const Node w = make_param(1, DType::float32);
  kernel.body = block({loop(LoopKind::parallel, first, store_to(w, first, load_from(p, first))),
                       loop(LoopKind::parallel, second,
                            store_to(p, second, load_from(w, integer_sub(number(3), second))))});
  std::vector<float> data = {1, 2, 3, 4};
  run(kernel, {over(data)});
  EXPECT_EQ(data, (std::vector<float>{4, 3, 2, 1}));
}

// Threads hand their values to the one opposite through shared memory, and add up.
Kernel group_kernel(const Node& at_task, std::int64_t width) {
  const Node p = make_param(0, DType::float32);
  const Node a = make_param(1, DType::float32);
  const Node task = make_range(0, 2);
  const Node one = make_range(1, 8);
  const Node other = make_range(2, 8);
  const Node sum = make_local(0, DType::float32, 2, Memory::registers);
  const Node shared = make_local(1, DType::float32, 8, Memory::shared);
  Kernel kernel{"groups", {out_float, in_float}, {}, {}, {}};
  const Node x = load_from(a, add(mul(task, number(8)), one));
  std::vector<Node> statements = {
      loop(LoopKind::threads, one,
           block({store_to(shared, one, x), store_to(sum, number(0), x),
                  store_to(sum, number(1), mul(x, constant_float(10)))})),
      group_reduce(ReduceOp::add, sum, 0, 2, width, 8),
      loop(LoopKind::threads, other,
           store_to(p, add(mul(task, number(8)), other),
                    add(load_from(shared, integer_sub(number(7), other)),
                        add(load_from(sum, number(0)), load_from(sum, number(1))))))};
  if (at_task) statements.push_back(at_task);
  kernel.body = loop(LoopKind::parallel, task, block(std::move(statements)));
  return kernel;
}

TEST(Interpret, threadsOfAGroupMeetBetweenTheirLoops) {
  std::vector<float> out(16, -1);
  std::vector<float> in = {1, 2, 3, 4, 5, 6, 7, 8, 10, 20, 30, 40, 50, 60, 70, 80};
  const Kernel all = group_kernel({}, 8);
  run(all, {over(out), over(in)});
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(out[i], in[7 - i] + 36 * 11);
    EXPECT_EQ(out[8 + i], in[15 - i] + 360 * 11);
  }
  run(group_kernel({}, 2), {over(out), over(in)});
  EXPECT_EQ(out[0], in[7] + (1 + 2) * 11);
  EXPECT_EQ(out[5], in[2] + (5 + 6) * 11);
  EXPECT_EQ(threads_of(all.body), 8);
}

// Six groups come to two places by threes; the last at each adds up what the three have left.
TEST(Interpret, theLastGroupToArriveSeesWhatTheOthersWrote) {
  const Node out = make_param(0, DType::float32);
  const Node left = make_param(1, DType::float32);
  const Node task = make_range(0, 6), one = make_range(1, 4), other = make_range(2, 4);
  const Node flag = make_local(0, DType::int32, 1, Memory::shared);
  const Node place = mod(task, constant_int(2));
  const auto number = [](std::int64_t n) { return constant_int(n); };
  const auto of = [&](std::int64_t i) {
    const Node group = add(place, number(2 * i));
    return load_from(left, add(mul(group, number(4)), other));
  };
  const Node sum = add(add(of(0), of(1)), of(2));
  Kernel kernel;
  kernel.name = "arrivals";
  kernel.params = {{DType::float32, true, true}, {DType::float32, true, true}};
  const Node last = cmpne(load_from(flag, number(0)), constant_int(0, DType::int32));
  const Node at = add(mul(place, number(4)), other);
  kernel.body = loop(LoopKind::parallel, task,
                     block({loop(LoopKind::threads, one,
                                 store_to(left, add(mul(task, number(4)), one),
                                          cast(add(mul(task, number(10)), one), DType::float32))),
                            arrive(flag, place, 3, 2),
                            branch(last, loop(LoopKind::threads, other,
                                              store_to(out, at, add(load_from(out, at), sum))))}));
  verify_kernel(kernel, "a test");
  std::vector<float> result(8, 0), scratch(24, -1000);
  for (int launch = 1; launch <= 2; ++launch) {
    run(kernel, {over(result), over(scratch)});
    for (int i = 0; i < 8; ++i)
      EXPECT_EQ(result[i], launch * (i / 4 == 0 ? 60 : 90) + launch * 3 * (i % 4)) << i;
  }
  EXPECT_NE(print(kernel).find("arrive at (r0 % 2) of 2: m0 = last of 3"), std::string::npos);
}

TEST(Interpret, whatNoThreadRunsIsNoStatementOfAGroup) {
  const Node p = make_param(0, DType::float32);
  const Node sum = make_local(0, DType::float32, 2, Memory::registers);
  const auto says = [](const Kernel& kernel, const std::string& what) {
    try {
      verify_kernel(kernel, "test");
      ADD_FAILURE() << "expected: " << what;
    } catch (const InternalError& error) {
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  };
  says(group_kernel(store_to(p, number(0), constant_float(0)), 8), "which thread of the group");
  says(group_kernel(branch(cmplt(load_from(sum, number(0)), constant_float(0)),
                           loop(LoopKind::threads, make_range(3, 8),
                                store_to(p, number(0), constant_float(0)))),
                    8),
       "threads of a group may differ here");
  says(group_kernel(loop(LoopKind::threads, make_range(3, 4),
                         loop(LoopKind::threads, make_range(4, 4),
                              store_to(p, number(0), constant_float(0)))),
                    8),
       "a thread is no group of threads");
  says(group_kernel({}, 3), "no power of two that divides the threads");
}

TEST(Interpret, gathersScattersAndGatesGoLaneByLane) {
  const Node p = make_param(0, DType::float32);
  const Node a = make_param(1, DType::float32);
  const Node i = make_param(2, DType::int64);
  Kernel kernel{"gather", {out_float, in_float, {DType::int64, false, true}}, {}, {}, {}};
  const Node index = load_from(i, number(0), {}, 4);
  const Node inside = cmplt(index, splat(number(3), 4));
  kernel.body = store_to(p, mul(ramp(number(0), 4), number(2)), load_from(a, index, inside),
                         cmpne(index, number(1)));
  std::vector<float> out(8, -1);
  std::vector<float> in = {10, 20, 30};
  std::vector<std::int64_t> at = {2, 1, 99, 0};
  run(kernel, {over(out), over(in), over(at)});
  EXPECT_EQ(out, (std::vector<float>{30, -1, -1, -1, 0, -1, 10, -1}));
}

TEST(Interpret, vectorsAreShuffledTakenApartAndReduced) {
  const Node p = make_param(0, DType::float32);
  const Node a = make_param(1, DType::float32);
  Kernel kernel{"lanes", {out_float, in_float}, {}, {}, {}};
  const Node x = load_from(a, number(0), {}, 4);
  const Node y = load_from(a, number(4), {}, 4);
  kernel.body = block({
      store_to(p, number(0), shuffle(x, y, {7, 0, 6, 1})),
      store_to(p, number(4), lane(x, 2)),
      store_to(p, number(5), horizontal(ReduceOp::add, x)),
      store_to(p, number(6), horizontal(ReduceOp::max, y)),
      store_to(p, number(7), horizontal(ReduceOp::mul, shuffle(x, {}, {0, 1, 2}))),
  });
  std::vector<float> out(8);
  std::vector<float> in = {1, 2, 3, 4, 5, 6, std::numeric_limits<float>::quiet_NaN(), 8};
  run(kernel, {over(out), over(in)});
  EXPECT_EQ(out[0], 8);
  EXPECT_EQ(out[1], 1);
  EXPECT_TRUE(std::isnan(out[2]));
  EXPECT_EQ(out[3], 2);
  EXPECT_EQ(out[4], 3);
  EXPECT_EQ(out[5], 10);
  EXPECT_TRUE(std::isnan(out[6]));
  EXPECT_EQ(out[7], 6);
}

TEST(Interpret, dotSumsNeighboursOfBytesAndHalves) {
  Kernel kernel{
      "dot",
      {{DType::int32, true, true}, {DType::uint8, false, true}, {DType::int8, false, true}},
      {},
      {},
      {}};
  const Node p = make_param(0, DType::int32);
  kernel.body = store_to(
      p, number(0),
      dot(load_from(p, number(0), {}, 2), load_from(make_param(1, DType::uint8), number(0), {}, 8),
          load_from(make_param(2, DType::int8), number(0), {}, 8)));
  std::vector<std::int32_t> sums = {100, -1};
  std::vector<std::uint8_t> a = {1, 2, 3, 4, 255, 255, 255, 255};
  std::vector<std::int8_t> b = {1, -1, 2, -2, -128, -128, -128, -128};
  run(kernel, {over(sums), over(a), over(b)});
  EXPECT_EQ(sums, (std::vector<std::int32_t>{97, -1 - 4 * 255 * 128}));

  Kernel halves{"dot_bf16", {inout_float, {DType::bfloat16, false, true}}, {}, {}, {}};
  const Node q = make_param(0, DType::float32);
  const Node h = load_from(make_param(1, DType::bfloat16), number(0), {}, 2);
  halves.body = store_to(q, number(0), dot(load_from(q, number(0)), h, h));
  std::vector<float> sum = {0.5F};
  std::vector<std::uint16_t> c = {float_to_bfloat16(3), float_to_bfloat16(-4)};
  run(halves, {over(sum), over(c)});
  EXPECT_EQ(sum[0], 25.5F);
}

TEST(Interpret, undefinedMemoryReadsAsNan) {
  const Node p = make_param(0, DType::float32);
  const Node m = make_local(0, DType::float32, 4, Memory::scratch);
  const Node task = make_range(0, 2);
  Kernel kernel{"undefined", {out_float}, {}, {}, {}};
  // Task 0 reads what task 1 wrote into the thread's scratch: that is not kept.
  kernel.body =
      loop(LoopKind::parallel, task,
           block({branch(cmplt(number(0), task), store_to(m, number(0), constant_float(1))),
                  store_to(p, task, load_from(m, number(0)))}));
  std::vector<float> out(2);
  run(kernel, {over(out)});
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_EQ(out[1], 1);
}

TEST(Interpret, anAccessOutsideOfAParamOrLocalIsAnError) {
  const Node p = make_param(0, DType::float32);
  const Node i = make_range(0, 5);
  Kernel kernel{"past_the_end", {out_float}, {}, {}, {}};
  kernel.body = loop(LoopKind::serial, i, store_to(p, i, constant_float(1)));
  std::vector<float> out(4);
  try {
    run(kernel, {over(out)});
    FAIL() << "no error";
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what())
                  .find("interpret past_the_end: index 4 is outside of 4 elements, in p0[r0] = 1"),
              std::string::npos)
        << error.what();
  }
  const Node m = make_local(0, DType::float32, 2, Memory::registers);
  kernel.body = loop(LoopKind::serial, i, store_to(m, i, constant_float(1)));
  EXPECT_THROW(run(kernel, {over(out)}), InternalError);
}

TEST(KernelPrint, showsLoopsFormulasAndSharedParts) {
  const Node n = variable("n", 0, 64);
  const Node p = make_param(0, DType::float32);
  const Node a = make_param(1, DType::float32);
  const Node m = make_local(0, DType::float32, 8, Memory::registers);
  const Node i = make_range(0, n);
  const Node j = make_range(1, 2);
  const Node at = add(mul(i, number(8)), mul(j, number(4)));
  const Node x = load_from(a, at, {}, 4);
  Kernel kernel{"square", {out_float, in_float}, {n}, {}, {}};
  kernel.body =
      block({loop(LoopKind::parallel, i,
                  loop(LoopKind::unrolled, j,
                       block({store_to(m, mul(j, number(4)), mul(x, x)),
                              branch(cmplt(i, number(3)),
                                     store_to(p, at, load_from(m, mul(j, number(4)), {}, 4)))}))),
             store_to(p, number(0), constant_float(0))});
  verify_kernel(kernel, "test");
  EXPECT_EQ(print(kernel),
            "square(out float32 p0, in float32 p1; n)\n"
            "  registers float32[8] m0\n"
            "  parallel r0 < n:\n"
            "    unrolled r1 < 2:\n"
            "      t0: float32x4 = p1[((r0 * 8) + (r1 * 4)) x4]\n"
            "      m0[(r1 * 4) x4] = (t0 * t0)\n"
            "      if (r0 < 3):\n"
            "        p0[((r0 * 8) + (r1 * 4)) x4] = m0[(r1 * 4) x4]\n"
            "  p0[0] = 0\n");
}

// ---- the verifier
// --------------------------------------------------------------------------------

std::string complaint(const Kernel& kernel) {
  try {
    verify_kernel(kernel, "a pass");
  } catch (const InternalError& error) {
    return error.what();
  }
  return "";
}

void expect_complaint(const Node& body, const std::string& part) {
  const Kernel kernel{"k", {out_float, in_float}, {}, {}, body};
  const std::string text = complaint(kernel);
  EXPECT_NE(text.find("kernel k after 'a pass': " + part), std::string::npos)
      << "wanted: " << part << "\ngot: " << text;
}

TEST(KernelVerify, namesThePassAndTheNodeThatIsNotLegal) {
  const Node p = make_param(0, DType::float32);
  const Node a = make_param(1, DType::float32);
  const Node i = make_range(0, 4);
  const Node j = make_range(1, 4);
  const Node x = load_from(a, i);
  const auto serial = [](const Node& range, const Node& body) {
    return loop(LoopKind::serial, range, body);
  };
  expect_complaint(store_to(p, i, x), "r0 is not bound: store");
  expect_complaint(serial(i, serial(i, store_to(p, i, x))), "is bound twice: range");
  expect_complaint(serial(i, loop(LoopKind::parallel, j, store_to(p, j, x))),
                   "parallel loops stand only at the top of phases: loop");
  expect_complaint(serial(i, store_to(a, i, x)), "the param is not written: store");
  expect_complaint(serial(i, store_to(p, i, load_from(p, i))), "the param is not read: load");
  expect_complaint(serial(i, store_to(make_param(2, DType::float32), i, x)),
                   "no such param: store");
  expect_complaint(
      serial(i, store_to(make_param(0, DType::int32), i, constant_int(1, DType::int32))),
      "the param has another dtype: store");
  expect_complaint(serial(i, store_to(p, i, constant_int(1))),
                   "the value's dtype is not the memory's: store");
  expect_complaint(serial(i, store_to(p, constant_int(0, DType::int32), x)),
                   "the index is not int64: store");
  expect_complaint(serial(i, store_to(p, i, x, i)), "the gate is not bool: store");
  expect_complaint(serial(i, branch(i, store_to(p, i, x))),
                   "the condition is not one bool: branch");
  expect_complaint(serial(i, store_to(p, i, reduce_over(ReduceOp::add, load_from(a, j), {j}))),
                   "reductions belong to lowered kernels: reduce");
  expect_complaint(
      store_to(p, number(0), add(load_from(a, number(0), {}, 4), load_from(a, number(0), {}, 2))),
      "the sources' lanes differ: add");
  expect_complaint(store_to(p, ramp(number(0), 2), load_from(a, number(0), {}, 4)),
                   "the index's lanes differ: store");
  expect_complaint(store_to(p, number(0), lane(load_from(a, number(0), {}, 4), 4)),
                   "no such lane: lane");
  expect_complaint(store_to(p, number(0), p),
                   "a pointer is the first source of an access, and nothing else: store");
  expect_complaint(
      store_to(p, number(0),
               load_from(make_local(0, DType::float32, 2, Memory::scratch), number(1), {}, 2)),
      "the index is outside of the local: load");
  expect_complaint(store_to(p, number(0), cast(variable("n", 0, 9), DType::float32)),
                   "is not among the kernel's variables: variable");
  expect_complaint(serial(i, serial(make_range(0, 5), store_to(p, i, x))),
                   "two ranges have one id: range");
  expect_complaint(x, "is no statement: ");
}

}  // namespace
}  // namespace brisk
