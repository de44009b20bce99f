// Text from a session: the prompt's tokens, then one sampled token after the other, each handed out
// as text the moment that it is complete. Input: a session, a prompt, a sampler; output: the
// tokens, why it ended, and how long each part took.
#pragma once

#include "llm/model.h"
#include "llm/sampler.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace brisk {

struct GenerateOptions {
  std::int64_t max_tokens = -1;  // -1: until the model ends or the context is full
  bool ignore_end = false;       // goes on after the model's end of text
  bool at_start = false;         // nothing comes before the text: its leading space is dropped
  /// Text as it comes; false ends the generation. May be empty, and is between a prompt's batches.
  std::function<bool(std::string_view)> on_text;
};

enum class Ended : std::uint8_t { by_model, by_length, by_context, by_caller };

struct Generated {
  std::vector<TokenId> tokens;  // without the token that ended it
  Ended ended = Ended::by_length;
  std::int64_t prompt_tokens = 0;  // read; none where the caller ended it before
  double prompt_seconds = 0;       // up to the first logits, compiling included
  std::int64_t steps = 0;          // of one token each
  double step_seconds = 0;
};

/// Continues after the session's tokens and `prompt`, which must not both be empty. Without a
/// tokenizer there is no text and nothing but the length ends it.
Generated generate(Session& session, std::span<const TokenId> prompt, Sampler& sampler,
                   const GenerateOptions& options);

}  // namespace brisk
