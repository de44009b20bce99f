// tokenizer.ggml.* of a GGUF file → TokenizerSpec. Defaults of absent keys are those that writers
// of the format rely on (llama.cpp's).
#include "llm/tokenizer_load.h"

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/quote.h"
#include "llm/tokenizer_steps.h"
#include "llm/unicode.h"

#include <utility>

namespace brisk {

namespace {

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) {}

  TokenizerSpec read() {
    const std::string_view model = file_.get("tokenizer.ggml.model").string();
    read_vocabulary();
    if (model == "llama")
      read_llama();
    else if (model == "gpt2" || model == "gemma4")
      read_gpt2(model == "gemma4" ? "gemma4" : text("pre"));
    else if (model == "bert")
      read_bert();
    else if (model == "t5")
      read_t5();
    else
      user_error("{}: brisk knows the tokenizers llama, gpt2, bert, t5 and gemma4, not {}",
                 file_.name(), quote(model));
    spec_.pad = id("padding", spec_.pad);
    spec_.eot = id("eot", no_token);
    if (const TokenId eom = id("eom", no_token); eom != no_token)
      spec_.end_of_generation.push_back(eom);
    add_tokens_by_kind(spec_);
    strip_after_special_tokens_of_phi3();
    return std::move(spec_);
  }

 private:
  const GgufValue* find(std::string_view key) const {
    return file_.find("tokenizer.ggml." + std::string(key));
  }
  std::string_view text(std::string_view key) const {
    const GgufValue* value = find(key);
    return value ? value->string() : std::string_view();
  }
  bool flag(std::string_view key, bool otherwise) const {
    const GgufValue* value = find(key);
    return value ? value->boolean() : otherwise;
  }
  /// tokenizer.ggml.NAME_token_id; an id outside the vocabulary (often -1) is none.
  TokenId id(std::string_view name, TokenId otherwise) {
    const auto inside = [&](std::int64_t i) {
      return i >= 0 && i < static_cast<std::int64_t>(spec_.tokens.size());
    };
    if (const GgufValue* value = find(std::string(name) + "_token_id")) {
      const std::int64_t given = value->integer();
      if (inside(given)) return static_cast<TokenId>(given);
      if (given != -1 && given != 0xffffffff)
        spec_.warnings.push_back(fmt::format("the {} token {} is outside the vocabulary of {}",
                                             name, given, spec_.tokens.size()));
      return no_token;
    }
    return inside(otherwise) ? otherwise : no_token;
  }
  void surround(bool before, TokenId first, bool after, TokenId last) {
    if (before && first != no_token) spec_.prefix.push_back(first);
    if (after && last != no_token) spec_.suffix.push_back(last);
  }

  void read_vocabulary() {
    for (const std::string_view token : file_.get("tokenizer.ggml.tokens").strings())
      spec_.tokens.emplace_back(token);
    if (const GgufValue* scores = find("scores"))
      for (const float score : scores->floats()) spec_.scores.push_back(score);
    if (const GgufValue* kinds = find("token_type")) {
      for (const std::int64_t kind : kinds->integers())
        spec_.kinds.push_back(kind >= 1 && kind <= 6 ? static_cast<TokenKind>(kind)
                                                     : TokenKind::normal);
    }
  }

  /// Phi-3 was trained so; the format has no key for it, and everyone goes by the model's name.
  void strip_after_special_tokens_of_phi3() {
    const GgufValue* value = file_.find("general.name");
    if (!value) return;
    const std::string name = unicode_lower(value->string());
    if (name.find("phi-3") == std::string::npos && name.find("phi3") == std::string::npos) return;
    for (AddedToken& token : spec_.added)
      token.strip_right =
          token.text != "<unk>" && token.text != "<s>" && token.text != "<|endoftext|>";
  }

  void read_llama() {
    spec_.model = TokenizerSpec::Model::merge_by_score;
    spec_.bos = id("bos", 1);
    spec_.eos = id("eos", 2);
    spec_.unk = id("unknown", 0);
    spec_.byte_fallback = spec_.fuse_unknown = spec_.space_marker = true;
    spec_.strip_leading_space = flag("add_space_prefix", true);
    spec_.normalize = sentencepiece_normalizer("", flag("remove_extra_whitespaces", false),
                                               spec_.strip_leading_space);
    surround(flag("add_bos_token", true), spec_.bos, flag("add_eos_token", false), spec_.eos);
  }

