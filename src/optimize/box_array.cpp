#include "optimize/box_array.h"

#include <algorithm>
#include <numeric>

#include "optimize/analysis.h"
#include "optimize/tile_array.h"

namespace brisk {

namespace {

struct Term {
  Node range;
  std::int64_t factor;
  bool operator==(const Term&) const = default;
};

// 0 where the range is in none of them.
std::int64_t factor_in(const std::vector<Term>& terms, const Node& range) {
  for (const Term& term : terms) {
    if (term.range == range) return term.factor;
  }
  return 0;
}

// Σ factor · range + constant.
struct Affine {
  std::vector<Term> terms;
  std::int64_t constant = 0;
};

bool add_terms(Affine& sum, const Node& expression, std::int64_t factor) {
  if (expression.is_constant()) {
    sum.constant += factor * expression.int_value();
    return true;
  }
  if (expression.is(Op::range_)) {
    sum.terms.push_back({expression, factor});
    return true;
  }
  if (expression.is(Op::add_)) {
    return add_terms(sum, expression.src(0), factor) && add_terms(sum, expression.src(1), factor);
  }
  if (!expression.is(Op::mul_)) return false;
  const bool first = expression.src(0).is_constant();
  const Node& number = expression.src(first ? 0 : 1);
  return number.is_constant() &&
         add_terms(sum, expression.src(first ? 1 : 0), factor * number.int_value());
}

// In normal form (graph/integer.h) a range stands in one term.
std::optional<Affine> affine(const Node& expression) {
  Affine sum;
  if (!add_terms(sum, expression, 1)) return std::nullopt;
  return sum;
}

// One dimension of the array: its coordinate is Σ factor · range - least.
struct Dimension {
  std::vector<Term> terms;
  std::int64_t stride = 0;
  std::optional<std::int64_t> least, greatest;  // of the sum

  bool has(const Node& range) const {
    return std::any_of(terms.begin(), terms.end(),
                       [&](const Term& term) { return term.range == range; });
  }
};

class BoxFinder {
 public:
  BoxFinder(const Node& access, const std::vector<Node>& rows, const Node& column, bool anywhere)
      : access_(access), rows_(rows), column_(column), anywhere_(anywhere) {}

  std::optional<BoxArray> run() {
    const bool loads = access_.is(Op::load_);
    const std::size_t gate = loads ? 2 : 3;
    if ((!loads && !access_.is(Op::store_)) || !access_.src(0).is(Op::param_)) return std::nullopt;
    const auto index = affine(access_.src(1));
    if (!index) return std::nullopt;
    index_ = *index;
    if (access_.srcs().size() > gate && (!loads || !take_gate(access_.src(gate))))
      return std::nullopt;
    if (!place_gated()) return std::nullopt;
    place_rows();
    if (!place_others() || !bound()) return std::nullopt;
    return in_order();
  }

 private:
  // Each part of the conjunction bounds a sum, from below or above.
  bool take_gate(const Node& gate) {
    if (gate.is(Op::and_)) return take_gate(gate.src(0)) && take_gate(gate.src(1));
    if (!gate.is(Op::cmplt_)) return false;
    const auto a = affine(gate.src(0));
    const auto b = affine(gate.src(1));
    if (!a || !b || a->terms.empty() == b->terms.empty()) return false;
    const bool above = b->terms.empty();
    Dimension& dimension = bounded(above ? a->terms : b->terms);
    if (above) {
      const std::int64_t most = b->constant - a->constant - 1;
      dimension.greatest = std::min(dimension.greatest.value_or(most), most);
    } else {
      const std::int64_t least = a->constant - b->constant + 1;
      dimension.least = std::max(dimension.least.value_or(least), least);
    }
    return true;
  }

  Dimension& bounded(const std::vector<Term>& terms) {
    for (Dimension& dimension : dimensions_) {
      if (dimension.terms == terms) return dimension;
    }
    dimensions_.push_back({terms, 0, {}, {}});
    return dimensions_.back();
  }

  // What is bounded together moves through one dimension.
  bool place_gated() {
    for (Dimension& dimension : dimensions_) {
      for (const auto& [range, factor] : dimension.terms) {
        const std::int64_t moves = factor_in(index_.terms, range);
        if (moves % factor != 0 || (dimension.stride != 0 && dimension.stride != moves / factor))
          return false;
        dimension.stride = moves / factor;
        if (placed(range) > 1) return false;
      }
    }
    return true;
  }

