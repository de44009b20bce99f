// The works of bench/gpu_cases.h for another program's process, through C functions, so that a peer
// is timed in the same process on the same data: bench/gpu_peer.py loads it. One work is open at a
// time. Functions that fail give -1 (gpu_burst a negative number); gpu_error says why.
#include <nlohmann/json.hpp>

#include "../gpu_cases.h"

namespace {

using namespace bench;

std::vector<GpuCase>& cases() {
  static std::vector<GpuCase> list = gpu_cases();
  return list;
}
std::optional<GpuWork> open_work;
std::string text;

// What `work` gives, or -1 with its message kept.
template <typename F>
auto guarded(const F& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::exception& error) {
    text = error.what();
    return -1;
  }
}

nlohmann::ordered_json describe(const GpuCase& work, const std::string& device) {
  nlohmann::ordered_json inputs = nlohmann::ordered_json::array();
  for (const GpuInput& input : work.inputs) {
    inputs.push_back({{"shape", input.shape}, {"dtype", brisk::name(input.dtype)}});
  }
  return {{"name", work.name},
          {"op", work.op},
          {"inputs", inputs},
          {"copies", work.copies},
          {"work", work.work},
          {"memory", work.bound == Bound::memory},
          {"limit", gpu_limit(device, work.bound)}};
}

}  // namespace

extern "C" {

/// Every work as JSON: a list of what describe() gives; limits are the device's.
const char* gpu_works() {
  static std::string list;
  guarded([] {
    const std::string device = brisk::Engine::shared().device().info().name;
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const GpuCase& work : cases()) all.push_back(describe(work, device));
    list = all.dump();
    return 0;
  });
  return list.c_str();
}

const char* gpu_error() { return text.c_str(); }

/// Compiles work `index` for inputs that lie at `inputs` on the host; gives its number of kernels.
int gpu_open(int index, const void* const* inputs) {
  return guarded([&] {
    const GpuCase& work = cases().at(static_cast<std::size_t>(index));
    open_work.emplace(work, [&](std::size_t i) {
      const GpuInput& input = work.inputs[i];
      auto bytes = static_cast<std::size_t>(brisk::byte_size(input.dtype));
      for (const std::int64_t size : input.shape) bytes *= static_cast<std::size_t>(size);
      return brisk::from_bytes({static_cast<const std::byte*>(inputs[i]), bytes}, input.shape,
                               input.dtype);
    });
    return static_cast<int>(open_work->kernels());
  });
}

/// Seconds of a run among `count`.
double gpu_burst(int count) {
  return guarded([&] { return open_work->burst(count); });
}

/// The result, which must have `bytes` bytes.
int gpu_result(void* to, long long bytes) {
  return guarded([&] {
    const std::vector<std::byte> result = open_work->result();
    if (result.size() != static_cast<std::size_t>(bytes)) {
      text = fmt::format("the result has {} bytes, the peer's {}", result.size(), bytes);
      return -1;
    }
    std::memcpy(to, result.data(), result.size());
    return 0;
  });
}

void gpu_close() { open_work.reset(); }
}
