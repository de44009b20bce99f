// Normalizer and pre-tokenizer steps that several loaders need.
#pragma once

#include "llm/tokenizer_spec.h"

#include <string>
#include <string_view>
#include <vector>

namespace brisk {

NormalizeStep normalize_replace(std::string regex, std::string by);
NormalizeStep strip_spaces(bool left, bool right);

/// BERT's text cleaning: control characters go, white space becomes spaces, Han characters stand
/// alone, accents go, lower case.
std::vector<NormalizeStep> bert_normalizer(bool clean, bool separate_han, bool strip_accents,
                                           bool lower);
/// Words between white space, punctuation characters one by one.
std::vector<PreTokenizeStep> bert_pre_tokenizer();
extern const std::string_view punctuation_class;  // BERT's: Unicode's, and ASCII's symbols

/// SentencePiece: the character map (if any), spaces trimmed and folded, a space in front, U+2581.
std::vector<NormalizeStep> sentencepiece_normalizer(std::string charsmap, bool fold_spaces,
                                                    bool space_prefix);

PreTokenizeStep split_step(std::string regex, PreTokenizeStep::Behavior behavior,
                           bool invert = false);

/// Pieces of white space, punctuation and so on as GPT-2 cuts them.
std::vector<PreTokenizeStep> gpt2_pre_tokenizer();

/// Every control, unknown (special) and user-defined token becomes an added token.
void add_tokens_by_kind(TokenizerSpec& spec);

}  // namespace brisk
