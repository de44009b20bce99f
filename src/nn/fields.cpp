// Lists of parameters and states of modules, and copies between states.
#include <algorithm>

#include "brisk/autograd.h"
#include "brisk/nn.h"
#include "formats/quote.h"
#include "tensor/build.h"
#include "tensor/capture.h"

namespace brisk::nn {

std::vector<std::pair<std::string, Tensor>> named_parameters(const Fields& fields) {
  std::vector<std::pair<std::string, Tensor>> found;
  for (const Fields::Field& field : fields.list()) {
    const auto same = [&](const auto& other) {
      return other.second.state() == field.tensor->state();
    };
    if (field.is_parameter && std::none_of(found.begin(), found.end(), same)) {
      found.emplace_back(field.name, *field.tensor);
    }
  }
  return found;
}

std::vector<Tensor> parameters(const Fields& fields) {
  std::vector<Tensor> found;
  for (auto& [name, tensor] : named_parameters(fields)) found.push_back(std::move(tensor));
  return found;
}

State state(const Fields& fields) {
  State state;
  for (const Fields::Field& field : fields.list()) {
    if (!state.emplace(field.name, *field.tensor).second) {
      user_error("a module lists two fields of the name {}", quote(field.name));
    }
  }
  return state;
}

namespace {

std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t most = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(most, names.size()); ++i) {
    text += (i == 0 ? "" : ", ") + quote(names[i]);
  }
  if (names.size() > most) text += fmt::format(" and {} more", names.size() - most);
  return text;
}

bool is_unread(std::string_view name) { return name.ends_with("num_batches_tracked"); }

Difference difference(const State& from, const State& to) {
  Difference found;
  for (const auto& [name, tensor] : to) {
    if (!from.contains(name)) found.missing.push_back(name);
  }
  for (const auto& [name, tensor] : from) {
    if (!to.contains(name) && !is_unread(name)) found.unknown.push_back(name);
  }
  return found;
}

}  // namespace

Difference copy_state(const State& from, const State& to, bool strict) {
  const Call call("load_state");
  Difference found = difference(from, to);
  if (strict && !(found.missing.empty() && found.unknown.empty())) {
    call_error("the names differ; missing: {}; unknown: {}; strict = false takes what fits",
               found.missing.empty() ? "none" : listed(found.missing),
               found.unknown.empty() ? "none" : listed(found.unknown));
  }
  const NoGrad guard;
  std::vector<Tensor> changed;
  for (const auto& [name, tensor] : to) {
    const auto given = from.find(name);
    if (given == from.end()) continue;
    if (given->second.dims() != tensor.dims()) {
      call_error("{} has shape {}, the state gives {}", quote(name), to_string(tensor.dims()),
                 to_string(given->second.dims()));
    }
  }
  for (auto& [name, tensor] : to) {
    const auto given = from.find(name);
    if (given == from.end()) continue;
    set(tensor, given->second);
  }
  return found;
}

Difference load_state(const Fields& fields, const State& given, bool strict) {
  return copy_state(given, state(fields), strict);
}

// Bytes, where dtypes agree: no kernel needs to be compiled.
void set(Tensor parameter, const Tensor& value) {
  const Call call("nn::set");
  const NoGrad guard;
  if (!parameter.is_realized()) parameter.realize();
  if (value.dims() != parameter.dims()) {
    call_error("wants a value of shape {}, got {}", to_string(parameter.dims()),
               to_string(value.dims()));
  }
  parameter.copy_from(value.cast(parameter.dtype()).to_bytes());
}

}  // namespace brisk::nn
