// Sizes that a model leaves open: one plan serves all of them, gives what a trace of each shape
// gives, and is made once.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "onnx/session.h"

namespace brisk::onnx {
namespace {

using Shape = std::vector<std::int64_t>;

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

// "batch, 3, ?" as a type of float32.
Type type_of(const std::string& sizes, ElementType element = ElementType::float32) {
  Type type{Type::Kind::tensor, element, true, {}, nullptr};
  std::size_t begin = 0;
  while (begin < sizes.size()) {
    const std::size_t end = std::min(sizes.find(", ", begin), sizes.size());
    const std::string one = sizes.substr(begin, end - begin);
    const bool fixed = one.find_first_not_of("0123456789") == std::string::npos;
    type.shape.push_back({fixed ? std::stoll(one) : -1, fixed || one == "?" ? "" : one});
    begin = end + 2;
  }
  return type;
}

Attribute integer(std::int64_t value) {
  Attribute attribute;
  attribute.kind = Attribute::Kind::integer;
  attribute.integer = value;
  return attribute;
}
Attribute integers(std::vector<std::int64_t> values) {
  Attribute attribute;
  attribute.kind = Attribute::Kind::integers;
  attribute.integers = std::move(values);
  return attribute;
}
Attribute text(std::string value) {
  Attribute attribute;
  attribute.kind = Attribute::Kind::string;
  attribute.string = std::move(value);
  return attribute;
}

// A model written down line by line.
struct Builder {
  ModelDef model;
  explicit Builder(std::int64_t opset = 17) {
    model.file = "m.onnx";
    model.opsets[""] = opset;
  }
  void input(const std::string& name, const Type& type) {
    model.graph.inputs.push_back({name, type});
  }
  void output(const std::string& name) {
    model.graph.outputs.push_back({name, {Type::Kind::tensor, ElementType::float32}});
  }
  void constant(const std::string& name, HostTensor value) {
    value.name = name;
    model.graph.initializers.push_back(std::move(value));
  }
  void numbers(const std::string& name, const std::vector<std::int64_t>& values) {
    constant(name, host_integers(values));
  }
  void number(const std::string& name, std::int64_t value) {
    constant(name, host_tensor(std::vector{value}, {}));
  }
  // Small numbers that are all different.
  void weights(const std::string& name, const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(element_count(shape, name)));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = std::sin(static_cast<float>(7 * i + name.size()));
    constant(name, host_tensor(values, shape));
  }
  void node(const std::string& op, const std::vector<std::string>& inputs,
            const std::string& output, const std::map<std::string, Attribute>& attributes = {}) {
    NodeDef one;
    one.op = op;
    one.inputs = inputs;
    one.outputs = {output};
    one.attributes = attributes;
    model.graph.nodes.push_back(one);
  }
};

Value values_of(const Shape& shape) {
  std::vector<float> values(static_cast<std::size_t>(element_count(shape, "")));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = std::cos(static_cast<float>(3 * i + values.size()));
  return host_tensor(values, shape);
}
Value ids_of(const Shape& shape, std::int64_t below) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(element_count(shape, "")));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<std::int64_t>(5 * i + 1) % below;
  return host_tensor(values, shape);
}

void expect_same(const Values& got, const Values& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].shape(), want[i].shape());
    EXPECT_EQ(got[i].type(), want[i].type());
    const auto a = numbers_of(*got[i].known()), b = numbers_of(*want[i].known());
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t k = 0; k < a.size(); ++k)
      ASSERT_NEAR(a[k], b[k], 1e-5 * std::max(1.0, std::abs(b[k]))) << "element " << k;
  }
}

// Runs a session with bounds on inputs of several shapes: all give what a session of their own
// gives, and nothing is traced after the first.
void expect_one_plan(const ModelDef& model,
                     const std::map<std::string, std::pair<int, int>>& bounds,
                     const std::vector<NamedValues>& runs) {
  Session session(model);
  for (const auto& [name, range] : bounds) session.bound(name, range.first, range.second);
  for (const NamedValues& inputs : runs) {
    const Values got = session.run(inputs);
    Session exact(model);
    expect_same(got, exact.run(inputs));
    EXPECT_EQ(session.traces(), 1);
    EXPECT_EQ(session.plans(), 1);
  }
}

