// Products of what other products make, on matrix units that multiply tiles of shared memory:
//   result[row, column] = Σ over key of weight[row, key] · value[key, column]
// where a weight is any function of one or two sums over a head's width
//   Σ over width of a[row, width] · b[key, width]
// and of what lies in memory by row or by key. The gradients of attention are of that form. The
// weights of a tile of rows and a block of keys are made in fragments, rounded, and multiplied from
// there; sums that a condition hides from a whole block are left out with it. Two results over the
// same keys share the sums of their weights.
#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>

#include "optimize/analysis.h"
#include "optimize/fragments.h"
#include "optimize/product.h"
#include "optimize/strategies/strategy.h"
#include "optimize/tile_array.h"
#include "optimize/tile_order.h"

namespace brisk {

namespace {

constexpr std::int64_t least_rows = 32;
constexpr std::int64_t widest = 256;
constexpr std::int64_t section_bytes = 8 << 20;  // of keys that tasks in turn share
constexpr std::int64_t slack_bytes = 4 << 10;    // of shared memory
constexpr std::int64_t most_stages = 4;
constexpr std::size_t most_results = 2;
constexpr std::int64_t widest_of_two = 128;

// A sum over one range of products of narrow values; factors as they are before the conversion.
struct NarrowSum {
  Node sum, range, a, b;
};
std::optional<NarrowSum> narrow_sum(const Node& sum) {
  if (op_of(sum) != ReduceOp::add || sum.srcs().size() != 2 || sum.dtype() != DType::float32 ||
      !sum.src(0).is(Op::mul_)) {
    return std::nullopt;
  }
  NarrowSum result = {sum, sum.src(1), half_factor(sum.src(0).src(0)),
                      half_factor(sum.src(0).src(1))};
  if (!result.a || !result.b || result.a.dtype() != result.b.dtype()) return std::nullopt;
  return result;
}

bool is_of_head(const Node& range) {
  const Size size(range.src(0));
  return size.is_constant() && size.value() % 16 == 0 && size.value() <= widest;
}

Node number(std::int64_t value) { return constant_int(value); }

class TileChain {
 public:
  TileChain(const Part& part, Workshop& workshop) : part_(part), workshop_(workshop) {}

  bool fits() {
    for (const Node& store : part_.stages[0].stores) {
      if (!find_product(store) || !find_sums(results_.back())) return false;
    }
    if (!classify_ranges()) return false;
    find_hidden();
    find_shared();
    return results_.size() == 1 || std::max(width_of_sums(), columns()) <= widest_of_two;
  }

  Schedule run() {
    Schedule schedule;
    schedule.name = "tiles_chain";
    const std::int64_t wide = std::max(width_of_sums(), columns());
    block_keys_ = wide <= 64 && results_.size() == 1 ? 128 : wide <= 128 ? 64 : 32;
    for (Sum& sum : sums_) {
      sum.rows = tile_operand(sum.narrow.a, row_, sum.narrow.range, tile_rows_, outer_, workshop_,
                              schedule);
      sum.keys = tile_operand(sum.narrow.b, key_, sum.narrow.range, block_keys_, outer_, workshop_,
                              schedule);
    }
    for (Result& result : results_)
      result.value =
          tile_operand(result.product.b, key_, column_, block_keys_, outer_, workshop_, schedule);
    share_tiles();
    choose_stages();
    schedule.phases.push_back(main_phase());
    return schedule;
  }

 private:
  struct Sum {
    NarrowSum narrow;  // `a` by row, `b` by key
    TileOperand rows, keys;
    Node fragments;
  };

  struct Result {
    Node store;
    NarrowSum product;  // `a` the weight, `b` the value
    Node seen;          // the weight where it is not hidden, without
    double factor = 1;  // constant factors, which the result takes
    TileOperand value;
    Node fragments, weights;
  };

  // ---- recognition ---------------------------------------------------------------------------

