// What is timed of a language model: reading a prompt of random tokens, and making text after it,
// each token the likeliest, chosen on the device.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "llm/model.h"

namespace brisk {

struct ModelWork {
  /// No more of either than the model's context holds. The model must outlive it.
  ModelWork(const Model& model, std::int64_t wanted_prompt, std::int64_t wanted_tokens, bool exact)
      : context(std::min(wanted_prompt + wanted_tokens, model.config().context)),
        prompt(std::min(wanted_prompt, context - 1)),
        tokens(std::min(wanted_tokens, context - prompt)),
        ids(static_cast<std::size_t>(prompt)),
        session(model, {.context = context, .batch = prompt, .round_activations = !exact}) {
    std::mt19937 random(1);
    const auto vocabulary = static_cast<std::uint64_t>(model.config().vocabulary);
    for (TokenId& id : ids) id = static_cast<TokenId>(random() % vocabulary);
  }

  void read() {
    session.rewind();
    session.advance(ids);
  }
  void make() {
    session.rewind(prompt);
    session.follow_likeliest(ids[0], tokens, [](TokenId) { return true; });
  }

  std::int64_t context, prompt, tokens;
  std::vector<TokenId> ids;
  Session session;
};

}  // namespace brisk
