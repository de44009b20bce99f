// tokenizer.model of SentencePiece → TokenizerSpec. The file is a protobuf message, ModelProto:
//   1 pieces (repeated: 1 text, 2 score as float, 3 type: the numbers of TokenKind)
//   2 trainer_spec (3 model type: 1 unigram, 2 BPE; 35 byte fallback; 40 unk, 41 bos, 42 eos, 43
//   pad) 3 normalizer_spec (2 character map; 3 add a space in front; 4 fold spaces; 5 mark spaces)
#include "llm/tokenizer_load.h"

#include "base/error.h"
#include "llm/tokenizer_steps.h"

#include <bit>
#include <optional>

namespace brisk {

namespace {

struct Field {
  std::uint64_t number = 0;
  std::uint64_t value = 0;  // varint and fixed types
  std::string_view bytes;   // length-delimited
};

/// The fields of a protobuf message, one after the other.
class Message {
 public:
  explicit Message(std::string_view bytes) : bytes_(bytes) {}

  std::optional<Field> next() {
    if (bytes_.empty()) return std::nullopt;
    const std::uint64_t tag = varint();
    Field field{tag >> 3, 0, {}};
    switch (tag & 7) {
      case 0: field.value = varint(); break;
      case 1: field.value = fixed(8); break;
      case 2: field.bytes = take(varint()); break;
      case 5: field.value = fixed(4); break;
      default: user_error("SentencePiece model: wire type {} is not possible", tag & 7);
    }
    return field;
  }

 private:
  std::string_view take(std::uint64_t size) {
    if (size > bytes_.size()) user_error("SentencePiece model: the file ends inside a field");
    const std::string_view out = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return out;
  }
  std::uint64_t fixed(int size) {
    std::uint64_t value = 0;
    const std::string_view bytes = take(size);
    for (int i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= std::uint64_t(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    user_error("SentencePiece model: a number of more than 64 bits");
  }

  std::string_view bytes_;
};

void read_piece(std::string_view bytes, TokenizerSpec& spec) {
  spec.tokens.emplace_back();
  spec.scores.push_back(0);
  spec.kinds.push_back(TokenKind::normal);
  for (Message message(bytes); const auto field = message.next();) {
    if (field->number == 1) spec.tokens.back() = field->bytes;
    if (field->number == 2)
      spec.scores.back() = std::bit_cast<float>(static_cast<std::uint32_t>(field->value));
    if (field->number == 3 && field->value >= 1 && field->value <= 6)
      spec.kinds.back() = static_cast<TokenKind>(field->value);
  }
}

}  // namespace

TokenizerSpec tokenizer_spec_from_sentencepiece(std::string_view bytes) {
  TokenizerSpec spec;
  std::uint64_t model = 1;
  std::int64_t unk = 0, bos = 1, eos = 2, pad = -1;
  std::string charsmap;
  bool prefix = true, fold = true, mark = true;
  for (Message message(bytes); const auto field = message.next();) {
    if (field->number == 1) read_piece(field->bytes, spec);
    if (field->number == 2) {
      for (Message trainer(field->bytes); const auto entry = trainer.next();) {
        // Negative numbers are 64-bit varints.
        const auto id = static_cast<std::int64_t>(entry->value);
        if (entry->number == 3) model = entry->value;
        if (entry->number == 35) spec.byte_fallback = entry->value != 0;
        if (entry->number == 40) unk = id;
        if (entry->number == 41) bos = id;
        if (entry->number == 42) eos = id;
        if (entry->number == 43) pad = id;
      }
    }
    if (field->number == 3) {
      for (Message normalizer(field->bytes); const auto entry = normalizer.next();) {
        if (entry->number == 2) charsmap = entry->bytes;
        if (entry->number == 3) prefix = entry->value != 0;
        if (entry->number == 4) fold = entry->value != 0;
        if (entry->number == 5) mark = entry->value != 0;
      }
    }
  }
  if (model != 1 && model != 2)
    user_error("SentencePiece model: type {}; brisk knows unigram (1) and BPE (2)", model);
  if (!mark) user_error("SentencePiece model: one without marked spaces is not supported");
  const auto inside = [&](std::int64_t id) {
    return id >= 0 && id < static_cast<std::int64_t>(spec.tokens.size()) ? static_cast<TokenId>(id)
                                                                         : no_token;
  };
  spec.unk = inside(unk);
  spec.bos = inside(bos);
  spec.eos = inside(eos);
  spec.pad = inside(pad);
  spec.model = model == 1 ? TokenizerSpec::Model::unigram : TokenizerSpec::Model::merge_by_score;
  spec.fuse_unknown = spec.space_marker = true;
  spec.strip_leading_space = prefix;
  spec.normalize = sentencepiece_normalizer(std::move(charsmap), fold, prefix);
  add_tokens_by_kind(spec);
  return spec;
}

}  // namespace brisk
