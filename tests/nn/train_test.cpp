// Checkpoints and the table of a run: what is resumed goes on as if it had never stopped.
#include "brisk/train.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <limits>
#include <sstream>

#include "brisk/brisk.h"
#include "formats/temporary_folder.h"

namespace brisk {
namespace {

namespace fs = std::filesystem;

class Train : public testing::Test {
 protected:
  static std::string text(const fs::path& path) {
    std::ostringstream all;
    all << std::ifstream(path).rdbuf();
    return all.str();
  }

  const TemporaryFolder own_;
  const fs::path& folder_ = own_.path();
};

struct Net {
  nn::Linear first{6, 8};
  nn::Linear second{8, 3};
  void visit(nn::Fields& fields) {
    fields("first", first);
    fields("second", second);
  }
  Tensor operator()(const Tensor& x) const { return second(tanh(first(x))); }
};

struct Training {
  Net net;
  nn::Optimizer optimizer{nn::parameters(net), nn::AdamW{.lr = 0.05}};

  double step(std::int64_t i) {
    std::vector<float> values(4 * 6);
    for (std::size_t k = 0; k < values.size(); ++k)
      values[k] = static_cast<float>((k * 7 + static_cast<std::size_t>(i) * 5) % 11) / 11;
    const Tensor x = from_host(std::span<const float>(values), {4, 6});
    const Tensor loss = square(net(x) - 0.25).mean();
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return loss.item<double>();
  }
};

TEST_F(Train, AResumedRunEndsWithTheBitsOfOneThatWasNotInterrupted) {
  manual_seed(5);
  Training whole;
  for (std::int64_t i = 0; i < 3; ++i) whole.step(i);
  nn::save_checkpoint(folder_ / "c", nn::state(whole.net), whole.optimizer, 3);
  for (std::int64_t i = 3; i < 8; ++i) whole.step(i);

  manual_seed(99);  // other weights, until the checkpoint's are there
  Training resumed;
  const std::int64_t from =
      nn::load_checkpoint(folder_ / "c", nn::state(resumed.net), resumed.optimizer);
  EXPECT_EQ(from, 3);
  for (std::int64_t i = from; i < 8; ++i) resumed.step(i);
  const nn::State wanted = nn::state(whole.net);
  for (const auto& [name, tensor] : nn::state(resumed.net))
    EXPECT_EQ(tensor.to_bytes(), wanted.at(name).to_bytes()) << name;
}

TEST_F(Train, ACheckpointOfAnotherModelIsRefused) {
  Training run;
  nn::save(run.net, folder_ / "weights");
  EXPECT_THROW(nn::load_checkpoint(folder_ / "weights", nn::state(run.net), run.optimizer),
               UserError);
  nn::save_checkpoint(folder_ / "c", nn::state(run.net), run.optimizer, 1);
  nn::Linear other(6, 9);
  EXPECT_THROW(nn::load_checkpoint(folder_ / "c", nn::state(other), run.optimizer), UserError);
}

TEST_F(Train, TheTableGoesOnWhereTheCheckpointIs) {
  const fs::path path = folder_ / "log.csv";
  const double none = std::numeric_limits<double>::quiet_NaN();
  {
    nn::RunLog log(path, {"loss", "held_out"});
    for (std::int64_t i = 0; i < 5; ++i) log.add(i, {1.0 / static_cast<double>(i + 1), none});
  }
  std::ofstream(path, std::ios::app) << "5,0.1";  // torn by a kill
  nn::RunLog log(path, {"loss", "held_out"}, 3);
  log.add(3, {0.25, 0.5});
  EXPECT_EQ(text(path), "step,loss,held_out\n0,1,\n1,0.5,\n2,0.333333333,\n3,0.25,0.5\n");
  EXPECT_THROW(log.add(4, {1}), UserError);
  EXPECT_THROW(nn::RunLog(path, {"other"}, 2), UserError);
}

TEST_F(Train, ThePictureHasALineForEachColumn) {
  nn::RunLog log(folder_ / "log.csv", {"loss", "held_out"});
  log.plot(folder_ / "none.svg", "nothing yet");
  EXPECT_FALSE(fs::exists(folder_ / "none.svg"));
  for (std::int64_t i = 0; i < 20; ++i) log.add(i, {5.0 - 0.1 * static_cast<double>(i), 4});
  log.plot(folder_ / "loss.svg", "loss by step", 2);
  const std::string svg = text(folder_ / "loss.svg");
  EXPECT_NE(svg.find("loss by step"), std::string::npos);
  std::size_t lines = 0;
  for (std::size_t at = svg.find("fill=\"none\""); at != std::string::npos;
       at = svg.find("fill=\"none\"", at + 1))
    ++lines;
  EXPECT_EQ(lines, 2U);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST_F(Train, AnEpochsOrderFollowsFromItsSeedAndNumber) {
  const std::vector<std::int64_t> order = nn::shuffled(100, 3, 1);
  EXPECT_EQ(order, nn::shuffled(100, 3, 1));
  EXPECT_NE(order, nn::shuffled(100, 3, 2));
  EXPECT_NE(order, nn::shuffled(100, 4, 1));
  std::vector<std::int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t i = 0; i < 100; ++i) EXPECT_EQ(sorted[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(nn::shuffled(0, 1).empty());
}

TEST_F(Train, ALoaderGivesItsBatchesInOrderAndNoneTooEarly) {
  std::atomic<std::int64_t> latest = 0;
  const auto make = [&](std::int64_t i) {
    std::this_thread::sleep_for(std::chrono::microseconds(i * 7919 % 300));
    std::int64_t seen = latest;
    while (seen < i && !latest.compare_exchange_weak(seen, i)) {
    }
    return 10 * i;
  };
  nn::Loader<std::int64_t> loader(make, 5, 200, 4, 6);
  for (std::int64_t i = 5; i < 200; ++i) {
    ASSERT_EQ(loader.next(), 10 * i);
    EXPECT_LE(latest, i + 6);
  }
  EXPECT_EQ(loader.next(), std::nullopt);
  const nn::Loader<std::int64_t> left(make, 0, 1000, 3);  // ends with batches that nobody took
}

TEST_F(Train, WhatALoadersThreadThrowsComesInItsPlace) {
  nn::Loader<int> loader(
      [](std::int64_t i) {
        if (i == 2) throw UserError("no batch 2");
        return static_cast<int>(i);
      },
      0, 4);
  EXPECT_EQ(loader.next(), 0);
  EXPECT_EQ(loader.next(), 1);
  EXPECT_THROW(loader.next(), UserError);
  EXPECT_EQ(loader.next(), 3);
}

TEST_F(Train, GradientsOfPartsAreThoseOfTheWhole) {
  Net net;
  const std::vector<Tensor> parameters = nn::parameters(net);
  const Tensor all = remainder(arange(8 * 6).reshape({8, 6}) * 5, 7).cast(DType::float32).realize();
  const auto loss = [&](const Tensor& x) { return square(net(x) - 0.25).mean(); };
  loss(all).backward();
  std::vector<Tensor> want;
  for (const Tensor& parameter : parameters) {
    want.push_back(parameter.grad().realize());
    parameter.set_grad({});
  }
  nn::GradAccumulator sums(parameters);
  const Tensor x = empty({2, 6});
  Step part([&] {
    loss(x).backward();
    sums.add();
  });
  std::vector<Tensor> got;
  for (const Tensor& parameter : parameters) got.push_back(zeros_like(parameter).realize());
  Step update([&] {
    sums.take(4);
    const NoGrad guard;
    for (std::size_t i = 0; i < got.size(); ++i) {
      got[i].assign(parameters[i].grad());
      parameters[i].set_grad({});
    }
  });
  for (int round = 0; round < 2; ++round) {  // sums begin at zero again
    for (int i = 0; i < 4; ++i) {
      Tensor(x).copy_from(narrow(all, 0, 2 * i, 2).contiguous().to_bytes());
      part();
    }
    update();
    for (std::size_t i = 0; i < want.size(); ++i)
      EXPECT_TRUE(allclose(got[i], want[i], 1e-5, 1e-6)) << i;
  }
  EXPECT_THROW(sums.take(0), UserError);
}

TEST_F(Train, EvaluatingEndsWithTheModeThatWas) {
  struct Dropping {
    nn::Dropout first{0.5}, second{0.5};
    void visit(nn::Fields& fields) {
      fields("first", first);
      fields("second", second);
    }
  } net;
  const auto modes = [&] {
    nn::Fields fields;
    net.visit(fields);
    return std::vector<bool>{*fields.modes()[0], *fields.modes()[1]};
  };
  nn::train(net);
  nn::eval(net.second);
  {
    const nn::Evaluating evaluating(net);
    EXPECT_EQ(modes(), (std::vector<bool>{false, false}));
    EXPECT_FALSE(grad_enabled());
  }
  EXPECT_EQ(modes(), (std::vector<bool>{true, false}));
  EXPECT_TRUE(grad_enabled());
}

TEST_F(Train, AMeterSaysTheRateOfTheLastSeconds) {
  nn::Meter meter({.unit = "images", .operations = 2e9, .most_operations = 1e12});
  EXPECT_EQ(meter.rate(), 0);
  const auto start = nn::Meter::Clock::now();
  for (int i = 0; i <= 20; ++i) meter.add(i < 10 ? 100 : 50, start + std::chrono::seconds(i));
  EXPECT_DOUBLE_EQ(meter.rate(), 50);
  EXPECT_EQ(meter.text().rfind("50 images/s, 100 GFLOP/s (10 % MFU)", 0), 0U) << meter.text();
}

}  // namespace
}  // namespace brisk
