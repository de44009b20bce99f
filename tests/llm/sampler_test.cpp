// The sampler: each filter alone against the set of tokens it must leave and their probabilities.
#include "llm/sampler.h"

#include "base/error.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace brisk {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Every filter off.
SamplerOptions plain(float temperature = 1) {
  SamplerOptions options;
  options.temperature = temperature;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  options.seed = 42;
  return options;
}

std::vector<float> logs(std::vector<double> probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3));
  return logits;
}

std::map<int, int> histogram(const SamplerOptions& options, const std::vector<float>& logits,
                             int draws = 20000) {
  Sampler sampler(options);
  std::map<int, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler.sample(logits)];
  return counts;
}

/// Checks that exactly the tokens of positive weight occur, as often as their weights say.
void expect_distribution(const SamplerOptions& options, const std::vector<float>& logits,
                         const std::vector<double>& weights) {
  constexpr int draws = 20000;
  const auto counts = histogram(options, logits, draws);
  double total = 0, chi_square = 0;
  int kinds = 0;
  for (const double w : weights) total += w;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto found = counts.find(static_cast<int>(i));
    const double seen = found == counts.end() ? 0 : found->second;
    if (weights[i] == 0) {
      EXPECT_EQ(seen, 0) << "token " << i;
      continue;
    }
    const double wanted = draws * weights[i] / total;
    chi_square += (seen - wanted) * (seen - wanted) / wanted;
    ++kinds;
  }
  // Mean of the distribution: kinds - 1; seven standard deviations. The seed is fixed.
  EXPECT_LT(chi_square, kinds - 1 + 7 * std::sqrt(2.0 * std::max(kinds - 1, 1)));
}

TEST(Sampler, PhiloxGivesThePublishedVectors) {
  using Block = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t ones = 0xffffffff;
  EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Sampler, TemperatureZeroTakesTheLikeliestAndOfEqualsTheFirst) {
  Sampler sampler(plain(0));
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 3, 2}), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{-5, -2, -9, -2}), 1);
}

TEST(Sampler, DrawsByTheSoftmaxOfTheLogits) {
  const std::vector<double> weights{0.5, 0.1, 0.25, 0.1, 0.05};
  expect_distribution(plain(), logs(weights), weights);
}

TEST(Sampler, DrawsFromALargeVocabularyWithoutFavour) {
  expect_distribution(plain(), std::vector<float>(1000, 2.5f), std::vector<double>(1000, 1));
}

TEST(Sampler, TemperatureRaisesProbabilitiesToItsInverse) {
  const std::vector<double> weights{0.6, 0.3, 0.1};
  expect_distribution(plain(2), logs(weights), {std::sqrt(0.6), std::sqrt(0.3), std::sqrt(0.1)});
  expect_distribution(plain(0.5f), logs(weights), {0.36, 0.09, 0.01});
}

TEST(Sampler, TopKKeepsTheKLikeliestAndOfEqualsTheFirst) {
  SamplerOptions options = plain();
  options.top_k = 3;
  expect_distribution(options, logs({0.1, 0.4, 0.1, 0.1, 0.3}), {0.1, 0.4, 0, 0, 0.3});
  options.top_k = 9;
  expect_distribution(options, logs({0.5, 0.5}), {0.5, 0.5});
}

TEST(Sampler, TopPKeepsTheFewestTokensThatReachIt) {
  SamplerOptions options = plain();
  options.top_p = 0.7f;
  expect_distribution(options, logs({0.15, 0.5, 0.05, 0.3}), {0, 0.5, 0, 0.3});
  options.top_p = 0.85f;
  expect_distribution(options, logs({0.15, 0.5, 0.05, 0.3}), {0.15, 0.5, 0, 0.3});
  options.top_p = 0.0001f;
  expect_distribution(options, logs({0.15, 0.5, 0.05, 0.3}), {0, 1, 0, 0});
}

TEST(Sampler, TopPReachesFarIntoAFlatVocabulary) {
  SamplerOptions options = plain();
  options.top_p = 0.5f;
  std::vector<double> weights(1200, 0);
  for (int i = 0; i < 600; ++i) weights[i] = 1;
  expect_distribution(options, std::vector<float>(1200, -1.0f), weights);
}

