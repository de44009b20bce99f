#include "optimize/product.h"

#include <algorithm>

#include "optimize/analysis.h"

namespace brisk {

namespace {

bool is_sum(const Node& node) { return node.is(Op::reduce_) && op_of(node) == ReduceOp::add; }

// value = factor · part + rest.
struct Linear {
  Node factor, rest;  // empty for 1 and 0
};

Node times(const Node& a, const Node& b) {
  if (!a || !b) return a ? a : b;
  return mul(a, b);
}
Node plus(const Node& a, const Node& b) {
  if (!a || !b) return a ? a : b;
  return add(a, b);
}

std::optional<Linear> linear_in(const Node& value, const Node& part) {
  if (value == part) return Linear{};
  if (!value.is(Op::mul_) && !value.is(Op::add_)) return std::nullopt;
  Node with = value.src(0);
  Node without = value.src(1);
  if (!depends_on(with, part)) std::swap(with, without);
  if (depends_on(without, part)) return std::nullopt;
  std::optional<Linear> below = linear_in(with, part);
  if (!below) return std::nullopt;
  if (value.is(Op::add_)) return Linear{below->factor, plus(below->rest, without)};
  return Linear{times(below->factor, without), below->rest ? times(below->rest, without) : Node()};
}

bool is_narrow_integer(DType dtype) { return is_integer(dtype) && byte_size(dtype) <= 2; }

// The integer factors before they were widened for the product.
Node narrow(const Node& factor) {
  return factor.is(Op::cast_) && is_narrow_integer(factor.src(0).dtype()) ? factor.src(0) : factor;
}

// b the matrix.
void orient(MatrixVectorForm& form, const std::vector<Node>& outer) {
  double only_a = 1;
  double only_b = 1;
  for (const Node& range : outer) {
    const auto size = static_cast<double>(Size(range.src(0)).upper());
    const bool in_a = depends_on(form.products[0].a, range);
    const bool in_b = depends_on(form.products[0].b, range);
    if (in_a && !in_b) only_a *= size;
    if (in_b && !in_a) only_b *= size;
  }
  if (only_a <= only_b) return;
  for (Product& product : form.products) std::swap(product.a, product.b);
}

bool classify_ranges(MatrixVectorForm& form, const std::vector<Node>& outer) {
  for (const Node& range : outer) {
    bool in_vector = false;
    bool in_matrix = false;
    for (const Product& product : form.products) {
      in_vector = in_vector || depends_on(product.a, range);
      in_matrix = in_matrix || depends_on(product.b, range);
    }
    if (!in_vector && !in_matrix) return false;
    (in_vector && in_matrix ? form.batch : in_matrix ? form.n : form.m).push_back(range);
  }
  return !form.n.empty();
}

}  // namespace

Node half_factor(const Node& factor) {
  if (!factor.is(Op::cast_)) return {};
  const DType dtype = factor.src(0).dtype();
  return is_float(dtype) && byte_size(dtype) == 2 ? factor.src(0) : Node();
}

std::optional<Product> product_of(const Node& sum, bool made_of_reductions) {
  if (!is_sum(sum)) return std::nullopt;
  Product product;
  product.sum = sum;
  product.ranges = ranges_of(sum);
  const Node& value = sum.src(0);
  const std::vector<Node> inside = find_all({value}, Op::reduce_);
  // The one sum of products of integers among them.
  Node group;
  for (const Node& node : inside) {
    const bool integers = is_sum(node) && node.dtype() == DType::int32 && node.src(0).is(Op::mul_);
    if (integers && group) return std::nullopt;
    if (integers) group = node;
  }
  if (inside.empty() || (!group && made_of_reductions)) {
    if (!value.is(Op::mul_)) return std::nullopt;
    const bool integers = sum.dtype() == DType::int32;
    product.a = integers ? narrow(value.src(0)) : value.src(0);
    product.b = integers ? narrow(value.src(1)) : value.src(1);
    return product;
  }
  if (!group || sum.dtype() != DType::float32) return std::nullopt;
  product.inner = ranges_of(group);
  product.a = narrow(group.src(0).src(0));
  product.b = narrow(group.src(0).src(1));
  const std::optional<Linear> linear = linear_in(value, cast(group, DType::float32));
  if (!linear || !is_narrow_integer(product.a.dtype()) || !is_narrow_integer(product.b.dtype())) {
    return std::nullopt;
  }
  product.scale = linear->factor ? linear->factor : constant_float(1);
  product.offset = linear->rest;
  return product;
}

std::optional<MatrixVectorForm> matrix_vector_form(const Part& part, bool made_of_reductions) {
  MatrixVectorForm form;
  const std::vector<Node>& stores = part.stages[0].stores;
  for (const Node& store : stores) {
    const bool everywhere =
        std::all_of(part.outer.begin(), part.outer.end(),
                    [&](const Node& range) { return depends_on(store.src(1), range); });
    if (is_scatter(store) || !everywhere) return std::nullopt;
  }
  for (const Node& sum : outermost_reductions(stores)) {
    const std::optional<Product> product = product_of(sum, made_of_reductions);
    if (!product) return std::nullopt;
    const Product& first = form.products.empty() ? *product : form.products[0];
    if (product->ranges != first.ranges || product->inner != first.inner ||
        sum.dtype() != first.sum.dtype()) {
      return std::nullopt;
    }
    form.products.push_back(*product);
  }
  if (form.products.empty()) return std::nullopt;
  orient(form, part.outer);
  if (!classify_ranges(form, part.outer)) return std::nullopt;
  return form;
}

bool is_contraction(const Node& sum, const std::vector<Node>& outer) {
  constexpr std::int64_t least = 16;
  const std::optional<Product> product = product_of(sum);
  if (!product || product->grouped()) return false;
  std::vector<Node> only_a;
  std::vector<Node> only_b;
  for (const Node& range : outer) {
    const bool in_a = depends_on(product->a, range);
    const bool in_b = depends_on(product->b, range);
    if (in_a && !in_b) only_a.push_back(range);
    if (in_b && !in_a) only_b.push_back(range);
  }
  const Size depth = extent(product->ranges);
  return depth.is_constant() && depth.value() >= least && extent(only_a).upper() >= least &&
         extent(only_b).upper() >= least;
}

Factors factors_of(const Node& expression, const std::vector<Node>& ranges) {
  if (expression.is(Op::mul_)) {
    const Factors a = factors_of(expression.src(0), ranges);
    const Factors b = factors_of(expression.src(1), ranges);
    return {times(a.with, b.with), times(a.without, b.without)};
  }
  const bool depends = std::any_of(ranges.begin(), ranges.end(),
                                   [&](const Node& r) { return depends_on(expression, r); });
  return depends ? Factors{expression, {}} : Factors{{}, expression};
}

bool lies_in_order(const Node& operand, const Node& range) {
  bool moves = false;
  for (const Node& load : find_all({operand}, Op::load_)) {
    const auto step = stride(load.src(1), range);
    if (!step || (*step != 0 && *step != 1)) return false;
    moves = moves || *step == 1;
    if (load.srcs().size() == 3 && depends_on(load.src(2), range)) return false;
  }
  return moves && find_all({operand}, Op::reduce_).empty();
}

bool is_centred(const Node& bytes) {
  return bytes.is(Op::add_) && bytes.src(1).is_constant() && bounds(bytes.src(0)).least >= 0;
}

Node uncentred(const Node& bytes, const Target& target) {
  return is_centred(bytes) && !target.has_signed_dot ? bytes.src(0) : bytes;
}

Node narrowest_tile(const Size& m, int widest, const std::function<Node(int)>& tile) {
  std::vector<Node> tiles;
  int narrower = 0;
  for (int width = std::min(2, widest);; width = std::min(width + 2, widest)) {
    Node fits = integer_less(constant_int(narrower), m.node());
    if (width < widest) fits = logical_and(fits, integer_less(m.node(), constant_int(width + 1)));
    tiles.push_back(branch(fits, tile(width)));
    if (width == widest) return block(std::move(tiles));
    narrower = width;
  }
}

namespace {

constexpr std::int64_t hint_distance = 8192;  // bytes: longer than memory takes to answer

}  // namespace

void hint_rows_ahead(const Product& product, const RowTile& tile, const Substitution& first,
                     const Substitution& counters, std::vector<Node>& statements) {
  const std::vector<Node>& ranges = product.ranges;
  if (!extent(ranges).is_constant()) return;
  Substitution here = counters;
  const Node step = substitute(position(ranges), here);
  for (const Node& load : find_all({product.b}, Op::load_)) {
    const auto row = stride(load.src(1), tile.n);
    const auto outer = stride(load.src(1), ranges[0]);
    if (!depends_on(load.src(1), product.inner.back()) || !row || !outer ||
        *outer * Size(ranges[0].src(0)).value() != *row) {
      continue;
    }
    const std::int64_t bytes = *row * tile.rows;
    const std::int64_t tiles = (hint_distance + bytes - 1) / bytes;
    Substitution at = first;
    for (const Node& range : ranges) at[range] = constant_int(0);
    for (const Node& range : product.inner) at[range] = constant_int(0);
    const Node begin = add(substitute(load.src(1), at), constant_int(tiles * bytes));
    std::int64_t streams = tile.streams;
    while (streams > 1 && bytes / extent(ranges).value() * tile.groups < 2 * line_bytes * streams)
      streams /= 2;
    const std::int64_t stream = bytes / streams;
    const std::int64_t one = stream / extent(ranges).value();  // of a group
    const std::int64_t each = one * tile.groups;
    const std::int64_t hints = (each + line_bytes - 1) / line_bytes;
    for (std::int64_t first_of = 0; first_of < bytes; first_of += stream) {
      for (std::int64_t i = 0; i < hints; ++i) {
        const Node offset =
            add(mul(step, constant_int(one)), constant_int(first_of + each * i / hints));
        statements.push_back(prefetch(load.src(0), add(begin, offset)));
      }
    }
  }
}

std::vector<Node> outermost_reductions(const std::vector<Node>& stores) {
  const std::vector<Node> all = find_all(stores, Op::reduce_);
  std::vector<Node> outermost;
  for (const Node& node : all) {
    const bool nested = std::any_of(all.begin(), all.end(), [&](const Node& other) {
      return !(other == node) && depends_on(other.src(0), node);
    });
    if (!nested) outermost.push_back(node);
  }
  return outermost;
}

}  // namespace brisk
