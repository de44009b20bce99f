// Every elementwise operation × dtype × lanes in generated code, against its meaning written down
// in plain C++ (graph/ops.def).
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <functional>
#include <random>

#include "codegen/run_kernel.h"

namespace brisk {
namespace {

using test::kernel_of;

// One element as what it means: floats in `f` (exact), integers and bool in `i` (uint64 by its
// bits).
struct Element {
  double f = 0;
  std::int64_t i = 0;
};

double float_of(DType dtype, std::uint64_t bits) {
  switch (dtype) {
    case DType::float8_e4m3: return e4m3_to_float(static_cast<std::uint8_t>(bits));
    case DType::float8_e5m2: return e5m2_to_float(static_cast<std::uint8_t>(bits));
    case DType::float16: return half_to_float(static_cast<std::uint16_t>(bits));
    case DType::bfloat16: return bfloat16_to_float(static_cast<std::uint16_t>(bits));
    case DType::float32: return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    default: return std::bit_cast<double>(bits);
  }
}

std::uint64_t bits_of(DType dtype, double value) {
  const auto f = static_cast<float>(value);
  switch (dtype) {
    case DType::float8_e4m3: return float_to_e4m3(f);
    case DType::float8_e5m2: return float_to_e5m2(f);
    case DType::float16: return float_to_half(f);
    case DType::bfloat16: return float_to_bfloat16(f);
    case DType::float32: return std::bit_cast<std::uint32_t>(f);
    default: return std::bit_cast<std::uint64_t>(value);
  }
}

std::int64_t wrapped(DType dtype, std::int64_t value) {
  if (is_bool(dtype)) return value != 0;
  const int shift = 64 - bit_size(dtype);
  const auto up = static_cast<std::uint64_t>(value) << shift;
  return is_signed(dtype) ? static_cast<std::int64_t>(up) >> shift
                          : static_cast<std::int64_t>(up >> shift);
}

class Array {
 public:
  Array(DType dtype, std::size_t count)
      : dtype_(dtype), bytes_(count * static_cast<std::size_t>(byte_size(dtype))) {}
  std::vector<std::uint8_t>& bytes() { return bytes_; }
  std::size_t size() const { return bytes_.size() / static_cast<std::size_t>(byte_size(dtype_)); }
  std::uint64_t bits(std::size_t k) const {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes_.data() + k * width(), width());
    return word;
  }
  void set_bits(std::size_t k, std::uint64_t word) {
    std::memcpy(bytes_.data() + k * width(), &word, width());
  }
  Element at(std::size_t k) const {
    if (is_float(dtype_)) return {float_of(dtype_, bits(k)), 0};
    return {0, wrapped(dtype_, static_cast<std::int64_t>(bits(k)))};
  }
  DType dtype() const { return dtype_; }

 private:
  std::size_t width() const { return static_cast<std::size_t>(byte_size(dtype_)); }
  DType dtype_;
  std::vector<std::uint8_t> bytes_;
};

constexpr std::size_t count = 112 * 12;  // a multiple of every number of lanes below

// What goes wrong most often, then bits at random.
Array samples(DType dtype, unsigned seed) {
  Array array(dtype, count);
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> special;
  if (is_bool(dtype)) {
    special = {0, 1};
  } else if (is_float(dtype)) {
    for (const double v : {0.0, 1.0, 1.5, 2.0, 3.0, 448.0, 465.0, 57344.0, 65504.0, 65520.0, 1e-8,
                           0.001953125, 1e-40, 3.4e38, HUGE_VAL, std::nan("")}) {
      special.push_back(bits_of(dtype, v));
      special.push_back(bits_of(dtype, -v));
    }
  } else {
    for (const std::int64_t v : {0, 1, 2, 7, 8, 31, 63, 64, 127, -1, -2, -128}) {
      special.push_back(static_cast<std::uint64_t>(v));
    }
    special.push_back(static_cast<std::uint64_t>(min_value(dtype)));
    special.push_back(static_cast<std::uint64_t>(max_value(dtype)));
  }
  for (std::size_t k = 0; k < count; ++k) {
    std::uint64_t word = random();
    if (is_bool(dtype)) word &= 1;
    if (k % 2 == 0 || is_bool(dtype)) word = special[random() % special.size()];
    if (is_float(dtype) && k % 4 == 1) {
      word = bits_of(dtype, std::ldexp(static_cast<double>(random() % 4096) - 2048,
                                       static_cast<int>(random() % 24) - 16));
    }
    array.set_bits(k, word);
  }
  return array;
}

using Build = std::function<Node(const std::vector<Node>&)>;
using Expect = std::function<Element(const std::vector<Element>&)>;

// AArch64 only where it can be emulated; foreign_machine_test.cpp says so where it cannot.
const std::vector<std::string>& machines() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> names = {"host", "x86-64-v2", "x86-64-v3"};
    if (test::missing_for_aarch64().empty()) names.emplace_back("neoverse-n1");
    return names;
  }();
  return all;
}

