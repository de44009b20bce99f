#include "llm/generate.h"

#include "base/error.h"

#include <chrono>
#include <optional>

namespace brisk {

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Generated generate(Session& session, std::span<const TokenId> prompt, Sampler& sampler,
                   const GenerateOptions& options) {
  using Clock = std::chrono::steady_clock;
  const Tokenizer* tokenizer = session.model().tokenizer();
  std::optional<StreamDecoder> decoder;
  if (tokenizer) decoder.emplace(*tokenizer, true, options.at_start);
  const auto emit = [&](const std::string& text) {
    return !options.on_text || options.on_text(text);
  };

  Generated result;
  result.prompt_tokens = static_cast<std::int64_t>(prompt.size());
  auto start = Clock::now();
  std::vector<float> logits = session.advance(prompt, [&] { return emit(""); });
  result.prompt_seconds = seconds_since(start);
  if (logits.empty()) {
    result.ended = Ended::by_caller;
    result.prompt_tokens = 0;
    return result;
  }
  for (const TokenId token : prompt) sampler.accept(token);

  // Whether the generation goes on after this token.
  const auto take = [&](TokenId token) {
    const auto end = [&](Ended how) {
      result.ended = how;
      return false;
    };
    if (tokenizer && !options.ignore_end && token < tokenizer->size() &&
        tokenizer->is_end_of_generation(token)) {
      return end(Ended::by_model);
    }
    sampler.accept(token);
    result.tokens.push_back(token);
    // The embedding may have more rows than the vocabulary; those have no text.
    const bool has_text = decoder && token < tokenizer->size();
    if (!emit(has_text ? decoder->push(token) : std::string())) return end(Ended::by_caller);
    if (static_cast<std::int64_t>(result.tokens.size()) == options.max_tokens)
      return end(Ended::by_length);
    return session.position() < session.context() || end(Ended::by_context);
  };

  start = Clock::now();
  TokenId token = 0;
  bool goes_on = options.max_tokens != 0 && take(token = sampler.sample(logits));
  if (goes_on && sampler.takes_likeliest()) {
    session.follow_likeliest(token, session.context(), [&](TokenId chosen) {
      ++result.steps;
      return take(chosen);
    });
    goes_on = false;
  }
  while (goes_on) {
    logits = session.advance({&token, 1});
    ++result.steps;
    goes_on = take(token = sampler.sample(logits));
  }
  result.step_seconds = seconds_since(start);
  if (decoder) emit(decoder->finish());
  return result;
}

}  // namespace brisk
