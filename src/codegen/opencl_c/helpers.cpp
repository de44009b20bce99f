#include "codegen/opencl_c/helpers.h"

#include <bit>
#include <cstdint>

#include <fmt/format.h>

#include "base/error.h"
#include "codegen/narrow_format.h"
#include "codegen/opencl_c/text.h"

namespace brisk::opencl_c {

namespace {

std::string lanes_text(int lanes) { return lanes == 1 ? "" : std::to_string(lanes); }

// "c ? a : b" of 32-bit lanes.
std::string choose(int lanes, const std::string& c, const std::string& a, const std::string& b) {
  return lanes == 1 ? fmt::format("({} ? {} : {})", c, a, b)
                    : fmt::format("select({}, {}, {})", b, a, c);
}

// The magnitude's bits, shifted to float's place, are the value times a power of two that depends
// on the two biases only; subnormals come out right because float has those too.
std::string widen_body(const NarrowFormat& f, int lanes) {
  const std::string n = lanes_text(lanes);
  const std::string special =
      f.has_infinity ? choose(lanes, fmt::format("(magnitude >= (uint{})({:#x}u))", n, f.overflow),
                              fmt::format("(placed | (uint{})(0x7f800000u))", n), "value")
                     : choose(lanes, fmt::format("(magnitude == (uint{})({:#x}u))", n, f.nan),
                              fmt::format("(uint{})(0x7fc00000u)", n), "value");
  return fmt::format(
      "  const uint{0} wide = convert_uint{0}(bits);\n"
      "  const uint{0} magnitude = wide & {1:#x}u;\n"
      "  const uint{0} placed = magnitude << {2};\n"
      "  const uint{0} value = as_uint{0}(as_float{0}(placed) * as_float({3:#x}u));\n"
      "  const uint{0} sign = (wide ^ magnitude) << {4};\n"
      "  return as_float{0}({5} | sign);\n",
      n, (1U << (f.total() - 1)) - 1, 23 - f.mantissa_bits,
      static_cast<std::uint32_t>(254 - f.bias()) << 23, 32 - f.total(), special);
}

// Normal results round in integers; subnormal ones by adding a float whose unit is the format's.
std::string narrow_body(const NarrowFormat& f, int lanes) {
  const std::string n = lanes_text(lanes);
  const int dropped = 23 - f.mantissa_bits;
  const std::uint32_t rebias = static_cast<std::uint32_t>(127 - f.bias()) << 23;
  const std::uint32_t magic = static_cast<std::uint32_t>(127 + 1 - f.bias() - f.mantissa_bits + 23)
                              << 23;
  const std::uint32_t least_normal = static_cast<std::uint32_t>(128 - f.bias()) << 23;
  // From the midpoint above the largest value on; its tie goes up where the largest mantissa is
  // odd.
  const std::uint32_t bound =
      (f.largest << dropped) + rebias + (1U << (dropped - 1)) + (f.largest & 1 ? 0 : 1);
  const auto number = [&](std::uint32_t v) { return fmt::format("(uint{})({:#x}u)", n, v); };
  const auto if_magnitude = [&](std::string_view compare, std::uint32_t limit,
                                const std::string& then, const std::string& otherwise) {
    return choose(lanes, fmt::format("(magnitude {} {})", compare, number(limit)), then, otherwise);
  };
  return fmt::format(
      "  const uint{0} bits = as_uint{0}(value);\n"
      "  const uint{0} magnitude = bits & 0x7fffffffu;\n"
      "  const uint{0} odd = (magnitude >> {1}) & 1u;\n"
      "  const uint{0} normal = (magnitude + {2:#x}u + odd) >> {1};\n"
      "  const uint{0} small = as_uint{0}(as_float{0}(magnitude) + as_float({3:#x}u)) - {3:#x}u;\n"
      "  uint{0} result = {4};\n"
      "  result = {5};\n"
      "  result = {6};\n"
      "  return convert_{7}(result | ((bits >> {8}) & {9:#x}u));\n",
      n, dropped, (1U << (dropped - 1)) - 1 - rebias, magic,
      if_magnitude("<", least_normal, "small", "normal"),
      if_magnitude(">=", bound, number(f.overflow), "result"),
      if_magnitude(">", 0x7f800000, number(f.nan), "result"),
      (f.total() == 16 ? "ushort" : "uchar") + n, 32 - f.total(), 1U << (f.total() - 1));
}

std::string narrow_bfloat_body(int lanes) {
  const std::string n = lanes_text(lanes);
  return fmt::format(
      "  const uint{0} bits = as_uint{0}(value);\n"
      "  const uint{0} rounded = bits + 0x7fffu + ((bits >> 16) & 1u);\n"
      "  const uint{0} result = {1};\n"
      "  return convert_ushort{0}(result >> 16);\n",
      n, choose(lanes, "(value != value)", "(bits | 0x400000u)", "rounded"));
}

std::string divide_body(Op op, DType dtype, int lanes) {
  const std::string type = type_name(dtype, lanes);
  const bool quotient = op == Op::idiv_;
  const auto pick = [&](std::string_view c, std::string_view a, std::string_view b) {
    return lanes == 1 ? fmt::format("({}) ? {} : {}", c, a, b)
                      : fmt::format("select({}, {}, {})", b, a, c);
  };
  const std::string_view unsafe =
      is_signed(dtype) ? "d == ({0})(0) | d == ({0})(-1)" : "d == ({0})(0)";
  std::string text =
      fmt::format("  const {0} safe = {1};\n", type,
                  pick(fmt::format(fmt::runtime(unsafe), type), fmt::format("({})(1)", type), "d"));
  const std::string by_zero = pick(fmt::format("d == ({})(0)", type),
                                   quotient ? fmt::format("({})(0)", type) : "a", "result");
  const std::string zero = fmt::format("({})(0)", type);
  if (!is_signed(dtype)) {
    return text + fmt::format("  const {} result = a {} safe;\n  return {};\n", type,
                              quotient ? "/" : "%", by_zero);
  }
  // By -1: the negative, which wraps, and no remainder.
  const std::string u = integer_name(dtype, false, lanes);
  const std::string negative = fmt::format("as_{0}(({1})(({1})(0) - as_{1}(a)))", type, u);
  text += fmt::format("  {} result = a {} safe;\n", type, quotient ? "/" : "%");
  text += fmt::format("  result = {};\n", pick(fmt::format("d == ({})(-1)", type),
                                               quotient ? negative : zero, "result"));
  return text + fmt::format("  return {};\n", by_zero);
}

std::string shift_body(Op op, DType dtype, int lanes) {
  const std::string type = type_name(dtype, lanes);
  const std::string u = integer_name(dtype, false, lanes);
  const int bits = bit_size(dtype);
  const std::string inside = fmt::format("as_{0}(count) < ({0})({1})", u, bits);
  const auto pick = [&](const std::string& a, const std::string& b) {
    return lanes == 1 ? fmt::format("{} ? {} : {}", inside, a, b)
                      : fmt::format("select({}, {}, {})", b, a, inside);
  };
  const std::string mask = fmt::format("({})({})", type, bits - 1);
  if (op == Op::shr_ && is_signed(dtype)) {
    return fmt::format("  const {0} by = {1};\n  return ({0})(a >> by);\n", type,
                       pick("count", mask));
  }
  const std::string shifted = fmt::format("as_{0}(({1})(as_{1}(a) {2} as_{1}(({0})(count & {3}))))",
                                          type, u, op == Op::shl_ ? "<<" : ">>", mask);
  return fmt::format("  return {};\n", pick(shifted, fmt::format("({})(0)", type)));
}

}  // namespace

const std::string& Helpers::define(const std::string& name, const std::string& text) {
  const auto [at, fresh] = known_.emplace(name, true);
  if (fresh) texts_.push_back(text);
  return at->first;
}

std::string Helpers::call(Op op, DType dtype, int lanes, const std::string& a,
                          const std::string& b) {
  const std::string type = type_name(dtype, lanes);
  const std::string label =
      is_narrow(dtype) ? fmt::format("{}_{}", brisk::name(dtype), lanes) : type;
  const std::string name =
      fmt::format("{}_{}", op == Op::max_ ? "greater" : brisk::name(op), label);
  if (!known_.contains(name)) {
    std::string body;
    std::string_view second = "d";
    if (op == Op::idiv_ || op == Op::mod_) {
      body = divide_body(op, dtype, lanes);
    } else if (op == Op::shl_ || op == Op::shr_) {
      second = "count";
      body = shift_body(op, dtype, lanes);
    } else {
      check(op == Op::max_ && is_float(dtype), "a function of this name");
      second = "b";
      const bool bits = is_narrow(dtype);
      const std::string wide = bits ? "float" + lanes_text(lanes) : type;
      body = fmt::format("  const {} x = {};\n  const {} y = {};\n", wide,
                         bits ? widen(dtype, lanes, "a") : "a", wide,
                         bits ? widen(dtype, lanes, "b") : "b");
      const std::string first = "(x > y) | (x != x)";
      body += lanes == 1 ? fmt::format("  return ({}) ? a : b;\n", first)
              : bits     ? fmt::format("  return select(b, a, convert_{}({}));\n",
                                       integer_name(dtype, true, lanes), first)
                         : fmt::format("  return select(b, a, {});\n", first);
    }
    define(name, fmt::format("{0} {1}({0} a, {0} {2}) {{\n{3}}}\n", type, name, second, body));
  }
  return fmt::format("{}({}, {})", name, bare(a), bare(b));
}

std::string Helpers::widen(DType dtype, int lanes, const std::string& bits) {
  const std::string n = lanes_text(lanes);
  if (dtype == DType::bfloat16)
    return fmt::format("as_float{0}(convert_uint{0}({1}) << 16)", n, bare(bits));
  if (dtype == DType::float16 && target_.has_half_convert) {
    return fmt::format("convert_float{0}(as_half{0}({1}))", n, bare(bits));
  }
  const std::string name = fmt::format("from_{}_{}", brisk::name(dtype), lanes);
  define(name, fmt::format("float{} {}({} bits) {{\n{}}}\n", n, name, type_name(dtype, lanes),
                           widen_body(narrow_format(dtype), lanes)));
  return fmt::format("{}({})", name, bare(bits));
}

std::string Helpers::narrow(DType dtype, int lanes, const std::string& value) {
  const std::string n = lanes_text(lanes);
  if (dtype == DType::float16 && target_.has_half_convert) {
    return fmt::format("as_ushort{0}(convert_half{0}_rte({1}))", n, bare(value));
  }
  const std::string name = fmt::format("to_{}_{}", brisk::name(dtype), lanes);
  const std::string body = dtype == DType::bfloat16 ? narrow_bfloat_body(lanes)
                                                    : narrow_body(narrow_format(dtype), lanes);
  define(name,
         fmt::format("{} {}(float{} value) {{\n{}}}\n", type_name(dtype, lanes), name, n, body));
  return fmt::format("{}({})", name, bare(value));
}

std::string Helpers::load(DType dtype, int lanes, std::string_view space,
                          const std::string& pointer, const std::string& mask) {
  const std::string type = memory_type_name(dtype, lanes);
  const std::string name = fmt::format("load{}_{}", space.substr(1), type);
  std::string body = fmt::format("  if (all(mask)) return vload{}(0, from);\n", lanes);
  body += fmt::format("  {0} result = ({0})(0);\n", type);
  for (int i = 0; i < lanes; ++i) {
    body += fmt::format("  if (mask.s{0:x}) result.s{0:x} = from[{0}];\n", i);
  }
  define(name, fmt::format("{} {}(const {} {}* from, char{} mask) {{\n{}  return result;\n}}\n",
                           type, name, space, memory_type_name(dtype), lanes, body));
  return fmt::format("{}({}, {})", name, bare(pointer), bare(mask));
}

std::string Helpers::store(DType dtype, int lanes, std::string_view space,
                           const std::string& pointer, const std::string& value,
                           const std::string& mask) {
  const std::string type = memory_type_name(dtype, lanes);
  const std::string name = fmt::format("store{}_{}", space.substr(1), type);
  std::string body;
  for (int i = 0; i < lanes; ++i) {
    body += fmt::format("  if (mask.s{0:x}) to[{0}] = value.s{0:x};\n", i);
  }
  define(name, fmt::format("void {}({} {}* to, {} value, char{} mask) {{\n{}}}\n", name, space,
                           memory_type_name(dtype), type, lanes, body));
  return fmt::format("{}({}, {}, {})", name, bare(pointer), bare(value), bare(mask));
}

std::string Helpers::definitions() const {
  std::string all;
  for (const std::string& text : texts_) all += text + "\n";
  return all;
}

}  // namespace brisk::opencl_c
