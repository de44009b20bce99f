// Every rule of every table, made into graphs from its left side alone: variables become random
// leaves of every dtype with special values among them, operations get random attributes. Where the
// rule applies, both sides must evaluate to the same bits (or within what the rule states), and
// each rule must have applied somewhere.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "base/error.h"
#include "graph/elementwise.h"
#include "graph/evaluate.h"
#include "graph/print.h"
#include "graph/rules_simplify.h"
#include "graph/verify.h"

namespace brisk {
namespace {

struct Table {
  const char* name;
  std::span<const Rule> rules;
};

// Whoever adds a table of rules adds it here.
std::vector<Table> tables() {
  return {{"arithmetic", arithmetic_rules()},
          {"movement", movement_rules()},
          {"reduction", reduction_rules()}};
}

constexpr DType all_dtypes[] = {
    DType::boolean,     DType::int8,    DType::int16,    DType::int32,   DType::int64,
    DType::uint8,       DType::uint16,  DType::uint32,   DType::uint64,  DType::float8_e4m3,
    DType::float8_e5m2, DType::float16, DType::bfloat16, DType::float32, DType::float64};

using Sizes = std::vector<std::int64_t>;

// Makes graphs that a pattern matches (mostly: conditions are met by trying).
class Generator {
 public:
  explicit Generator(unsigned seed) : random_(seed) {}

  struct Failure {};  // this try led nowhere

  Node instance(const Pattern& pattern, DType dtype) {
    named_.clear();
    return make(pattern, dtype, random_sizes());
  }

  Array read(const Node& node) const { return arrays_.at(node); }

  int below(std::int64_t limit) {
    return static_cast<int>(random_() % static_cast<std::uint64_t>(limit));
  }

  Node leaf(DType dtype, const Sizes& sizes) {
    std::int64_t count = 1;
    for (const auto size : sizes) count *= size;
    std::vector<double> values(static_cast<std::size_t>(count));
    for (double& value : values) value = special(dtype);
    return leaf_of(dtype, sizes, values);
  }

 private:
  // A number that the operations of a dtype treat in its own way, or a small one.
  double special(DType dtype) {
    const double inf = std::numeric_limits<double>::infinity();
    if (is_bool(dtype)) return below(2);
    if (below(4) == 0) {  // every digit set at random
      const double part = std::generate_canonical<double, 53>(random_) * 2 - 1;
      if (is_float(dtype)) return std::ldexp(part, below(40) - 20);
      return std::trunc(std::fabs(part) * static_cast<double>(max_value(dtype) / 2));
    }
    if (is_float(dtype)) {
      const double list[] = {0,     -0.0, 1,     -1,  inf,  -inf, std::nan(""),
                             1e-45, 1e-7, 65504, 448, 3e38, 0.5};
      return below(2) ? list[below(13)] : (below(65) - 32) / 4.0;
    }
    const auto least = static_cast<double>(min_value(dtype));
    const auto most = static_cast<double>(bit_size(dtype) == 64 ? max_value(dtype) / 1024 * 1024
                                                                : max_value(dtype));
    const double list[] = {0, 1, is_signed(dtype) ? -1.0 : 2.0, least, most};
    return below(2) ? list[below(5)] : below(20) - (is_signed(dtype) ? 10 : 0);
  }

  Node leaf_of(DType dtype, const Sizes& sizes, const std::vector<double>& values) {
    const Node node = buffer(dtype, Shape(sizes.begin(), sizes.end()), nullptr);
    Array array{dtype, sizes,
                std::vector<std::byte>(values.size() * static_cast<std::size_t>(byte_size(dtype)))};
    const Operand from{DType::float64, reinterpret_cast<const std::byte*>(values.data()), 1};
    apply(Op::cast_, dtype, {&from, 1}, static_cast<std::int64_t>(values.size()),
          array.bytes.data());
    arrays_.emplace(node, std::move(array));
    return node;
  }

  Sizes random_sizes() {
    Sizes sizes(static_cast<std::size_t>(1 + below(3)));
    for (auto& size : sizes) size = 1 + below(3);
    return sizes;
  }

  DType random_dtype() { return all_dtypes[below(std::size(all_dtypes))]; }

  Node random_constant(DType dtype) {
    if (below(3) == 0) {  // the extremes, exactly
      if (is_float(dtype)) return constant_float(below(2) ? -INFINITY : -0.0, dtype);
      const std::int64_t list[] = {min_value(dtype), max_value(dtype), -1};
      return constant_int(list[below(3)], dtype);
    }
    return constant_like(special(dtype), dtype);
  }

