// Rules against the same arithmetic in plain loops of doubles, and what surrounds them.
#include <gtest/gtest.h>

#include <cmath>

#include "brisk/brisk.h"

namespace brisk {
namespace {

using Values = std::vector<double>;

constexpr std::int64_t rows = 3;
constexpr std::int64_t columns = 4;

Values first_values() {
  Values values;
  for (int i = 0; i < rows * columns; ++i) values.push_back(std::sin(1.7 * i) * 0.8);
  return values;
}

// The gradient of step t, whatever the parameter is.
Values gradient_of(int t) {
  Values values;
  for (int i = 0; i < rows * columns; ++i) values.push_back(std::cos(0.9 * i + 2.1 * t) - 0.1 * t);
  return values;
}

Tensor matrix(const Values& values) {
  const std::vector<float> narrow(values.begin(), values.end());
  return from_host(std::span<const float>(narrow), {rows, columns});
}

double norm_of(const Values& values) {
  double sum = 0;
  for (const double v : values) sum += v * v;
  return std::sqrt(sum);
}

// Four steps of a rule; `reference` moves p by gradient g at step t (1, 2, …).
void expect_same(const nn::Rule& rule,
                 const std::function<void(Values& p, const Values& g, int t)>& reference,
                 double tolerance = 2e-6) {
  Tensor parameter = nn::parameter(matrix(first_values()));
  nn::Optimizer optimizer({parameter}, rule);
  Values want = first_values();
  for (int t = 1; t <= 4; ++t) {
    parameter.set_grad(matrix(gradient_of(t)));
    optimizer.step();
    reference(want, gradient_of(t), t);
    const Values got = parameter.to_vector<double>();
    for (std::size_t i = 0; i < want.size(); ++i) {
      EXPECT_NEAR(got[i], want[i], tolerance) << "step " << t << ", element " << i;
    }
  }
}

TEST(Optimizer, sgdDampensAllButTheFirstStep) {
  Values buffer(rows * columns);
  expect_same(nn::Sgd{.lr = 0.1, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.01},
              [&](Values& p, const Values& g, int t) {
                for (std::size_t i = 0; i < p.size(); ++i) {
                  const double d = g[i] + 0.01 * p[i];
                  buffer[i] = t == 1 ? d : 0.9 * buffer[i] + 0.7 * d;
                  p[i] -= 0.1 * buffer[i];
                }
              });
}

// m and v of Adam, and their ratio.
struct Moments {
  Values m = Values(rows * columns);
  Values v = Values(rows * columns);
  double operator()(std::size_t i, double g, int t, double eps) {
    m[i] = 0.9 * m[i] + 0.1 * g;
    v[i] = 0.999 * v[i] + 0.001 * g * g;
    return m[i] / (1 - std::pow(0.9, t)) / (std::sqrt(v[i] / (1 - std::pow(0.999, t))) + eps);
  }
};

TEST(Optimizer, adamAddsDecayToTheGradient) {
  Moments ratio;
  expect_same(nn::Adam{.lr = 0.01, .weight_decay = 0.1}, [&](Values& p, const Values& g, int t) {
    for (std::size_t i = 0; i < p.size(); ++i) p[i] -= 0.01 * ratio(i, g[i] + 0.1 * p[i], t, 1e-8);
  });
}

TEST(Optimizer, adamwShrinksTheParameter) {
  Moments ratio;
  expect_same(nn::AdamW{.lr = 0.01, .weight_decay = 0.1}, [&](Values& p, const Values& g, int t) {
    for (std::size_t i = 0; i < p.size(); ++i) {
      p[i] = p[i] * (1 - 0.01 * 0.1) - 0.01 * ratio(i, g[i], t, 1e-8);
    }
  });
}

TEST(Optimizer, lionGoesBySigns) {
  Values m(rows * columns);
  expect_same(nn::Lion{.lr = 0.01, .weight_decay = 0.1}, [&](Values& p, const Values& g, int) {
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double c = 0.9 * m[i] + 0.1 * g[i];
      p[i] = p[i] * (1 - 0.01 * 0.1) - 0.01 * (c > 0 ? 1 : c < 0 ? -1 : 0);
      m[i] = 0.99 * m[i] + 0.01 * g[i];
    }
  });
}

TEST(Optimizer, lambScalesTheUpdateToTheParameter) {
  Moments ratio;
  expect_same(nn::Lamb{.lr = 0.01, .weight_decay = 0.1}, [&](Values& p, const Values& g, int t) {
    Values step(p.size());
    for (std::size_t i = 0; i < p.size(); ++i) step[i] = ratio(i, g[i], t, 1e-6) + 0.1 * p[i];
    const double trust = norm_of(p) / norm_of(step);
    for (std::size_t i = 0; i < p.size(); ++i) p[i] -= 0.01 * trust * step[i];
  });
}

TEST(Optimizer, adafactorKeepsRowsAndColumns) {
  Values row(rows);
  Values column(columns);
  expect_same(nn::Adafactor{.lr = 0.05, .weight_decay = 0.1},
              [&](Values& p, const Values& g, int t) {
                const double weight = std::pow(t, -0.8);
                Values r(rows);
                Values c(columns);
                for (std::size_t i = 0; i < p.size(); ++i) {
                  r[i / columns] += g[i] * g[i] / columns;
                  c[i % columns] += g[i] * g[i] / rows;
                }
                double mean = 0;
                for (int i = 0; i < rows; ++i) {
                  row[i] += weight * (r[i] - row[i]);
                  mean += row[i] / rows;
                }
                for (int i = 0; i < columns; ++i) column[i] += weight * (c[i] - column[i]);
                Values step(p.size());
                for (std::size_t i = 0; i < p.size(); ++i) {
                  step[i] = g[i] / std::sqrt(row[i / columns] * column[i % columns] / mean);
                }
                const double root = std::sqrt(static_cast<double>(p.size()));
                const double size = std::max(1e-3, norm_of(p) / root) *
                                    std::min(0.05, 1 / std::sqrt(static_cast<double>(t)));
                const double shrink = std::max(1.0, norm_of(step) / root);
                for (std::size_t i = 0; i < p.size(); ++i) {
                  p[i] = p[i] * (1 - 0.05 * 0.1) - size / shrink * step[i];
                }
              });
}

Values product(const Values& a, const Values& b, std::int64_t n, std::int64_t inner,
               std::int64_t m) {
  Values result(static_cast<std::size_t>(n * m));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < m; ++j) {
      for (std::int64_t k = 0; k < inner; ++k) result[i * m + j] += a[i * inner + k] * b[k * m + j];
    }
  }
  return result;
}

