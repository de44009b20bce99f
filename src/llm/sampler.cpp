// The filters, each a cut of the candidates' list; sums of probabilities are in double.
#include "llm/sampler.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace brisk {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t(0xd2511f53) * counter[0];
    const std::uint64_t b = std::uint64_t(0xcd9e8d57) * counter[2];
    counter = {
        static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
        static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key = {key[0] + 0x9e3779b9, key[1] + 0xbb67ae85};
  }
  return counter;
}

Sampler::Sampler(SamplerOptions options) : options_(std::move(options)) {
  const auto need = [](bool holds, const char* name, double value, const char* wanted) {
    if (!holds) user_error("sampler: {} is {}, wanted {}", name, value, wanted);
  };
  const SamplerOptions& o = options_;
  need(o.temperature >= 0 && std::isfinite(o.temperature), "temperature", o.temperature,
       "0 (greedy) or more");
  need(o.top_k >= 0, "top_k", o.top_k, "0 (all tokens) or more");
  need(o.top_p > 0 && o.top_p <= 1, "top_p", o.top_p, "more than 0 and at most 1");
  need(o.min_p >= 0 && o.min_p <= 1, "min_p", o.min_p, "0 to 1");
  need(o.penalty_window >= -1, "penalty_window", o.penalty_window, "-1 (all tokens) or more");
  need(o.repeat_penalty > 0 && std::isfinite(o.repeat_penalty), "repeat_penalty", o.repeat_penalty,
       "more than 0");
  need(std::isfinite(o.frequency_penalty), "frequency_penalty", o.frequency_penalty, "a number");
  need(std::isfinite(o.presence_penalty), "presence_penalty", o.presence_penalty, "a number");
  for (const auto& [token, bias] : o.logit_bias)
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity())
      user_error("sampler: the logit bias of token {} is {}", token, bias);
}

void Sampler::accept(std::int32_t token) {
  if (options_.penalty_window == 0) return;
  window_.push_back(token);
  ++counts_[token];
  if (options_.penalty_window > 0 &&
      window_.size() > static_cast<std::size_t>(options_.penalty_window)) {
    const auto oldest = counts_.find(window_.front());
    if (--oldest->second == 0) counts_.erase(oldest);
    window_.pop_front();
  }
}

bool Sampler::takes_likeliest() const {
  const SamplerOptions& o = options_;
  const bool penalises =
      o.repeat_penalty != 1 || o.frequency_penalty != 0 || o.presence_penalty != 0;
  return o.temperature == 0 && o.logit_bias.empty() && (!penalises || o.penalty_window == 0);
}

void Sampler::reset() {
  window_.clear();
  counts_.clear();
  draws_ = 0;
}

void Sampler::collect(std::span<const float> logits) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  bool usable = true;  // without an early exit the loop is vectorised
  for (const float logit : logits) usable &= logit < infinity;
  if (!usable) {
    const auto bad =
        std::find_if(logits.begin(), logits.end(), [](float logit) { return !(logit < infinity); });
    user_error("sampler: the logit of token {} is {}; the model's output is not usable",
               bad - logits.begin(), *bad);
  }
  adjusted_.assign(logits.begin(), logits.end());
  const auto inside = [&](std::int32_t token) {
    return token >= 0 && static_cast<std::size_t>(token) < logits.size();
  };
  for (const auto& [token, bias] : options_.logit_bias)
    if (inside(token)) adjusted_[token] += bias;
  for (const auto& [token, count] : counts_) {
    if (!inside(token)) continue;
    float& logit = adjusted_[token];
    logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    logit -= static_cast<float>(count) * options_.frequency_penalty + options_.presence_penalty;
    if (!(logit < infinity))
      user_error("sampler: with the penalties the logit of token {} is {}", token, logit);
  }
}