// ---- whole models -------------------------------------------------------------------------------

ModelDef perceptron() {
  Builder b;
  b.input("x", type_of("batch, 8"));
  b.weights("w1", {8, 16});
  b.weights("b1", {16});
  b.weights("w2", {16, 4});
  b.node("Gemm", {"x", "w1", "b1"}, "h");
  b.node("Relu", {"h"}, "r");
  b.node("MatMul", {"r", "w2"}, "s");
  b.node("Softmax", {"s"}, "y", {{"axis", integer(-1)}});
  b.output("y");
  return b.model;
}

TEST(DynamicShapes, a_perceptron_of_any_batch) {
  std::vector<NamedValues> runs;
  for (const std::int64_t batch : {3, 1, 64, 17}) runs.push_back({{"x", values_of({batch, 8})}});
  expect_one_plan(perceptron(), {{"batch", {1, 64}}}, runs);
}

// As PyTorch writes x.view(x.size(0), -1).
void add_view(Builder& b, const std::string& x, const std::string& y) {
  b.number("zero", 0);
  b.numbers("first", {0});
  b.numbers("rest", {-1});
  b.node("Shape", {x}, "shape");
  b.node("Gather", {"shape", "zero"}, "size");
  b.node("Unsqueeze", {"size", "first"}, "sizes");
  b.node("Concat", {"sizes", "rest"}, "view", {{"axis", integer(0)}});
  b.node("Reshape", {x, "view"}, y);
}

TEST(DynamicShapes, a_convolutional_network_of_any_batch) {
  Builder b;
  b.input("x", type_of("batch, 3, 12, 12"));
  b.weights("w1", {8, 3, 3, 3});
  b.weights("w2", {8, 8, 3, 3});
  b.weights("scale", {8});
  b.weights("w3", {128, 5});
  b.node("Conv", {"x", "w1"}, "c1", {{"pads", integers({1, 1, 1, 1})}});
  b.node("Relu", {"c1"}, "r1");
  b.node("MaxPool", {"r1"}, "p1",
         {{"kernel_shape", integers({2, 2})}, {"strides", integers({2, 2})}});
  b.node("Conv", {"p1", "w2", "scale"}, "c2");
  b.node("Clip", {"c2"}, "r2");
  add_view(b, "r2", "flat");
  b.node("MatMul", {"flat", "w3"}, "y");
  b.output("y");
  b.node("GlobalAveragePool", {"c2"}, "means");
  b.output("means");
  std::vector<NamedValues> runs;
  for (const std::int64_t batch : {2, 1, 5, 8})
    runs.push_back({{"x", values_of({batch, 3, 12, 12})}});
  expect_one_plan(b.model, {{"batch", {1, 8}}}, runs);
}

// Pictures of any size: padded and strided convolutions, one with holes, pooling, an average of
// all.
ModelDef picture_model() {
  Builder b;
  b.input("x", type_of("batch, 3, rows, columns"));
  b.weights("w1", {8, 3, 3, 3});
  b.weights("w2", {8, 1, 3, 3});
  b.weights("w3", {6, 8, 3, 3});
  b.weights("w4", {6, 6, 1, 1});
  const Attribute pads = integers({1, 1, 1, 1}), twos = integers({2, 2});
  b.node("Conv", {"x", "w1"}, "c1", {{"pads", pads}, {"strides", twos}});
  b.node("Conv", {"c1", "w2"}, "c2", {{"pads", pads}, {"group", integer(8)}});
  b.node("MaxPool", {"c2"}, "p2", {{"kernel_shape", twos}, {"strides", twos}});
  b.node("Conv", {"p2", "w3"}, "c3",
         {{"pads", integers({2, 2, 2, 2})}, {"dilations", twos}, {"auto_pad", text("NOTSET")}});
  b.node("AveragePool", {"c3"}, "p3",
         {{"kernel_shape", integers({3, 3})},
          {"auto_pad", text("SAME_UPPER")},
          {"count_include_pad", integer(1)}});
  b.node("Conv", {"p3", "w4"}, "y", {{"strides", twos}});
  b.output("y");
  b.node("GlobalAveragePool", {"y"}, "means");
  b.output("means");
  return b.model;
}

