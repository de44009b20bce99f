// Sequences, which are lists while the graph is traced, and optionals, which are their element or
// absent.
#include "onnx/build.h"
#include "onnx/trace.h"

namespace brisk::onnx {

namespace {

const Values& elements(const NodeCall& c, std::size_t i) {
  if (c.value(i).kind() != Value::Kind::sequence) c.fail("input {} is no sequence", i);
  return c.value(i).elements();
}

std::size_t position(const NodeCall& c, std::size_t i, std::size_t count, bool end_too) {
  const auto size = static_cast<std::int64_t>(count);
  std::int64_t at = c.integer(i);
  if (at < 0) at += size;
  if (at < 0 || at > size || (at == size && !end_too))
    c.fail("position {} is outside a sequence of {}", c.integer(i), count);
  return static_cast<std::size_t>(at);
}

Values construct(NodeCall& c) {
  Values list;
  for (std::size_t i = 0; i < c.inputs(); ++i) list.push_back(c.value(i));
  const ElementType type = list.empty() ? ElementType::undefined : list[0].type();
  return {Value::sequence(std::move(list), type)};
}

Values insert(NodeCall& c) {
  Values list = elements(c, 0);
  const std::size_t at = c.has(2) ? position(c, 2, list.size(), true) : list.size();
  list.insert(list.begin() + static_cast<std::ptrdiff_t>(at), c.value(1));
  return {Value::sequence(std::move(list), c.type(1))};
}

Values erase(NodeCall& c) {
  Values list = elements(c, 0);
  if (list.empty()) c.fail("the sequence is empty");
  const std::size_t at = c.has(1) ? position(c, 1, list.size(), false) : list.size() - 1;
  list.erase(list.begin() + static_cast<std::ptrdiff_t>(at));
  return {Value::sequence(std::move(list), c.type(0))};
}

Values split_to_sequence(NodeCall& c) {
  const Tensor x = c[0];
  if (x.rank() < 1) c.fail("wants a tensor with axes");
  const int axis = c.axis("axis", 0, x.rank());
  const std::int64_t size = x.size(axis).value();
  std::vector<std::int64_t> sizes;
  const bool alone = !c.has(1);
  if (size > (1 << 20)) c.fail("an axis of {} is too long for a sequence", size);
  if (alone) {
    sizes.assign(static_cast<std::size_t>(size), 1);
  } else if (c.rank(1) == 0) {
    const std::int64_t each = c.integer(std::size_t{1});
    if (each < 1) c.fail("parts of {} elements", each);
    for (std::int64_t at = 0; at < size; at += each) sizes.push_back(std::min(each, size - at));
  } else {
    sizes = c.integers(1);
  }
  Values parts;
  std::int64_t start = 0;
  for (const std::int64_t one : sizes) {
    if (one < 0 || one > size - start)
      c.fail("the parts' sizes do not fit the axis's size {}", size);
    const Tensor part = x.narrow(axis, start, one);
    const bool drop = alone && c.integer("keepdims", 1) == 0;
    parts.push_back(like(c, drop ? part.squeeze(axis) : part));
    start += one;
  }
  return {Value::sequence(std::move(parts), c.type(0))};
}

Values concat_from_sequence(NodeCall& c) {
  std::vector<Tensor> parts;
  for (const Value& part : elements(c, 0)) parts.push_back(part.tensor());
  if (parts.empty()) c.fail("the sequence is empty");
  const bool fresh = c.integer("new_axis", 0) != 0;
  const int axis = c.axis("axis", 0, parts[0].rank() + (fresh ? 1 : 0));
  return {fresh ? stack(parts, axis) : cat(parts, axis)};
}

Values optional_of(NodeCall& c) { return {c.has(0) ? c.value(0) : Value()}; }

Values has_element(NodeCall& c) {
  return {host_tensor(ElementType::boolean, {},
                      {std::byte{c.has(0) ? std::uint8_t{1} : std::uint8_t{0}}})};
}

}  // namespace

void add_sequence(OperatorTable& t) {
  t.add_opaque("SequenceConstruct", construct);
  t.add_opaque("SequenceEmpty", [](NodeCall& c) -> Values {
    return {Value::sequence({}, element_attribute(c, "dtype", ElementType::float32))};
  });
  t.add_opaque("SequenceInsert", insert);
  t.add_opaque("SequenceErase", erase);
  t.add_opaque("SequenceAt", [](NodeCall& c) -> Values {
    const Values& list = elements(c, 0);
    return {list[position(c, 1, list.size(), false)]};
  });
  t.add_opaque("SequenceLength", [](NodeCall& c) -> Values {
    return {host_tensor(std::vector{static_cast<std::int64_t>(elements(c, 0).size())}, {})};
  });
  t.add_opaque("SplitToSequence", split_to_sequence);
  t.add_opaque("ConcatFromSequence", concat_from_sequence);
  t.add_opaque("Optional", optional_of);
  t.add_opaque("OptionalGetElement", [](NodeCall& c) -> Values { return {c.value(0)}; });
  t.add_opaque("OptionalHasElement", has_element);
}

}  // namespace brisk::onnx
