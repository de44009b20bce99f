// Making tensors: from data, from a rule, and at random.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>

#include "brisk/tensor.h"

namespace brisk {

// ---- from data ----------------------------------------------------------------------------------

/// The DType of a C++ arithmetic type.
template <typename T>
inline constexpr DType dtype_of = DType::none;
template <>
inline constexpr DType dtype_of<bool> = DType::boolean;
template <>
inline constexpr DType dtype_of<std::int8_t> = DType::int8;
template <>
inline constexpr DType dtype_of<std::int16_t> = DType::int16;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::int32;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::int64;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::uint8;
template <>
inline constexpr DType dtype_of<std::uint16_t> = DType::uint16;
template <>
inline constexpr DType dtype_of<std::uint32_t> = DType::uint32;
template <>
inline constexpr DType dtype_of<std::uint64_t> = DType::uint64;
template <>
inline constexpr DType dtype_of<float> = DType::float32;
template <>
inline constexpr DType dtype_of<double> = DType::float64;

/// Copies row-major bytes of `dtype`. `shape` must be numbers.
Tensor from_bytes(std::span<const std::byte> bytes, const Dims& shape, DType dtype);
/// Reads the bytes where they lie, without a copy, as long as `owner` (a mapped file, …) keeps
/// them.
Tensor from_memory(std::shared_ptr<const void> owner, std::span<const std::byte> bytes,
                   const Dims& shape, DType dtype);
/// Copies values, row-major.
template <typename T>
Tensor from_host(std::span<const T> values, const Dims& shape) {
  return from_bytes(std::as_bytes(values), shape, dtype_of<T>);
}
template <typename T>
Tensor tensor(const std::vector<T>& values) {
  return from_host(std::span<const T>(values), {values.size()});
}
template <typename T>
Tensor tensor(std::initializer_list<T> values) {
  return from_host(std::span<const T>(values.begin(), values.size()), {values.size()});
}
template <typename T>
Tensor tensor(std::initializer_list<std::initializer_list<T>> rows) {
  std::vector<Tensor> each;
  for (const auto& row : rows) each.push_back(tensor(row));
  return stack(each).realize();
}

// ---- from a rule --------------------------------------------------------------------------------

Tensor full(const Dims& shape, const Tensor& value);  // dtype: the value's
Tensor full(const Dims& shape, const Tensor& value, DType dtype);
Tensor zeros(const Dims& shape, DType dtype = DType::float32);
Tensor ones(const Dims& shape, DType dtype = DType::float32);
/// Stored memory with zeros in it, to store() into.
Tensor empty(const Dims& shape, DType dtype = DType::float32);
Tensor full_like(const Tensor& x, const Tensor& value);
Tensor zeros_like(const Tensor& x);
Tensor ones_like(const Tensor& x);
Tensor rand_like(const Tensor& x);
Tensor randn_like(const Tensor& x);
/// start, start + step, … before `stop`; int64 from integers, else float32.
Tensor arange(std::int64_t stop);
Tensor arange(const Dim& stop);  // 0 … stop - 1, int64
Tensor arange(double start, double stop, double step, DType dtype);
Tensor arange(std::int64_t start, std::int64_t stop, std::int64_t step = 1);
/// `count` values from start to stop, both included.
Tensor linspace(double start, double stop, std::int64_t count, DType dtype = DType::float32);
Tensor eye(std::int64_t rows, std::int64_t columns = -1, DType dtype = DType::float32);

// ---- at random ----------------------------------------------------------------------------------

// Counter-based (Threefry-2x32, 20 rounds: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011), made of integer operations in the graph: one seed gives one result on
// every device. A call takes one counter for each element.

/// State of a stream of random numbers: the seed is the key, the counter is where it stands.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : seed_(seed) {}
  void manual_seed(std::uint64_t seed);
  std::uint64_t seed() const { return seed_; }
  std::uint64_t counter() const { return counter_; }
  void set_counter(std::uint64_t counter) { counter_ = counter; }
  /// Reserves `words` counters and returns the first.
  std::uint64_t advance(std::uint64_t words);

 private:
  std::uint64_t seed_;
  std::uint64_t counter_ = 0;
};
/// The calling thread's generator, which the calls below take where none is given.
Generator& default_generator();
void manual_seed(std::uint64_t seed);

/// Uniform in [0, 1).
Tensor rand(const Dims& shape, DType dtype = DType::float32,
            Generator& generator = default_generator());
Tensor uniform(const Dims& shape, double least, double greatest, DType dtype = DType::float32,
               Generator& generator = default_generator());
/// Standard normal, by Box and Muller.
Tensor randn(const Dims& shape, DType dtype = DType::float32,
             Generator& generator = default_generator());
/// Integers in [least, end), each as likely as the others up to 2^-32 of its share.
Tensor randint(std::int64_t least, std::int64_t end, const Dims& shape, DType dtype = DType::int64,
               Generator& generator = default_generator());
/// 0 … count - 1 in a random order, int64.
Tensor randperm(std::int64_t count, Generator& generator = default_generator());
/// 1 with the probability given for each element, else 0; in the probabilities' dtype.
Tensor bernoulli(const Tensor& probability, Generator& generator = default_generator());
/// x with each element zero with probability p, the others times 1 / (1 - p).
Tensor dropout(const Tensor& x, double p, Generator& generator = default_generator());
/// `samples` class numbers for each row of weights (last axis), with replacement; int64.
Tensor multinomial(const Tensor& weights, std::int64_t samples,
                   Generator& generator = default_generator());

}  // namespace brisk
