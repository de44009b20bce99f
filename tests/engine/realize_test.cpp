// Small graphs on the engine against the evaluator: each was once computed wrongly, or is a case
// that stores in place must get right.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "engine/engine.h"
#include "graph/evaluate.h"
#include "graph/print.h"

namespace brisk {
namespace {

// 0, 1, 2, … in memory of the engine.
Node counting(Shape shape, DType dtype = DType::float32) {
  std::vector<float> values(static_cast<std::size_t>(element_count(shape).value()));
  std::iota(values.begin(), values.end(), 0.0F);
  const Node node =
      Engine::shared().upload(DType::float32, shape, std::as_bytes(std::span(values)), nullptr);
  return dtype == DType::float32 ? node : Engine::shared().realize({{cast(node, dtype)}})[0];
}

Node whole(const std::vector<std::int64_t>& values) {
  return Engine::shared().upload(DType::int64, {Size(static_cast<std::int64_t>(values.size()))},
                                 std::as_bytes(std::span(values)), nullptr);
}

void expect_as_evaluated(const std::vector<Node>& roots, const Variables& values = {}) {
  Engine& engine = Engine::shared();
  const std::vector<Array> want =
      evaluate(roots, {values, [&](const Node& node) {
                         return Array{node.dtype(), static_shape(node.shape()), engine.read(node)};
                       }});
  const std::vector<Node> got = engine.realize(roots, values);
  for (std::size_t i = 0; i < roots.size(); ++i) {
    EXPECT_EQ(engine.read(got[i]), want[i].bytes) << "root " << i << " of\n" << print(roots);
  }
}

Node window(const Node& a, std::int64_t begin, std::int64_t end) { return shrink(a, {begin, end}); }

// ---- stores in place
// -----------------------------------------------------------------------------

TEST(Realize, AnOldVersionThatIsReadBesideTheNewOneKeepsItsValues) {
  const Node a = counting({10});
  const Node next = store(window(a, 2, 6), mul(window(a, 2, 6), constant_float(-1)));
  expect_as_evaluated({add(a, next)});
}

TEST(Realize, AVersionBetweenTwoStoresKeepsItsValues) {
  const Node a = counting({10});
  const Node once = store(window(a, 0, 4), counting({4}));
  const Node twice = store(window(once, 1, 9), window(once, 2, 10));
  expect_as_evaluated({where(cmplt(once, twice), once, mul(twice, constant_float(3))), twice});
}

TEST(Realize, ReadersOfTheOldVersionRunBeforeTheStore) {
  const Node a = counting({50});
  const Node sum = reduce(ReduceOp::add, mul(a, a), {0});
  expect_as_evaluated({store(a, mul(a, constant_float(2))), sum});
}

TEST(Realize, AStoreMayMoveItsOwnMemoryByOne) {
  for (const std::int64_t shift : {1, 3}) {
    const Node up = counting({64});
    expect_as_evaluated({store(window(up, shift, 64), window(up, 0, 64 - shift))});
    const Node down = counting({64});
    expect_as_evaluated({store(window(down, 0, 64 - shift), window(down, shift, 64))});
    const Node turned = counting({64});
    expect_as_evaluated({store(turned, flip(turned, {0}))});
    const Node square = counting({20, 20});
    expect_as_evaluated({store(square, add(square, permute(square, {1, 0})))});
  }
}

TEST(Realize, AStoreMayReadASumOfItsOwnMemory) {
  const Node a = counting({30, 5});
  expect_as_evaluated({store(
      a, add(a, mul(expand(reduce(ReduceOp::max, a, {0}), a.shape()), constant_float(-1))))});
}

TEST(Realize, AStoreIntoATurnedViewLandsWhereTheViewSays) {
  const Node a = counting({6, 4});
  const Node view = flip(permute(shrink(a, {1, 5, 0, 4}), {1, 0}), {1});
  expect_as_evaluated({store(view, mul(counting({4, 4}), constant_float(-1)))});
}

TEST(Realize, TwoMemoriesMayExchangeTheirContents) {
  const Node a = counting({40});
  const Node b = Engine::shared().realize({{mul(counting({40}), constant_float(-1))}})[0];
  const Node first = store(a, add(b, constant_float(0.5)));
  const Node second = store(b, add(a, constant_float(0.25)));
  expect_as_evaluated({first, second});
}

TEST(Realize, OfEqualPositionsTheLastStoreWins) {
  const Node index = whole({3, 1, 3, 3, 0, 1});
  expect_as_evaluated({scatter(counting({5}), index, counting({6}), StoreMode::replace)});
}

TEST(Realize, EveryScatterModeTakesEqualPositionsAndDropsThoseOutside) {
  std::vector<std::int64_t> positions(500);
  for (std::size_t i = 0; i < positions.size(); ++i)
    positions[i] = static_cast<std::int64_t>(i * i % 23) - 2;
  const auto filled = [](std::int64_t value) {
    return expand(reshape(constant_int(value, DType::int32), {1}), {500});
  };
  for (const StoreMode mode :
       {StoreMode::replace, StoreMode::add, StoreMode::max, StoreMode::min}) {
    for (const DType dtype : {DType::float32, DType::int32, DType::uint8}) {
      const Node value = mod(mul(cast(counting({500}), DType::int32), filled(7)), filled(23));
      expect_as_evaluated(
          {scatter(counting({19}, dtype), whole(positions), cast(value, dtype), mode)});
    }
  }
  const Node factors = add(mod(cast(counting({500}), DType::int32), filled(3)), filled(1));
  expect_as_evaluated(
      {scatter(counting({19}, DType::int32), whole(positions), factors, StoreMode::mul)});
}

TEST(Realize, AValueEqualToAnOldVersionKeepsItsValuesAndItsMemory) {
  const Node a = counting({10});
  const Node once = store(window(a, 0, 4), mul(window(a, 4, 8), constant_float(2)));
  const Node twice = store(window(once, 2, 6), mul(window(once, 0, 4), constant_float(-1)));
  expect_as_evaluated({max(once, once), twice});
  const Node b = counting({10});
  EXPECT_FALSE(Engine::shared().realize({{max(b, b)}})[0].attr().storage == b.attr().storage);
}

// ---- found by the random graphs
// ------------------------------------------------------------------

TEST(Realize, ALoopOfTwoRoundsGatedByItsOwnEndReadsTheFirst) {
  const Node a = Engine::shared().realize({{add(counting({1, 16}), constant_float(1))}})[0];
  expect_as_evaluated({pad(a, {0, 1, 0, 0})});
}

TEST(Realize, AScatterOfColumnMaximaKeepsTheOrderOfItsElements) {
  std::vector<std::int64_t> positions(2 * 5 * 8);
  for (std::size_t i = 0; i < positions.size(); ++i)
    positions[i] = static_cast<std::int64_t>(i * i % 7);
  const Node index = reshape(whole(positions), {2, 5, 8});
  const Node a = counting({2, 5, 8});
  const Node centred =
      add(a, mul(expand(reduce(ReduceOp::max, a, {1}), a.shape()), constant_float(-1)));
  expect_as_evaluated({scatter(counting({7}), index, centred, StoreMode::replace)});
}

TEST(Realize, AScatterAtComputedPositionsThatOverlapAddsEveryElement) {
  constexpr std::int64_t count = 200'000;  // many tasks
  for (const int step : {1, 2}) {
    const Node rows = reshape(mul(iota(count), constant_int(step)), {count, 1});
    const Node columns = reshape(iota(3), {1, 3});
    const Node at = add(expand(rows, {count, 3}), expand(columns, {count, 3}));
    const Node target = expand(reshape(constant_float(0), {1}), {2 * count + 8});
    const Node memory = Engine::shared().realize({{target}})[0];
    expect_as_evaluated({scatter(memory, at, counting({count, 3}), StoreMode::add)});
    expect_as_evaluated({scatter(memory, at, counting({count, 3}), StoreMode::replace)});
    const Node same = expand(reshape(constant_int(4), {1}), {300});
    expect_as_evaluated({scatter(counting({10}), same, counting({300}), StoreMode::add)});
  }
}

TEST(Realize, HalvesBelowAConstantAreSelected) {
  const Node x = counting({5, 7}, DType::float16);
  const Node three = expand(reshape(constant_like(3, DType::float16), {1, 1}), {5, 7});
  const Node least = where(cmplt(x, three), x, three);
  const Node greatest = where(cmplt(three, x), x, three);
  expect_as_evaluated({least, greatest, reduce(ReduceOp::max, least, {1})});
}

}  // namespace
}  // namespace brisk
