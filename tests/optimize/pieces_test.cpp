#include "optimize/pieces.h"

#include <gtest/gtest.h>

#include "graph/integer.h"
#include "optimize/analysis.h"

namespace brisk {
namespace {

const Node row = make_range(0, 10), column = make_range(1, 4), k = make_range(2, 8);

Node element(int param, const Node& at, const Node& gate = {}) {
  return load_from(make_param(param, DType::float32), at, gate);
}
Node sum_of(int param, const Node& first, const Node& gate) {
  return reduce_over(ReduceOp::add, element(param, add(mul(first, constant_int(8)), k), gate), {k});
}

Part part_of(const Node& value) {
  Part part;
  part.outer = {row, column};
  const Node at = add(mul(row, constant_int(4)), column);
  part.stages.push_back({{}, {store_to(make_param(9, DType::float32), at, value)}});
  return part;
}

const Node first_rows = cmplt(row, constant_int(3));
const Node other_rows = cmplt(constant_int(2), row);

TEST(Pieces, HaveTheirOwnRowsAndSums) {
  const Node last = integer_sub(row, constant_int(3));
  const Part part =
      part_of(where(first_rows, sum_of(0, row, first_rows), sum_of(1, last, other_rows)));
  int next_range = 100;
  const std::vector<Part> pieces = pieces_of(part, next_range);
  ASSERT_EQ(pieces.size(), 2U);
  for (int i = 0; i < 2; ++i) {
    const Part& piece = pieces[static_cast<std::size_t>(i)];
    const Node& rows = piece.outer[0];
    EXPECT_EQ(piece.piece, i);
    EXPECT_EQ(Size(rows.src(0)), Size(i == 0 ? 3 : 7));
    const Node at = add(mul(add(rows, constant_int(3 * i)), constant_int(4)), column);
    EXPECT_EQ(piece.stages[0].stores[0],
              store_to(make_param(9, DType::float32), at, sum_of(i, rows, {})));
  }
}

TEST(Pieces, AreCutAgain) {
  const Node middle = cmplt(row, constant_int(5));
  const Node rest = where(middle, sum_of(1, row, middle), element(2, row));
  int next_range = 100;
  EXPECT_EQ(
      pieces_of(part_of(where(first_rows, sum_of(0, row, first_rows), rest)), next_range).size(),
      3U);
}

TEST(Pieces, ThatNeedOneSumAreNotCut) {
  const Node sum = sum_of(0, row, {});
  const Node of_all = sum_of(0, column, {});
  int next_range = 100;
  EXPECT_EQ(pieces_of(part_of(where(first_rows, sum, mul(sum, sum))), next_range).size(), 1U);
  EXPECT_EQ(pieces_of(part_of(where(first_rows, of_all, mul(of_all, of_all))), next_range).size(),
            1U);
}

TEST(Pieces, WithoutSumsAreNotCut) {
  const Node value = where(first_rows, element(0, row, first_rows), element(1, row, other_rows));
  int next_range = 100;
  EXPECT_EQ(pieces_of(part_of(value), next_range).size(), 1U);
}

}  // namespace
}  // namespace brisk