  // The outermost sum: sources come first.
  bool find_product(const Node& store) {
    const std::vector<Node> all = find_all({store.src(2)}, Op::reduce_);
    if (all.size() < 2 || all.size() > 3) return false;
    const auto found = narrow_sum(all.back());
    if (!found || (key_ && !(key_ == found->range))) return false;
    NarrowSum product = *found;
    key_ = product.range;
    const auto has_sums = [](const Node& node) { return !find_all({node}, Op::reduce_).empty(); };
    if (!has_sums(product.a)) std::swap(product.a, product.b);
    results_.push_back({store, product, {}, 1, {}, {}, {}});
    // What is made of the result asks for no other reduction.
    Substitution known = {{product.sum, constant_float(0)}};
    return has_sums(product.a) && !has_sums(product.b) &&
           product.b.dtype() == results_[0].product.b.dtype() &&
           store.src(0).dtype() == results_[0].store.src(0).dtype() &&
           !has_sums(substitute(store.src(2), known));
  }

  bool find_sums(const Result& result) {
    for (const Node& node : find_all({result.product.a}, Op::reduce_)) {
      const bool known = std::any_of(sums_.begin(), sums_.end(),
                                     [&](const Sum& sum) { return sum.narrow.sum == node; });
      if (known) continue;
      auto sum = narrow_sum(node);
      if (!sum || !is_of_head(sum->range) || sum->a.dtype() != result.product.b.dtype())
        return false;
      if (depends_on(sum->a, key_)) std::swap(sum->a, sum->b);
      if (depends_on(sum->a, key_) || !depends_on(sum->b, key_)) return false;
      if (!find_all({sum->a, sum->b}, Op::reduce_).empty()) return false;
      sums_.push_back({*sum, {}, {}, {}});
    }
    return sums_.size() <= 2;
  }

  bool classify_ranges() {
    if (part_.outer.empty() || Size(key_.src(0)).upper() < least_rows) return false;
    column_ = part_.outer.back();
    if (!is_of_head(column_)) return false;
    const auto is_by_column = [&](const Result& result) {
      return stride(result.store.src(1), column_) == 1 && !is_scatter(result.store) &&
             !depends_on(result.product.a, column_) && depends_on(result.product.b, column_);
    };
    if (!std::all_of(results_.begin(), results_.end(), is_by_column)) return false;
    const auto is_value_of = [&](const Node& range) {
      return std::any_of(results_.begin(), results_.end(),
                         [&](const Result& result) { return depends_on(result.product.b, range); });
    };
    for (const Node& range : part_.outer) {
      const auto is_row = [&](const Sum& sum) {
        return depends_on(sum.narrow.a, range) && !depends_on(sum.narrow.b, range);
      };
      if (!(range == column_) && !is_value_of(range) &&
          std::all_of(sums_.begin(), sums_.end(), is_row) &&
          (!row_ || Size(range.src(0)).upper() >= Size(row_.src(0)).upper())) {
        row_ = range;
      }
    }
    if (!row_ || Size(row_.src(0)).upper() < least_rows) return false;
    for (const Node& range : part_.outer) {
      if (!(range == row_) && !(range == column_)) outer_.push_back(range);
    }
    return true;
  }

  static Node unrounded(Node weight) {
    while (weight.is(Op::cast_)) weight = weight.src(0);
    return weight;
  }

  // A condition of the form a < b that makes weights 0, one side of it the key.
  struct Hidden {
    Node first, last;  // key that a row sees; empty where it is none but the ends
    Node seen;         // the weight of those seen
    bool operator==(const Hidden& other) const {
      return first == other.first && last == other.last;
    }
  };
  Hidden hidden_of(const Node& weight) const {
    Hidden none = {{}, {}, weight};
    if (!weight.is(Op::where_)) return none;
    Node condition = weight.src(0);
    const bool negated = condition.is(Op::cmpne_) && condition.src(1).is_constant(1);
    if (negated) condition = condition.src(0);
    const Node& hidden = weight.src(negated ? 2 : 1);
    if (!condition.is(Op::cmplt_) || !hidden.is_constant() || hidden.float_value() != 0 ||
        !is_integer(condition.src(0).dtype())) {
      return none;
    }
    const bool ends = condition.src(1) == key_;
    const Node& bound = condition.src(ends ? 0 : 1);
    if ((!ends && !(condition.src(0) == key_)) || depends_on(bound, key_) ||
        stride(bound, row_).value_or(-1) < 0 || bounds(bound).least < 0) {
      return none;
    }
    const Node& seen = weight.src(negated ? 1 : 2);
    return ends ? Hidden{{}, bound, seen} : Hidden{bound, {}, seen};
  }

