// Graphs as text, and what the verifier says of graphs that no builder would make.
#include "graph/print.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "graph/verify.h"

namespace brisk {
namespace {

TEST(GraphPrint, givesANodeALineAndWritesConstantsWhereTheyAreUsed) {
  const Node n = variable("n", 1, 8);
  const Node a = expand(reshape(iota(n), {Size(n), 1}), {Size(n), 3});
  const Node b = add(cast(a, DType::float32), constant_float(1.5));
  const Node c = reduce(ReduceOp::max, pad(b, {0, 0, 1, 2}), {0, 1});
  EXPECT_EQ(print(c),
            "%0: int64[n] = iota()\n"
            "%1: int64[n, 1] = reshape(%0)\n"
            "%2: int64[n, 3] = expand(%1)\n"
            "%3: float32[n, 3] = cast(%2)\n"
            "%4: float32[n, 3] = add(%3, 1.5)\n"
            "%5: float32[n, 6] = pad(%4, 0:0 1:2)\n"
            "%6: float32[1, 1] = reduce(%5, max, axes 0 1)\n"
            "return %6\n");
  EXPECT_EQ(describe(b), "add float32[n, 3]");
}

void expect_complaint(const Node& node, const std::string& text) {
  try {
    verify_graph({&node, 1}, "a pass");
    FAIL() << "no error, wanted: " << text;
  } catch (const InternalError& error) {
    EXPECT_EQ(std::string(error.what()), "graph after 'a pass': " + text);
  }
}

Attr with(std::vector<std::int64_t> ints) {
  Attr attr;
  attr.ints = std::move(ints);
  return attr;
}

TEST(GraphVerify, acceptsWhatTheBuildersMake) {
  const Node a = buffer(DType::float32, {2, 3}, nullptr);
  const Node b = store(shrink(a, {0, 1, 0, 3}), constant_float(1));
  const Node c = scatter(b, iota(4), constant_float(2), StoreMode::add);
  const Node d = load(c, add(iota(6), constant_int(0)), constant_int(1, DType::boolean));
  const Node roots[] = {copy_to(reduce(ReduceOp::add, d, {0}), "cpu"), bitcast(a, DType::int32)};
  EXPECT_NO_THROW(verify_graph(roots, "a pass"));
}

TEST(GraphVerify, namesThePassAndTheNodeThatIsNotLegal) {
  const Node a = buffer(DType::float32, {2, 3}, nullptr);
  const Node r = make_node(Op::range_, DType::int64, {constant_int(4)}, with({0}));
  expect_complaint(add(cast(r, DType::float32), constant_float(1)),
                   "range int64[] of constant int64[]: belongs to kernels");
  expect_complaint(make_node(Op::add_, DType::int32, {a, a}),
                   "add int32[2, 3] of buffer float32[2, 3], buffer float32[2, 3]: "
                   "the dtype is not the sources'");
  expect_complaint(make_node(Op::cmplt_, DType::float32, {a, a}),
                   "cmplt float32[2, 3] of buffer float32[2, 3], buffer float32[2, 3]: "
                   "a comparison's dtype is not bool");
  expect_complaint(make_node(Op::reduce_, DType::float32, {a}, with({7, 0})),
                   "reduce float32[1, 3] of buffer float32[2, 3]: the attribute is not a ReduceOp");
  expect_complaint(make_node(Op::exp2_, DType::float32, {a}, {}, 4),
                   "exp2 float32x4[2, 3] of buffer float32[2, 3]: has lanes");
  expect_complaint(make_node(Op::flip_, DType::int32, {a}, with({0})),
                   "flip int32[2, 3] of buffer float32[2, 3]: the dtype is not the source's");
  expect_complaint(make_node(Op::store_, DType::none, {a, a}),
                   "store none[2, 3] of buffer float32[2, 3], buffer float32[2, 3]: has no dtype");
  expect_complaint(
      make_node(Op::load_, DType::float32,
                {a, constant_int(0), constant_int(1, DType::boolean), constant_int(0)}),
      "load float32[] of buffer float32[2, 3], constant int64[], constant bool[], "
      "constant int64[]: wants two or three sources");
}

}  // namespace
}  // namespace brisk
