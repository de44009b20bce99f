// The machine's limits, measured by plain loops of our own on as many threads as asked: bandwidth
// of reading and of copying beyond the caches, and the rate of multiply-adds. Output: bytes or
// operations per second, the best of several passes. They are what shares of the hardware in the
// other benchmarks refer to, measured again in each run.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <span>

#include "base/host_block.h"
#include "measure.h"

namespace bench {

namespace limits {

// In the widest registers that the machine has, of `streams` parts of the memory side by side, with
// hints `ahead` bytes before the use (0: none). Each version says its registers itself: the
// compiler would cut wider vectors up before it looks at the target of a function.
#define BENCH_SUM_OF(NAME, TARGET, VECTOR, LOAD, ADD)                                              \
  template <std::size_t streams>                                                                   \
  __attribute__((target(TARGET))) inline std::int64_t NAME(const std::byte* data,                  \
                                                           std::size_t bytes, std::size_t ahead) { \
    constexpr std::size_t step = 8 * sizeof(VECTOR) / streams;                                     \
    const std::size_t part = bytes / streams / step * step;                                        \
    VECTOR sums[8] = {};                                                                           \
    for (std::size_t i = 0; i < part; i += step) {                                                 \
      for (std::size_t s = 0; ahead > 0 && s < streams; ++s) {                                     \
        for (std::size_t j = 0; j < step; j += 64) {                                               \
          __builtin_prefetch(data + s * part + i + j + ahead);                                     \
        }                                                                                          \
      }                                                                                            \
      _Pragma("GCC unroll 8") for (std::size_t j = 0; j < 8; ++j) {                                \
        const std::byte* at = data + j % streams * part + i + j / streams * sizeof(VECTOR);        \
        sums[j] = ADD(sums[j], LOAD(reinterpret_cast<const VECTOR*>(at)));                         \
      }                                                                                            \
    }                                                                                              \
    std::int64_t total = 0;                                                                        \
    for (const VECTOR& sum : sums) total += sum[0];                                                \
    return total;                                                                                  \
  }
BENCH_SUM_OF(read_sse, "sse2", __m128i, _mm_load_si128, _mm_add_epi64)
BENCH_SUM_OF(read_avx, "avx2", __m256i, _mm256_load_si256, _mm256_add_epi64)
BENCH_SUM_OF(read_avx512, "avx512f", __m512i, _mm512_load_si512, _mm512_add_epi64)
#undef BENCH_SUM_OF

/// Adds up a part of the memory, so that all must be read; `data` is aligned to 64 bytes.
template <std::size_t streams>
std::int64_t read(const std::byte* data, std::size_t bytes, std::size_t ahead) {
  if (__builtin_cpu_supports("avx512f")) return read_avx512<streams>(data, bytes, ahead);
  if (__builtin_cpu_supports("avx2")) return read_avx<streams>(data, bytes, ahead);
  return read_sse<streams>(data, bytes, ahead);
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

/// Bytes a second in each of several passes over so many bytes by work(thread).
template <typename F>
std::vector<double> pass_rates(int threads_, std::size_t bytes, const F& work) {
  std::vector<double> rates;
  for (int pass = 0; pass < 5; ++pass)
    rates.push_back(static_cast<double>(bytes) / limits::together(threads_, work));
  return rates;
}

/// Bytes read a second from memory beyond the caches by so many threads, in each of several passes.
/// Ways to read differ by how many streams a thread follows and how far ahead it asks; these are
/// the passes of the way that is fastest by its median.
inline std::vector<double> read_rates(std::span<const std::byte> memory, int threads_) {
  const std::size_t part = memory.size() / static_cast<std::size_t>(threads_) / 4096 * 4096;
  std::vector<double> best;
  const auto try_way = [&](auto read, std::size_t ahead) {
    const auto rates = pass_rates(threads_, part * static_cast<std::size_t>(threads_), [&](int t) {
      volatile std::int64_t sink =
          read(memory.data() + static_cast<std::size_t>(t) * part, part, ahead);
      static_cast<void>(sink);
    });
    if (best.empty() || median(rates) > median(best)) best = rates;
  };
  for (const std::size_t ahead : {0, 1024, 4096}) {
    try_way(limits::read<1>, ahead);
    try_way(limits::read<4>, ahead);
  }
  return best;
}

/// Memory beyond the caches for the bandwidths below, 256 MB and as much again, in large pages
/// where the system has them, as brisk's own arrays are.
class Bandwidth {
 public:
  static constexpr std::size_t count = std::size_t{64} << 20;  // floats

  Bandwidth() : from_(allocate()), to_(allocate()) {}

  /// Bytes read a second.
  double read(int threads_) const {
    return max_of(read_rates({reinterpret_cast<const std::byte*>(from_.get()), bytes}, threads_));
  }
  /// Bytes read plus bytes written a second, with streaming stores or memcpy, whichever is faster.
  double copy(int threads_) const {
    return std::max(streaming_copy(threads_), plain_copy(threads_));
  }
  double streaming_copy(int threads_) const { return copy_by(limits::stream, threads_); }
  double plain_copy(int threads_) const { return copy_by(limits::copy, threads_); }

 private:
  static constexpr std::size_t bytes = count * sizeof(float);

  static double max_of(const std::vector<double>& all) {
    return *std::max_element(all.begin(), all.end());
  }
  using Memory = std::unique_ptr<float[], decltype(&std::free)>;
  static Memory allocate() {
    auto* data = static_cast<float*>(brisk::allocate_block(bytes));
    Random random;
    for (std::size_t i = 0; i < count; ++i) data[i] = static_cast<float>(random.bits() >> 40);
    return {data, &std::free};
  }
  // The best of several passes; each thread takes its part.
  template <typename F>
  double copy_by(const F& copy, int threads_) const {
    const std::size_t part = count / static_cast<std::size_t>(threads_);
    return max_of(pass_rates(threads_, 2 * bytes, [&](int t) {
      const std::size_t at = static_cast<std::size_t>(t) * part;
      copy(to_.get() + at, from_.get() + at, part);
    }));
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
