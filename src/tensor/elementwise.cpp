// Elementwise functions that are a few operations of the instruction set: arithmetic, comparison,
// logic, selection. Operands are promoted and broadcast.
#include "brisk/create.h"

#include <cmath>
#include <limits>

#include "tensor/build.h"
#include "tensor/own_gradient.h"

namespace brisk {

namespace {

Node minus_one(DType dtype) {
  return is_float(dtype) ? constant_float(-1, dtype) : constant_int(-1, dtype);
}
Node negated(const Node& x) {
  if (x.is_constant()) {
    return is_float(x.dtype()) ? constant_float(-x.float_value(), x.dtype())
                               : constant_int(-x.int_value(), x.dtype());
  }
  return mul(x, minus_one(x.dtype()));
}

// The operands in one dtype (default: the promoted one) and under one shape.
struct Pair {
  Node a;
  Node b;
  DType dtype;
};

// A number keeps its full precision until it is known what it meets.
Node raw(const Tensor& x) { return x.state()->number ? x.state()->node : node_of(x); }

Pair pair(const Tensor& x, const Tensor& y, DType dtype = DType::none) {
  want_defined(x, "the first operand");
  want_defined(y, "the second operand");
  if (dtype == DType::none) dtype = result_type({&x, &y});
  const Node a = to_dtype(raw(x), dtype);
  const Node b = to_dtype(raw(y), dtype);
  if (a.shape() == b.shape()) return {a, b, dtype};
  const Shape shape = broadcast_shape(a.shape(), b.shape());
  return {fit(a, shape), fit(b, shape), dtype};
}

DType want_number(const Tensor& a, const Tensor& b) {
  want_defined(a, "the first operand");
  want_defined(b, "the second operand");
  const DType dtype = result_type({&a, &b});
  if (is_bool(dtype)) call_error("wants numbers, got bool");
  return dtype;
}

DType want_bits(const Tensor& a, const Tensor& b, bool bools = true) {
  want_defined(a, "the first operand");
  want_defined(b, "the second operand");
  const DType dtype = result_type({&a, &b});
  if (is_float(dtype) || (is_bool(dtype) && !bools)) {
    call_error("wants integers{}, got {} and {}", bools ? " or bool" : "", name(a.dtype()),
               name(b.dtype()));
  }
  return dtype;
}

Node truth(const Tensor& x) { return to_dtype(raw(x), DType::boolean); }

Node divided(const Node& a, const Node& b) {
  if (!b.is_constant()) return mul(a, recip(b));
  // A power of two has an exact reciprocal; of others recip() rounds once at run time as well.
  const double inverse = 1 / b.float_value();
  return std::isfinite(inverse) ? mul(a, constant_float(inverse, b.dtype())) : mul(a, recip(b));
}

// Integer part toward minus infinity, from the truncated quotient and remainder.
struct Quotient {
  Node floor;
  Node remainder;  // sign of the divisor
};
Quotient floored(const Node& a, const Node& b) {
  const Node quotient = idiv(a, b);
  const Node rest = mod(a, b);
  if (!is_signed(a.dtype())) return {quotient, rest};
  const Node zero = constant_int(0, a.dtype());
  const Node apart = bit_and(cmpne(rest, zero), cmpne(cmplt(rest, zero), cmplt(b, zero)));
  return {add(quotient, negated(cast(apart, a.dtype()))), add(rest, where(apart, b, zero))};
}

}  // namespace

// ---- arithmetic ---------------------------------------------------------------------------------

Tensor add(const Tensor& a, const Tensor& b) {
  const Call call("add");
  const Pair p = pair(a, b);
  return tensor_of(add(p.a, p.b));
}

Tensor sub(const Tensor& a, const Tensor& b) {
  const Call call("sub");
  const Pair p = pair(a, b, want_number(a, b));
  return tensor_of(add(p.a, negated(p.b)));
}

Tensor mul(const Tensor& a, const Tensor& b) {
  const Call call("mul");
  const Pair p = pair(a, b);
  return tensor_of(mul(p.a, p.b));
}

Tensor div(const Tensor& a, const Tensor& b) {
  const Call call("div");
  want_defined(a, "the first operand");
  want_defined(b, "the second operand");
  const DType dtype = float_result(result_type({&a, &b}));
  const Pair p = pair(a, b, compute_dtype(dtype));
  return tensor_of(cast(divided(p.a, p.b), dtype));
}

Tensor neg(const Tensor& x) {
  const Call call("neg");
  const Node node = node_of(x);
  if (is_bool(node.dtype())) call_error("wants numbers, got bool");
  return tensor_of(negated(node));
}

Tensor abs(const Tensor& x) {
  const Call call("abs");
  if (!is_signed(node_of(x).dtype())) return x;
  return with_derivative(
      x,
      [](const Tensor& y) {
        const Node node = node_of(y);
        return tensor_of(max(node, negated(node)));
      },
      [](const Tensor& y, const Tensor&) { return sign(y); });
}

Tensor sign(const Tensor& x) {
  const Call call("sign");
  return with_no_slope(x, [](const Tensor& y) {
    const Node node = node_of(y);
    const DType dtype = node.dtype();
    const Node zero = constant_like(0, dtype);
    const Node above = cast(cmplt(zero, node), dtype);
    if (!is_signed(dtype)) return tensor_of(above);
    return tensor_of(add(above, negated(cast(cmplt(node, zero), dtype))));
  });
}

Tensor square(const Tensor& x) {
  const Call call("square");
  return mul(x, x);
}

Tensor cast(const Tensor& x, DType dtype) {
  const Call call("cast");
  if (dtype == DType::none) call_error("wants a dtype");
  want_defined(x, "the tensor");
  return tensor_of(to_dtype(raw(x), dtype));
}

Tensor bitcast(const Tensor& x, DType dtype) {
  const Call call("bitcast");
  const Node node = node_of(x);
  if (dtype == DType::none || byte_size(dtype) != byte_size(node.dtype())) {
    call_error("wants a dtype of {} bytes as {}, got {}", byte_size(node.dtype()),
               name(node.dtype()), dtype == DType::none ? "none" : name(dtype));
  }
  return tensor_of(bitcast(node, dtype));
}

Tensor floor_divide(const Tensor& a, const Tensor& b) {
  const Call call("floor_divide");
  const DType dtype = want_number(a, b);
  if (is_float(dtype)) {
    // The rest is exact, so that the quotient is an integer but for rounding.
    return round(div(sub(a, remainder(a, b)), b)).cast(dtype);
  }
  const Pair p = pair(a, b, dtype);
  return tensor_of(floored(p.a, p.b).floor);
}

namespace {

// |a| mod |b| for floating point, exact while |a / b| < 2^24 (float64: 2^53). The quotient's
// product with b is taken apart into halves whose products are exact.
Tensor magnitude_mod(const Tensor& a, const Tensor& b) {
  const bool wide = a.dtype() == DType::float64;
  const DType bits = wide ? DType::int64 : DType::int32;
  const auto high = [&](const Tensor& x) {
    const Node mask =
        wide ? constant_int(~((std::int64_t{1} << 27) - 1), bits) : constant_int(~0xfff, bits);
    return tensor_of(bitcast(bit_and(bitcast(node_of(x), bits), mask), a.dtype()));
  };
  const Tensor q = trunc(a * reciprocal(b));
  const Tensor q_high = high(q);
  const Tensor q_low = q - q_high;
  const Tensor b_high = high(b);
  const Tensor b_low = b - b_high;
  Tensor rest = ((a - q_high * b_high) - q_high * b_low) - q_low * b_high;
  rest = rest - q_low * b_low;
  // The rounded quotient may be one off either way.
  rest = where(rest < 0, rest + b, rest);
  rest = where(rest >= b, rest - b, rest);
  // a / inf leaves a; x / 0 is NaN already through 0 · inf.
  return where(isinf(b) & isfinite(a), a, rest);
}

// What is left of a / b in the compute dtype; with the quotient rounded it is a - quotient·b.
template <typename F>
Tensor divided_rest(const Tensor& a, const Tensor& b, DType dtype, F rest,
                    Tensor (*rounded)(const Tensor&)) {
  const Pair p = pair(a, b, compute_dtype(dtype));
  const std::vector<Tensor> both = broadcast_tensors({tensor_of(p.a), tensor_of(p.b)});
  return with_own_gradient(
             both, [&] { return rest(tensor_of(p.a), tensor_of(p.b)); },
             [rounded](const Tensor&, const std::vector<Tensor>& in, const Tensor& g) {
               return std::vector<Tensor>{g, -g * rounded(in[0] / in[1])};
             })
      .cast(dtype);
}

}  // namespace

Tensor fmod(const Tensor& a, const Tensor& b) {
  const Call call("fmod");
  const DType dtype = want_number(a, b);
  if (!is_float(dtype)) {
    const Pair p = pair(a, b, dtype);
    return tensor_of(mod(p.a, p.b));
  }
  return divided_rest(
      a, b, dtype,
      [](const Tensor& x, const Tensor& y) {
        const Tensor rest = magnitude_mod(x.abs(), y.abs());
        return where(x < 0, -rest, rest);
      },
      trunc);
}

Tensor remainder(const Tensor& a, const Tensor& b) {
  const Call call("remainder");
  const DType dtype = want_number(a, b);
  if (!is_float(dtype)) {
    const Pair p = pair(a, b, dtype);
    return tensor_of(floored(p.a, p.b).remainder);
  }
  return divided_rest(
      a, b, dtype,
      [](const Tensor& x, const Tensor& y) {
        const Tensor rest = fmod(x, y);
        return where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest);
      },
      floor);
}

