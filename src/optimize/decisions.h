// Decisions that measurement may overrule. Where a strategy has several ways to schedule a part, it
// lists them with the costs that its model gives them, and says what the answer depends on: the
// class of shapes. Whoever has measured knows a class's best way; else the model's cheapest is it.
// So the strategies' knowledge is also the space that tuning searches (engine/tune.h).
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/kernel.h"

namespace brisk {

struct Decision {
  struct Option {
    std::string name;  // distinct among the options, the same in every build: "128x256"
    double cost = 1;   // by the strategy's model, of which only ratios mean anything
  };
  std::string shapes;  // the class: strategy, types, sizes, and what is decided
  std::vector<Option> options;
  std::size_t chosen = 0;
};

/// Those of one kernel.
class Decisions {
 public:
  /// The name of the best option for such shapes, where somebody has measured.
  using Known = std::function<std::optional<std::string>(const std::string& shapes)>;

  explicit Decisions(Known known = {}) : known_(std::move(known)) {}

  /// The index of the option known to be best, else of the cheapest, the first of several. A class
  /// that has been decided stays so.
  std::size_t choose(const std::string& shapes, std::vector<Decision::Option> options);
  /// `guess` times or divided by powers of two, from `least` to `most`; they cost more the farther
  /// from the guess they are.
  std::int64_t choose_near(const std::string& shapes, std::int64_t guess, std::int64_t least,
                           std::int64_t most);

  const std::vector<Decision>& made() const { return made_; }

 private:
  Known known_;
  std::vector<Decision> made_;
};

struct NamedSize {
  std::string_view name;
  Size size;
};
/// The class of a part for a strategy: "rows 2048 depth 4096", and what is stored and computed.
/// Sizes are rounded up to four leading bits; those of variables are upper bounds ("..2048").
std::string shape_class(std::string_view strategy, const Part& part,
                        std::initializer_list<NamedSize> sizes);

}  // namespace brisk
