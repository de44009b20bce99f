// The way of a text: added tokens are cut out; what lies between is normalized, cut into pieces,
// and given to the model.
#include "llm/tokenizer.h"

#include "base/error.h"
#include "llm/tokenizer_index.h"
#include "llm/tokenizer_model.h"
#include "llm/unicode.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

namespace brisk {

namespace {

constexpr std::string_view space_marker = "\u2581";
constexpr std::size_t max_text = std::size_t(1) << 30;  // bytes; spans are 32-bit
constexpr std::size_t max_token = 4096;                 // bytes; real ones stay under 600

/// Tokens that end a generation in the chat formats of the common models, whatever a file's ids
/// say.
// clang-format off
constexpr std::string_view end_of_generation_names[] = {
    "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>",
    "<|calls|>", "<turn|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_turn>", "<eos>", "</s>",
    "[e~[", "<|endoftext|>", "<|end_of_text|>", "<end_of_utterance>", "<|tool_response>",
    "<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<｜end▁of▁sentence｜>",
};
// clang-format on

bool is_space(char32_t c) {
  return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool is_word(char32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
         (c >= 0x80 && !is_space(c));
}

/// The character that ends before `at`; code 0 at the text's beginning.
Utf8Char char_before(std::string_view text, std::size_t at) {
  for (std::size_t back = 1; back <= 4 && back <= at; ++back) {
    const Utf8Char c = decode_utf8(text, at - back);
    if (c.valid && c.length == static_cast<int>(back)) return c;
  }
  return {};
}

std::size_t skip_spaces(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    const Utf8Char c = decode_utf8(text, at);
    if (!c.valid || !is_space(c.code)) break;
    at += c.length;
  }
  return at;
}

std::size_t back_over_spaces(std::string_view text, std::size_t begin, std::size_t end) {
  while (end > begin) {
    const Utf8Char c = char_before(text, end);
    if (!c.valid || !is_space(c.code) || end - begin < static_cast<std::size_t>(c.length)) break;
    end -= c.length;
  }
  return end;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string out;
  std::size_t at = 0;
  for (std::size_t found; (found = text.find(from, at)) != std::string::npos;
       at = found + from.size())
    out.append(text, at, found - at).append(to);
  text = out.append(text, at, std::string::npos);
}

/// transformers' clean_up_tokenization_spaces.
void clean_up(std::string& text) {
  static constexpr std::string_view pairs[][2] = {
      {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
      {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : pairs) replace_all(text, from, to);
}

void check_id(TokenId id, std::size_t size, const char* what) {
  if (id != no_token && (id < 0 || static_cast<std::size_t>(id) >= size))
    user_error("tokenizer: the {} token {} is outside the vocabulary of {} tokens", what, id, size);
}

void check_spec(const TokenizerSpec& spec) {
  const std::size_t size = spec.tokens.size();
  using Model = TokenizerSpec::Model;
  if (size == 0 || size > (1u << 24))
    user_error("tokenizer: a vocabulary of {} tokens; 1 to 2^24 are possible", size);
  if (!spec.kinds.empty() && spec.kinds.size() != size)
    user_error("tokenizer: {} token types for {} tokens", spec.kinds.size(), size);
  const bool needs_scores = spec.model == Model::merge_by_score || spec.model == Model::unigram;
  if (spec.scores.size() != size && (needs_scores || !spec.scores.empty()))
    user_error("tokenizer: {} scores for {} tokens", spec.scores.size(), size);
  for (std::size_t i = 0; i < spec.scores.size(); ++i)
    if (!std::isfinite(spec.scores[i]))
      user_error("tokenizer: the score of token {} is not finite", i);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < size; ++i) {
    bytes += spec.tokens[i].size();
    if (spec.tokens[i].size() > max_token)
      user_error("tokenizer: token {} has {} bytes, {} are allowed", i, spec.tokens[i].size(),
                 max_token);
  }
  if (bytes > max_text) user_error("tokenizer: the tokens' texts sum up to {} bytes", bytes);
  for (const AddedToken& added : spec.added) {
    check_id(added.id, size, "added");
    if (added.text.size() > max_token) user_error("tokenizer: an added token is too long");
  }
  for (const TokenId id : spec.prefix) check_id(id, size, "prefix");
  for (const TokenId id : spec.suffix) check_id(id, size, "suffix");
  for (const TokenId id : spec.end_of_generation) check_id(id, size, "end-of-generation");
  check_id(spec.bos, size, "BOS");
  check_id(spec.eos, size, "EOS");
  check_id(spec.unk, size, "unknown");
  check_id(spec.pad, size, "padding");
  check_id(spec.eot, size, "end-of-turn");
}

}  // namespace

struct Tokenizer::State {
  TokenizerSpec spec;
  std::vector<std::string> texts;  // by id: as the model sees them
  TokenIndex index;                // of the texts that ordinary text may become
  std::unique_ptr<TokenizerModel> model;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  TokenTrie added;                                         // values are indices of spec.added
  std::vector<bool> added_first = std::vector<bool>(256);  // bytes that an added token begins with
  std::unordered_set<TokenId> end_of_generation;

