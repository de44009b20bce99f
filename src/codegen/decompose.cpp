// Polynomials below are near-minimax in relative error: weighted least squares on Chebyshev nodes
// with Lawson's iteration, coefficients rounded to the format one by one from the lowest, the
// others fitted again each time. Their error is given beside each; tests/codegen/decompose_test.cpp
// measures the sum of it and the roundings.
#include "codegen/decompose.h"

#include <bit>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "base/error.h"

namespace brisk {

namespace {

// A node with operators, so that the formulas below read as such.
struct V {
  Node n;
  V like(double c) const { return {constant_like(c, n.dtype())}; }
  V bits(std::uint64_t c) const { return {constant_int(static_cast<std::int64_t>(c), n.dtype())}; }
};
V operator+(const V& a, const V& b) { return {add(a.n, b.n)}; }
V operator*(const V& a, const V& b) { return {mul(a.n, b.n)}; }
V operator+(const V& a, double b) { return a + a.like(b); }
V operator*(const V& a, double b) { return a * a.like(b); }
V operator-(const V& a, const V& b) { return a + b * b.like(-1); }
V operator&(const V& a, std::uint64_t b) { return {bit_and(a.n, a.bits(b).n)}; }
V operator<<(const V& a, const V& b) { return {shl(a.n, b.n)}; }
V operator>>(const V& a, int b) { return {shr(a.n, a.bits(static_cast<std::uint64_t>(b)).n)}; }
V operator<<(const V& a, int b) { return {shl(a.n, a.bits(static_cast<std::uint64_t>(b)).n)}; }
V operator<(const V& a, const V& b) { return {cmplt(a.n, b.n)}; }
V operator!=(const V& a, const V& b) { return {cmpne(a.n, b.n)}; }
V choose(const V& c, const V& a, const V& b) { return {where(c.n, a.n, b.n)}; }
V as(const V& a, DType dtype) { return {bitcast(a.n, dtype)}; }
V to(const V& a, DType dtype) { return {cast(a.n, dtype)}; }

template <std::size_t N>
V polynomial(const V& x, const double (&c)[N]) {  // lowest coefficient first
  V sum = x.like(c[N - 1]);
  for (std::size_t i = N - 1; i-- > 0;) sum = sum * x + x.like(c[i]);
  return sum;
}

// The same in powers of x²: about half as long a chain of operations.
V polynomial_in_pairs(const V& x, const double (&c)[8]) {
  const V square = x * x;
  const auto pair = [&](int i) { return x * c[i + 1] + c[i]; };
  V sum = pair(6);
  for (int i = 4; i >= 0; i -= 2) sum = sum * square + pair(i);
  return sum;
}

// What differs between the two formats.
struct Format {
  DType bits;    // the unsigned integer of its size: int64 scalars would be taken for indices
  int mantissa;  // bits stored
  int bias;
  double magic;  // 1.5 · 2^mantissa: adding it rounds to an integer, which is then in the low bits
};

Format format_of(const V& x) {
  if (x.n.dtype() == DType::float64) return {DType::uint64, 52, 1023, 0x1.8p52};
  return {DType::uint32, 23, 127, 0x1.8p23};
}

// 2^x = p(x - 2h) · 2^h · 2^h with h = round(x / 2): two scalings by normal numbers, so that the
// last one overflows and underflows as it must, subnormals included. Of p's coefficients the odd
// ones add up to 3/4 and the even ones to 5/4, so that p(-1) = 1/2, p(0) = 1 and p(1) = 2, with or
// without fused products: whole numbers give whole powers.
V exp2_of(const V& given) {
  const Format f = format_of(given);
  const bool wide = f.mantissa == 52;
  const V most = given.like(f.bias + 2);
  const V least = given.like(-(f.bias + f.mantissa + 2));
  V x = choose(given < least, least, given);
  x = choose(most < x, most, x);  // a NaN stays
  // Adding twice the magic number rounds to an even one, 2h; twice the bias more, and h is in the
  // low bits as an exponent has it.
  const double shift = 2 * (f.magic + f.bias);
  const V shifted = x + shift;
  const V rest = x - (shifted + -shift);  // in [-1, 1], exact
  constexpr double narrow[] = {0x1p+0,        0x1.62e43p-1,   0x1.ebfbfap-3, 0x1.c6b026p-5,
                               0x1.3b1f2ep-7, 0x1.5da5d4p-10, 0x1.484c8p-13, 0x1.fab6p-17};
  constexpr double full[] = {0x1p+0,
                             0x1.62e42fefa39f0p-1,
                             0x1.ebfbdff82c591p-3,
                             0x1.c6b08d7049f5bp-5,
                             0x1.3b2ab6fba4a92p-7,
                             0x1.5d87fe78bcff5p-10,
                             0x1.430912f8e4eccp-13,
                             0x1.ffcbfc3126b0dp-17,
                             0x1.62c02170b855cp-20,
                             0x1.b5255f1ea0795p-24,
                             0x1.e4d09b756fae4p-28,
                             0x1.e8adddcf59941p-32,
                             0x1.c2b8a28b274f1p-36,
                             0x1.8c02e3c51bf00p-40,
                             0x1.81754f6a70f00p-44};
  // 2^-57.0, 2^-25.8
  const V p = wide ? polynomial(rest, full) : polynomial_in_pairs(rest, narrow);
  const V scale = as(as(shifted, f.bits) << f.mantissa, given.n.dtype());
  return p * scale * scale;
}

// log2 x = e + log2 m with m in [sqrt(1/2), sqrt(2)), so that nothing cancels near 1.
V log2_of(const V& given) {
  const Format f = format_of(given);
  const bool wide = f.mantissa == 52;
  const DType dtype = given.n.dtype();
  const V least = given.like(std::ldexp(1.0, 1 - f.bias));
  const V subnormal = given < least;
  const V x = choose(subnormal, given * std::ldexp(1.0, f.mantissa), given);
  const V word = as(x, f.bits);
  const std::int64_t root = wide ? 0x3fe6a09e667f3bcd : 0x3f3504f3;  // bits of sqrt(1/2)
  const DType with_sign = wide ? DType::int64 : DType::int32;
  const V above = word + word.bits(static_cast<std::uint64_t>(-root));
  const V exponent = to(V{shr(as(above, with_sign).n, constant_int(f.mantissa, with_sign))}, dtype);
  const std::uint64_t fraction = (std::uint64_t{1} << f.mantissa) - 1;
  const V m = as((above & fraction) + word.bits(static_cast<std::uint64_t>(root)), dtype);
  const V e = exponent + choose(subnormal, given.like(-f.mantissa), given.like(0));
  const V t = m + -1.0;
  V result = t;
  if (wide) {
    // With s = t / (2 + t): log2 m = s (2 log2(e) + s² R(s²)).
    constexpr double r[] = {0x1.ec709dc3a03fdp-1, 0x1.2776c50ef9e6dp-1, 0x1.a61762a730051p-2,
                            0x1.484b14361a5a9p-2, 0x1.0c9a5e4e46a17p-2, 0x1.c6a136449d9ecp-3,
                            0x1.878f2f3ea0791p-3, 0x1.86fd750cbd7cep-3};  // 2^-66.6
    const V s = t * V{recip((t + 2.0).n)};
    const V z = s * s;
    // 2s = t - ts: what is exact of it goes first.
    constexpr double log2e = 0x1.71547652b82fep+0;
    const V correction = s * z * polynomial(z, r) - t * s * log2e;
    result = t * log2e + (correction + t * 0x1.777d0ffda0d24p-56);
  } else {
    // log2 m = t (hi + (lo + t Q(t))), hi + lo = log2(e).
    constexpr double q[] = {-0x1.715470p-1, 0x1.ec7094p-2,  -0x1.715ad6p-2,
                            0x1.277f16p-2,  -0x1.eaae48p-3, 0x1.a2dcd0p-3,
                            -0x1.878cfcp-3, 0x1.7e5ea6p-3,  -0x1.c3e322p-4};  // 2^-27.7
    result = t * 0x1.715476p+0 + t * (polynomial(t, q) * t + 0x1.4ae0cp-26);
  }
  result = result + e;
  constexpr double infinity = std::numeric_limits<double>::infinity();
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  result = choose(given < given.like(infinity), result, given);  // infinity, NaN
  const V outside = choose(given != given.like(0), given.like(nan), given.like(-infinity));
  return choose(given.like(0) < given, result, outside);
}

// ---- sine
// ----------------------------------------------------------------------------------------

// x = quadrant · π/2 + rest (+ tail), |rest| <= π/4 and a little.
struct Reduced {
  V quadrant;  // uint32; the low two bits count
  V rest;
};

// Cody and Waite: π/2 in parts so short that their products with the quadrant are exact.
Reduced reduce_small(const V& x) {
  const Format f = format_of(x);
  const V shifted = x * 0x1.45f306dc9c883p-1 + f.magic;
  const V q = shifted + -f.magic;
  constexpr double narrow[] = {0x1.92p+0, 0x1.fb4p-12, 0x1.444p-24, 0x1.68c234p-39};
  constexpr double wide[] = {0x1.921fb54p+0, 0x1.10b46118p-30, 0x1.313198ap-61,
                             0x1.701b839a25204p-92};
  const auto& part = f.mantissa == 52 ? wide : narrow;
  // The first two differences are exact; what the third loses goes with the fourth.
  const V exact = q * -part[1] + (q * -part[0] + x);
  const V high = q * -part[2] + exact;
  const V low = q * -part[3] + (q * -part[2] + (exact - high));
  const V rest = high + low;
  return {to(as(shifted, f.bits), DType::uint32), rest};
}

// The first bits of 2/π, after 32 zeros.
constexpr std::uint32_t two_over_pi[] = {
    0,          0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab,
    0xdebbc561, 0xb7246e3a, 0x424dd2e0, 0x06492eea, 0x09d1921c, 0xfe1deb1c, 0xb129a73e, 0xe88235f5,
    0x2ebb4484, 0xe99c7026, 0xb45f7e41, 0x3991d639, 0x835339f4, 0x9c845f8b, 0xbdf9283b, 0x1ff897ff,
    0xde05980f, 0xef2f118b, 0x5a0a6d1f, 0x6d367ecf, 0x27cb09b7, 0x4f463f66, 0x9e5fea2d, 0x7527bac7,
    0xebe5f17b, 0x3d0739f7, 0x8a5292ea, 0x6bfb5fb1, 0x1f8d5d08, 0x56033046, 0xfc7b6bab, 0xf0cfbc20};

// The `count` words of two_over_pi from `index` (below 2^stages) on, as 64-bit numbers.
std::vector<V> window_at(const V& index, int stages, int count) {
  std::vector<V> words;
  for (int i = 0; i < count + (1 << stages) - 1; ++i) {
    const bool known = i < static_cast<int>(std::size(two_over_pi));
    words.push_back(index.bits(known ? two_over_pi[i] : 0));
  }
  for (int stage = stages - 1; stage >= 0; --stage) {
    const V skip = (index & (std::uint64_t{1} << stage)) != index.bits(0);
    const int left = count + (1 << stage) - 1;
    for (int i = 0; i < left; ++i) words[i] = choose(skip, words[i + (1 << stage)], words[i]);
    words.resize(static_cast<std::size_t>(left), index);
  }
  return words;
}

// Payne and Hanek: x · 2/π / 4 modulo 1 in fixed point, from the words of 2/π that matter at x's
// exponent; those before give whole turns. x >= 2^10 (float32), 2^20 (float64), finite.
Reduced reduce_big(const V& x) {
  const Format f = format_of(x);
  const bool wide = f.mantissa == 52;
  constexpr std::uint64_t low = 0xffffffff;
  const V word = to(as(x, f.bits), DType::uint64);
  const V m = (word & ((std::uint64_t{1} << f.mantissa) - 1)) + word.bits(1ULL << f.mantissa);
  // x = m · 2^(E - bias - mantissa); times 2^30 for the zero word, a quarter for the turn.
  const V at =
      (word >> f.mantissa) + word.bits(static_cast<std::uint64_t>(30 - f.bias - f.mantissa));
  const V shift = at & 31;
  std::vector<V> limbs;
  if (wide) {
    const V first = (m & low) << shift;
    const V second = ((m >> 32) << shift) + (first >> 32);
    limbs = {first & low, second & low, second >> 32};
  } else {
    const V all = m << shift;
    limbs = {all & low, all >> 32};
  }
  const int columns = wide ? 4 : 2;
  const std::vector<V> words = window_at(at >> 5, wide ? 5 : 3, wide ? 7 : 4);
  std::vector<V> column(static_cast<std::size_t>(columns) + 1, word.bits(0));  // of 2^(-32 index)
  for (int a = 0; a < static_cast<int>(limbs.size()); ++a) {
    for (int i = 0; i < static_cast<int>(words.size()); ++i) {
      const int k = i + 1 - a;
      if (k < 1 || k > columns + 1) continue;
      const V product = limbs[a] * words[i];
      if (k <= columns) column[k] = column[k] + (product & low);
      if (k >= 2) column[k - 1] = column[k - 1] + (product >> 32);
    }
  }
  for (int k = columns; k > 1; --k) {
    column[k - 1] = column[k - 1] + (column[k] >> 32);
    column[k] = column[k] & low;
  }
  const V turn = (column[1] << 32) + column[2];
  const V quadrant = (turn + turn.bits(1ULL << 61)) >> 62;
  const V signed_part = as(turn - (quadrant << 62), DType::int64);
  constexpr double unit = 0x1.921fb54442d18p+0 * 0x1p-62;  // π/2 · 2^-62
  const V high = to(signed_part, DType::float64);
  V rest = high * unit;
  if (wide) {
    const V lost = as(as(signed_part, DType::uint64) - as(to(high, DType::int64), DType::uint64),
                      DType::int64);
    const V below = to((column[3] << 32) + column[4], DType::float64) * 0x1p-64;
    rest = rest +
           ((to(lost, DType::float64) + below) * unit + high * (0x1.1a62633145c07p-54 * 0x1p-62));
  }
  return {to(quadrant, DType::uint32), to(rest, x.n.dtype())};
}

V absolute(const V& x) { return choose(x < x.like(0), x * -1.0, x); }

// Below this, the products in reduce_small are exact.
V is_near(const V& size) {
  return size < size.like(size.n.dtype() == DType::float64 ? 0x1p22 : 12800.0);
}

// The sine of x, given |x| taken apart.
V sin_reduced(const V& x, const V& size, const Reduced& reduced) {
  const bool wide = x.n.dtype() == DType::float64;
  const V& r = reduced.rest;
  const V z = r * r;
  V sine = r;
  V cosine = r;
  if (wide) {
    constexpr double s[] = {-0x1.5555555555555p-3, 0x1.111111111106cp-7,   -0x1.a01a019fff433p-13,
                            0x1.71de3a354acb7p-19, -0x1.ae642eeb858cap-26, 0x1.610ba4a0a4328p-33,
                            -0x1.a109c7639d464p-41};  // 2^-63.2
    constexpr double c[] = {0x1.5555555555549p-5,  -0x1.6c16c16c14beep-10,
                            0x1.a01a019c2a217p-16, -0x1.27e4f7a9de311p-22,
                            0x1.1ee9aba40a462p-29, -0x1.8f8dc5e33c700p-37};  // 2^-63.7
    sine = r * z * polynomial(z, s) + r;
    cosine = z * (z * polynomial(z, c) + -0.5) + 1.0;
  } else {
    constexpr double s[] = {-0x1.555544p-3, 0x1.1106cap-7, -0x1.991e08p-13};  // 2^-27.8
    constexpr double c[] = {0x1.55554ap-5, -0x1.6c0c14p-10, 0x1.99de6ep-16};  // 2^-32.8
    sine = r * z * polynomial(z, s) + r;
    cosine = z * (z * polynomial(z, c) + -0.5) + 1.0;
  }
  const V zero = reduced.quadrant.bits(0);
  V result = choose((reduced.quadrant & 1) != zero, cosine, sine);
  const V below = choose(x < x.like(0), reduced.quadrant.bits(2), zero);
  result =
      choose(V{bit_and(bit_xor(reduced.quadrant.n, below.n), reduced.quadrant.bits(2).n)} != zero,
             result * -1.0, result);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  return choose(size < x.like(infinity), result, x.like(std::numeric_limits<double>::quiet_NaN()));
}

V sin_near(const V& x) {
  const V size = absolute(x);
  return sin_reduced(x, size, reduce_small(size));
}

V sin_of(const V& x) {
  const V size = absolute(x);
  const V small = is_near(size);
  const Reduced near = reduce_small(size);
  const Reduced far = reduce_big(size);
  return sin_reduced(
      x, size, {choose(small, near.quadrant, far.quadrant), choose(small, near.rest, far.rest)});
}

using Keep = std::function<bool(const Node&)>;

Node apart(const Node& node, const Node& source, const Keep& keep) {
  if (byte_size(source.dtype()) < 4) {
    return cast(apart(node, cast(source, DType::float32), keep), source.dtype());
  }
  Node whole = make_node(node.op(), source.dtype(), {source}, node.attr(), source.lanes());
  if (keep && keep(whole)) return whole;
  switch (node.op()) {
    case Op::exp2_: return exp2_of({source}).n;
    case Op::log2_: return log2_of({source}).n;
    default: return sin_of({source}).n;
  }
}

bool is_transcendental(Op op) { return op == Op::exp2_ || op == Op::log2_ || op == Op::sin_; }

}  // namespace

SplitSin split_sin(const Node& x) {
  return {is_near(absolute({x})).n, sin_near({x}).n, sin_of({x}).n};
}

Node decompose(const Node& root, const Keep& keep) {
  std::unordered_map<Node, Node, NodeHash> done;
  for (const Node& node : topological_order({&root, 1})) {
    bool same = true;
    std::vector<Node> srcs;
    for (const Node& src : node.srcs()) {
      srcs.push_back(done.at(src));
      same &= srcs.back() == src;
    }
    if (same && is_transcendental(node.op()) && byte_size(node.dtype()) >= 4 && keep &&
        keep(node)) {
      done.emplace(node, node);
    } else if (is_transcendental(node.op())) {
      done.emplace(node, apart(node, srcs[0], keep));
    } else {
      done.emplace(node, same ? node
                              : make_node(node.op(), node.dtype(), std::move(srcs), node.attr(),
                                          node.lanes()));
    }
  }
  return done.at(root);
}

}  // namespace brisk