TEST(Optimizer, muonGoesAlongTheNearestOrthogonalMatrix) {
  Values buffer(rows * columns);
  expect_same(
      nn::Muon{.lr = 0.02, .weight_decay = 0.1},
      [&](Values& p, const Values& g, int) {
        Values y(p.size());
        for (std::size_t i = 0; i < p.size(); ++i) {
          buffer[i] = 0.95 * buffer[i] + 0.05 * g[i];
          y[i] = 0.05 * g[i] + 0.95 * buffer[i];
        }
        const double size = norm_of(y) + 1e-7;
        for (double& v : y) v /= size;
        for (int iteration = 0; iteration < 5; ++iteration) {
          Values turned(y.size());
          for (int i = 0; i < rows * columns; ++i) {
            turned[i % columns * rows + i / columns] = y[i];
          }
          const Values a = product(y, turned, rows, columns, rows);
          Values b = product(a, a, rows, rows, rows);
          for (std::size_t i = 0; i < b.size(); ++i) b[i] = -4.7750 * a[i] + 2.0315 * b[i];
          const Values by = product(b, y, rows, rows, columns);
          for (std::size_t i = 0; i < y.size(); ++i) y[i] = 3.4445 * y[i] + by[i];
        }
        for (std::size_t i = 0; i < p.size(); ++i) {
          p[i] = p[i] * (1 - 0.02 * 0.1) - 0.02 * y[i];
        }
      },
      1e-5);
}

TEST(Optimizer, groupsHaveRulesOfTheirOwn) {
  Tensor a = nn::parameter(full({2}, 1.0));
  Tensor b = nn::parameter(full({2}, 1.0));
  nn::Optimizer optimizer({{{a}, nn::Sgd{.lr = 0.5}}, {{b}, nn::Sgd{.lr = 0.25}}});
  (a + b).sum().backward();
  optimizer.step();
  EXPECT_EQ(a.to_vector<float>(), (std::vector<float>{0.5F, 0.5F}));
  EXPECT_EQ(b.to_vector<float>(), (std::vector<float>{0.75F, 0.75F}));
  optimizer.set_lr(1, 1);
  optimizer.step();
  EXPECT_EQ(a.to_vector<float>(), (std::vector<float>{0, 0}));
  EXPECT_EQ(b.to_vector<float>(), (std::vector<float>{-0.25F, -0.25F}));
}

TEST(Optimizer, aParameterWithoutGradientStays) {
  Tensor a = nn::parameter(full({2}, 1.0));
  Tensor b = nn::parameter(full({2}, 1.0));
  nn::Optimizer optimizer({a, b}, nn::AdamW{.lr = 0.1});
  a.sum().backward();
  optimizer.step();
  EXPECT_EQ(b.to_vector<float>(), (std::vector<float>{1, 1}));
  EXPECT_NE(a.to_vector<float>(), (std::vector<float>{1, 1}));
}

