// Operators that make tensors: constants, ranges, random numbers (the same in every run of one
// binding of shapes).
#include <bit>
#include <cmath>

#include "onnx/build.h"

namespace brisk::onnx {

namespace {

Values constant(NodeCall& c) {
  if (const Attribute* value = c.attribute("value")) {
    if (value->kind != Attribute::Kind::tensor) c.fail("attribute 'value' is no tensor");
    return {value->tensor};
  }
  if (c.has_attribute("value_float"))
    return {host_tensor(std::vector{static_cast<float>(c.number("value_float", 0))}, {})};
  if (c.has_attribute("value_int"))
    return {host_tensor(std::vector{c.integer("value_int", 0)}, {})};
  if (c.has_attribute("value_ints")) return {host_integers(c.integers("value_ints"))};
  if (c.has_attribute("value_floats")) {
    const auto values = c.numbers("value_floats");
    return {host_tensor(std::vector<float>(values.begin(), values.end()),
                        {static_cast<std::int64_t>(values.size())})};
  }
  if (c.has_attribute("value_string") || c.has_attribute("value_strings")) {
    HostTensor host;
    host.type = ElementType::string;
    if (c.has_attribute("value_string"))
      host.strings = {c.text("value_string", "")};
    else
      host.strings = c.texts("value_strings");
    if (c.has_attribute("value_strings"))
      host.shape = {static_cast<std::int64_t>(host.strings.size())};
    return {host};
  }
  c.fail("it has no value of a kind that is supported");
}

Values constant_of_shape(NodeCall& c) {
  const Dims shape = c.sizes(0);
  check_shape(shape, "its result");
  const Attribute* value = c.attribute("value");
  if (value == nullptr) return {zeros(shape)};
  if (value->kind != Attribute::Kind::tensor || product(value->tensor.shape) != 1)
    c.fail("attribute 'value' is no tensor of one element");
  return {
      Value(Value(value->tensor).tensor().reshape(Dims()).broadcast_to(shape), value->tensor.type)};
}

// Upwards, to where variables say.
Values symbolic_range(const NodeCall& c, const Dim& start, const Dim& limit, std::int64_t step) {
  if (step < 1) c.fail("a step of {} where bounds depend on variables", step);
  const Dim count = (greater(limit - start, 0) + (step - 1)) / step;
  return {(arange(count) * step + number(start)).cast(c[0].dtype())};
}

Values range(NodeCall& c) {
  const DType dtype = c[0].dtype();
  if (is_integer(dtype)) {
    const Dim first = c.size(0), end = c.size(1);
    const std::int64_t step = c.integer(std::size_t{2});
    if (step == 0) c.fail("a step of 0");
    if (!first.is_constant() || !end.is_constant()) return symbolic_range(c, first, end, step);
    const std::int64_t start = first.value(), limit = end.value();
    const double count =
        std::max(std::ceil((static_cast<double>(limit) - static_cast<double>(start)) /
                           static_cast<double>(step)),
                 0.0);
    if (count > 1e12) c.fail("a range of {} elements", count);
    return {(arange(static_cast<std::int64_t>(count)) * step + start).cast(dtype)};
  }
  const double start = c.number(std::size_t{0}), limit = c.number(std::size_t{1}),
               step = c.number(std::size_t{2});
  const double count = std::max(std::ceil((limit - start) / step), 0.0);
  if (!(count < 1e12)) c.fail("a range from {} to {} in steps of {}", start, limit, step);
  const DType wide = dtype == DType::float64 ? dtype : DType::float32;
  return {(arange(static_cast<std::int64_t>(count)).cast(wide) * step + start).cast(dtype)};
}

Values eye_like(NodeCall& c) {
  const Dims shape = c.dims(0);
  if (shape.size() != 2) c.fail("wants a matrix, got rank {}", shape.size());
  const ElementType type =
      c.has_attribute("dtype") ? element_attribute(c, "dtype", c.type(0)) : c.type(0);
  const Tensor row = arange(shape[0]).unsqueeze(1);
  return {converted(arange(shape[1]) == row + c.integer("k", 0), type)};
}

Generator generator_of(const NodeCall& c) {
  // Without a seed, one of the node's own, so that two nodes differ.
  const std::uint64_t own =
      std::hash<std::string>()(c.node().outputs.empty() ? "" : c.node().outputs[0]);
  const Attribute* seed = c.attribute("seed");
  if (seed == nullptr) return Generator(own);
  if (seed->kind == Attribute::Kind::integer)
    return Generator(static_cast<std::uint64_t>(seed->integer));
  return Generator(std::bit_cast<std::uint32_t>(static_cast<float>(c.number("seed", 0))));
}

Values random_of(NodeCall& c, const std::vector<std::int64_t>& shape, ElementType type,
                 bool normal) {
  element_count(shape, "its result");
  Generator generator = generator_of(c);
  const Tensor made =
      normal ? randn(shape, DType::float32, generator) * c.number("scale", 1) + c.number("mean", 0)
             : uniform(shape, c.number("low", 0), c.number("high", 1), DType::float32, generator);
  return {converted(made, type)};
}

OperatorFunction random_shape(bool normal) {
  return [normal](NodeCall& c) -> Values {
    return random_of(c, c.integers("shape"), element_attribute(c, "dtype", ElementType::float32),
                     normal);
  };
}

OperatorFunction random_like(bool normal) {
  return [normal](NodeCall& c) -> Values {
    const ElementType own = is_float(stored_dtype(c.type(0))) ? c.type(0) : ElementType::float32;
    return random_of(c, c.shape(0), element_attribute(c, "dtype", own), normal);
  };
}

Values bernoulli_of(NodeCall& c) {
  Generator generator = generator_of(c);
  return {converted(bernoulli(c[0], generator), element_attribute(c, "dtype", c.type(0)))};
}

Values multinomial_of(NodeCall& c) {
  Generator generator = generator_of(c);
  const std::int64_t samples = c.integer("sample_size", 1);
  element_count({samples}, "sample_size");
  const Tensor drawn = multinomial(exp(c[0]), samples, generator);
  return {converted(drawn, element_attribute(c, "dtype", ElementType::int32))};
}

Values dropout_of(NodeCall& c) {
  const Tensor x = c[0];
  const bool training = c.has(2) && c.integer(std::size_t{2}) != 0;
  const double ratio = c.has(1) ? c.number(std::size_t{1}) : c.number("ratio", 0.5);
  if (!training || ratio == 0) {
    Values results = {like(c, x)};
    if (c.wants(1))
      results.emplace_back(c.version() < 10 ? ones_like(x)
                                            : full(x.dims(), Tensor(1), DType::boolean));
    return results;
  }
  Generator generator = generator_of(c);
  const Tensor keep = rand(x.dims(), DType::float32, generator) >= ratio;
  return {where(keep, x / (1 - ratio), 0.0).cast(x.dtype()), keep};
}

}  // namespace

void add_generate(OperatorTable& t) {
  t.add("Constant", constant);
  t.add("ConstantOfShape", constant_of_shape);
  t.add("Range", range);
  t.add("EyeLike", eye_like);
  t.add_opaque("RandomNormal", random_shape(true));
  t.add_opaque("RandomUniform", random_shape(false));
  t.add_opaque("RandomNormalLike", random_like(true));
  t.add_opaque("RandomUniformLike", random_like(false));
  t.add_opaque("Bernoulli", bernoulli_of);
  t.add_opaque("Multinomial", multinomial_of);
  t.add_opaque("Dropout", dropout_of);
}

}  // namespace brisk::onnx