  // Anything of a dtype and shape (or a scalar, which stands for every element).
  Node random_node(DType dtype, const Sizes& sizes) {
    const Shape shape(sizes.begin(), sizes.end());
    switch (below(8)) {
      case 0: return random_constant(dtype);
      case 1: return broadcast(random_constant(dtype), shape);
      case 2: return leaf(dtype, {});
      case 3: return broadcast(leaf(dtype, {}), shape);
      case 4:
        if (is_integer(dtype)) return bit_and(leaf(dtype, sizes), constant_int(below(8), dtype));
        break;
      case 5: return broadcast(constant_like(0, dtype), shape);
      default: break;
    }
    return leaf(dtype, sizes);
  }

  Node accepted(const Pattern& pattern, const std::function<Node()>& candidate) {
    for (int i = 0; i < 40; ++i) {
      const Node node = candidate();
      if (pattern.accepts(node)) return node;
    }
    throw Failure{};
  }

  Node make(const Pattern& pattern, DType dtype, const Sizes& sizes) {
    if (const auto found = named_.find(pattern.identity()); found != named_.end()) {
      if (found->second.dtype() != dtype) throw Failure{};
      return found->second;
    }
    Node node;
    switch (pattern.kind()) {
      case Pattern::Kind::variable:
        node = accepted(pattern, [&] { return random_node(dtype, sizes); });
        break;
      case Pattern::Kind::constant:
        node = accepted(pattern, [&] {
          return pattern.has_value() ? constant_like(pattern.value(), dtype)
                                     : random_constant(dtype);
        });
        break;
      case Pattern::Kind::operation: node = operation(pattern, dtype, sizes); break;
    }
    if (!pattern.accepts(node)) throw Failure{};
    named_.emplace(pattern.identity(), node);
    return node;
  }

  Node operation(const Pattern& pattern, DType dtype, const Sizes& sizes) {
    const Op op = pattern.ops()[static_cast<std::size_t>(below(pattern.ops().size()))];
    if (is_elementwise(op)) return elementwise(op, pattern, dtype, sizes);
    const auto source = [&] { return make(pattern.srcs().at(0), dtype, random_sizes()); };
    if (is_movement(op)) return movement(op, source());
    switch (op) {
      case Op::reduce_: {
        const Node x = source();
        return reduce(static_cast<ReduceOp>(below(3)), x, some_axes(x.rank()));
      }
      case Op::copy_: return copy_to(source(), below(2) ? "one" : "other");
      case Op::iota_: return iota(Size(1 + below(5)));
      case Op::load_: return gather(pattern, dtype);
      default: throw InternalError(fmt::format("the test makes no '{}'", name(op)));
    }
  }

  Node elementwise(Op op, const Pattern& pattern, DType dtype, const Sizes& sizes) {
    const auto arity = static_cast<std::size_t>(info(op).arity);
    DType in = dtype;
    if (op == Op::cmplt_ || op == Op::cmpne_) {
      in = below(3) == 0 ? DType::boolean : random_dtype();
      if (dtype != DType::boolean) throw Failure{};
    } else if (op == Op::cast_) {
      in = random_dtype();
    } else if (op == Op::bitcast_) {
      while (byte_size(in = random_dtype()) != byte_size(dtype)) {
      }
    }
    std::vector<Node> srcs;
    for (std::size_t i = 0; i < arity; ++i) {
      const DType of = op == Op::where_ && i == 0 ? DType::boolean : in;
      srcs.push_back(pattern.srcs().empty() ? random_node(of, sizes)
                                            : make(pattern.srcs()[i], of, sizes));
    }
    if (pattern.srcs().empty() && below(3) == 0) {
      for (Node& src : srcs) src = random_constant(src.dtype());
    }
    if (is_commutative(op) && below(2)) std::swap(srcs[0], srcs[1]);
    try {
      return make_node(op, dtype, srcs);
    } catch (const UserError&) {
      throw Failure{};
    }
  }

  std::vector<int> some_axes(int rank) {
    std::vector<int> axes;
    for (int axis = 0; axis < rank; ++axis) {
      if (below(2)) axes.push_back(axis);
    }
    return axes;
  }