  std::ptrdiff_t placed(const Node& range) const {
    return std::count_if(dimensions_.begin(), dimensions_.end(),
                         [&](const Dimension& dimension) { return dimension.has(range); });
  }

  void place_rows() {
    for (const Node& range : rows_) {
      if (placed(range) == 0) add_own(range);
    }
    if (placed(column_) == 0) add_own(column_);
  }

  void add_own(const Node& range) {
    const std::int64_t moves = factor_in(index_.terms, range);
    if (moves != 0) dimensions_.push_back({{{range, 1}}, moves, {}, {}});
  }

  // Other ranges shift that of a row where both move in multiples of one step, or they lead through
  // a dimension of their own. Stores want these: what is beyond a row's last must be outside.
  bool place_others() {
    for (const auto& [range, moves] : index_.terms) {
      if (placed(range) > 0) continue;
      Dimension* best = nullptr;
      const auto shared_with = [&](const Dimension& dimension) {
        return std::gcd(dimension.stride, moves);
      };
      const auto step_with = [&](const Dimension& dimension) {
        return dimension.stride / shared_with(dimension);
      };
      const auto better = [&](const Dimension& a, const Dimension& b) {
        return step_with(a) != step_with(b) ? step_with(a) < step_with(b)
                                            : shared_with(a) > shared_with(b);
      };
      for (Dimension& dimension : dimensions_) {
        if (access_.is(Op::store_)) break;
        const bool open = !dimension.least && !dimension.greatest && dimension.terms.size() == 1 &&
                          contains(rows_, dimension.terms[0].range);
        if (!open || step_with(dimension) > most_step || shared_with(dimension) % aligned() != 0)
          continue;
        if (best == nullptr || better(dimension, *best)) best = &dimension;
      }
      if (best == nullptr) {
        if (moves < 0) return false;
        add_own(range);
        continue;
      }
      const std::int64_t step = step_with(*best);
      best->stride /= step;
      best->terms = {{best->terms[0].range, step}, {range, moves / best->stride}};
    }
    return true;
  }

  std::int64_t aligned() const {
    return anywhere_ ? 1 : chunk_bytes / byte_size(access_.src(0).dtype());
  }

  static Node sum_of(const Dimension& dimension) {
    Node sum = constant_int(0);
    for (const auto& [range, factor] : dimension.terms)
      sum = add(sum, mul(range, constant_int(factor)));
    return sum;
  }

  // Where gates say nothing, dimensions end with what is reached.
  bool bound() {
    start_ = index_.constant;
    for (Dimension& dimension : dimensions_) {
      const Bounds reached = bounds(sum_of(dimension));
      if (!dimension.least) dimension.least = reached.least;
      start_ += dimension.stride * *dimension.least;
      if (!dimension.greatest && dimension.terms.size() > 1 && !constant(dimension)) return false;
      const bool column = dimension.has(column_);
      if (column && dimension.terms.size() != 1) return false;
      if (column && !anywhere_ && dimension.stride != 1) return false;
      if (dimension.stride <= 0 || (!column && dimension.stride % aligned() != 0)) return false;
    }
    return (anywhere_ || start_ >= 0) && start_ % aligned() == 0 &&
           dimensions_.size() <= most_dimensions;
  }

  static bool constant(const Dimension& dimension) {
    return std::all_of(dimension.terms.begin(), dimension.terms.end(),
                       [](const Term& term) { return Size(term.range.src(0)).is_constant(); });
  }

  static Size size_of(const Dimension& dimension) {
    if (dimension.greatest) return *dimension.greatest - *dimension.least + 1;
    if (dimension.terms.size() == 1 && dimension.terms[0].factor == 1)
      return Size(dimension.terms[0].range.src(0)) - *dimension.least;
    return bounds(sum_of(dimension)).greatest - *dimension.least + 1;
  }

