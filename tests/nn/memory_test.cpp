// Steps with a budget for their intermediate values: within it, with the losses of those without.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "nn/trajectories.h"

namespace brisk {
namespace {

struct Images {
  Images() {
    for (int i = 0; i < 28; ++i) {
      convolutions.emplace_back(8, 8, 3, ConvOptions{.padding = 1}, false);
      norms.emplace_back(8);
    }
  }
  void visit(nn::Fields& fields) {
    fields("convolutions", convolutions);
    fields("norms", norms);
    fields("fc", fc);
    fields("dropout", dropout);
  }
  Tensor operator()(const Tensor& images) const {
    Tensor x = images;
    for (std::size_t i = 0; i < norms.size(); ++i)
      x = x + dropout(relu(norms[i](convolutions[i](x))));
    return fc(x.mean(std::vector<int>{2, 3}));
  }

  std::vector<nn::Conv2d> convolutions;
  std::vector<nn::BatchNorm2d> norms;
  nn::Linear fc{8, 10};
  nn::Dropout dropout{0.2};
};

struct Deep {
  Tensor operator()(const Tensor& x) const {
    Tensor y = e(x);
    for (const Block& block : b) y = dropout(block(y), 0.1);
    return linear(ln(y), e.weight);
  }
  void visit(nn::Fields& fields) {
    fields("e", e);
    fields("b", b);
    fields("ln", ln);
  }

  nn::Embedding e{65, 48};
  std::vector<Block> b{Block(48), Block(48), Block(48), Block(48), Block(48), Block(48)};
  nn::LayerNorm ln{{48}};
};

struct Case {
  const char* name;
  Training (*training)();
  Tensor (*x)();
  std::int64_t labels;
};

const Case cases[] = {
    {"convolutions",
     [] {
       return run_of(Images(), [](Images& net) {
         return nn::Optimizer(nn::parameters(net), nn::Sgd{.lr = 2e-3, .momentum = 0.9});
       });
     },
     [] {
       return rand({16, 8, 16, 16}).realize();
     },
     16},
    {"transformer",
     [] {
       Training training = run_of(Deep(), [](Deep& net) {
         return nn::Optimizer(nn::parameters(net), nn::AdamW{.lr = 1e-3});
       });
       training.clip = 1;
       return training;
     },
     [] {
       return randint(0, 65, {16, 64}).realize();
     },
     16 * 64},
};

struct Learned {
  std::vector<float> losses;
  std::vector<Tensor> state;
  std::vector<std::string> kernels;
  std::int64_t memory = 0;
};

Learned learn(const Case& each, const StepOptions& options) {
  manual_seed(7);
  Training training = each.training();
  const Tensor x = each.x();
  const Tensor y = randint(0, 10, {each.labels}).realize();
  Step recorded([&] { return step(training, x, y).loss; }, options);
  Learned result;
  for (int i = 0; i < 4; ++i) result.losses.push_back(recorded()[0].item<float>());
  for (const auto& [name, tensor] : nn::state(training.fields)) {
    if (is_float(tensor.dtype())) result.state.push_back(tensor.detach());
  }
  for (const Step::KernelTime& kernel : recorded.timed()) result.kernels.push_back(kernel.name);
  result.memory = recorded.memory();
  return result;
}

class Memory : public testing::TestWithParam<Case> {};

TEST_P(Memory, AStepWithinABudgetLearnsTheSame) {
  const Learned free = learn(GetParam(), {});
  for (const int percent : {60, 35}) {
    const std::int64_t budget = free.memory * percent / 100;
    const Learned tight = learn(GetParam(), {.memory = budget});
    EXPECT_LE(tight.memory, budget) << percent;
    EXPECT_GT(tight.memory, 0) << percent;
    // Kernels may be cut otherwise, which changes last bits.
    for (std::size_t i = 0; i < free.losses.size(); ++i) {
      EXPECT_NEAR(tight.losses[i], free.losses[i], 1e-5 * free.losses[i])
          << "step " << i << ", " << percent;
    }
    ASSERT_EQ(tight.state.size(), free.state.size());
    for (std::size_t i = 0; i < free.state.size(); ++i)
      EXPECT_TRUE(allclose(tight.state[i], free.state[i], 1e-3, 1e-4)) << i << ", " << percent;
  }
}

TEST_P(Memory, ABudgetThatIsEnoughChangesNothing) {
  const Learned free = learn(GetParam(), {});
  const Learned enough = learn(GetParam(), {.memory = free.memory});
  EXPECT_EQ(enough.memory, free.memory);
  EXPECT_EQ(enough.kernels, free.kernels);
  EXPECT_EQ(enough.losses, free.losses);
}

std::string refusal(const Case& each, std::int64_t memory) {
  try {
    learn(each, {.memory = memory});
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST_P(Memory, ABudgetThatNothingMeetsIsRefusedWithOneThatWillDo) {
  const std::string said = refusal(GetParam(), 100);
  long long least = 0;
  ASSERT_EQ(
      std::sscanf(said.c_str(), "intermediate values may take 100 bytes, but take %lld", &least), 1)
      << said;
  EXPECT_EQ(said, fmt::format("intermediate values may take 100 bytes, but take {} even where as "
                              "much as can be is computed again: wants a larger budget "
                              "(StepOptions::memory, BRISK_MEMORY) or a smaller batch",
                              least));
  EXPECT_EQ(refusal(GetParam(), least), "");
}

INSTANTIATE_TEST_SUITE_P(Steps, Memory, testing::ValuesIn(cases),
                         [](const auto& info) { return info.param.name; });

// In a program anew, as options are read once: this one, which runs the test again.
TEST(MemoryOption, IsTheBudgetOfStepsThatHaveNone) {
  const Tensor x = rand({64, 64}).realize();
  const auto run = [&](const StepOptions& options) {
    Step recorded([&] { return matmul(matmul(x, x), x).sum(); }, options);
    recorded();
    return recorded.memory();
  };
  if (std::getenv("BRISK_MEMORY") != nullptr) {
    EXPECT_THROW(run({}), UserError);
    EXPECT_GT(run({.memory = 1 << 30}), 0);
    return;
  }
  EXPECT_GT(run({}), 1024);
  const std::string program = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command =
      "BRISK_MEMORY=1K '" + program + "' --gtest_filter='MemoryOption.*' > /dev/null";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace brisk