  Node movement(Op op, const Node& x) {
    const Sizes sizes = static_shape(x.shape());
    const int rank = x.rank();
    Attr attr;
    switch (op) {
      case Op::reshape_: {
        const std::int64_t count = element_count(x.shape()).value();
        const std::int64_t part = 1 + below(count);
        attr.sizes = count % part == 0 ? Shape{Size(part), Size(count / part)} : Shape{Size(count)};
        if (below(3) == 0) attr.sizes = x.shape();
        break;
      }
      case Op::permute_:
        for (int i = 0; i < rank; ++i) attr.ints.push_back(i);
        std::shuffle(attr.ints.begin(), attr.ints.end(), random_);
        break;
      case Op::expand_:
        attr.sizes = x.shape();
        for (Size& size : attr.sizes) {
          if (size == Size(1)) size = 1 + below(3);
        }
        break;
      case Op::pad_:
        for (int i = 0; i < 2 * rank; ++i) attr.sizes.emplace_back(below(3) == 0 ? below(3) : 0);
        break;
      case Op::shrink_:
        for (const auto size : sizes) {
          const int begin = below(2) ? 0 : below(size + 1);
          attr.sizes.emplace_back(begin);
          attr.sizes.emplace_back(below(2) ? size : begin + below(size - begin + 1));
        }
        break;
      default:
        for (const int axis : some_axes(rank)) attr.ints.push_back(axis);
    }
    return make_node(op, x.dtype(), {x}, attr);
  }

  Node gather(const Pattern& pattern, DType dtype) {
    const Node x = make(pattern.srcs().at(0), dtype, random_sizes());
    if (x.dtype() != dtype) throw Failure{};
    const Sizes sizes = random_sizes();
    const std::int64_t count = element_count(x.shape()).value();
    std::int64_t places = 1;
    for (const auto size : sizes) places *= size;
    std::vector<double> index(static_cast<std::size_t>(places));
    for (double& value : index) value = below(count);
    std::vector<Node> srcs = {x, leaf_of(DType::int64, sizes, index)};
    named_.emplace(pattern.srcs().at(1).identity(), srcs[1]);
    if (pattern.srcs().size() == 3) {
      srcs.push_back(make(pattern.srcs()[2], DType::boolean, sizes));
    }
    return make_node(Op::load_, dtype, srcs);
  }

  std::mt19937_64 random_;
  std::unordered_map<const void*, Node> named_;
  std::unordered_map<Node, Array, NodeHash> arrays_;
};

std::vector<double> as_doubles(const Array& array) {
  std::vector<double> values(array.bytes.size() / static_cast<std::size_t>(byte_size(array.dtype)));
  const Operand from{array.dtype, array.bytes.data(), 1};
  apply(Op::cast_, DType::float64, {&from, 1}, static_cast<std::int64_t>(values.size()),
        reinterpret_cast<std::byte*>(values.data()));
  return values;
}

// What differs, or nothing.
std::string difference(const Array& a, const Array& b, double tolerance, bool zero_sign) {
  if (a.dtype != b.dtype || a.shape != b.shape) return "dtype or shape";
  if (a.bytes == b.bytes) return "";
  if (!is_float(a.dtype)) return "integers";
  const std::vector<double> x = as_doubles(a);
  const std::vector<double> y = as_doubles(b);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i]) && std::isnan(y[i])) continue;
    if (x[i] == 0 && y[i] == 0) {
      if (zero_sign || std::signbit(x[i]) == std::signbit(y[i])) continue;
    } else {
      const double largest = std::max(std::fabs(x[i]), std::fabs(y[i]));
      if (x[i] == y[i] || std::fabs(x[i] - y[i]) <= tolerance * largest) continue;
    }
    return fmt::format("element {}: {} and {}", i, x[i], y[i]);
  }
  return "";
}

TEST(Rules, everyRuleKeepsEveryValue) {
  unsigned seed = 0;
  for (const Table& table : tables()) {
    for (const Rule& rule : table.rules) {
      SCOPED_TRACE(fmt::format("table {}, rule {}", table.name, rule.name));
      int applied = 0;
      for (const DType dtype : all_dtypes) {
        for (int i = 0; i < 300; ++i) {
          Generator generator(++seed);
          Node left;
          try {
            left = generator.instance(rule.left, dtype);
          } catch (const Generator::Failure&) {
            continue;
          }
          const Node right = apply_rule(rule, left);
          if (!right || right == left) continue;
          ++applied;
          const Node both[] = {left, right};
          ASSERT_NO_THROW(verify_graph(both, rule.name));
          const auto values =
              evaluate(both, {{}, [&](const Node& b) { return generator.read(b); }});
          ASSERT_EQ(difference(values[0], values[1], rule.tolerance, rule.changes_zero_sign), "")
              << "seed " << seed << "\nleft:\n"
              << print(left) << "right:\n"
              << print(right);
        }
      }
      EXPECT_GE(applied, 5) << "the rule could not be instantiated";
    }
  }
}

TEST(Rules, namesAreUnique) {
  std::vector<std::string> names;
  for (const Table& table : tables()) {
    for (const Rule& rule : table.rules) names.push_back(rule.name);
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

}  // namespace
}  // namespace brisk
