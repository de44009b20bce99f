// Simplification of arithmetic and integer operations: identities, casts, comparisons, constants.
#include <algorithm>
#include <limits>

#include "graph/elementwise.h"
#include "graph/integer.h"
#include "graph/rules_simplify.h"

namespace brisk {

namespace {

std::vector<Op> elementwise_ops() {
  std::vector<Op> ops;
  for (int i = 0; i < op_count(); ++i) {
    if (is_elementwise(static_cast<Op>(i))) ops.push_back(static_cast<Op>(i));
  }
  return ops;
}

bool is_whole(DType dtype) { return !is_float(dtype); }  // integers and bool

bool is_lowest(const Node& node) {
  if (!node.is_constant() || node.dtype() == DType::float8_e4m3) return false;
  if (is_float(node.dtype())) return node.is_constant(-std::numeric_limits<double>::infinity());
  return node.int_value() == min_value(node.dtype());
}

bool is_negative_zero(const Node& node) {
  return is_float(node.dtype()) && node.is_constant(0) && node.ints(0) != 0;
}

bool is_every_bit(const Node& node) {
  return node.is_constant() && !is_float(node.dtype()) &&
         node == constant_int(is_bool(node.dtype()) ? 1 : -1, node.dtype());
}

// ---- casts
// ---------------------------------------------------------------------------------------

// Bits of precision and the range of exponents; integers: bits of the magnitude.
int digits(DType dtype) {
  switch (dtype) {
    case DType::boolean: return 1;
    case DType::float8_e4m3: return 4;
    case DType::float8_e5m2: return 3;
    case DType::float16: return 11;
    case DType::bfloat16: return 8;
    case DType::float32: return 24;
    case DType::float64: return 53;
    default: return bit_size(dtype) - (is_signed(dtype) ? 1 : 0);
  }
}

// Exponents of the smallest subnormal and of the largest value.
int smallest_exponent(DType dtype) {
  switch (dtype) {
    case DType::float8_e4m3: return -9;
    case DType::float8_e5m2: return -16;
    case DType::float16: return -24;
    case DType::bfloat16: return -133;
    case DType::float32: return -149;
    default: return -1074;
  }
}
int largest_exponent(DType dtype) {
  switch (dtype) {
    case DType::float8_e4m3: return 8;
    case DType::float8_e5m2:
    case DType::float16: return 15;
    case DType::bfloat16:
    case DType::float32: return 127;
    default: return 1023;
  }
}

// True where every value of `from` is one of `to`.
bool holds(DType to, DType from) {
  if (to == from) return true;
  if (is_bool(to) || (is_float(from) && !is_float(to))) return false;
  if (digits(to) < digits(from)) return false;
  if (is_float(from)) {
    return smallest_exponent(to) <= smallest_exponent(from) &&
           largest_exponent(to) >= largest_exponent(from);
  }
  if (is_float(to)) return largest_exponent(to) >= digits(from);
  return is_signed(to) || !is_signed(from);
}

Node cast_of_cast(const Match& match) {
  const DType to = match.dtype();
  const Node& middle = match.root().src(0);
  const Node& x = middle.src(0);
  const DType from = x.dtype();
  // A float out of an integer's range is not an integer out of it, which wraps.
  const bool through_float = is_float(middle.dtype()) && !is_float(from) && is_integer(to);
  const bool keeps = holds(middle.dtype(), from) && (!through_float || holds(to, from));
  const bool wraps = is_integer(from) && is_integer(middle.dtype()) && is_integer(to) &&
                     bit_size(to) <= bit_size(middle.dtype());
  return keeps || wraps ? cast(x, to) : Node();
}

// ---- bounds
// --------------------------------------------------------------------------------------

// Bounds of uint64 saturate, so they say nothing.
bool has_bounds(DType dtype) { return is_whole(dtype) && dtype != DType::uint64; }

Node less_by_bounds(const Match& match) {
  const Bounds a = bounds(match.root().src(0));
  const Bounds b = bounds(match.root().src(1));
  if (a.greatest < b.least) return constant_int(1, DType::boolean);
  if (a.least >= b.greatest) return constant_int(0, DType::boolean);
  return {};
}

Node differ_by_bounds(const Match& match) {
  const Bounds a = bounds(match.root().src(0));
  const Bounds b = bounds(match.root().src(1));
  if (a.greatest < b.least || b.greatest < a.least) return constant_int(1, DType::boolean);
  if (a.least == a.greatest && b.least == b.greatest) return constant_int(0, DType::boolean);
  return {};
}

bool fits_below(const Node& x, const Node& y) {
  return bounds(x).least >= 0 && bounds(x).greatest < bounds(y).least;
}

// ---- constants
// -----------------------------------------------------------------------------------

Node fold(const Match& match) {
  const Node& node = match.root();
  std::vector<std::uint64_t> bits(node.srcs().size());
  std::vector<Operand> operands;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (!node.src(i).is_constant()) return {};
    auto* bytes = reinterpret_cast<std::byte*>(&bits[i]);
    write_constant(node.src(i), bytes);
    operands.push_back({node.src(i).dtype(), bytes, 0});
  }
  std::uint64_t result = 0;
  apply(node.op(), node.dtype(), operands, 1, reinterpret_cast<std::byte*>(&result));
  return read_constant(node.dtype(), reinterpret_cast<const std::byte*>(&result));
}

// op(op(x, c), d) = op(x, op(c, d)) for associative operations.
Replacement join_constants(const Pattern& x, const Pattern& c, const Pattern& d) {
  return [=](const Match& match) {
    const Node& node = match.root();
    return make_node(node.op(), node.dtype(),
                     {match[x], make_node(node.op(), node.dtype(), {match[c], match[d]})}, {},
                     node.lanes());
  };
}

Node swapped(const Match& match) {
  const Node& node = match.root();
  if (!node.src(0).is_constant() || node.src(1).is_constant()) return {};
  return make_node(node.op(), node.dtype(), {node.src(1), node.src(0)}, node.attr(), node.lanes());
}

// (x / c) / d = x / (c * d) where the product is in range; truncating quotients compose.
Node quotient_of_quotient(const Match& match, const Pattern& x, const Pattern& c,
                          const Pattern& d) {
  const std::int64_t p = match[c].int_value();
  const std::int64_t q = match[d].int_value();
  if (p <= 0 || q <= 0 || match.dtype() == DType::uint64) return {};
  if (p > max_value(match.dtype()) / q) return {};
  return idiv(match[x], constant_int(p * q, match.dtype()));
}

std::vector<Rule> make_rules() {
  const Pattern x = any();
  const Pattern y = any();
  const Pattern z = any();
  const Pattern b = any();  // a condition
  const Pattern c = constant();
  const Pattern d = constant();
  const Pattern whole = any().of(is_whole);
  const Pattern integer = any().of(is_integer);
  const Pattern truth = any().of(is_bool);
  const Pattern bounded = any().when([](const Node& node) { return has_bounds(node.dtype()); });
  const Pattern lowest = constant().when(is_lowest);
  const Pattern every_bit = constant().when(is_every_bit);
  const Pattern commutative = Pattern::operation(
      {Op::add_, Op::mul_, Op::max_, Op::cmpne_, Op::and_, Op::or_, Op::xor_}, {x, y});

  return {
      rule("fold_constants", Pattern::operation(elementwise_ops(), {}), fold),
      rule("constant_right", commutative, swapped),

      // identities
      up_to_zero_sign(rule("add_zero", x + 0, x)),
      rule("add_negative_zero", x + constant().when(is_negative_zero), x),
      rule("mul_one", x * 1, x),
      rule("mul_zero", whole * 0, lit(0)),
      rule("or_true", truth + 1, lit(1)),
      rule("max_same", max(x, x), x),
      rule("max_lowest", max(x, lowest), x),
      rule("max_true", max(truth, lit(1)), lit(1)),
      rule("negate_twice", (x * -1) * -1, x),
      rule("add_negative", integer + integer * -1, lit(0)),
      rule("add_add", (integer + c) + d, join_constants(integer, c, d)),
      rule("mul_mul", (integer * c) * d, join_constants(integer, c, d)),
      rule("max_max", max(max(x, c), d), join_constants(x, c, d)),

      // bits
      rule("and_zero", x & 0, lit(0)),
      rule("and_ones", x & every_bit, x),
      rule("and_same", x & x, x),
      rule("or_zero", x | 0, x),
      rule("or_ones", x | every_bit, every_bit),
      rule("or_same", x | x, x),
      rule("xor_zero", x ^ 0, x),
      rule("xor_same", x ^ x, lit(0)),
      rule("shl_zero", x << 0, x),
      rule("shr_zero", x >> 0, x),
      rule("bitcast_bitcast", pattern(Op::bitcast_, pattern(Op::bitcast_, x)),
           [x](const Match& m) {
             return is_bool(m.root().src(0).dtype()) ? Node() : bitcast(m[x], m.dtype());
           }),

      // quotients
      rule("div_one", x / 1, x),
      rule("div_zero", x / 0, lit(0)),
      rule("zero_div", lit(0) / x, lit(0)),
      rule("mod_one", x % 1, lit(0)),
      rule("mod_zero", x % 0, x),
      rule("zero_mod", lit(0) % x, lit(0)),
      rule("div_div", (x / c) / d,
           [=](const Match& m) { return quotient_of_quotient(m, x, c, d); }),
      rule("div_small", bounded / y,
           [=](const Match& m) {
             return fits_below(m[bounded], m[y]) ? constant_int(0, m.dtype()) : Node();
           }),
      rule("mod_small", bounded % y,
           [=](const Match& m) { return fits_below(m[bounded], m[y]) ? m[bounded] : Node(); }),

      // comparisons and choices
      rule("less_than_itself", x < x, lit(0)),
      rule("differs_from_itself", whole != whole, lit(0)),
      rule("less_by_bounds", bounded < y, less_by_bounds),
      rule("differs_by_bounds", bounded != y, differ_by_bounds),
      rule("differs_from_false", truth != 0, truth),
      rule("not_not", (truth != 1) != 1, truth),
      rule("cast_bool_differs_from_zero", pattern(Op::cast_, truth) != 0, truth),
      rule("where_true", where(lit(1), x, y), x),
      rule("where_false", where(lit(0), x, y), y),
      rule("where_same", where(b, x, x), x),
      rule("where_not", where(truth != 1, x, y), where(truth, y, x)),
      rule("where_where_then", where(b, where(b, x, y), z), where(b, x, z)),
      rule("where_where_else", where(b, x, where(b, y, z)), where(b, x, z)),
      rule("where_is_condition", where(b, lit(1), lit(0)).of(is_bool), b),
      rule("where_is_not", where(b, lit(0), lit(1)).of(is_bool),
           [=](const Match& m) {
             return make_node(Op::cmpne_, DType::boolean, {m[b], constant_int(1, DType::boolean)},
                              {}, m[b].lanes());
           }),

      // casts
      rule("cast_to_same", pattern(Op::cast_, x),
           [x](const Match& m) { return m[x].dtype() == m.dtype() ? m[x] : Node(); }),
      rule("cast_cast", pattern(Op::cast_, pattern(Op::cast_, x)), cast_of_cast),
  };
}

}  // namespace

std::span<const Rule> arithmetic_rules() {
  static const std::vector<Rule> rules = make_rules();
  return rules;
}

}  // namespace brisk
