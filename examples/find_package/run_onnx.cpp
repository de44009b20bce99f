// Runs an ONNX model: run_onnx MODEL. Every input is filled with ones, every output summed.
#include <brisk/brisk.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: run_onnx MODEL\n"), 2;
  try {
    brisk::OnnxModel model = brisk::OnnxModel::load(argv[1]);
    std::map<std::string, brisk::Tensor> inputs;
    for (const brisk::OnnxPort& port : model.inputs()) {
      std::printf("input %s: %s\n", port.name.c_str(), port.type.c_str());
      std::vector<std::int64_t> shape = port.shape;
      for (std::int64_t& size : shape) size = size < 0 ? 1 : size;
      inputs[port.name] = brisk::ones(shape, port.dtype);
    }
    for (const auto& [name, value] : model.run(inputs))
      std::printf("output %s: sum %g\n", name.c_str(), brisk::sum(value).item<double>());
  } catch (const std::exception& error) {
    return std::fprintf(stderr, "run_onnx: %s\n", error.what()), 1;
  }
  return 0;
}
