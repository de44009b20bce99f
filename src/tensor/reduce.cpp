// Reductions over axes, positions of extremes, running reductions, softmax.
#include <cmath>
#include <limits>
#include <numbers>

#include "brisk/create.h"
#include "tensor/build.h"
#include "tensor/own_gradient.h"
#include "tensor/realize.h"

namespace brisk {

namespace {

// The sums of narrow floats run in float32 and are rounded once, those of integers in int64.
Tensor accumulated(ReduceOp op, const Tensor& x, const Axes& axes, bool keepdim) {
  const Node node = node_of(x);
  const DType dtype = node.dtype();
  const Node wide = cast(node, accumulate_dtype(dtype));
  const Node result = reduce_axes(op, wide, axes_of(axes, node.rank()), keepdim);
  return tensor_of(is_float(dtype) ? cast(result, dtype) : result);
}

void want_elements(const Node& node, const std::vector<int>& axes) {
  for (const int axis : axes) {
    if (node.shape()[axis] == Size(0)) {
      call_error("axis {} of shape {} has no elements, and nothing has no extreme", axis,
                 to_string(node.shape()));
    }
  }
}

Size count_of(const Tensor& x, const Axes& axes) {
  const Node node = node_of(x);
  Size count = 1;
  for (const int axis : axes_of(axes, node.rank())) count = count * node.shape()[axis];
  return count;
}

// 1 / (count - correction), never of a negative number, in x's dtype.
Tensor share(const Tensor& x, const Size& count, int correction) {
  if (count.is_constant()) {
    const auto n = static_cast<double>(std::max<std::int64_t>(count.value() - correction, 0));
    return constant_of(1 / n, x);
  }
  const Node n = to_dtype((count - Size(correction)).node(), x.dtype());
  return tensor_of(recip(max(n, constant_like(0, x.dtype()))));
}

}  // namespace

Tensor sum(const Tensor& x, const Axes& axes, bool keepdim, DType dtype) {
  const Call call("sum");
  if (dtype != DType::none) {
    const Node node = cast(node_of(x), dtype);
    const bool narrow = is_float(dtype) && byte_size(dtype) < 4;
    if (narrow || is_bool(dtype))
      return accumulated(ReduceOp::add, tensor_of(node), axes, keepdim).cast(dtype);
    return tensor_of(reduce_axes(ReduceOp::add, node, axes_of(axes, node.rank()), keepdim));
  }
  return accumulated(ReduceOp::add, x, axes, keepdim);
}

Tensor prod(const Tensor& x, const Axes& axes, bool keepdim) {
  const Call call("prod");
  return accumulated(ReduceOp::mul, x, axes, keepdim);
}

Tensor mean(const Tensor& x, const Axes& axes, bool keepdim) {
  const Call call("mean");
  const Tensor wide = widen(x);
  const Tensor total = sum(wide, axes, keepdim);
  return (total * share(wide, count_of(x, axes), 0)).cast(float_result(x.dtype()));
}

Tensor amax(const Tensor& x, const Axes& axes, bool keepdim) {
  const Call call("amax");
  const Node node = node_of(x);
  const std::vector<int> over = axes_of(axes, node.rank());
  want_elements(node, over);
  return tensor_of(reduce_axes(ReduceOp::max, node, over, keepdim));
}

Tensor amin(const Tensor& x, const Axes& axes, bool keepdim) {
  const Call call("amin");
  const Node node = node_of(x);
  const std::vector<int> over = axes_of(axes, node.rank());
  want_elements(node, over);
  const DType dtype = node.dtype();
  // Turned around, reduced, turned back: see smaller() in tensor/build.h.
  const auto turn = [dtype](const Node& n) {
    if (is_float(dtype)) return mul(n, constant_float(-1, dtype));
    return is_bool(dtype) ? logical_not(n) : bit_xor(n, constant_int(-1, dtype));
  };
  return tensor_of(turn(reduce_axes(ReduceOp::max, turn(node), over, keepdim)));
}

Tensor any(const Tensor& x, const Axes& axes, bool keepdim) {
  const Call call("any");
  const Node truth = to_dtype(node_of(x), DType::boolean);
  return tensor_of(reduce_axes(ReduceOp::max, truth, axes_of(axes, truth.rank()), keepdim));
}

Tensor all(const Tensor& x, const Axes& axes, bool keepdim) {
  const Call call("all");
  const Node lie = logical_not(to_dtype(node_of(x), DType::boolean));
  const Node found = reduce_axes(ReduceOp::max, lie, axes_of(axes, lie.rank()), keepdim);
  return tensor_of(logical_not(found));
}

Tensor max(const Tensor& x) {
  const Call call("max");
  return amax(x);
}
Tensor min(const Tensor& x) {
  const Call call("min");
  return amin(x);
}

// ---- positions of extremes ----------------------------------------------------------------------

namespace {

// The first position along an axis where x is `extreme` (which keeps the axis) or NaN. Counted from
// the end, the first is the greatest.
Tensor first_position(const Tensor& x, const Tensor& extreme, int axis, bool keepdim) {
  const Node node = node_of(x);
  const Size count = node.shape()[axis];
  const DType small = count.upper() < (std::int64_t{1} << 31) ? DType::int32 : DType::int64;
  Node hit = equal(node, fit(node_of(extreme), node.shape()));
  if (is_float(node.dtype())) hit = bit_or(hit, cmpne(node, node));
  const Node from_end = to_dtype(count.node(), small);
  const Node at = cast(positions(count, axis, node.rank()), small);
  const Node rest = add(from_end, mul(at, constant_int(-1, small)));
  const Node masked = where(hit, expand(rest, node.shape()), constant_int(0, small));
  const Node found = reduce_axes(ReduceOp::max, masked, {axis}, keepdim);
  const Node position = add(from_end, mul(found, constant_int(-1, small)));
  return tensor_of(cast(position, DType::int64));
}

// x's elements at positions along an axis, of which the first is kept: a sum over a mask, whose
// gradient needs no scatter.
Tensor chosen(const Tensor& x, const Tensor& position, int axis) {
  const Node node = node_of(x);
  const Tensor at = tensor_of(positions(node.shape()[axis], axis, node.rank()));
  return sum(where(at == position, x, 0), axis, true);
}

ValuesIndices extreme(const Tensor& x, int axis, bool keepdim,
                      Tensor (*reduce)(const Tensor&, const Axes&, bool)) {
  const int at = axis_of(axis, x.rank());
  if (x.rank() == 0) return {x, zeros({}, DType::int64)};
  const Tensor own = x.detach();
  const Tensor kept = reduce(own, at, true);
  const Tensor found = first_position(own, kept, at, true);
  const Tensor values = with_gradient_of(kept, x, [&] { return chosen(x, found, at); });
  return keepdim ? ValuesIndices{values, found}
                 : ValuesIndices{squeeze(values, at), squeeze(found, at)};
}

}  // namespace

ValuesIndices max(const Tensor& x, int axis, bool keepdim) {
  const Call call("max");
  return extreme(x, axis, keepdim, amax);
}
ValuesIndices min(const Tensor& x, int axis, bool keepdim) {
  const Call call("min");
  return extreme(x, axis, keepdim, amin);
}
Tensor argmax(const Tensor& x, int axis, bool keepdim) {
  const Call call("argmax");
  return extreme(x, axis, keepdim, amax).indices;
}
Tensor argmin(const Tensor& x, int axis, bool keepdim) {
  const Call call("argmin");
  return extreme(x, axis, keepdim, amin).indices;
}
Tensor argmax(const Tensor& x) {
  const Call call("argmax");
  return argmax(flatten(x), 0);
}
Tensor argmin(const Tensor& x) {
  const Call call("argmin");
  return argmin(flatten(x), 0);
}

// ---- moments and norms --------------------------------------------------------------------------

Tensor var(const Tensor& x, const Axes& axes, int correction, bool keepdim) {
  const Call call("var");
  const Tensor wide = widen(x);
  const Tensor deviation = wide - mean(wide, axes, true);
  const Tensor squares = sum(square(deviation), axes, keepdim);
  return (squares * share(wide, count_of(x, axes), correction)).cast(float_result(x.dtype()));
}

Tensor std(const Tensor& x, const Axes& axes, int correction, bool keepdim) {
  const Call call("std");
  return sqrt_or_flat(var(widen(x), axes, correction, keepdim)).cast(float_result(x.dtype()));
}

namespace {

// With the reduced axes, of size 1, again.
Tensor with_axes(Tensor x, const Axes& reduced) {
  for (const int axis : reduced) x = unsqueeze(x, axis);
  return x;
}

}  // namespace

Tensor norm(const Tensor& x, double p, const Axes& axes, bool keepdim) {
  const Call call("norm");
  const DType dtype = float_result(x.dtype());
  const Tensor size = widen(x).abs();  // its slope at 0 is 0
  if (p == 0) return sum((size != 0).cast(size.dtype()), axes, keepdim).cast(dtype);
  if (std::isinf(p)) {
    return (p > 0 ? amax(size, axes, keepdim) : amin(size, axes, keepdim)).cast(dtype);
  }
  if (p == 1) return sum(size, axes, keepdim).cast(dtype);
  if (p == 2) return sqrt_or_flat(sum(square(size), axes, keepdim)).cast(dtype);
  // Nothing passes where all is 0.
  return with_own_gradient(
             {size}, [&] { return pow(sum(pow(size, p), axes, keepdim), 1 / p); },
             [=](const Tensor& y, const std::vector<Tensor>& in, const Tensor& g) {
               const Axes over(axes_of(axes, in[0].rank()));
               const auto kept = [&](const Tensor& t) { return keepdim ? t : with_axes(t, over); };
               const Tensor whole = kept(y);
               const Tensor flat = (whole == 0) | (in[0] == 0);
               const Tensor ratio = where(flat, 1, in[0]) / where(whole == 0, 1, whole);
               return std::vector<Tensor>{where(flat, 0, kept(g) * pow(ratio, p - 1))};
             })
      .cast(dtype);
}

Tensor count_nonzero(const Tensor& x, const Axes& axes) {
  const Call call("count_nonzero");
  return sum(x.cast(DType::boolean), axes);
}

// ---- running reductions -------------------------------------------------------------------------

namespace {

// out[i] = op over x[0 … i] along the last axis, which is a sum over all j of x[j] where j <= i:
// one pass for the strategy that sees it. Where a thread makes it, a long axis is cut into blocks,
// whose totals are summed up the same way, so that threads share it.
constexpr std::int64_t longest_scan = 4096;
constexpr std::int64_t scan_block = 1024;

Node combine(ReduceOp op, const Node& a, const Node& b) {
  return op == ReduceOp::add ? add(a, b) : op == ReduceOp::mul ? mul(a, b) : max(a, b);
}

Node scan_last(ReduceOp op, const Node& x) {
  const int axis = x.rank() - 1;
  const std::int64_t length = fixed(x.shape()[axis]);
  const Node identity = op == ReduceOp::add   ? constant_like(0, x.dtype())
                        : op == ReduceOp::mul ? constant_like(1, x.dtype())
                                              : lowest(x.dtype());
  if (length <= 1) return x;
  if (length <= longest_scan || executor().runs_groups()) {
    Shape square = x.shape();  // [… i, j]
    square.push_back(length);
    Shape row = x.shape();
    row.insert(row.end() - 1, 1);
    const Node beyond = cmplt(expand(positions(length, axis, axis + 2), square),
                              expand(positions(length, axis + 1, axis + 2), square));
    return reduce_axes(op, where(beyond, identity, expand(reshape(x, row), square)), {axis + 1},
                       false);
  }
  const std::int64_t blocks = (length + scan_block - 1) / scan_block;
  Shape split(x.shape().begin(), x.shape().end() - 1);
  split.push_back(blocks);
  split.push_back(scan_block);
  const Node padded = pad_axis(x, axis, 0, blocks * scan_block - length, identity);
  const Node inside = scan_last(op, reshape(padded, split));
  Shape totals_shape(split.begin(), split.end() - 1);
  const Node totals =
      reshape(cut(inside, axis + 1, scan_block - 1, scan_block), std::move(totals_shape));
  // Block i starts from the totals of the blocks before it.
  const Node before =
      pad_axis(cut(scan_last(op, totals), axis, 0, blocks - 1), axis, 1, 0, identity);
  Shape column = before.shape();
  column.push_back(1);
  const Node whole = combine(op, inside, expand(reshape(before, column), split));
  Shape flat = padded.shape();
  return cut(reshape(whole, std::move(flat)), axis, 0, length);
}

Tensor scan(ReduceOp op, const Tensor& x, int axis) {
  const Tensor last = transpose(x, axis, -1);
  return transpose(tensor_of(scan_last(op, node_of(last))), axis, -1);
}

// Its gradient is the running sum from the other end.
Tensor running_sum(const Tensor& x, int axis) {
  return with_own_gradient(
      {x}, [&] { return scan(ReduceOp::add, x, axis); },
      [axis](const Tensor&, const std::vector<Tensor>&, const Tensor& g) {
        // Stored, since a running sum is one pass in its own order only.
        const Tensor turned = running_sum(flip(g, axis), axis);
        return std::vector<Tensor>{flip(tensor_of(stored(node_of(turned))), axis)};
      });
}

Tensor accumulated_scan(ReduceOp op, const Tensor& x, int axis) {
  const int at = axis_of(axis, x.rank());
  const DType dtype = x.dtype();
  Tensor wide = x.cast(accumulate_dtype(dtype));
  if (x.rank() == 0) return wide;
  const Tensor result = op == ReduceOp::add ? running_sum(wide, at) : scan(op, wide, at);
  return is_float(dtype) ? result.cast(dtype) : result;
}

// The last position so far where x equals the running extreme (or is NaN, once one came).
ValuesIndices running(const Tensor& x, int axis, bool largest) {
  const int at = axis_of(axis, x.rank());
  if (x.rank() == 0) return {x, zeros({}, DType::int64)};
  const Tensor own = x.detach();
  const Node node = node_of(own);
  const DType dtype = node.dtype();
  const auto turn = [&](const Node& n) {
    if (largest) return n;
    if (is_float(dtype)) return mul(n, constant_float(-1, dtype));
    return is_bool(dtype) ? logical_not(n) : bit_xor(n, constant_int(-1, dtype));
  };
  const Tensor values = tensor_of(turn(node_of(scan(ReduceOp::max, tensor_of(turn(node)), at))));
  Tensor hit = own == values;
  if (is_float(dtype)) hit = hit | isnan(own);
  const Tensor position = tensor_of(positions(node.shape()[at], at, node.rank()));
  const Tensor found = scan(ReduceOp::max, where(hit, position, 0), at);
  return {with_gradient_of(values, x, [&] { return gather(x, at, found); }), found};
}

}  // namespace

Tensor cumsum(const Tensor& x, int axis) {
  const Call call("cumsum");
  return accumulated_scan(ReduceOp::add, x, axis);
}
Tensor cumprod(const Tensor& x, int axis) {
  const Call call("cumprod");
  return accumulated_scan(ReduceOp::mul, x, axis);
}
ValuesIndices cummax(const Tensor& x, int axis) {
  const Call call("cummax");
  return running(x, axis, true);
}
ValuesIndices cummin(const Tensor& x, int axis) {
  const Call call("cummin");
  return running(x, axis, false);
}

// ---- softmax ------------------------------------------------------------------------------------

namespace {

// x minus its greatest value along the axis, in the compute dtype.
Tensor below_greatest(const Tensor& x, int axis) { return x - amax(x, axis, true); }

}  // namespace

Tensor softmax(const Tensor& x, int axis) {
  const Call call("softmax");
  const int at = axis_of(axis, x.rank());
  const Tensor wide = widen(x);
  return with_own_gradient(
             {wide},
             [&] {
               const Tensor e = exp2_or_zero(below_greatest(wide, at) * std::numbers::log2e);
               return e * reciprocal(sum(e, at, true));
             },
             [at](const Tensor& y, const std::vector<Tensor>&, const Tensor& g) {
               return std::vector<Tensor>{y * (g - sum(g * y, at, true))};
             })
      .cast(float_result(x.dtype()));
}

Tensor log_softmax(const Tensor& x, int axis) {
  const Call call("log_softmax");
  const int at = axis_of(axis, x.rank());
  const Tensor wide = widen(x);
  return with_own_gradient(
             {wide},
             [&] {
               const Tensor shifted = below_greatest(wide, at);
               return shifted - log(sum(exp2_or_zero(shifted * std::numbers::log2e), at, true));
             },
             [at](const Tensor& y, const std::vector<Tensor>&, const Tensor& g) {
               return std::vector<Tensor>{g - exp(y) * sum(g, at, true)};
             })
      .cast(float_result(x.dtype()));
}

// The gradient of what is infinitely far below is 0, also where all is.
Tensor logsumexp(const Tensor& x, const Axes& axes, bool keepdim) {
  const Call call("logsumexp");
  const Tensor wide = widen(x);
  const Tensor result =
      with_own_gradient(
          {wide},
          [&] {
            const Tensor greatest = amax(wide, axes, true);
            const Tensor shift = where(isfinite(greatest), greatest, 0);  // all -inf: the sum is 0
            return log(sum(exp2_or_zero((wide - shift) * std::numbers::log2e), axes, true)) + shift;
          },
          [](const Tensor& y, const std::vector<Tensor>& in, const Tensor& g) {
            const Tensor share = where(isfinite(in[0]), exp(in[0] - y), 0);
            return std::vector<Tensor>{g * share};
          })
          .cast(float_result(x.dtype()));
  return keepdim ? result : squeeze(result, Axes(axes_of(axes, x.rank())));
}

Tensor logcumsumexp(const Tensor& x, int axis) {
  const Call call("logcumsumexp");
  const int at = axis_of(axis, x.rank());
  const Tensor wide = widen(x);
  const Tensor greatest = amax(wide.detach(), at, true);
  const Tensor shift = where(isfinite(greatest), greatest, 0);
  // Relative to the greatest of the whole axis: what is 88 below it underflows.
  const Tensor total = cumsum(exp2((wide - shift) * std::numbers::log2e), at);
  return (log(total) + shift).cast(float_result(x.dtype()));
}

// ---- without NaN, and the middle
// -------------------------------------------------------------------

Tensor nansum(const Tensor& x, const Axes& axes, bool keepdim) {
  const Call call("nansum");
  return sum(where(isnan(x), 0, x), axes, keepdim);
}

Tensor nanmean(const Tensor& x, const Axes& axes, bool keepdim) {
  const Call call("nanmean");
  const Tensor wide = widen(x);
  const Tensor total = nansum(wide, axes, keepdim);
  const Tensor count = sum((~isnan(wide)).cast(wide.dtype()), axes, keepdim);
  return (total / count).cast(float_result(x.dtype()));
}

ValuesIndices median(const Tensor& x, int axis, bool keepdim) {
  const Call call("median");
  const int at = axis_of(axis, x.rank());
  if (x.rank() == 0) return {x, zeros({}, DType::int64)};
  const std::int64_t size = fixed(node_of(x).shape()[at]);
  if (size == 0) call_error("axis {} of shape {} has no elements", axis, to_string(x.dims()));
  const Tensor order = narrow(argsort(x, at), at, (size - 1) / 2, 1);
  // NaN sorts last: where there is one, it is the median.
  const Tensor missing = isnan(x);
  const Tensor any_missing = any(missing, at, true);
  const Tensor first_missing = argmax(missing, at, true);
  const Tensor found = where(any_missing, first_missing, order);
  const Tensor values = gather(x, at, found);
  return keepdim ? ValuesIndices{values, found}
                 : ValuesIndices{squeeze(values, at), squeeze(found, at)};
}

Tensor diff(const Tensor& x, int axis) {
  const Call call("diff");
  const int at = axis_of(axis, x.rank());
  if (x.rank() == 0) call_error("a tensor of rank 0 has no neighbours");
  const Dim size = x.size(at);
  if (size.lower() < 1) call_error("wants at least 1 element, got shape {}", to_string(x.dims()));
  const Tensor later = narrow(x, at, 1, size - Dim(1));
  const Tensor earlier = narrow(x, at, 0, size - Dim(1));
  return is_bool(x.dtype()) ? later ^ earlier : later - earlier;
}

Tensor cosine_similarity(const Tensor& a, const Tensor& b, int axis, double eps) {
  const Call call("cosine_similarity");
  const DType dtype = float_result(result_type({&a, &b}));
  const Tensor x = a.cast(compute_dtype(dtype));
  const Tensor y = b.cast(compute_dtype(dtype));
  const Tensor size = maximum(norm(x, 2, axis), eps) * maximum(norm(y, 2, axis), eps);
  return (sum(x * y, axis) / size).cast(dtype);
}

}  // namespace brisk
