// From the logits of one position to the next token. Input: logits by token id and the tokens so
// far; output: a token id. The filters run in the order that users of llama.cpp know: logit bias,
// penalties, top-k, top-p, min-p, temperature, then a draw; temperature 0 takes the likeliest
// token. Equal logits rank by lower id. One seed gives one sequence of draws everywhere (Philox,
// not the standard library).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace brisk {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key);

struct SamplerOptions {
  float temperature = 0.8f;  // 0: greedy
  int top_k = 40;            // at most so many tokens; 0: all
  float top_p = 0.95f;       // the likeliest tokens that together reach this probability; 1: all
  float min_p = 0.05f;       // tokens of at least this share of the likeliest's probability; 0: all
  int penalty_window = 64;   // the last tokens that the penalties look at; -1: all
  float repeat_penalty = 1.0f;     // divides a positive logit, multiplies a negative one; 1: off
  float frequency_penalty = 0.0f;  // subtracted once for each occurrence
  float presence_penalty = 0.0f;   // subtracted once
  std::uint64_t seed = 0;
  std::vector<std::pair<std::int32_t, float>> logit_bias;  // added; -infinity bans a token
};

class Sampler {
 public:
  /// UserError for options outside their range.
  explicit Sampler(SamplerOptions options);

  /// UserError when a logit is NaN or +infinity, or when no token is left. Does not accept() the
  /// result.
  std::int32_t sample(std::span<const float> logits);
  /// Counts a token (of the prompt or generated) for the penalties.
  void accept(std::int32_t token);
  /// Forgets the tokens and starts the draws over.
  void reset();

  /// Whether every token is the one of the greatest logit, whatever came before.
  bool takes_likeliest() const;
  const SamplerOptions& options() const { return options_; }

 private:
  struct Candidate {
    std::int32_t token;
    float logit;
  };
  struct LikelierFirst {
    bool operator()(const Candidate& a, const Candidate& b) const {
      return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
    }
  };
  void collect(std::span<const float> logits);
  void keep_top_k();
  void keep_top_p();
  void keep_min_p();
  void sort_first(std::size_t count);
  std::int32_t draw();

  SamplerOptions options_;
  std::deque<std::int32_t> window_;
  std::unordered_map<std::int32_t, int> counts_;  // of the tokens in the window
  std::vector<float> adjusted_;                   // logits with bias and penalties
  std::vector<Candidate> candidates_;
  std::size_t sorted_ = 0;  // so many of the candidates lie in order, before all others
  std::uint64_t draws_ = 0;
};

}  // namespace brisk
