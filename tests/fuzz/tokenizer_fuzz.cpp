// Fuzzes the tokenizers: any file must be refused in one line or give a tokenizer that takes any
// text. Input: byte 0 chooses the reader, byte 1 how many bytes at the end are the text; what lies
// between is the vocabulary's file.
#include "base/error.h"
#include "formats/gguf.h"
#include "llm/tokenizer.h"
#include "llm/tokenizer_load.h"
#include "llm/tokenizer_model.h"
#include "llm/tokenizer_steps.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

namespace {

using namespace brisk;

void require(bool holds) {
  if (!holds) std::abort();
}

/// A byte-level vocabulary whose merges come from the input, two bytes each.
TokenizerSpec byte_level_spec(std::string_view merges) {
  TokenizerSpec spec;
  const auto spelled = [](char c) { return bytes_to_alphabet(std::string(1, c)); };
  for (int byte = 0; byte < 256; ++byte) spec.tokens.push_back(spelled(static_cast<char>(byte)));
  for (std::size_t i = 0; i + 1 < merges.size(); i += 2) {
    spec.merges.push_back({spelled(merges[i]), spelled(merges[i + 1])});
    spec.tokens.push_back(spec.merges.back().left + spec.merges.back().right);
  }
  spec.byte_level = true;
  spec.pre_tokenize = named_pre_tokenizer(merges.size() % 2 ? "llama-bpe" : "deepseek-llm").steps;
  return spec;
}

TokenizerSpec read(int reader, std::string_view file) {
  switch (reader) {
    case 0: return tokenizer_spec_from_json(file);
    case 1: return tokenizer_spec_from_sentencepiece(file);
    case 2:
      return tokenizer_spec_from_gguf(
          GgufFile::parse(std::as_bytes(std::span(file.data(), file.size())), "fuzz.gguf"));
    default: return byte_level_spec(file);
  }
}

void use(const Tokenizer& tokenizer, std::string_view text, bool lossless) {
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode(text, special, special);
    std::string bytes, streamed;
    StreamDecoder stream(tokenizer, false, true);
    for (const TokenId id : ids) {
      require(id >= 0 && id < tokenizer.size());
      bytes += tokenizer.piece(id);
      streamed += stream.push(id);
    }
    streamed += stream.finish();
    const std::string decoded = tokenizer.decode(ids);
    require(tokenizer.spec().clean_up_spaces || streamed == decoded);
    require(!lossless || bytes == text);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::string_view file =
      rest.substr(0, rest.size() - std::min<std::size_t>(data[1], rest.size()));
  const int reader = data[0] % 4;
  try {
    use(Tokenizer(read(reader, file)), rest.substr(file.size()), reader == 3);
  } catch (const UserError& error) {
    require(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