TEST(Optimizer, itsStateGoesOnWhereItWasSaved) {
  const auto run = [](int steps, nn::State* parameters, nn::State* state, bool resume) {
    Tensor p = nn::parameter(matrix(first_values()));
    nn::Optimizer optimizer({p}, nn::AdamW{.lr = 0.01});
    if (resume) {
      nn::set(p, parameters->at("p"));
      optimizer.load_state(*state);
    }
    for (int t = 0; t < steps; ++t) {
      (square(p) * p).sum().backward();
      optimizer.step();
      optimizer.zero_grad();
    }
    *parameters = {{"p", p.detach()}};
    *state = optimizer.state();
    return p.to_vector<float>();
  };
  nn::State parameters;
  nn::State state;
  const std::vector<float> want = run(6, &parameters, &state, false);
  run(4, &parameters, &state, false);
  EXPECT_EQ(state.at("step").item<float>(), 4);
  EXPECT_EQ(run(2, &parameters, &state, true), want);
  state.erase("0.exp_avg");
  EXPECT_THROW(run(1, &parameters, &state, true), UserError);
}

TEST(Optimizer, gradientsAreClippedByTheirNormOrTheirValues) {
  Tensor a = nn::parameter(zeros({2}));
  Tensor b = nn::parameter(zeros({1}));
  a.set_grad(tensor({3.0F, 0.0F}));
  b.set_grad(tensor({4.0F}));
  EXPECT_NEAR(nn::clip_grad_norm({a, b}, 1).item<float>(), 5, 1e-6);
  EXPECT_NEAR(a.grad().to_vector<float>()[0], 0.6, 1e-6);
  EXPECT_NEAR(b.grad().item<float>(), 0.8, 1e-6);
  EXPECT_NEAR(nn::clip_grad_norm({a, b}, 10).item<float>(), 1, 1e-6);
  EXPECT_NEAR(b.grad().item<float>(), 0.8, 1e-6);
  nn::clip_grad_value({a, b}, 0.7);
  EXPECT_NEAR(a.grad().to_vector<float>()[0], 0.6, 1e-6);
  EXPECT_NEAR(b.grad().item<float>(), 0.7, 1e-6);
}

TEST(Optimizer, averagesFollowTheParameters) {
  Tensor p = nn::parameter(full({1}, 1.0));
  nn::Ema ema({p}, 0.75);
  nn::set(p, full({1}, 3.0));
  ema.update();
  EXPECT_EQ(ema.averages()[0].item<float>(), 1.5F);
  EXPECT_EQ(p.item<float>(), 3.0F);
  ema.copy_to_parameters();
  EXPECT_EQ(p.item<float>(), 1.5F);
}

TEST(Optimizer, learningRatesFollowTheirSchedules) {
  EXPECT_DOUBLE_EQ(nn::warmup(0, 5), 0.2);
  EXPECT_DOUBLE_EQ(nn::warmup(9, 5), 1);
  EXPECT_DOUBLE_EQ(nn::cosine(0, 10, 2, 1), 2);
  EXPECT_DOUBLE_EQ(nn::cosine(5, 10, 2, 1), 1.5);
  EXPECT_DOUBLE_EQ(nn::cosine(99, 10, 2, 1), 1);
  EXPECT_DOUBLE_EQ(nn::step_decay(7, 3, 1), 0.01);
  const nn::OneCycle cycle{.greatest = 1, .steps = 11};
  EXPECT_NEAR(cycle(0), 1.0 / 25, 1e-15);
  EXPECT_NEAR(cycle(10), 1.0 / 25 / 1e4, 1e-12);
  double most = 0;
  for (int i = 0; i <= 10; ++i) most = std::max(most, cycle(i));
  EXPECT_GT(most, 0.95);
}

TEST(Optimizer, mistakesAreNamed) {
  const auto message = [](const std::function<void()>& f) -> std::string {
    try {
      f();
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  };
  Tensor p = nn::parameter(zeros({2}));
  EXPECT_EQ(message([&] {
              nn::Optimizer({p, p}, nn::Sgd{});
            }),
            "Optimizer: parameter 2 of 2 (shape [2]) is parameter 1 again");
  EXPECT_EQ(message([&] { nn::Optimizer({zeros({2})}, nn::Sgd{}); }),
            "Optimizer: parameter 1 of 1 (shape [2]) is no leaf that requires a gradient");
  EXPECT_EQ(message([&] { nn::Optimizer(std::vector<Tensor>{}, nn::Sgd{}); }),
            "Optimizer: got no parameters");
  EXPECT_NE(message([&] { nn::Optimizer({p}, nn::Muon{}); }).find("two axes or more"),
            std::string::npos);
  EXPECT_NE(message([&] { nn::Optimizer({p}, nn::Sgd{.nesterov = true}); }).find("momentum above"),
            std::string::npos);
}

}  // namespace
}  // namespace brisk
