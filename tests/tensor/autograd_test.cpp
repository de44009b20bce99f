// Gradients as users ask for them: leaves, backward, grad, detaching, accumulation, checkpoints,
// and what happens where derivatives do not exist.
#include <limits>

#include "engine/engine.h"
#include "tensor/accumulator.h"
#include "tensor/tensor_test.h"

namespace brisk {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

class Autograd : public TensorTest {};

Tensor leaf(const std::vector<double>& values, DType dtype = DType::float32) {
  Tensor x = from_host(std::span<const double>(values), {Dim(values.size())}).cast(dtype).realize();
  return x.requires_grad_();
}

// d Σ f(x) / dx.
template <typename F>
std::vector<double> slopes(const std::vector<double>& at, F f) {
  Tensor x = leaf(at);
  return grad({f(x).sum()}, {x})[0].template to_vector<double>();
}

// ---- backward and its leaves --------------------------------------------------------------------

TEST_F(Autograd, aProductsGradientIsTheOtherFactor) {
  Tensor x = counting({3}).realize();
  Tensor w = full({3}, 2.0).requires_grad_();
  Tensor loss = (x * w).sum();
  loss.backward();
  expect_values(w.grad(), {3}, {0, 1, 2});
  EXPECT_FALSE(w.grad().requires_grad());
  EXPECT_FALSE(x.grad().defined());
}

TEST_F(Autograd, leavesOfEqualValuesHaveGradientsOfTheirOwn) {
  Tensor a = zeros({2}).requires_grad_();
  Tensor b = zeros({2}).requires_grad_();
  (a * 2 + b * 3).sum().backward();
  expect_values(a.grad(), {2}, {2, 2});
  expect_values(b.grad(), {2}, {3, 3});
}

TEST_F(Autograd, gradientsAddUpUntilTheyAreZeroed) {
  Tensor x = leaf({1, 2});
  (x * x).sum().backward();
  (x * 3).sum().backward();
  expect_values(x.grad(), {2}, {5, 7});
  x.zero_grad();
  EXPECT_FALSE(x.grad().defined());
  (x * 4).sum().backward();
  expect_values(x.grad(), {2}, {4, 4});
}

TEST_F(Autograd, whatWasBuiltBeforeIsNoPartOfIt) {
  Tensor x = counting({2}).realize();
  const Tensor before = x * x;
  x.requires_grad_();
  EXPECT_FALSE(before.requires_grad());
  EXPECT_TRUE((before + x).requires_grad());
  (before + x).sum().backward();
  expect_values(x.grad(), {2}, {1, 1});
}

TEST_F(Autograd, aTensorIsALeafOrComputed) {
  Tensor x = leaf({1});
  EXPECT_TRUE(x.is_leaf());
  EXPECT_FALSE((x * 2).is_leaf());
  EXPECT_TRUE((x * 2).detach().is_leaf());
  EXPECT_TRUE(zeros({2}).is_leaf());
  EXPECT_FALSE((x * 2).cast(DType::int64).requires_grad());
  EXPECT_FALSE((x > 0).requires_grad());
  x.requires_grad_(false);
  EXPECT_FALSE(x.requires_grad());
}

TEST_F(Autograd, realizingInTheMiddleKeepsWhatItWasComputedFrom) {
  Tensor x = leaf({1, 2, 3});
  Tensor y = x * x;
  y.realize();
  EXPECT_TRUE(y.is_realized());
  EXPECT_TRUE(y.requires_grad());
  Tensor z = y * y;
  z.realize();
  z.sum().backward();
  expect_values(x.grad(), {3}, {4, 32, 108});
}

TEST_F(Autograd, aLeafThatIsRealizedLaterIsTheSameLeaf) {
  Tensor x = zeros({2}).requires_grad_();
  Tensor y = (x * 3).sum();
  x.realize();
  EXPECT_TRUE(x.is_leaf());
  (y + x.sum()).backward();
  expect_values(x.grad(), {2}, {4, 4});
}

TEST_F(Autograd, parametersAreUpdatedFromStepToStep) {
  Tensor x = leaf({4});
  double expected = 4;
  for (int step = 0; step < 5; ++step) {
    Tensor loss = (x * x).sum();
    loss.backward();
    x.assign(x - 0.25 * x.grad());
    x.zero_grad();
    x.realize();
    EXPECT_TRUE(x.is_leaf());
    EXPECT_EQ(loss.item<double>(), expected * expected);  // as it was before the update
    expected -= 0.5 * expected;
    EXPECT_EQ(x.item<double>(), expected);
  }
}

TEST_F(Autograd, gradientsReadAfterTheUpdateAreThoseFromBeforeIt) {
  Tensor x = leaf({3});
  (x * x).sum().backward();
  x.assign(x - x.grad());
  x.realize();
  expect_values(x, {1}, {-3});
  expect_values(x.grad(), {1}, {6});
}

TEST_F(Autograd, aDetachedTensorPassesNothing) {
  Tensor x = leaf({2, 3});
  const Tensor target = (x * 5).detach();
  target.realize();
  (x * target).sum().backward();
  expect_values(x.grad(), {2}, {10, 15});
  EXPECT_FALSE(x.detach().requires_grad());
}

TEST_F(Autograd, nothingIsTrackedWhileANoGradLives) {
  Tensor x = leaf({2});
  {
    const NoGrad guard;
    EXPECT_FALSE((x * 2).requires_grad());
    const EnableGrad again;
    EXPECT_TRUE((x * 2).requires_grad());
  }
  EXPECT_TRUE((x * 2).requires_grad());
}

TEST_F(Autograd, retainedGradientsOfWhatIsNoLeaf) {
  Tensor x = leaf({1, 2});
  Tensor y = (x * 3).retain_grad();
  (y * y).sum().backward();
  expect_values(y.grad(), {2}, {6, 12});
  expect_values(x.grad(), {2}, {18, 36});
}

TEST_F(Autograd, aRetainedGraphGoesBackwardTwice) {
  Tensor x = leaf({2});
  Tensor y = (x * x).sum();
  y.backward({}, true);
  y.backward();
  expect_values(x.grad(), {1}, {8});
  EXPECT_THROW(y.backward(), UserError);
  EXPECT_EQ(y.item<double>(), 4);
}

TEST_F(Autograd, aSeedWeighsTheOutputs) {
  Tensor x = leaf({1, 2, 3});
  (x * x).backward(leaf({1, 10, 100}).detach());
  expect_values(x.grad(), {3}, {2, 40, 600});
}

TEST_F(Autograd, nodesLiveNoLongerThanTheirHandles) {
  Tensor x = leaf({1, 2});
  const auto step = [&] {
    Tensor loss = (tanh(x) * softmax(x, 0)).sum();
    loss.backward();
    x.assign(x - 0.1 * x.grad());
    x.zero_grad();
    realize({x, loss});
  };
  step();
  const std::int64_t before = live_nodes();
  for (int i = 0; i < 5; ++i) step();
  EXPECT_EQ(live_nodes(), before);
}

// ---- grad ---------------------------------------------------------------------------------------

TEST_F(Autograd, gradLeavesTheLeavesAlone) {
  Tensor x = leaf({1, 2});
  const Tensor y = x * x;
  const std::vector<Tensor> g = grad({(y * y).sum()}, {x, y});
  expect_values(g[0], {2}, {4, 32});
  expect_values(g[1], {2}, {2, 8});
  EXPECT_FALSE(x.grad().defined());
}

TEST_F(Autograd, inputsThatWereRealizedInBetweenAreFound) {
  Tensor x = leaf({1, 2});
  const Tensor y = x * x;
  const Tensor z = y * 3;
  y.realize();
  expect_values(grad({z.sum()}, {y})[0], {2}, {3, 3});
  expect_values(grad({z.sum() + (y * 2).sum()}, {y})[0], {2}, {5, 5});
}

TEST_F(Autograd, severalOutputsAreWeighedAndSummed) {
  Tensor x = leaf({1, 2});
  const Tensor a = x * 2;
  const Tensor b = (x * x).sum();
  expect_values(grad({a, b}, {x}, {full({2}, 10.0), full({}, 100.0)})[0], {2}, {220, 420});
}

TEST_F(Autograd, unusedInputsAreUndefinedWhereAllowed) {
  Tensor x = leaf({1});
  Tensor other = leaf({1});
  EXPECT_FALSE(grad({x.sum()}, {other}, {}, {.allow_unused = true})[0].defined());
}

TEST_F(Autograd, sizesMayBeVariables) {
  const Dim n = Dim::variable("n", 1, 8);
  Tensor x = leaf({1, 2, 3, 4, 5, 6, 7, 8});
  const Tensor y = softmax(x.narrow(0, 0, n) * 2, 0);
  const Tensor g = grad({(y * y).sum()}, {x})[0];
  const std::vector<double> got = g.to_vector<double>({{n, 2}});
  const double p = 1 / (1 + std::exp(-2.0));  // of the second
  const double slope = 2 * 2 * p * (1 - p) * (2 * p - 1);
  ASSERT_EQ(got.size(), 8U);
  EXPECT_NEAR(got[1], slope, 1e-6);
  EXPECT_NEAR(got[0], -slope, 1e-6);
  EXPECT_EQ(got[2], 0);
}

// Second derivatives, by differences of first ones in float64.
TEST_F(Autograd, gradientsOfGradients) {
  using Function = std::function<Tensor(const Tensor&)>;
  const std::vector<std::pair<const char*, Function>> functions = {
      {"exp", [](const Tensor& x) { return exp(x); }},
      {"log", [](const Tensor& x) { return log(x * x + 1); }},
      {"tanh", [](const Tensor& x) { return tanh(x); }},
      {"sigmoid", [](const Tensor& x) { return sigmoid(x); }},
      {"erf", [](const Tensor& x) { return erf(x); }},
      {"gelu", [](const Tensor& x) { return gelu(x); }},
      {"gelu tanh", [](const Tensor& x) { return gelu(x, Gelu::tanh); }},
      {"silu", [](const Tensor& x) { return silu(x); }},
      {"mish", [](const Tensor& x) { return mish(x); }},
      {"softplus", [](const Tensor& x) { return softplus(x); }},
      {"atan", [](const Tensor& x) { return atan(x); }},
      {"asinh", [](const Tensor& x) { return asinh(x); }},
      {"tan", [](const Tensor& x) { return tan(x); }},
      {"cos", [](const Tensor& x) { return cos(x); }},
      {"log1p", [](const Tensor& x) { return log1p(x * x); }},
      {"cube", [](const Tensor& x) { return pow(x, 3); }},
      {"power", [](const Tensor& x) { return pow(x * x + 0.5, x); }},
      {"softmax", [](const Tensor& x) { return softmax(x, 0); }},
      {"log_softmax", [](const Tensor& x) { return log_softmax(x, 0) * x; }},
      {"logsumexp", [](const Tensor& x) { return logsumexp(x); }},
      {"cumsum", [](const Tensor& x) { return square(cumsum(x, 0)); }},
      {"cumprod", [](const Tensor& x) { return cumprod(x, 0); }},
      {"std", [](const Tensor& x) { return brisk::std(x); }},
      {"norm", [](const Tensor& x) { return norm(x); }},
      {"norm 3", [](const Tensor& x) { return norm(x, 3); }},
      {"sort", [](const Tensor& x) { return sort(x).values * exp(x); }},
      {"conv",
       [](const Tensor& x) {
         return conv1d(x.reshape({1, 1, 4}), x.narrow(0, 0, 2).reshape({1, 1, 2}));
       }},
      {"attention",
       [](const Tensor& x) {
         const Tensor rows = x.reshape({2, 2});
         return scaled_dot_product_attention(rows, rows, rows);
       }},
      {"layer_norm", [](const Tensor& x) { return layer_norm(x, Dims{4}) * x; }},
  };
  const std::vector<double> at = {0.4, -0.7, 1.1, 0.25};
  const std::vector<double> weights = {1, -2, 0.5, 3};
  const Tensor by = from_host(std::span<const double>(weights), {4});
  for (const auto& [name, f] : functions) {
    const auto first = [&](const std::vector<double>& values, bool create_graph) {
      Tensor x = leaf(values, DType::float64);
      const Tensor y = f(x);
      const Tensor seed = y.rank() == 1 && y.size(0) == Dim(4) ? by : ones_like(y);
      return std::pair(x, grad({y}, {x}, {seed}, {.create_graph = create_graph})[0]);
    };
    const auto [x, slope] = first(at, true);
    const std::vector<double> got = grad({slope}, {x}, {by})[0].to_vector<double>();
    for (std::size_t i = 0; i < at.size(); ++i) {
      constexpr double h = 1e-5;
      std::vector<double> moved = at;
      double want = 0;
      for (const double side : {1.0, -1.0}) {
        moved[i] = at[i] + side * h;
        const std::vector<double> s = first(moved, false).second.to_vector<double>();
        for (std::size_t k = 0; k < s.size(); ++k) want += side * s[k] * weights[k] / (2 * h);
      }
      EXPECT_NEAR(got[i], want, 1e-7 * std::max(1.0, std::fabs(want))) << name << " " << i;
    }
  }
}

// ---- where derivatives do not exist -------------------------------------------------------------

TEST_F(Autograd, tiesAndEdgesAreThoseOfPyTorch) {
  using V = std::vector<double>;
  EXPECT_EQ(slopes({-1, 0, 2}, [](const Tensor& x) { return relu(x); }), (V{0, 0, 1}));
  EXPECT_EQ(slopes({-1, 0, 2}, [](const Tensor& x) { return x.abs(); }), (V{-1, 0, 1}));
  EXPECT_EQ(slopes({-1, 0, 2}, [](const Tensor& x) { return sign(x); }), (V{0, 0, 0}));
  EXPECT_EQ(slopes({-1.5, 2.5, 1e20}, [](const Tensor& x) { return floor(x); }), (V{0, 0, 0}));
  EXPECT_EQ(slopes({0, 4}, [](const Tensor& x) { return sqrt(x); }), (V{infinity, 0.25}));
  EXPECT_EQ(slopes({1, 2, 3}, [](const Tensor& x) { return maximum(x, 2); }), (V{0, 0.5, 1}));
  EXPECT_EQ(slopes({1, 2, 3}, [](const Tensor& x) { return minimum(x, 2); }), (V{1, 0.5, 0}));
  EXPECT_EQ(slopes({0, 1, 2, 3, 4}, [](const Tensor& x) { return clamp(x, 1, 3); }),
            (V{0, 1, 1, 1, 0}));
  EXPECT_EQ(slopes({0, 3, 6}, [](const Tensor& x) { return relu6(x); }), (V{0, 1, 0}));
  EXPECT_EQ(slopes({0}, [](const Tensor& x) { return softplus(x); }), (V{0.5}));
  EXPECT_EQ(slopes({0}, [](const Tensor& x) { return elu(x, 0.25); }), (V{0.25}));
  EXPECT_EQ(slopes({3, 7, 7}, [](const Tensor& x) { return amax(x); }), (V{0, 0.5, 0.5}));
  EXPECT_EQ(slopes({3, 7, 7}, [](const Tensor& x) { return max(x, 0).values; }), (V{0, 1, 0}));
  EXPECT_EQ(slopes({3, 3, 7}, [](const Tensor& x) { return min(x, 0).values; }), (V{1, 0, 0}));
  EXPECT_EQ(slopes({1, 1, 0}, [](const Tensor& x) { return cummax(x, 0).values; }), (V{1, 2, 0}));
  EXPECT_EQ(slopes({5, 5, 5, 5},
                   [](const Tensor& x) {
                     return max_pool1d(x.reshape({1, 1, 4}), 2);
                   }),
            (V{1, 0, 1, 0}));
  EXPECT_EQ(slopes({2, 0, 3}, [](const Tensor& x) { return prod(x); }), (V{0, 6, 0}));
  EXPECT_EQ(slopes({2, 0, 0}, [](const Tensor& x) { return prod(x); }), (V{0, 0, 0}));
  EXPECT_EQ(slopes({2, 0, 3}, [](const Tensor& x) { return cumprod(x, 0); }), (V{1, 8, 0}));
  EXPECT_EQ(slopes({0, 3}, [](const Tensor& x) { return pow(x, 2); }), (V{0, 6}));
  EXPECT_EQ(slopes({0, 3}, [](const Tensor& x) { return pow(x, 0); }), (V{0, 0}));
  EXPECT_EQ(slopes({0, 0}, [](const Tensor& x) { return norm(x); }), (V{0, 0}));
  EXPECT_EQ(slopes({2, 2}, [](const Tensor& x) { return brisk::std(x); }), (V{0, 0}));
  EXPECT_EQ(slopes({-infinity, -infinity}, [](const Tensor& x) { return logsumexp(x); }),
            (V{0, 0}));
  EXPECT_EQ(slopes({-500, 500}, [](const Tensor& x) { return sigmoid(x); }), (V{0, 0}));
  EXPECT_EQ(slopes({-500, 500}, [](const Tensor& x) { return silu(x); }), (V{0, 1}));
  EXPECT_EQ(slopes({-500, 500}, [](const Tensor& x) { return tanh(x); }), (V{0, 0}));
}

TEST_F(Autograd, theSideNotChosenPassesNothing) {
  // 1 / x is infinite at 0, and its slope too.
  const auto guarded = [](const Tensor& x) { return where(x == 0, 1, 1 / where(x == 0, 1, x)); };
  EXPECT_EQ(slopes({0, 2}, guarded), (std::vector<double>{0, -0.25}));
  const auto masked = [](const Tensor& x) { return where(x > 0, x, log(x)); };
  EXPECT_EQ(slopes({3}, masked), (std::vector<double>{1}));
}

TEST_F(Autograd, narrowFloatsGetGradientsOfTheirDtype) {
  Tensor x = full({4096}, 0.5, DType::bfloat16).requires_grad_();
  Tensor scale = full({1}, 2.0, DType::bfloat16).requires_grad_();
  (x * scale).sum().backward();
  EXPECT_EQ(x.grad().dtype(), DType::bfloat16);
  EXPECT_EQ(scale.grad().dtype(), DType::bfloat16);
  EXPECT_EQ(scale.grad().item<double>(), 2048);  // summed in float32
}

TEST_F(Autograd, writesInTheMiddleAreDifferentiated) {
  Tensor x = leaf({1, 2, 3});
  Tensor v = leaf({5});
  Tensor y = x * 2;
  y.set({Slice{1, 2}}, v * 3);
  (y * y).sum().backward();
  expect_values(x.grad(), {3}, {8, 0, 24});
  expect_values(v.grad(), {1}, {90});
}

// ---- gradients of one's own ---------------------------------------------------------------------

TEST_F(Autograd, aFunctionMayHaveAGradientOfItsOwn) {
  Tensor x = leaf({-1.5, 2.5});
  // Rounding that passes gradients straight through.
  const Tensor y = with_gradient(
      round(x), {x},
      [](const Tensor&, const std::vector<Tensor>&, const Tensor& g) { return std::vector{g}; });
  (y * y).sum().backward();
  expect_values(y, {2}, {-2, 2});
  expect_values(x.grad(), {2}, {-4, 4});
}

// ---- checkpoints --------------------------------------------------------------------------------

Tensor block(const Tensor& x, const Tensor& w) { return tanh(matmul(sin(matmul(x, w)), w)) + x; }

TEST_F(Autograd, aCheckpointChangesNoValueAndNoGradient) {
  Tensor x = (counting({4, 4}) * 0.05).realize().requires_grad_();
  Tensor w = (counting({4, 4}) * 0.1 - 0.7).realize().requires_grad_();
  const Tensor plain = block(block(x, w), w);
  const std::vector<Tensor> want = grad({plain.sum()}, {x, w});
  const auto one = [&](const std::vector<Tensor>& in) { return block(in[0], w); };
  const Tensor kept = checkpoint(one, {checkpoint(one, {x})});
  const std::vector<Tensor> got = grad({kept.sum()}, {x, w});
  expect_values(kept, {4, 4}, plain.to_vector<double>());
  expect_values(got[0], {4, 4}, want[0].to_vector<double>(), 1e-6);
  expect_values(got[1], {4, 4}, want[1].to_vector<double>(), 1e-6);
}

TEST_F(Autograd, aCheckpointWithinACheckpoint) {
  Tensor x = leaf({0.3, -0.2});
  const auto inner = [](const std::vector<Tensor>& in) { return tanh(in[0]) * in[0]; };
  const auto outer = [&](const std::vector<Tensor>& in) {
    return sin(checkpoint(inner, {exp(in[0])}));
  };
  const std::vector<double> want = grad({sin(inner({exp(x)})).sum()}, {x})[0].to_vector<double>();
  expect_values(grad({checkpoint(outer, {x}).sum()}, {x})[0], {2}, want, 1e-6);
}

TEST_F(Autograd, aCheckpointDrawsTheSameRandomNumbersTwice) {
  Tensor x = full({64}, 1.0).requires_grad_();
  const Tensor y =
      checkpoint([](const std::vector<Tensor>& in) { return dropout(in[0], 0.5) * in[0]; }, {x});
  const Tensor g = grad({y.sum()}, {x})[0];
  const std::vector<double> values = y.to_vector<double>();
  for (double& slope : g.to_vector<double>()) EXPECT_TRUE(slope == 0 || slope == 4);
  std::vector<double> twice = values;
  for (double& value : twice) value *= 2;
  expect_values(g, {64}, twice);
}

// Bytes of intermediate values of four regions of four blocks, each with its weight, and of the
// weights' gradients.
std::int64_t memory_of_stack(bool checkpointed) {
  std::vector<Tensor> weights;
  for (int i = 0; i < 16; ++i) weights.push_back((rand({32, 32}) - 0.5).realize().requires_grad_());
  Tensor x = rand({512, 32}).realize();
  for (std::size_t region = 0; region < 4; ++region) {
    const auto blocks = [&](const std::vector<Tensor>& in) {
      Tensor y = in[0];
      for (std::size_t i = 0; i < 4; ++i) y = block(y, weights[region * 4 + i]);
      return y;
    };
    x = checkpointed ? checkpoint(blocks, {x}) : blocks({x});
  }
  std::vector<Node> roots;
  for (const Tensor& g : grad({x.sum()}, weights)) roots.push_back(node_of(g));
  return Plan(values_of(roots), Engine::shared()).intermediate_bytes();
}

TEST(Checkpoint, keepsLessMemory) {
  const std::int64_t plain = memory_of_stack(false);
  EXPECT_LT(memory_of_stack(true), plain * 6 / 10);
}

}  // namespace
}  // namespace brisk
