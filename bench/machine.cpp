// The machine's own limits: bandwidth of reading and copying beyond the caches and the rate of
// multiply-adds in single precision, with 1 and 2 threads.
#include "limits.h"

int main(int, char** argv) {
  using namespace bench;
  begin(argv, "machine: limits by plain loops, best of several passes");
  const Bandwidth memory;
  Table table({"", "1 thread", "2 threads"});
  const auto row = [&](const char* name, double unit, const std::function<double(int)>& measure) {
    table.add(
        {name, fmt::format("{:.1f}", measure(1) / unit), fmt::format("{:.1f}", measure(2) / unit)});
  };
  row("read, GB/s", 1e9, [&](int n) { return memory.read(n); });
  row("copy, streaming stores, read + written GB/s", 1e9,
      [&](int n) { return memory.streaming_copy(n); });
  row("copy, memcpy, read + written GB/s", 1e9, [&](int n) { return memory.plain_copy(n); });
  row("multiply-add, GFLOP/s", 1e9, multiply_add_peak);
}