TEST(DynamicShapes, a_convolutional_network_of_any_size) {
  std::vector<NamedValues> runs;
  for (const Shape& size : {Shape{2, 20, 33}, Shape{1, 8, 8}, Shape{3, 40, 17}, Shape{2, 39, 40}})
    runs.push_back({{"x", values_of({size[0], 3, size[1], size[2]})}});
  expect_one_plan(picture_model(), {{"batch", {1, 3}}, {"rows", {8, 40}}, {"columns", {8, 40}}},
                  runs);
}

// Rows of known length are what convolutions are fast with.
TEST(DynamicShapes, without_bounds_the_last_axis_of_pictures_is_a_number) {
  Session session(picture_model());
  const auto variables = [&](std::int64_t rows, std::int64_t columns) {
    std::string text;
    for (const auto& [name, size] :
         session.compiled({{"x", values_of({1, 3, rows, columns})}})->variables)
      text += name + ";";
    return text;
  };
  EXPECT_EQ(variables(20, 20), "");
  EXPECT_EQ(variables(24, 28), "rows;");
  EXPECT_EQ(variables(30, 28), "rows;");
  EXPECT_EQ(session.plans(), 2);
}

// One block: ids to vectors, positions from the length, attention under a mask, a feed-forward
// part.
ModelDef transformer() {
  Builder b;
  b.input("ids", type_of("batch, sequence", ElementType::int64));
  b.input("mask", type_of("batch, sequence", ElementType::int64));
  b.weights("table", {50, 24});
  b.weights("places", {1, 32, 24});
  for (const char* name : {"wq", "wk", "wv", "wo"}) b.weights(name, {24, 24});
  b.weights("wide", {24, 48});
  b.weights("narrow", {48, 24});
  b.weights("gain", {24});
  b.number("axis0", 0);
  b.number("axis1", 1);
  b.numbers("zero", {0});
  b.numbers("one", {1});
  b.numbers("heads", {3});
  b.numbers("width", {8});
  b.numbers("all", {24});
  b.numbers("axes12", {1, 2});
  b.constant("root", host_tensor(std::vector{std::sqrt(8.0F)}, {}));
  b.constant("unit", host_tensor(std::vector{1.0F}, {}));
  b.constant("far", host_tensor(std::vector{-10000.0F}, {}));
  b.node("Shape", {"ids"}, "shape");
  b.node("Gather", {"shape", "axis0"}, "batch0");
  b.node("Gather", {"shape", "axis1"}, "sequence0");
  b.node("Unsqueeze", {"batch0", "zero"}, "batch1");
  b.node("Unsqueeze", {"sequence0", "zero"}, "sequence1");
  b.node("Gather", {"table", "ids"}, "words", {{"axis", integer(0)}});
  b.node("Slice", {"places", "zero", "sequence1", "one"}, "positions");
  b.node("Add", {"words", "positions"}, "x");
  b.node("LayerNormalization", {"x", "gain"}, "n");
  b.node("Concat", {"batch1", "sequence1", "heads", "width"}, "split", {{"axis", integer(0)}});
  b.node("Concat", {"batch1", "sequence1", "all"}, "join", {{"axis", integer(0)}});
  for (const std::string name : {"q", "k", "v"}) {
    b.node("MatMul", {"n", "w" + name}, name + "0");
    b.node("Reshape", {name + "0", "split"}, name + "1");
    b.node("Transpose", {name + "1"}, name,
           {{"perm", integers(name == "k" ? Shape{0, 2, 3, 1} : Shape{0, 2, 1, 3})}});
  }
  b.node("MatMul", {"q", "k"}, "s0");
  b.node("Div", {"s0", "root"}, "s1");
  b.node("Unsqueeze", {"mask", "axes12"}, "m0");
  b.node("Cast", {"m0"}, "m1", {{"to", integer(1)}});
  b.node("Sub", {"unit", "m1"}, "m2");
  b.node("Mul", {"m2", "far"}, "m3");
  b.node("Add", {"s1", "m3"}, "s2");
  b.node("Softmax", {"s2"}, "p", {{"axis", integer(-1)}});
  b.node("MatMul", {"p", "v"}, "a0");
  b.node("Transpose", {"a0"}, "a1", {{"perm", integers({0, 2, 1, 3})}});
  b.node("Reshape", {"a1", "join"}, "a2");
  b.node("MatMul", {"a2", "wo"}, "a3");
  b.node("Add", {"x", "a3"}, "y0");
  b.node("MatMul", {"y0", "wide"}, "f0");
  b.node("Erf", {"f0"}, "f1");
  b.node("MatMul", {"f1", "narrow"}, "f2");
  b.node("Add", {"y0", "f2"}, "y");
  b.output("y");
  b.node("ReduceMean", {"y"}, "pooled", {{"axes", integers({1})}, {"keepdims", integer(0)}});
  b.output("pooled");
  return b.model;
}

