// PyTorch's training runs, step by step: losses, norms of gradients and final weights are the same.
#include <gtest/gtest.h>

#include "nn/trajectories.h"
#include "shared_data.h"

namespace brisk {
namespace {

class Trajectories : public testing::TestWithParam<Trajectory> {
 protected:
  void SetUp() override {
    const std::filesystem::path file =
        shared_data() / "train" / (std::string(GetParam().name) + ".safetensors");
    if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is not there";
    data = nn::read_state(file);
    losses = data.at("losses").to_vector<float>();
    if (data.contains("grad_norms")) norms = data.at("grad_norms").to_vector<float>();
  }

  // The batch of step i.
  Tensor x(std::size_t i) const { return row(data.at("x"), i); }
  Tensor y(std::size_t i) const { return row(data.at("y"), i); }

  void load(const Training& run) const { nn::load_state(run.fields, under("init.")); }

  static void set_lr(Training& run, std::size_t i) {
    if (run.lr) run.optimizer.set_lr(run.lr(static_cast<std::int64_t>(i)));
  }

  void expect_step(std::size_t i, const Tensor& loss, const Tensor& norm) const {
    EXPECT_NEAR(loss.item<float>(), losses[i], 1e-4) << "step " << i;
    if (!norms.empty()) {
      EXPECT_NEAR(norm.item<float>(), norms[i], 1e-4 * norms[i]) << "step " << i;
    }
  }

  nn::State under(const std::string& prefix) const {
    nn::State found;
    for (const auto& [name, tensor] : data) {
      if (name.starts_with(prefix)) found.emplace(name.substr(prefix.size()), tensor);
    }
    return found;
  }

  // A bias before a BatchNorm has the gradient 0; what Adam divides by its own size is the
  // rounding. So these walk at random, at most the learning rate a step, and the running means with
  // them.
  static bool is_noise(const std::string& name) {
    return GetParam().name == std::string("conv_adam") &&
           (name == "0.bias" || name == "4.bias" || name.ends_with("running_mean"));
  }
  // So is that of keys: every score of a query moves by the same.
  static void expect_close(const std::string& name, const Tensor& got, const Tensor& want,
                           double tolerance) {
    if (name.ends_with("qkv.bias")) {
      const std::vector<Tensor> mine = got.detach().chunk(3, 0);
      const std::vector<Tensor> theirs = want.detach().chunk(3, 0);
      for (const std::size_t i : {0, 1, 2}) {
        EXPECT_TRUE(allclose(mine[i], theirs[i], tolerance, i == 1 ? 0.1 : tolerance)) << name << i;
      }
      return;
    }
    EXPECT_TRUE(allclose(got.detach(), want.detach(), tolerance, is_noise(name) ? 0.1 : tolerance))
        << name;
  }

  void expect_final(const nn::Fields& fields) const {
    const nn::State got = nn::state(fields);
    const nn::State want = under("final.");
    EXPECT_EQ(got.size(), want.size());
    for (const auto& [name, tensor] : want) {
      expect_close(name, got.at(name), tensor, 1e-4);
    }
  }

  static Tensor row(const Tensor& rows, std::size_t i) {
    return rows.select(0, static_cast<std::int64_t>(i) % rows.shape()[0]).contiguous().realize();
  }

  nn::State data;
  std::vector<float> losses;
  std::vector<float> norms;
};

TEST_P(Trajectories, areThoseOfPyTorch) {
  Training run = GetParam().run();
  load(run);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    set_lr(run, i);
    const Stepped got = step(run, x(i), y(i));
    expect_step(i, got.loss, got.norm);
  }
  expect_final(run.fields);
}

TEST_P(Trajectories, areTheSameWhenRecorded) {
  Training plain = GetParam().run();
  Training recorded = GetParam().run();
  load(plain);
  load(recorded);
  Tensor x_now = empty(x(0).dims(), x(0).dtype());
  Tensor y_now = empty(y(0).dims(), y(0).dtype());
  Step replayed([&] {
    const Stepped result = step(recorded, x_now, y_now);
    return std::vector<Tensor>{result.loss, result.norm};
  });
  for (std::size_t i = 0; i < losses.size(); ++i) {
    set_lr(plain, i);
    set_lr(recorded, i);
    x_now.copy_from(x(i).to_bytes());
    y_now.copy_from(y(i).to_bytes());
    const Stepped want = step(plain, x(i), y(i));
    const std::vector<Tensor>& got = replayed();
    EXPECT_NEAR(got[0].item<float>(), want.loss.item<float>(), 1e-5) << "step " << i;
    expect_step(i, got[0], got[1]);
  }
  expect_final(recorded.fields);
  const nn::State want = nn::state(plain.fields);
  for (const auto& [name, tensor] : nn::state(recorded.fields)) {
    expect_close(name, tensor, want.at(name), 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(PyTorch, Trajectories, testing::ValuesIn(trajectories),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace brisk
