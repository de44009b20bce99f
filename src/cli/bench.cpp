// brisk bench: how fast a model reads a prompt and makes text on this machine. Each figure is the
// best of several runs; compiling is done before.
#include <CLI/CLI.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>

#include "cli/command.h"
#include "llm/model.h"

namespace brisk {

namespace {

struct BenchOptions {
  std::string model;
  std::int64_t prompt = 512;
  std::int64_t tokens = 64;
  int repeats = 3;
  DeviceChoice device;
};

template <typename Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void bench(const BenchOptions& options) {
  options.device.apply();
  const Model model = Model::load(model_path(options.model));
  const std::int64_t context = std::min(options.prompt + options.tokens, model.config().context);
  const std::int64_t prompt = std::min(options.prompt, context - 1);
  const std::int64_t tokens = std::min(options.tokens, context - prompt);
  Session session(model, {.context = context, .batch = prompt});

  std::mt19937 random(1);
  std::vector<TokenId> ids(static_cast<std::size_t>(prompt));
  for (TokenId& id : ids) {
    id = static_cast<TokenId>(random() % static_cast<std::uint64_t>(model.config().vocabulary));
  }
  const auto read = [&] {
    session.rewind();
    session.advance(ids);
  };
  const auto make = [&] {
    session.rewind(prompt);
    for (std::int64_t i = 0; i < tokens; ++i) session.advance({&ids[0], 1});
  };
  const double first = seconds_of([&] { read(), make(); });
  double reading = 1e30;
  double making = 1e30;
  for (int i = 0; i < options.repeats; ++i) {
    reading = std::min(reading, seconds_of(read));
    making = std::min(making, seconds_of(make));
  }
  fmt::print("{}: loaded in {:.3f} s, first run {:.3f} s\n", model.file().name(),
             model.load_seconds(), first);
  fmt::print("prompt of {}: {:.1f} tok/s\n", prompt, static_cast<double>(prompt) / reading);
  fmt::print("decode of {}: {:.2f} tok/s\n", tokens, static_cast<double>(tokens) / making);
}

}  // namespace

void add_bench(CLI::App& program) {
  auto options = std::make_shared<BenchOptions>();
  BenchOptions& o = *options;
  CLI::App* command = program.add_subcommand("bench", "time a model on this machine");
  command->add_option("MODEL", o.model, "a GGUF file or a Hugging Face folder");
  command->add_option("--prompt", o.prompt, "tokens of the prompt")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("-n,--tokens", o.tokens, "tokens made after it")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--repeats", o.repeats, "runs of which the best counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  o.device.add_to(*command);
  command->callback([options] { bench(*options); });
}

}  // namespace brisk
