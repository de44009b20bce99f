#include "codegen/opencl_c/operations.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <optional>

#include "base/error.h"
#include "base/power_of_two.h"
#include "graph/integer.h"

namespace brisk::opencl_c {

namespace {

constexpr std::int64_t far = std::int64_t{1} << 62;

// An index or a size: no sum of two such overflows.
bool is_small(const Node& node) {
  if (node.dtype() != DType::int64 || node.lanes() > 1) return false;
  const Bounds known = bounds(node);
  return known.least > -far && known.greatest < far;
}

// Both non-negative: quotients without a sign, and in 32 bits where they fit.
struct Quotient {
  bool plain = false;
  bool narrow = false;
};
Quotient quotient_of(const Node& a, const Node& d) {
  if (a.dtype() != DType::int64 || a.lanes() > 1 || d.lanes() > 1) return {};
  const Bounds n = bounds(a);
  const Bounds m = bounds(d);
  constexpr std::int64_t word = std::int64_t{1} << 32;
  const bool plain = n.least >= 0 && m.least >= 1;
  return {plain, plain && n.greatest < word && m.greatest < word};
}

// Integers through unsigned ones, for which C defines what overflow gives.
std::string wrapping(char op, DType dtype, int lanes, const std::string& a, const std::string& b) {
  const std::string type = type_name(dtype, lanes);
  if (lanes == 1) {
    const std::string_view word = byte_size(dtype) == 8 ? "ulong" : "uint";
    if (!is_signed(dtype) && byte_size(dtype) >= 4) return fmt::format("({} {} {})", a, op, b);
    return fmt::format("({})(({}){} {} ({}){})", type, word, a, op, word, b);
  }
  if (!is_signed(dtype)) return fmt::format("({} {} {})", a, op, b);
  const std::string u = integer_name(dtype, false, lanes);
  return fmt::format("as_{}(as_{}({}) {} as_{}({}))", type, u, bare(a), op, u, bare(b));
}

// Small integers are ints while they are computed with.
std::string settled(DType dtype, int lanes, const std::string& text) {
  const bool promoted = lanes == 1 && !is_float(dtype) && byte_size(dtype) < 4 && !is_bool(dtype);
  return promoted ? fmt::format("({}){}", type_name(dtype), text) : text;
}

std::string infix(const std::string& a, std::string_view op, const std::string& b) {
  return fmt::format("({} {} {})", a, op, b);
}

// bool, of one lane 0 or 1, of several 0 or -1.
std::string logical(Op op, int lanes, const std::string& a, const std::string& b) {
  switch (op) {
    case Op::add_:
    case Op::max_:
    case Op::or_: return infix(a, "|", b);
    case Op::mul_:
    case Op::and_: return infix(a, "&", b);
    case Op::xor_:
    case Op::cmpne_: return infix(a, "^", b);
    case Op::cmplt_: return fmt::format("({}{} & {})", lanes == 1 ? "!" : "~", a, b);
    default: unreachable("an operation on bool");
  }
}

std::string compare(DType dtype, int lanes, std::string_view op, const std::string& a,
                    const std::string& b) {
  const std::string text = infix(a, op, b);
  return lanes == 1 || byte_size(dtype) == 1 ? text
                                             : fmt::format("convert_char{}({})", lanes, bare(text));
}

std::string arithmetic(Helpers& helpers, Op op, DType dtype, int lanes, const std::string& a,
                       const std::string& b) {
  if (is_bool(dtype)) return logical(op, lanes, a, b);
  if (is_narrow(dtype)) {
    if (op == Op::max_) return helpers.call(op, dtype, lanes, a, b);
    const std::string wide_b = b.empty() ? b : helpers.widen(dtype, lanes, b);
    return helpers.narrow(
        dtype, lanes,
        arithmetic(helpers, op, DType::float32, lanes, helpers.widen(dtype, lanes, a), wide_b));
  }
  const bool real = is_float(dtype);
  switch (op) {
    case Op::add_: return real ? infix(a, "+", b) : wrapping('+', dtype, lanes, a, b);
    case Op::mul_: return real ? infix(a, "*", b) : wrapping('*', dtype, lanes, a, b);
    case Op::max_:
      return real ? helpers.call(op, dtype, lanes, a, b)
                  : fmt::format("max({}, {})", bare(a), bare(b));
    case Op::and_: return settled(dtype, lanes, infix(a, "&", b));
    case Op::or_: return settled(dtype, lanes, infix(a, "|", b));
    case Op::xor_: return settled(dtype, lanes, infix(a, "^", b));
    case Op::sqrt_: return fmt::format("sqrt({})", bare(a));
    case Op::sin_: return fmt::format("sin({})", bare(a));
    case Op::recip_:
      return fmt::format("({}(1) / {})", fmt::format("({})", type_name(dtype, lanes)), a);
    default: unreachable("an operation of arithmetic");
  }
}

std::string shift(Helpers& helpers, const Node& node, int lanes, const std::string& a,
                  const std::string& b) {
  const DType dtype = node.dtype();
  Node count = node.src(1);
  if (count.is(Op::splat_)) count = count.src(0);
  if (!count.is_constant() || count.int_value() < 0 || count.int_value() >= bit_size(dtype)) {
    return helpers.call(node.op(), dtype, lanes, a, b);
  }
  const std::int64_t by = count.int_value();
  if (node.is(Op::shr_)) return settled(dtype, lanes, fmt::format("({} >> {})", a, by));
  if (!is_signed(dtype)) return settled(dtype, lanes, fmt::format("({} << {})", a, by));
  const std::string type = type_name(dtype, lanes);
  const std::string u = integer_name(dtype, false, lanes);
  if (lanes == 1) return fmt::format("({})(({}){} << {})", type, u, a, by);
  return fmt::format("as_{}(as_{}({}) << {})", type, u, bare(a), by);
}

std::string convert(Helpers& helpers, DType from, DType to, int lanes, const std::string& a) {
  if (from == to) return a;
  if (is_narrow(from)) {
    return convert(helpers, DType::float32, to, lanes, helpers.widen(from, lanes, a));
  }
  if (is_bool(to)) {
    return compare(from, lanes, "!=", a, fmt::format("({})(0)", type_name(from, lanes)));
  }
  if (is_narrow(to)) {
    return helpers.narrow(to, lanes, convert(helpers, from, DType::float32, lanes, a));
  }
  const std::string type = type_name(to, lanes);
  if (is_bool(from)) {
    return lanes == 1 ? fmt::format("({}){}", type, a) : fmt::format("convert_{}(-{})", type, a);
  }
  // Out of range is unspecified, and convert_ says so of it where a cast would be undefined.
  if (is_float(from) && is_integer(to) && byte_size(to) < 4) {
    const std::string word = type_name(DType::int32, lanes);
    return fmt::format("convert_{}(convert_{}({}))", type, word, bare(a));
  }
  if (lanes == 1 && !(is_float(from) && is_integer(to))) return fmt::format("({}){}", type, a);
  return fmt::format("convert_{}({})", type, bare(a));
}

std::string reinterpret(DType from, DType to, int lanes, const std::string& a) {
  const std::string type = type_name(to, lanes);
  if (is_bool(from) && is_bool(to)) return a;
  if (is_bool(from)) {
    const std::string byte = lanes == 1 ? fmt::format("(char){}", a) : fmt::format("(-{})", a);
    return fmt::format("as_{}({})", type, bare(byte));
  }
  if (is_bool(to)) return infix(a, "!=", fmt::format("({})(0)", type_name(from, lanes)));
  return fmt::format("as_{}({})", type, bare(a));
}

std::string choose(DType dtype, bool one_condition, int lanes, const std::string& c,
                   const std::string& a, const std::string& b) {
  if (lanes == 1 || one_condition)
    return settled(dtype, lanes, fmt::format("({} ? {} : {})", c, a, b));
  const bool bytes = byte_size(dtype) == 1;
  return fmt::format(
      "select({}, {}, {})", bare(b), bare(a),
      bytes ? bare(c) : fmt::format("convert_{}({})", integer_name(dtype, true, lanes), bare(c)));
}

// The number that all lanes are, where it is a power of two.
std::optional<std::int64_t> power_of_two(const Node& vector) {
  const Node& number = vector.is(Op::splat_) ? vector.src(0) : vector;
  if (!number.is_constant() || !is_power_of_two(number.int_value())) return std::nullopt;
  return number.int_value();
}

// The quotient by a power of two, or the remainder. Numbers that may be negative are first brought
// closer to 0 by what rounding down would take them away from it.
std::string shifted(Op op, DType dtype, int lanes, std::string_view a, std::int64_t divisor,
                    bool negative) {
  const std::string type = type_name(dtype, lanes);
  const auto below = static_cast<std::uint64_t>(divisor) - 1;
  const int bits = std::popcount(below);
  const std::string from = negative ? fmt::format("({0} + (({0} >> ({1})({2})) & ({1})({3})))", a,
                                                  type, bit_size(dtype) - 1, below)
                                    : std::string(a);
  if (op == Op::idiv_) return fmt::format("({} >> ({})({}))", from, type, bits);
  return negative ? fmt::format("({0} - (({1} >> ({2})({3})) << ({2})({3})))", a, from, type, bits)
                  : fmt::format("({} & ({})({}))", a, type, below);
}

// One piece of an operation: texts of its sources, of `lanes` lanes.
std::string piece(Helpers& helpers, const Node& node, int lanes,
                  const std::vector<std::string>& s) {
  const DType in = node.src(0).dtype();
  const DType out = node.dtype();
  switch (node.op()) {
    case Op::cast_: return convert(helpers, in, out, lanes, s[0]);
    case Op::bitcast_: return reinterpret(in, out, lanes, s[0]);
    case Op::where_: return choose(out, node.src(0).lanes() == 1, lanes, s[0], s[1], s[2]);
    case Op::shl_:
    case Op::shr_: return shift(helpers, node, lanes, s[0], s[1]);
    case Op::idiv_:
    case Op::mod_: {
      const char* op = node.is(Op::idiv_) ? "/" : "%";
      const Quotient known = quotient_of(node.src(0), node.src(1));
      if (known.narrow) return fmt::format("(long)((uint){} {} (uint){})", s[0], op, s[1]);
      // By shifts where there is a choice: NVIDIA's compiler (580) makes remainders of vectors that
      // it then refuses.
      const auto power = lanes > 1 || known.plain ? power_of_two(node.src(1)) : std::nullopt;
      if (power)
        return shifted(node.op(), out, lanes, s[0], *power, !known.plain && is_signed(out));
      if (known.plain) return infix(s[0], op, s[1]);
      return helpers.call(node.op(), out, lanes, s[0], s[1]);
    }
    case Op::cmplt_:
    case Op::cmpne_: {
      if (is_bool(in)) return logical(node.op(), lanes, s[0], s[1]);
      const char* op = node.is(Op::cmplt_) ? "<" : "!=";
      if (!is_narrow(in)) return compare(in, lanes, op, s[0], s[1]);
      return compare(DType::float32, lanes, op, helpers.widen(in, lanes, s[0]),
                     helpers.widen(in, lanes, s[1]));
    }
    case Op::add_:
    case Op::mul_:
      if (is_small(node) && is_small(node.src(0)) && is_small(node.src(1))) {
        return infix(s[0], node.is(Op::add_) ? "+" : "*", s[1]);
      }
      break;
    default: break;
  }
  return arithmetic(helpers, node.op(), in, lanes, s[0], s.size() > 1 ? s[1] : std::string());
}

}  // namespace

Value elementwise(Helpers& helpers, const Node& node, std::span<const Value> srcs) {
  Value result{node.dtype(), node.lanes(), {}};
  const std::vector<int> widths = piece_lanes(node.lanes());
  for (std::size_t i = 0; i < widths.size(); ++i) {
    std::vector<std::string> texts;
    for (std::size_t s = 0; s < srcs.size(); ++s) {
      const bool condition = node.is(Op::where_) && s == 0;
      texts.push_back(condition && srcs[s].lanes == 1 ? srcs[s].pieces[0]
                                                      : operand(srcs[s], i, widths[i]));
    }
    result.pieces.push_back(piece(helpers, node, widths[i], texts));
  }
  return result;
}

Value combine(Helpers& helpers, ReduceOp op, const Value& a, const Value& b) {
  constexpr Op ops[] = {Op::add_, Op::mul_, Op::max_};
  Value result{a.dtype, a.lanes, {}};
  const std::vector<int> widths = piece_lanes(a.lanes);
  for (std::size_t i = 0; i < widths.size(); ++i) {
    result.pieces.push_back(arithmetic(helpers, ops[static_cast<std::size_t>(op)], a.dtype,
                                       widths[i], a.pieces[i], b.pieces[i]));
  }
  return result;
}

namespace {

// Sums of four products of neighbouring bytes, by the device's own instruction: one lane.
std::string packed_dot(const std::string& sum, DType a_type, const std::string& a, DType b_type,
                       const std::string& b) {
  const char a_sign = is_signed(a_type) ? 's' : 'u';
  const char b_sign = is_signed(b_type) ? 's' : 'u';
  const bool is_unsigned = a_sign == 'u' && b_sign == 'u';
  const std::string text = fmt::format("dot_4x8packed_{}{}_{}(as_uint({}), as_uint({}))", a_sign,
                                       b_sign, is_unsigned ? "uint" : "int", bare(a), bare(b));
  return wrapping('+', DType::int32, 1, sum, is_unsigned ? "(int)" + text : text);
}

}  // namespace

Value dot(Helpers& helpers, const Value& sum, const Value& a, const Value& b) {
  const int group = byte_size(a.dtype) == 1 ? 4 : 2;
  const bool real = is_float(a.dtype);
  Value result{sum.dtype, sum.lanes, {}};
  int first = 0;
  const std::vector<int> widths = piece_lanes(sum.lanes);
  if (group == 4 && !real && helpers.target().has_int8_dot) {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      std::vector<std::string> lanes;
      for (int lane = 0; lane < widths[i]; ++lane, ++first) {
        const auto four = [&](const Value& value) {
          return slice(value, first * group, group).pieces[0];
        };
        lanes.push_back(
            packed_dot(slice(sum, first, 1).pieces[0], a.dtype, four(a), b.dtype, four(b)));
      }
      result.pieces.push_back(
          lanes.size() == 1
              ? lanes[0]
              : fmt::format("({})({})", type_name(sum.dtype, widths[i]), fmt::join(lanes, ", ")));
    }
    return result;
  }
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const int lanes = widths[i];
    // Every group-th lane from `member` on, as a number of the sum's dtype.
    const auto members = [&](const Value& value, int member) {
      std::vector<Pick> picks;
      for (int lane = 0; lane < lanes; ++lane) {
        picks.push_back({&value, (first + lane) * group + member});
      }
      const std::string text = gather(value.dtype, picks).pieces[0];
      return convert(helpers, value.dtype, sum.dtype, lanes, text);
    };
    std::string total = sum.pieces[i];
    for (int member = 0; member < group; ++member) {
      const std::string product = infix(members(a, member), "*", members(b, member));
      total =
          real ? infix(total, "+", bare(product)) : wrapping('+', sum.dtype, lanes, total, product);
    }
    result.pieces.push_back(total);
    first += lanes;
  }
  return result;
}

