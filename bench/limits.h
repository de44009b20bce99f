// The machine's limits, measured by plain loops of our own on as many threads as asked: bandwidth
// of reading and of copying beyond the caches, and the rate of multiply-adds. Output: bytes or
// operations per second, the best of several passes. They are what shares of the hardware in the
// other benchmarks refer to, measured again in each run.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <cstring>
#include <memory>

#include "measure.h"

namespace bench {

/// One version for each level of x86-64, chosen when the program starts.
#define BENCH_ANY_LEVEL \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), optimize("O3")))

namespace limits {

using Wide = float __attribute__((vector_size(64), aligned(64)));

BENCH_ANY_LEVEL inline float read(const float* data, std::size_t count) {
  Wide sums[8] = {};
  const auto* wide = reinterpret_cast<const Wide*>(data);
  for (std::size_t i = 0; i < count / 16; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) sums[j] += wide[i + j];
  }
  float total = 0;
  for (const Wide& sum : sums) {
    for (int lane = 0; lane < 16; ++lane) total += sum[lane];
  }
  return total;
}

/// Past the caches: without it a store first reads the line that it will overwrite.
inline void stream(float* to, const float* from, std::size_t count) {
  for (std::size_t i = 0; i < count; i += 4) _mm_stream_ps(to + i, _mm_load_ps(from + i));
  _mm_sfence();
}

inline void copy(float* to, const float* from, std::size_t count) {
  std::memcpy(to, from, count * sizeof(float));
}

/// 20 chains hide the latency of two multiply-add units; returns the operations done.
BENCH_ANY_LEVEL inline double multiply_add(double* sink) {
  Wide sums[20];
  for (int j = 0; j < 20; ++j) sums[j] = Wide{} + static_cast<float>(j);
  Wide factor = Wide{} + 0.999F;
  const int steps = 100'000;
  for (int i = 0; i < steps; ++i) {
#pragma GCC unroll 20
    for (int j = 0; j < 20; ++j) sums[j] = sums[j] * factor + factor;
  }
  for (const Wide& sum : sums) *sink += static_cast<double>(sum[3]);
  return 2.0 * 16 * 20 * steps;
}

/// Runs work(thread) on `count` threads that start together; seconds until all are done.
template <typename F>
double together(int count, const F& work) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> pool;
  for (int t = 0; t < count; ++t) {
    pool.emplace_back([&, t] {
      ++ready;
      while (!go) {
      }
      work(t);
    });
  }
  while (ready < count) std::this_thread::yield();
  const auto start = Clock::now();
  go = true;
  for (auto& thread : pool) thread.join();
  return seconds_since(start);
}

}  // namespace limits

/// Memory beyond the caches for the two bandwidths below: 256 MB and as much again.
class Bandwidth {
 public:
  static constexpr std::size_t count = std::size_t{64} << 20;  // floats

  Bandwidth() : from_(allocate()), to_(allocate()) {}

  /// Bytes read a second.
  double read(int threads_) const {
    return best(threads_, 1, [&](std::size_t at, std::size_t n) {
      volatile float sink = limits::read(from_.get() + at, n);
      static_cast<void>(sink);
    });
  }
  /// Bytes read plus bytes written a second, with streaming stores or memcpy, whichever is faster.
  double copy(int threads_) const {
    return std::max(streaming_copy(threads_), plain_copy(threads_));
  }
  double streaming_copy(int threads_) const {
    return best(threads_, 2, [&](std::size_t at, std::size_t n) {
      limits::stream(to_.get() + at, from_.get() + at, n);
    });
  }
  double plain_copy(int threads_) const {
    return best(threads_, 2, [&](std::size_t at, std::size_t n) {
      limits::copy(to_.get() + at, from_.get() + at, n);
    });
  }

 private:
  using Memory = std::unique_ptr<float[], decltype(&std::free)>;
  static Memory allocate() {
    auto* data = static_cast<float*>(std::aligned_alloc(1 << 21, count * sizeof(float)));
    Random random;
    for (std::size_t i = 0; i < count; ++i) data[i] = static_cast<float>(random.bits() >> 40);
    return {data, &std::free};
  }
  // Best of several passes; each thread takes one half.
  template <typename F>
  static double best(int threads_, int streams, const F& work) {
    const std::size_t part = count / static_cast<std::size_t>(threads_);
    double least = 1e9;
    for (int pass = 0; pass < 6; ++pass) {
      least = std::min(least, limits::together(threads_, [&](int t) {
                         work(static_cast<std::size_t>(t) * part, part);
                       }));
    }
    return static_cast<double>(count * sizeof(float)) * streams / least;
  }
  Memory from_, to_;
};

/// Single-precision operations a second, a multiply-add being two.
inline double multiply_add_peak(int threads_) {
  double best = 0;
  for (int pass = 0; pass < 40; ++pass) {
    std::atomic<double> operations{0};
    const double took = limits::together(threads_, [&](int) {
      double sink = 0;
      const double done = limits::multiply_add(&sink);
      volatile double keep = sink;
      static_cast<void>(keep);
      operations.fetch_add(done);
    });
    best = std::max(best, operations / took);
  }
  return best;
}

}  // namespace bench
