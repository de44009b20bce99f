// What the user reads when shapes or dtypes do not fit: one message a case, word for word.
#include <gtest/gtest.h>

#include <functional>

#include "base/error.h"
#include "graph/node.h"

namespace brisk {
namespace {

std::string message(const std::function<void()>& action) {
  try {
    action();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

#define EXPECT_MESSAGE(expression, text) EXPECT_EQ(message([&] { expression; }), text)

TEST(Infer, elementwiseOperationsNameShapesAndDtypes) {
  const Node a = buffer(DType::float32, {2, 3}, nullptr);
  const Node b = buffer(DType::float32, {3, 2}, nullptr);
  const Node i = buffer(DType::int32, {2, 3}, nullptr);
  EXPECT_MESSAGE(add(a, b), "add: shapes [2, 3] and [3, 2] differ");
  EXPECT_MESSAGE(mul(a, i), "mul: dtypes float32 and int32 differ");
  EXPECT_MESSAGE(where(i, a, a), "where: the condition must be bool, not int32");
  EXPECT_MESSAGE(where(cmplt(a, a), a, i), "where: dtypes float32 and int32 differ");
  EXPECT_MESSAGE(exp2(i), "exp2: wants floating point, got int32");
  EXPECT_MESSAGE(idiv(a, a), "idiv: wants integers, got float32");
  EXPECT_MESSAGE(bit_and(a, a), "and: wants integers or bool, got float32");
  EXPECT_MESSAGE(bitcast(a, DType::int64), "bitcast: float32 and int64 differ in size");
}

TEST(Infer, movementOperationsNameTheShapeAndWhatIsWrong) {
  const Node a = buffer(DType::float32, {2, 3}, nullptr);
  EXPECT_MESSAGE(
      reshape(a, {4}),
      "reshape: a tensor of shape [2, 3] cannot go to [4]: the number of elements differs");
  EXPECT_MESSAGE(
      reshape(a, {-2, -3}),
      "reshape: a tensor of shape [2, 3] cannot go to [-2, -3]: sizes must not be negative");
  EXPECT_MESSAGE(
      expand(a, {4, 3}),
      "expand: a tensor of shape [2, 3] cannot go to [4, 3]: only axes of size 1 expand");
  EXPECT_MESSAGE(expand(a, {2, 3, 4}),
                 "expand: a tensor of shape [2, 3] cannot go to [2, 3, 4]: the rank differs");
  EXPECT_MESSAGE(pad(a, {1, 1}),
                 "pad: a tensor of shape [2, 3] cannot go to [1, 1]: wants two sizes per axis");
  EXPECT_MESSAGE(
      pad(a, {-1, 0, 0, 0}),
      "pad: a tensor of shape [2, 3] cannot go to [-1, 0, 0, 0]: padding must not be negative");
  EXPECT_MESSAGE(
      shrink(a, {0, 3, 0, 3}),
      "shrink: a tensor of shape [2, 3] cannot go to [0, 3, 0, 3]: the box must lie inside");
  EXPECT_MESSAGE(
      shrink(a, {2, 1, 0, 3}),
      "shrink: a tensor of shape [2, 3] cannot go to [2, 1, 0, 3]: the box must lie inside");
  EXPECT_MESSAGE(permute(a, {0, 0}),
                 "permute: axis 0 is repeated or outside a tensor of shape [2, 3]");
  EXPECT_MESSAGE(permute(a, {0}), "permute: got 1 axes for a tensor of shape [2, 3]");
  EXPECT_MESSAGE(flip(a, {2}),
                 "flip: axis 2 is repeated, out of order or outside a tensor of rank 2");
  EXPECT_MESSAGE(reduce(ReduceOp::add, a, {1, 0}),
                 "reduce: axis 0 is repeated, out of order or outside a tensor of rank 2");
}

TEST(Infer, memoryOperationsNameWhatTheyWant) {
  const Node a = buffer(DType::float32, {2, 3}, nullptr);
  const Node i = buffer(DType::int32, {4}, nullptr);
  const Node at = buffer(DType::int64, {4}, nullptr);
  EXPECT_MESSAGE(load(a, i), "load: the index must be int64, not int32");
  EXPECT_MESSAGE(load(a, at, i),
                 "load: the gate must be bool of shape [4], not int32 of shape [4]");
  EXPECT_MESSAGE(store(a, i), "store: the target is float32, the value int32");
  EXPECT_MESSAGE(store(a, buffer(DType::float32, {3}, nullptr)),
                 "store: wants a value of shape [2, 3], got [3]");
  EXPECT_MESSAGE(store(add(a, a), a),
                 "store: the target must be a buffer or a view of one, not the result of 'add'");
  EXPECT_MESSAGE(scatter(a, i, buffer(DType::float32, {4}, nullptr), StoreMode::add),
                 "store: the index must be int64, not int32");
  EXPECT_MESSAGE(variable("n", 3, 2), "variable 'n': least value 3 is above the greatest 2");
}

TEST(Infer, symbolicShapesFollowTheirVariables) {
  const Node n = variable("n", 1, 64);
  const Node a = buffer(DType::float32, {Size(n), 4}, nullptr);
  EXPECT_EQ(to_string(reshape(a, {2, Size(n) * 2}).shape()), "[2, 2*n]");
  EXPECT_EQ(to_string(pad(a, {1, 2, 0, 0}).shape()), "[n+3, 4]");
  EXPECT_EQ(to_string(shrink(a, {0, 1, 0, 2}).shape()), "[1, 2]");
  EXPECT_EQ(shrink(pad(a, {1, 0, 0, 0}), {Size(1), Size(n) + 1, 0, 4}).shape(), a.shape());
  EXPECT_MESSAGE(
      reshape(a, {Size(n), 5}),
      "reshape: a tensor of shape [n, 4] cannot go to [n, 5]: the number of elements differs");
  const Node m = variable("m", 1, 64);
  EXPECT_MESSAGE(add(a, buffer(DType::float32, {Size(m), 4}, nullptr)),
                 "add: shapes [n, 4] and [m, 4] differ");
}

}  // namespace
}  // namespace brisk
