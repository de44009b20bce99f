#include "graph/integer.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <optional>

#include "base/error.h"

namespace brisk {

namespace {

constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();

std::int64_t saturate(__int128 value) {
  return value < lowest ? lowest : value > highest ? highest : static_cast<std::int64_t>(value);
}
std::int64_t sum(std::int64_t a, std::int64_t b) { return saturate(static_cast<__int128>(a) + b); }
std::int64_t product(std::int64_t a, std::int64_t b) {
  return saturate(static_cast<__int128>(a) * b);
}

Bounds product(Bounds a, Bounds b) {
  const std::int64_t p[] = {product(a.least, b.least), product(a.least, b.greatest),
                            product(a.greatest, b.least), product(a.greatest, b.greatest)};
  return {*std::min_element(p, p + 4), *std::max_element(p, p + 4)};
}

Bounds quotient(Bounds a, Bounds b) {
  if (b.least <= 0) {  // unknown or zero divisor: the quotient is no larger than the dividend
    const std::int64_t m = std::max(sum(0, a.greatest), product(-1, a.least));
    return {a.least >= 0 && b.least >= 0 ? 0 : -std::max<std::int64_t>(m, 0),
            std::max<std::int64_t>(m, 0)};
  }
  return {a.least >= 0 ? a.least / b.greatest : a.least / b.least,
          a.greatest >= 0 ? a.greatest / b.least : a.greatest / b.greatest};
}

Bounds remainder(Bounds a, Bounds b) {
  if (b.least <= 0)
    return {std::min<std::int64_t>(a.least, 0), std::max<std::int64_t>(a.greatest, 0)};
  if (a.least >= 0 && a.greatest < b.least) return a;
  return {a.least >= 0 ? 0 : -(b.greatest - 1), a.greatest <= 0 ? 0 : b.greatest - 1};
}

Bounds dtype_bounds(DType dtype) {
  if (is_float(dtype)) return {lowest, highest};
  return {min_value(dtype), max_value(dtype)};
}

Bounds merge(Bounds a, Bounds b) {
  return {std::min(a.least, b.least), std::max(a.greatest, b.greatest)};
}

}  // namespace

namespace {

// Whether the test of `where` is that its source `a` is less than its source `b`.
bool chooses(const Node& where, std::size_t a, std::size_t b) {
  const Node& test = where.src(0);
  return test.is(Op::cmplt_) && test.src(0) == where.src(a) && test.src(1) == where.src(b);
}

// Expressions may share parts over and over: after `visits` nodes only the dtype is asked.
Bounds bounds_within(const Node& node, int& visits) {
  const Bounds all = dtype_bounds(node.dtype());
  if (--visits < 0) return all;
  const auto bounds = [&](const Node& src) { return bounds_within(src, visits); };
  const auto wide = [&](Bounds b) {  // narrow integers wrap: then nothing is known
    return b.least < all.least || b.greatest > all.greatest ? all : b;
  };
  switch (node.op()) {
    case Op::constant_:
      return is_float(node.dtype()) ? all : Bounds{node.int_value(), node.int_value()};
    case Op::variable_: return {node.ints(0), node.ints(1)};
    case Op::range_: return {0, std::max<std::int64_t>(0, sum(bounds(node.src(0)).greatest, -1))};
    case Op::iota_: return {0, std::max<std::int64_t>(0, node.shape()[0].upper() - 1)};
    case Op::add_: {
      if (is_bool(node.dtype())) return all;
      const Bounds a = bounds(node.src(0));
      const Bounds b = bounds(node.src(1));
      return wide({sum(a.least, b.least), sum(a.greatest, b.greatest)});
    }
    case Op::mul_:
      if (is_float(node.dtype())) return all;
      return wide(product(bounds(node.src(0)), bounds(node.src(1))));
    case Op::idiv_: return wide(quotient(bounds(node.src(0)), bounds(node.src(1))));
    case Op::mod_: return wide(remainder(bounds(node.src(0)), bounds(node.src(1))));
    case Op::max_: {
      if (is_float(node.dtype())) return all;
      const Bounds a = bounds(node.src(0));
      const Bounds b = bounds(node.src(1));
      return {std::max(a.least, b.least), std::max(a.greatest, b.greatest)};
    }
    case Op::where_: {
      const Bounds a = bounds(node.src(1));
      const Bounds b = bounds(node.src(2));
      if (chooses(node, 1, 2))
        return {std::min(a.least, b.least), std::min(a.greatest, b.greatest)};
      if (chooses(node, 2, 1))
        return {std::max(a.least, b.least), std::max(a.greatest, b.greatest)};
      return merge(a, b);
    }
    case Op::ramp_: {
      const Bounds start = bounds(node.src(0));
      return wide({start.least, sum(start.greatest, node.lanes() - 1)});
    }
    case Op::cast_: {
      if (is_float(node.src(0).dtype())) return all;
      return wide(bounds(node.src(0)));
    }
    case Op::and_: {
      const Bounds a = bounds(node.src(0));
      const Bounds b = bounds(node.src(1));
      if (a.least < 0 && b.least < 0) return all;
      if (a.least < 0) return {0, b.greatest};
      if (b.least < 0) return {0, a.greatest};
      return {0, std::min(a.greatest, b.greatest)};
    }
    case Op::or_: {
      const Bounds a = bounds(node.src(0));
      const Bounds b = bounds(node.src(1));
      if (is_bool(node.dtype()) || a.least < 0 || b.least < 0) return all;
      const auto most = static_cast<std::uint64_t>(std::max(a.greatest, b.greatest));
      const std::uint64_t mask = most == 0 ? 0 : ~std::uint64_t{0} >> std::countl_zero(most);
      return {std::max(a.least, b.least), static_cast<std::int64_t>(mask)};
    }
    case Op::shl_: {
      const Node& count = node.src(1);
      if (byte_size(node.dtype()) > 4 || !count.is_constant() || count.int_value() < 0 ||
          count.int_value() > 31) {
        return all;
      }
      const std::int64_t factor = std::int64_t{1} << count.int_value();
      return wide(product(bounds(node.src(0)), {factor, factor}));
    }
    case Op::shr_: {
      const Bounds a = bounds(node.src(0));
      if (!node.src(1).is_constant() || a.least < 0) return all;
      const auto bits = std::min<std::int64_t>(node.src(1).int_value(), 63);
      return {a.least >> bits, a.greatest >> bits};
    }
    case Op::reshape_:
    case Op::permute_:
    case Op::expand_:
    case Op::shrink_:
    case Op::flip_:
    case Op::lane_:
    case Op::splat_: return bounds(node.src(0));
    case Op::shuffle_: {
      Bounds all_lanes = bounds(node.src(0));
      for (const Node& src : node.srcs()) all_lanes = merge(all_lanes, bounds(src));
      return all_lanes;
    }
    default: return all;
  }
}

}  // namespace

Bounds bounds(const Node& node) {
  int visits = 4096;
  return bounds_within(node, visits);
}

// ---- order and normal form
// -----------------------------------------------------------------------

int compare_structure(const Node& a, const Node& b) {
  if (a == b) return 0;
  if (a.op() != b.op()) return a.op() < b.op() ? -1 : 1;
  if (a.dtype() != b.dtype()) return a.dtype() < b.dtype() ? -1 : 1;
  if (a.lanes() != b.lanes()) return a.lanes() < b.lanes() ? -1 : 1;
  if (a.attr().ints != b.attr().ints) return a.attr().ints < b.attr().ints ? -1 : 1;
  if (a.attr().name != b.attr().name) return a.attr().name < b.attr().name ? -1 : 1;
  if (a.srcs().size() != b.srcs().size()) return a.srcs().size() < b.srcs().size() ? -1 : 1;
  for (std::size_t i = 0; i < a.srcs().size(); ++i) {
    if (const int order = compare_structure(a.src(i), b.src(i))) return order;
  }
  return a.id() < b.id() ? -1 : 1;
}

namespace {

// A sum of atoms with constant coefficients. An atom is any node that is no sum, no constant and no
// product with a constant.
struct Linear {
  struct Term {
    Node atom;
    std::int64_t factor;
  };
  std::vector<Term> terms;
  std::int64_t constant = 0;

