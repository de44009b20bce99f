// Operators on elements: arithmetic, comparison, logic, activations, casts.
#include <cmath>

#include "graph/integer.h"
#include "onnx/build.h"
#include "tensor/build.h"

namespace brisk::onnx {

namespace {

Tensor in_powers(const Tensor& x, const std::string& mode);

using Binary = Tensor (*)(const Tensor&, const Tensor&);

// Before operator set 7 the second operand's axes could be said to begin at `axis` of the first.
Tensor second(const NodeCall& c) {
  Tensor b = c[1];
  if (c.version() >= 7 || c.integer("broadcast", 0) == 0 || !c.has_attribute("axis")) return b;
  const std::int64_t rank = c.rank(0);
  const int axis = c.axis("axis", 0, rank);
  Dims shape = c.dims(1);
  while (static_cast<std::int64_t>(shape.size()) + axis < rank) shape.emplace_back(1);
  return b.reshape(shape);
}

OperatorFunction binary(Binary f) {
  return [f](NodeCall& c) -> Values { return {f(c[0], second(c))}; };
}

OperatorFunction variadic(Binary f) {
  return [f](NodeCall& c) -> Values {
    Tensor result = c[0];
    for (std::size_t i = 1; i < c.inputs(); ++i) result = f(result, c[i]);
    return {result};
  };
}

// A sum times the constant that makes it a mean: the reduction, whose axes it keeps.
Node sum_of_mean(const Node& node) {
  for (const std::size_t i : {0U, 1U}) {
    if (!node.is(Op::mul_)) break;
    Node sum = node.src(i), share = node.src(1 - i);
    while (sum.is(Op::reshape_)) sum = sum.src(0);
    while (is_movement(share.op())) share = share.src(0);
    if (!sum.is(Op::reduce_) || sum.ints(0) != static_cast<std::int64_t>(ReduceOp::add) ||
        !share.is_constant()) {
      continue;
    }
    double count = 1;
    for (std::size_t axis = 1; axis < sum.attr().ints.size(); ++axis) {
      const Size& size = sum.src(0).shape()[static_cast<std::size_t>(sum.ints(axis))];
      count *= size.is_constant() ? static_cast<double>(size.value()) : 0;
    }
    if (std::fabs(share.float_value() * count - 1) < 1e-6) return sum;
  }
  return {};
}

// a - b. Where that is a variance as E[x²] - E[x]², of two large numbers that are nearly the same,
// it is made of the distances from the mean: so that not only rounding is left of it.
Tensor difference(const Tensor& a, const Tensor& b) {
  const Node squares = sum_of_mean(node_of(a));
  const Node square = node_of(b);
  const Node mean = square.is(Op::mul_) && square.src(0) == square.src(1) ? square.src(0) : Node();
  const Node sum = mean ? sum_of_mean(mean) : Node();
  if (!squares || !sum || squares.attr() != sum.attr() || squares.shape() != sum.shape())
    return a - b;
  const Node& x = sum.src(0);
  const Node& product = squares.src(0);
  if (!product.is(Op::mul_) || !(product.src(0) == x) || !(product.src(1) == x)) return a - b;
  const Tensor far = tensor_of(x) - tensor_of(reshape(mean, sum.shape()));
  Axes axes;
  for (std::size_t i = 1; i < sum.attr().ints.size(); ++i)
    axes.push_back(static_cast<int>(sum.ints(i)));
  return brisk::mean(far * far, axes, true).reshape(a.dims());
}

Values divide(NodeCall& c) {
  const Tensor a = c[0];
  const Tensor b = second(c);
  return {is_float(a.dtype()) ? a / b : integer_quotient(a, b)};
}

Values power(NodeCall& c) {
  const Tensor a = c[0];
  return {brisk::pow(a, second(c)).cast(a.dtype())};
}

Values modulo(NodeCall& c) {
  return {c.integer("fmod", 0) != 0 ? brisk::fmod(c[0], c[1]) : remainder(c[0], c[1])};
}

Values average(NodeCall& c) {
  Tensor sum = c[0];
  for (std::size_t i = 1; i < c.inputs(); ++i) sum = sum + c[i];
  return {(sum / static_cast<double>(c.inputs())).cast(c[0].dtype())};
}

Values clip(NodeCall& c) {
  const Tensor x = c[0];
  const auto bound = [&](const char* name, std::size_t i) {
    if (c.has(i)) return c[i];
    return c.has_attribute(name) ? Tensor(c.number(name, 0)) : Tensor();
  };
  Tensor y = x;
  if (const Tensor least = bound("min", 1); least.defined()) y = maximum(y, least);
  if (const Tensor greatest = bound("max", 2); greatest.defined()) y = minimum(y, greatest);
  return {y.cast(x.dtype())};
}

Values shift_bits(NodeCall& c) {
  const bool left = c.text("direction", "") == "LEFT";
  return {left ? c[0] << c[1] : c[0] >> c[1]};
}

Values cast_to(NodeCall& c) {
  if (!c.has_attribute("to")) c.fail("attribute 'to' is missing");
  const ElementType to = element_attribute(c, "to", ElementType::undefined);
  if (to == ElementType::float8e8m0)
    return {Value(in_powers(c[0], c.text("round_mode", "up")), to)};
  return {converted(c[0], to, c.integer("saturate", 1) != 0)};
}

Values cast_like(NodeCall& c) {
  return {converted(c[0], c.type(1), c.integer("saturate", 1) != 0)};
}

Values bit_cast(NodeCall& c) {
  const ElementType to = element_attribute(c, "to", ElementType::undefined);
  return {Value(c[0].bitcast(stored_dtype(to)), to)};
}

Values prelu_of(NodeCall& c) {
  const Tensor x = c[0];
  Tensor slope = c[1];
  // Models of the first years give one slope a channel without the axes behind it.
  if (c.version() < 7 && slope.rank() == 1 && x.rank() > 1 && slope.size(0).value() != 1)
    slope = along(slope, 1, x.rank());
  return {where(x < 0, x * slope, x).cast(x.dtype())};
}

Values is_infinite(NodeCall& c) {
  const Tensor x = c[0];
  const Tensor infinite = isinf(x);
  const bool negative = c.integer("detect_negative", 1) != 0;
  const bool positive = c.integer("detect_positive", 1) != 0;
  if (negative && positive) return {infinite};
  if (!negative && !positive) return {infinite & false};
  return {infinite & (positive ? x > 0 : x < 0)};
}

Values selu_of(NodeCall& c) {
  const Tensor x = c[0];
  const double alpha = c.number("alpha", 1.67326319217681884765625);
  const double gamma = c.number("gamma", 1.05070102214813232421875);
  return {(where(x > 0, x, expm1(x) * alpha) * gamma).cast(x.dtype())};
}

Values shrink_of(NodeCall& c) {
  const Tensor x = c[0];
  const double bias = c.number("bias", 0);
  const double lambda = c.number("lambd", 0.5);
  return {where(x < -lambda, x + bias, where(x > lambda, x - bias, 0.0)).cast(x.dtype())};
}

Values identity(NodeCall& c) { return {c.value(0)}; }

void add_activations(OperatorTable& t) {
  t.add("Relu", unary(relu));
  t.add("Sigmoid", unary(sigmoid));
  t.add("Softsign", unary(softsign));
  t.add("Softplus", unary([](const Tensor& x) { return softplus(x); }));
  t.add("Mish", unary(mish));
  t.add("HardSwish", unary(hardswish));
  t.add("LeakyRelu",
        [](NodeCall& c) -> Values { return {leaky_relu(c[0], c.number("alpha", 0.01))}; });
  t.add("Elu", [](NodeCall& c) -> Values { return {elu(c[0], c.number("alpha", 1))}; });
  t.add("Celu", [](NodeCall& c) -> Values { return {celu(c[0], c.number("alpha", 1))}; });
  t.add("Selu", selu_of);
  t.add("PRelu", prelu_of);
  t.add("ThresholdedRelu", [](NodeCall& c) -> Values {
    const Tensor x = c[0];
    return {where(x > c.number("alpha", 1), x, 0.0).cast(x.dtype())};
  });
  t.add("HardSigmoid", [](NodeCall& c) -> Values {
    const Tensor x = c[0];
    return {clamp(x * c.number("alpha", 0.2) + c.number("beta", 0.5), 0.0, 1.0).cast(x.dtype())};
  });
  t.add("Gelu", [](NodeCall& c) -> Values {
    return {gelu(c[0], c.text("approximate", "none") == "tanh" ? Gelu::tanh : Gelu::erf)};
  });
  t.add("Swish", [](NodeCall& c) -> Values {
    const Tensor x = c[0];
    return {(x * sigmoid(x * c.number("alpha", 1))).cast(x.dtype())};
  });
  t.add("Shrink", shrink_of);
}

void add_functions(OperatorTable& t) {
  t.add("Abs", unary(brisk::abs));
  t.add("Neg", unary(neg));
  t.add("Sign", unary(sign));
  t.add("Reciprocal", unary(reciprocal));
  t.add("Sqrt", unary([](const Tensor& x) { return brisk::sqrt(x); }));
  t.add("Exp", unary(brisk::exp));
  t.add("Log", unary(brisk::log));
  t.add("Sin", unary([](const Tensor& x) { return brisk::sin(x); }));
  t.add("Cos", unary(brisk::cos));
  t.add("Tan", unary(brisk::tan));
  t.add("Asin", unary(brisk::asin));
  t.add("Acos", unary(brisk::acos));
  t.add("Atan", unary(brisk::atan));
  t.add("Sinh", unary(brisk::sinh));
  t.add("Cosh", unary(brisk::cosh));
  t.add("Tanh", unary(brisk::tanh));
  t.add("Asinh", unary(brisk::asinh));
  t.add("Acosh", unary(brisk::acosh));
  t.add("Atanh", unary(brisk::atanh));
  t.add("Erf", unary(brisk::erf));
  t.add("Floor", unary(brisk::floor));
  t.add("Ceil", unary(brisk::ceil));
  t.add("Round", unary(brisk::round));
  t.add("IsNaN", unary(isnan));
  t.add("IsInf", is_infinite);
  t.add("Not", unary([](const Tensor& x) { return logical_not(x); }));
  t.add("BitwiseNot", unary(bitwise_not));
}

void add_operations(OperatorTable& t) {
  t.add("Add", binary(brisk::add));
  t.add("Sub", binary(difference));
  t.add("Mul", binary(brisk::mul));
  t.add("Div", divide);
  t.add("Pow", power);
  t.add("Mod", modulo);
  t.add("Sum", variadic(brisk::add));
  t.add("Max", variadic(maximum));
  t.add("Min", variadic(minimum));
  t.add("Mean", average);
  t.add("Clip", clip);
  t.add("Equal", binary(eq));
  t.add("Less", binary(lt));
  t.add("LessOrEqual", binary(le));
  t.add("Greater", binary(gt));
  t.add("GreaterOrEqual", binary(ge));
  t.add("And", binary(logical_and));
  t.add("Or", binary(logical_or));
  t.add("Xor", binary(logical_xor));
  t.add("BitwiseAnd", binary(bitwise_and));
  t.add("BitwiseOr", binary(bitwise_or));
  t.add("BitwiseXor", binary(bitwise_xor));
  t.add("BitShift", shift_bits);
  t.add("Where", [](NodeCall& c) -> Values { return {where(c[0], c[1], c[2])}; });
}

}  // namespace

void add_elementwise(OperatorTable& t) {
  add_functions(t);
  add_operations(t);
  add_activations(t);
  t.add("Cast", cast_to);
  t.add("CastLike", cast_like);
  t.add("BitCast", bit_cast);
  t.add("Identity", identity);
}

// ---- shared -------------------------------------------------------------------------------------

Tensor integer_quotient(const Tensor& x, const Tensor& y) {
  const std::vector<Tensor> same = broadcast_tensors({x, y});
  const DType dtype = promote(x.dtype(), y.dtype());
  return tensor_of(brisk::idiv(node_of(same[0].cast(dtype)), node_of(same[1].cast(dtype))));
}

ElementType element_attribute(const NodeCall& c, std::string_view name, ElementType otherwise) {
  const auto type = static_cast<ElementType>(c.integer(name, static_cast<int>(otherwise)));
  if (stored_dtype(type) == DType::none)
    c.fail("elements of {} are not supported", element_name(type));
  return type;
}

namespace {

// The lowest bits as a number of that many.
Tensor narrow_bits(const Tensor& x, int bits, bool is_signed) {
  const int mask = (1 << bits) - 1;
  const Tensor low = x.cast(DType::int32) & mask;
  if (!is_signed) return low.cast(DType::uint8);
  const int sign = 1 << (bits - 1);
  return ((low ^ sign) - sign).cast(DType::int8);
}

}  // namespace

namespace {

// A floating-point format that brisk keeps as float32.
struct Format {
  int mantissa;        // bits
  int least_exponent;  // of normal numbers
  double greatest;
  bool has_nan;
};

// x to the nearest value of a format, ties to even. Below its normal numbers the distance of
// neighbours stays the same.
Tensor in_format(const Tensor& x, const Format& f, bool saturate) {
  const Tensor wide = x.cast(DType::float32);
  const Tensor exponent = ((wide.bitcast(DType::int32) >> 23) & 0xff) - 127;
  const Tensor step = maximum(exponent, f.least_exponent) - f.mantissa;
  const Tensor quantum = ((step + 127) << 23).cast(DType::int32).bitcast(DType::float32);
  Tensor y = round(wide / quantum) * quantum;
  const Tensor over = abs(y) > f.greatest;  // infinities too
  if (f.has_nan && !saturate)
    y = where(over, NAN, y);
  else
    y = where(over, where(wide < 0, -f.greatest, f.greatest), y);
  y = where(y == 0, f.has_nan ? Tensor(0.0) : wide * 0.0, y);  // FNUZ formats have one zero
  return where(isnan(wide), f.has_nan ? NAN : -0.0, y).cast(DType::float32);
}

// Powers of two from 2^-127 on: rounded up in magnitude where the next power is nearer or, with
// `up`, whenever there is a rest.
Tensor in_powers(const Tensor& x, const std::string& mode) {
  const Tensor wide = abs(x.cast(DType::float32));
  const Tensor bits = wide.bitcast(DType::int32);
  const Tensor rest = bits & 0x7fffff;
  const Tensor code = (bits >> 23) & 0xff;
  Tensor up = rest > 0;
  if (mode == "down")
    up = up & false;
  else if (mode == "nearest")
    up = rest >= 0x400000;
  const Tensor next = minimum(code + up.cast(DType::int32), 254);
  const Tensor power = where(next == 0, 5.877471754111438e-39,
                             (next << 23).cast(DType::int32).bitcast(DType::float32));
  return where(isnan(x) | isinf(x), NAN, power).cast(DType::float32);
}

}  // namespace

Value converted(const Tensor& x, ElementType to, bool saturate) {
  const DType dtype = stored_dtype(to);
  switch (to) {
    case ElementType::uint4: return {narrow_bits(x, 4, false), to};
    case ElementType::int4: return {narrow_bits(x, 4, true), to};
    case ElementType::uint2: return {narrow_bits(x, 2, false), to};
    case ElementType::int2: return {narrow_bits(x, 2, true), to};
    case ElementType::float8e4m3fnuz: return {in_format(x, {3, -7, 240, true}, saturate), to};
    case ElementType::float8e5m2fnuz: return {in_format(x, {2, -15, 57344, true}, saturate), to};
    case ElementType::float4e2m1: return {in_format(x, {1, 0, 6, false}, true), to};
    case ElementType::float8e8m0: return {in_powers(x, "up"), to};
    case ElementType::float8e4m3fn:
    case ElementType::float8e5m2: {
      if (!saturate) return {x.cast(dtype), to};
      const double most = to == ElementType::float8e4m3fn ? 448 : 57344;
      const Tensor wide = x.cast(DType::float32);
      const Tensor inside = where(isnan(wide), wide, clamp(wide, -most, most));
      return {inside.cast(dtype), to};
    }
    default: break;
  }
  if (dtype == DType::none) user_error("a cast to {} is not supported", element_name(to));
  return {x.cast(dtype), to};
}

Axes axes_of(const NodeCall& c, const std::vector<std::int64_t>& axes, std::int64_t rank) {
  Axes result;
  for (const std::int64_t axis : axes) result.push_back(c.axis(axis, rank));
  return result;
}

std::vector<int> all_axes(std::int64_t rank) {
  std::vector<int> axes;
  for (std::int64_t i = 0; i < rank; ++i) axes.push_back(static_cast<int>(i));
  return axes;
}

Tensor along(const Tensor& vector, int axis, int rank) {
  Dims shape(rank, Dim(1));
  shape.at(axis) = vector.numel();
  return vector.reshape(shape);
}

Dims broadcast(const NodeCall& c, const Dims& a, const Dims& b) {
  Dims result(std::max(a.size(), b.size()), Dim(1));
  for (const auto* shape : {&a, &b}) {
    const std::size_t skip = result.size() - shape->size();
    for (std::size_t i = 0; i < shape->size(); ++i) {
      Dim& size = result[skip + i];
      if (size != Dim(1) && (*shape)[i] != Dim(1) && size != (*shape)[i])
        c.fail("shapes do not broadcast: sizes {} and {}", to_string(size), to_string((*shape)[i]));
      if (size == Dim(1)) size = (*shape)[i];
    }
  }
  return result;
}

Tensor number(const Dim& value) { return tensor_of(value.size().node()); }

Dim smaller(const Dim& a, const Dim& b) {
  return Dim(Size(integer_min(a.size().node(), b.size().node())));
}

Dim greater(const Dim& a, const Dim& b) {
  return Dim(Size(integer_max(a.size().node(), b.size().node())));
}

Dim product(const Dims& shape, std::size_t begin, std::size_t end) {
  Dim result = 1;
  for (std::size_t i = begin; i < std::min(end, shape.size()); ++i) result = result * shape[i];
  return result;
}

std::int64_t product(const std::vector<std::int64_t>& shape, std::size_t begin, std::size_t end) {
  std::int64_t result = 1;
  for (std::size_t i = begin; i < std::min(end, shape.size()); ++i) result *= shape[i];
  return result;
}

}  // namespace brisk::onnx