NamedValues sentence(std::int64_t batch, std::int64_t sequence) {
  return {{"ids", ids_of({batch, sequence}, 50)}, {"mask", ids_of({batch, sequence}, 2)}};
}

TEST(DynamicShapes, a_transformer_of_any_batch_and_length) {
  expect_one_plan(transformer(), {{"batch", {1, 4}}, {"sequence", {1, 32}}},
                  {sentence(2, 7), sentence(1, 1), sentence(4, 32), sentence(3, 20)});
}

// A batch that varies beside a length that the graph unrolls over.
ModelDef recurrent() {
  Builder b;
  b.input("x", type_of("length, batch, 6"));
  b.weights("w", {1, 16, 6});
  b.weights("r", {1, 16, 4});
  b.node("LSTM", {"x", "w", "r"}, "y", {{"hidden_size", integer(4)}});
  b.output("y");
  return b.model;
}

TEST(DynamicShapes, what_must_be_a_number_has_a_plan_for_each) {
  Session session(recurrent());
  session.bound("batch", 1, 8);
  session.bound("length", 1, 8);
  for (const std::int64_t length : {3, 2}) {
    for (const std::int64_t batch : {2, 5, 1, 8}) {
      const NamedValues inputs = {{"x", values_of({length, batch, 6})}};
      const Values got = session.run(inputs);
      EXPECT_EQ(session.plans(), length == 3 ? 1 : 2);
      Session exact(recurrent());
      expect_same(got, exact.run(inputs));
    }
  }
}

// ---- sizes as values ----------------------------------------------------------------------------