// One kernel with a phase for each number of lanes: out[lanes][k] = build(inputs at k).
void check_operation(const std::string& what, const std::vector<DType>& in, DType out,
                     const Build& build, const Expect& expect,
                     const std::function<bool(const std::vector<Element>&)>& defined = {},
                     bool emulate = true) {
  constexpr int widths[] = {1, 4, 16, 7};
  std::vector<Array> inputs;
  for (std::size_t p = 0; p < in.size(); ++p)
    inputs.push_back(samples(in[p], 11 + static_cast<unsigned>(p)));
  std::vector<DType> dtypes = in;
  dtypes.push_back(out);
  std::vector<Node> phases;
  for (const int lanes : widths) {
    const Node i = make_range(lanes, static_cast<std::int64_t>(count) / lanes);
    const Node at = mul(i, constant_int(lanes));
    std::vector<Node> loaded;
    for (std::size_t p = 0; p < in.size(); ++p) {
      loaded.push_back(load_from(make_param(static_cast<int>(p), in[p]), at, {}, lanes));
    }
    const Node to = add(at, constant_int(static_cast<std::int64_t>(count * phases.size())));
    phases.push_back(
        loop(LoopKind::parallel, i,
             store_to(make_param(static_cast<int>(in.size()), out), to, build(loaded))));
  }
  const Kernel kernel = kernel_of("operation", dtypes, block(phases));
  for (const std::string& machine : machines()) {
    if (!emulate && test::target_of(machine).isa != host_target().isa) continue;
    Array result(out, count * std::size(widths));
    std::vector<test::Elements> buffers;
    for (Array& input : inputs) buffers.emplace_back(input.bytes());
    buffers.emplace_back(result.bytes());
    test::run(kernel, {buffers, {}}, test::target_of(machine));
    for (std::size_t k = 0; k < result.size(); ++k) {
      std::vector<Element> elements;
      for (const Array& input : inputs) elements.push_back(input.at(k % count));
      if (defined && !defined(elements)) continue;
      const Element wanted = expect(elements);
      const Element got = result.at(k);
      bool same = wanted.i == got.i;
      if (is_float(out)) {
        const double rounded = float_of(out, bits_of(out, wanted.f));
        same = std::isnan(rounded) ? std::isnan(got.f) : rounded == got.f;
      }
      if (is_bool(out)) same &= result.bits(k) <= 1;
      if (!same) {
        std::string shown;
        for (const Element& e : elements) shown += fmt::format(" ({:a}, {})", e.f, e.i);
        FAIL() << what << " of" << shown << " on " << machine << ", " << widths[k / count]
               << " lanes: " << got.f << " " << got.i << " instead of " << wanted.f << " "
               << wanted.i;
      }
    }
  }
}

constexpr DType all_dtypes[] = {
    DType::boolean,     DType::int8,    DType::int16,    DType::int32,   DType::int64,
    DType::uint8,       DType::uint16,  DType::uint32,   DType::uint64,  DType::float8_e4m3,
    DType::float8_e5m2, DType::float16, DType::bfloat16, DType::float32, DType::float64};

// Floats in the precision that ops.def allows, which is also the one promised.
template <typename F>
Expect in_float(DType dtype, F f) {
  return [=](const std::vector<Element>& e) -> Element {
    const double b = e.size() > 1 ? e[1].f : 0;
    if (dtype == DType::float64) return {f(e[0].f, b), 0};
    return {f(static_cast<float>(e[0].f), static_cast<float>(b)), 0};
  };
}
template <typename F>
Expect in_integer(DType dtype, F f) {
  return [=](const std::vector<Element>& e) -> Element {
    return {0, wrapped(dtype, f(e[0].i, e.size() > 1 ? e[1].i : 0))};
  };
}
Node node2(Node (*op)(const Node&, const Node&), const std::vector<Node>& s) {
  return op(s[0], s[1]);
}

class OperationTest : public testing::TestWithParam<DType> {
 protected:
  DType dtype() const { return GetParam(); }
  bool less(const Element& a, const Element& b) const {
    if (is_float(dtype())) return a.f < b.f;
    if (dtype() == DType::uint64) {
      return static_cast<std::uint64_t>(a.i) < static_cast<std::uint64_t>(b.i);
    }
    return a.i < b.i;
  }
  void binary(const char* what, Node (*op)(const Node&, const Node&), const Expect& expect) {
    check_operation(
        what, {dtype(), dtype()}, dtype(), [=](const std::vector<Node>& s) { return node2(op, s); },
        expect);
  }
};

