// Decisions: which option is taken, and that every option of every strategy computes the same.
#include <set>

#include "optimize/decisions.h"
#include "optimize/random_program.h"
#include "optimize/tile_program.h"

namespace brisk {
namespace {

using Options = std::vector<Decision::Option>;

TEST(Decisions, TheCheapestOptionIsTakenWhereNothingIsKnown) {
  Decisions decisions;
  EXPECT_EQ(decisions.choose("a", Options{{"x", 2}, {"y", 1}, {"z", 1}}), 1U);
  ASSERT_EQ(decisions.made().size(), 1U);
  EXPECT_EQ(decisions.made()[0].chosen, 1U);
}

TEST(Decisions, WhatIsKnownToBeBestIsTakenThoughItCostsMore) {
  Decisions decisions([](const std::string& shapes) -> std::optional<std::string> {
    return shapes == "a" ? std::optional<std::string>("x") : "a name of another build";
  });
  EXPECT_EQ(decisions.choose("a", Options{{"x", 2}, {"y", 1}}), 0U);
  EXPECT_EQ(decisions.choose("b", Options{{"x", 2}, {"y", 1}}), 1U);
}

TEST(Decisions, AClassThatWasDecidedStaysSo) {
  Decisions decisions;
  EXPECT_EQ(decisions.choose("a", Options{{"x", 1}, {"y", 2}}), 0U);
  EXPECT_EQ(decisions.choose("a", Options{{"y", 1}, {"x", 2}}), 1U);
  EXPECT_EQ(decisions.made().size(), 1U);
}

TEST(Decisions, NeighboursOfAGuessArePowersOfTwoAway) {
  Decisions decisions;
  EXPECT_EQ(decisions.choose_near("a", 12, 4, 100), 12);
  std::vector<std::string> names;
  for (const auto& option : decisions.made()[0].options) names.push_back(option.name);
  EXPECT_EQ(names, (std::vector<std::string>{"6", "12", "24", "48", "96"}));
  EXPECT_EQ(decisions.choose_near("b", 3, 1, 3), 3);
  EXPECT_EQ(decisions.made().size(), 1U) << "one option is no decision";
}

TEST(Decisions, SizesOfAClassHaveFourLeadingBits) {
  const auto of = [](const Size& size) { return shape_class("s", {}, {{"rows", size}}); };
  EXPECT_EQ(of(4096), of(3900));
  EXPECT_NE(of(4096), of(4097));
  EXPECT_EQ(of(4097), of(4608));
  EXPECT_NE(of(15), of(16));
  const Size open(variable("n", 1, 4096));
  EXPECT_NE(of(open), of(4096));
}

// Kernels of a lowered kernel for all options of what is decided, of one decision after the other.
template <typename Visit>
void for_all_options(const LoweredKernel& lowered, const Target& target, const Visit& visit) {
  Decisions first;
  visit(optimize(lowered, target, first), std::string("as the models have it"));
  for (const Decision& decision : first.made()) {
    for (const Decision::Option& option : decision.options) {
      Decisions other([&](const std::string& shapes) -> std::optional<std::string> {
        return shapes == decision.shapes ? std::optional(option.name) : std::nullopt;
      });
      const Kernel kernel = optimize(lowered, target, other);
      visit(kernel, decision.shapes + ": " + option.name);
    }
  }
}

// Interprets a kernel by every option on the same memory; what it leaves there is to be the same.
// Counts the options.
void expect_one_result(const LoweredKernel& lowered, const Target& target,
                       std::span<const HostBuffer> buffers, std::set<std::string>& tried) {
  using Memory = std::vector<std::vector<std::byte>>;
  Memory before, wanted;
  for (const HostBuffer& buffer : buffers)
    before.emplace_back(buffer.bytes, buffer.bytes + buffer.size);
  for_all_options(lowered, target, [&](const Kernel& kernel, const std::string& what) {
    SCOPED_TRACE(what);
    Memory mine = before;
    std::vector<HostBuffer> places;
    for (auto& bytes : mine)
      places.push_back({bytes.data(), static_cast<std::int64_t>(bytes.size())});
    verify_kernel(kernel, "optimize");
    interpret(kernel, places, {});
    tried.insert(what);
    if (wanted.empty()) wanted = mine;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      const DType dtype = lowered.params[i].dtype;
      const std::vector<double> want = reals(dtype, wanted[i]), got = reals(dtype, mine[i]);
      const double tolerance = dtype == DType::bfloat16 ? 1e-2 : 1e-4;
      for (std::size_t j = 0; j < want.size(); ++j) {
        if (std::isnan(want[j]) && std::isnan(got[j])) continue;
        ASSERT_NEAR(got[j], want[j], tolerance * std::fabs(want[j]) + tolerance) << "element " << j;
      }
    }
  });
  for (std::size_t i = 0; i < buffers.size() && !wanted.empty(); ++i)
    std::copy(wanted[i].begin(), wanted[i].end(), buffers[i].bytes);
}

// Names of decisions, the last word of their classes.
std::set<std::string> decided(const std::set<std::string>& tried) {
  std::set<std::string> names;
  for (const std::string& one : tried) {
    const std::size_t end = one.rfind(": ");
    if (end == std::string::npos) continue;
    const std::size_t begin = one.rfind(' ', end - 1) + 1;
    names.insert(one.substr(begin, end - begin));
  }
  return names;
}

class EveryOption : public testing::TestWithParam<const char*> {
 protected:
  void try_all(test::TileProgram program) {
    program.each(target_, [&](const LoweredKernel& lowered, const auto& buffers) {
      expect_one_result(lowered, target_, buffers, tried_);
    });
  }