  // The same for all results.
  void find_hidden() {
    const Hidden hidden = hidden_of(unrounded(results_[0].product.a));
    const bool all = std::all_of(results_.begin(), results_.end(), [&](const Result& result) {
      return hidden_of(unrounded(result.product.a)) == hidden;
    });
    if (all) {
      first_ = hidden.first;
      last_ = hidden.last;
    }
    for (Result& result : results_) {
      const Node weight = unrounded(result.product.a);
      const Node seen = all ? hidden_of(weight).seen : weight;
      const Scaled scaled = without_factors(seen);
      result.factor = scaled.factor;
      result.seen = with_few_factors(scaled.value);
    }
  }

  // Exponentials of (a · x + b · y) · c, of constants a, b and c, as those of ac · x + bc · y: the
  // second product is often one for many elements.
  static Node with_few_factors(const Node& weight) {
    Substitution memo;
    for (const Node& power : find_all({weight}, Op::exp2_)) {
      const Scaled argument = without_factors(power.src(0));
      if (!argument.value.is(Op::add_)) continue;
      const auto term = [&](std::size_t i) {
        const Scaled each = without_factors(argument.value.src(i));
        return mul(each.value, constant_float(each.factor * argument.factor));
      };
      memo[power] = make_node(Op::exp2_, power.dtype(), {add(term(0), term(1))}, power.attr());
    }
    return substitute(weight, memo);
  }

  // Where one result's weight is made of the other's, that lies where a sum did that nothing else
  // reads, and comes first.
  void find_shared() {
    if (results_.size() < 2) return;
    const auto holds = [&](const Result& whole, const Result& part) {
      Substitution memo = {{part.seen, constant_float(0)}};
      const Node rest = substitute(whole.seen, memo);
      if (rest == whole.seen) return false;
      for (std::size_t i = 0; i < sums_.size(); ++i) {
        const Node& sum = sums_[i].narrow.sum;
        if (depends_on(part.seen, sum) && !depends_on(rest, sum)) shared_at_ = i;
      }
      return shared_at_.has_value();
    };
    if (holds(results_[1], results_[0])) return;
    if (holds(results_[0], results_[1])) std::swap(results_[0], results_[1]);
  }

  // ---- decisions -----------------------------------------------------------------------------

  std::int64_t columns() const { return Size(column_.src(0)).value(); }
  std::int64_t width_of_sums() const {
    std::int64_t width = 0;
    for (const Sum& sum : sums_) width = std::max(width, Size(sum.narrow.range.src(0)).value());
    return width;
  }
  Size length() const { return Size(key_.src(0)); }

  // What is the same part of the same array is loaded once.
  void share_tiles() {
    const auto same = [](const TileOperand& a, const TileOperand& b) {
      return a.array.view == b.array.view && a.array.outside == b.array.outside;
    };
    std::vector<TileOperand*> by_key;
    for (Sum& sum : sums_) by_key.push_back(&sum.keys);
    for (Result& result : results_) by_key.push_back(&result.value);
    for (TileOperand* operand : by_key) {
      for (const TileOperand* other : by_key) {
        if (other == operand) break;
        if (same(*operand, *other)) operand->tile = other->tile;
      }
    }
  }

