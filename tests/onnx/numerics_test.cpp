// Where what exporters write loses digits that the model had.
#include <gtest/gtest.h>

#include "onnx/session.h"

namespace brisk::onnx {
namespace {

NodeDef node(std::string op, std::vector<std::string> inputs, std::string output) {
  NodeDef made;
  made.op = std::move(op);
  made.inputs = std::move(inputs);
  made.outputs = {std::move(output)};
  return made;
}

template <typename T>
HostTensor named(const std::string& name, std::vector<T> values, std::vector<std::int64_t> shape) {
  HostTensor made = host_tensor(values, std::move(shape));
  made.name = name;
  return made;
}

ModelDef model_of(std::vector<NodeDef> nodes) {
  ModelDef model;
  model.file = "variance";
  model.opsets[""] = 13;
  model.graph.inputs = {{"x", {Type::Kind::tensor, ElementType::float32}}};
  model.graph.outputs = {{"y", {Type::Kind::tensor, ElementType::float32}}};
  model.graph.initializers = {named<std::int64_t>("axes", {1}, {1}),
                              named<float>("share", {1.F / 64}, {})};
  model.graph.nodes = std::move(nodes);
  return model;
}

// Rows of 64 numbers near 1000, and their variances.
HostTensor rows(std::vector<double>& variances) {
  std::vector<float> x(4 * 64);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t row = i / 64;
    x[i] = 1000 + static_cast<float>((i * 37 % 11) * (1 + row)) / 64;
  }
  for (std::size_t row = 0; row < 4; ++row) {
    double sum = 0, squares = 0;
    for (std::size_t i = row * 64; i < (row + 1) * 64; ++i) sum += x[i] / 64.0;
    for (std::size_t i = row * 64; i < (row + 1) * 64; ++i)
      squares += (x[i] - sum) * (x[i] - sum) / 64;
    variances.push_back(squares);
  }
  return host_tensor(x, {4, 64});
}

TEST(Numerics, AVarianceThatIsADifferenceIsMadeOfDistances) {
  NodeDef sum = node("ReduceSum", {"x", "axes"}, "sum");
  NodeDef sum_of_squares = node("ReduceSum", {"squares", "axes"}, "sum of squares");
  for (NodeDef* one : {&sum, &sum_of_squares}) {
    one->attributes["keepdims"].kind = Attribute::Kind::integer;
    one->attributes["keepdims"].integer = 0;
  }
  const ModelDef model =
      model_of({sum, node("Mul", {"sum", "share"}, "mean"), node("Mul", {"x", "x"}, "squares"),
                sum_of_squares, node("Mul", {"sum of squares", "share"}, "mean of squares"),
                node("Mul", {"mean", "mean"}, "square of mean"),
                node("Sub", {"mean of squares", "square of mean"}, "y")});
  std::vector<double> wanted;
  const Value x = rows(wanted);
  const Value y = Session(model).run({{"x", x}})[0];
  EXPECT_EQ(y.shape(), (std::vector<std::int64_t>{4}));
  const auto got = numbers_of(*y.known());
  for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 1e-3 * wanted[i]);
}

TEST(Numerics, OtherDifferencesStayWhatTheyAre) {
  // The mean's square is of another array's mean.
  const ModelDef model =
      model_of({node("Add", {"x", "share"}, "other"), node("ReduceSum", {"other", "axes"}, "sum"),
                node("Mul", {"sum", "share"}, "mean"), node("Mul", {"x", "x"}, "squares"),
                node("ReduceSum", {"squares", "axes"}, "sum of squares"),
                node("Mul", {"sum of squares", "share"}, "mean of squares"),
                node("Mul", {"mean", "mean"}, "square of mean"),
                node("Sub", {"mean of squares", "square of mean"}, "y")});
  const Value x = host_tensor(std::vector<float>(64, 2.F), {1, 64});
  const auto got = numbers_of(*Session(model).run({{"x", x}})[0].known());
  EXPECT_NEAR(got[0], 4 - (2 + 1.0 / 64) * (2 + 1.0 / 64), 1e-5);
}

TEST(Numerics, MeanVarianceNormalizationOfNumbersFarFromZeroIsNoNan) {
  NodeDef norm = node("MeanVarianceNormalization", {"x"}, "y");
  norm.attributes["axes"].kind = Attribute::Kind::integers;
  norm.attributes["axes"].integers = {1};
  std::vector<double> variances;
  const Value x = rows(variances);
  const auto got = numbers_of(*Session(model_of({norm})).run({{"x", x}})[0].known());
  double squares = 0;
  for (std::size_t i = 0; i < 64; ++i) squares += got[i] * got[i] / 64;
  EXPECT_NEAR(squares, 1, 1e-3);
}

}  // namespace
}  // namespace brisk::onnx
