// What a launch costs beside its work: empty tasks on the CPU device, one and more tasks and phases
// a launch, hot and after a pause. Prints microseconds per launch, the median of many.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "codegen/codegen.h"
#include "device/cpu/cpu_device.h"
#include "kernel/kernel.h"

namespace {

using namespace brisk;
using Clock = std::chrono::steady_clock;

// `phases` phases of `tasks` tasks; a task writes one number.
Kernel empty_tasks(int phases, int tasks) {
  std::vector<Node> body;
  for (int p = 0; p < phases; ++p) {
    const Node i = make_range(p, tasks);
    body.push_back(loop(LoopKind::parallel, i,
                        store_to(make_param(0, DType::int64), mul(i, constant_int(8)), i)));
  }
  return {"empty", {{DType::int64, true, false}}, {}, {}, block(body)};
}

double microseconds_per_launch(Device& device, int phases, int tasks,
                               std::chrono::microseconds pause) {
  const Kernel kernel = empty_tasks(phases, tasks);
  const CodeObject code = compile(kernel, host_target());
  const auto program = device.load(code.object, code.symbol);
  const auto memory = device.allocate(static_cast<std::size_t>(tasks) * 64);
  void* const buffers[] = {memory->address()};
  const std::vector<std::int64_t> counts(static_cast<std::size_t>(phases), tasks);
  Launch launch;
  launch.program = program.get();
  launch.buffers = buffers;
  launch.phase_tasks = counts;
  std::vector<double> times;
  const int repeats = pause.count() > 0 ? 300 : 20000;
  for (int i = 0; i < repeats; ++i) {
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
    const auto start = Clock::now();
    device.launch(launch);
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[static_cast<std::size_t>(repeats / 2)];
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : host_target().threads;
  const auto device = make_cpu_device(threads);
  fmt::print("{} threads, microseconds per launch (median)\n", threads);
  fmt::print("phases  tasks     hot  after 1 ms\n");
  for (const auto& [phases, tasks] : {std::pair{1, 1}, {1, 2}, {1, 16}, {2, 2}, {4, 2}, {4, 16}}) {
    using std::chrono::microseconds;
    fmt::print("{:6}  {:5}  {:6.2f}  {:10.2f}\n", phases, tasks,
               microseconds_per_launch(*device, phases, tasks, microseconds(0)),
               microseconds_per_launch(*device, phases, tasks, microseconds(1000)));
  }
}
