// Kernels at random, compiled for each level of the machine, against the reference interpreter:
// nested loops of every kind, branches, gates, gathers, locals, and expressions over every dtype.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "codegen/run_kernel.h"
#include "kernel/interpret.h"
#include "kernel/print.h"

namespace brisk {
namespace {

constexpr DType dtypes[] = {DType::boolean,  DType::int8,        DType::int16,       DType::int32,
                            DType::int64,    DType::uint8,       DType::uint16,      DType::uint32,
                            DType::uint64,   DType::float8_e4m3, DType::float8_e5m2, DType::float16,
                            DType::bfloat16, DType::float32,     DType::float64};
constexpr int params = std::size(dtypes);
constexpr std::int64_t elements = 400;  // of each input
constexpr std::int64_t reach = 300;     // indices stay below, vectors then end within the input
constexpr std::int64_t row_size = 600;  // of the output, one row for each value of the first range
constexpr int slots = 4;                // of each local, a vector each

class RandomKernel {
 public:
  explicit RandomKernel(unsigned seed) : random_(seed) {
    constexpr int widths[] = {1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 32, 64};
    lanes_ = widths[below(std::size(widths))];
    dtype_ = dtypes[below(params)];
  }

  DType dtype() const { return dtype_; }
  int lanes() const { return lanes_; }
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  bool one_in(int n) { return below(n) == 0; }

  Kernel build() {
    const Node row = make_range(0, 1 + below(6));
    ranges_ = {row};
    std::vector<Node> body;
    for (int i = 0; i < 3; ++i) {
      const DType dtype = dtypes[below(params)];
      locals_.push_back(
          make_local(i, dtype, slots * lanes_, one_in(3) ? Memory::scratch : Memory::registers));
      const Node slot = range(slots);
      body.push_back(loop(
          kind(), slot,
          store_to(locals_.back(), mul(slot, constant_int(lanes_)), widened(leaf(dtype, lanes_)))));
    }
    body.push_back(statements(3));
    for (int i = 0; i < 5; ++i) body.push_back(result(i));
    std::vector<DType> all(std::begin(dtypes), std::end(dtypes));
    all.push_back(dtype_);
    return test::kernel_of("random", all, loop(LoopKind::parallel, row, block(body)));
  }

 private:
  LoopKind kind() { return one_in(2) ? LoopKind::serial : LoopKind::unrolled; }
  Node range(const Size& size) { return make_range(next_range_++, size); }
  Node widened(const Node& node) { return splat(node, lanes_); }

  // ---- statements
  // --------------------------------------------------------------------------------

  Node statements(int depth) {
    std::vector<Node> all;
    for (int n = 1 + below(4); n > 0; --n) all.push_back(statement(depth));
    return block(all);
  }

  Node statement(int depth) {
    switch (below(depth > 0 ? 6 : 3)) {
      case 0:
      case 1: {
        const Node& local = locals_[static_cast<std::size_t>(below(3))];
        return store_to(local, slot(), update(local), one_in(5) ? gate(lanes_) : Node());
      }
      case 2: return result(below(5));
      case 3:
      case 4: {
        const Node counter = range(one_in(4) ? Size(ranges_[0]) : Size(1 + below(4)));
        ranges_.push_back(counter);
        const Node body = statements(depth - 1);
        ranges_.pop_back();
        return loop(kind(), counter, body);
      }
      default: return branch(expression(DType::boolean, 1, 1), statements(depth - 1));
    }
  }

  Node result(int place) {
    const Node& local = locals_[static_cast<std::size_t>(below(3))];
    Node value = load_from(local, slot(), {}, lanes_);
    if (is_float(local.dtype()) && !is_float(dtype_)) value = cast(value, DType::boolean);
    return store_to(make_param(params, dtype_),
                    add(mul(ranges_[0], constant_int(row_size)), constant_int(place * lanes_)),
                    cast(value, dtype_), one_in(4) ? gate(lanes_) : Node());
  }

  Node slot() {
    const Node& counter = ranges_.back();
    const Node& size = counter.src(0);
    const bool fits = size.is_constant() && size.int_value() <= slots;
    return mul(fits && one_in(2) ? counter : constant_int(below(slots)), constant_int(lanes_));
  }

