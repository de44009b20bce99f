// What a step of training costs: small models, recorded and not, the kernels that take the time,
// and a first step that nothing was compiled for. Batches are random. "GB held" is what the device
// has less of after the recorded step than before the model: parameters and their state, batches,
// temporaries, code.
//
//   brisk_bench_train [NAME…]     only these; first steps are cold where BRISK_CACHE is a new
//                                 folder
//   brisk_bench_train --target sm_90a NAME…
//                                 which kernels another machine would run, and with what work
//   brisk_bench_train --show KERNEL --target sm_90a NAME…
//                                 and what each kernel of this name computes
//   brisk_bench_train attention   the gradients of attention, on a GPU
// With --list first, every kernel in the order of launches too; with --memory 8G, intermediate
// values take no more than that.
#include "base/options.h"
#include "engine/backends.h"
#include "kernel/print.h"
#include "measure.h"
#include "nn/trajectories.h"
#include "planned.h"
#include "train_models.h"

#include <algorithm>
#include <optional>
#include <set>

namespace {

using namespace bench;
using namespace brisk;

struct Case {
  const char* name;
  Training (*training)();
  Tensor (*x)();
  Tensor (*y)();
  bool for_gpu = false;  // left out unless named
};

Training digits() {
  return run_of(DigitNet(), [](DigitNet& net) {
    return nn::Optimizer(nn::parameters(net), nn::AdamW{.weight_decay = 0.01});
  });
}

Training resnet18() {
  return run_of(ResNet18(), [](ResNet18& net) {
    return nn::Optimizer(nn::parameters(net),
                         nn::Sgd{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4});
  });
}

// The loss is computed in bfloat16 where products are.
Training half(Training training) {
  return {[loss = training.loss](const Tensor& x, const Tensor& y) {
            const Autocast narrow(DType::bfloat16);
            return loss(x, y);
          },
          training.fields, training.optimizer, training.clip, training.lr};
}

Training gpt2_of(const std::optional<ScaledOptions>& scaled) {
  return half(run_of(Gpt2(scaled), [](Gpt2& net) {
    return nn::Optimizer(nn::parameters(net), nn::AdamW{.lr = 3e-4, .weight_decay = 0.1});
  }));
}

Training gpt2() { return gpt2_of({}); }

Training gpt2_int8() { return gpt2_of(ScaledOptions{.format = Scaled::int8, .fallback = 0}); }

// The weight's gradient, which sums over the batch, in bfloat16.
Training gpt2_int8_wide() {
  return gpt2_of(
      ScaledOptions{.format = Scaled::int8, .bfloat16_weight_gradient = true, .fallback = 0});
}

Training gpt2_fp8() { return gpt2_of(ScaledOptions{.format = Scaled::fp8}); }

Training resnet50() {
  return half(run_of(ResNet50(), [](ResNet50& net) {
    return nn::Optimizer(nn::parameters(net),
                         nn::Sgd{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4});
  }));
}

template <std::int64_t rows, std::int64_t length>
Tensor tokens() {
  return randint(0, 50257, {rows, length}).realize();
}

template <std::int64_t count, std::int64_t classes>
Tensor labels() {
  return randint(0, classes, {count}).realize();
}

const Case cases[] = {
    {"mlp_sgd", mlp_sgd,
     [] {
       return rand({32, 20}).realize();
     },
     labels<32, 5>},
    {"conv_adam", conv_adam,
     [] {
       return rand({16, 1, 14, 14}).realize();
     },
     labels<16, 10>},
    {"gpt_adamw", gpt_adamw,
     [] {
       return randint(0, 65, {8, 32}).realize();
     },
     [] {
       return randint(0, 65, {8, 32}).realize();
     }},
    {"mnist 128", digits,
     [] {
       return rand({128, 1, 28, 28}).realize();
     },
     labels<128, 10>},
    {"resnet18 1", resnet18,
     [] {
       return rand({1, 3, 224, 224}).realize();
     },
     labels<1, 1000>},
    {"resnet18 8", resnet18,
     [] {
       return rand({8, 3, 224, 224}).realize();
     },
     labels<8, 1000>},
    {"gpt2 2x64", gpt2, tokens<2, 64>, tokens<2, 64>, true},
    {"gpt2 8x1024", gpt2, tokens<8, 1024>, tokens<8, 1024>, true},
    {"gpt2 32x1024", gpt2, tokens<32, 1024>, tokens<32, 1024>, true},
    {"gpt2-int8 32x1024", gpt2_int8, tokens<32, 1024>, tokens<32, 1024>, true},
    {"gpt2-int8-wide 32x1024", gpt2_int8_wide, tokens<32, 1024>, tokens<32, 1024>, true},
    {"gpt2-fp8 32x1024", gpt2_fp8, tokens<32, 1024>, tokens<32, 1024>, true},
    {"resnet50 256", resnet50,
     [] {
       return rand({256, 3, 224, 224}).realize();
     },
     labels<256, 1000>, true},
};

bool listing = false;
StepOptions step_options;
std::string shown;

// The kernels of a step on a target that may not be here, the same ones together.
void plan(const Case& each, Planned& planned) {
  Training training = each.training();
  const Tensor x = each.x();
  const Tensor y = each.y();
  Step recorded([&] { return step(training, x, y).loss; }, step_options);
  planned.clear();
  const double took = seconds([&] { recorded(); });
  struct Sum {
    int count = 0;
    double operations = 0, bytes = 0, most = 0;
  };
  std::map<std::string, Sum> sums;
  Sum all;
  for (std::size_t i = 0; i < planned.kernels().size(); ++i) {
    const Planned::Kernel& kernel = planned.kernels()[i];
    if (kernel.name == shown) fmt::print("{}\n", print(planned.lowered()[i]));
    if (listing) {
      fmt::print("{:10.3f} GFLOP {:10.3f} MB {:10.3f} counted  {}\n", kernel.operations * 1e-9,
                 kernel.bytes * 1e-6, kernel.most * 1e-6, kernel.name);
    }
    for (Sum* sum : {&sums[kernel.name], &all}) {
      ++sum->count;
      sum->operations += kernel.operations;
      sum->bytes += kernel.bytes;
      sum->most += kernel.most;
    }
  }
  Table table({each.name, "kernels", "GFLOP", "MB", "MB counted"});
  const auto row = [&](const std::string& name, const Sum& sum) {
    table.add({name, fmt::format("{}", sum.count), fmt::format("{:.1f}", sum.operations * 1e-9),
               fmt::format("{:.1f}", sum.bytes * 1e-6), fmt::format("{:.1f}", sum.most * 1e-6)});
  };
  for (const auto& [name, sum] : sums) row(name, sum);
  row("all", all);
  fmt::print("planned in {:.2f} s; temporary memory {:.1f} MB\n", took,
             planned.temporary_bytes() * 1e-6);
}

// Of the device, by its sensors; nothing where it has none.
std::optional<double> free_bytes() {
  const auto bytes = read_sensors(Engine::shared().device().info().id).free_bytes;
  return bytes ? std::optional(static_cast<double>(*bytes)) : std::nullopt;
}

void measure(const Case& each, Table& table) {
  const std::optional<double> before = free_bytes();
  Training training = each.training();
  const Tensor x = each.x();
  const Tensor y = each.y();
  Step recorded([&] { return step(training, x, y).loss; }, step_options);
  const double first = seconds([&] { recorded()[0].item<float>(); });
  const double replayed = one_round([&] { recorded()[0].item<float>(); }, {.seconds_per_side = 1});
  const std::optional<double> after = free_bytes();
  const double plain =
      one_round([&] { step(training, x, y).loss.item<float>(); }, {.seconds_per_side = 1});
  std::vector<Step::KernelTime> times = recorded.timed();
  const auto ms = [](double s) { return fmt::format("{:.2f}", s * 1e3); };
  table.add({each.name, fmt::format("{}", times.size()), ms(first), ms(replayed), ms(plain),
             before && after ? fmt::format("{:.1f}", (*before - *after) * 1e-9) : "-"});
  std::map<std::string, std::pair<int, double>> sums;
  for (const Step::KernelTime& time : times) {
    if (listing) fmt::print("{:10.4f} ms  {}\n", time.seconds * 1e3, time.name);
    auto& [count, sum] = sums[time.name];
    ++count;
    sum += time.seconds;
  }
  std::vector<std::pair<std::string, std::pair<int, double>>> dearest(sums.begin(), sums.end());
  std::ranges::sort(dearest, std::greater(), [](const auto& sum) { return sum.second.second; });
  if (dearest.size() > 20) dearest.resize(20);
  for (const auto& [name, sum] : dearest)
    table.add({"  " + name, fmt::format("{}", sum.first), "", ms(sum.second), "", ""});
}

struct AttentionCase {
  std::int64_t batch, heads, length, width;
  bool causal;
};
constexpr AttentionCase attentions[] = {{4, 32, 4096, 128, true},
                                        {4, 32, 4096, 128, false},
                                        {2, 16, 16384, 128, true},
                                        {8, 32, 2048, 64, true}};

// What the gradients of queries, keys and values cost beyond the result itself.
void measure_attentions() {
  Table table({"attention, gradients", "ms", "TFLOP/s"});
  for (const AttentionCase& c : attentions) {
    const auto random = [&] {
      return randn({c.batch, c.heads, c.length, c.width}).cast(DType::bfloat16).realize();
    };
    const std::vector<Tensor> in = {random(), random(), random()};
    const Tensor g = random();
    const auto result = [&] {
      return scaled_dot_product_attention(in[0], in[1], in[2], {.causal = c.causal});
    };
    Step forward([&] { return result(); });
    for (const Tensor& x : in) x.requires_grad_();
    Step both([&] {
      const Tensor y = result();
      std::vector<Tensor> all = grad({y}, in, {g});
      all.push_back(y.detach());
      return all;
    });
    const auto run = [](Step& step) {
      return one_round([&] { step()[0].select(0, 0).select(0, 0).select(0, 0).to_vector<float>(); },
                       {.seconds_per_side = 0.5});
    };
    run(forward);
    run(both);
    const double seconds = run(both) - run(forward);
    const auto size = static_cast<double>(c.length);
    const double work =
        10 * static_cast<double>(c.batch * c.heads * c.width) * size * size * (c.causal ? 0.5 : 1);
    table.add({fmt::format("B{} H{} S{} D{} {}", c.batch, c.heads, c.length, c.width,
                           c.causal ? "causal" : "full"),
               fmt::format("{:.3f}", seconds * 1e3), fmt::format("{:.0f}", work / seconds / 1e12)});
  }
}

}  // namespace

