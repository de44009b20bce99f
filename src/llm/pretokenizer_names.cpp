// The table behind tokenizer.ggml.pre: which patterns a byte-level BPE model was trained with. The
// expressions are those of the models' own tokenizer files, with the same matches but written so
// that no input makes them take quadratic time; several patterns mean one cut after the other.
#include "llm/pretokenizer.h"

namespace brisk {

namespace {

using Kind = PreTokenizeStep::Kind;

struct Row {
  const char* names;  // between spaces
  std::vector<PreTokenizeStep> steps;
  bool ignore_merges = false, add_bos = false, add_separator = false, byte_level = true;
};

PreTokenizeStep split(std::string pattern) { return {Kind::split, std::move(pattern)}; }
PreTokenizeStep groups_of_three(std::string run) { return {Kind::digit_groups, std::move(run)}; }

std::vector<Row> make_rows() {
  using std::string;
  const string contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  const string spaces = R"(\s+(?!\S)|\s+)";
  const string lines = R"(\s*[\r\n]+|)" + spaces;
  const string word = R"([^\r\n\p{L}\p{N}]?\p{L}+)";
  const string symbols = R"( ?[^\s\p{L}\p{N}]+[\r\n]*)";
  const string symbols_slash = R"( ?[^\s\p{L}\p{N}]+[\r\n/]*)";

  const string gpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|)" + spaces;
  // The family of cl100k; digits one by one or up to three together.
  const auto cl100k = [&](const string& digits) {
    return contraction + "|" + word + "|" + digits + "|" + symbols + "|" + lines;
  };
  // The family of o200k: words change from upper to lower case at most once.
  const string upper = R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])", lower = R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])";
  const auto cased_words = [&](const string& up, const string& low, const string& tail) {
    const string lead = R"([^\r\n\p{L}\p{N}]?)";
    return lead + up + "*" + low + "+" + tail + "|" + lead + up + "+" + low + "*" + tail;
  };
  const auto o200k = [&](const string& tail, const string& digits) {
    return cased_words(upper, lower, tail) + "|" + digits + "|" + symbols_slash + "|" + lines;
  };
  const string three_digits = R"(\p{N}{1,3})", digit = R"(\p{N})";
  const string ascii_symbol_word = R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|)";
  const string deepseek_words =
      ascii_symbol_word + R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)" + lines;
  const string han_and_kana = "[一-龥\u3040-\u309f\u30a0-\u30ff]+";
  const string han_and_hangul = "[一-龥\u0800-一\uac00-\ud7ff]+";
  const string cased_letters =
      R"([A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293})"
      R"(\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386})"
      R"(\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f})"
      R"(\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba})"
      R"(\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a})"
      R"(\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d})"
      R"(\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4})"
      R"(\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3})"
      R"(\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107})"
      R"(\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d})"
      R"(\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184})"
      R"(\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d})"
      R"(\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e})"
      R"(\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a})"
      R"(\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb})"
      R"(\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+)";
  const string not_punctuation = R"( ?[^(\s|.,!?…。，、।۔،)]+)";
  const string not_han = R"((?!\p{Han}))";
  const string newlines_apart = R"([^\n]+|[\n]+)";

  return {
      {"gpt-2 gpt2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum modern-bert "
       "mpt olmo jais trillion granite-docling exaone4",
       {split(gpt2)}},
      {"jina-v1-en jina-v2-code roberta-bpe", {split(gpt2)}, false, false, true},
      {"starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
       {split(digit), split(gpt2)}},
      {"falcon", {split(R"([\p{P}\$\+<=>\^~\|`]+)"), split(gpt2), split("[0-9][0-9][0-9]")}},
      {"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
       {split(cl100k(three_digits))},
       true,
       true},
      {"dbrx smaug-bpe glm4 chatglm-bpe cl100k", {split(cl100k(three_digits))}},
      {"minicpm5", {split(three_digits), split(cl100k(R"(\p{N}+)"))}, true},
      {"jais-2",
       {split(contraction + "|" + word + "|" + three_digits + "|" + symbols +
              R"(|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S))"
              R"(|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s)")}},
      {"qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2",
       {split(cl100k(digit))}},
      {"laguna", {split(newlines_apart), split(cl100k(digit))}},
      {"ufakzeka", {split(word + "|" + digit + "|" + symbols + "|" + lines)}},
      {"qwen35",
       {split(contraction +
              R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|)"
              R"( ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" +
              lines)}},
      {"bailingmoe bailingmoe2 llada-moe",
       {split(R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|)"
              R"(\s*[\r\n]|)" +
              spaces)}},
      {"seed-coder",
       {split(contraction + "|" + word + R"(|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|)" + lines)}},
      {"exaone-moe",
       {split(contraction +
              R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*+(?: \p{L}\p{M}*+)*+)++|\p{N}|)"
              R"( ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|)" +
              spaces)}},
      {"tekken", {split(o200k("", digit))}, true, true},
      {"gpt-4o o200k llama4 kanana2 talkie minimax-m2",
       {split(o200k(contraction + "?", three_digits))}},
      {"granite-embed-multi-97m", {split(o200k(contraction + "?", three_digits))}, true},
      {"tiny_aya cohere2moe",
       {groups_of_three(R"(\d++(?![\p{L}\p{M}\p{Nl}\p{Pc}]))"),
        split(o200k(contraction + "?", three_digits))}},
      {"youtu",
       {split("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" +
              han_and_kana),
        split(o200k(contraction + "?", digit))},
       true},
      {"kimi-k2",
       {split(R"([\p{Han}]+|)" +
              cased_words("(?:" + not_han + upper + ")", "(?:" + not_han + lower + ")",
                          contraction + "?") +
              "|" + three_digits + "|" + symbols + "|" + lines)}},
      {"deepseek-llm",
       {split(R"([\r\n])"), split(R"(\s?)" + cased_letters),
        split("\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+"), split(R"((?<!\s)\s++\z)"),
        split(han_and_hangul), split(R"(\p{N}+)")}},
      {"deepseek-coder",
       {split(R"([\r\n])"), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"), split(han_and_hangul),
        split(digit)}},
      {"deepseek-v3 hunyuan-dense joyai-llm hy_v4",
       {split(three_digits), split(han_and_kana), split(deepseek_words)}},
      {"spark2_5",
       {split(three_digits), split(han_and_kana),
        split(ascii_symbol_word +
              R"([^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|)" + spaces),
        split(digit)}},
      {"afmoe",
       {groups_of_three(R"(\p{Nd}++)"),
        split("[一-\u9fff㐀-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf"
              "\u0e00-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff"
              "\uac00-\ud7af\u1100-\u11ff]+"),
        split(deepseek_words)}},
      {"superbpe", {split(R"(\p{N}+)"), groups_of_three(R"(\d++)")}},
      {"poro-chat bloom gpt3-finnish", {split(not_punctuation)}},
      {"viking", {split(not_punctuation), split(digit)}},
      {"chameleon",
       {split("<sentinel:[0-9]+>"), split("IMGIMG[A-I]{1,4}Z"), split(R"([\t\n]|    |  )"),
        split(digit), split(R"([\p{P}!-/:-@\[-`{-~])"), split(gpt2)},
       false,
       true},
      {"gemma4 granite-embed-multi-311m", {split(newlines_apart)}, false, true, false, false},
      {"sarvam-moe", {split(newlines_apart)}, false, false, false, false},
      // What converters write when they do not know the model, and our answer to an unknown name.
      {"default",
       {split(R"([\p{P}\$\+<=>\^~\|]+)"), split(gpt2), split(R"(\p{N}+)"),
        split("[0-9][0-9][0-9]")}},
  };
}

}  // namespace

NamedPreTokenizer named_pre_tokenizer(std::string_view name) {
  std::vector<Row> rows = make_rows();
  const auto has_name = [&](const Row& row) {
    const std::string names = std::string(" ") + row.names + " ";
    return name.find(' ') == std::string_view::npos && !name.empty() &&
           names.find(" " + std::string(name) + " ") != std::string::npos;
  };
  for (Row& row : rows)
    if (has_name(row))
      return {true,        std::move(row.steps), row.ignore_merges,
              row.add_bos, row.add_separator,    row.byte_level};
  return {false, std::move(rows.back().steps)};
}

}  // namespace brisk
