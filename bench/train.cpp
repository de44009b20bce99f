// What a step of training costs: small models, recorded and not, the kernels that take the time,
// and a first step that nothing was compiled for. Batches are random.
//
//   brisk_bench_train [NAME…]     only these; first steps are cold where BRISK_CACHE is a new
//   folder
#include "measure.h"
#include "nn/trajectories.h"
#include "train_models.h"

#include <algorithm>
#include <set>

namespace {

using namespace bench;
using namespace brisk;

struct Case {
  const char* name;
  Training (*training)();
  Tensor (*x)();
  Tensor (*y)();
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
};

void measure(const Case& each, Table& table) {
  Training training = each.training();
  const Tensor x = each.x();
  const Tensor y = each.y();
  Step recorded([&] { return step(training, x, y).loss; });
  const double first = seconds([&] { recorded()[0].item<float>(); });
  const double replayed = one_round([&] { recorded()[0].item<float>(); }, {.seconds_per_side = 1});
  const double plain =
      one_round([&] { step(training, x, y).loss.item<float>(); }, {.seconds_per_side = 1});
  std::vector<Step::KernelTime> times = recorded.timed();
  const auto ms = [](double s) { return fmt::format("{:.2f}", s * 1e3); };
  table.add({each.name, fmt::format("{}", times.size()), ms(first), ms(replayed), ms(plain)});
  std::ranges::sort(times, std::greater(), &Step::KernelTime::seconds);
  for (std::size_t i = 0; i < std::min<std::size_t>(times.size(), 12); ++i) {
    table.add({"  " + times[i].name, "", "", ms(times[i].seconds), ""});
  }
}

}  // namespace

int main(int argc, char** argv) {
  begin(argv, "train: a step, recorded (Step) and not");
  const std::set<std::string> chosen(argv + 1, argv + argc);
  Table table({"model", "kernels", "ms first", "ms recorded", "ms not recorded"});
  for (const Case& each : cases) {
    if (chosen.empty() || chosen.count(each.name) != 0) measure(each, table);
  }
}
