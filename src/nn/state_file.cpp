// States in files. Input and output: safetensors; input too: PyTorch's files.
#include "brisk/autograd.h"
#include "brisk/nn.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"
#include "tensor/build.h"

namespace brisk::nn {

void save_state(const State& state, const std::filesystem::path& path) {
  const Call call("save");
  const NoGrad guard;
  std::vector<std::vector<std::byte>> values;
  SafetensorsWriter writer;
  for (const auto& [name, tensor] : state) values.push_back(tensor.to_bytes());
  std::size_t at = 0;
  for (const auto& [name, tensor] : state) {
    writer.add(name, tensor.dtype(), tensor.shape(), values[at++]);
  }
  writer.write(path);
}

State read_state(const std::filesystem::path& path, std::string_view under) {
  const Call call("read_state");
  State state;
  const auto add = [&](std::string_view name, std::span<const std::byte> bytes, const Dims& shape,
                       DType dtype) {
    if (!name.starts_with(under)) return;
    state.emplace(name.substr(under.size()), from_bytes(bytes, shape, dtype));
  };
  if (is_torch_file(path)) {
    const TorchFile file = TorchFile::open(path);
    for (const TorchTensor& tensor : file.tensors()) {
      add(tensor.name, tensor.bytes, tensor.shape, tensor.dtype);
    }
    return state;
  }
  const Safetensors file = Safetensors::open(path);
  for (const SafeTensor& tensor : file.tensors()) {
    add(tensor.name, tensor.bytes, tensor.shape, tensor.dtype);
  }
  return state;
}

}  // namespace brisk::nn
