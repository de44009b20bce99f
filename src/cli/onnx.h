// ONNX models on the command line: what `run`, `inspect` and `bench` do with a file that is one.
#pragma once

#include "cli/command.h"

#include <map>
#include <string>
#include <vector>

namespace brisk {

/// Whether a path names an ONNX model: a file whose name ends in .onnx.
bool is_onnx(const std::string& path);

/// How inputs are found. Options of images: a picture is brought to the height and width of the
/// input that it is for, its values become (value·scale - mean) / std by channel.
struct OnnxInputs {
  std::vector<std::string> inputs;  // NAME=FILE or NAME=NUMBERS, or FILE for all names in it
  bool random = false;
  std::vector<std::string> sizes;   // NAME=NUMBER: of sizes that the model leaves open
  std::vector<std::string> bounds;  // NAME=LEAST..GREATEST: theirs
  std::string fit = "stretch";      // or "letterbox" (grey bars), "crop"
  std::string colours = "rgb";      // or "bgr", "gray", "y" (of YCbCr)
  double scale = 1.0 / 255;
  std::vector<double> mean, std;
  void add_to(CLI::App& command);
};

struct OnnxRun {
  OnnxInputs inputs;
  std::vector<std::string> outputs;  // NAME or NAME=FILE (.npy, .pb)
};

void run_onnx(const std::string& path, const OnnxRun& options);
void inspect_onnx(const std::string& path, const OnnxInputs& options, bool kernels);
/// The median of some runs, compiled before.
double onnx_seconds(const std::string& path, const OnnxInputs& options);
void bench_onnx(const std::string& path, const OnnxInputs& options, int repeats, bool json);

}  // namespace brisk