  Node update(const Node& local) {
    const Node old = load_from(local, slot(), {}, lanes_);
    const Node value = widened(expression(local.dtype(), 1 + below(2), one_in(2) ? lanes_ : 1));
    switch (below(4)) {
      case 0: return add(old, value);
      case 1: return max(old, value);
      case 2: return where(expression(DType::boolean, 1, 1), old, value);
      default: return value;
    }
  }

  // ---- indices and gates
  // -------------------------------------------------------------------------

  Node index() {
    Node x = constant_int(below(8));
    for (const Node& counter : ranges_) {
      if (one_in(2)) x = add(x, mul(counter, constant_int(1 + below(3))));
    }
    if (one_in(4)) {
      x = add(mul(idiv(x, constant_int(1 + below(7))), constant_int(2)),
              mod(x, constant_int(1 + below(9))));
    }
    return mod(x, constant_int(reach));
  }

  Node vector_index(int lanes) {
    const auto of = [&](Op op, const Node& a, const Node& b) {
      return make_node(op, DType::int64, {a, b}, {}, lanes);
    };
    const Node straight = ramp(index(), lanes);
    switch (below(4)) {
      case 0: return of(Op::mod_, of(Op::mul_, straight, constant_int(7)), constant_int(reach));
      case 1:
        return bit_and(
            cast(load_from(make_param(3, DType::int32), index(), {}, lanes), DType::int64),
            constant_int(127));
      default: return straight;
    }
  }

  Node gate(int lanes) {
    switch (below(3)) {
      case 0: return cmplt(ranges_[0], constant_int(below(6)));
      case 1: return cmplt(lanes > 1 ? ramp(index(), lanes) : index(), constant_int(below(reach)));
      default: return expression(DType::boolean, 2, one_in(2) ? 1 : lanes);
    }
  }

  // ---- expressions
  // -------------------------------------------------------------------------------

  Node leaf(DType dtype, int lanes) {
    const auto at = std::find(std::begin(dtypes), std::end(dtypes), dtype) - std::begin(dtypes);
    const Node source = make_param(static_cast<int>(at), dtype);
    switch (below(4)) {
      case 0: return constant_like(is_float(dtype) ? below(17) * 0.5 - 4 : below(20), dtype);
      case 1:
        if (lanes > 1) {
          return load_from(source, vector_index(lanes), one_in(2) ? gate(lanes) : Node());
        }
        [[fallthrough]];
      case 2: return load_from(source, index(), gate(lanes), lanes);
      default: return load_from(source, index(), {}, one_in(3) ? 1 : lanes);
    }
  }

  Node expression(DType dtype, int depth, int lanes) {
    if (depth == 0) return leaf(dtype, lanes);
    const auto sub = [&] { return expression(dtype, depth - 1, one_in(4) ? 1 : lanes); };
    const auto full = [&](DType of, int width) {
      return splat(expression(of, depth - 1, width), width);
    };
    const bool real = is_float(dtype);
    const bool whole = is_integer(dtype);
    switch (below(11)) {
      case 0: return add(sub(), sub());
      case 1: return mul(sub(), sub());
      case 2: return max(sub(), sub());
      case 3: return where(expression(DType::boolean, depth - 1, lanes), sub(), sub());
      case 4: {
        const DType from = dtypes[below(params)];  // out of an integer's range is unspecified
        return is_float(from) && !real ? sub() : cast(expression(from, depth - 1, lanes), dtype);
      }
      case 5: return whole ? idiv(sub(), sub()) : real ? sqrt(sub()) : bit_xor(sub(), sub());
      case 6: return whole ? mod(sub(), sub()) : real ? recip(sub()) : bit_and(sub(), sub());
      case 7: return whole ? shl(sub(), sub()) : real ? exp2(sub()) : bit_or(sub(), sub());
      case 8: {
        if (whole) return shr(sub(), sub());
        if (real) return sin(sub());
        const DType of = dtypes[below(params)];
        return one_in(2) ? cmplt(full(of, lanes), full(of, lanes))
                         : cmpne(full(of, lanes), full(of, lanes));
      }
      case 9: {
        std::vector<std::int64_t> picked(static_cast<std::size_t>(lanes));
        for (auto& lane : picked) lane = below(lanes);
        return lanes == 1 ? sub() : shuffle(full(dtype, lanes), {}, picked);
      }
      default: {
        const Node wide = full(dtype, 2 + below(15));
        const Node one = one_in(2) ? lane(wide, below(wide.lanes()))
                                   : horizontal(static_cast<ReduceOp>(below(3)), wide);
        return splat(one, lanes);
      }
    }
  }