  void read_gpt2(std::string_view pre) {
    NamedPreTokenizer named = named_pre_tokenizer(pre);
    spec_.pre_name = pre;
    if (!named.known)
      spec_.warnings.push_back(
          pre.empty()
              ? "the file does not name its pre-tokenizer (tokenizer.ggml.pre); the default "
                "one may cut text otherwise than the model was trained"
              : fmt::format("the pre-tokenizer {} is not known; the default one may cut text "
                            "otherwise than the model was trained",
                            quote(pre)));
    spec_.pre_tokenize = std::move(named.steps);
    spec_.ignore_merges = named.ignore_merges;
    spec_.byte_level = named.byte_level;
    if (!named.byte_level) {
      spec_.byte_fallback = spec_.space_marker = true;
      spec_.normalize = sentencepiece_normalizer("", false, false);
    }
    spec_.bos = id("bos", no_token);
    spec_.eos = id("eos", no_token);
    spec_.unk = id("unknown", no_token);
    read_merges();
    const bool bos = flag("add_bos_token", named.add_bos);
    const bool eos = flag("add_eos_token", false);
    const TokenId separator = id("seperator", spec_.eos);  // the key is spelled so
    surround(bos, spec_.bos, eos, spec_.eos);
    surround(false, no_token, !eos && flag("add_sep_token", named.add_separator), separator);
  }

  void read_merges() {
    const GgufValue* merges = find("merges");
    if (!merges) {
      // Kimi-K2's vocabulary is in tiktoken's order: the pair that gives the lowest id merges
      // first.
      if (spec_.pre_name != "kimi-k2")
        user_error("{}: a gpt2 tokenizer needs tokenizer.ggml.merges", file_.name());
      spec_.model = TokenizerSpec::Model::merge_by_score;
      spec_.scores.resize(spec_.tokens.size());
      for (std::size_t i = 0; i < spec_.scores.size(); ++i)
        spec_.scores[i] = -static_cast<double>(i);
      return;
    }
    for (const std::string_view merge : merges->strings()) {
      const std::size_t space = merge.find(' ', 1);
      if (space == std::string_view::npos)
        user_error(
            "{}: merge {} of tokenizer.ggml.merges, {}, is not two texts with a space between",
            file_.name(), spec_.merges.size(), quote(merge));
      spec_.merges.push_back(
          {std::string(merge.substr(0, space)), std::string(merge.substr(space + 1))});
    }
  }

  void read_bert() {
    spec_.model = TokenizerSpec::Model::wordpiece;
    spec_.word_prefix = "\u2581";
    spec_.unk = id("unknown", 100);
    spec_.pad = id("padding", 0);
    spec_.bos = id("cls", id("bos", 101));
    spec_.eos = id("seperator", 102);
    const bool lower = flag("normalizer.lowercase", true);
    spec_.normalize = bert_normalizer(true, true, flag("normalizer.strip_accents", lower), lower);
    spec_.pre_tokenize = bert_pre_tokenizer();
    spec_.space_marker = spec_.strip_leading_space = spec_.clean_up_spaces = true;
    surround(flag("add_bos_token", true), spec_.bos, flag("add_sep_token", true), spec_.eos);
  }

  void read_t5() {
    spec_.model = TokenizerSpec::Model::unigram;
    spec_.bos = id("bos", no_token);
    spec_.eos = id("eos", 1);
    spec_.unk = id("unknown", 2);
    spec_.pad = id("padding", 0);
    spec_.fuse_unknown = spec_.space_marker = true;
    std::string charsmap;
    if (const GgufValue* map = find("precompiled_charsmap"))
      for (const std::int64_t byte : map->integers()) charsmap.push_back(static_cast<char>(byte));
    spec_.strip_leading_space = flag("add_space_prefix", false);
    spec_.normalize = sentencepiece_normalizer(
        std::move(charsmap), flag("remove_extra_whitespaces", false), spec_.strip_leading_space);
    surround(flag("add_bos_token", false), spec_.bos, flag("add_eos_token", true), spec_.eos);
  }

  const GgufFile& file_;
  TokenizerSpec spec_;
};

}  // namespace

TokenizerSpec tokenizer_spec_from_gguf(const GgufFile& file) { return Reader(file).read(); }

}  // namespace brisk