TEST(DynamicShapes, shapes_are_computed_from_sizes) {
  Builder b;
  b.input("x", type_of("rows, 8"));
  b.numbers("two", {2});
  b.numbers("six", {6});
  b.numbers("one", {1});
  b.numbers("zero", {0});
  b.numbers("minus", {-1});
  b.numbers("end", {INT64_MAX});
  b.number("none", 0);
  b.number("step", 1);
  b.node("Shape", {"x"}, "shape");
  b.node("Slice", {"shape", "zero", "one"}, "rows");
  b.node("Slice", {"shape", "one", "end"}, "columns");
  // [rows, 2, 8 / 2] by way of int32.
  b.node("Cast", {"columns"}, "narrow", {{"to", integer(6)}});
  b.node("Cast", {"two"}, "narrow2", {{"to", integer(6)}});
  b.node("Div", {"narrow", "narrow2"}, "half32");
  b.node("Cast", {"half32"}, "half", {{"to", integer(7)}});
  b.node("Concat", {"rows", "two", "half"}, "parts", {{"axis", integer(0)}});
  b.node("Reshape", {"x", "parts"}, "pairs");
  b.output("pairs");
  // min(rows, 6) of max(rows, 1), repeated by Expand with sizes where they are not -1.
  b.node("Min", {"rows", "six"}, "fewer");
  b.node("Max", {"fewer", "one"}, "more");
  b.node("Concat", {"two", "more", "columns"}, "wide", {{"axis", integer(0)}});
  b.node("Equal", {"wide", "minus"}, "open");
  b.node("ConstantOfShape", {"three"}, "ones", {{"value", [] {
                                                   Attribute one;
                                                   one.kind = Attribute::Kind::tensor;
                                                   one.tensor = host_integers({1});
                                                   return one;
                                                 }()}});
  b.numbers("three", {3});
  b.node("Where", {"open", "ones", "wide"}, "wanted");
  b.node("Expand", {"x", "wanted"}, "copies");
  b.output("copies");
  // 0 … rows·columns - 1, one less than there are rows in front, as data.
  b.node("Size", {"x"}, "count");
  b.node("Range", {"none", "count", "step"}, "numbers");
  b.node("Sub", {"numbers", "rows"}, "shifted");
  b.output("shifted");
  b.node("ReduceProd", {"shape"}, "product", {{"keepdims", integer(0)}});
  b.node("Sub", {"product", "step"}, "last");
  b.node("Gather", {"shifted", "last"}, "final");
  b.output("final");
  b.output("shape");
  std::vector<NamedValues> runs;
  for (const std::int64_t rows : {3, 1, 6, 5}) runs.push_back({{"x", values_of({rows, 8})}});
  expect_one_plan(b.model, {{"rows", {1, 6}}}, runs);
}

TEST(DynamicShapes, a_cache_grows_by_what_comes) {
  Builder b;
  b.input("past", type_of("batch, before, 4"));
  b.input("x", type_of("batch, now, 4"));
  b.node("Concat", {"past", "x"}, "all", {{"axis", integer(1)}});
  b.output("all");
  b.node("Transpose", {"all"}, "turned", {{"perm", integers({0, 2, 1})}});
  b.node("MatMul", {"x", "turned"}, "scores");
  b.node("Softmax", {"scores"}, "shares");
  b.output("shares");
  const auto inputs = [](std::int64_t batch, std::int64_t before, std::int64_t now) -> NamedValues {
    return {{"past", values_of({batch, before, 4})}, {"x", values_of({batch, now, 4})}};
  };
  expect_one_plan(b.model, {{"batch", {1, 4}}, {"before", {1, 16}}, {"now", {1, 8}}},
                  {inputs(2, 3, 2), inputs(1, 16, 1), inputs(4, 1, 8)});
}

// As decoders with a cache have it: what a mask covers is called by what it is the sum of.
TEST(DynamicShapes, names_that_are_sums_follow_their_parts) {
  Builder b;
  b.input("past", type_of("batch, before, 4"));
  b.input("x", type_of("batch, now, 4"));
  b.input("mask", type_of("batch, 1, before + now"));
  b.input("next", type_of("before+1"));
  b.node("Concat", {"past", "x"}, "all", {{"axis", integer(1)}});
  b.node("Transpose", {"all"}, "turned", {{"perm", integers({0, 2, 1})}});
  b.node("MatMul", {"x", "turned"}, "scores");
  b.node("Add", {"scores", "mask"}, "y");
  b.output("y");
  b.node("Neg", {"next"}, "z");
  b.output("z");
  const auto inputs = [](std::int64_t batch, std::int64_t before, std::int64_t now,
                         std::int64_t covered) -> NamedValues {
    return {{"past", values_of({batch, before, 4})},
            {"x", values_of({batch, now, 4})},
            {"mask", values_of({batch, 1, covered})},
            {"next", values_of({before + 1})}};
  };
  expect_one_plan(b.model, {{"batch", {1, 4}}, {"before", {1, 16}}, {"now", {1, 8}}},
                  {inputs(2, 3, 2, 5), inputs(1, 16, 1, 17), inputs(4, 1, 8, 9)});
  Session session(b.model);
  EXPECT_EQ(error_of([&] { session.run(inputs(2, 3, 2, 6)); }),
            "m.onnx: 'before + now' is 6 in input 'mask', and 5 by its parts");
  const Port& mask = b.model.graph.inputs[2];
  EXPECT_EQ(session.open_sizes().shape_for(mask, {}, {{"before", 3}, {"x.1", 2}}),
            (Shape{1, 1, 5}));
  EXPECT_EQ(session.open_sizes().shape_for(mask, {{"past", values_of({2, 6, 4})}}, {}),
            (Shape{2, 1, 7}));
  EXPECT_EQ(error_of([&] { session.bound("before + now", 1, 4); }),
            "m.onnx: no input has an open size 'before + now'; there are 'batch', 'before', 'now'");
}