class FloatOperationTest : public OperationTest {};
class IntegerOperationTest : public OperationTest {};
class BitOperationTest : public OperationTest {};

TEST_P(OperationTest, AddMulAndMaxMeanWhatTheirTableSays) {
  if (is_float(dtype())) {
    binary("add", add, in_float(dtype(), [](auto a, auto b) { return a + b; }));
    binary("mul", mul, in_float(dtype(), [](auto a, auto b) { return a * b; }));
    binary("max", max, in_float(dtype(), [](auto a, auto b) {
             return std::isnan(a) || std::isnan(b) ? std::nan("") : a > b ? a : b;
           }));
    return;
  }
  const bool logical = is_bool(dtype());
  // Through unsigned: signed overflow has no meaning in C++.
  binary("add", add, in_integer(dtype(), [=](std::int64_t a, std::int64_t b) {
           return logical ? a | b
                          : static_cast<std::int64_t>(static_cast<std::uint64_t>(a) +
                                                      static_cast<std::uint64_t>(b));
         }));
  binary("mul", mul, in_integer(dtype(), [=](std::int64_t a, std::int64_t b) {
           return logical ? a & b
                          : static_cast<std::int64_t>(static_cast<std::uint64_t>(a) *
                                                      static_cast<std::uint64_t>(b));
         }));
  binary("max", max,
         [this](const std::vector<Element>& e) { return less(e[0], e[1]) ? e[1] : e[0]; });
}

TEST_P(OperationTest, ComparisonsAndWhereAreExact) {
  const auto compare = [&](const char* what, Node (*op)(const Node&, const Node&),
                           const Expect& expect) {
    check_operation(
        what, {dtype(), dtype()}, DType::boolean,
        [=](const std::vector<Node>& s) { return node2(op, s); }, expect);
  };
  compare("cmplt", cmplt, [&](const std::vector<Element>& e) -> Element {
    return {0, less(e[0], e[1])};
  });
  compare("cmpne", cmpne, [&](const std::vector<Element>& e) -> Element {
    return {0, is_float(dtype()) ? e[0].f != e[1].f : e[0].i != e[1].i};
  });
  check_operation(
      "where", {DType::boolean, dtype(), dtype()}, dtype(),
      [](const std::vector<Node>& s) { return where(s[0], s[1], s[2]); },
      [](const std::vector<Element>& e) { return e[0].i ? e[1] : e[2]; });
}

TEST_P(FloatOperationTest, SqrtAndRecipAreCorrectlyRounded) {
  const auto unary = [&](const char* what, Node (*op)(const Node&), const Expect& expect) {
    check_operation(
        what, {dtype()}, dtype(), [=](const std::vector<Node>& s) { return op(s[0]); }, expect);
  };
  unary("sqrt", sqrt, in_float(dtype(), [](auto a, auto) { return std::sqrt(a); }));
  unary("recip", recip, in_float(dtype(), [](auto a, auto) { return 1 / a; }));
}

TEST_P(IntegerOperationTest, IntegerDivisionAndShiftsAreDefinedEverywhere) {
  const bool sign = is_signed(dtype());
  binary("idiv", idiv, in_integer(dtype(), [=](std::int64_t a, std::int64_t b) -> std::int64_t {
           if (b == 0) return 0;
           if (!sign)
             return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) /
                                              static_cast<std::uint64_t>(b));
           return b == -1 ? static_cast<std::int64_t>(-static_cast<std::uint64_t>(a)) : a / b;
         }));
  binary("mod", mod, in_integer(dtype(), [=](std::int64_t a, std::int64_t b) -> std::int64_t {
           if (b == 0) return a;
           if (!sign)
             return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) %
                                              static_cast<std::uint64_t>(b));
           return b == -1 ? 0 : a % b;
         }));
  const int bits = bit_size(dtype());
  const auto inside = [=](std::int64_t b) { return b >= 0 && b < bits; };
  binary("shl", shl, in_integer(dtype(), [=](std::int64_t a, std::int64_t b) -> std::int64_t {
           return inside(b) ? static_cast<std::int64_t>(static_cast<std::uint64_t>(a) << b) : 0;
         }));
  binary("shr", shr, in_integer(dtype(), [=](std::int64_t a, std::int64_t b) -> std::int64_t {
           if (sign) return a >> (inside(b) ? b : 63);
           return inside(b) ? static_cast<std::int64_t>(static_cast<std::uint64_t>(a) >> b) : 0;
         }));
}