  void add(const Node& atom, std::int64_t factor) {
    if (factor == 0) return;
    const auto at = std::lower_bound(
        terms.begin(), terms.end(), atom,
        [](const Term& term, const Node& node) { return compare_structure(term.atom, node) < 0; });
    if (at != terms.end() && at->atom == atom) {
      at->factor += factor;
      if (at->factor == 0) terms.erase(at);
    } else {
      terms.insert(at, {atom, factor});
    }
  }

  void add(const Linear& other, std::int64_t factor) {
    for (const Term& term : other.terms) add(term.atom, term.factor * factor);
    constant += other.constant * factor;
  }
};

Node raw(Op op, const Node& a, const Node& b) { return make_node(op, DType::int64, {a, b}); }

Linear linear(const Node& node) {
  Linear result;
  if (node.is_constant()) {
    result.constant = node.int_value();
  } else if (node.is(Op::add_)) {
    result = linear(node.src(0));
    result.add(linear(node.src(1)), 1);
  } else if (node.is(Op::mul_) && node.src(1).is_constant()) {
    result.add(linear(node.src(0)), node.src(1).int_value());
  } else {
    result.add(node, 1);
  }
  return result;
}

// True where a and b are not negative and have one remainder by c.
bool is_congruent(const Node& a, const Node& b, std::int64_t c) {
  Linear difference = linear(a);
  difference.add(linear(b), -1);
  for (const Linear::Term& term : difference.terms) {
    if (term.factor % c != 0) return false;
  }
  return difference.constant % c == 0 && bounds(a).least >= 0 && bounds(b).least >= 0;
}

// y/c*c + x%c = y where x = y modulo c, for every pair of terms where it applies.
void join_quotients(Linear& sum) {
  for (std::size_t i = 0; i < sum.terms.size(); ++i) {
    const Linear::Term rest = sum.terms[i];
    if (!rest.atom.is(Op::mod_) || !rest.atom.src(1).is_constant()) continue;
    const std::int64_t c = rest.atom.src(1).int_value();
    if (c <= 0) continue;
    const Node quotient = integer_div(rest.atom.src(0), rest.atom.src(1));
    for (const Linear::Term& term : sum.terms) {
      if (term.factor != rest.factor * c) continue;
      Node whole;
      if (term.atom == quotient) {
        whole = rest.atom.src(0);
      } else if (term.atom.is(Op::idiv_) && term.atom.src(1) == rest.atom.src(1) &&
                 is_congruent(term.atom.src(0), rest.atom.src(0), c)) {
        whole = term.atom.src(0);
      } else {
        continue;
      }
      const Linear::Term part = term;
      sum.add(part.atom, -part.factor);
      sum.add(rest.atom, -rest.factor);
      sum.add(linear(whole), rest.factor);
      join_quotients(sum);
      return;
    }
  }
}

Node build(const Linear& sum) {
  Node result;
  for (const auto& term : sum.terms) {
    const Node value =
        term.factor == 1 ? term.atom : raw(Op::mul_, term.atom, constant_int(term.factor));
    result = result ? raw(Op::add_, result, value) : value;
  }
  if (!result) return constant_int(sum.constant);
  return sum.constant == 0 ? result : raw(Op::add_, result, constant_int(sum.constant));
}

// A product's factors; any other atom is its only one.
void add_factors(const Node& atom, std::vector<Node>& factors) {
  if (!atom.is(Op::mul_)) return factors.push_back(atom);
  add_factors(atom.src(0), factors);
  add_factors(atom.src(1), factors);
}

// The product of atoms, in an order that does not depend on who was multiplied first.
Node product_of(std::vector<Node> factors) {
  std::sort(factors.begin(), factors.end(),
            [](const Node& a, const Node& b) { return compare_structure(a, b) < 0; });
  Node result;
  for (const Node& factor : factors) result = result ? raw(Op::mul_, result, factor) : factor;
  return result ? result : constant_int(1);
}

// The factor by which `atom` is a multiple of `divisor`, if it is.
std::optional<Node> multiple(const Node& atom, const Node& divisor) {
  std::vector<Node> factors, divided;
  add_factors(atom, factors);
  add_factors(divisor, divided);
  for (const Node& one : divided) {
    const auto found = std::find(factors.begin(), factors.end(), one);
    if (found == factors.end()) return std::nullopt;
    factors.erase(found);
  }
  return product_of(std::move(factors));
}

// What `factor` times an atom that is not negative is at most, in sizes: a range ends before its
// size, a remainder before its divisor, and a quotient times its divisor is at most the dividend.
// Nothing where there is no more to say than the atom's bounds do.
std::optional<Linear> ceiling_of(const Node& atom, std::int64_t factor) {
  Linear most;
  const auto before = [&](const Node& end) {
    most.add(linear(end), factor);
    most.constant -= factor;
    return most;
  };
  if (atom.is(Op::range_)) return before(atom.src(0));
  if (atom.is(Op::mod_) && bounds(atom.src(1)).least > 0) return before(atom.src(1));
  if (atom.is(Op::idiv_) && atom.src(1).is_constant() && bounds(atom.src(0)).least >= 0) {
    const std::int64_t c = atom.src(1).int_value();
    if (c <= 0 || factor % c != 0) return std::nullopt;
    most.add(linear(atom.src(0)), factor / c);
    return most;
  }
  std::vector<Node> factors;
  add_factors(atom, factors);
  for (std::size_t i = 0; factors.size() > 1 && i < factors.size(); ++i) {
    const std::optional<Linear> part = ceiling_of(factors[i], 1);
    if (!part) continue;
    factors.erase(factors.begin() + static_cast<std::ptrdiff_t>(i));
    most.add(linear(integer_mul(build(*part), product_of(std::move(factors)))), factor);
    return most;
  }
  return std::nullopt;
}

// True where 0 <= value < limit follows from structure although the limit is symbolic.
bool is_below(const Node& value, const Node& limit) {
  if (bounds(value).least < 0 || limit.is_constant()) return false;
  Linear left = linear(limit);
  left.add(linear(value), -1);  // of the limit: what must be more than 0
  constexpr int deepest = 8;
  for (int depth = 0; depth < deepest; ++depth) {
    if (bounds(build(left)).least > 0) return true;
    Linear next;
    next.constant = left.constant;
    bool changed = false;
    for (const auto& [atom, factor] : left.terms) {
      const bool taken = factor < 0 && bounds(atom).least >= 0;
      const std::optional<Linear> most = taken ? ceiling_of(atom, -factor) : std::nullopt;
      changed = changed || most.has_value();
      if (most)
        next.add(*most, -1);
      else
        next.add(atom, factor);
    }
    if (!changed) return false;
    left = std::move(next);
  }
  return false;
}

// sum = divisor * quotient + rest.
struct Split {
  Linear quotient;
  Linear rest;
};

Split split(const Linear& sum, const Node& divisor) {
  Split result;
  if (divisor.is_constant()) {
    const std::int64_t c = divisor.int_value();
    for (const auto& [atom, factor] : sum.terms) {
      const std::int64_t q = factor / c;  // a remainder keeps the sign of the factor
      if (factor % c == 0) {
        result.quotient.add(atom, q);
      } else {
        result.rest.add(atom, factor);
      }
    }
    std::int64_t q = sum.constant / c;
    if (sum.constant - q * c < 0) --q;  // keep the rest's constant in 0 … c-1
    result.quotient.constant = q;
    result.rest.constant = sum.constant - q * c;
    return result;
  }
  // A divisor 12*a divides terms by its parts, 12 and a.
  const Linear parts = linear(divisor);
  const bool one_term = parts.terms.size() == 1 && parts.constant == 0;
  const Node whole = one_term ? parts.terms[0].atom : divisor;
  const std::int64_t times = one_term ? parts.terms[0].factor : 1;
  for (const auto& [atom, factor] : sum.terms) {
    const auto q = factor % times == 0 ? multiple(atom, whole) : std::nullopt;
    if (q) {
      result.quotient.add(linear(*q), factor / times);
    } else {
      result.rest.add(atom, factor);
    }
  }
  result.rest.constant = sum.constant;
  return result;
}

}  // namespace

Node integer_add(const Node& a, const Node& b) {
  if (a.is_constant(0)) return b;
  if (b.is_constant(0)) return a;
  Linear sum = linear(a);
  sum.add(linear(b), 1);
  join_quotients(sum);
  return build(sum);
}

Node integer_sub(const Node& a, const Node& b) {
  return integer_add(a, integer_mul(b, constant_int(-1)));
}

Node integer_mul(const Node& a, const Node& b) {
  if (a.is_constant() && b.is_constant()) return constant_int(a.int_value() * b.int_value());
  if (a.is_constant()) return integer_mul(b, a);
  if (b.is_constant()) {
    Linear sum;
    sum.add(linear(a), b.int_value());
    return build(sum);
  }
  // Products of sums are multiplied out, so that strides of symbolic sizes can be read off.
  const Linear left = linear(a);
  const Linear right = linear(b);
  if (left.terms.size() == 1 && left.constant == 0 && right.terms.size() == 1 &&
      right.constant == 0) {
    const Node& x = left.terms[0].atom;
    const Node& y = right.terms[0].atom;
    std::vector<Node> factors;
    add_factors(x, factors);
    add_factors(y, factors);
    const Node atom = product_of(std::move(factors));
    const std::int64_t factor = left.terms[0].factor * right.terms[0].factor;
    return factor == 1 ? atom : raw(Op::mul_, atom, constant_int(factor));
  }
  Linear sum;
  for (const auto& [x, p] : left.terms) {
    for (const auto& [y, q] : right.terms) sum.add(linear(integer_mul(x, y)), p * q);
    sum.add(x, p * right.constant);
  }
  for (const auto& [y, q] : right.terms) sum.add(y, q * left.constant);
  sum.constant = left.constant * right.constant;
  return build(sum);
}

Node integer_div(const Node& a, const Node& b) {
  if (b.is_constant(1)) return a;
  if (a == b && bounds(b).least > 0) return constant_int(1);
  if (a.is_constant() && b.is_constant()) {
    return constant_int(b.int_value() == 0 ? 0 : a.int_value() / b.int_value());
  }
  if (b.is_constant() && b.int_value() <= 0) return raw(Op::idiv_, a, b);
  const Bounds ba = bounds(a);
  const Bounds bb = bounds(b);
  if (bb.least > 0 && ba.least >= 0 && ba.greatest < bb.least) return constant_int(0);
  if (ba.least < 0 || bb.least <= 0) return raw(Op::idiv_, a, b);
  const Split parts = split(linear(a), b);
  const Node rest = build(parts.rest);
  const Bounds br = bounds(rest);
  if (b.is_constant()) {
    const std::int64_t c = b.int_value();
    if (br.least >= 0) {
      Node low;
      if (br.greatest < c) {
        low = constant_int(0);
      } else {
        // (g*x + r) / (g*c) = x / c when 0 <= r < g.
        std::int64_t g = c;
        for (const auto& term : parts.rest.terms) g = std::gcd(g, term.factor);
        if (g > 1) {
          Linear reduced;
          for (const auto& term : parts.rest.terms) reduced.add(term.atom, term.factor / g);
          reduced.constant = parts.rest.constant / g;
          low = integer_div(build(reduced), constant_int(c / g));
        } else if (rest.is(Op::idiv_) && rest.src(1).is_constant()) {
          low = integer_div(rest.src(0), constant_int(c * rest.src(1).int_value()));
        } else {
          // Terms that are multiples of a large part of c may leave too little to carry over.
          low = raw(Op::idiv_, rest, b);
          for (const auto& pivot : parts.rest.terms) {
            const std::int64_t h = std::gcd(c, pivot.factor);
            if (h <= 1 || h == c) continue;
            Linear big;
            Linear small;
            for (const auto& term : parts.rest.terms) {
              (term.factor % h == 0 ? big : small).add(term.atom, term.factor);
            }
            big.constant = parts.rest.constant / h * h;
            small.constant = parts.rest.constant - big.constant;
            const Bounds bs = bounds(build(small));
            if (bs.least < 0 || bs.greatest >= h || bounds(build(big)).least < 0) continue;
            low = integer_div(build(big), b);
            break;
          }
        }
      }
      return integer_add(build(parts.quotient), low);
    }
    return raw(Op::idiv_, a, b);
  }
  if (is_below(rest, b)) return build(parts.quotient);
  return raw(Op::idiv_, a, b);
}

Node integer_mod(const Node& a, const Node& b) {
  if (b.is_constant(1) || (a == b && bounds(b).least > 0)) return constant_int(0);
  if (a.is_constant() && b.is_constant()) {
    return b.int_value() == 0 ? a : constant_int(a.int_value() % b.int_value());
  }
  if (b.is_constant() && b.int_value() <= 0) return raw(Op::mod_, a, b);
  const Bounds ba = bounds(a);
  const Bounds bb = bounds(b);
  if (ba.least < 0 || bb.least <= 0) return raw(Op::mod_, a, b);
  if (ba.greatest < bb.least) return a;
  Split parts = split(linear(a), b);
  if (b.is_constant()) {  // (13*x + y) mod 10 = (3*x + y) mod 10: what window views leave
    for (auto& term : parts.rest.terms) term.factor %= b.int_value();
  }
  Node rest = build(parts.rest);
  const Bounds br = bounds(rest);
  if (b.is_constant()) {
    const std::int64_t c = b.int_value();
    if (br.least < 0) return raw(Op::mod_, a, b);
    if (br.greatest < c) return rest;
    if (rest.is(Op::mod_) && rest.src(1).is_constant() && rest.src(1).int_value() % c == 0) {
      return integer_mod(rest.src(0), b);
    }
    // (h*x + s) mod c with h | c and 0 <= s < h: s stays as it is.
    for (const auto& pivot : parts.rest.terms) {
      const std::int64_t h = std::gcd(c, pivot.factor);
      if (h <= 1) continue;
      Linear big;
      Linear small;
      for (const auto& term : parts.rest.terms) {
        (term.factor % h == 0 ? big : small).add(term.atom, term.factor);
      }
      big.constant = parts.rest.constant / h * h;
      small.constant = parts.rest.constant - big.constant;
      const Node low = build(small);
      const Bounds bs = bounds(low);
      if (bs.least < 0 || bs.greatest >= h || bounds(build(big)).least < 0) continue;
      Linear scaled;
      for (const auto& term : big.terms) scaled.add(term.atom, term.factor / h);
      scaled.constant = big.constant / h;
      const Node high =
          integer_mul(integer_mod(build(scaled), constant_int(c / h)), constant_int(h));
      return integer_add(high, low);
    }
    return raw(Op::mod_, rest, b);
  }
  if (is_below(rest, b)) return rest;
  return raw(Op::mod_, a, b);
}

namespace {

// A sum that is negative wherever this one is: g·x + r as x, when 0 <= r < g.
Linear without_small_terms(const Linear& sum) {
  std::vector<std::int64_t> factors;
  for (const auto& term : sum.terms) factors.push_back(std::abs(term.factor));
  std::sort(factors.rbegin(), factors.rend());
  for (const std::int64_t g : factors) {
    if (g == 1) break;
    Linear big;
    Linear small;
    for (const auto& term : sum.terms) {
      const bool whole = term.factor % g == 0;
      (whole ? big : small).add(term.atom, whole ? term.factor / g : term.factor);
    }
    small.constant = (sum.constant % g + g) % g;
    const Bounds rest = bounds(build(small));
    if (rest.least < 0 || rest.greatest >= g) continue;
    big.constant = (sum.constant - small.constant) / g;
    return big;
  }
  return sum;
}

}  // namespace

Node integer_less(const Node& a, const Node& b) {
  Linear difference = linear(a);
  difference.add(linear(b), -1);  // a < b  ⇔  a - b < 0
  const Node value = build(difference);
  const Bounds d = bounds(value);
  const auto truth = [](bool holds) { return constant_int(holds, DType::boolean); };
  if (d.greatest < 0) return truth(true);
  if (d.least >= 0) return truth(false);
  // Ranges of symbolic size: i < T for i from range(T).
  if (is_below(a, b)) return truth(true);
  difference = without_small_terms(difference);
  Linear left;
  Linear right;
  for (const auto& [atom, factor] : difference.terms) {
    (factor > 0 ? left : right).add(atom, std::abs(factor));
  }
  (difference.constant > 0 ? left : right).constant = std::abs(difference.constant);
  return make_node(Op::cmplt_, DType::boolean, {build(left), build(right)});
}

Node integer_min(const Node& a, const Node& b) {
  if (integer_less(b, a).is_constant(0)) return a;  // equal at most
  const Node less = integer_less(a, b);
  if (less.is_constant()) return less.int_value() != 0 ? a : b;
  return make_node(Op::where_, DType::int64, {less, a, b});
}

Node integer_max(const Node& a, const Node& b) {
  if (integer_less(b, a).is_constant(0)) return b;  // equal at most
  const Node less = integer_less(a, b);
  if (less.is_constant()) return less.int_value() != 0 ? b : a;
  return make_node(Op::where_, DType::int64, {less, b, a});
}

Node logical_and(const Node& a, const Node& b) {
  if (!a || a.is_constant(1)) return b;
  if (!b || b.is_constant(1) || a == b) return a;
  if (a.is_constant(0)) return a;
  if (b.is_constant(0)) return b;
  return bit_and(a, b);
}

std::string to_string(const Size& size) {
  if (size.is_constant()) return std::to_string(size.value());
  const Linear sum = linear(size.expr());
  std::string text;
  const auto atom_text = [](const Node& atom) -> std::string {
    if (atom.is(Op::variable_)) return atom.attr().name;
    if (atom.is(Op::mul_) || atom.is(Op::idiv_) || atom.is(Op::mod_)) {
      const char* sign = atom.is(Op::mul_) ? "*" : atom.is(Op::idiv_) ? "/" : "%";
      return "(" + to_string(Size(atom.src(0))) + ")" + sign + "(" + to_string(Size(atom.src(1))) +
             ")";
    }
    return std::string(name(atom.op()));
  };
  for (const auto& [atom, factor] : sum.terms) {
    if (!text.empty()) text += factor < 0 ? "-" : "+";
    const std::int64_t shown = text.empty() ? factor : std::abs(factor);
    if (shown != 1) text += std::to_string(shown) + "*";
    text += atom_text(atom);
  }
  if (sum.constant != 0) {
    text += sum.constant < 0 ? "-" : "+";
    text += std::to_string(std::abs(sum.constant));
  }
  return text;
}

// ---- substitution
// --------------------------------------------------------------------------------

namespace {

Node folded(const Node& node, std::vector<Node> srcs) {
  switch (node.op()) {
    case Op::add_: return add(srcs[0], srcs[1]);
    case Op::mul_: return mul(srcs[0], srcs[1]);
    case Op::idiv_: return idiv(srcs[0], srcs[1]);
    case Op::mod_: return mod(srcs[0], srcs[1]);
    case Op::cmplt_: return cmplt(srcs[0], srcs[1]);
    case Op::and_:
      if (is_bool(node.dtype()) && node.rank() == 0) return logical_and(srcs[0], srcs[1]);
      break;
    case Op::where_:
      if (srcs[0].is_constant()) return srcs[0].int_value() != 0 ? srcs[1] : srcs[2];
      break;
    case Op::load_:
      if (srcs.size() == 3 && srcs[2].is_constant(1)) srcs.pop_back();
      break;
    default: break;
  }
  return make_node(node.op(), node.dtype(), std::move(srcs), node.attr(), node.lanes());
}

// What a vector folds to may be one lane of it.
Node rebuild(const Node& node, std::vector<Node> srcs) {
  Node result = folded(node, std::move(srcs));
  if (result.lanes() == node.lanes() || result.lanes() != 1) return result;
  return make_node(Op::splat_, result.dtype(), {result}, {}, node.lanes());
}

}  // namespace

Node substitute(const Node& node, Substitution& memo) {
  if (const auto found = memo.find(node); found != memo.end()) return found->second;
  // Sizes that are kept in attributes are left as they are: kernels have them as sources.
  bool changed = false;
  std::vector<Node> srcs;
  srcs.reserve(node.srcs().size());
  for (const Node& src : node.srcs()) {
    srcs.push_back(substitute(src, memo));
    changed |= !(srcs.back() == src);
  }
  Node result = changed ? rebuild(node, std::move(srcs)) : node;
  memo.emplace(node, result);
  return result;
}

bool is_multiple(const Node& index, std::int64_t count) {
  if (count == 1) return true;
  switch (index.op()) {
    case Op::constant_: return index.int_value() % count == 0;
    case Op::add_: return is_multiple(index.src(0), count) && is_multiple(index.src(1), count);
    case Op::mul_: {
      if (!index.src(1).is_constant()) {
        return is_multiple(index.src(0), count) || is_multiple(index.src(1), count);
      }
      // A factor of two less for every one that the constant has.
      std::int64_t factor = index.src(1).int_value();
      while (count > 1 && count % 2 == 0 && factor % 2 == 0 && factor != 0) {
        count /= 2;
        factor /= 2;
      }
      return factor == 0 || is_multiple(index.src(0), count);
    }
    case Op::where_: return is_multiple(index.src(1), count) && is_multiple(index.src(2), count);
    default: return false;
  }
}

}  // namespace brisk
