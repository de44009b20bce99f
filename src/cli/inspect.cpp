// brisk inspect: what is in a model's file, the memory it takes to run, and how one step of it is
// computed: its graph, its kernels with predicted and measured work, and each kernel's way to
// machine code.
#include <CLI/CLI.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/error.h"
#include "cli/command.h"
#include "cli/limits.h"
#include "cli/onnx.h"
#include "engine/explain.h"
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
  bool graph = false;
  bool lowered = false, optimized = false, ir = false, assembly = false;
  std::string kernel;  // only this one: its number or a part of its name
  std::int64_t tokens = 1;
  std::int64_t position = 64;
  bool exact = false;
  std::int64_t context = 4096;
  OnnxInputs onnx;
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

// Kernels of the same name and work, in the order in which they first come.
struct KernelRow {
  std::size_t first = 0;
  Plan::KernelInfo info;
  int count = 0;
  double seconds = 0;
};

std::vector<KernelRow> rows_of(const std::vector<Plan::KernelInfo>& kernels) {
  std::vector<KernelRow> rows;
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    const Plan::KernelInfo& kernel = kernels[i];
    auto row = std::find_if(rows.begin(), rows.end(), [&](const KernelRow& r) {
      return r.info.name == kernel.name && r.info.bytes == kernel.bytes &&
             r.info.operations == kernel.operations;
    });
    if (row == rows.end()) row = rows.insert(row, {i, kernel, 0, 0});
    row->count += 1;
    row->seconds += kernel.seconds;
  }
  return rows;
}

// Each kernel's median over several runs.
std::vector<Plan::KernelInfo> profile(Session& session, std::span<const TokenId> tokens) {
  constexpr std::size_t runs = 7;
  std::vector<std::vector<Plan::KernelInfo>> all;
  for (std::size_t i = 0; i < runs; ++i) all.push_back(session.profile(tokens));
  std::vector<Plan::KernelInfo> result = all[0];
  for (std::size_t k = 0; k < result.size(); ++k) {
    std::vector<double> seconds;
    for (const auto& run : all) seconds.push_back(run[k].seconds);
    std::nth_element(seconds.begin(), seconds.begin() + runs / 2, seconds.end());
    result[k].seconds = seconds[runs / 2];
  }
  return result;
}

void print_kernels(const std::vector<Plan::KernelInfo>& kernels, const Plan& plan,
                   std::size_t tokens) {
  const DeviceLimits limits = measure_limits();
  fmt::print(
      "one step of {} token{}: {} kernels; predicted work, measured time, share of what this "
      "device reads ({:.1f} GB/s)\n  and multiplies and adds in float32 ({:.0f} GFLOP/s)\n",
      tokens, tokens == 1 ? "" : "s", kernels.size(), limits.bytes / 1e9, limits.operations / 1e9);
  constexpr std::size_t widest = 44;
  fmt::print("  {:>4} {:<{}} {:>5} {:>11} {:>9} {:>11} {:>8} {:>6} {:>8} {:>6}\n", "#", "kernel",
             widest, "times", "bytes", "ops", "us", "GB/s", "share", "GFLOP/s", "share");
  const auto line = [&](const std::string& number, std::string name, int count, double bytes,
                        double operations, double seconds) {
    if (name.size() > widest) name = name.substr(0, widest - 1) + "…";
    const double rate = bytes / seconds;
    const double speed = operations / seconds;
    fmt::print("  {:>4} {:<{}} {:>5} {:>11} {:>9} {:>11.1f} {:>8.1f} {:>6.2f} {:>8.1f} {:>6.2f}\n",
               number, name, widest, count, byte_text(bytes), count_text(operations), seconds * 1e6,
               rate / 1e9, rate / limits.bytes, speed / 1e9, speed / limits.operations);
  };
  double bytes = 0;
  double operations = 0;
  double seconds = 0;
  for (const KernelRow& row : rows_of(kernels)) {
    const auto count = static_cast<double>(row.count);
    const double all_bytes = count * static_cast<double>(row.info.bytes);
    const double all_operations = count * static_cast<double>(row.info.operations);
    line(std::to_string(row.first), row.info.name, row.count, all_bytes, all_operations,
         row.seconds);
    bytes += all_bytes;
    operations += all_operations;
    seconds += row.seconds;
  }
  line("", "together", static_cast<int>(kernels.size()), bytes, operations, seconds);
  fmt::print("  {:.1f} tokens/s; intermediate memory {} (liveness needs {})\n",
             static_cast<double>(tokens) / seconds,
             byte_text(static_cast<double>(plan.intermediate_bytes())),
             byte_text(static_cast<double>(plan.intermediate_lower_bound())));
}

// Whether the user asked for this kernel.
bool is_wanted(const std::string& wanted, std::size_t number, const std::string& name) {
  if (wanted.empty()) return true;
  const bool numeric =
      std::all_of(wanted.begin(), wanted.end(), [](char c) { return c >= '0' && c <= '9'; });
  return numeric ? wanted == std::to_string(number) : name.find(wanted) != std::string::npos;
}

