#include "onnx/open_sizes.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <set>

#include "base/error.h"
#include "formats/quote.h"

namespace brisk::onnx {

namespace {

// Of a name that is one.
std::optional<std::int64_t> number_of(const std::string& name) {
  std::int64_t number = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data(), end, number);
  return error == std::errc() && stop == end && number >= 0 ? std::optional(number) : std::nullopt;
}

// "past + 1" as "past" and "1".
std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts(1);
  for (const char letter : name) {
    if (letter == '+')
      parts.emplace_back();
    else if (letter != ' ')
      parts.back() += letter;
  }
  return parts;
}

}  // namespace

OpenSizes::OpenSizes(const ModelDef& model) : file_(model.file) {
  for (const Port& port : model.graph.inputs) {
    if (port.type.kind != Type::Kind::tensor || !port.type.has_shape) continue;
    for (std::size_t axis = 0; axis < port.type.shape.size(); ++axis) {
      const Type::Size& size = port.type.shape[axis];
      if (size.value >= 0) continue;
      axes_.push_back({port.name,
                       axis,
                       size.name.empty() ? fmt::format("{}.{}", port.name, axis) : size.name,
                       {}});
      ranges_.emplace(axes_.back().name, Range());
    }
  }
  read_sums();
}

// Names that are sums of other names and numbers stand for no sizes of their own.
void OpenSizes::read_sums() {
  std::set<std::string> sums;
  for (Axis& one : axes_) {
    std::vector<std::string> parts = parts_of(one.name);
    const bool known = std::all_of(parts.begin(), parts.end(), [&](const std::string& part) {
      return ranges_.contains(part) || number_of(part);
    });
    if (parts.size() < 2 || !known) continue;
    one.sum = std::move(parts);
    sums.insert(one.name);
  }
  for (const std::string& name : sums) ranges_.erase(name);
}

void OpenSizes::bound(const std::string& size, std::int64_t least, std::int64_t greatest) {
  const auto found = ranges_.find(size);
  if (found == ranges_.end()) {
    std::string names;
    for (const auto& [name, open] : ranges_) names += (names.empty() ? "" : ", ") + quote(name);
    user_error("{}: no input has an open size {}; {}", file_, quote(size),
               names.empty() ? "all are numbers" : "there are " + names);
  }
  if (least < 1 || greatest < least || greatest > (std::int64_t{1} << 40))
    user_error("{}: the bounds of {} want 1 <= least <= greatest, got {} and {}", file_,
               quote(size), least, greatest);
  found->second = {least, greatest, true, false};
}

// Nothing where the sum is of one that is not there.
std::optional<Dim> OpenSizes::size_of(const Axis& axis, const Sizes& sizes) {
  const auto named = [&](const std::string& name) -> std::optional<Dim> {
    if (const auto found = sizes.find(name); found != sizes.end()) return found->second;
    if (const auto number = number_of(name)) return Dim(*number);
    return std::nullopt;
  };
  if (axis.sum.empty()) return named(axis.name);
  Dim total = 0;
  for (const std::string& part : axis.sum) {
    const std::optional<Dim> size = named(part);
    if (!size) return std::nullopt;
    total = total + *size;
  }
  return total;
}

Sizes OpenSizes::of(const NamedValues& inputs) const {
  const auto given = [&](const Axis& one) -> std::optional<Dim> {
    const auto found = inputs.find(one.input);
    if (found == inputs.end() || found->second.kind() != Value::Kind::tensor) return std::nullopt;
    const Dims shape = found->second.dims();
    return one.axis < shape.size() ? std::optional(shape[one.axis]) : std::nullopt;
  };
  Sizes sizes;
  std::map<std::string, std::string> from;  // the input that was the first to have it
  for (const Axis& one : axes_) {
    const std::optional<Dim> size = given(one);
    if (!size || !one.sum.empty()) continue;
    const auto [place, is_new] = sizes.emplace(one.name, *size);
    if (is_new) from[one.name] = one.input;
    if (place->second != *size)
      user_error("{}: {} is {} in input {} and {} in input {}", file_, quote(one.name),
                 place->second.value(), quote(from[one.name]), size->value(), quote(one.input));
  }
  for (const Axis& one : axes_) {
    const std::optional<Dim> size = given(one), wanted = size_of(one, sizes);
    if (size && wanted && *wanted != *size)
      user_error("{}: {} is {} in input {}, and {} by its parts", file_, quote(one.name),
                 size->value(), quote(one.input), wanted->value());
  }
  return sizes;
}

void OpenSizes::check_bounds(const Sizes& sizes) const {
  for (const auto& [name, dim] : sizes) {
    const Range& open = ranges_.at(name);
    const std::int64_t size = dim.value();
    if (open.bounded && (size < open.least || size > open.greatest))
      user_error("{}: {} is {}, its bounds are {} and {}", file_, quote(name), size, open.least,
                 open.greatest);
  }
}

void OpenSizes::note(const Sizes& sizes) {
  for (const auto& [name, dim] : sizes) {
    Range& open = ranges_.at(name);
    const std::int64_t size = dim.value();
    if (open.bounded || size == 0) continue;
    open.least = open.greatest == 0 ? size : std::min(open.least, size);
    open.greatest = std::max(open.greatest, size);
  }
}

// Nothing is a variable that could be 0: too much depends on whether there is anything.
Sizes OpenSizes::varying(const Sizes& sizes) const {
  Sizes variables;
  for (const auto& [name, size] : sizes) {
    const Range& open = ranges_.at(name);
    if (open.is_number || open.least == open.greatest || size == Dim(0)) continue;
    std::int64_t least = open.least, greatest = open.greatest;
    if (!open.bounded) {  // the powers of two around what runs had
      least = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(least)));
      greatest = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(greatest)));
    }
    variables.emplace(name, Dim::variable(name, least, greatest));
  }
  return variables;
}

std::unordered_map<std::string, Dims> OpenSizes::shapes(const NamedValues& inputs,
                                                        const Sizes& sizes) const {
  std::unordered_map<std::string, Dims> shapes;
  for (const auto& [name, value] : inputs) {
    if (value.present()) shapes[name] = value.dims();
  }
  for (const Axis& one : axes_) {
    const auto shape = shapes.find(one.input);
    const std::optional<Dim> size = size_of(one, sizes);
    if (shape != shapes.end() && size) shape->second.at(one.axis) = *size;
  }
  return shapes;
}

std::vector<std::int64_t> OpenSizes::shape_for(
    const Port& input, const NamedValues& others,
    const std::map<std::string, std::int64_t>& given) const {
  Sizes sizes = of(others);
  for (const Axis& one : axes_) {
    auto found = given.find(one.name);
    if (found == given.end()) found = given.find(fmt::format("{}.{}", one.input, one.axis));
    if (found != given.end()) sizes.emplace(one.name, found->second);
  }
  for (const auto& [name, open] : ranges_) sizes.emplace(name, 1);
  std::vector<std::int64_t> shape;
  for (const Type::Size& size : input.type.shape) shape.push_back(size.value);
  for (const Axis& one : axes_) {
    if (one.input == input.name) shape.at(one.axis) = size_of(one, sizes)->value();
  }
  return shape;
}

}  // namespace brisk::onnx
