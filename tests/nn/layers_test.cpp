// Layers: names and shapes of their parameters, initial values, train and eval, and values against
// plain loops.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "brisk/brisk.h"
#include "formats/temporary_folder.h"

namespace brisk {
namespace {

template <nn::Module M>
std::string names(M& module) {
  std::string text;
  for (const nn::Fields::Field& field : nn::fields_of(module).list()) {
    text += (text.empty() ? "" : " ") + field.name + to_string(field.tensor->dims());
  }
  return text;
}

struct Inner {
  nn::Linear fc{2, 3};
  nn::BatchNorm1d norm{3};
  void visit(nn::Fields& fields) {
    fields("fc", fc);
    fields("norm", norm);
  }
};
struct Outer {
  std::vector<Inner> blocks{2};
  std::optional<nn::Linear> head;
  nn::Dropout dropout;
  Tensor scale = nn::parameter(ones({1}));
  void visit(nn::Fields& fields) {
    fields("blocks", blocks);
    fields("head", head);
    fields("dropout", dropout);
    fields("scale", scale);
  }
};

TEST(Layers, namesAreDottedPathsOfFields) {
  Inner inner;
  EXPECT_EQ(names(inner),
            "fc.weight[3, 2] fc.bias[3] norm.weight[3] norm.bias[3] norm.running_mean[3] "
            "norm.running_var[3]");
  Outer outer;
  EXPECT_EQ(nn::named_parameters(outer).size(), 9U);
  EXPECT_EQ(nn::state(outer).size(), 13U);
  EXPECT_TRUE(nn::state(outer).contains("blocks.1.norm.running_var"));
  outer.head.emplace(3, 1, false);
  EXPECT_TRUE(nn::state(outer).contains("head.weight"));
  EXPECT_FALSE(nn::state(outer).contains("head.bias"));
}

TEST(Layers, namesAndShapesArePyTorchs) {
  nn::Conv2d conv(4, 6, {3, 5}, {.groups = 2});
  EXPECT_EQ(names(conv), "weight[6, 2, 3, 5] bias[6]");
  nn::ConvTranspose1d turned(4, 6, 3, {.groups = 2}, false);
  EXPECT_EQ(names(turned), "weight[4, 3, 3]");
  nn::MultiheadAttention attention(8, 2);
  EXPECT_EQ(names(attention),
            "in_proj_weight[24, 8] in_proj_bias[24] out_proj.weight[8, 8] out_proj.bias[8]");
  nn::LSTM lstm(3, 5, {.layers = 2, .bidirectional = true});
  EXPECT_EQ(names(lstm),
            "weight_ih_l0[20, 3] weight_hh_l0[20, 5] bias_ih_l0[20] bias_hh_l0[20] "
            "weight_ih_l0_reverse[20, 3] weight_hh_l0_reverse[20, 5] bias_ih_l0_reverse[20] "
            "bias_hh_l0_reverse[20] "
            "weight_ih_l1[20, 10] weight_hh_l1[20, 5] bias_ih_l1[20] bias_hh_l1[20] "
            "weight_ih_l1_reverse[20, 10] weight_hh_l1_reverse[20, 5] bias_ih_l1_reverse[20] "
            "bias_hh_l1_reverse[20]");
  nn::GRU gru(3, 5, {.bias = false});
  EXPECT_EQ(names(gru), "weight_ih_l0[15, 3] weight_hh_l0[15, 5]");
  nn::Sequential chain(nn::LayerNorm({4}), &brisk::relu, nn::GroupNorm(2, 4), nn::RMSNorm({4}));
  EXPECT_EQ(names(chain), "0.weight[4] 0.bias[4] 2.weight[4] 2.bias[4] 3.weight[4]");
}

TEST(Layers, aTensorInTwoPlacesIsOneParameter) {
  nn::Sequential net(nn::Linear(3, 3, false), nn::Linear(3, 3, false));
  std::get<1>(net.parts).weight = std::get<0>(net.parts).weight;
  EXPECT_EQ(nn::parameters(net).size(), 1U);
  EXPECT_EQ(nn::state(net).size(), 2U);
}

TEST(Layers, oneSeedGivesTheSameInitialValues) {
  const auto made = [](std::uint64_t seed) {
    manual_seed(seed);
    return nn::Linear(10, 20).weight.to_vector<float>();
  };
  EXPECT_EQ(made(3), made(3));
  EXPECT_NE(made(3), made(4));
}

// Mean and variance of many values.
void expect_moments(const Tensor& x, double mean, double deviation) {
  const std::vector<double> values = x.to_vector<double>();
  double sum = 0;
  double squares = 0;
  for (const double v : values) sum += v;
  const double n = static_cast<double>(values.size());
  for (const double v : values) squares += (v - sum / n) * (v - sum / n);
  EXPECT_NEAR(sum / n, mean, 5 * deviation / std::sqrt(n));
  EXPECT_NEAR(std::sqrt(squares / n), deviation, 0.05 * deviation);
}

TEST(Layers, initialisersHaveTheirMoments) {
  manual_seed(1);
  const Dims shape{64, 16, 3, 3};
  const double in = 16 * 9;
  const double out = 64 * 9;
  expect_moments(nn::kaiming_normal(shape), 0, std::sqrt(2 / in));
  expect_moments(nn::kaiming_uniform(shape, nn::Fan::out, nn::gain("tanh")), 0,
                 5.0 / 3 / std::sqrt(out));
  expect_moments(nn::xavier_normal(shape), 0, std::sqrt(2 / (in + out)));
  expect_moments(nn::xavier_uniform(shape, 2), 0, 2 * std::sqrt(2 / (in + out)));
  expect_moments(nn::normal(shape, 1, 3), 1, 3);
  expect_moments(nn::Conv2d(16, 64, 3).weight.detach(), 0, 1 / std::sqrt(3 * in));
  expect_moments(nn::Embedding(100, 90).weight.detach(), 0, 1);
  const Tensor cut = nn::trunc_normal(shape, 0, 1, -2, 2);
  expect_moments(cut, 0, 0.8796);
  EXPECT_LE(cut.abs().amax().item<float>(), 2);
}

TEST(Layers, orthogonalRowsOrColumnsAreOrthonormal) {
  for (const auto& [rows, columns] : {std::pair{5, 7}, {7, 5}, {6, 6}}) {
    const Tensor q = nn::orthogonal({rows, columns}, 2);
    const Tensor square =
        rows <= columns ? matmul(q, q.transpose(0, 1)) : matmul(q.transpose(0, 1), q);
    EXPECT_TRUE(allclose(square, eye(std::min(rows, columns)) * 4, 1e-5, 1e-5));
  }
}

TEST(Layers, batchNormMovesItsStatisticsInTrainingAndUsesThemAfter) {
  nn::BatchNorm1d norm(1);
  const Tensor x = tensor({{1.0F}, {3.0F}});
  const std::vector<double> y = norm(x).to_vector<double>();
  EXPECT_NEAR(y[1], 1, 1e-4);
  EXPECT_NEAR(norm.running_mean.item<double>(), 0.2, 1e-6);
  EXPECT_NEAR(norm.running_var.item<double>(), 0.9 + 0.1 * 2, 1e-6);
  nn::eval(norm);
  EXPECT_NEAR(norm(x).to_vector<double>()[0], 0.8 / std::sqrt(1.1), 1e-4);
  EXPECT_NEAR(norm.running_mean.item<double>(), 0.2, 1e-6);
}

TEST(Layers, dropoutActsInTrainingOnly) {
  nn::Dropout dropout(0.5);
  const Tensor x = ones({1000});
  const double kept = dropout(x).sum().item<double>() / 2;
  EXPECT_GT(kept, 400);
  EXPECT_LT(kept, 600);
  nn::eval(dropout);
  EXPECT_EQ(dropout(x).sum().item<double>(), 1000);
}

TEST(Layers, thePaddingRowOfAnEmbeddingIsZeroAndStays) {
  nn::Embedding table(4, 2, 1);
  const Tensor index = tensor<std::int64_t>({1, 2});
  EXPECT_EQ(table(index).select(0, 0).to_vector<float>(), (std::vector<float>{0, 0}));
  table(index).sum().backward();
  EXPECT_EQ(table.weight.grad().to_vector<float>(), (std::vector<float>{0, 0, 0, 0, 1, 1, 0, 0}));
}

// ---- recurrent networks against plain loops -----------------------------------------------------

using Values = std::vector<double>;

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

struct PlainCell {
  explicit PlainCell(const nn::Recurrent::Cell& cell)
      : ih(cell.weight_ih.to_vector<double>()),
        hh(cell.weight_hh.to_vector<double>()),
        bi(cell.bias_ih.to_vector<double>()),
        bh(cell.bias_hh.to_vector<double>()) {}
  static double row(const Values& w, const Values& b, const Values& x, std::size_t r) {
    double sum = b[r];
    for (std::size_t i = 0; i < x.size(); ++i) sum += w[r * x.size() + i] * x[i];
    return sum;
  }
  double in(const Values& x, std::size_t r) const { return row(ih, bi, x, r); }
  double back(const Values& h, std::size_t r) const { return row(hh, bh, h, r); }
  Values ih, hh, bi, bh;
};

constexpr std::size_t wide = 2;  // of the input
constexpr std::size_t hidden = 3;

Values input_at(std::size_t t) { return {std::sin(1.0 + static_cast<double>(t)), 0.5 - 0.2 * t}; }

Tensor sequence(std::size_t length) {
  std::vector<float> values;
  for (std::size_t t = 0; t < length; ++t) {
    for (const double v : input_at(t)) values.push_back(static_cast<float>(v));
  }
  return from_host(std::span<const float>(values), {1, length, wide});
}

void expect_near(const Tensor& got, const Values& want) {
  const Values values = got.to_vector<double>();
  ASSERT_EQ(values.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(values[i], want[i], 1e-5) << i;
}

TEST(Layers, lstmGatesAreInputForgetCellOutput) {
  nn::LSTM lstm(wide, hidden, {.bidirectional = true});
  constexpr std::size_t length = 3;
  Values output(length * 2 * hidden);
  Values cells;
  for (const std::size_t way : {0, 1}) {
    const PlainCell cell(lstm.cells[way]);
    Values h(hidden);
    Values c(hidden);
    for (std::size_t step = 0; step < length; ++step) {
      const std::size_t t = way == 0 ? step : length - 1 - step;
      const Values x = input_at(t);
      Values next(hidden);
      for (std::size_t i = 0; i < hidden; ++i) {
        const auto gate = [&](std::size_t g) {
          return cell.in(x, g * hidden + i) + cell.back(h, g * hidden + i);
        };
        c[i] = sigmoid_of(gate(1)) * c[i] + sigmoid_of(gate(0)) * std::tanh(gate(2));
        next[i] = sigmoid_of(gate(3)) * std::tanh(c[i]);
      }
      h = next;
      std::copy(h.begin(), h.end(), output.begin() + (t * 2 + way) * hidden);
    }
    cells.insert(cells.end(), c.begin(), c.end());
  }
  const nn::LSTM::Result got = lstm(sequence(length));
  expect_near(got.output, output);
  expect_near(got.cell, cells);
  EXPECT_EQ(got.hidden.shape(), (std::vector<std::int64_t>{2, 1, hidden}));
}

TEST(Layers, gruGatesAreResetUpdateNew) {
  nn::GRU gru(wide, hidden);
  const PlainCell cell(gru.cells[0]);
  Values h(hidden, 0.5);
  Values output;
  for (std::size_t t = 0; t < 3; ++t) {
    const Values x = input_at(t);
    Values next(hidden);
    for (std::size_t i = 0; i < hidden; ++i) {
      const auto gate = [&](std::size_t g) {
        return sigmoid_of(cell.in(x, g * hidden + i) + cell.back(h, g * hidden + i));
      };
      const double fresh =
          std::tanh(cell.in(x, 2 * hidden + i) + gate(0) * cell.back(h, 2 * hidden + i));
      next[i] = (1 - gate(1)) * fresh + gate(1) * h[i];
    }
    h = next;
    output.insert(output.end(), h.begin(), h.end());
  }
  const nn::GRU::Result got = gru(sequence(3), full({1, 1, hidden}, 0.5));
  expect_near(got.output, output);
  expect_near(got.hidden, h);
}

TEST(Layers, stackedRecurrentLayersFeedEachOther) {
  nn::GRU both(wide, hidden, {.layers = 2});
  nn::GRU first(wide, hidden);
  nn::GRU second(hidden, hidden);
  first.cells[0] = both.cells[0];
  second.cells[0] = both.cells[1];
  const Tensor x = sequence(4);
  expect_near(both(x).output, second(first(x).output).output.to_vector<double>());
}

TEST(Layers, attentionOfOneHeadIsSoftmaxOfProducts) {
  nn::MultiheadAttention attention(4, 1);
  const Tensor x = randn({2, 3, 4}).realize();
  const auto part = [&](int i) {
    return linear(x, attention.in_proj_weight.chunk(3)[i], attention.in_proj_bias.chunk(3)[i]);
  };
  const Tensor scores = matmul(part(0), part(1).transpose(1, 2)) / 2;
  const Tensor want = attention.out_proj(matmul(softmax(scores, -1), part(2)));
  EXPECT_TRUE(allclose(attention(x, x, x), want, 1e-4, 1e-5));
}

// ---- states -------------------------------------------------------------------------------------

TEST(Layers, aSavedModelIsLoaded) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder.path() / "model.safetensors";
  Outer saved;
  Outer loaded;
  nn::save(saved, file);
  nn::load(loaded, file);
  const nn::State want = nn::state(saved);
  for (const auto& [name, tensor] : nn::state(loaded)) {
    EXPECT_EQ(tensor.to_bytes(), want.at(name).to_bytes()) << name;
  }
  EXPECT_TRUE(loaded.scale.requires_grad());
  EXPECT_EQ(nn::read_state(file, "blocks.0.fc.").size(), 2U);
}

TEST(Layers, statesThatDoNotFitAreNamed) {
  nn::Linear net(2, 3);
  nn::State state{{"weight", zeros({3, 2})}, {"w", zeros({1})}};
  try {
    nn::load_state(net, state);
    FAIL() << "no error";
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(),
                 "load_state: the names differ; missing: 'bias'; unknown: 'w'; strict = false "
                 "takes what fits");
  }
  const nn::Difference difference = nn::load_state(net, state, false);
  EXPECT_EQ(difference.missing, std::vector<std::string>{"bias"});
  EXPECT_EQ(difference.unknown, std::vector<std::string>{"w"});
  EXPECT_EQ(net.weight.to_vector<float>(), std::vector<float>(6, 0));
  state["weight"] = zeros({2, 3});
  EXPECT_THROW(nn::load_state(net, state, false), UserError);
}

}  // namespace
}  // namespace brisk
