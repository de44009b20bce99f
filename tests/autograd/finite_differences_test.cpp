// Every rule of the table against central differences in float64 on the evaluator, and the gradient
// of the gradient likewise. A rule without an instance here fails.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <set>
#include <unordered_map>

#include "autograd/gradient.h"
#include "autograd/rules.h"
#include "graph/evaluate.h"
#include "graph/pattern.h"

namespace brisk {
namespace {

constexpr DType f64 = DType::float64;
using Values = std::vector<double>;

// Inputs with values, and a graph over them.
struct Problem {
  std::string name;
  std::vector<std::pair<Shape, Values>> inputs;
  std::function<Node(const std::vector<Node>&)> function;
  bool twice = true;  // the second derivative is smooth there too
};

class Graph {
 public:
  explicit Graph(const Problem& problem) {
    for (const auto& [shape, values] : problem.inputs) inputs_.push_back(leaf(shape, values));
    output_ = problem.function(inputs_);
  }

  Node leaf(const Shape& shape, const Values& values) {
    Node node = buffer(f64, shape, nullptr);
    values_.emplace(node, values);
    return node;
  }
  const std::vector<Node>& inputs() const { return inputs_; }
  const Node& output() const { return output_; }
  Values& of(const Node& input) { return values_.at(input); }

  Values value(const Node& node) const {
    const Bindings bindings{
        {}, [&](const Node& buffer) {
          const auto found = values_.find(buffer);
          Array array{buffer.dtype(), static_shape(buffer.shape()), {}};
          array.bytes.resize(static_cast<std::size_t>(element_count(buffer.shape()).value() *
                                                      byte_size(array.dtype)));
          if (found != values_.end()) {
            std::memcpy(array.bytes.data(), found->second.data(), array.bytes.size());
          }
          return array;
        }};
    const Array array = evaluate(values_of({&node, 1})[0], bindings);
    Values result(array.bytes.size() / sizeof(double));
    std::memcpy(result.data(), array.bytes.data(), array.bytes.size());
    return result;
  }

