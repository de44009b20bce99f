// Checkpoints and the table of a run: what is resumed goes on as if it had never stopped.
#include "brisk/train.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace brisk