TEST_P(BitOperationTest, BitwiseOperationsWorkOnIntegersAndBool) {
  binary("and", bit_and, in_integer(dtype(), [](std::int64_t a, std::int64_t b) { return a & b; }));
  binary("or", bit_or, in_integer(dtype(), [](std::int64_t a, std::int64_t b) { return a | b; }));
  binary("xor", bit_xor, in_integer(dtype(), [](std::int64_t a, std::int64_t b) { return a ^ b; }));
}

TEST_P(OperationTest, CastsToEveryDType) {
  const DType from = dtype();
  for (const DType to : all_dtypes) {
    if (to == from) continue;
    const auto expect = [=](const std::vector<Element>& e) -> Element {
      if (is_float(from)) {
        if (is_bool(to)) return {0, e[0].f != 0};
        if (is_float(to)) return {to == DType::float64 ? e[0].f : static_cast<float>(e[0].f), 0};
        return {0, to == DType::uint64
                       ? static_cast<std::int64_t>(static_cast<std::uint64_t>(e[0].f))
                       : static_cast<std::int64_t>(e[0].f)};
      }
      if (is_bool(to)) return {0, e[0].i != 0};
      if (!is_float(to)) return {0, wrapped(to, e[0].i)};
      const auto u = static_cast<std::uint64_t>(e[0].i);
      if (to == DType::float64) {
        return {from == DType::uint64 ? static_cast<double>(u) : static_cast<double>(e[0].i), 0};
      }
      return {from == DType::uint64 ? static_cast<float>(u) : static_cast<float>(e[0].i), 0};
    };
    // Emulation takes its time: there, the conversions that differ from others by more than width.
    const bool emulate = to == DType::int32 || to == DType::uint64 || to == DType::float32 ||
                         to == DType::float16 || to == DType::float8_e4m3;
    const auto defined = [=](const std::vector<Element>& e) {
      if (!is_float(from) || is_float(to) || is_bool(to)) return true;
      const double v = std::trunc(e[0].f);
      const double most = std::ldexp(1.0, is_signed(to) ? bit_size(to) - 1 : bit_size(to));
      return v >= (is_signed(to) ? -most : 0) && v < most;
    };
    check_operation(
        fmt::format("cast from {} to {}", name(from), name(to)), {from}, to,
        [=](const std::vector<Node>& s) { return cast(s[0], to); }, expect, defined, emulate);
  }
}

TEST_P(OperationTest, BitcastsKeepBits) {
  for (const DType to : all_dtypes) {
    if (to == dtype() || byte_size(to) != byte_size(dtype()) || is_bool(to)) continue;
    const DType from = dtype();
    check_operation(
        fmt::format("bitcast from {} to {}", name(from), name(to)), {from}, to,
        [=](const std::vector<Node>& s) { return bitcast(s[0], to); },
        [=](const std::vector<Element>& e) -> Element {
          const std::uint64_t bits =
              is_float(from) ? bits_of(from, e[0].f) : static_cast<std::uint64_t>(e[0].i);
          if (is_float(to)) return {float_of(to, bits), 0};
          return {0, wrapped(to, static_cast<std::int64_t>(bits))};
        },
        [=](const std::vector<Element>& e) { return !std::isnan(e[0].f); });
  }
}

TEST_P(OperationTest, AScalarGoesWithAVector) {
  check_operation(
      "where with scalars", {dtype()}, dtype(),
      [&](const std::vector<Node>& s) {
        const Node one = constant_like(1, dtype());
        return where(cmpne(s[0], one), one, s[0]);
      },
      [&](const std::vector<Element>&) -> Element {
        return {1, 1};
      });
}

std::string test_name(const testing::TestParamInfo<DType>& info) {
  return std::string(name(info.param));
}
std::vector<DType> those(bool (*wanted)(DType)) {
  std::vector<DType> list;
  std::copy_if(std::begin(all_dtypes), std::end(all_dtypes), std::back_inserter(list), wanted);
  return list;
}
INSTANTIATE_TEST_SUITE_P(Every, FloatOperationTest, testing::ValuesIn(those(is_float)), test_name);
INSTANTIATE_TEST_SUITE_P(Every, IntegerOperationTest, testing::ValuesIn(those(is_integer)),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Every, BitOperationTest,
                         testing::ValuesIn(those([](DType d) { return !is_float(d); })), test_name);
INSTANTIATE_TEST_SUITE_P(Every, OperationTest, testing::ValuesIn(all_dtypes), test_name);

}  // namespace
}  // namespace brisk
