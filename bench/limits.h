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

namespace limits {

// In the widest registers that the machine has, with hints `ahead` floats before the use (0: none).
// Each version says its registers itself: the compiler would cut wider vectors up before it looks
// at the target of a function.
#define BENCH_SUM_OF(NAME, TARGET, VECTOR, LOAD, ADD)                                     \
  __attribute__((target(TARGET))) inline float NAME(const float* data, std::size_t count, \
                                                    std::size_t ahead) {                  \
    constexpr std::size_t lanes = sizeof(VECTOR) / sizeof(float);                         \
    VECTOR sums[8] = {};                                                                  \
    for (std::size_t i = 0; i < count; i += 8 * lanes) {                                  \
      for (std::size_t j = 0; ahead > 0 && j < 8 * lanes; j += 16) {                      \
        __builtin_prefetch(data + i + j + ahead);                                         \
      }                                                                                   \
      _Pragma("GCC unroll 8") for (std::size_t j = 0; j < 8; ++j) {                       \
        sums[j] = ADD(sums[j], LOAD(data + i + j * lanes));                               \
      }                                                                                   \
    }                                                                                     \
    float total = 0;                                                                      \
    for (const VECTOR& sum : sums) total += sum[0];                                       \
    return total;                                                                         \
  }
BENCH_SUM_OF(read_sse, "sse2", __m128, _mm_load_ps, _mm_add_ps)
BENCH_SUM_OF(read_avx, "avx2", __m256, _mm256_load_ps, _mm256_add_ps)
BENCH_SUM_OF(read_avx512, "avx512f", __m512, _mm512_load_ps, _mm512_add_ps)
#undef BENCH_SUM_OF

/// Adds up a part of the numbers, so that all must be read.
inline float read(const float* data, std::size_t count, std::size_t ahead) {
  if (__builtin_cpu_supports("avx512f")) return read_avx512(data, count, ahead);
  if (__builtin_cpu_supports("avx2")) return read_avx(data, count, ahead);
  return read_sse(data, count, ahead);
}

// As many chains as hide the latency of two multiply-add units: 10, or 20 where there are 32
// registers. Gives the operations done.
#define BENCH_MULTIPLY_ADD(NAME, TARGET, VECTOR, SET, STEP, CHAINS)                              \
  __attribute__((target(TARGET))) inline double NAME(double* sink) {                             \
    constexpr int steps = 1'000'000;                                                             \
    VECTOR sums[CHAINS];                                                                         \
    for (int j = 0; j < CHAINS; ++j) sums[j] = SET(static_cast<float>(j));                       \
    const VECTOR factor = SET(0.999F);                                                           \
    for (int i = 0; i < steps; ++i) {                                                            \
      _Pragma("GCC unroll 20") for (int j = 0; j < CHAINS; ++j) sums[j] = STEP(sums[j], factor); \
    }                                                                                            \
    for (const VECTOR& sum : sums) *sink += static_cast<double>(sum[0]);                         \
    return 2.0 * (sizeof(VECTOR) / sizeof(float)) * CHAINS * steps;                              \
  }
#define BENCH_SSE_STEP(sum, factor) _mm_add_ps(_mm_mul_ps(sum, factor), factor)
#define BENCH_AVX_STEP(sum, factor) _mm256_fmadd_ps(sum, factor, factor)
#define BENCH_AVX512_STEP(sum, factor) _mm512_fmadd_ps(sum, factor, factor)
BENCH_MULTIPLY_ADD(multiply_add_sse, "sse2", __m128, _mm_set1_ps, BENCH_SSE_STEP, 10)
BENCH_MULTIPLY_ADD(multiply_add_avx, "avx2,fma", __m256, _mm256_set1_ps, BENCH_AVX_STEP, 10)
BENCH_MULTIPLY_ADD(multiply_add_avx512, "avx512f", __m512, _mm512_set1_ps, BENCH_AVX512_STEP, 20)
#undef BENCH_MULTIPLY_ADD

inline double multiply_add(double* sink) {
  if (__builtin_cpu_supports("avx512f")) return multiply_add_avx512(sink);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return multiply_add_avx(sink);
  }
  return multiply_add_sse(sink);
}

/// Past the caches: without it a store first reads the line that it will overwrite.
inline void stream(float* to, const float* from, std::size_t count) {
  for (std::size_t i = 0; i < count; i += 4) _mm_stream_ps(to + i, _mm_load_ps(from + i));
  _mm_sfence();
}

inline void copy(float* to, const float* from, std::size_t count) {
  std::memcpy(to, from, count * sizeof(float));
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

  /// Bytes read a second, with or without hints, whichever is faster.
  double read(int threads_) const {
    return std::max(max_of(reads(threads_, 0)), max_of(reads(threads_, 1024)));
  }
  /// The same as passes usually are, not as the best is: for shares of work whose usual round
  /// counts.
  double usual_read(int threads_) const {
    return std::max(median(reads(threads_, 0)), median(reads(threads_, 1024)));
  }
  /// Bytes read plus bytes written a second, with streaming stores or memcpy, whichever is faster.
  double copy(int threads_) const {
    return std::max(streaming_copy(threads_), plain_copy(threads_));
  }
  double streaming_copy(int threads_) const {
    return max_of(rates(threads_, 2, [&](std::size_t at, std::size_t n) {
      limits::stream(to_.get() + at, from_.get() + at, n);
    }));
  }
  double plain_copy(int threads_) const {
    return max_of(rates(threads_, 2, [&](std::size_t at, std::size_t n) {
      limits::copy(to_.get() + at, from_.get() + at, n);
    }));
  }

 private:
  static double max_of(const std::vector<double>& all) {
    return *std::max_element(all.begin(), all.end());
  }
  std::vector<double> reads(int threads_, std::size_t ahead) const {
    return rates(threads_, 1, [&](std::size_t at, std::size_t n) {
      volatile float sink = limits::read(from_.get() + at, n, ahead);
      static_cast<void>(sink);
    });
  }
  using Memory = std::unique_ptr<float[], decltype(&std::free)>;
  static Memory allocate() {
    auto* data = static_cast<float*>(std::aligned_alloc(1 << 21, count * sizeof(float)));
    Random random;
    for (std::size_t i = 0; i < count; ++i) data[i] = static_cast<float>(random.bits() >> 40);
    return {data, &std::free};
  }
  // Of each of several passes; each thread takes its part.
  template <typename F>
  static std::vector<double> rates(int threads_, int streams, const F& work) {
    const std::size_t part = count / static_cast<std::size_t>(threads_);
    std::vector<double> result;
    for (int pass = 0; pass < 5; ++pass) {
      const double took = limits::together(
          threads_, [&](int t) { work(static_cast<std::size_t>(t) * part, part); });
      result.push_back(static_cast<double>(count * sizeof(float)) * streams / took);
    }
    return result;
  }
  Memory from_, to_;
};

/// Single-precision operations a second, a multiply-add being two.
inline double multiply_add_peak(int threads_) {
  double best = 0;
  for (int pass = 0; pass < 20; ++pass) {
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
