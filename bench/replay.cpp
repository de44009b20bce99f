// What a kernel costs beside its work when a compiled graph is replayed: chains of kernels so small
// that nothing else is left, each reading what the one before wrote.
#include "measure.h"

namespace {

using namespace bench;
using brisk::Tensor;

// Products of small matrices: neither fuses with the next.
Tensor chain(std::int64_t n, int length) {
  Tensor x = random_tensor({n, n});
  const Tensor factor =
      random_tensor({n, n}, -1.0F / static_cast<float>(n), 1.0F / static_cast<float>(n));
  for (int i = 0; i < length; ++i) x = matmul(x, factor);
  return x;
}

}  // namespace

int main(int, char** argv) {
  begin(argv, "replay: overhead of a replayed kernel, chains of products of small matrices");
  Table table({"matrices", "kernels", "µs per kernel, hot", "after 1 ms of sleep"});
  for (const std::int64_t n : {16, 32, 64}) {
    Replay replay(chain(n, 200));
    const double kernels = static_cast<double>(replay.kernels());
    const double hot = one_round([&] { replay(); }, {.seconds_per_side = 0.5});
    std::vector<double> cold;
    for (int i = 0; i < 50; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      cold.push_back(seconds([&] { replay(); }));
    }
    table.add({fmt::format("{} × {}", n, n), fmt::format("{}", kernels),
               fmt::format("{:.2f}", hot / kernels * 1e6),
               fmt::format("{:.2f}", median(cold) / kernels * 1e6)});
  }
}