  explicit State(TokenizerSpec given) : spec(std::move(given)) {
    check_spec(spec);
    texts = spec.tokens;
    index = TokenIndex(texts);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      if (!takes_part(spec, id)) continue;
      if (spec.byte_level && kind(id) == TokenKind::normal) alphabet_to_bytes(texts[i], texts[i]);
      index.add(id);
    }
    using Model = TokenizerSpec::Model;
    model = spec.model == Model::wordpiece ? make_wordpiece_model(spec, texts)
            : spec.model == Model::unigram ? make_unigram_model(spec, texts)
                                           : make_merge_model(spec, texts, index);
    normalizer = Normalizer(spec.normalize);
    pre_tokenizer = PreTokenizer(spec.pre_tokenize);

    std::vector<std::pair<std::string_view, TokenId>> entries;
    for (std::size_t i = 0; i < spec.added.size(); ++i) {
      if (spec.added[i].text.empty() || spec.added[i].id == no_token) continue;
      entries.emplace_back(spec.added[i].text, static_cast<TokenId>(i));
      added_first[static_cast<unsigned char>(spec.added[i].text[0])] = true;
    }
    added = TokenTrie(std::move(entries));

    end_of_generation.insert(spec.end_of_generation.begin(), spec.end_of_generation.end());
    for (const TokenId id : {spec.eos, spec.eot}) end_of_generation.insert(id);
    for (const std::string_view name : end_of_generation_names)
      end_of_generation.insert(find_added(name));
    // With gpt-oss and Solar <|end|> ends a message of several; the others end the model's turn.
    const auto has = [&](std::string_view name) { return find_added(name) != no_token; };
    const TokenId end = find_added("<|end|>");
    if (end != spec.eos && end != spec.eot &&
        ((has("<|return|>") && has("<|call|>")) || (has("<|calls|>") && has("<|flush|>"))))
      end_of_generation.erase(end);
    end_of_generation.erase(no_token);
  }

  TokenKind kind(TokenId id) const {
    return spec.kinds.empty() ? TokenKind::normal : spec.kinds[id];
  }

  TokenId find_added(std::string_view token) const {
    const std::uint32_t node = added.walk(TokenTrie::root, token);
    const bool known = node != TokenTrie::none && added.value(node) != no_token;
    return known ? spec.added[added.value(node)].id : no_token;
  }

  TokenId find(std::string_view token) const {
    if (const TokenId id = find_added(token); id != no_token) return id;
    std::string bytes(token);
    if (spec.byte_level) alphabet_to_bytes(token, bytes);
    if (const TokenId id = index.find(bytes); id != no_token && spec.tokens[id] == token) return id;
    const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), token);
    return found == spec.tokens.end() || token.empty()
               ? no_token
               : static_cast<TokenId>(found - spec.tokens.begin());
  }

  struct Match {
    std::size_t size = 0;  // bytes; 0: no added token here
    const AddedToken* token = nullptr;
  };

  /// The longest added token at this place that the caller's options allow.
  Match added_at(std::string_view text, std::size_t at, bool parse_special) const {
    Match best;
    std::uint32_t node = TokenTrie::root;
    for (std::size_t i = at; i < text.size(); ++i) {
      node = added.step(node, text[i]);
      if (node == TokenTrie::none) break;
      if (added.value(node) == no_token) continue;
      const AddedToken& token = spec.added[added.value(node)];
      const std::size_t end = i + 1;
      if (token.special && !parse_special) continue;
      if (token.single_word && (is_word(char_before(text, at).code) ||
                                (end < text.size() && is_word(decode_utf8(text, end).code))))
        continue;
      best = {end - at, &token};
    }
    return best;
  }

  struct Scratch {
    MatchScratch match;
    std::unique_ptr<TokenizerModel::Scratch> model;
  };

  void encode_plain(std::string_view text, bool at_start, Scratch& scratch,
                    std::vector<TokenId>& out) const {
    if (text.empty()) return;
    std::string normal = normalizer.apply(std::string(text), scratch.match);
    if (normal.size() > max_text)
      user_error("tokenizer: the normalized text has {} bytes, {} are possible", normal.size(),
                 max_text);
    const PreTokenizer::Pieces pieces =
        pre_tokenizer.cut(std::move(normal), at_start, scratch.match);
    for (const TextSpan span : pieces.spans)
      model->encode(std::string_view(pieces.text).substr(span.begin, span.end - span.begin),
                    *scratch.model, out);
  }
};