  std::mt19937 random_;
  int lanes_ = 1;
  DType dtype_;
  int next_range_ = 1;
  std::vector<Node> ranges_;  // of the loops around, outermost first
  std::vector<Node> locals_;
};

using Bytes = std::vector<std::byte>;

Bytes random_input(DType dtype, RandomKernel& random) {
  const auto width = static_cast<std::size_t>(byte_size(dtype));
  Bytes bytes(elements * width);
  for (std::size_t k = 0; k < elements; ++k) {
    const double value = (random.below(65) - 32) * 0.25;
    const auto f = static_cast<float>(value);
    std::uint64_t word = static_cast<std::uint64_t>(random.below(40) - 10);
    switch (dtype) {
      case DType::boolean: word = static_cast<std::uint64_t>(random.below(2)); break;
      case DType::float8_e4m3: word = float_to_e4m3(f); break;
      case DType::float8_e5m2: word = float_to_e5m2(f); break;
      case DType::float16: word = float_to_half(f); break;
      case DType::bfloat16: word = float_to_bfloat16(f); break;
      case DType::float32: word = std::bit_cast<std::uint32_t>(f); break;
      case DType::float64: word = std::bit_cast<std::uint64_t>(value); break;
      default:
        if (random.one_in(4)) word *= 0x9e3779b97f4a7c15ULL;
    }
    std::memcpy(bytes.data() + k * width, &word, width);
  }
  return bytes;
}

double value_at(DType dtype, const Bytes& bytes, std::size_t k) {
  std::uint64_t word = 0;
  const auto width = static_cast<std::size_t>(byte_size(dtype));
  std::memcpy(&word, bytes.data() + k * width, width);
  switch (dtype) {
    case DType::float8_e4m3: return e4m3_to_float(static_cast<std::uint8_t>(word));
    case DType::float8_e5m2: return e5m2_to_float(static_cast<std::uint8_t>(word));
    case DType::float16: return half_to_float(static_cast<std::uint16_t>(word));
    case DType::bfloat16: return bfloat16_to_float(static_cast<std::uint16_t>(word));
    case DType::float32: return std::bit_cast<float>(static_cast<std::uint32_t>(word));
    case DType::float64: return std::bit_cast<double>(word);
    default: return static_cast<double>(word);
  }
}

// Contraction and the last place of exp2 and sin differ; a narrow float may then be a neighbour.
bool agree(DType dtype, double a, double b) {
  if (!is_float(dtype)) return a == b;
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) == std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return std::fabs(a) > 1e3 && std::fabs(b) > 1e3;
  const double tolerance = byte_size(dtype) >= 4 ? 1e-4 : 0.15;
  return std::fabs(a - b) <= tolerance * (1 + std::fabs(a));
}

class RandomKernels : public testing::TestWithParam<const char*> {};

TEST_P(RandomKernels, DoWhatTheInterpreterSays) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    RandomKernel random(seed);
    const Kernel kernel = random.build();
    std::vector<Bytes> wanted;
    for (const DType dtype : dtypes) wanted.push_back(random_input(dtype, random));
    wanted.emplace_back(static_cast<std::size_t>(7 * row_size * byte_size(random.dtype())));
    std::vector<Bytes> got = wanted;
    std::vector<HostBuffer> memory;
    for (Bytes& bytes : wanted) {
      memory.push_back({bytes.data(), static_cast<std::int64_t>(bytes.size())});
    }
    interpret(kernel, memory, {});
    test::run(kernel, {{got.begin(), got.end()}, {}}, test::target_of(GetParam()));
    for (std::size_t k = 0; k < static_cast<std::size_t>(7 * row_size); ++k) {
      const double a = value_at(random.dtype(), wanted.back(), k);
      const double b = value_at(random.dtype(), got.back(), k);
      ASSERT_TRUE(agree(random.dtype(), a, b))
          << "seed " << seed << " at " << k << ": " << b << " instead of " << a << "\n"
          << print(kernel);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, RandomKernels, testing::Values("host", "x86-64-v2", "x86-64-v3"));

}  // namespace
}  // namespace brisk