namespace {

// The body of a function that combines x of `width` neighbouring threads; all of them have the same
// result, since which of them are combined first does not depend on who does it.
class GroupReduction {
 public:
  GroupReduction(Helpers& helpers, ReduceOp op, DType dtype, std::int64_t width)
      : helpers_(helpers), op_(op), dtype_(dtype), width_(width) {}

  std::string text() {
    line("const uint thread = (uint)get_local_id(0);");
    helpers_.target().has_exchange ? in_sub_groups() : in_local_memory();
    line("return x;");
    return std::move(text_);
  }

 private:
  void line(const std::string& text) { text_ += "  " + text + "\n"; }

  void let(const std::string& name, const std::string& value) {
    line(fmt::format("const {} {} = {};", type_name(dtype_), name, bare(value)));
  }
  std::string both(const std::string& a, const std::string& b) {
    return bare(combine(helpers_, op_, {dtype_, 1, {a}}, {dtype_, 1, {b}}).pieces[0]);
  }
  std::string as_value(const std::string& text) const {
    return is_bool(dtype_) ? fmt::format("({} != 0)", text) : text;
  }

  void show_all() {
    line("barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);");
    line("room[thread] = x;");
    line("barrier(CLK_LOCAL_MEM_FENCE);");
  }

  // By exchange, and what is wider than a sub-group by halves through local memory.
  void in_sub_groups() {
    line("uint distance = 1;");
    line(fmt::format(
        "for (; distance < min({}u, (uint)get_max_sub_group_size()); distance *= 2) {{", width_));
    const std::string_view word = is_bool(dtype_) ? "(uint)" : "";
    let("y", as_value(fmt::format("sub_group_shuffle_xor({}x, distance)", word)));
    line("x = " + both("x", "y") + ";");
    line("}");
    line(fmt::format("for (; distance < {}; distance *= 2) {{", width_));
    show_all();
    let("y", as_value("room[thread ^ distance]"));
    line("x = " + both("x", "y") + ";");
    line("}");
  }

