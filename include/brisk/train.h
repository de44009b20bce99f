// What a training program keeps besides its model: checkpoints that a kill leaves whole, a table of
// the run with its picture, and a line that says how far it is.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "brisk/nn.h"
#include "brisk/optim.h"

namespace brisk::nn {

/// Model, optimizer and step in one file, safetensors ("model.*", "optimizer.*", "step"): the old
/// file stays until the new one is on the disk, whole.
void save_checkpoint(const std::filesystem::path& path, const State& model,
                     const Optimizer& optimizer, std::int64_t step);
/// Puts the values back and gives the step. UserError where the file is not of this model.
std::int64_t load_checkpoint(const std::filesystem::path& path, const State& model,
                             Optimizer& optimizer);

/// Numbers by step, as CSV: "step,loss,…", one line a step, which is in the file at once.
class RunLog {
 public:
  /// Begins the file, or goes on with it before step `from`: later lines, which a run that was
  /// killed wrote and the resumed one will write again, go.
  RunLog(std::filesystem::path path, std::vector<std::string> columns, std::int64_t from = 0);
  void add(std::int64_t step, const std::vector<double>& values);  // NaN leaves a field empty
  /// The first columns (at most four of them) over the steps, as SVG.
  void plot(const std::filesystem::path& path, const std::string& title,
            std::size_t columns = 1) const;

 private:
  std::filesystem::path path_;
  std::ofstream file_;
  std::vector<std::string> columns_;
  std::vector<std::pair<std::int64_t, std::vector<double>>> rows_;
};

/// A line on stderr that is written again and again: step, share, what the caller says, time left.
/// Where stderr is no terminal, a line of its own every ten seconds.
class Progress {
 public:
  explicit Progress(std::int64_t steps, std::int64_t from = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void show(std::int64_t step, const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;
  std::int64_t steps_, from_;
  Clock::time_point start_ = Clock::now();
  std::optional<Clock::time_point> shown_;
  bool terminal_;
};

}  // namespace brisk::nn
