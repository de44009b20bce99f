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

  start = Clock::now();
  while (true) {
    if (static_cast<std::int64_t>(result.tokens.size()) == options.max_tokens) {
      result.ended = Ended::by_length;
      break;
    }
    const TokenId token = sampler.sample(logits);
    if (tokenizer && !options.ignore_end && token < tokenizer->size() &&
        tokenizer->is_end_of_generation(token)) {
      result.ended = Ended::by_model;
      break;
    }
    sampler.accept(token);
    result.tokens.push_back(token);
    // The embedding may have more rows than the vocabulary; those have no text.
    const bool has_text = decoder && token < tokenizer->size();
    if (!emit(has_text ? decoder->push(token) : std::string())) {
      result.ended = Ended::by_caller;
      break;
    }
    if (static_cast<std::int64_t>(result.tokens.size()) == options.max_tokens) continue;
    if (session.position() == session.context()) {
      result.ended = Ended::by_context;
      break;
    }
    logits = session.advance({&token, 1});
    ++result.steps;
  }
  result.step_seconds = seconds_since(start);
  if (decoder) emit(decoder->finish());
  return result;
}

}  // namespace brisk