int main(int argc, char** argv) {
  begin(argv, "train: a step, recorded (Step) and not");
  if (argc > 1 && argv[1] == std::string_view("--list")) {
    listing = true;
    ++argv;
    --argc;
  }
  if (argc > 2 && argv[1] == std::string_view("--show")) {
    shown = argv[2];
    argv += 2;
    argc -= 2;
  }
  if (argc > 2 && argv[1] == std::string_view("--memory")) {
    const auto bytes = parse_bytes(argv[2]);
    if (!bytes) {
      fmt::print(stderr, "--memory is \"{}\"; it may be bytes, as 8G\n", argv[2]);
      return 2;
    }
    step_options.memory = *bytes;
    argv += 2;
    argc -= 2;
  }
  if (argc > 2 && argv[1] == std::string_view("--target")) {
    Planned planned(argv[2], step_options.memory);
    use_executor(&planned);
    const std::set<std::string> named(argv + 3, argv + argc);
    for (const Case& each : cases) {
      if (named.count(each.name) != 0) plan(each, planned);
    }
    use_executor(nullptr);
    return 0;
  }
  const std::set<std::string> chosen(argv + 1, argv + argc);
  if (chosen.count("attention") != 0) measure_attentions();
  Table table({"model", "kernels", "ms first", "ms recorded", "ms not recorded", "GB held"});
  for (const Case& each : cases) {
    if (chosen.empty() ? !each.for_gpu : chosen.count(each.name) != 0) measure(each, table);
  }
}
