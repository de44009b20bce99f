// Work that memory bounds, on data beyond the caches: bytes that must be read and written a second,
// against the bandwidth of copying (and, where next to nothing is written, of reading) that the
// same run measures between the work's own rounds.
#include "brisk/functional.h"
#include "limits.h"

namespace {

using namespace bench;
using brisk::Tensor;

class Report {
 public:
  // `arrays`: how many arrays of x's size are read and written.
  void add(const std::string& name, const Tensor& result, int arrays, double bytes_of_one) {
    Replay ours(result);
    const bool reads_only = arrays == 1;
    std::vector<double> shares, rates, limits;
    for (int round = 0; round < 3; ++round) {
      const double limit = reads_only ? memory_.read(threads) : memory_.copy(threads);
      const auto times = runs([&] { ours(); }, {.seconds_per_side = 0.2});
      const double took = *std::min_element(times.begin(), times.end());  // as the limit is taken
      rates.push_back(arrays * bytes_of_one / took);
      limits.push_back(limit);
      shares.push_back(rates.back() / limit);
    }
    table_.add({name, fmt::format("{:.1f}", median(rates) / 1e9),
                fmt::format("{} {:.1f}", reads_only ? "read" : "copy", median(limits) / 1e9),
                fmt::format("{:.2f}", median(shares)), fmt::format("{}", ours.kernels())});
  }

 private:
  Bandwidth memory_;
  Table table_{{"work", "GB/s", "limit GB/s   ", "share", "kernels"}};
};

}  // namespace

int main(int, char** argv) {
  begin(argv, "memory: work that memory bounds, share of the machine's bandwidth");
  Report report;
  const auto rows = [&](std::int64_t count, std::int64_t width) {
    const Tensor x = random_tensor({count, width}), y = random_tensor({count, width});
    const Tensor weight = random_tensor({width}), bias = random_tensor({width});
    const double bytes = static_cast<double>(count * width) * sizeof(float);
    const auto add = [&](const char* name, const Tensor& result, int arrays) {
      report.add(fmt::format("{} [{}, {}]", name, count, width), result, arrays, bytes);
    };
    add("x + y", x + y, 3);
    add("x + 1", x + 1, 2);
    add("gelu", gelu(x, brisk::Gelu::tanh), 2);
    add("sum of all", x.sum(), 1);
    add("sum of rows", x.sum(1), 1);
    add("sum of columns", x.sum(0), 1);
    add("softmax", x.softmax(1), 2);
    add("layer_norm", layer_norm(x, weight, bias), 2);
    add("rms_norm", rms_norm(x, weight), 2);
    add("transpose", x.transpose(0, 1).contiguous(), 2);
  };
  rows(16384, 4096);  // 256 MB an array: beyond the largest cache of any processor of today
  rows(2048, 32768);
}