Tensor maximum(const Tensor& a, const Tensor& b) {
  const Call call("maximum");
  const Pair p = pair(a, b);
  return tensor_of(max(p.a, p.b));
}

Tensor minimum(const Tensor& a, const Tensor& b) {
  const Call call("minimum");
  const Pair p = pair(a, b);
  return tensor_of(smaller(p.a, p.b));
}

Tensor fmax(const Tensor& a, const Tensor& b) {
  const Call call("fmax");
  return where(isnan(a), b, where(isnan(b), a, maximum(a, b)));
}

Tensor fmin(const Tensor& a, const Tensor& b) {
  const Call call("fmin");
  return where(isnan(a), b, where(isnan(b), a, minimum(a, b)));
}

// ---- comparison ---------------------------------------------------------------------------------

namespace {

// a <= b: of floats, false where either is NaN.
Node at_most(const Node& a, const Node& b) {
  if (!is_float(a.dtype())) return logical_not(cmplt(b, a));
  return bit_or(cmplt(a, b), equal(a, b));
}

}  // namespace

Tensor eq(const Tensor& a, const Tensor& b) {
  const Call call("eq");
  const Pair p = pair(a, b);
  return tensor_of(equal(p.a, p.b));
}

Tensor ne(const Tensor& a, const Tensor& b) {
  const Call call("ne");
  const Pair p = pair(a, b);
  return tensor_of(cmpne(p.a, p.b));
}

