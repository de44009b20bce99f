// What every benchmark shares: 2 threads on both sides, the peer and brisk interleaved in one
// process, data at random, a plain table on stdout. Input: functions to time; output: medians,
// their ratio, and rows of text.
//
// A comparison alternates: pause, one run that is not timed, some runs that are; first one side,
// then the other, for several rounds. The pause lets the other side's threads stop spinning
// (OpenBLAS's for some 26 ms). The ratio is the median of the rounds' ratios, so that a load from
// elsewhere, which lasts longer than a round, weighs on both sides of it.
#pragma once

#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "brisk/brisk.h"
#include "engine/engine.h"
#include "tensor/node_of.h"

namespace bench {

using Clock = std::chrono::steady_clock;
using Work = std::function<void()>;

inline constexpr int threads = 2;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

inline double seconds(const Work& work) {
  const auto start = Clock::now();
  work();
  return seconds_since(start);
}

inline double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// First thing in main: starts the program again where the environment does not give both sides
/// their 2 threads, since the libraries read it before main. Says what the machine is doing.
inline void begin(char** argv, const std::string& title) {
  if (getenv("BRISK_THREADS") == nullptr) {
    const std::string count = std::to_string(threads);
    for (const char* name : {"BRISK_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"}) {
      setenv(name, count.c_str(), 1);
    }
    execv("/proc/self/exe", argv);
  }
  double load = 0;
  getloadavg(&load, 1);
  fmt::print("\n== {}\n{} threads of {} processors, load {:.1f} before\n", title, threads,
             std::thread::hardware_concurrency(), load);
  std::fflush(stdout);
}

struct Comparison {
  double peer = 0, brisk = 0;  // seconds, medians
  double ratio = 0;            // peer / brisk: above 1 brisk is faster
};

struct Effort {
  int rounds = 7;
  double seconds_per_side = 0.1;  // timed, in each round
};

/// Seconds of one side in one round, each run's.
inline std::vector<double> runs(const Work& work, const Effort& effort) {
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  const double once = seconds(work);
  const int count = std::clamp(static_cast<int>(effort.seconds_per_side / once), 1, 1000);
  std::vector<double> times;
  for (int i = 0; i < count; ++i) times.push_back(seconds(work));
  return times;
}

inline double one_round(const Work& work, const Effort& effort) {
  return median(runs(work, effort));
}

inline Comparison compare(const Work& peer, const Work& brisk, const Effort& effort = {}) {
  std::vector<double> peers, ours, ratios;
  for (int i = 0; i < effort.rounds; ++i) {
    peers.push_back(one_round(peer, effort));
    ours.push_back(one_round(brisk, effort));
    ratios.push_back(peers.back() / ours.back());
  }
  return {median(peers), median(ours), median(ratios)};
}

/// Columns of text, each row printed as it comes: the first to the left, the others to the right,
/// as wide as their heads.
class Table {
 public:
  explicit Table(std::vector<std::string> head) : head_(std::move(head)) {}
  void add(const std::vector<std::string>& row) {
    if (!std::exchange(begun_, true)) print(head_);
    print(row);
  }

 private:
  void print(const std::vector<std::string>& row) const {
    std::string line = fmt::format("{:<28}", row[0]);
    for (std::size_t i = 1; i < row.size(); ++i) {
      line += fmt::format("  {:>{}}", row[i], std::max<std::size_t>(head_[i].size(), 6));
    }
    fmt::print("{}\n", line);
    std::fflush(stdout);
  }
  std::vector<std::string> head_;
  bool begun_ = false;
};

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
class Random {
 public:
  explicit Random(std::uint64_t seed = 1) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  float uniform(float least = -1, float end = 1) {
    return least + (end - least) * static_cast<float>(bits() >> 40) * 0x1p-24F;
  }
  std::vector<float> uniforms(std::size_t count, float least = -1, float end = 1) {
    std::vector<float> values(count);
    for (float& value : values) value = uniform(least, end);
    return values;
  }
  std::vector<std::byte> bytes(std::size_t count) {
    std::vector<std::byte> values(count);
    for (std::byte& value : values) value = static_cast<std::byte>(bits());
    return values;
  }

 private:
  std::uint64_t state_;
};

/// A float32 tensor of uniform values in memory.
inline brisk::Tensor random_tensor(const std::vector<std::int64_t>& shape, float least = -1,
                                   float end = 1) {
  static Random random(7);
  std::size_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  return brisk::from_host(std::span<const float>(random.uniforms(count, least, end)), shape);
}

/// Tensors compiled once and computed again and again into the same memory.
class Replay {
 public:
  explicit Replay(const std::vector<brisk::Tensor>& tensors)
      : plan_(nodes_of(tensors), brisk::Engine::shared()) {}
  explicit Replay(const brisk::Tensor& tensor) : Replay(std::vector{tensor}) {}
  void operator()() {
    plan_.run();
    brisk::Engine::shared().device().synchronize();
  }
  std::size_t kernels() const { return plan_.kernels().size(); }
  const brisk::Plan& plan() const { return plan_; }
  /// Output `i` as numbers of type T, which must be its dtype's.
  template <typename T>
  std::vector<T> read(std::size_t i = 0) const {
    const auto bytes = brisk::Engine::shared().read(plan_.outputs()[i]);
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

 private:
  static std::vector<brisk::Node> nodes_of(const std::vector<brisk::Tensor>& tensors) {
    std::vector<brisk::Node> nodes;
    for (const auto& tensor : tensors) nodes.push_back(brisk::node_of(tensor));
    return nodes;
  }
  brisk::Plan plan_;
};

}  // namespace bench