  Target target_ = target_for(GetParam());
  std::set<std::string> tried_;
};

TEST_P(EveryOption, LeavesTheSame) {
  using test::TileCase;
  for (unsigned seed = 0; seed < 300 && !HasFatalFailure(); ++seed) {
    const int largest[] = {4, 20, 60, 150};
    expect_the_evaluators_values(seed, largest[seed % 4],
                                 [&](const LoweredKernel& lowered, const auto& buffers) {
                                   expect_one_result(lowered, target_, buffers, tried_);
                                 });
  }
  const DType wide = DType::float32;
  try_all(test::TileProgram(TileCase{
      .name = "product", .dtype = wide, .result = wide, .m = 70, .n = 90, .k = 64, .fused = true}));
  for (const std::int64_t rows : {1, 2}) {
    try_all(test::TileProgram(
        TileCase{.name = "vector", .dtype = wide, .result = wide, .m = rows, .n = 96, .k = 512}));
  }
  if (target_.copying_threads > 0) {
    try_all(
        test::TileProgram(TileCase{.name = "fused", .m = 150, .n = 200, .k = 136, .fused = true}));
    try_all(test::TileProgram(TileCase{.name = "long", .m = 64, .n = 64, .k = 4096}));
    try_all(test::TileProgram(TileCase{.name = "shared", .m = 256, .n = 96, .k = 128}));
    try_all(test::TileProgram(TileCase{.name = "turned",
                                       .m = 320,
                                       .n = 96,
                                       .k = 128,
                                       .x_turned = true,
                                       .y_turned = true,
                                       .gated = true}));
    try_all(test::TileProgram(test::ConvolutionCase{.name = "convolution"}));
  }
  if (target_.group_threads > 0) {
    try_all(test::TileProgram(
        test::AttentionCase{.name = "decode", .heads = 4, .queries = 2, .keys = 300, .shared = 2}));
  }
  std::set<std::string> wanted = {"once", "rows", "steps"};
  if (target_.group_threads > 0)
    wanted = {"across", "groups", "once", "team", "tile", "together", "parts"};
  if (target_.copying_threads > 0) wanted.insert({"strip", "each", "sharers"});
  for (const std::string& name : wanted) EXPECT_TRUE(decided(tried_).contains(name)) << name;
}

INSTANTIATE_TEST_SUITE_P(Targets, EveryOption,
                         testing::Values("x86-64-v3", "x86-64-v4", "sm_75", "sm_90a"),
                         [](const auto& param) {
                           std::string name = param.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace brisk