  // Of the operands by key, each tile once.
  std::vector<const TileOperand*> block_operands() const {
    std::vector<const TileOperand*> result;
    const auto add_new = [&](const TileOperand& operand) {
      const bool there = std::any_of(result.begin(), result.end(), [&](const TileOperand* other) {
        return other->tile == operand.tile;
      });
      if (!there) result.push_back(&operand);
    };
    for (const Sum& sum : sums_) add_new(sum.keys);
    for (const Result& result : results_) add_new(result.value);
    return result;
  }

  void choose_stages() {
    staging_ = make_tile(results_[0].store.src(0).dtype(), tile_rows_, columns(), workshop_);
    std::int64_t room = workshop_.target().tile_bytes - slack_bytes - local_bytes(staging_);
    for (const Sum& sum : sums_) room -= local_bytes(sum.rows.tile);
    std::int64_t stage = 0;
    for (const TileOperand* operand : block_operands()) stage += local_bytes(operand->tile);
    stages_ = std::clamp<std::int64_t>(room / stage, 1, most_stages);
  }

  // ---- tasks ---------------------------------------------------------------------------------

  Node main_phase() {
    const Size tiles = (Size(row_.src(0)) + (tile_rows_ - 1)) / tile_rows_;
    const Size heads = extent(outer_);
    const Node task = workshop_.range(heads * tiles);
    std::int64_t head_bytes = 0;
    for (const TileOperand* operand : block_operands())
      head_bytes += usual(length()) * operand->array.view.columns * byte_size(value_dtype());
    const TileOfHead at =
        tile_of_head(task, tiles, heads, std::max<std::int64_t>(1, section_bytes / head_bytes));
    place(outside_, outer_, at.head);
    row0_ = mul(at.tile, number(tile_rows_));

    const auto floats = [&](std::int64_t count) {
      return workshop_.registers(DType::float32, count);
    };
    for (Sum& sum : sums_) sum.fragments = floats(tile_rows_ * block_keys_ / threads_);
    for (Result& result : results_) {
      const bool own = result.store == results_[0].store || overlaps_weights();
      result.fragments = floats(tile_rows_ * columns() / threads_);
      result.weights = own ? workshop_.registers(value_dtype(), tile_rows_ * block_keys_ / threads_)
                           : results_[0].weights;
    }
    std::vector<Node> statements = {over_blocks()};
    for (const Result& result : results_) {
      statements.push_back(fill(result));
      statements.push_back(write_rows(result.store, staging_, row_, column_, tile_rows_, row0_,
                                      outside_, threads_, workshop_));
    }
    return loop(LoopKind::parallel, task, block(std::move(statements)));
  }

  DType value_dtype() const { return results_[0].product.b.dtype(); }

  // Whether the next weights are made while a product of others runs: where registers hold both.
  bool overlaps_weights() const { return results_.size() > 1 && columns() <= 64; }

  Substitution row_values(const Node& row) const {
    Substitution values = outside_;
    values[row_] = integer_min(row, (Size(row_.src(0)) - 1).node());
    return values;
  }
  Node bound_of(const Node& bound, const Node& row) const {
    Substitution values = row_values(row);
    return substitute(bound, values);
  }
  Node last_row() const { return add(row0_, number(tile_rows_ - 1)); }

  Node over_blocks() {
    const Node begin = first_ ? idiv(bound_of(first_, row0_), number(block_keys_)) : number(0);
    Size keys = length();
    if (last_) keys = Size(integer_min(keys.node(), add(bound_of(last_, last_row()), number(1))));
    const Size blocks = (keys + (block_keys_ - 1)) / block_keys_;
    const Node round = workshop_.range(first_ ? Size(integer_sub(blocks.node(), begin)) : blocks);
    key0_ = mul(add(begin, round), number(block_keys_));

    std::vector<Node> statements;
    for (const Sum& sum : sums_)
      statements.push_back(load_of(sum.rows.tile, sum.rows.array, row0_, number(0), outside_));
    statements.push_back(begin_tile());
    std::vector<Node> inside;
    for (const TileOperand* operand : block_operands())
      inside.push_back(load_of(operand->tile, operand->array, key0_, number(0), outside_));
    for (const Sum& sum : sums_) inside.push_back(step_of_sum(sum, &sum != &sums_.back()));
    for (const Result& result : results_) {
      weigh(result, inside);
      inside.push_back(step_of_result(result, overlaps_weights()));
    }
    if (overlaps_weights()) inside.push_back(finish_steps(0));
    statements.push_back(
        pipeline(round, block(std::move(inside)), stages_, workshop_.target().copying_threads));
    return pipeline(workshop_.range(1), block(std::move(statements)), 1,
                    workshop_.target().copying_threads);
  }