TEST(Sampler, MinPKeepsTokensByTheirShareOfTheLikeliest) {
  SamplerOptions options = plain();
  options.min_p = 0.35f;
  expect_distribution(options, logs({0.1, 0.5, 0.2, 0.15, 0.05}), {0, 0.5, 0.2, 0, 0});
}

TEST(Sampler, MinPComparesBeforeTheTemperature) {
  SamplerOptions options = plain(10);
  options.min_p = 0.35f;
  const auto counts = histogram(options, logs({0.6, 0.3, 0.1}));
  EXPECT_EQ(counts.size(), 2u);
}

TEST(Sampler, TopPSeesOnlyWhatTopKLeft) {
  SamplerOptions options = plain();
  options.top_k = 2;
  options.top_p = 0.6f;  // 0.4 of 0.7 does not reach it; 0.4 of 1 would not either, alone
  expect_distribution(options, logs({0.4, 0.3, 0.2, 0.1}), {0.4, 0.3, 0, 0});
  options.top_p = 0.55f;  // 0.4 of 0.7 does
  expect_distribution(options, logs({0.4, 0.3, 0.2, 0.1}), {1, 0, 0, 0});
}

TEST(Sampler, RepeatPenaltyDividesPositiveAndMultipliesNegativeLogits) {
  SamplerOptions options = plain(0);
  options.repeat_penalty = 2;
  Sampler sampler(options);
  const std::vector<float> positive{4, 3, 1}, negative{-1, -1.5f, -9};
  EXPECT_EQ(sampler.sample(positive), 0);
  sampler.accept(0);
  EXPECT_EQ(sampler.sample(positive), 1);  // 2, 3, 1
  EXPECT_EQ(sampler.sample(negative), 1);  // -2, -1.5, -9
}

TEST(Sampler, FrequencyPenaltyCountsOccurrencesAndPresencePenaltyDoesNot) {
  const std::vector<float> logits{4, 3.2f};
  SamplerOptions options = plain(0);
  options.frequency_penalty = 0.5f;
  Sampler frequency(options);
  frequency.accept(0);
  EXPECT_EQ(frequency.sample(logits), 0);  // 3.5
  frequency.accept(0);
  EXPECT_EQ(frequency.sample(logits), 1);  // 3.0
  options.frequency_penalty = 0;
  options.presence_penalty = 0.5f;
  Sampler presence(options);
  for (int i = 0; i < 5; ++i) presence.accept(0);
  EXPECT_EQ(presence.sample(logits), 0);
}

TEST(Sampler, PenaltiesForgetTokensThatLeftTheWindow) {
  SamplerOptions options = plain(0);
  options.presence_penalty = 10;
  options.penalty_window = 2;
  Sampler sampler(options);
  const std::vector<float> logits{3, 2, 1, 0};
  sampler.accept(0);
  sampler.accept(1);
  EXPECT_EQ(sampler.sample(logits), 2);
  sampler.accept(2);
  EXPECT_EQ(sampler.sample(logits), 0);
  options.penalty_window = 0;
  Sampler without(options);
  without.accept(0);
  EXPECT_EQ(without.sample(logits), 0);
  options.penalty_window = -1;
  Sampler all(options);
  for (int i = 0; i < 1000; ++i) all.accept(i % 3);
  EXPECT_EQ(all.sample(logits), 3);
}

TEST(Sampler, LogitBiasIsAddedAndCanBan) {
  SamplerOptions options = plain(0);
  options.logit_bias = {{2, 5.0f}, {0, -infinity}, {77, 1.0f}};
  Sampler sampler(options);
  EXPECT_EQ(sampler.sample(std::vector<float>{9, 1, 0}), 2);
  options.temperature = 1;
  EXPECT_FALSE(histogram(options, {9, 1, 0}).contains(0));
}

