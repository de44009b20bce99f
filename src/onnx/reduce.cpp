// Reductions, running sums, softmax.
#include <algorithm>
#include <cmath>

#include "onnx/build.h"

namespace brisk::onnx {

namespace {

using Reduction = Tensor (*)(const Tensor&, const Axes&, bool);

// Axes as an attribute, or from operator set 13 or 18 on as an input.
OperatorFunction reduction(Reduction f) {
  return [f](NodeCall& c) -> Values {
    const Tensor x = c[0];
    const auto given = c.list("axes", 1);
    const bool keep = c.integer("keepdims", 1) != 0;
    Axes axes = axes_of(c, given.value_or(std::vector<std::int64_t>()), x.rank());
    if (axes.empty()) {
      if (c.integer("noop_with_empty_axes", 0) != 0)
        axes = {};
      else
        axes = all_axes(x.rank());
    }
    // Without axes the function still applies to each element: sum of squares, logarithm, ….
    if (axes.empty()) return {f(x.unsqueeze(-1), {x.rank()}, false).cast(x.dtype())};
    return {f(x, axes, keep).cast(x.dtype())};
  };
}

Tensor sum_of(const Tensor& x, const Axes& axes, bool keep) { return sum(x, axes, keep); }
Tensor mean_of(const Tensor& x, const Axes& axes, bool keep) {
  if (is_float(x.dtype())) return mean(x, axes, keep);
  Dim count = 1;
  for (const int axis : axes) count = count * x.size(axis);
  return integer_quotient(sum(x, axes, keep), Tensor(count.value()).cast(DType::int64));
}
Tensor product_of(const Tensor& x, const Axes& axes, bool keep) { return prod(x, axes, keep); }
// Of nothing: the least value, or the greatest.
Tensor of_nothing(const Tensor& x, const Axes& axes, bool keep, bool least) {
  const Tensor shape = sum(x, axes, keep);  // of the shape that is wanted
  if (is_bool(x.dtype())) return full(shape.dims(), Tensor(least ? 0 : 1), DType::boolean);
  if (is_float(x.dtype()))
    return full(shape.dims(), Tensor(least ? -INFINITY : INFINITY), x.dtype());
  return full(shape.dims(), Tensor(least ? min_value(x.dtype()) : max_value(x.dtype())), x.dtype());
}
bool has_none(const Tensor& x, const Axes& axes) {
  return std::any_of(axes.begin(), axes.end(), [&](int axis) { return x.size(axis) == Dim(0); });
}
Tensor max_of(const Tensor& x, const Axes& axes, bool keep) {
  return has_none(x, axes) ? of_nothing(x, axes, keep, true) : amax(x, axes, keep);
}
Tensor min_of(const Tensor& x, const Axes& axes, bool keep) {
  return has_none(x, axes) ? of_nothing(x, axes, keep, false) : amin(x, axes, keep);
}
Tensor l1_of(const Tensor& x, const Axes& axes, bool keep) { return sum(abs(x), axes, keep); }
Tensor squares_of(const Tensor& x, const Axes& axes, bool keep) {
  return sum(square(x), axes, keep);
}
Tensor l2_of(const Tensor& x, const Axes& axes, bool keep) {
  return sqrt(squares_of(is_float(x.dtype()) ? x : x.cast(DType::float32), axes, keep));
}
Tensor log_sum_of(const Tensor& x, const Axes& axes, bool keep) {
  return log(sum(is_float(x.dtype()) ? x : x.cast(DType::float32), axes, keep));
}
Tensor log_sum_exp_of(const Tensor& x, const Axes& axes, bool keep) {
  if (has_none(x, axes)) return of_nothing(x, axes, keep, true);
  return logsumexp(is_float(x.dtype()) ? x : x.cast(DType::float32), axes, keep);
}

// The first of equals, or the last.
OperatorFunction arg(bool greatest) {
  return [greatest](NodeCall& c) -> Values {
    Tensor x = c[0];
    const int axis = c.axis("axis", 0, x.rank());
    const bool keep = c.integer("keepdims", 1) != 0;
    const bool last = c.integer("select_last_index", 0) != 0;
    if (last) x = x.flip(axis);
    Tensor at = greatest ? argmax(x, axis, keep) : argmin(x, axis, keep);
    if (last) at = number(x.size(axis) - 1) - at;
    return {at};
  };
}

// Before operator set 13 softmax is over all axes from `axis` on, as one.
OperatorFunction softmax_like(Tensor (*f)(const Tensor&, int)) {
  return [f](NodeCall& c) -> Values {
    const Tensor x = c[0];
    if (c.version() >= 13) return {f(x, c.axis("axis", -1, x.rank()))};
    const Dims shape = c.dims(0);
    const auto at = static_cast<std::size_t>(c.axis("axis", 1, x.rank()));
    const Tensor rows = x.reshape({product(shape, 0, at), product(shape, at)});
    return {f(rows, 1).reshape(shape)};
  };
}

Tensor hardmax_of(const Tensor& x, int axis) {
  const Tensor place = argmax(x, axis, true);
  const Tensor at = along(arange(x.size(axis)), axis, x.rank());
  return (at == place).cast(x.dtype());
}

OperatorFunction running(Tensor (*f)(const Tensor&, int), double neutral) {
  return [f, neutral](NodeCall& c) -> Values {
    Tensor x = c[0];
    const DType dtype = x.dtype();
    const int axis = c.axis(c.integer(1), x.rank());
    const bool reverse = c.integer("reverse", 0) != 0;
    if (reverse) x = x.flip(axis);
    Tensor y = f(x, axis).cast(dtype);
    if (c.integer("exclusive", 0) != 0) {  // one place on, from the neutral element
      const Dim size = x.size(axis);
      std::vector<std::int64_t> pads(static_cast<std::size_t>(2 * x.rank()), 0);
      const std::size_t place = 2 * static_cast<std::size_t>(x.rank() - 1 - axis);
      pads[place] = 1;
      pads[place + 1] = -1;
      if (size != Dim(0)) y = brisk::pad(y, pads, PadMode::constant, neutral);
    }
    if (reverse) y = y.flip(axis);
    return {y};
  };
}

}  // namespace

Tensor softmax_of(const Tensor& x, int axis) { return softmax(x, axis); }

void add_reduce(OperatorTable& t) {
  t.add("ReduceSum", reduction(sum_of));
  t.add("ReduceMean", reduction(mean_of));
  t.add("ReduceProd", reduction(product_of));
  t.add("ReduceMax", reduction(max_of));
  t.add("ReduceMin", reduction(min_of));
  t.add("ReduceL1", reduction(l1_of));
  t.add("ReduceL2", reduction(l2_of));
  t.add("ReduceSumSquare", reduction(squares_of));
  t.add("ReduceLogSum", reduction(log_sum_of));
  t.add("ReduceLogSumExp", reduction(log_sum_exp_of));
  t.add("ArgMax", arg(true));
  t.add("ArgMin", arg(false));
  t.add("Softmax", softmax_like(softmax));
  t.add("LogSoftmax", softmax_like(log_softmax));
  t.add("Hardmax", softmax_like(hardmax_of));
  t.add("CumSum", running(cumsum, 0));
  t.add("CumProd", running(cumprod, 1));
}

}  // namespace brisk::onnx
