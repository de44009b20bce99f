// tokenizer.json of Hugging Face's tokenizers → TokenizerSpec: an object with model, added_tokens,
// normalizer, pre_tokenizer, post_processor and decoder, each a tree of {"type": …} objects.
#include "llm/tokenizer_load.h"

#include "base/error.h"
#include "formats/quote.h"
#include "llm/tokenizer_model.h"
#include "llm/tokenizer_steps.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <limits>

namespace brisk {

namespace {

using Json = nlohmann::json;
using Behavior = PreTokenizeStep::Behavior;
constexpr int max_depth = 16;  // of Sequence in Sequence

/// The member, or null where it is absent or null itself.
const Json* member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}
std::string text_of(const Json& object, const char* key, const char* otherwise = "") {
  const Json* value = member(object, key);
  return value ? value->get<std::string>() : otherwise;
}
bool flag_of(const Json& object, const char* key, bool otherwise) {
  const Json* value = member(object, key);
  return value ? value->get<bool>() : otherwise;
}
/// The library would convert any number, also one that does not fit.
std::int64_t integer_of(const Json& value) {
  constexpr std::uint64_t most = std::numeric_limits<std::int64_t>::max();
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() && value.get<std::uint64_t>() > most))
    user_error("tokenizer.json: {} instead of an integer", quote(value.dump()));
  return value.get<std::int64_t>();
}
TokenId id_of(const Json& value) {
  const std::int64_t id = integer_of(value);
  if (id < 0 || id >= (1 << 24)) user_error("tokenizer.json: the token id {} is not possible", id);
  return static_cast<TokenId>(id);
}
[[noreturn]] void unsupported(const char* what, const std::string& type) {
  user_error("tokenizer.json: the {} {} is not supported", what, quote(type));
}

std::string decode_base64(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int digit = c >= 'A' && c <= 'Z'   ? c - 'A'
                      : c >= 'a' && c <= 'z' ? c - 'a' + 26
                      : c >= '0' && c <= '9' ? c - '0' + 52
                      : c == '+'             ? 62
                      : c == '/'             ? 63
                                             : -1;
    if (c == '=') break;
    if (digit < 0) user_error("tokenizer.json: the character map is not base64");
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count & 0xff));
  }
  return out;
}

/// {"String": literal} or {"Regex": expression}, or a bare literal.
std::string regex_of(const Json& pattern) {
  if (pattern.is_string()) return Regex::escape(pattern.get<std::string>());
  if (const Json* literal = member(pattern, "String"))
    return Regex::escape(literal->get<std::string>());
  return pattern.at("Regex").get<std::string>();
}

Behavior behavior_of(const Json& step, const char* otherwise) {
  const std::string name = text_of(step, "behavior", otherwise);
  if (name == "Isolated") return Behavior::isolated;
  if (name == "Removed") return Behavior::removed;
  if (name == "MergedWithPrevious") return Behavior::with_previous;
  if (name == "MergedWithNext") return Behavior::with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  unsupported("behavior", name);
}

class Reader {
 public:
  explicit Reader(const Json& root) : root_(root) {}

  TokenizerSpec read() {
    read_model(root_.at("model"));
    if (const Json* added = member(root_, "added_tokens")) read_added(*added);
    if (const Json* step = member(root_, "normalizer")) read_normalizer(*step, 0);
    if (const Json* step = member(root_, "pre_tokenizer")) read_pre_tokenizer(*step, 0);
    if (const Json* step = member(root_, "post_processor")) read_post_processor(*step, 0);
    if (const Json* step = member(root_, "decoder")) read_decoder(*step, 0);
    if (spec_.byte_fallback)
      for (std::size_t id = 0; id < spec_.tokens.size(); ++id)
        if (byte_of_token(spec_.tokens[id]) >= 0) spec_.kinds[id] = TokenKind::byte;
    return std::move(spec_);
  }