Tensor lt(const Tensor& a, const Tensor& b) {
  const Call call("lt");
  const Pair p = pair(a, b);
  return tensor_of(cmplt(p.a, p.b));
}

Tensor le(const Tensor& a, const Tensor& b) {
  const Call call("le");
  const Pair p = pair(a, b);
  return tensor_of(at_most(p.a, p.b));
}

Tensor gt(const Tensor& a, const Tensor& b) {
  const Call call("gt");
  const Pair p = pair(a, b);
  return tensor_of(cmplt(p.b, p.a));
}

Tensor ge(const Tensor& a, const Tensor& b) {
  const Call call("ge");
  const Pair p = pair(a, b);
  return tensor_of(at_most(p.b, p.a));
}

Tensor isnan(const Tensor& x) {
  const Call call("isnan");
  const Node node = node_of(x);
  return is_float(node.dtype()) ? tensor_of(cmpne(node, node)) : zeros_like(x).cast(DType::boolean);
}

Tensor isinf(const Tensor& x) {
  const Call call("isinf");
  if (!is_float(x.dtype())) return zeros_like(x).cast(DType::boolean);
  return x.abs() == std::numeric_limits<double>::infinity();
}

Tensor isfinite(const Tensor& x) {
  const Call call("isfinite");
  if (!is_float(x.dtype())) return ones_like(x).cast(DType::boolean);
  return x.abs() < std::numeric_limits<double>::infinity();
}

Tensor isclose(const Tensor& a, const Tensor& b, double rtol, double atol) {
  const Call call("isclose");
  return (a == b) | ((a - b).abs() <= b.abs() * rtol + atol);
}

bool allclose(const Tensor& a, const Tensor& b, double rtol, double atol) {
  const Call call("allclose");
  return a.dims() == b.dims() && all(isclose(a, b, rtol, atol)).item<bool>();
}

// ---- logic and bits -----------------------------------------------------------------------------

Tensor logical_not(const Tensor& x) {
  const Call call("logical_not");
  want_defined(x, "the tensor");
  return tensor_of(logical_not(truth(x)));
}

Tensor logical_and(const Tensor& a, const Tensor& b) {
  const Call call("logical_and");
  const Pair p = pair(a, b, DType::boolean);
  return tensor_of(bit_and(p.a, p.b));
}

Tensor logical_or(const Tensor& a, const Tensor& b) {
  const Call call("logical_or");
  const Pair p = pair(a, b, DType::boolean);
  return tensor_of(bit_or(p.a, p.b));
}

Tensor logical_xor(const Tensor& a, const Tensor& b) {
  const Call call("logical_xor");
  const Pair p = pair(a, b, DType::boolean);
  return tensor_of(bit_xor(p.a, p.b));
}

Tensor bitwise_not(const Tensor& x) {
  const Call call("bitwise_not");
  const DType dtype = want_bits(x, x);
  const Node node = node_of(x);
  return tensor_of(is_bool(dtype) ? logical_not(node) : bit_xor(node, constant_int(-1, dtype)));
}

