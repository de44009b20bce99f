// PyTorch's files: any bytes are tensors within them or a UserError of one line.
#include "formats/torch_file.h"

#include "base/error.h"

#include <cstdint>
#include <span>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace brisk;
  try {
    const TorchFile file = TorchFile::parse(std::as_bytes(std::span(data, size)), "input");
    unsigned sum = 0;
    for (const TorchTensor& tensor : file.tensors()) {
      for (const std::byte byte : tensor.bytes) sum += std::to_integer<unsigned>(byte);
    }
    volatile unsigned keep = sum;
    static_cast<void>(keep);
  } catch (const UserError& error) {
    check(std::string_view(error.what()).find('\n') == std::string_view::npos, "one line");
  }
  return 0;
}
