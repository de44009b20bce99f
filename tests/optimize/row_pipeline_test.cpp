// Rows taken in a pipeline give the bits that rows taken one by one do.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernel/interpret.h"
#include "optimize/optimize.h"

namespace brisk {
namespace {

constexpr std::int64_t batches = 3, rows = 13;

struct Rows {
  LoweredKernel lowered;
  std::int64_t columns;
};

Node at(const Node& batch, const Node& row, const Node& column, std::int64_t columns) {
  const Node first = add(mul(batch, constant_int(rows + 2)), row);  // two rows of padding
  return add(mul(first, constant_int(columns)), column);
}

class Builder {
 public:
  explicit Builder(std::int64_t columns) : columns_(columns) {
    lowered_.params = {{DType::float32, false, true}, {DType::float32, true, false}};
  }

  Node element(const Node& column) const {
    return load_from(make_param(0, DType::float32), at(batch_, row_, column, columns_));
  }
  Node range() { return make_range(next_++, columns_); }
  Node column() const { return column_; }

  Rows store(const Node& value) {
    Part part;
    part.outer = {batch_, row_, column_};
    part.stages.push_back(
        {{},
         {store_to(make_param(1, DType::float32), at(batch_, row_, column_, columns_), value)}});
    lowered_.parts = {part};
    return {lowered_, columns_};
  }

 private:
  std::int64_t columns_;
  Node batch_ = make_range(0, batches), row_ = make_range(1, rows);
  Node column_ = make_range(2, columns_);
  int next_ = 3;
  LoweredKernel lowered_;
};

Node minus(const Node& x) { return mul(x, constant_float(-1)); }

Rows softmax(std::int64_t columns) {
  Builder b(columns);
  const Node i = b.range(), j = b.range();
  const Node most = reduce_over(ReduceOp::max, b.element(i), {i});
  const auto term = [&](const Node& column) {
    return exp2(mul(add(b.element(column), minus(most)), constant_float(1.5)));
  };
  return b.store(mul(term(b.column()), recip(reduce_over(ReduceOp::add, term(j), {j}))));
}

Rows normalised(std::int64_t columns) {
  Builder b(columns);
  const Node i = b.range(), j = b.range();
  const Node share = constant_float(1 / static_cast<double>(columns));
  const Node mean = mul(reduce_over(ReduceOp::add, b.element(i), {i}), share);
  const auto off = [&](const Node& column) { return add(b.element(column), minus(mean)); };
  const Node variance = mul(reduce_over(ReduceOp::add, mul(off(j), off(j)), {j}), share);
  return b.store(mul(off(b.column()), recip(variance)));
}

Rows scaled(std::int64_t columns) {
  Builder b(columns);
  const Node i = b.range();
  const Node squares = reduce_over(ReduceOp::add, mul(b.element(i), b.element(i)), {i});
  return b.store(mul(b.element(b.column()), recip(squares)));
}

std::vector<float> result(const Rows& kernel, std::int64_t cache, const char* name) {
  Target target = target_for("x86-64-v4");
  target.threads = 2;
  target.l2_bytes = cache;
  const Kernel made = optimize(kernel.lowered, target);
  EXPECT_EQ(made.name.substr(0, std::string(name).size()), name);
  const auto count = static_cast<std::size_t>(batches * (rows + 2) * kernel.columns);
  std::vector<float> in(count), out(count, -1);
  for (std::size_t i = 0; i < count; ++i)
    in[i] = static_cast<float>(std::sin(static_cast<double>(i) * 1.7) * 3);
  const auto memory = [](std::vector<float>& values) {
    return HostBuffer{reinterpret_cast<std::byte*>(values.data()),
                      static_cast<std::int64_t>(values.size() * sizeof(float))};
  };
  const std::vector<HostBuffer> buffers = {memory(in), memory(out)};
  interpret(made, buffers, {});
  return out;
}

// Sizes that leave no, some and all kinds of columns over; rows that do not share out evenly.
TEST(RowPipeline, GivesTheBitsOfRowsOneByOne) {
  for (const std::int64_t columns : {512, 512 + 16 + 5, 512 + 48, 512 + 32 + 1}) {
    for (Rows (*const rows_of)(std::int64_t) : {softmax, normalised, scaled}) {
      const Rows kernel = rows_of(columns);
      const std::vector<float> small = result(kernel, 1 << 20, "reduce_rows");
      EXPECT_EQ(small, result(kernel, 10 << 10, "row_pipeline")) << columns;
      EXPECT_TRUE(
          std::all_of(small.begin(), small.end(), [](float x) { return std::isfinite(x); }));
    }
  }
}

TEST(RowPipeline, LeavesRowsThatDoNotFitTheCacheTwiceOver) {
  result(softmax(512), 1 << 12, "reduce_rows");
}

}  // namespace
}  // namespace brisk
