// Any bytes as a safetensors file: they are refused with a UserError of one line, or everything in
// them can be read and what the writer makes of it reads the same.
#include "base/error.h"
#include "formats/safetensors.h"

#include <algorithm>
#include <string_view>

namespace {

using namespace brisk;

void read_all(const Safetensors& file) {
  SafetensorsWriter writer;
  for (const auto& [key, value] : file.metadata()) writer.add_metadata(key, value);
  for (const SafeTensor& tensor : file.tensors()) {
    check(file.find(tensor.name) == &tensor, "each tensor is found by its name");
    writer.add(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
  }
  const auto bytes = writer.bytes();
  const Safetensors copy = Safetensors::parse(bytes, "copy");
  check(copy.metadata() == file.metadata(), "a copy has the same metadata");
  check(copy.tensors().size() == file.tensors().size(), "a copy has the same tensors");
  for (std::size_t i = 0; i < copy.tensors().size(); ++i) {
    const SafeTensor &a = copy.tensors()[i], &b = file.tensors()[i];
    check(a.name == b.name && a.dtype == b.dtype && a.shape == b.shape, "of the same kind");
    check(std::ranges::equal(a.bytes, b.bytes), "with the same bytes");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const Safetensors file = Safetensors::parse(bytes, "input");
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
