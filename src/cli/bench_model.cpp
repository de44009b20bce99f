// brisk bench MODEL: how fast a model reads a prompt and makes text on this machine, what share of
// the device's limits that is, and what it takes of energy and money. Text is made greedily: each
// token is the likeliest after those before it, chosen on the device, and reaches the host. Each
// figure is the best of several runs; compiling is done before.
#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include <nlohmann/json.hpp>

#include "cli/bench.h"
#include "cli/device_bench.h"
#include "cli/limits.h"
#include "cli/model_work.h"
#include "cli/stopwatch.h"
#include "engine/engine.h"

namespace brisk {

namespace {

using Json = nlohmann::ordered_json;

// What a step does, by the kernels' own count.
struct StepWork {
  double bytes = 0;
  double operations = 0;
};

StepWork work_of(const ModelStep& step, std::int64_t tokens, std::int64_t position) {
  StepWork work;
  const Plan* plan = step.plan();
  if (plan == nullptr) return work;
  const VariableValues values = {{"position", position}, {"tokens", tokens}};
  for (const Plan::KernelInfo& kernel : plan->kernels(&values)) {
    work.bytes += static_cast<double>(kernel.bytes);
    work.operations += static_cast<double>(kernel.operations);
  }
  return work;
}

// Reading a prompt, or making text after it.
struct Phase {
  std::int64_t tokens = 0;
  double seconds = 1e30;         // of the fastest run
  std::optional<double> joules;  // of one run, where the device counts them

  double rate() const { return static_cast<double>(tokens) / seconds; }
  std::optional<double> joules_a_token() const {
    return joules ? std::optional(*joules / static_cast<double>(tokens)) : std::nullopt;
  }
};

struct ModelFigures {
  std::string name;
  double load_seconds = 0;
  double first_run_seconds = 0;
  Phase prompt, decode;
  double prompt_operations = 0;  // a second
  double decode_bytes = 0;       // a token
  DeviceLimits limits;
  DeviceFigure product;  // of matrices, in the type in which prompts meet theirs
  std::optional<Price> price;

  /// Of what products of matrices in the same type do here; nothing where they could not be timed.
  std::optional<double> prompt_share() const {
    return product.missing.empty() ? std::optional(prompt_operations / product.rate())
                                   : std::nullopt;
  }
  double decode_share() const { return decode_bytes * decode.rate() / limits.bytes; }
};

ModelFigures measure_model(const BenchOptions& options) {
  const Model model = Model::load(model_path(options.model));
  ModelFigures figures;
  figures.name = model.file().name();
  figures.load_seconds = model.load_seconds();
  ModelWork model_work(model, options.prompt, options.tokens, options.exact);
  Session& session = model_work.session;
  const std::int64_t prompt = figures.prompt.tokens = model_work.prompt;
  const std::int64_t tokens = figures.decode.tokens = model_work.tokens;
  const auto read = [&] { model_work.read(); };
  const auto make = [&] { model_work.make(); };
  figures.first_run_seconds = seconds_of([&] { read(), make(); });
  for (int i = 0; i < options.repeats; ++i) {
    figures.prompt.seconds = std::min(figures.prompt.seconds, seconds_of(read));
    figures.decode.seconds = std::min(figures.decode.seconds, seconds_of(make));
  }
  figures.decode.joules = joules_of(make, figures.decode.seconds);
  figures.prompt.joules = joules_of(read, figures.prompt.seconds);
  figures.limits = measure_limits();
  figures.product = measure(device_product(session.prompt_dtype()));
  figures.prompt_operations =
      work_of(session.step_of(prompt), prompt, 0).operations / figures.prompt.seconds;
  figures.decode_bytes = work_of(session.likeliest_step(), 1, prompt + tokens / 2).bytes;
  figures.price = price_of(options, card_of_device());
  return figures;
}

void add_costs(Json& json, const std::string& phase, const Phase& figures,
               const std::optional<Price>& price) {
  if (const auto joules = figures.joules_a_token()) {
    json[phase + "_joules_per_token"] = *joules;
    json[phase + "_tokens_per_joule"] = 1 / *joules;
  }
  if (price) json[phase + "_tokens_per_dollar"] = price->per_dollar(figures.rate());
}

void print_json(const ModelFigures& f) {
  Json json = {
      {"model", f.name},
      {"load_seconds", f.load_seconds},
      {"first_run_seconds", f.first_run_seconds},
      {"prompt_tokens", f.prompt.tokens},
      {"prompt_tokens_per_second", f.prompt.rate()},
      {"prompt_operations_per_second", f.prompt_operations},
      {"prompt_dtype", name(f.product.work.dtype)},
      {"decode_tokens", f.decode.tokens},
      {"decode_tokens_per_second", f.decode.rate()},
      {"decode_bytes_per_token", f.decode_bytes},
      {"decode_share_of_read_bandwidth", f.decode_share()},
      {"read_bytes_per_second", f.limits.bytes},
      {"float32_operations_per_second", f.limits.operations},
  };
  if (const auto share = f.prompt_share()) {
    json["matmul_operations_per_second"] = f.product.rate();  // in that type
    json["prompt_share_of_matmul"] = *share;
  }
  add_costs(json, "prompt", f.prompt, f.price);
  add_costs(json, "decode", f.decode, f.price);
  if (f.price) {
    json["dollars_per_hour"] = f.price->dollars_per_hour;
    json["price_from_table"] = f.price->from_table;
  }
  fmt::print("{}\n", json.dump(2));
}

std::string cost_text(const Phase& phase, const std::optional<Price>& price) {
  std::string text;
  if (const auto joules = phase.joules_a_token())
    text += fmt::format(", {:.3g} J a token ({:.3g} tokens a joule)", *joules, 1 / *joules);
  if (price)
    text += fmt::format(", {} tokens a dollar", count_text(price->per_dollar(phase.rate())));
  return text;
}

std::string prompt_share_text(const ModelFigures& f) {
  const auto share = f.prompt_share();
  if (!share) return fmt::format(" (no {}: {})", f.product.work.name(), f.product.missing);
  return fmt::format(", {:.0f} % of the {:.0f} GFLOP/s of products of matrices in {}", 100 * *share,
                     f.product.rate() / 1e9, name(f.product.work.dtype));
}

void print_text(const ModelFigures& f) {
  fmt::print("{}: loaded in {:.3f} s, first run {:.3f} s\n", f.name, f.load_seconds,
             f.first_run_seconds);
  fmt::print("prompt of {}: {:.1f} tok/s, {:.1f} GFLOP/s{}{}\n", f.prompt.tokens, f.prompt.rate(),
             f.prompt_operations / 1e9, prompt_share_text(f), cost_text(f.prompt, f.price));
  fmt::print(
      "decode of {}: {:.2f} tok/s, {} a token, {:.0f} % of the {:.1f} GB/s that this device "
      "reads{}\n",
      f.decode.tokens, f.decode.rate(), byte_text(f.decode_bytes), 100 * f.decode_share(),
      f.limits.bytes / 1e9, cost_text(f.decode, f.price));
  if (f.price) fmt::print("at {}\n", f.price->text());
}

}  // namespace

void bench_model(const BenchOptions& options) {
  const ModelFigures figures = measure_model(options);
  options.json ? print_json(figures) : print_text(figures);
}

}  // namespace brisk
