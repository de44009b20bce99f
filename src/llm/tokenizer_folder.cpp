// A Hugging Face folder → TokenizerSpec: finds the vocabulary's file and adds what the
// configuration files beside it say about special tokens.
#include "llm/tokenizer_load.h"

#include "base/error.h"
#include "formats/mapped_file.h"
#include "formats/quote.h"
#include "llm/tokenizer_steps.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace brisk {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// The file's object; an empty one when there is no such file.
Json read_json(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  const MappedFile file = MappedFile::open(path);
  Json json = Json::parse(text_of(file), nullptr, false);
  if (!json.is_object()) user_error("{}: not a JSON object", path.string());
  return json;
}

template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    visit(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

TokenId find_token(const TokenizerSpec& spec, std::string_view text) {
  const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), text);
  return found == spec.tokens.end() ? no_token : static_cast<TokenId>(found - spec.tokens.begin());
}

void make_special(TokenizerSpec& spec, TokenId id) {
  if (id == no_token || spec.kinds[id] != TokenKind::normal) return;
  spec.kinds[id] = TokenKind::control;
  spec.added.push_back({id, spec.tokens[id], true});
}

TokenizerSpec read_gpt2(const fs::path& folder) {
  const Json vocabulary = read_json(folder / "vocab.json");
  TokenizerSpec spec;
  spec.tokens.resize(vocabulary.size());
  for (const auto& [text, id] : vocabulary.items()) {
    const auto index = id.is_number_integer() ? id.get<std::int64_t>() : -1;
    if (index < 0 || index >= static_cast<std::int64_t>(spec.tokens.size()))
      user_error("{}: token {} has no id below {}", (folder / "vocab.json").string(), quote(text),
                 spec.tokens.size());
    spec.tokens[index] = text;
  }
  spec.kinds.resize(spec.tokens.size(), TokenKind::normal);
  const MappedFile merges = MappedFile::open(folder / "merges.txt");
  for_each_line(text_of(merges), [&](std::string_view line) {
    const std::size_t space = line.find(' ');
    if (line.empty() || line.starts_with("#version")) return;
    if (space == std::string_view::npos)
      user_error("{}: {} is not a merge", merges.path(), quote(line));
    spec.merges.push_back(
        {std::string(line.substr(0, space)), std::string(line.substr(space + 1))});
  });
  spec.byte_level = true;
  spec.pre_tokenize = gpt2_pre_tokenizer();
  spec.bos = spec.eos = find_token(spec, "<|endoftext|>");
  make_special(spec, spec.eos);
  return spec;
}

TokenizerSpec read_bert(const fs::path& folder, const Json& config) {
  TokenizerSpec spec;
  const MappedFile file = MappedFile::open(folder / "vocab.txt");
  for_each_line(text_of(file), [&](std::string_view line) { spec.tokens.emplace_back(line); });
  spec.kinds.resize(spec.tokens.size(), TokenKind::normal);
  spec.model = TokenizerSpec::Model::wordpiece;
  spec.continuing_prefix = "##";
  spec.max_word_chars = 100;
  const bool lower = config.value("do_lower_case", true);
  spec.normalize = bert_normalizer(true, true, lower, lower);
  spec.pre_tokenize = bert_pre_tokenizer();
  spec.words_apart = spec.clean_up_spaces = true;
  for (const char* name : {"[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"})
    make_special(spec, find_token(spec, name));
  spec.unk = find_token(spec, "[UNK]");
  spec.pad = find_token(spec, "[PAD]");
  for (const TokenId id : {find_token(spec, "[CLS]")})
    if (id != no_token) spec.prefix.push_back(id);
  for (const TokenId id : {find_token(spec, "[SEP]")})
    if (id != no_token) spec.suffix.push_back(id);
  return spec;
}

TokenizerSpec read_vocabulary(const fs::path& folder, const Json& config) {
  const auto has = [&](const char* name) { return fs::exists(folder / name); };
  if (has("tokenizer.json"))
    return tokenizer_spec_from_json(text_of(MappedFile::open(folder / "tokenizer.json")));
  if (has("tokenizer.model")) {
    TokenizerSpec spec =
        tokenizer_spec_from_sentencepiece(text_of(MappedFile::open(folder / "tokenizer.model")));
    const bool bpe = spec.model == TokenizerSpec::Model::merge_by_score;
    if (config.value("add_bos_token", bpe) && spec.bos != no_token) spec.prefix = {spec.bos};
    if (config.value("add_eos_token", !bpe) && spec.eos != no_token) spec.suffix = {spec.eos};
    return spec;
  }
  if (has("vocab.json") && has("merges.txt")) return read_gpt2(folder);
  if (has("vocab.txt")) return read_bert(folder, config);
  user_error("{}: no tokenizer.json, tokenizer.model, vocab.json with merges.txt, or vocab.txt",
             folder.string());
}

/// "bos_token": "<s>" or {"content": "<s>"}; absent or unknown: unchanged.
void read_special(const Json& config, const char* key, const TokenizerSpec& spec, TokenId& id) {
  const auto entry = config.find(key);
  if (entry == config.end() || entry->is_null()) return;
  const std::string text =
      entry->is_object() ? entry->value("content", "") : entry->get<std::string>();
  for (const AddedToken& token : spec.added)
    if (token.text == text) return void(id = token.id);
  if (const TokenId found = find_token(spec, text); found != no_token && !text.empty()) id = found;
}

}  // namespace

TokenizerSpec tokenizer_spec_from_folder(const fs::path& folder) {
  try {
    const Json config = read_json(folder / "tokenizer_config.json");
    TokenizerSpec spec = read_vocabulary(folder, config);
    for (const Json& source : {read_json(folder / "special_tokens_map.json"), config}) {
      read_special(source, "bos_token", spec, spec.bos);
      read_special(source, "eos_token", spec, spec.eos);
      read_special(source, "unk_token", spec, spec.unk);
      read_special(source, "pad_token", spec, spec.pad);
    }
    if (const auto clean = config.find("clean_up_tokenization_spaces");
        clean != config.end() && clean->is_boolean())
      spec.clean_up_spaces = clean->get<bool>();
    const Json generation = read_json(folder / "generation_config.json");
    if (const auto ids = generation.find("eos_token_id"); ids != generation.end()) {
      for (const Json& id : ids->is_array() ? *ids : Json::array({*ids})) {
        if (!id.is_number_integer()) continue;
        const auto value = id.get<std::int64_t>();
        if (value >= 0 && value < static_cast<std::int64_t>(spec.tokens.size()))
          spec.end_of_generation.push_back(static_cast<TokenId>(value));
      }
    }
    return spec;
  } catch (const Json::exception& error) {
    user_error("{}: {}", folder.string(), quote(error.what()));
  } catch (const fs::filesystem_error& error) {
    user_error("{}: {}", folder.string(), error.code().message());
  }
}

}  // namespace brisk