 private:
  void put_token(TokenId id, const std::string& text, std::size_t announced) {
    // Vocabularies may have gaps, but a small file must not ask for a large table.
    if (static_cast<std::size_t>(id) > 4 * announced + 65536)
      user_error("tokenizer.json: token id {} in a vocabulary of {}", id, announced);
    if (static_cast<std::size_t>(id) >= spec_.tokens.size()) {
      spec_.tokens.resize(id + 1);
      spec_.kinds.resize(id + 1, TokenKind::normal);
      if (!spec_.scores.empty()) spec_.scores.resize(id + 1);
    }
    spec_.tokens[id] = text;
  }

  void read_model(const Json& model) {
    const Json& vocabulary = model.at("vocab");
    const std::string type = text_of(model, "type",
                                     vocabulary.is_array()      ? "Unigram"
                                     : model.contains("merges") ? "BPE"
                                                                : "WordPiece");
    spec_.byte_fallback = flag_of(model, "byte_fallback", false);
    if (type == "Unigram") {
      spec_.model = TokenizerSpec::Model::unigram;
      for (const Json& entry : vocabulary) {
        spec_.tokens.push_back(entry.at(0).get<std::string>());
        spec_.scores.push_back(entry.at(1).get<double>());
      }
      spec_.kinds.resize(spec_.tokens.size(), TokenKind::normal);
      spec_.fuse_unknown = true;
      if (const Json* unk = member(model, "unk_id")) {
        spec_.unk = id_of(*unk);
        if (static_cast<std::size_t>(spec_.unk) < spec_.kinds.size())
          spec_.kinds[spec_.unk] = TokenKind::unknown;
      }
      return;
    }
    for (const auto& [text, id] : vocabulary.items()) put_token(id_of(id), text, vocabulary.size());
    if (const Json* unk = member(model, "unk_token"))
      if (const auto found = vocabulary.find(unk->get<std::string>()); found != vocabulary.end())
        spec_.unk = id_of(*found);
    spec_.continuing_prefix = text_of(model, "continuing_subword_prefix");
    if (type == "WordPiece") {
      spec_.model = TokenizerSpec::Model::wordpiece;
      const Json* limit = member(model, "max_input_chars_per_word");
      spec_.max_word_chars = limit ? static_cast<std::size_t>(integer_of(*limit)) : 100;
    } else if (type == "BPE") {
      spec_.word_suffix = text_of(model, "end_of_word_suffix");
      spec_.fuse_unknown = flag_of(model, "fuse_unk", false);
      spec_.ignore_merges = flag_of(model, "ignore_merges", false);
      for (const Json& merge : model.at("merges")) read_merge(merge);
    } else {
      unsupported("model", type);
    }
  }

  void read_merge(const Json& merge) {
    if (merge.is_array()) {
      spec_.merges.push_back({merge.at(0).get<std::string>(), merge.at(1).get<std::string>()});
      return;
    }
    const auto& text = merge.get_ref<const std::string&>();
    const std::size_t space = text.find(' ', 1);
    if (space == std::string::npos)
      user_error("tokenizer.json: merge {}, {}, is not two texts with a space between",
                 spec_.merges.size(), quote(text));
    spec_.merges.push_back({text.substr(0, space), text.substr(space + 1)});
  }

  void read_added(const Json& list) {
    const std::size_t announced = spec_.tokens.size() + list.size();
    for (const Json& entry : list) {
      AddedToken token{id_of(entry.at("id")),
                       entry.at("content").get<std::string>(),
                       flag_of(entry, "special", false),
                       flag_of(entry, "single_word", false),
                       flag_of(entry, "lstrip", false),
                       flag_of(entry, "rstrip", false)};
      put_token(token.id, token.text, announced);
      if (spec_.kinds[token.id] != TokenKind::unknown)
        spec_.kinds[token.id] = token.special ? TokenKind::control : TokenKind::user_defined;
      spec_.added.push_back(std::move(token));
    }
  }

  /// Calls read(step) for the steps of a Sequence; false when it is none.
  template <typename Read>
  static bool in_sequence(const Json& step, const char* list, int depth, Read read) {
    if (depth > max_depth) user_error("tokenizer.json: a Sequence nested {} deep", depth);
    if (text_of(step, "type") != "Sequence") return false;
    for (const Json& inner : step.at(list)) read(inner);
    return true;
  }