  std::optional<BoxArray> in_order() const {
    BoxArray array;
    array.view.pointer = access_.src(0);
    array.view.start = start_;
    std::vector<const Dimension*> order;
    const auto take = [&](const Node& range) {
      for (const Dimension& dimension : dimensions_) {
        if (!dimension.has(range) || contains_dimension(order, &dimension)) continue;
        order.push_back(&dimension);
        return true;
      }
      return false;
    };
    if (!take(column_)) return std::nullopt;
    for (std::size_t i = rows_.size(); i-- > 0;) {
      if (!take(rows_[i])) return std::nullopt;
      const auto step = factor_in(order.back()->terms, rows_[i]);
      if (step < 1 || step > most_step) return std::nullopt;
      array.view.steps.push_back(step);
    }
    for (const Dimension& dimension : dimensions_) {
      if (!contains_dimension(order, &dimension)) order.push_back(&dimension);
    }
    for (const Dimension* dimension : order) {
      array.view.sizes.push_back(size_of(*dimension));
      if (dimension != order[0]) array.view.strides.emplace_back(dimension->stride);
      array.at.push_back(integer_sub(sum_of(*dimension), constant_int(*dimension->least)));
    }
    array.view.steps.resize(order.size() - 1, 1);
    return array;
  }

  static bool contains_dimension(const std::vector<const Dimension*>& list, const Dimension* one) {
    return std::find(list.begin(), list.end(), one) != list.end();
  }

  const Node& access_;
  const std::vector<Node>& rows_;
  const Node& column_;
  const bool anywhere_;
  Affine index_;
  std::vector<Dimension> dimensions_;
  std::int64_t start_ = 0;
};

struct Covering {
  const std::vector<std::int64_t>& sizes;
  const std::vector<std::int64_t>& limits;
  std::vector<std::int64_t> best = {};
  std::int64_t fewest = 0;

  // Extents from `axis` down to the first, `most` elements at most; `boxes` so far.
  void search(std::size_t axis, std::int64_t most, std::int64_t boxes,
              std::vector<std::int64_t>& box) {
    const std::int64_t size = std::max<std::int64_t>(1, sizes[axis]);
    const std::int64_t greatest = std::min({size, limits[axis], most});
    for (std::int64_t extent = greatest; extent >= (axis == 0 ? greatest : 1); --extent) {
      const std::int64_t all = boxes * ((size + extent - 1) / extent);
      box[axis] = extent;
      if (axis > 0) {
        search(axis - 1, most / extent, all, box);
      } else if (best.empty() || all < fewest) {
        best = box;
        fewest = all;
      }
    }
  }
};

}  // namespace

std::optional<BoxArray> box_array(const Node& access, const std::vector<Node>& rows,
                                  const Node& column, bool anywhere) {
  return BoxFinder(access, rows, column, anywhere).run();
}

std::optional<PlacedValue> at_places(const Node& value, const BoxArray& array, Workshop& workshop) {
  PlacedValue placed;
  Substitution ranges;
  for (std::size_t d = array.at.size(); d-- > 0;) {
    const Node place = workshop.range(array.view.sizes[d]);
    placed.ranges.push_back(place);
    const auto sum = affine(array.at[d]);
    const auto one = std::find_if(sum->terms.begin(), sum->terms.end(),
                                  [](const Term& term) { return term.factor == 1; });
    if (one == sum->terms.end()) return std::nullopt;
    ranges[one->range] = add(place, integer_sub(one->range, array.at[d]));
  }
  placed.value = substitute(value, ranges);
  for (const Node& range : free_ranges(placed.value)) {
    if (!contains(placed.ranges, range)) return std::nullopt;
  }
  return placed;
}

TileView pack(const PlacedValue& placed, const BoxArray& array, Workshop& workshop,
              Schedule& schedule) {
  TileView view = array.view;
  const std::int64_t length = view.sizes[0].value();
  const std::int64_t pitch = aligned_pitch(placed.value.dtype(), length);
  view.pointer =
      compute_apart(placed.value, placed.ranges, workshop, schedule, 1, pitch - length).memory;
  view.start = 0;
  Size stride = pitch;
  for (std::size_t d = 1; d < view.sizes.size(); ++d) {
    view.strides[d - 1] = stride;
    stride = stride * view.sizes[d];
  }
  return view;
}

std::vector<std::int64_t> covering_box(const std::vector<std::int64_t>& sizes,
                                       const std::vector<std::int64_t>& limits, std::int64_t most) {
  Covering covering{sizes, limits};
  std::vector<std::int64_t> box(sizes.size(), 1);
  covering.search(sizes.size() - 1, most, 1, box);
  return covering.best;
}

}  // namespace brisk
