// brisk bench: the command line of what bench_device.cpp and bench_model.cpp measure.
#include "cli/bench.h"

#include <CLI/CLI.hpp>

#include <cmath>
#include <memory>

#include "base/error.h"
#include "cli/onnx.h"
#include "engine/engine.h"

namespace brisk {

namespace {

std::string refuse_price(const std::string& text) {
  double price = 0;
  if (CLI::detail::lexical_cast(text, price) && std::isfinite(price) && price > 0) return {};
  return fmt::format("{} is no price: dollars an hour, a number above 0", text);
}

void bench(const BenchOptions& options) {
  options.device.apply();
  if (is_onnx(options.model))
    return bench_onnx(options.model, options.onnx, options.repeats, options.json);
  options.model.empty() ? bench_device(options) : bench_model(options);
}

}  // namespace

std::string Price::text() const {
  return fmt::format("${:.4g} an hour{}", dollars_per_hour,
                     from_table ? " (table; --price says another)" : "");
}

std::optional<Price> price_of(const BenchOptions& options, const Card* card) {
  if (options.price) return Price{*options.price, false};
  if (card != nullptr && card->dollars_per_hour > 0) return Price{card->dollars_per_hour, true};
  return std::nullopt;
}

const Card* card_of_device() { return find_card(Engine::shared().device().info().name); }

void add_bench(CLI::App& program) {
  auto options = std::make_shared<BenchOptions>();
  BenchOptions& o = *options;
  CLI::App* command =
      program.add_subcommand("bench", "time a model, or the device alone, on this machine");
  CLI::Option* model = command->add_option("MODEL", o.model,
                                           "a GGUF file, a Hugging Face folder, or an .onnx file; "
                                           "without: copies, reads and products of matrices");
  command->add_option("--prompt", o.prompt, "tokens of the prompt")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("-n,--tokens", o.tokens, "tokens made after it, each the likeliest")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--repeats", o.repeats, "runs of a model of which the best counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--json", o.json, "figures as JSON, in units without prefixes");
  command
      ->add_option("--price", o.price,
                   "dollars that an hour of the device costs (default: a table of cards)")
      ->check(refuse_price);
  command
      ->add_flag("--compare-torch", o.compare_torch,
                 "time the device's works in PyTorch too; wants python3 with PyTorch, and no MODEL")
      ->excludes(model);
  add_exact(*command, o.exact);
  o.onnx.add_to(*command);
  o.device.add_to(*command);
  command->callback([options] { bench(*options); });
}

}  // namespace brisk
