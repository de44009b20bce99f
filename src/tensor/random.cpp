// Counter-based random numbers: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, SC 2011)
// in integer operations. Seed and counter enter as a buffer, so that every draw is the same kernel.
#include <array>
#include <cmath>
#include <numbers>

#include "brisk/create.h"
#include "tensor/build.h"
#include "tensor/capture.h"

namespace brisk {

std::uint64_t Generator::advance(std::uint64_t words) {
  const std::uint64_t first = counter_;
  counter_ += words;
  return first;
}

void Generator::manual_seed(std::uint64_t seed) {
  seed_ = seed;
  counter_ = 0;
}

Generator& default_generator() {
  static thread_local Generator generator;
  return generator;
}

void manual_seed(std::uint64_t seed) { default_generator().manual_seed(seed); }

namespace {

constexpr DType word = DType::uint32;

Node rotated(const Node& x, int bits) {
  return bit_or(shl(x, constant_int(bits, word)), shr(x, constant_int(32 - bits, word)));
}

// Two words for each counter, uint32.
struct Words {
  Node first;
  Node second;
};

Words threefry(const Node& key_low, const Node& key_high, Node a, Node b) {
  constexpr std::array<int, 8> rotations = {13, 15, 26, 6, 17, 29, 16, 24};
  const Node parity = bit_xor(bit_xor(key_low, key_high), constant_int(0x1bd11bda, word));
  const std::array<Node, 3> keys = {key_low, key_high, parity};
  a = add(a, keys[0]);
  b = add(b, keys[1]);
  for (int round = 0; round < 20; ++round) {
    a = add(a, b);
    b = bit_xor(rotated(b, rotations[round % 8]), a);
    if (round % 4 != 3) continue;
    const int group = round / 4 + 1;
    a = add(a, keys[group % 3]);
    b = add(add(b, keys[(group + 1) % 3]), constant_int(group, word));
  }
  return {a, b};
}

Words draw(const Dims& dims, Generator& generator) {
  for (const Dim& dim : dims) {
    if (dim.lower() < 0) call_error("wants sizes of at least 0, got {}", to_string(dims));
  }
  const Shape shape = shape_of(dims);
  const std::int64_t count = fixed(element_count(shape));
  const std::array<std::uint64_t, 2> state = {generator.seed(), generator.advance(count)};
  const Node stored_state = node_of(from_host(std::span<const std::uint64_t>(state), {2}));
  if (Capture* capture = Capture::current()) {
    capture->draws.push_back({stored_state, &generator, static_cast<std::uint64_t>(count)});
  }
  const auto scalar = [&](int at) { return reshape(cut(stored_state, 0, at, at + 1), {}); };
  const auto low = [](const Node& x) { return cast(x, word); };
  const auto high = [](const Node& x) {
    return cast(shr(x, constant_int(32, DType::uint64)), word);
  };
  const Node seed = scalar(0);
  const Node counter = add(cast(iota(count), DType::uint64), scalar(1));
  const Words words = threefry(low(seed), high(seed), low(counter), high(counter));
  return {reshape(words.first, shape), reshape(words.second, shape)};
}

// Bits of a float's significand, the hidden one included.
int precision(DType dtype) {
  switch (dtype) {
    case DType::float64: return 53;
    case DType::float16: return 11;
    case DType::bfloat16: return 8;
    case DType::float8_e4m3: return 4;
    case DType::float8_e5m2: return 3;
    default: return 24;
  }
}

// The topmost bits as a fraction: every value is exact in the dtype, and below 1.
Node fraction(const Words& words, DType dtype) {
  const int bits = precision(dtype);
  const DType wide = compute_dtype(dtype);
  if (bits <= 32) {
    const Node top = shr(words.first, constant_int(32 - bits, word));
    return cast(mul(cast(top, wide), constant_float(std::ldexp(1.0, -bits), wide)), dtype);
  }
  const Node both = bit_or(shl(cast(words.first, DType::uint64), constant_int(32, DType::uint64)),
                           cast(words.second, DType::uint64));
  const Node top = shr(both, constant_int(64 - bits, DType::uint64));
  return mul(cast(top, dtype), constant_float(std::ldexp(1.0, -bits), dtype));
}

void want_float(DType dtype) {
  if (!is_float(dtype)) {
    call_error("wants a floating-point dtype, got {}", dtype == DType::none ? "none" : name(dtype));
  }
}

}  // namespace

Tensor rand(const Dims& shape, DType dtype, Generator& generator) {
  const Call call("rand");
  want_float(dtype);
  return tensor_of(fraction(draw(shape, generator), dtype));
}

Tensor uniform(const Dims& shape, double least, double greatest, DType dtype,
               Generator& generator) {
  const Call call("uniform");
  want_float(dtype);
  if (!(least <= greatest)) call_error("wants least <= greatest, got {} and {}", least, greatest);
  const DType wide = compute_dtype(dtype);
  return (rand(shape, wide, generator) * (greatest - least) + least).cast(dtype);
}

Tensor randn(const Dims& shape, DType dtype, Generator& generator) {
  const Call call("randn");
  want_float(dtype);
  const DType wide = compute_dtype(dtype);
  const Words words = draw(shape, generator);
  // 1 - u is in (0, 1]: its logarithm is finite.
  const Tensor u = 1 - tensor_of(fraction({words.first, words.second}, wide));
  const Tensor angle = tensor_of(fraction({words.second, words.first}, wide));
  const Tensor radius = sqrt(log(u) * -2);
  return (radius * sin(angle * (2 * std::numbers::pi))).cast(dtype);
}

Tensor randint(std::int64_t least, std::int64_t end, const Dims& shape, DType dtype,
               Generator& generator) {
  const Call call("randint");
  if (least >= end) call_error("wants least < end, got {} and {}", least, end);
  if (dtype == DType::none) call_error("wants a dtype");
  const std::uint64_t range = static_cast<std::uint64_t>(end) - static_cast<std::uint64_t>(least);
  const Words words = draw(shape, generator);
  const DType wide = DType::uint64;
  Node value;
  if (range <= (std::uint64_t{1} << 32)) {  // the high word of word × range
    value = mul(cast(words.first, wide), constant_int(static_cast<std::int64_t>(range), wide));
    value = shr(value, constant_int(32, wide));
  } else {
    value = bit_or(shl(cast(words.first, wide), constant_int(32, wide)), cast(words.second, wide));
    value = mod(value, constant_int(static_cast<std::int64_t>(range), wide));
  }
  return tensor_of(cast(add(cast(value, DType::int64), constant_int(least)), dtype));
}

Tensor randperm(std::int64_t count, Generator& generator) {
  const Call call("randperm");
  if (count < 0) call_error("wants a count of at least 0, got {}", count);
  return argsort(tensor_of(draw({count}, generator).first), 0);
}

Tensor bernoulli(const Tensor& probability, Generator& generator) {
  const Call call("bernoulli");
  want_defined(probability, "the probability");
  if (!is_float(probability.dtype())) {
    call_error("wants probabilities in floating point, got {}", name(probability.dtype()));
  }
  const DType wide = compute_dtype(probability.dtype());
  const Tensor u = rand(probability.dims(), wide, generator);
  return (u < probability.cast(wide)).cast(probability.dtype());
}

Tensor dropout(const Tensor& x, double p, Generator& generator) {
  const Call call("dropout");
  if (!(p >= 0 && p <= 1)) call_error("wants a probability of 0 to 1, got {}", p);
  if (p == 0) return x;
  if (p == 1) return zeros_like(x);
  const Tensor kept = rand(x.dims(), DType::float32, generator) >= p;
  return where(kept, x * (1 / (1 - p)), 0).cast(float_result(x.dtype()));
}

// How many steps of the cumulative weights lie at or below u times their total.
Tensor multinomial(const Tensor& weights, std::int64_t samples, Generator& generator) {
  const Call call("multinomial");
  want_rank(weights, "weights", 1, 2);
  if (samples < 1) call_error("wants at least 1 sample, got {}", samples);
  const Tensor steps = cumsum(widen(weights), -1);
  Dims shape = weights.dims();
  const Dim classes = shape.back();
  shape.back() = samples;
  const Tensor u = rand(shape, steps.dtype(), generator) * narrow(steps, -1, classes - Dim(1), 1);
  const Tensor passed = (steps.unsqueeze(-2) <= u.unsqueeze(-1)).sum(-1);
  return minimum(passed, tensor_of((classes - Dim(1)).size().node()));
}

Tensor rand_like(const Tensor& x) {
  const Call call("rand_like");
  want_defined(x, "the tensor");
  return rand(x.dims(), x.dtype());
}

Tensor randn_like(const Tensor& x) {
  const Call call("randn_like");
  want_defined(x, "the tensor");
  return randn(x.dims(), x.dtype());
}

}  // namespace brisk