 private:
  std::unordered_map<Node, Values, NodeHash> values_;
  std::vector<Node> inputs_;
  Node output_;
};

// Weights that differ, so that a gradient that ends up at the wrong element shows.
Values weights(std::int64_t count, double phase) {
  Values result;
  for (std::int64_t i = 0; i < count; ++i)
    result.push_back(std::sin(1.7 * static_cast<double>(i) + phase));
  return result;
}

double weighted(const Values& values, const Values& by) {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += values[i] * by[i];
  return sum;
}

// d Σ seed·root / d input by differences, against the graph `gradient` for each input.
void expect_gradient(Graph& graph, const Node& root, const Values& seed,
                     const std::vector<Node>& gradients, const std::string& what) {
  constexpr double h = 1e-5;
  for (std::size_t i = 0; i < graph.inputs().size(); ++i) {
    Values& x = graph.of(graph.inputs()[i]);
    const Values got = gradients[i] ? graph.value(gradients[i]) : Values(x.size());
    ASSERT_EQ(got.size(), x.size());
    for (std::size_t k = 0; k < x.size(); ++k) {
      const double at = x[k];
      x[k] = at + h;
      const double above = weighted(graph.value(root), seed);
      x[k] = at - h;
      const double below = weighted(graph.value(root), seed);
      x[k] = at;
      const double want = (above - below) / (2 * h);
      EXPECT_NEAR(got[k], want, 2e-8 * std::max(1.0, std::fabs(want)))
          << what << ": input " << i << ", element " << k;
    }
  }
}

std::set<Op> ops_in(const Node& root) {
  std::set<Op> ops;
  for (const Node& node : topological_order({&root, 1})) ops.insert(node.op());
  return ops;
}

Node number(double value) { return constant_float(value, f64); }

Node stored(const Node& x) { return store(buffer(f64, x.shape(), nullptr), x); }

Node indices(const std::vector<std::int64_t>& at) {
  Node result = constant_int(at.back());
  const auto size = static_cast<std::int64_t>(at.size());
  for (std::int64_t i = size - 2; i >= 0; --i) {
    result = where(cmplt(iota(size), constant_int(i + 1)),
                   constant_int(at[static_cast<std::size_t>(i)]), result);
  }
  return at.size() == 1 ? broadcast(result, {1}) : result;
}

Problem scattering(const std::string& name, StoreMode mode, const Values& values) {
  return {"store " + name,
          {{{4}, {0.5, -0.7, 1.2, 0.3}}, {{5}, values}},
          [mode](const std::vector<Node>& x) {
            const std::vector<std::int64_t> at = mode == StoreMode::replace
                                                     ? std::vector<std::int64_t>{2, 0, -1, 7, 3}
                                                     : std::vector<std::int64_t>{2, 0, 2, 7, 0};
            return scatter(stored(x[0]), indices(at), x[1], mode);
          }};
}

std::vector<Problem> problems() {
  const Values six = {0.3, -0.8, 1.4, 0.6, -0.2, 0.9};
  const Values others = {1.1, 0.4, -0.5, -1.3, 0.7, 0.25};
  const Values positive = {0.3, 0.8, 1.4, 0.6, 0.2, 0.9};
  using Nodes = std::vector<Node>;
  const auto one = [&](const std::string& name, Node (*f)(const Node&), const Values& at) {
    return Problem{name, {{{2, 3}, at}}, [f](const Nodes& x) { return f(x[0]); }};
  };
  const auto two = [&](const std::string& name, Node (*f)(const Node&, const Node&)) {
    return Problem{
        name, {{{2, 3}, six}, {{2, 3}, others}}, [f](const Nodes& x) { return f(x[0], x[1]); }};
  };
  const auto of = [&](const std::string& name, std::function<Node(const Node&)> f) {
    return Problem{name, {{{2, 3}, six}}, [f](const Nodes& x) { return f(x[0]); }};
  };
  const auto reduced = [&](const std::string& name, ReduceOp op, std::vector<int> axes,
                           const Values& at) {
    return Problem{
        "reduce " + name, {{{2, 3}, at}}, [=](const Nodes& x) { return reduce(op, x[0], axes); }};
  };
  return {
      two("add", add),
      two("mul", mul),
      two("max", max),
      {"scalar operands",
       {{{2, 3}, six}, {{}, {1.5}}},
       [](const Nodes& x) { return mul(add(x[0], x[1]), max(x[1], x[0])); }},
      {"where",
       {{{2, 3}, six}, {{2, 3}, others}},
       [](const Nodes& x) { return where(cmplt(x[0], number(0.5)), mul(x[0], x[1]), sin(x[1])); }},
      of("comparisons pass nothing",
         [](const Node& x) {
           const Node truth = bit_xor(cmpne(x, number(0.61)), cmplt(x, number(0)));
           return mul(x, cast(truth, f64));
         }),
      one("exp2", exp2, six),
      one("log2", log2, positive),
      one("sin", sin, six),
      one("sqrt", sqrt, positive),
      one("recip", recip, others),
      of("cast", [](const Node& x) { return mul(x, cast(cast(x, DType::int64), f64)); }),
      reduced("add", ReduceOp::add, {1}, six),
      reduced("add over all", ReduceOp::add, {0, 1}, six),
      reduced("mul", ReduceOp::mul, {1}, six),
      reduced("mul over all", ReduceOp::mul, {0, 1}, six),
      // One factor of a row is 0: its own gradient is the product of the others. (The gradients of
      // the others depend on it too, which the rule leaves out of the second derivative.)
      {"reduce mul with zeros",
       {{{2, 3}, {0.5, 0, 2, 0, 0, 3}}},
       [](const Nodes& x) { return reduce(ReduceOp::mul, x[0], {1}); },
       false},
      reduced("max", ReduceOp::max, {0}, six),
      reduced("max over all", ReduceOp::max, {0, 1}, six),
      of("reshape",
         [](const Node& x) {
           return sin(reshape(x, {3, 2}));
         }),
      of("permute",
         [](const Node& x) {
           return sin(permute(x, {1, 0}));
         }),
      {"permute of three axes",
       {{{1, 2, 3}, six}},
       [](const Nodes& x) {
         return sin(permute(x[0], {1, 2, 0}));
       }},
      {"expand",
       {{{2, 1, 3}, six}},
       [](const Nodes& x) {
         const Shape shape = {2, 4, 3};
         const Node each = expand(reshape(cast(iota(4), f64), {1, 4, 1}), shape);
         return sin(mul(expand(x[0], shape), each));
       }},
      of("pad",
         [](const Node& x) {
           return sin(pad(x, {1, 0, 2, 1}));
         }),
      of("shrink",
         [](const Node& x) {
           return sin(shrink(x, {0, 1, 1, 3}));
         }),
      of("flip",
         [](const Node& x) {
           return sin(flip(x, {0, 1}));
         }),
      of("after", [](const Node& x) { return sin(after(x, reduce(ReduceOp::add, x, {0}))); }),
      of("copy", [](const Node& x) { return sin(copy_to(x, "cpu")); }),
      of("load",
         [](const Node& x) {
           return sin(load(x, indices({5, 0, 5, 2})));
         }),
      of("load with a gate",
         [](const Node& x) {
           const Node at = indices({5, 0, 9, 2});
           return sin(load(x, at, cmplt(at, constant_int(6))));
         }),
      of("load, never",
         [](const Node& x) { return load(x, indices({1}), constant_int(0, DType::boolean)); }),
      {"store of a box",
       {{{3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}}, {{2, 2}, {0.1, 0.2, 0.3, 0.4}}},
       [](const Nodes& x) {
         return sin(store(shrink(stored(x[0]), {1, 3, 0, 2}), sin(x[1])));
       }},
      {"store into a turned view",
       {{{2, 3}, six}, {{2, 2}, {0.1, 0.2, 0.3, 0.4}}},
       [](const Nodes& x) {
         const Node view = flip(permute(shrink(stored(x[0]), {0, 2, 1, 3}), {1, 0}), {0});
         return sin(store(view, x[1]));
       }},
      {"store of one value",
       {{{2, 3}, six}, {{}, {0.4}}},
       [](const Nodes& x) {
         return sin(store(shrink(stored(x[0]), {0, 2, 1, 3}), x[1]));
       }},
      scattering("replace", StoreMode::replace, {1.5, -2, 0.25, 0.5, 3}),
      scattering("add", StoreMode::add, {1.5, -2, 0.25, 0.5, 3}),
      scattering("mul", StoreMode::mul, {1.5, -2, 0.25, 0.5, 3}),
      scattering("max", StoreMode::max, {1.5, -2, 0.25, 0.5, 3}),
      scattering("min", StoreMode::min, {1.5, -2, 0.25, 0.5, 3}),
      {"store into part of a view at positions",
       {{{2, 3}, six}, {{3}, {0.1, 0.2, 0.3}}},
       [](const Nodes& x) {
         const Node view = shrink(stored(x[0]), {0, 2, 1, 3});
         return sin(scatter(view, indices({3, 0, -1}), x[1], StoreMode::add));
       }},
      {"two stores, one after the other",
       {{{4}, {1, 2, 3, 4}}, {{2}, {0.1, 0.2}}, {{2}, {0.3, 0.4}}},
       [](const Nodes& x) {
         const Node first = store(shrink(stored(x[0]), {0, 2}), x[1]);
         return sin(store(shrink(first, {1, 3}), x[2]));
       }},
      {"a matrix product",
       {{{2, 3}, six}, {{2, 3}, others}},
       [](const Nodes& x) {
         const Node a = expand(reshape(x[0], {2, 1, 3}), {2, 2, 3});
         const Node b = expand(reshape(x[1], {1, 2, 3}), {2, 2, 3});
         return reduce(ReduceOp::add, mul(a, b), {2});
       }},
  };
}

class FiniteDifferences : public testing::TestWithParam<Problem> {};

TEST_P(FiniteDifferences, agreeWithTheGraphOfGradients) {
  Graph graph(GetParam());
  const Node& y = graph.output();
  const auto count = static_cast<std::int64_t>(graph.value(y).size());
  const Values seed = weights(count, 0.3);
  const Node seed_node = graph.leaf(y.shape(), seed);
  const std::vector<Node> first = gradient({&y, 1}, {&seed_node, 1}, graph.inputs());
  expect_gradient(graph, y, seed, first, "first derivative");
  if (!GetParam().twice) return;
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (!first[i]) continue;
    const auto size = static_cast<std::int64_t>(graph.value(first[i]).size());
    const Values by = weights(size, 1.1);
    const Node by_node = graph.leaf(first[i].shape(), by);
    const std::vector<Node> second = gradient({&first[i], 1}, {&by_node, 1}, graph.inputs());
    expect_gradient(graph, first[i], by, second, "second derivative of input " + std::to_string(i));
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, FiniteDifferences, testing::ValuesIn(problems()),
                         [](const auto& info) {
                           std::string name = info.param.name;
                           for (char& c : name) c = std::isalnum(c) != 0 ? c : '_';
                           return name;
                         });

TEST(GradientRules, eachOneHasAnInstanceAmongTheDifferences) {
  std::set<Op> covered;
  for (const Problem& problem : problems()) {
    for (const Op op : ops_in(Graph(problem).output())) covered.insert(op);
  }
  for (const GradientOf& line : gradient_rules()) {
    if (line.rule == nullptr) continue;
    EXPECT_EQ(covered.count(line.op), 1U) << name(line.op);
  }
}

TEST(GradientRules, everyOperationOfGraphsHasALine) {
  for (int i = 0; i < op_count(); ++i) {
    const Op op = static_cast<Op>(i);
    if (info(op).group == OpGroup::kernel || info(op).group == OpGroup::gradient) continue;
    int lines = 0;
    for (const GradientOf& line : gradient_rules()) lines += line.op == op ? 1 : 0;
    EXPECT_EQ(lines, 1) << name(op);
  }
}

}  // namespace
}  // namespace brisk
