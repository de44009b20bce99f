// brisk bench: how fast a model reads a prompt and makes text on this machine, and what share of
// the device's limits that is. Each figure is the best of several runs; compiling is done before.
#include <CLI/CLI.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <random>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/limits.h"
#include "engine/backends.h"
#include "engine/engine.h"
#include "llm/model.h"

namespace brisk {

namespace {

struct BenchOptions {
  std::string model;
  std::int64_t prompt = 512;
  std::int64_t tokens = 64;
  int repeats = 3;
  bool exact = false;
  bool json = false;
  DeviceChoice device;
};

// What a step does, by the kernels' own count.
struct StepWork {
  double bytes = 0;
  double operations = 0;
};

StepWork work_of(Session& session, std::int64_t tokens, std::int64_t position) {
  StepWork work;
  const Plan* plan = session.step_of(tokens).plan();
  if (plan == nullptr) return work;
  const VariableValues values = {{"position", position}, {"tokens", tokens}};
  for (const Plan::KernelInfo& kernel : plan->kernels(&values)) {
    work.bytes += static_cast<double>(kernel.bytes);
    work.operations += static_cast<double>(kernel.operations);
  }
  return work;
}

template <typename Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Joules that the device takes for each of `tokens` of a run, where it counts them: of runs that
// last two seconds in all, since the counter goes on some ten times a second.
template <typename Work>
std::optional<double> joules_of(const Work& run, double seconds, double tokens) {
  constexpr double enough = 2;
  const std::string id = Engine::shared().device().info().id;
  const std::optional<double> before = read_sensors(id).joules;
  if (!before) return std::nullopt;
  const int runs = std::max(1, static_cast<int>(enough / seconds));
  for (int i = 0; i < runs; ++i) run();
  const std::optional<double> after = read_sensors(id).joules;
  if (!after) return std::nullopt;
  return (*after - *before) / (tokens * runs);
}

void bench(const BenchOptions& options) {
  options.device.apply();
  const Model model = Model::load(model_path(options.model));
  const std::int64_t context = std::min(options.prompt + options.tokens, model.config().context);
  const std::int64_t prompt = std::min(options.prompt, context - 1);
  const std::int64_t tokens = std::min(options.tokens, context - prompt);
  Session session(model,
                  {.context = context, .batch = prompt, .round_activations = !options.exact});

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
  const std::optional<double> energy = joules_of(make, making, static_cast<double>(tokens));
  const DeviceLimits limits = measure_limits();
  const double prompt_rate = static_cast<double>(prompt) / reading;
  const double decode_rate = static_cast<double>(tokens) / making;
  const StepWork one = work_of(session, 1, prompt + tokens / 2);
  const StepWork all = work_of(session, prompt, 0);
  const double decode_share = one.bytes * decode_rate / limits.bytes;
  const double prompt_speed = all.operations / reading;
  if (options.json) {
    nlohmann::ordered_json json = {
        {"model", model.file().name()},
        {"load_seconds", model.load_seconds()},
        {"first_run_seconds", first},
        {"prompt_tokens", prompt},
        {"prompt_tokens_per_second", prompt_rate},
        {"prompt_operations_per_second", prompt_speed},
        {"decode_tokens", tokens},
        {"decode_tokens_per_second", decode_rate},
        {"decode_bytes_per_token", one.bytes},
        {"decode_share_of_read_bandwidth", decode_share},
        {"read_bytes_per_second", limits.bytes},
        {"float32_operations_per_second", limits.operations},
    };
    if (energy) json["decode_joules_per_token"] = *energy;
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{}: loaded in {:.3f} s, first run {:.3f} s\n", model.file().name(),
             model.load_seconds(), first);
  fmt::print("prompt of {}: {:.1f} tok/s, {:.1f} GFLOP/s (float32 multiply-adds here: {:.0f})\n",
             prompt, prompt_rate, prompt_speed / 1e9, limits.operations / 1e9);
  fmt::print(
      "decode of {}: {:.2f} tok/s, {} a token, {:.0f} % of the {:.1f} GB/s that this device "
      "reads\n",
      tokens, decode_rate, byte_text(one.bytes), 100 * decode_share, limits.bytes / 1e9);
  if (energy) fmt::print("{:.3g} J a token\n", *energy);
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
  command->add_flag("--json", o.json, "figures as JSON, in units without prefixes");
  add_exact(*command, o.exact);
  o.device.add_to(*command);
  command->callback([options] { bench(*options); });
}

}  // namespace brisk