  void read_normalizer(const Json& step, int depth) {
    if (in_sequence(step, "normalizers", depth,
                    [&](const Json& inner) { read_normalizer(inner, depth + 1); }))
      return;
    using Kind = NormalizeStep::Kind;
    auto& steps = spec_.normalize;
    const std::string type = text_of(step, "type");
    if (type == "NFC") return steps.push_back({Kind::nfc});
    if (type == "NFD") return steps.push_back({Kind::nfd});
    if (type == "NFKC") return steps.push_back({Kind::nfkc});
    if (type == "NFKD") return steps.push_back({Kind::nfkd});
    if (type == "Lowercase") return steps.push_back({Kind::lower});
    if (type == "StripAccents") return steps.push_back(normalize_replace(R"(\p{Mn}+)", ""));
    if (type == "Prepend") return steps.push_back({Kind::prepend, {}, text_of(step, "prepend")});
    if (type == "ByteLevel") return void(spec_.byte_level = true);
    if (type == "Replace")
      return steps.push_back(
          normalize_replace(regex_of(step.at("pattern")), text_of(step, "content")));
    if (type == "Strip")
      return steps.push_back(
          strip_spaces(flag_of(step, "strip_left", true), flag_of(step, "strip_right", true)));
    if (type == "Precompiled") {
      if (std::string map = decode_base64(text_of(step, "precompiled_charsmap")); !map.empty())
        steps.push_back({Kind::charsmap, {}, std::move(map)});
      return;
    }
    if (type == "Nmt") {
      steps.push_back(normalize_replace(R"([\x01-\x08\x0b\x0e-\x1f\x7f\x{8f}\x{9f}])", ""));
      steps.push_back(normalize_replace(
          R"([\t\n\f\r\x{1680}\x{200b}-\x{200f}\x{2028}\x{2029}\x{2581}\x{feff}\x{fffd}])", " "));
      return;
    }
    if (type == "BertNormalizer") {
      const bool lower = flag_of(step, "lowercase", true);
      for (NormalizeStep& part : bert_normalizer(flag_of(step, "clean_text", true),
                                                 flag_of(step, "handle_chinese_chars", true),
                                                 flag_of(step, "strip_accents", lower), lower))
        steps.push_back(std::move(part));
      return;
    }
    unsupported("normalizer", type);
  }

  void read_pre_tokenizer(const Json& step, int depth) {
    if (in_sequence(step, "pretokenizers", depth,
                    [&](const Json& inner) { read_pre_tokenizer(inner, depth + 1); }))
      return;
    auto& steps = spec_.pre_tokenize;
    const auto add_all = [&](std::vector<PreTokenizeStep> more) {
      for (PreTokenizeStep& one : more) steps.push_back(std::move(one));
    };
    const std::string type = text_of(step, "type");
    if (type == "ByteLevel") {
      spec_.byte_level = true;
      if (flag_of(step, "add_prefix_space", true))
        steps.push_back({PreTokenizeStep::Kind::prefix_space});
      if (flag_of(step, "use_regex", true)) add_all(gpt2_pre_tokenizer());
    } else if (type == "Metaspace") {
      steps.push_back(metaspace(step));
    } else if (type == "Whitespace") {
      steps.push_back(
          split_step(R"([\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}]+|[^\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\s]+)",
                     Behavior::removed, true));
    } else if (type == "WhitespaceSplit") {
      steps.push_back(split_step(R"(\s+)", Behavior::removed));
    } else if (type == "BertPreTokenizer") {
      add_all(bert_pre_tokenizer());
    } else if (type == "Punctuation") {
      steps.push_back(split_step(std::string(punctuation_class), behavior_of(step, "Isolated")));
    } else if (type == "Digits") {
      steps.push_back(split_step(R"(\p{N})", flag_of(step, "individual_digits", false)
                                                 ? Behavior::isolated
                                                 : Behavior::contiguous));
    } else if (type == "CharDelimiterSplit") {
      steps.push_back(
          split_step(Regex::escape(step.at("delimiter").get<std::string>()), Behavior::removed));
    } else if (type == "Split") {
      steps.push_back(split(step));
    } else {
      unsupported("pre-tokenizer", type);
    }
  }

