#include "autograd/rules.h"

#include <algorithm>
#include <numbers>
#include <numeric>

#include "autograd/gradient.h"
#include "base/error.h"
#include "graph/integer.h"
#include "graph/movement.h"
#include "graph/pattern.h"

namespace brisk {

namespace {

using Contributions = std::vector<Contribution>;

// ---- pieces
// --------------------------------------------------------------------------------------

Node number(double value, const Node& like) { return constant_like(value, like.dtype()); }
Node scaled(const Node& x, double factor) { return mul(x, number(factor, x)); }
Node negative(const Node& x) { return scaled(x, -1); }
Node equal(const Node& a, const Node& b) {
  return cmpne(cmpne(a, b), constant_int(1, DType::boolean));
}
Node only_where(const Node& condition, const Node& g) { return where(condition, g, number(0, g)); }
Node never_where(const Node& condition, const Node& g) { return where(condition, number(0, g), g); }

DType sum_dtype(DType dtype) {
  return is_float(dtype) && byte_size(dtype) < 4 ? DType::float32 : dtype;
}

// Sums of narrow floats run in float32 and are rounded once.
Node sum(const Node& x, const std::vector<int>& axes) {
  return axes.empty() ? x
                      : cast(reduce(ReduceOp::add, cast(x, sum_dtype(x.dtype())), axes), x.dtype());
}

// A scalar beside operands with axes stands for every element.
Node of_operand(const Node& operand, const Node& g) {
  if (operand.rank() == g.rank()) return g;
  std::vector<int> all(g.shape().size());
  std::iota(all.begin(), all.end(), 0);
  return reshape(sum(g, all), {});
}

Contributions elementwise(const Node& node, const std::vector<Node>& gradients) {
  Contributions result;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (gradients[i]) result.push_back({node.src(i), of_operand(node.src(i), gradients[i])});
  }
  return result;
}

// ---- arithmetic
// ----------------------------------------------------------------------------------

Contributions of_add(const Node& node, const Node& g) { return elementwise(node, {g, g}); }

Contributions of_mul(const Node& node, const Node& g) {
  return elementwise(node, {mul(g, node.src(1)), mul(g, node.src(0))});
}

// All to the larger one, halves where both are equal; to both where one is NaN.
Contributions of_max(const Node& node, const Node& g) {
  const Node& a = node.src(0);
  const Node& b = node.src(1);
  const Node each = where(equal(a, b), scaled(g, 0.5), g);
  return elementwise(node, {never_where(cmplt(a, b), each), never_where(cmplt(b, a), each)});
}

Contributions of_where(const Node& node, const Node& g) {
  return elementwise(node, {{}, only_where(node.src(0), g), never_where(node.src(0), g)});
}

Contributions of_exp2(const Node& node, const Node& g) {
  return elementwise(node, {mul(g, scaled(node, std::numbers::ln2))});
}

Contributions of_log2(const Node& node, const Node& g) {
  return elementwise(node, {mul(g, scaled(recip(node.src(0)), std::numbers::log2e))});
}

// cos x = 1 - 2 sin²(x/2): the whole range, which x + π/2 would lose to rounding.
Contributions of_sin(const Node& node, const Node& g) {
  const Node half = sin(scaled(node.src(0), 0.5));
  return elementwise(node, {mul(g, add(scaled(mul(half, half), -2), number(1, g)))});
}

Contributions of_sqrt(const Node& node, const Node& g) {
  return elementwise(node, {mul(g, recip(scaled(node, 2)))});
}

Contributions of_recip(const Node& node, const Node& g) {
  return elementwise(node, {mul(g, negative(mul(node, node)))});
}

Contributions of_cast(const Node& node, const Node& g) {
  const DType from = node.src(0).dtype();
  return is_float(from) ? elementwise(node, {cast(g, from)}) : Contributions();
}

// ---- reductions
// ----------------------------------------------------------------------------------

// Without a zero among the others the product of the others, by division.
Node of_product(const Node& x, const Node& g, const std::vector<int>& axes) {
  const Node zero = equal(x, number(0, x));
  const Node known = where(zero, number(1, x), x);
  const Node zeros = cast(zero, DType::int32);
  const Node all_zeros = expand(reduce(ReduceOp::add, zeros, axes), x.shape());
  const Node product = mul(g, reduce(ReduceOp::mul, known, axes));
  return only_where(equal(zeros, all_zeros), mul(expand(product, x.shape()), recip(known)));
}

// Equal greatest values share.
Node of_greatest(const Node& x, const Node& y, const Node& g, const std::vector<int>& axes) {
  const Node found = equal(x, expand(y, x.shape()));
  const Node count = reduce(ReduceOp::add, cast(found, sum_dtype(x.dtype())), axes);
  return only_where(found, expand(mul(g, cast(recip(count), g.dtype())), x.shape()));
}

Contributions of_reduce(const Node& node, const Node& g) {
  const Node& x = node.src(0);
  const std::vector<int> axes(node.attr().ints.begin() + 1, node.attr().ints.end());
  switch (static_cast<ReduceOp>(node.ints(0))) {
    case ReduceOp::add: return {{x, expand(g, x.shape())}};
    case ReduceOp::mul: return {{x, of_product(x, g, axes)}};
    case ReduceOp::max: break;
  }
  return {{x, of_greatest(x, node, g, axes)}};
}

// ---- movement
// ------------------------------------------------------------------------------------

Contributions of_reshape(const Node& node, const Node& g) {
  return {{node.src(0), reshape(g, node.src(0).shape())}};
}

Contributions of_permute(const Node& node, const Node& g) {
  const std::vector<int> order(node.attr().ints.begin(), node.attr().ints.end());
  return {{node.src(0), permute(g, inverse_order(order))}};
}

Contributions of_expand(const Node& node, const Node& g) {
  const Shape& from = node.src(0).shape();
  std::vector<int> repeated;
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (!(from[i] == node.shape()[i])) repeated.push_back(static_cast<int>(i));
  }
  return {{node.src(0), sum(g, repeated)}};
}

