// brisk inspect: what is in a model's file, the memory it takes to run, and the kernels of one
// step.
#include <CLI/CLI.hpp>

#include <fmt/core.h>

#include <map>
#include <memory>

#include "cli/command.h"
#include "formats/gguf.h"
#include "formats/quote.h"
#include "llm/model.h"

namespace brisk {

namespace {

struct InspectOptions {
  std::string model;
  bool metadata = false;
  bool tensors = false;
  bool kernels = false;
  std::int64_t context = 4096;
  DeviceChoice device;
};

std::string value_text(const GgufValue& value) {
  switch (value.type()) {
    case GgufType::array: return fmt::format("{} values", value.size());
    case GgufType::string: return quote(value.string());
    case GgufType::boolean: return value.boolean() ? "true" : "false";
    case GgufType::float32:
    case GgufType::float64: return fmt::format("{:g}", value.number());
    case GgufType::uint64: return fmt::format("{:.0f}", value.number());
    default: return fmt::format("{}", value.integer());
  }
}

void print_config(const ModelConfig& c) {
  fmt::print("{}: {}\n", c.file, c.architecture->name);
  fmt::print("  {} blocks of width {}, {} heads of {} over {} key heads, feed-forward {}\n",
             c.blocks, c.width, c.heads, c.head_width, c.key_heads, c.ffn_width);
  if (c.experts > 0) fmt::print("  {} experts, {} used by a token\n", c.experts, c.experts_used);
  fmt::print("  vocabulary {}, context {}\n", c.vocabulary, c.context);
}

void print_tensors(const std::vector<StoredTensor>& tensors, bool each) {
  struct Sum {
    std::int64_t count = 0;
    double values = 0;
    double bytes = 0;
  };
  std::map<std::string_view, Sum> by_type;
  Sum all;
  for (const StoredTensor& tensor : tensors) {
    double values = 1;
    for (const std::int64_t size : tensor.shape) values *= static_cast<double>(size);
    for (Sum* sum : {&by_type[block_info(tensor.type).name], &all}) {
      sum->count += 1;
      sum->values += values;
      sum->bytes += static_cast<double>(tensor.bytes.size());
    }
    if (each) {
      std::string shape;
      for (const std::int64_t size : tensor.shape) shape += fmt::format("{} ", size);
      fmt::print("  {:<40} {:<8} {}\n", tensor.name, block_info(tensor.type).name, shape);
    }
  }
  fmt::print("{} parameters in {} tensors, {}\n", count_text(all.values), all.count,
             byte_text(all.bytes));
  for (const auto& [type, sum] : by_type) {
    fmt::print("  {:<8}{:>6} tensors {:>10} values {:>12}\n", type, sum.count,
               count_text(sum.values), byte_text(sum.bytes));
  }
}

void print_kernels(const Plan& plan) {
  const auto kernels = plan.kernels();
  double bytes = 0;
  double operations = 0;
  fmt::print("one token: {} kernels\n", kernels.size());
  for (const auto& kernel : kernels) {
    fmt::print("  {:<40} {:>2} arguments {:>12} {:>10} operations\n", kernel.name, kernel.arguments,
               byte_text(static_cast<double>(kernel.bytes)),
               count_text(static_cast<double>(kernel.operations)));
    bytes += static_cast<double>(kernel.bytes);
    operations += static_cast<double>(kernel.operations);
  }
  fmt::print("  together {} at most, {} operations; intermediate memory {} (liveness needs {})\n",
             byte_text(bytes), count_text(operations),
             byte_text(static_cast<double>(plan.intermediate_bytes())),
             byte_text(static_cast<double>(plan.intermediate_lower_bound())));
}

void inspect(const InspectOptions& options) {
  options.device.apply();
  const Model model = Model::load(model_path(options.model));
  print_config(model.config());
  print_tensors(model.file().tensors(), options.tensors);
  const std::int64_t context = std::min(options.context, model.config().context);
  fmt::print("cache of {} tokens: {}\n", context,
             byte_text(static_cast<double>(
                 kv_cache_bytes(model.config(), context, SessionOptions().cache_dtype))));
  if (const Tokenizer* tokenizer = model.tokenizer()) {
    fmt::print("tokenizer: {} tokens\n", tokenizer->size());
  }
  if (options.metadata && model.file().gguf() != nullptr) {
    fmt::print("metadata\n");
    for (const GgufEntry& entry : model.file().gguf()->metadata()) {
      fmt::print("  {} = {}\n", quote(entry.key), value_text(entry.value));
    }
  }
  if (options.kernels) {
    Session session(model, {.context = context});
    if (const Plan* plan = session.decode_step().plan()) print_kernels(*plan);
  }
}

}  // namespace

void add_inspect(CLI::App& program) {
  auto options = std::make_shared<InspectOptions>();
  InspectOptions& o = *options;
  CLI::App* command =
      program.add_subcommand("inspect", "show what is in a model and how it is computed");
  command->add_option("MODEL", o.model, "a GGUF file or a Hugging Face folder");
  command->add_flag("--metadata", o.metadata, "also every entry of a GGUF file's metadata");
  command->add_flag("--tensors", o.tensors, "also every tensor");
  command->add_flag("--kernels", o.kernels, "also the kernels that compute one token");
  command->add_option("--ctx", o.context, "tokens that the cache is for")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 28))
      ->capture_default_str();
  o.device.add_to(*command);
  command->callback([options] { inspect(*options); });
}

}  // namespace brisk
