#include "optimize/decisions.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace brisk {

std::size_t Decisions::choose(const std::string& shapes, std::vector<Decision::Option> options) {
  check(!options.empty(), "a decision has options");
  if (options.size() == 1) return 0;
  const auto before = std::find_if(made_.begin(), made_.end(), [&](const Decision& decision) {
    return decision.shapes == shapes;
  });
  std::optional<std::string> name;
  if (before != made_.end()) {
    name = before->options[before->chosen].name;
  } else if (known_) {
    name = known_(shapes);
  }
  auto chosen = options.end();
  if (name) {
    chosen = std::find_if(options.begin(), options.end(),
                          [&](const Decision::Option& option) { return option.name == *name; });
  }
  if (chosen == options.end()) {  // nobody knows, or by the name that another build has for it
    chosen = std::min_element(options.begin(), options.end(),
                              [](const auto& a, const auto& b) { return a.cost < b.cost; });
  }
  const auto index = static_cast<std::size_t>(chosen - options.begin());
  if (before == made_.end()) made_.push_back({shapes, std::move(options), index});
  return index;
}

std::int64_t Decisions::choose_near(const std::string& shapes, std::int64_t guess,
                                    std::int64_t least, std::int64_t most) {
  std::int64_t first = guess;
  while (first % 2 == 0 && first / 2 >= least) first /= 2;
  std::vector<Decision::Option> options;
  std::vector<std::int64_t> values;
  for (std::int64_t value = first; value <= std::max(guess, most); value *= 2) {
    const double far = std::log2(static_cast<double>(value) / static_cast<double>(guess));
    options.push_back({fmt::format("{}", value), 1 + 0.2 * std::fabs(far)});
    values.push_back(value);
  }
  return values[choose(shapes, std::move(options))];
}

namespace {

std::int64_t rounded(std::int64_t value) {
  const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(value, 0));
  const int dropped = std::max(0, static_cast<int>(std::bit_width(size)) - 4);
  const std::uint64_t step = std::uint64_t{1} << dropped;
  return static_cast<std::int64_t>((size + step - 1) / step * step);
}

}  // namespace

std::string shape_class(std::string_view strategy, const Part& part,
                        std::initializer_list<NamedSize> sizes) {
  std::string text(strategy);
  for (const NamedSize& one : sizes) {
    if (one.size == Size(1)) continue;
    text += fmt::format(" {} {}{}", one.name, one.size.is_constant() ? "" : "..",
                        rounded(one.size.upper()));
  }
  std::vector<Node> stores;
  for (const Stage& stage : part.stages)
    stores.insert(stores.end(), stage.stores.begin(), stage.stores.end());
  std::int64_t operations = 0;
  std::string loads;
  for (const Node& node : topological_order(stores)) {
    if (node.is(Op::load_)) loads += fmt::format(" {}", name(node.dtype()));
    if (is_elementwise(node.op())) ++operations;
  }
  text += fmt::format(" of{} to", loads);
  for (const Node& store : stores) text += fmt::format(" {}", name(store.src(0).dtype()));
  return text + fmt::format(" by {}", rounded(operations));
}

}  // namespace brisk