  static PreTokenizeStep split(const Json& step) {
    std::string regex = regex_of(step.at("pattern"));
    // Two expressions of known models that would take quadratic time; the same cuts in linear time.
    if (regex == R"(\d{1,3}(?=(?:\d{3})*\b))")
      return {PreTokenizeStep::Kind::digit_groups, R"(\d++(?![\p{L}\p{M}\p{Nl}\p{Pc}]))"};
    if (regex == R"(\s+$)") regex = R"((?<!\s)\s++\z)";
    return split_step(std::move(regex), behavior_of(step, "Isolated"),
                      flag_of(step, "invert", false));
  }

  static PreTokenizeStep metaspace(const Json& step) {
    if (const std::string marker = text_of(step, "replacement", "\u2581"); marker != "\u2581")
      unsupported("Metaspace replacement", marker);
    using Prepend = PreTokenizeStep::Prepend;
    PreTokenizeStep out{PreTokenizeStep::Kind::metaspace};
    const std::string scheme = text_of(step, "prepend_scheme", "always");
    out.prepend = scheme == "never" || !flag_of(step, "add_prefix_space", true) ? Prepend::never
                  : scheme == "first"                                           ? Prepend::first
                                                                                : Prepend::always;
    out.cut = flag_of(step, "split", true);
    return out;
  }

  void read_post_processor(const Json& step, int depth) {
    if (in_sequence(step, "processors", depth,
                    [&](const Json& inner) { read_post_processor(inner, depth + 1); }))
      return;
    const std::string type = text_of(step, "type");
    if (type == "ByteLevel") return;
    if (type == "RobertaProcessing" || type == "BertProcessing") {
      spec_.prefix = {id_of(step.at("cls").at(1))};
      spec_.suffix = {id_of(step.at("sep").at(1))};
    } else if (type == "TemplateProcessing") {
      spec_.prefix.clear();
      spec_.suffix.clear();
      std::vector<TokenId>* side = &spec_.prefix;
      for (const Json& part : step.at("single")) {
        if (part.contains("Sequence")) {
          side = &spec_.suffix;
          continue;
        }
        const auto name = part.at("SpecialToken").at("id").get<std::string>();
        for (const Json& id : step.at("special_tokens").at(name).at("ids"))
          side->push_back(id_of(id));
      }
    } else {
      unsupported("post-processor", type);
    }
  }

  void read_decoder(const Json& step, int depth) {
    if (in_sequence(step, "decoders", depth,
                    [&](const Json& inner) { read_decoder(inner, depth + 1); }))
      return;
    const std::string type = text_of(step, "type");
    if (type == "ByteLevel") {
      spec_.byte_level = true;
    } else if (type == "Metaspace") {
      spec_.space_marker = true;
      spec_.strip_leading_space = metaspace(step).prepend != PreTokenizeStep::Prepend::never;
    } else if (type == "WordPiece") {
      spec_.words_apart = true;
      spec_.continuing_prefix = text_of(step, "prefix", "##");
      spec_.clean_up_spaces = flag_of(step, "cleanup", true);
    } else if (type == "BPEDecoder") {
      spec_.word_suffix = text_of(step, "suffix", "</w>");
    } else if (type == "Replace" && text_of(step, "content") == " " &&
               regex_of(step.at("pattern")) == "\u2581") {
      spec_.space_marker = true;
    } else if (type == "Strip" && text_of(step, "content") == " ") {
      spec_.strip_leading_space = integer_of(step.at("start")) > 0;
    } else if (type != "ByteFallback" && type != "Fuse") {
      spec_.warnings.push_back("tokenizer.json: the decoder " + quote(type) + " is left out");
    }
  }

  const Json& root_;
  TokenizerSpec spec_;
};

}  // namespace

TokenizerSpec tokenizer_spec_from_json(std::string_view text) {
  try {
    return Reader(Json::parse(text)).read();
  } catch (const Json::exception& error) {
    // The library's messages can quote the file.
    user_error("tokenizer.json: {}", quote(error.what()));
  }
}

}  // namespace brisk
