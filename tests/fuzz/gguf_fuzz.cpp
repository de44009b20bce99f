// Any bytes as a GGUF file: they are refused with a UserError of one line, or everything in them
// can be read and what the writer makes of it reads the same.
#include "base/error.h"
#include "formats/gguf.h"

#include <algorithm>
#include <string_view>

namespace {

using namespace brisk;

void read_value(const GgufValue& value) {
  switch (value.type()) {
    case GgufType::string: value.string(); break;
    case GgufType::array:
      check(value.values().size() == value.size(), "an array has as many values as it says");
      for (const GgufValue& element : value.values()) read_value(element);
      break;
    case GgufType::boolean: value.boolean(); break;
    default: value.number();
  }
}

void decode_start(const GgufTensor& tensor) {
  const BlockInfo& info = block_info(tensor.type);
  check(tensor.bytes.size() % static_cast<std::uint64_t>(info.bytes) == 0, "whole blocks");
  check(tensor.bytes.size() > 0, "a tensor has bytes");
  float values[256];
  decode_block_row(tensor.type, tensor.bytes.data(), values, info.values);
  decode_block_row(tensor.type, tensor.bytes.last(static_cast<std::size_t>(info.bytes)).data(),
                   values, info.values);
}

void read_all(const GgufFile& file) {
  GgufWriter writer;
  for (const GgufEntry& entry : file.metadata()) {
    read_value(entry.value);
    check(file.find(entry.key) == &entry.value, "each entry is found by its key");
    if (entry.key != "general.alignment") writer.add(entry.key, entry.value);
  }
  for (const GgufTensor& tensor : file.tensors()) {
    decode_start(tensor);
    check(file.find_tensor(tensor.name) == &tensor, "each tensor is found by its name");
    writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.bytes);
  }
  const auto bytes = writer.bytes();
  const GgufFile copy = GgufFile::parse(bytes, "copy");
  check(copy.tensors().size() == file.tensors().size(), "a copy has the same tensors");
  for (std::size_t i = 0; i < copy.tensors().size(); ++i) {
    check(std::ranges::equal(copy.tensors()[i].bytes, file.tensors()[i].bytes), "and their bytes");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const GgufFile file = GgufFile::parse(bytes, "input");
    try {
      read_all(file);
    } catch (const UserError& error) {
      internal_error(error.what(), std::source_location::current());  // too late to refuse
    }
  } catch (const UserError& error) {
    check(std::string_view(error.what()).find('\n') == std::string_view::npos, "one line");
  }
  return 0;
}