  // Results of nothing yet, and what the weights read by row.
  Node begin_tile() {
    const Node thread = workshop_.range(threads_);
    std::vector<Node> statements;
    Substitution unknown;
    std::vector<Node> weights;
    for (const Sum& sum : sums_) unknown[sum.narrow.sum] = held(sum.fragments, 0);
    for (const Result& result : results_) {
      clear(result.fragments, statements);
      weights.push_back(substitute(result.seen, unknown));
    }
    for (const Node& value : values_of_rows(weights)) {
      const Node kept = workshop_.registers(value.dtype(), halves_of_fragment);
      for (std::int64_t half = 0; half < halves_of_fragment; ++half) {
        const FragmentElement element = fragment_element(threads_, block_keys_, thread, 2 * half);
        Substitution values = row_values(add(row0_, element.row));
        statements.push_back(hold(kept, half, substitute(value, values)));
      }
      by_row_.emplace_back(value, kept);
    }
    return threads_loop(thread, std::move(statements));
  }

  // What loads of memory by row make on their own, as far as it goes.
  std::vector<Node> values_of_rows(const std::vector<Node>& weights) const {
    const auto of_row = [&](const Node& node) {
      if (node.is_constant() || node.dtype() != DType::float32 || depends_on(node, key_))
        return false;
      const std::vector<Node> loads = find_all({node}, Op::load_);
      return !loads.empty() && std::none_of(loads.begin(), loads.end(), [](const Node& load) {
        return load.src(0).is(Op::local_);
      });
    };
    std::vector<Node> values;
    std::vector<Node> stack = weights;
    std::unordered_set<Node, NodeHash> seen;
    while (!stack.empty()) {
      const Node node = stack.back();
      stack.pop_back();
      if (!seen.insert(node).second) continue;
      if (of_row(node)) {
        values.push_back(node);
      } else {
        stack.insert(stack.end(), node.srcs().begin(), node.srcs().end());
      }
    }
    return values;
  }

  // ---- a block of keys -----------------------------------------------------------------------

  Node step_of_sum(const Sum& sum, bool runs_on) const {
    const MatrixStep step = {.rows = tile_rows_,
                             .columns = block_keys_,
                             .depth = Size(sum.narrow.range.src(0)).value(),
                             .threads = threads_,
                             .runs_on = runs_on};
    return matrix_step(step, sum.fragments, sum.rows.tile, sum.keys.tile,
                       constant_int(0, DType::boolean));
  }

  Node step_of_result(const Result& result, bool runs_on) const {
    const MatrixStep step = {.rows = tile_rows_,
                             .columns = columns(),
                             .depth = block_keys_,
                             .threads = threads_,
                             .b_by_depth = true,
                             .runs_on = runs_on};
    return matrix_step(step, result.fragments, result.weights, result.value.tile,
                       constant_int(1, DType::boolean));
  }

  // Plainly where all rows see the whole block.
  void weigh(const Result& result, std::vector<Node>& statements) {
    const Node end = add(key0_, number(block_keys_));
    Node cut;
    if (!divides(length(), block_keys_)) cut = integer_less(length().node(), end);
    if (last_) cut = either(cut, integer_less(bound_of(last_, row0_), add(end, number(-1))));
    if (first_) cut = either(cut, integer_less(key0_, bound_of(first_, last_row())));
    const Node none = constant_int(1, DType::boolean);
    const Node plainly = weights_of(result, false);
    statements.push_back(cut ? branch(cmpne(cut, none), plainly) : plainly);
    if (cut) statements.push_back(branch(cut, weights_of(result, true)));
  }

