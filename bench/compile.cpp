// Time from nothing to compiled kernels: the forward pass of ResNet-18 (one image of 224 × 224) and
// of a GPT block (128 tokens, 768 wide, 12 heads), written as users write them, with random
// weights. Cold: an empty kernel cache; warm: a new process with the cache that the cold one left.
// A third process takes the compiler's stages one after the other on one thread.
#include "engine/compile.h"
#include "brisk/functional.h"
#include "child.h"
#include "codegen/codegen.h"
#include "graph/rules_simplify.h"
#include "kernel/lower.h"
#include "optimize/optimize.h"
#include "schedule/fuse.h"

namespace {

using namespace bench;
using brisk::Tensor;

// Scaled so that activations keep their size.
Tensor weight(const std::vector<std::int64_t>& shape) {
  std::int64_t inputs = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) inputs *= shape[i];
  const float scale = std::sqrt(3.0F / static_cast<float>(inputs));
  return random_tensor(shape, -scale, scale);
}

Tensor conv_norm(const Tensor& x, std::int64_t out, std::int64_t kernel, std::int64_t stride) {
  const std::int64_t in = x.shape()[1];
  const Tensor y =
      conv2d(x, weight({out, in, kernel, kernel}), {}, {.stride = stride, .padding = kernel / 2});
  return batch_norm(y, random_tensor({out}), random_tensor({out}, 0.5, 1.5),
                    random_tensor({out}, 0.5, 1.5), random_tensor({out}));
}

// He, Zhang, Ren, Sun, "Deep residual learning for image recognition", arXiv:1512.03385.
Tensor resnet18() {
  Tensor x = relu(conv_norm(random_tensor({1, 3, 224, 224}), 64, 7, 2));
  x = max_pool2d(x, 3, {.stride = 2, .padding = 1});
  for (int stage = 0; stage < 4; ++stage) {
    const std::int64_t out = 64 << stage;
    for (int block = 0; block < 2; ++block) {
      const std::int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      const Tensor inner = relu(conv_norm(x, out, 3, stride));
      const Tensor past = stride == 2 ? conv_norm(x, out, 1, 2) : x;
      x = relu(conv_norm(inner, out, 3, 1) + past);
    }
  }
  return linear(x.flatten(2).mean(2), weight({1000, 512}), random_tensor({1000}));
}

Tensor gpt_block() {
  const std::int64_t T = 128, C = 768, H = 12;
  const Tensor x = random_tensor({1, T, C});
  const auto norm = [&](const Tensor& y) {
    return layer_norm(y, random_tensor({C}, 0.5, 1.5), random_tensor({C}));
  };
  const auto project = [&](const Tensor& y, std::int64_t out) {
    return linear(y, weight({out, y.shape().back()}), random_tensor({out}));
  };
  const auto heads = [&](const Tensor& y) {
    return y.reshape({1, T, H, C / H}).permute({0, 2, 1, 3});
  };
  const auto qkv = project(norm(x), 3 * C).split(C, -1);
  const Tensor mixed =
      scaled_dot_product_attention(heads(qkv[0]), heads(qkv[1]), heads(qkv[2]), {.causal = true});
  const Tensor y = x + project(mixed.permute({0, 2, 1, 3}).reshape({1, T, C}), C);
  return y + project(gelu(project(norm(y), 4 * C)), C);
}

Tensor network(const std::string& name) { return name == "resnet18" ? resnet18() : gpt_block(); }

// One process's way to its first result. `exec_to_ready` leaves the making of the weights out.
int child_compile(const std::string& name) {
  const double started = since_exec();
  const auto begin_graph = Clock::now();
  const Tensor result = network(name);
  const double graph = seconds_since(begin_graph);
  const auto begin_compile = Clock::now();
  Replay forward(result);
  const double compiled = seconds_since(begin_compile);
  report("compile", compiled);
  report("exec_to_ready", started + compiled);
  report("graph_and_weights", graph);
  report("first_run", seconds([&] { forward(); }));
  report("second_run", seconds([&] { forward(); }));
  report("kernels", static_cast<double>(forward.kernels()));
  return 0;
}

int child_stages(const std::string& name) {
  using namespace brisk;
  const Node root = node_of(network(name));
  const Target target = host_target();
  double simplifying = 0, fusing = 0, lowering = 0, optimizing = 0, generating = 0;
  const auto timed = [](double& total, const auto& work) {
    const auto start = Clock::now();
    auto result = work();
    total += seconds_since(start);
    return result;
  };
  const auto roots = timed(simplifying, [&] { return simplify(std::span(&root, 1)); });
  const auto list = timed(fusing, [&] { return fuse(roots); });
  std::map<std::string, int> made;  // equal kernels are compiled once
  double bytes = 0;
  for (const ScheduledKernel& kernel : list.kernels) {
    const auto lowered = timed(lowering, [&] { return lower(kernel.outputs, list.stored); });
    const std::string key = timed(lowering, [&] { return kernel_key(lowered.kernel, target); });
    if (made[key]++ > 0) continue;
    const Kernel optimized = timed(optimizing, [&] { return optimize(lowered.kernel, target); });
    bytes += static_cast<double>(
        timed(generating, [&] { return compile(optimized, target); }).object.size());
  }
  report("simplify", simplifying);
  report("fuse", fusing);
  report("lower", lowering);
  report("optimize", optimizing);
  report("llvm", generating);
  report("different", static_cast<double>(made.size()));
  report("object_bytes", bytes);
  return 0;
}

std::string ms(double seconds) { return fmt::format("{:.0f}", seconds * 1e3); }

void measure(Table& table, const std::string& name) {
  std::vector<std::pair<std::string, std::vector<Figures>>> kinds = {{"cold", {}}, {"warm", {}}};
  for (int round = 0; round < 3; ++round) {
    const TemporaryFolder cache;
    for (auto& [kind, runs] : kinds) runs.push_back(run_child({"compile", name}, cache.path()));
  }
  for (auto& [kind, runs] : kinds) {
    const auto middle = [&](const char* figure) {
      std::vector<double> values;
      for (Figures& run : runs) values.push_back(run[figure]);
      return median(values);
    };
    table.add({fmt::format("{}, {} cache", name, kind), ms(middle("exec_to_ready")),
               ms(middle("compile")), fmt::format("{}", middle("kernels")), ms(middle("first_run")),
               ms(middle("second_run"))});
  }
}

void measure_stages(Table& stages, const std::string& name) {
  const TemporaryFolder cache;
  Figures one = run_child({"stages", name}, cache.path());
  stages.add({name, ms(one["simplify"]), ms(one["fuse"]), ms(one["lower"]), ms(one["optimize"]),
              ms(one["llvm"]), fmt::format("{}", one["different"]),
              fmt::format("{:.0f}", one["object_bytes"] / 1024)});
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3) {
    return argv[1] == std::string("compile") ? child_compile(argv[2]) : child_stages(argv[2]);
  }
  begin(argv, "compile: forward passes from an empty and a warm kernel cache, new processes");
  const std::vector<std::string> networks = {"resnet18", "gpt_block"};
  Table table({"ms, medians of 3", "exec to ready*", "graph to plan", "kernels", "first run",
               "second run"});
  for (const auto& name : networks) measure(table, name);
  fmt::print("* process start and graph to plan, without the making of random weights\n");
  Table stages({"one thread, ms", "simplify", "fuse", "lower + key", "optimize", "LLVM",
                "different kernels", "object KiB"});
  for (const auto& name : networks) measure_stages(stages, name);
}