  // Each thread takes what seven others hold, and again: few barriers, and no loops around them,
  // with which PoCL 3.1 makes code that hangs.
  void in_local_memory() {
    constexpr std::int64_t radix = 8;
    for (std::int64_t done = 1; done < width_; done *= radix) {
      line("{");
      show_all();
      for (std::int64_t count = 1; count < radix && count * done < width_; count *= 2)
        line("x = " + both("x", of_others(count, count, done)) + ";");
      line("}");
    }
  }

  // What threads at `first`, first + 1, …, so many, times the distance hold, in pairs of pairs.
  std::string of_others(std::int64_t first, std::int64_t count, std::int64_t distance) {
    std::string name = fmt::format("y{}_{}", first, count);
    if (count == 1) {
      let(name, as_value(fmt::format("room[thread ^ {}]", first * distance)));
    } else {
      const std::string a = of_others(first, count / 2, distance);
      const std::string b = of_others(first + count / 2, count / 2, distance);
      let(name, both(a, b));
    }
    return name;
  }

  Helpers& helpers_;
  ReduceOp op_;
  DType dtype_;
  std::int64_t width_;
  std::string text_;
};

}  // namespace

std::string group_reduce(Helpers& helpers, ReduceOp op, DType dtype, std::int64_t width,
                         const std::string& value, const std::string& room) {
  constexpr std::string_view names[] = {"sum", "product", "greatest"};
  const std::string name =
      fmt::format("group_{}_{}_{}", names[static_cast<std::size_t>(op)], brisk::name(dtype), width);
  helpers.define(
      name, fmt::format("{0} {1}({0} x, __local {2}* room) {{\n{3}}}\n", type_name(dtype), name,
                        memory_type_name(dtype), GroupReduction(helpers, op, dtype, width).text()));
  return fmt::format("{}({}, {})", name, bare(value), room);
}

}  // namespace brisk::opencl_c