  Node weights_of(const Result& result, bool hides) {
    const Node& weights = result.weights;
    const Node thread = workshop_.range(threads_);
    const Node limit = hides && !divides(length(), block_keys_) ? length().node() : Node();
    const bool first = result.store == results_[0].store;
    const Node shared = shared_at_ ? sums_[*shared_at_].fragments : Node();
    std::vector<Node> statements;
    SeenColumns seen(threads_, block_keys_, workshop_);
    if (hides) find_seen(seen, thread, statements);
    for (std::int64_t i = 0; i < weights.ints(1); i += 2) {
      const FragmentElement element = fragment_element(threads_, block_keys_, thread, i);
      Substitution values = row_values(add(row0_, element.row));
      for (const Sum& sum : sums_) values[sum.narrow.sum] = held(sum.fragments, i, 2);
      for (const auto& [load, kept] : by_row_) values[load] = held(kept, half_of(i));
      if (shared && !first) values[results_[0].seen] = held(shared, i, 2);
      const Node key = add(key0_, element.column);
      Node value = splat(vectorise(result.seen, key_, key, 2, values, limit), 2);
      if (shared && first) {
        statements.push_back(hold(shared, i, value));
        value = held(shared, i, 2);
      }
      if (hides) value = seen.where_seen(i, value, constant_float(0, value.dtype()));
      statements.push_back(hold(weights, i, cast(value, weights.dtype())));
    }
    return threads_loop(thread, std::move(statements));
  }

  void find_seen(SeenColumns& seen, const Node& thread, std::vector<Node>& statements) const {
    const auto first = [&](const Node& row) {
      return first_ ? bound_of(first_, add(row0_, row)) : Node();
    };
    const auto end = [&](const Node& row) {
      if (!last_) return divides(length(), block_keys_) ? Node() : length().node();
      return integer_min(length().node(), add(bound_of(last_, add(row0_, row)), number(1)));
    };
    seen.find(thread, key0_, first, end, statements);
  }

  // ---- what follows the sum ------------------------------------------------------------------

  Node fill(const Result& result) {
    const Node thread = workshop_.range(threads_);
    const int bytes = byte_size(staging_.dtype());
    std::vector<Node> statements;
    for (std::int64_t i = 0; i < result.fragments.ints(1); i += 2) {
      const FragmentElement element = fragment_element(threads_, columns(), thread, i);
      Substitution values = row_values(add(row0_, element.row));
      Node sum = held(result.fragments, i, 2);
      if (result.factor != 1) sum = mul(sum, splat(constant_float(result.factor), 2));
      values[result.product.sum] = sum;
      const Node value =
          splat(vectorise(result.store.src(2), column_, element.column, 2, values), 2);
      statements.push_back(
          store_to(staging_, tile_index(bytes, tile_rows_, element.row, element.column), value));
    }
    return threads_loop(thread, std::move(statements));
  }

  const Part& part_;
  Workshop& workshop_;
  Node key_, row_, column_;
  std::vector<Node> outer_;
  std::vector<Sum> sums_;
  std::vector<Result> results_;
  std::optional<std::size_t> shared_at_;  // the sum where the first weight stays for the second
  Node first_, last_;  // key that a row sees; empty where it is none but the ends
  Node staging_;
  static constexpr std::int64_t tile_rows_ = 128;
  static constexpr std::int64_t threads_ = 2 * tile_rows_;
  std::int64_t block_keys_ = 128;
  std::int64_t stages_ = 1;
  // Of the main phase.
  Substitution outside_;
  Node row0_, key0_;
  std::vector<std::pair<Node, Node>> by_row_;  // loads, and the registers that keep them
};

}  // namespace

std::optional<Schedule> tile_chain(const Part& part, Workshop& workshop) {
  if (workshop.target().copying_threads == 0 || part.stages[0].stores.size() > most_results)
    return std::nullopt;
  TileChain strategy(part, workshop);
  if (!strategy.fits()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