Tokenizer::Tokenizer(TokenizerSpec spec) : state_(std::make_unique<const State>(std::move(spec))) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special,
                                       bool parse_special) const {
  if (text.size() > max_text)
    user_error("tokenizer: the text has {} bytes, {} are possible", text.size(), max_text);
  const State& s = *state_;
  State::Scratch scratch{{}, s.model->make_scratch()};
  std::vector<TokenId> out;
  if (add_special) out = s.spec.prefix;
  std::size_t begin = 0;  // of the plain text that has not been encoded yet
  for (std::size_t at = 0; at < text.size();) {
    if (!s.added_first[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    const State::Match match = s.added_at(text, at, parse_special);
    if (match.size == 0) {
      ++at;
      continue;
    }
    const std::size_t end = match.token->strip_left ? back_over_spaces(text, begin, at) : at;
    s.encode_plain(text.substr(begin, end - begin), begin == 0, scratch, out);
    out.push_back(match.token->id);
    at += match.size;
    if (match.token->strip_right) at = skip_spaces(text, at);
    begin = at;
  }
  s.encode_plain(text.substr(begin), begin == 0, scratch, out);
  if (add_special) out.insert(out.end(), s.spec.suffix.begin(), s.spec.suffix.end());
  return out;
}

std::string Tokenizer::piece(TokenId id, bool at_start) const {
  const State& s = *state_;
  const TokenizerSpec& spec = s.spec;
  if (id < 0 || id >= size())
    user_error("tokenizer: token {} is outside the vocabulary of {} tokens", id, size());
  const TokenKind kind = s.kind(id);
  std::string text = s.texts[id];
  if (spec.byte_fallback && (kind == TokenKind::byte || spec.kinds.empty()))
    if (const int byte = byte_of_token(text); byte >= 0)
      return std::string(1, static_cast<char>(byte));
  if (kind != TokenKind::control && kind != TokenKind::unknown) {
    if (spec.space_marker) replace_all(text, space_marker, " ");
    if (!spec.word_suffix.empty() && text.ends_with(spec.word_suffix))
      text.replace(text.size() - spec.word_suffix.size(), std::string::npos, " ");
  }
  if (spec.words_apart) {
    if (!spec.continuing_prefix.empty() && text.starts_with(spec.continuing_prefix))
      text.erase(0, spec.continuing_prefix.size());
    else if (!at_start)
      text.insert(0, 1, ' ');
  }
  if (at_start && spec.strip_leading_space && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string text;
  bool at_start = true;
  for (const TokenId id : ids) {
    std::string piece = this->piece(id, at_start);
    if (skip_special && is_special(id)) continue;
    text += piece;
    at_start = false;
  }
  if (spec().clean_up_spaces) clean_up(text);
  return replace_invalid_utf8(text);
}

TokenId Tokenizer::size() const { return static_cast<TokenId>(state_->texts.size()); }

const std::string& Tokenizer::token(TokenId id) const {
  if (id < 0 || id >= size())
    user_error("tokenizer: token {} is outside the vocabulary of {} tokens", id, size());
  return state_->spec.tokens[id];
}

TokenId Tokenizer::find(std::string_view token) const { return state_->find(token); }

bool Tokenizer::is_special(TokenId id) const {
  if (id < 0 || id >= size()) return false;
  const TokenKind kind = state_->kind(id);
  return kind == TokenKind::control || kind == TokenKind::unknown;
}

bool Tokenizer::is_end_of_generation(TokenId id) const {
  return state_->end_of_generation.contains(id);
}

const TokenizerSpec& Tokenizer::spec() const { return state_->spec; }

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special, bool at_start)
    : tokenizer_(tokenizer), skip_special_(skip_special), at_start_(at_start) {}

std::string StreamDecoder::push(TokenId id) {
  std::string piece = tokenizer_.piece(id, at_start_);
  if (skip_special_ && tokenizer_.is_special(id)) return {};
  at_start_ = false;
  pending_ += piece;
  // Only the last sequence can be unfinished; it has at most three bytes.
  std::size_t complete = pending_.size();
  for (std::size_t back = 1; back <= 3 && back <= pending_.size(); ++back) {
    const Utf8Char c = decode_utf8(pending_, pending_.size() - back);
    if (c.incomplete) complete = pending_.size() - back;
    if (c.valid) break;
  }
  std::string text = replace_invalid_utf8(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text = replace_invalid_utf8(pending_);
  pending_.clear();
  return text;
}

}  // namespace brisk