// The first n rows, where n is the value of an input.
ModelDef first_rows() {
  Builder b;
  b.input("x", type_of("3, batch"));
  b.input("n", type_of("1", ElementType::int64));
  b.numbers("zero", {0});
  b.node("Slice", {"x", "zero", "n"}, "y");
  b.output("y");
  return b.model;
}

TEST(DynamicShapes, values_of_small_inputs_have_plans_of_their_own) {
  Session session(first_rows());
  session.bound("batch", 1, 8);
  int plans = 0;
  for (const std::int64_t n : {1, 2}) {
    ++plans;
    for (const std::int64_t batch : {4, 2, 8}) {
      const NamedValues inputs = {{"x", values_of({3, batch})}, {"n", Value(host_integers({n}))}};
      const Values got = session.run(inputs);
      EXPECT_EQ(got[0].shape(), (Shape{n, batch}));
      EXPECT_EQ(session.plans(), plans);
      Session exact(first_rows());
      expect_same(got, exact.run(inputs));
    }
  }
}

TEST(DynamicShapes, what_depends_on_values_is_traced_as_before) {
  Builder b;
  b.input("x", type_of("batch, 3"));
  b.node("NonZero", {"x"}, "places");
  b.output("places");
  Session session(b.model);
  session.bound("batch", 1, 8);
  for (const std::int64_t batch : {2, 5}) {
    const NamedValues inputs = {{"x", values_of({batch, 3})}};
    EXPECT_EQ(session.run(inputs)[0].shape(), (Shape{2, 3 * batch}));
  }
  EXPECT_EQ(session.plans(), 0);
}

// ---- which sizes vary ---------------------------------------------------------------------------

TEST(DynamicShapes, a_size_varies_when_a_second_one_comes) {
  Session session(perceptron());
  const auto run = [&](std::int64_t batch) {
    const NamedValues inputs = {{"x", values_of({batch, 8})}};
    Session exact(perceptron());
    expect_same(session.run(inputs), exact.run(inputs));
    return session.plans();
  };
  EXPECT_EQ(run(3), 1);
  EXPECT_EQ(run(3), 1);
  EXPECT_EQ(run(5), 2);  // 2 to 8
  for (const std::int64_t batch : {8, 2, 4, 3}) EXPECT_EQ(run(batch), 2);
  EXPECT_EQ(run(9), 3);  // 2 to 16
  for (const std::int64_t batch : {16, 12, 2}) EXPECT_EQ(run(batch), 3);
  EXPECT_EQ(run(1), 4);  // 1 to 16
  for (const std::int64_t batch : {16, 1, 7}) EXPECT_EQ(run(batch), 4);
  EXPECT_EQ(session.traces(), 4);
  EXPECT_EQ(run(0), 5);  // nothing is a plan of its own
  EXPECT_EQ(run(7), 5);
}

