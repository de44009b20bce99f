// What a step of training costs: three small models, recorded and not, and the kernels that take
// the time. Input: ../shared/data/train is not needed; batches are random.
#include "measure.h"
#include "nn/trajectories.h"

#include <algorithm>

namespace {

using namespace bench;
using namespace brisk;

struct Batch {
  Tensor x;
  Tensor y;
};

Batch batch_of(const std::string& name) {
  if (name == "mlp_sgd") return {rand({32, 20}).realize(), randint(0, 5, {32}).realize()};
  if (name == "conv_adam") return {rand({16, 1, 14, 14}).realize(), randint(0, 10, {16}).realize()};
  return {randint(0, 65, {8, 32}).realize(), randint(0, 65, {8, 32}).realize()};
}

}  // namespace

int main(int, char** argv) {
  begin(argv, "train: a step of small models, recorded (Step) and not");
  Table table({"model", "kernels", "µs recorded", "µs not recorded"});
  for (const Trajectory& trajectory : trajectories) {
    Training training = trajectory.run();
    const Batch batch = batch_of(trajectory.name);
    const double plain = one_round([&] { step(training, batch.x, batch.y).loss.item<float>(); },
                                   {.seconds_per_side = 1});
    Step recorded([&] { return step(training, batch.x, batch.y).loss; });
    const double replayed =
        one_round([&] { recorded()[0].item<float>(); }, {.seconds_per_side = 1});
    std::vector<Step::KernelTime> times = recorded.timed();
    table.add({trajectory.name, fmt::format("{}", times.size()),
               fmt::format("{:.0f}", replayed * 1e6), fmt::format("{:.0f}", plain * 1e6)});
    std::ranges::sort(times, std::greater(), &Step::KernelTime::seconds);
    for (std::size_t i = 0; i < std::min<std::size_t>(times.size(), 8); ++i) {
      table.add({"  " + times[i].name, "", fmt::format("{:.1f}", times[i].seconds * 1e6), ""});
    }
  }
}
