// Training in 16 and 8 bits: as close to float32 as the numbers allow, and steps that overflow
// leave no trace.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>

#include "brisk/brisk.h"

namespace brisk {
namespace {

struct Net {
  nn::Linear first{16, 32};
  nn::LayerNorm norm{{32}};
  nn::Linear second{32, 4};
  void visit(nn::Fields& fields) {
    fields("first", first);
    fields("norm", norm);
    fields("second", second);
  }
  Tensor operator()(const Tensor& x) const { return second(gelu(norm(first(x)))); }
};

struct Data {
  Tensor x, y;
};
// Four classes by the signs of two directions.
Data data() {
  manual_seed(3);
  const Tensor x = randn({64, 16}).realize();
  const Tensor sides = (matmul(x, randn({16, 2})) > 0).cast(DType::int64);
  return {x, (sides.select(1, 0) * 2 + sides.select(1, 1)).realize()};
}

// Losses of `steps` steps, from the same weights every time; `prepare` changes the model.
template <typename Prepare>
std::vector<double> losses_of(DType dtype, const Prepare& prepare, int steps = 60) {
  const Data d = data();
  manual_seed(7);
  Net net;
  prepare(net);
  nn::Optimizer optimizer(nn::parameters(net), nn::AdamW{.lr = 0.01});
  nn::GradScaler scaler({.scale = 1024, .interval = 20});
  Step step([&] {
    Tensor loss;
    {
      const Autocast narrow(dtype);
      loss = cross_entropy(net(d.x), d.y);
    }
    scaler.scale(loss).backward();
    scaler.step(optimizer);
    scaler.update();
    optimizer.zero_grad();
    return loss;
  });
  std::vector<double> losses;
  for (int i = 0; i < steps; ++i) losses.push_back(step()[0].item<double>());
  EXPECT_EQ(scaler.scale().item<float>(), 1024 * 8);  // grown at 20, 40 and 60
  return losses;
}

void expect_close(const std::vector<double>& got, const std::vector<double>& want, double far) {
  double total = 0;
  for (std::size_t i = 0; i < want.size(); ++i) total += std::abs(got[i] - want[i]);
  EXPECT_LT(total / static_cast<double>(want.size()), far);
  EXPECT_NE(got, want);  // else it was float32 as well
  EXPECT_LT(got.back(), 0.35 * got.front());
}

const auto plain = [](Net&) {};

TEST(Precision, SixteenBitsLearnAsFloat32Does) {
  const std::vector<double> want = losses_of(DType::float32, plain);
  EXPECT_LT(want.back(), 0.3 * want.front());
  expect_close(losses_of(DType::bfloat16, plain), want, 0.02);
  expect_close(losses_of(DType::float16, plain), want, 0.004);
}

TEST(Precision, ScaledProductsLearnAsFloat32Does) {
  const std::vector<double> want = losses_of(DType::float32, plain);
  for (const bool halves : {false, true}) {
    for (const Scaled format : {Scaled::fp8, Scaled::int8}) {
      SCOPED_TRACE(format == Scaled::fp8 ? "fp8" : "int8");
      const auto scaled = [&](Net& net) {
        for (nn::Linear* linear : {&net.first, &net.second}) linear->scaled = {{format, halves}};
      };
      expect_close(losses_of(DType::float32, scaled), want, format == Scaled::fp8 ? 0.06 : 0.03);
    }
  }
}

TEST(Precision, ScaledProductsAreNearTheExactOnes) {
  manual_seed(5);
  const Tensor x = randn({3, 7, 64}).realize().requires_grad_();
  const Tensor weight = randn({20, 64}).realize().requires_grad_();
  const Tensor seed = randn({3, 7, 20}).realize();
  const auto gradients = [&](const Tensor& y) { return grad({y}, {x, weight}, {seed}); };
  const Tensor exact = linear(x, weight);
  const std::vector<Tensor> want = gradients(exact);
  const auto error = [](const Tensor& got, const Tensor& of) {
    return (square(got - of).sum() / square(of).sum()).sqrt().item<double>();
  };
  for (const bool halves : {false, true}) {
    const auto check = [&](Scaled format, double values, double by_input) {
      const Tensor y = scaled_linear(x, weight, {}, {format, halves, 0});
      const std::vector<Tensor> got = gradients(y);
      EXPECT_LT(error(y, exact), values);
      EXPECT_GT(error(y, exact), values / 20);
      EXPECT_LT(error(got[0], want[0]), by_input);
      EXPECT_LT(error(got[1], want[1]), halves ? 0.005 : by_input);
    };
    check(Scaled::int8, 0.02, 0.02);
    check(Scaled::fp8, 0.06, 0.1);
  }
}

// A gated layer's values, one channel of which is far greater than the others.
struct Gated {
  Tensor x, y;
  nn::Linear gate{96, 256, false}, up{96, 256, false}, down{256, 24, false};
  void visit(nn::Fields& fields) {
    fields("gate", gate);
    fields("up", up);
    fields("down", down);
  }
  Gated() {
    manual_seed(11);
    x = randn({80, 96}).realize();
    for (nn::Linear* linear : {&gate, &up, &down})
      nn::set(linear->weight, nn::normal(linear->weight.dims(), 0, 0.1));
    const Tensor outlier = where(arange(256).unsqueeze(1) == 77, 1000, 1);
    nn::set(up.weight, up.weight * outlier);
    y = randn({80, 24}).realize();
  }
  Tensor loss() const { return square(down(silu(gate(x)) * up(x)) - y).mean(); }
};

TEST(Precision, BytesFollowFloat32PastAnOutlierWhereBlocksFallBack) {
  const auto losses = [](const std::optional<ScaledOptions>& scaled) {
    Gated net;
    for (nn::Linear* linear : {&net.gate, &net.up, &net.down}) linear->scaled = scaled;
    nn::Optimizer optimizer(nn::parameters(net), nn::AdamW{.lr = 2e-3, .weight_decay = 0});
    Step step([&] {
      const Tensor loss = net.loss();
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
      return loss;
    });
    std::vector<double> list;
    for (int i = 0; i < 60; ++i) list.push_back(step()[0].item<double>());
    return list;
  };
  const std::vector<double> want = losses({});
  const auto farthest = [&](const std::vector<double>& got) {
    double most = 0;
    for (std::size_t i = 0; i < want.size(); ++i)
      most = std::max(most, std::fabs(got[i] - want[i]) / want[i]);
    return most;
  };
  const double with_fallback = farthest(losses(ScaledOptions{Scaled::int8}));
  const double without = farthest(losses(ScaledOptions{Scaled::int8, false, 0}));
  EXPECT_LT(want.back(), 0.1 * want.front());
  EXPECT_LT(with_fallback, 0.03);
  EXPECT_GT(without, 3 * with_fallback);
}

TEST(Precision, BlocksThatFallBackAreMultipliedInSixteenBits) {
  manual_seed(3);
  const Tensor weight = randn({40, 320}).realize();
  const Tensor plain = randn({24, 320}).realize();
  const Tensor x = where(arange(320) == 200, plain * 300, plain).realize();
  const auto error = [&](double fallback) {
    const Tensor want = linear(x, weight);
    const Tensor got = scaled_linear(x, weight, {}, {Scaled::int8, false, fallback});
    return square(got - want).mean().sqrt().item<double>();
  };
  EXPECT_GT(error(0), 5);
  EXPECT_LT(error(0.1), 0.5);
  EXPECT_LT(error(1), 0.15);
  EXPECT_THROW(error(1.5), UserError);
}

TEST(Precision, AnAutocastEndsWithItsScope) {
  const Tensor a = ones({2, 2}), b = ones({2, 2});
  {
    const Autocast outer(DType::bfloat16);
    EXPECT_EQ(matmul(a, b).dtype(), DType::bfloat16);
    EXPECT_EQ(einsum("ij,jk->ik", {a, b}).dtype(), DType::bfloat16);
    EXPECT_EQ(mse_loss(matmul(a, b), b).dtype(), DType::float32);
    {
      const Autocast inner(DType::float32);
      EXPECT_EQ(matmul(a, b).dtype(), DType::float32);
    }
    EXPECT_EQ(linear(a, b).dtype(), DType::bfloat16);
    EXPECT_EQ(matmul(a.cast(DType::float64), b).dtype(), DType::float64);
  }
  EXPECT_EQ(matmul(a, b).dtype(), DType::float32);
  EXPECT_THROW(Autocast(DType::int8), UserError);
}

TEST(GradScaler, AStepThatOverflowsLeavesEverythingAsItWas) {
  for (const bool recorded : {false, true}) {
    SCOPED_TRACE(recorded ? "recorded" : "not recorded");
    manual_seed(7);
    Net net;
    nn::Optimizer optimizer(nn::parameters(net), nn::AdamW{.lr = 0.01});
    nn::GradScaler scaler({.scale = 256, .interval = 3});
    Tensor x = ones({4, 16}).contiguous().realize();
    const auto once = [&] {
      const Tensor loss = square(net(x)).mean();
      scaler.scale(loss).backward();
      scaler.step(optimizer);
      scaler.update();
      optimizer.zero_grad();
      return loss;
    };
    Step replayed(once);
    const auto run = [&] { recorded ? replayed()[0].item<float>() : once().item<float>(); };
    const auto bytes = [&] {
      std::vector<std::vector<std::byte>> all;
      for (const auto& [name, tensor] : nn::state(net)) all.push_back(tensor.to_bytes());
      for (const auto& [name, tensor] : optimizer.state()) all.push_back(tensor.to_bytes());
      return all;
    };
    run();
    const auto before = bytes();
    const std::vector<float> bad(64, std::numeric_limits<float>::infinity());
    const std::vector<float> good(64, 0.5F);
    x.copy_from(std::as_bytes(std::span(bad)));
    run();
    EXPECT_EQ(bytes(), before);
    EXPECT_EQ(scaler.scale().item<float>(), 128);
    x.copy_from(std::as_bytes(std::span(good)));
    for (int i = 0; i < 3; ++i) run();
    EXPECT_NE(bytes(), before);
    EXPECT_EQ(scaler.scale().item<float>(), 256);
    EXPECT_EQ(optimizer.state().at("step").item<float>(), 4);
  }
}

TEST(GradScaler, SaysWhatIsMissing) {
  Net net;
  nn::Optimizer optimizer(nn::parameters(net), nn::Sgd{});
  nn::GradScaler scaler;
  EXPECT_THROW(scaler.update(), UserError);
  EXPECT_THROW(scaler.unscale(optimizer), UserError);
  EXPECT_THROW(nn::GradScaler({.growth = 1}), UserError);
}

}  // namespace
}  // namespace brisk