TEST(DynamicShapes, a_size_that_stays_is_a_number) {
  Session session(transformer());
  const auto variables = [&](std::int64_t batch, std::int64_t sequence) {
    std::string text;
    for (const auto& [name, size] : session.compiled(sentence(batch, sequence))->variables)
      text += fmt::format("{} {}-{};", name, size.lower(), size.upper());
    return text;
  };
  EXPECT_EQ(variables(1, 6), "");
  EXPECT_EQ(variables(1, 9), "sequence 4-16;");
  EXPECT_EQ(variables(1, 12), "sequence 4-16;");
  EXPECT_EQ(variables(2, 12), "batch 1-2;sequence 4-16;");
  EXPECT_EQ(variables(1, 6), "");  // it has its plan
}

// A run that is wrong says nothing about which sizes can vary.
TEST(DynamicShapes, a_wrong_run_keeps_no_size_from_varying) {
  Builder b;
  b.input("a", type_of("batch, inner"));
  b.input("b", type_of("other, 3"));
  b.node("MatMul", {"a", "b"}, "y");
  b.output("y");
  Session session(b.model);
  const auto run = [&](std::int64_t batch, std::int64_t inner, std::int64_t other) {
    return error_of([&] {
      session.run({{"a", values_of({batch, inner})}, {"b", values_of({other, 3})}});
    });
  };
  EXPECT_EQ(run(2, 4, 4), "no error");
  EXPECT_EQ(run(3, 4, 5),
            "m.onnx: the node of 'y' (MatMul): matmul: shapes [3, 4] and [5, 3] do not multiply: "
            "inner sizes 4 and 5 differ");
  EXPECT_EQ(run(5, 4, 4), "no error");
  EXPECT_EQ(session.plans(), 2);
  EXPECT_EQ(run(7, 4, 4), "no error");
  EXPECT_EQ(session.plans(), 2);
}

TEST(DynamicShapes, axes_without_names_are_sizes_of_their_own) {
  Builder b;
  b.input("x", type_of("?, ?"));
  b.node("Relu", {"x"}, "y");
  b.output("y");
  std::vector<NamedValues> runs;
  for (const Shape& shape : {Shape{3, 4}, Shape{4, 3}}) runs.push_back({{"x", values_of(shape)}});
  expect_one_plan(b.model, {{"x.0", {1, 4}}, {"x.1", {3, 4}}}, runs);
}

TEST(DynamicShapes, what_is_wrong_with_sizes_is_one_line) {
  Builder b;
  b.input("a", type_of("batch, 2"));
  b.input("b", type_of("2, batch"));
  b.node("MatMul", {"a", "b"}, "y");
  b.output("y");
  Session session(b.model);
  const auto bound = [&](const std::string& name, std::int64_t least, std::int64_t greatest) {
    return error_of([&] { session.bound(name, least, greatest); });
  };
  const auto run = [&](std::int64_t first, std::int64_t second) {
    return error_of([&] {
      session.run({{"a", values_of({first, 2})}, {"b", values_of({2, second})}});
    });
  };
  EXPECT_EQ(run(3, 4), "m.onnx: 'batch' is 3 in input 'a' and 4 in input 'b'");
  EXPECT_EQ(bound("length", 1, 4), "m.onnx: no input has an open size 'length'; there are 'batch'");
  EXPECT_EQ(bound("batch", 0, 4),
            "m.onnx: the bounds of 'batch' want 1 <= least <= greatest, got 0 and 4");
  EXPECT_EQ(bound("batch", 5, 4),
            "m.onnx: the bounds of 'batch' want 1 <= least <= greatest, got 5 and 4");
  EXPECT_EQ(bound("batch", 2, 4), "no error");
  EXPECT_EQ(run(5, 5), "m.onnx: 'batch' is 5, its bounds are 2 and 4");
  EXPECT_EQ(run(1, 1), "m.onnx: 'batch' is 1, its bounds are 2 and 4");
  EXPECT_EQ(run(3, 3), "no error");
}

}  // namespace
}  // namespace brisk::onnx