void print_code(const InspectOptions& options, const ModelStep& step,
                const std::vector<Plan::KernelInfo>& kernels) {
  const Explanation explanation(step.roots(), Engine::shared());
  bool found = false;
  for (const KernelRow& row : rows_of(kernels)) {
    const std::size_t k = row.first;
    if (!is_wanted(options.kernel, k, row.info.name)) continue;
    found = true;
    fmt::print("== kernel {}: {}\n", k, row.info.name);
    if (options.lowered) fmt::print("{}\n", explanation.lowered(k));
    if (options.optimized) fmt::print("{}\n", explanation.optimized(k));
    if (options.ir) fmt::print("{}\n", explanation.generated(k));
    if (options.assembly) fmt::print("{}\n", explanation.assembly(k));
  }
  if (!found) {
    user_error("--kernel {}: none of the {} kernels has this number or name; --kernels lists them",
               options.kernel, kernels.size());
  }
}

void inspect_step(const InspectOptions& options, const Model& model, std::int64_t context) {
  const std::int64_t tokens = std::min(options.tokens, context);
  SessionOptions session_options;
  session_options.context = context;
  session_options.batch = std::max<std::int64_t>(512, tokens);
  session_options.round_activations = !options.exact;
  Session session(model, session_options);
  ModelStep& step = session.step_of(tokens);
  if (step.plan() == nullptr)
    user_error("kernels are those of a device; this model is interpreted");
  if (options.graph) fmt::print("graph\n{}\n", graph_text(step.roots()));
  const auto some_tokens = [&](std::int64_t count) {
    std::vector<TokenId> ids;
    for (std::int64_t i = 0; i < count; ++i)
      ids.push_back(static_cast<TokenId>((1 + i * 7919) % model.config().vocabulary));
    return ids;
  };
  const std::vector<Plan::KernelInfo> names = step.plan()->kernels();
  if (options.kernels) {
    const std::int64_t before = std::min(options.position, context - tokens);
    if (before > 0) session.advance(some_tokens(before));
    print_kernels(profile(session, some_tokens(tokens)), *step.plan(),
                  static_cast<std::size_t>(tokens));
  }
  if (options.lowered || options.optimized || options.ir || options.assembly)
    print_code(options, step, names);
}

void inspect(const InspectOptions& options) {
  options.device.apply();
  if (is_onnx(options.model)) return inspect_onnx(options.model, options.onnx, options.kernels);
  const Model model = Model::load(model_path(options.model));
  print_config(model.config());
  print_tensors(model.file().tensors(), options.tensors);
  const std::int64_t context = std::min(options.context, model.config().context);
  fmt::print("cache of {} tokens: {}\n", context,
             byte_text(static_cast<double>(
                 kv_cache_bytes(model.config(), context, cache_dtype(model, SessionOptions())))));
  if (const Tokenizer* tokenizer = model.tokenizer()) {
    fmt::print("tokenizer: {} tokens\n", tokenizer->size());
  }
  if (options.metadata && model.file().gguf() != nullptr) {
    fmt::print("metadata\n");
    for (const GgufEntry& entry : model.file().gguf()->metadata()) {
      fmt::print("  {} = {}\n", quote(entry.key), value_text(entry.value));
    }
  }
  if (options.kernels || options.graph || options.lowered || options.optimized || options.ir ||
      options.assembly) {
    inspect_step(options, model, context);
  }
}

}  // namespace

void add_inspect(CLI::App& program) {
  auto options = std::make_shared<InspectOptions>();
  InspectOptions& o = *options;
  CLI::App* command =
      program.add_subcommand("inspect", "show what is in a model and how it is computed");
  command->add_option("MODEL", o.model, "a GGUF file, a Hugging Face folder, or an .onnx file");
  command->add_flag("--metadata", o.metadata, "also every entry of a GGUF file's metadata");
  command->add_flag("--tensors", o.tensors, "also every tensor");
  command->add_flag("--graph", o.graph, "also the simplified graph of one step, a node a line");
  command->add_flag("--kernels", o.kernels,
                    "also the kernels of one step: predicted bytes and operations, measured time, "
                    "shares of the device's limits");
  command->add_flag("--lowered", o.lowered, "also each kernel as loops over elements");
  command->add_flag("--optimized", o.optimized, "also each kernel with tiles, vectors and tasks");
  command->add_flag("--ir", o.ir, "also each kernel's LLVM IR, or OpenCL C");
  command->add_flag("--assembly", o.assembly, "also each kernel's assembly");
  command->add_option("--kernel", o.kernel,
                      "only the kernels of this number or name (with --lowered, --optimized, --ir, "
                      "--assembly)");
  command->add_option("--tokens", o.tokens, "tokens of the step: 1 is decoding, more a prompt")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  command->add_option("--position", o.position, "tokens already in the cache when it is timed")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 28))
      ->capture_default_str();
  add_exact(*command, o.exact);
  command->add_option("--ctx", o.context, "tokens that the cache is for")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 28))
      ->capture_default_str();
  o.onnx.add_to(*command);
  o.device.add_to(*command);
  command->callback([options] { inspect(*options); });
}

}  // namespace brisk