Contributions of_pad(const Node& node, const Node& g) {
  const Shape& from = node.src(0).shape();
  Shape box;
  for (std::size_t i = 0; i < from.size(); ++i) {
    const Size& before = node.attr().sizes[2 * i];
    box.insert(box.end(), {before, before + from[i]});
  }
  return {{node.src(0), shrink(g, std::move(box))}};
}

Contributions of_shrink(const Node& node, const Node& g) {
  const Shape& from = node.src(0).shape();
  Shape around;
  for (std::size_t i = 0; i < from.size(); ++i) {
    around.insert(around.end(), {node.attr().sizes[2 * i], from[i] - node.attr().sizes[2 * i + 1]});
  }
  return {{node.src(0), pad(g, std::move(around))}};
}

Contributions of_flip(const Node& node, const Node& g) {
  return {{node.src(0), flip(g, {node.attr().ints.begin(), node.attr().ints.end()})}};
}

Contributions of_after(const Node& node, const Node& g) { return {{node.src(0), g}}; }

// ---- memory
// --------------------------------------------------------------------------------------

// Memory of its own with these values, to store into.
Node stored(const Node& values) {
  return store(buffer(values.dtype(), values.shape(), nullptr), values);
}

// Each element's gradient is added where it was read, in order.
Contributions of_load(const Node& node, const Node& g) {
  const Node& x = node.src(0);
  const DType wide = sum_dtype(x.dtype());
  const Node zeros = stored(broadcast(constant_float(0, wide), x.shape()));
  Node index = node.src(1);
  if (node.srcs().size() == 3) index = where(node.src(2), index, constant_int(-1));
  return {{x, cast(scatter(zeros, index, cast(g, wide), StoreMode::add), x.dtype())}};
}

// A store (target, value) or (target, index, value), whose target is a view of `base`.
struct Store {
  explicit Store(const Node& node) : node(node), view(node.src(0)), value(node.srcs().back()) {
    base = view;
    while (is_movement(base.op())) base = base.src(0);
    scatters = node.srcs().size() == 3;
    if (!scatters) return;
    index = node.src(1);
    // As unsigned, negative positions are large.
    inside =
        cmplt(cast(index, DType::uint64), cast(element_count(view.shape()).node(), DType::uint64));
  }

  // The target's view of something of the base's shape.
  Node seen(const Node& x) const {
    Substitution memo = {{base, x}};
    return substitute(view, memo);
  }
  // Its elements that the value's are stored at.
  Node read(const Node& x) const { return scatters ? load(seen(x), index, inside) : seen(x); }
  // x with `values` stored instead of (or combined with) the elements there.
  Node written(const Node& x, const Node& values, StoreMode mode) const {
    const Node target = seen(stored(x));
    return scatters ? scatter(target, index, values, mode) : store(target, values);
  }

  const Node& node;
  const Node& view;
  const Node& value;
  Node base;
  bool scatters = false;
  Node index;
  Node inside;
};