TEST(Sampler, OneSeedGivesOneSequenceAndResetStartsItOver) {
  const std::vector<float> logits(100, 0.0f);
  const auto sequence = [&](Sampler& sampler) {
    std::vector<int> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sampler.sample(logits));
    return tokens;
  };
  SamplerOptions options = plain();
  options.seed = 0x123456789abcdef0;
  Sampler first(options), second(options);
  const auto tokens = sequence(first);
  EXPECT_EQ(sequence(second), tokens);
  EXPECT_NE(sequence(first), tokens);
  first.reset();
  EXPECT_EQ(sequence(first), tokens);
  options.seed = 0x123456789abcdef1;
  Sampler other(options);
  EXPECT_NE(sequence(other), tokens);
  // The first draw by hand: the top 53 of the block's first 64 bits, as a fraction of 100 tokens.
  const auto bits = philox({0, 0, 0, 0}, {0x9abcdef0, 0x12345678});
  EXPECT_EQ(tokens[0], static_cast<int>(bits[0] * 100.0 / 4294967296.0));
}

TEST(Sampler, MinusInfinityIsNeverDrawn) {
  const auto counts = histogram(plain(), {-infinity, 0, -infinity, 0});
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_FALSE(counts.contains(0));
}

void expect_error(const std::vector<float>& logits, const char* part, float temperature) {
  Sampler sampler(plain(temperature));
  try {
    sampler.sample(logits);
    FAIL() << "no error for " << part;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Sampler, RefusesLogitsThatAreNotNumbers) {
  for (const float temperature : {0.0f, 1.0f}) {
    expect_error({1, std::nanf(""), 2}, "the logit of token 1 is", temperature);
    expect_error({1, 2, infinity}, "the logit of token 2 is inf", temperature);
    expect_error({-infinity, -infinity}, "no token is left of 2", temperature);
    expect_error({}, "no token is left of 0", temperature);
  }
}

TEST(Sampler, RefusesPenaltiesThatOverflow) {
  SamplerOptions options = plain();
  options.presence_penalty = -3e38f;
  Sampler sampler(options);
  sampler.accept(0);
  EXPECT_THROW(sampler.sample(std::vector<float>{3e38f, 1}), UserError);
}

TEST(Sampler, TellsWhetherItAlwaysTakesTheLikeliest) {
  const auto takes = [](auto change) {
    SamplerOptions options;
    options.temperature = 0;
    change(options);
    return Sampler(options).takes_likeliest();
  };
  EXPECT_TRUE(takes([](auto&) {}));
  EXPECT_TRUE(takes([](auto& o) { o.repeat_penalty = 1.1f, o.penalty_window = 0; }));
  EXPECT_FALSE(takes([](auto& o) { o.temperature = 0.1f; }));
  EXPECT_FALSE(takes([](auto& o) { o.repeat_penalty = 1.1f; }));
  EXPECT_FALSE(takes([](auto& o) { o.frequency_penalty = 0.1f; }));
  EXPECT_FALSE(takes([](auto& o) { o.presence_penalty = 0.1f; }));
  EXPECT_FALSE(takes([](auto& o) { o.logit_bias = {{1, 2.f}}; }));
}

TEST(Sampler, RefusesOptionsOutsideTheirRange) {
  const auto refuses = [](auto change) {
    SamplerOptions options;
    change(options);
    EXPECT_THROW(Sampler{options}, UserError);
  };
  refuses([](auto& o) { o.temperature = -1; });
  refuses([](auto& o) { o.temperature = std::nanf(""); });
  refuses([](auto& o) { o.top_k = -1; });
  refuses([](auto& o) { o.top_p = 0; });
  refuses([](auto& o) { o.top_p = 1.5f; });
  refuses([](auto& o) { o.min_p = -0.1f; });
  refuses([](auto& o) { o.penalty_window = -2; });
  refuses([](auto& o) { o.repeat_penalty = 0; });
  refuses([](auto& o) { o.frequency_penalty = std::nanf(""); });
  refuses([](auto& o) { o.presence_penalty = infinity; });
  refuses([](auto& o) { o.logit_bias = {{1, std::nanf("")}}; });
}

}  // namespace
}  // namespace brisk
