// A recorded step does what the function would do if it ran again.
#include "tensor/tensor_test.h"

namespace brisk {
namespace {

class StepTest : public TensorTest {};

std::span<const std::byte> bytes_of(const std::vector<float>& values) {
  return std::as_bytes(std::span(values));
}

TEST_F(StepTest, runsOnceAndReadsWhatTheMemoryHoldsAtEachReplay) {
  Tensor x = empty({2});
  int runs = 0;
  Step step([&] {
    ++runs;
    return x * 2;
  });
  x.copy_from(bytes_of({1, 2}));
  expect_values(step()[0], {2}, {2, 4});
  x.copy_from(bytes_of({5, 6}));
  expect_values(step()[0], {2}, {10, 12});
  EXPECT_EQ(runs, 1);
}

TEST_F(StepTest, assignmentsHappenAtEachReplay) {
  Tensor count = empty({});
  Step step([&] {
    count.assign(count + 1);
    count.assign(count * 2);
  });
  for (const double want : {2, 6, 14}) {
    EXPECT_TRUE(step().empty());
    EXPECT_EQ(count.item<double>(), want);
  }
}

TEST_F(StepTest, valuesComputedFromWhatItWritesAreComputedAgain) {
  Tensor count = empty({});
  Step step([&] { count.assign(count + 1); });
  step();
  EXPECT_EQ((count * 10).item<double>(), 10);
  step();
  EXPECT_EQ((count * 10).item<double>(), 20);
}

TEST_F(StepTest, gradientsFlowAndUpdatesStay) {
  Tensor w = full({2}, 1.0).contiguous().realize();
  w.requires_grad_();
  Tensor x = empty({2});
  Step step([&] {
    Tensor loss = (w * x).sum();
    loss.backward();
    w.assign(w - 0.5 * w.grad());
    w.zero_grad();
    return loss;
  });
  x.copy_from(bytes_of({1, 2}));
  expect_values(step()[0], {}, {3});
  expect_values(w.detach(), {2}, {0.5, 0});
  x.copy_from(bytes_of({4, 4}));
  expect_values(step()[0], {}, {2});
  expect_values(w.detach(), {2}, {-1.5, -2});
  EXPECT_TRUE(w.requires_grad());
  EXPECT_FALSE(w.grad().defined());
}

TEST_F(StepTest, randomNumbersAreThoseOfTheFunctionRunAgain) {
  Generator recorded(7);
  Generator plain(7);
  const auto numbers = [](Generator& generator) {
    return std::vector<Tensor>{rand({3}, DType::float32, generator),
                               randint(0, 1000, {2}, DType::int64, generator)};
  };
  Step step([&] { return numbers(recorded); });
  for (int i = 0; i < 3; ++i) {
    const std::vector<Tensor> want = numbers(plain);
    const std::vector<Tensor>& got = step();
    EXPECT_EQ(got[0].to_vector<float>(), want[0].to_vector<float>());
    EXPECT_EQ(got[1].to_vector<std::int64_t>(), want[1].to_vector<std::int64_t>());
  }
  EXPECT_EQ(recorded.counter(), plain.counter());
}

TEST_F(StepTest, nothingCanBeComputedWhileItRecords) {
  Tensor x = empty({2});
  Step step([&] { return Tensor((x + 1).sum().item<float>()); });
  try {
    step();
    FAIL() << "no error";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "Step: a Step's function only records what is to be computed: return the tensor "
                 "from it");
  }
  expect_values(x + 1, {2}, {1, 1});  // recording has ended
}

TEST_F(StepTest, aStepWithinAStepIsAnError) {
  Tensor x = empty({2});
  Step inner([&] { return x + 1; });
  Step outer([&] { return inner()[0] * 2; });
  EXPECT_THROW(outer(), UserError);
}

}  // namespace
}  // namespace brisk