// Of equal positions all values get the gradient, as PyTorch, though only the last is kept.
Contributions of_replacing(const Store& store, const Node& g) {
  return {{store.base, store.written(g, number(0, g), StoreMode::replace)},
          {store.value, of_operand(store.value, store.read(g))}};
}

Contributions of_adding(const Store& store, const Node& g) {
  return {{store.base, g}, {store.value, of_operand(store.value, store.read(g))}};
}

// As of_product: by division, where no other factor is zero.
Contributions of_multiplying(const Store& store, const Node& g) {
  const Node& v = store.value;
  const Node ones = broadcast(number(1, g), g.shape());
  const Node zero = equal(v, number(0, v));
  const Node known = where(zero, number(1, v), v);
  const Node one = cast(zero, g.dtype());
  const Node zeros = store.written(broadcast(number(0, g), g.shape()), one, StoreMode::add);
  const Node product = mul(g, store.written(store.base, known, StoreMode::mul));
  const Node others = equal(store.read(zeros), one);
  return {{store.base, mul(g, store.written(ones, v, StoreMode::mul))},
          {v, of_operand(v, only_where(others, mul(store.read(product), recip(known))))}};
}

// All that equal the result share.
Contributions of_extreme(const Store& store, const Node& g) {
  const Node own = equal(store.base, store.node);
  const Node found = equal(store.value, store.read(store.node));
  const Node count = store.written(cast(own, g.dtype()), cast(found, g.dtype()), StoreMode::add);
  const Node each = mul(g, recip(count));
  return {{store.base, only_where(own, each)},
          {store.value, of_operand(store.value, only_where(found, store.read(each)))}};
}

Contributions of_store(const Node& node, const Node& g) {
  const Store store(node);
  if (!store.scatters) return of_replacing(store, g);
  switch (static_cast<StoreMode>(node.ints(0))) {
    case StoreMode::replace: return of_replacing(store, g);
    case StoreMode::add: return of_adding(store, g);
    case StoreMode::mul: return of_multiplying(store, g);
    case StoreMode::max:
    case StoreMode::min: break;
  }
  return of_extreme(store, g);
}

// On one device; Tensor::to brings it back from another.
Contributions of_copy(const Node& node, const Node& g) { return {{node.src(0), g}}; }

constexpr GradientOf table[] = {
    {Op::add_, of_add},         {Op::mul_, of_mul},         {Op::max_, of_max},
    {Op::cmplt_, nullptr},      {Op::cmpne_, nullptr},      {Op::where_, of_where},
    {Op::exp2_, of_exp2},       {Op::log2_, of_log2},       {Op::sin_, of_sin},
    {Op::sqrt_, of_sqrt},       {Op::recip_, of_recip},     {Op::cast_, of_cast},
    {Op::idiv_, nullptr},       {Op::mod_, nullptr},        {Op::and_, nullptr},
    {Op::or_, nullptr},         {Op::xor_, nullptr},        {Op::shl_, nullptr},
    {Op::shr_, nullptr},        {Op::bitcast_, nullptr},    {Op::reduce_, of_reduce},
    {Op::reshape_, of_reshape}, {Op::permute_, of_permute}, {Op::expand_, of_expand},
    {Op::pad_, of_pad},         {Op::shrink_, of_shrink},   {Op::flip_, of_flip},
    {Op::after_, of_after},     {Op::constant_, nullptr},   {Op::buffer_, nullptr},
    {Op::load_, of_load},       {Op::store_, of_store},     {Op::copy_, of_copy},
    {Op::variable_, nullptr},   {Op::iota_, nullptr},
};

}  // namespace

std::span<const GradientOf> gradient_rules() { return table; }

std::vector<Contribution> contributions(const Node& node, const Node& g) {
  if (node.is(Op::with_gradient_)) {
    Contributions result;
    if (node.srcs().size() == 1) return result;
    const auto* rule = dynamic_cast<const GradientRule*>(node.attr().storage.get());
    check(rule != nullptr, "a gradient of its own has a rule");
    const std::vector<Node> gradients = (*rule)(node, g);
    check(gradients.size() + 1 == node.srcs().size(), "a gradient for each source");
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (gradients[i]) result.push_back({node.src(i + 1), gradients[i]});
    }
    return result;
  }
  const auto found = std::find_if(std::begin(table), std::end(table),
                                  [&](const GradientOf& line) { return line.op == node.op(); });
  check(found != std::end(table), "an operation of graphs has a line in the table of gradients");
  return found->rule == nullptr ? Contributions() : found->rule(node, g);
}

}  // namespace brisk
