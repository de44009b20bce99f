// brisk tune MODEL: tries out on this device what the strategies leave in doubt for the model's
// kernels, and keeps the best in the kernel cache. Every kernel that is tried runs in a process of
// its own: the hidden command `time-kernel`.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cli/command.h"
#include "cli/model_work.h"
#include "cli/onnx.h"
#include "cli/stopwatch.h"
#include "engine/engine.h"
#include "engine/timing_process.h"
#include "engine/tune.h"
#include "formats/file_writer.h"

namespace brisk {

namespace {

struct TuneOptions {
  std::string model;
  double budget = 120;
  std::int64_t prompt = 512;
  std::int64_t tokens = 64;
  bool exact = false;
  bool again = false;
  std::string table;
  OnnxInputs onnx;
  DeviceChoice device;
};

// How fast the model is with the kernels that there are.
struct Rates {
  std::vector<std::pair<std::string, double>> list;  // what, a second
};

Rates language_model(const TuneOptions& options, const Model& model) {
  constexpr int runs = 3;
  ModelWork work(model, options.prompt, options.tokens, options.exact);
  work.read();
  work.make();
  double read = 1e30, make = 1e30;
  for (int i = 0; i < runs; ++i) {
    read = std::min(read, seconds_of([&] { work.read(); }));
    make = std::min(make, seconds_of([&] { work.make(); }));
  }
  return {
      {{fmt::format("prompt of {}, tok/s", work.prompt), static_cast<double>(work.prompt) / read},
       {fmt::format("decode of {}, tok/s", work.tokens), static_cast<double>(work.tokens) / make}}};
}

void print_kernels(const std::vector<Tuned>& kernels) {
  if (kernels.empty()) return;
  fmt::print("{:<44} {:>5} {:>10} {:>10} {:>6} {:>6} {:>6}\n", "kernel", "times", "guess us",
             "tuned us", "ratio", "tried", "failed");
  std::set<std::string> reasons;
  for (const Tuned& kernel : kernels) {
    fmt::print("{:<44} {:>5} {:>10.2f} {:>10.2f} {:>6.3f} {:>6} {:>6}\n", kernel.name, kernel.times,
               kernel.guessed * 1e6, kernel.tuned * 1e6,
               kernel.guessed > 0 ? kernel.tuned / kernel.guessed : 1.0, kernel.tried,
               kernel.failures.size());
    reasons.insert(kernel.failures.begin(), kernel.failures.end());
  }
  for (const std::string& reason : reasons) fmt::print("failed: {}\n", reason);
}

// Lines for src/engine/winners.def.
void write_table(const std::string& path, const std::string& cpu,
                 const std::vector<Tuned>& kernels) {
  std::set<std::string> lines;
  for (const Tuned& kernel : kernels) {
    for (const auto& [shapes, option] : kernel.changed)
      lines.insert(fmt::format("WINNER(\"{}\", \"{}\", \"{}\")\n", cpu, shapes, option));
  }
  FileWriter file(path);
  for (const std::string& line : lines)
    file.append(std::as_bytes(std::span(line.data(), line.size())));
  file.commit();
}

void tune(const TuneOptions& options) {
  options.device.apply();
  const bool onnx = is_onnx(options.model);
  std::optional<Model> model;
  if (!onnx) model.emplace(Model::load(model_path(options.model)));
  const auto rates = [&]() -> Rates {
    if (!onnx) return language_model(options, *model);
    return {{{"runs a second", 1 / onnx_seconds(options.model, options.onnx)}}};
  };
  const Rates before = rates();
  Tuner& tuner = Tuner::shared();
  tuner.start(options.budget, options.again);
  Rates after;
  const double took = seconds_of([&] { after = rates(); });
  const bool ended = !tuner.has_time();
  tuner.start(0, false);
  const std::vector<Tuned> kernels = tuner.take_results();
  print_kernels(kernels);
  fmt::print("{} kernels tuned in {:.1f} s{}\n", kernels.size(), took,
             ended ? "; the time is up, --budget gives it more" : "");
  for (std::size_t i = 0; i < before.list.size(); ++i) {
    const double ratio = after.list[i].second / before.list[i].second;
    fmt::print("{}: {:.2f}, was {:.2f} ({:.3f})\n", after.list[i].first, after.list[i].second,
               before.list[i].second, ratio);
  }
  if (!options.table.empty()) write_table(options.table, Engine::shared().target().cpu, kernels);
}

}  // namespace

void add_tune(CLI::App& program) {
  auto options = std::make_shared<TuneOptions>();
  TuneOptions& o = *options;
  CLI::App* command = program.add_subcommand(
      "tune", "try out a model's kernels on this device and keep the fastest");
  command->add_option(
      "MODEL", o.model,
      "a GGUF file, a Hugging Face folder, or an .onnx file (default: brisk's own)");
  command->add_option("--budget", o.budget, "seconds that it may take, about")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  command->add_option("--prompt", o.prompt, "tokens of the prompt")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("-n,--tokens", o.tokens, "tokens made after it")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_flag("--again", o.again, "try out again what was tuned before");
  command->add_option("--table", o.table,
                      "also write what differs from the strategies' own choice into this file, as "
                      "lines of src/engine/winners.def");
  add_exact(*command, o.exact);
  o.onnx.add_to(*command);
  o.device.add_to(*command);
  command->callback([options] { tune(*options); });

  auto file = std::make_shared<std::string>();
  CLI::App* timing = program.add_subcommand("time-kernel", "");
  timing->group("");  // tune's own
  timing->add_option("FILE", *file)->required();
  timing->callback([file] { serve_timing(*file); });
}

}  // namespace brisk
