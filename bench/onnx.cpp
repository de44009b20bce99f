// One ONNX model for bench/onnx_peer.py, which times it beside ONNX Runtime: `brisk_bench_onnx
// MODEL FOLDER` reads each input NAME from FOLDER/in.npz, then answers the lines on stdin with a
// line of JSON each: `first` (loads, runs once; writes the outputs to FOLDER/out.N.npy), `burst N`
// (runs N times). Without arguments it is the benchmark: it starts the script.
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "formats/npy.h"
#include "measure.h"
#include "onnx/model.h"
#include "onnx/session.h"

namespace {

using namespace brisk;
using Json = nlohmann::ordered_json;

onnx::NamedValues inputs_in(const std::string& path) {
  onnx::NamedValues values;
  for (const auto& [name, array] : read_npz(path))
    values[name] = onnx::host_tensor(onnx::element_of(array.dtype), array.shape, array.bytes);
  return values;
}

class Model {
 public:
  Model(std::string path, std::string folder)
      : path_(std::move(path)),
        folder_(std::move(folder)),
        inputs_(inputs_in(folder_ + "/in.npz")) {}

  Json first() {
    const auto start = bench::Clock::now();
    session_.emplace(onnx::read_model(path_));
    const double load = bench::seconds_since(start);
    const onnx::Values outputs = session_->run(inputs_);
    const double total = bench::seconds_since(start);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const onnx::HostTensor& host = *outputs[i].known();
      write_npy(fmt::format("{}/out.{}.npy", folder_, i), host.dtype(), host.shape, host.bytes);
    }
    const auto* compiled = session_->compiled(inputs_);
    return {{"load", load},
            {"first", total},
            {"kernels", compiled == nullptr ? 0 : compiled->plan->kernels().size()}};
  }

  Json burst(int count) {
    const double total = bench::seconds([&] {
      for (int i = 0; i < count; ++i) session_->run(inputs_);
    });
    return {{"seconds", total / count}};
  }

 private:
  std::string path_, folder_;
  onnx::NamedValues inputs_;
  std::optional<onnx::Session> session_;
};

int answer(const std::string& path, const std::string& folder) {
  Model model(path, folder);
  std::string line;
  while (std::getline(std::cin, line)) {
    const Json json = line == "first" ? model.first() : model.burst(std::stoi(line.substr(6)));
    std::cout << json.dump() << std::endl;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) {
    try {
      return answer(argv[1], argv[2]);
    } catch (const std::exception& error) {
      std::cout << Json{{"failed", error.what()}}.dump() << std::endl;
      return 1;
    }
  }
  const std::string script = BENCH_FOLDER "/onnx_peer.py";
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const char* python = getenv("BRISK_BENCH_PYTHON");
  if (python == nullptr) python = "python3";
  execlp(python, python, script.c_str(), self.c_str(), nullptr);
  fmt::print(stderr, "onnx: {} does not start\n", python);
  return 1;
}