void Sampler::keep_top_k() {
  const auto wanted = options_.top_k > 0 ? static_cast<std::size_t>(options_.top_k)
                                         : std::numeric_limits<std::size_t>::max();
  candidates_.clear();
  sorted_ = 0;
  constexpr float banned = -std::numeric_limits<float>::infinity();
  const auto size = static_cast<std::int32_t>(adjusted_.size());
  if (wanted >= adjusted_.size()) {
    for (std::int32_t token = 0; token < size; ++token)
      if (adjusted_[token] > banned) candidates_.push_back({token, adjusted_[token]});
    return;
  }
  // A heap of the k likeliest so far with the least likely on top; a later equal one does not
  // enter.
  const LikelierFirst likelier;
  for (std::int32_t token = 0; token < size; ++token) {
    const Candidate candidate{token, adjusted_[token]};
    if (candidate.logit == banned) continue;
    if (candidates_.size() == wanted) {
      if (!likelier(candidate, candidates_.front())) continue;
      std::pop_heap(candidates_.begin(), candidates_.end(), likelier);
      candidates_.back() = candidate;
    } else {
      candidates_.push_back(candidate);
    }
    std::push_heap(candidates_.begin(), candidates_.end(), likelier);
  }
  std::sort_heap(candidates_.begin(), candidates_.end(), likelier);
  sorted_ = candidates_.size();
}

/// Brings the `count` likeliest candidates to the front, in order.
void Sampler::sort_first(std::size_t count) {
  count = std::min(count, candidates_.size());
  if (count <= sorted_) return;
  const auto begin = candidates_.begin() + sorted_, end = candidates_.begin() + count;
  std::nth_element(begin, end - 1, candidates_.end(), LikelierFirst());
  std::sort(begin, end, LikelierFirst());
  sorted_ = count;
}

void Sampler::keep_top_p() {
  if (options_.top_p >= 1) return;
  sort_first(1);
  const double most = candidates_[0].logit;
  double total = 0;
  for (const Candidate& c : candidates_) total += std::exp(c.logit - most);
  double reached = 0;
  std::size_t kept = 0;
  while (kept < candidates_.size() && reached < options_.top_p * total) {
    if (kept == sorted_) sort_first(std::max<std::size_t>(256, 4 * sorted_));
    reached += std::exp(candidates_[kept++].logit - most);
  }
  candidates_.resize(kept);
  sorted_ = std::min(sorted_, kept);
}

void Sampler::keep_min_p() {
  if (options_.min_p <= 0) return;
  sort_first(1);
  const double least = candidates_[0].logit + std::log(static_cast<double>(options_.min_p));
  std::size_t kept = 1, sorted = 1;  // the likeliest stays whatever the rounding
  for (std::size_t i = 1; i < candidates_.size(); ++i) {
    if (candidates_[i].logit < least) continue;
    sorted += i < sorted_;
    candidates_[kept++] = candidates_[i];
  }
  candidates_.resize(kept);
  sorted_ = sorted;
}

std::int32_t Sampler::draw() {
  sort_first(1);
  const double most = candidates_[0].logit;
  const auto weight = [&](const Candidate& c) {
    return std::exp((c.logit - most) / options_.temperature);
  };
  double total = 0;
  for (const Candidate& c : candidates_) total += weight(c);
  const auto low = static_cast<std::uint32_t>(draws_),
             high = static_cast<std::uint32_t>(draws_ >> 32);
  const auto bits = philox({low, high, 0, 0}, {static_cast<std::uint32_t>(options_.seed),
                                               static_cast<std::uint32_t>(options_.seed >> 32)});
  ++draws_;
  const std::uint64_t word = std::uint64_t(bits[0]) << 32 | bits[1];
  const double target = static_cast<double>(word >> 11) * 0x1p-53 * total;
  double reached = 0;
  std::int32_t last = candidates_[0].token;
  for (const Candidate& c : candidates_) {
    const double w = weight(c);
    if (w > 0) last = c.token;
    reached += w;
    if (target < reached) break;
  }
  return last;
}

std::int32_t Sampler::sample(std::span<const float> logits) {
  collect(logits);
  if (options_.temperature == 0) {
    std::int32_t best = -1;
    float most = -std::numeric_limits<float>::infinity();
    for (std::size_t i = 0; i < adjusted_.size(); ++i)
      if (adjusted_[i] > most) most = adjusted_[i], best = static_cast<std::int32_t>(i);
    if (best < 0) user_error("sampler: no token is left of {}", logits.size());
    return best;
  }
  keep_top_k();
  if (candidates_.empty()) user_error("sampler: no token is left of {}", logits.size());
  keep_top_p();
  keep_min_p();
  return draw();
}

}  // namespace brisk