Tensor bitwise_and(const Tensor& a, const Tensor& b) {
  const Call call("bitwise_and");
  const Pair p = pair(a, b, want_bits(a, b));
  return tensor_of(bit_and(p.a, p.b));
}

Tensor bitwise_or(const Tensor& a, const Tensor& b) {
  const Call call("bitwise_or");
  const Pair p = pair(a, b, want_bits(a, b));
  return tensor_of(bit_or(p.a, p.b));
}

Tensor bitwise_xor(const Tensor& a, const Tensor& b) {
  const Call call("bitwise_xor");
  const Pair p = pair(a, b, want_bits(a, b));
  return tensor_of(bit_xor(p.a, p.b));
}

Tensor bitwise_left_shift(const Tensor& a, const Tensor& b) {
  const Call call("bitwise_left_shift");
  const Pair p = pair(a, b, want_bits(a, b, false));
  return tensor_of(shl(p.a, p.b));
}

Tensor bitwise_right_shift(const Tensor& a, const Tensor& b) {
  const Call call("bitwise_right_shift");
  const Pair p = pair(a, b, want_bits(a, b, false));
  return tensor_of(shr(p.a, p.b));
}

// ---- selection ----------------------------------------------------------------------------------

Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  const Call call("where");
  want_defined(condition, "the condition");
  if (!is_bool(condition.dtype())) {
    call_error("wants a bool condition, got {}", name(condition.dtype()));
  }
  const Pair p = pair(a, b);
  const Node node = node_of(condition);
  const Shape shape = broadcast_shape(broadcast_shape(p.a.shape(), p.b.shape()), node.shape());
  if (shape == p.a.shape() || p.a.rank() == 0) {
    return tensor_of(where(fit(node, shape), fit(p.a, shape), fit(p.b, shape)));
  }
  return tensor_of(where(fit(node, shape), fit(p.a, shape), fit(p.b, shape)));
}

Tensor clamp(const Tensor& x, const Tensor& least, const Tensor& greatest) {
  const Call call("clamp");
  if (!least.defined() && !greatest.defined()) call_error("wants a least or a greatest value");
  const auto clamped = [](const Tensor& y, const Tensor& low, const Tensor& high) {
    Tensor result = y;
    if (low.defined()) result = maximum(result, low);
    if (high.defined()) result = minimum(result, high);
    return result;
  };
  const auto tracked = [](const Tensor& t) { return t.defined() && t.requires_grad(); };
  if (!tracked(x) && !tracked(least) && !tracked(greatest)) return clamped(x, least, greatest);
  // Under one shape and dtype, the missing bound beyond all values.
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const DType dtype = result_type({&x, &least, &greatest});
  const std::vector<Tensor> parts =
      broadcast_tensors({x.cast(dtype), (least.defined() ? least : Tensor(-infinity)).cast(dtype),
                         (greatest.defined() ? greatest : Tensor(infinity)).cast(dtype)});
  return with_own_gradient(
      parts, [&] { return clamped(x, least, greatest); },
      [](const Tensor&, const std::vector<Tensor>& in, const Tensor& g) {
        const Tensor below = in[0] < in[1];
        const Tensor above = in[0] > in[2];
        return std::vector<Tensor>{where(below | above, 0, g), where(below, g, 0),
                                   where(above, g, 0)};
      });
}

Tensor lerp(const Tensor& start, const Tensor& end, const Tensor& weight) {
  const Call call("lerp");
  // From the nearer end, so that both ends are met exactly.
  const Tensor span = end - start;
  return where(weight.abs() < 0.5, start + weight * span, end - span * (1 - weight));
}

Tensor relu(const Tensor& x) {
  const Call call("relu");
  return with_own_gradient(
      {x}, [&] { return maximum(x, 0); },
      [](const Tensor& y, const std::vector<Tensor>&, const Tensor& g) {
        return std::vector<Tensor>{where(y > 0, g, 0)};
      });
}

Tensor nan_to_num(const Tensor& x, double nan) {
  const Call call("nan_to_num");
  want_defined(x, "the tensor");
  const DType dtype = x.dtype();
  if (!is_float(dtype)) return x;
  double most = 448;
  switch (dtype) {
    case DType::float64: most = std::numeric_limits<double>::max(); break;
    case DType::float32: most = std::numeric_limits<float>::max(); break;
    case DType::bfloat16: most = 0x1.fep127; break;
    case DType::float16: most = 65504; break;
    case DType::float8_e5m2: most = 57344; break;
    default: break;
  }
  return where(isnan(x), nan, clamp(x, -most, most));
}

}  // namespace brisk
