// Attention on matrix units that multiply tiles of shared memory: the scores of a tile of queries
// with one block of keys after another, their exponentials and the sum over values in fragments.
//
// Nothing is known of later keys while a block's exponentials are made, so these are taken below
// the greatest argument so far; what was summed before is scaled when a greater one comes:
//   exp(a - greatest) = exp(a - before) · exp(before - greatest)
// (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"). The scores of one
// block and the sum of the one before run while exponentials are made. Blocks that a causal mask
// hides from all rows of a tile are left out; only blocks that it cuts are masked.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.h"
#include "optimize/analysis.h"
#include "optimize/attention_form.h"
#include "optimize/fragments.h"
#include "optimize/product.h"
#include "optimize/tile_array.h"
#include "optimize/tile_order.h"

namespace brisk {

namespace {

constexpr std::int64_t least_rows = 32;
constexpr std::int64_t widest = 256;             // head
constexpr std::int64_t section_bytes = 8 << 20;  // of keys and values that tasks in turn share
constexpr std::int64_t slack_bytes = 4 << 10;    // of shared memory
constexpr std::int64_t most_stages = 4;
constexpr double least_greatest = -1e30;  // of no arguments: finite, and so are its products

Node number(std::int64_t value) { return constant_int(value); }

class TileAttention {
 public:
  TileAttention(const AttentionForm& form, const Part& part, Workshop& workshop)
      : form_(form), workshop_(workshop), store_(part.stages[0].stores[0]) {}

  bool fits() {
    if (form_.rows.empty() || !dtypes_fit() || (weighs() && !is_weight_of_softmax())) return false;
    row_ =
        *std::max_element(form_.rows.begin(), form_.rows.end(), [](const Node& a, const Node& b) {
          return Size(a.src(0)).upper() <= Size(b.src(0)).upper();  // the last of the longest
        });
    outer_ = form_.batch;
    for (const Node& range : form_.rows) {
      if (!(range == row_)) outer_.push_back(range);
    }
    find_rate();
    return (weighs() || rate_ != 0) && width() % 16 == 0 && columns() % 16 == 0 &&
           width() <= widest && columns() <= widest && Size(row_.src(0)).upper() >= least_rows &&
           Size(form_.key.src(0)).upper() >= least_rows && later_rows_see_more();
  }

  Schedule run() {
    Schedule schedule;
    schedule.name = weighs() ? "tiles_attention" : "tiles_softmax";
    choose_tile();
    query_ = tile_operand(half_factor(form_.query), row_, form_.width, tile_rows_, outer_,
                          workshop_, schedule);
    keys_ = tile_operand(half_factor(form_.keys), form_.key, form_.width, block_keys_, outer_,
                         workshop_, schedule);
    if (weighs())
      values_ = tile_operand(half_factor(form_.value), form_.key, form_.column, block_keys_, outer_,
                             workshop_, schedule);
    choose_stages();
    schedule.phases.push_back(main_phase());
    return schedule;
  }

 private:
  // ---- recognition ---------------------------------------------------------------------------

  // Whether there are values; else the sum of exponentials is what is wanted.
  bool weighs() const { return static_cast<bool>(form_.weighted); }

  bool dtypes_fit() const {
    const Node query = half_factor(form_.query);
    const Node keys = half_factor(form_.keys);
    if (!weighs()) {
      return query && keys && query.dtype() == keys.dtype() &&
             find_all({query, keys}, Op::reduce_).empty();
    }
    const Node value = half_factor(form_.value);
    return query && keys && value && query.dtype() == keys.dtype() &&
           keys.dtype() == value.dtype() && half_factor(form_.weight) &&
           half_factor(form_.weight).dtype() == value.dtype() &&
           find_all({query, keys, value}, Op::reduce_).empty();
  }

  // What the first row of a tile sees is seen by all, and the last one sees what any of them does.
  bool later_rows_see_more() const {
    const Node last = form_.last_key();
    return !last || stride(last, row_).value_or(-1) >= 0;
  }

  // weight = exponential / total, rounded.
  bool is_weight_of_softmax() const {
    const Node weight = form_.unrounded_weight();
    if (!weight.is(Op::mul_)) return false;
    const Node inverse = recip(form_.total);
    return (weight.src(0) == form_.exponential && weight.src(1) == inverse) ||
           (weight.src(1) == form_.exponential && weight.src(0) == inverse);
  }

  // ---- decisions -----------------------------------------------------------------------------

  std::int64_t width() const { return Size(form_.width.src(0)).value(); }
  std::int64_t columns() const { return weighs() ? Size(form_.column.src(0)).value() : 0; }
  Size length() const { return Size(form_.key.src(0)); }

  // Registers: rows · (keys + columns) / threads sums, and half as many for the weights.
  void choose_tile() {
    const std::int64_t wide = std::max(width(), columns());
    block_keys_ = wide <= 128 ? 128 : 32;
    query_stages_ = wide <= 64 ? 2 : 1;
  }

  void choose_stages() {
    std::int64_t room =
        workshop_.target().tile_bytes - slack_bytes - query_stages_ * local_bytes(query_.tile);
    std::int64_t stage = local_bytes(keys_.tile);
    if (weighs()) {
      staging_ = make_tile(store_.src(0).dtype(), tile_rows_, columns(), workshop_);
      room -= local_bytes(staging_);
      stage += local_bytes(values_.tile);
    }
    stages_ = std::clamp<std::int64_t>(room / stage, 1, most_stages);
  }

  // ---- tasks ---------------------------------------------------------------------------------

  Node main_phase() {
    const Size rows = Size(row_.src(0));
    const Size tiles = (rows + (tile_rows_ - 1)) / tile_rows_;
    const Size heads = extent(outer_);
    const Node task = workshop_.range(heads * tiles);
    const std::int64_t head_bytes =
        length().upper() * (width() + columns()) * byte_size(half_factor(form_.keys).dtype());
    const TileOfHead task_of =
        tile_of_head(task, tiles, heads, std::max<std::int64_t>(1, section_bytes / head_bytes));
    place(outside_, outer_, task_of.head);
    row0_ = mul(task_of.tile, number(tile_rows_));

    make_registers();
    std::vector<Node> statements;
    if (weighs()) {
      statements = {with_query(blocks_of_tile()), last_sum()};
      finish(statements);
    } else {
      statements = {totals(blocks_of_tile())};
      add_up_totals(statements);
      store_totals(store_, statements);
    }
    return loop(LoopKind::parallel, task, block(std::move(statements)));
  }

  void make_registers() {
    const auto floats = [&](std::int64_t count) {
      return workshop_.registers(DType::float32, count);
    };
    scores_ = floats(tile_rows_ * block_keys_ / threads_);
    if (weighs()) {
      sums_ = floats(tile_rows_ * columns() / threads_);
      weights_ = workshop_.registers(half_factor(form_.value).dtype(),
                                     tile_rows_ * block_keys_ / threads_);
    }
    greatest_ = floats(halves_of_fragment);
    fresh_ = floats(halves_of_fragment);
    scale_ = floats(halves_of_fragment);
    total_ = floats(halves_of_fragment);
    pairs_ = floats(2 * halves_of_fragment);
  }

  // ---- what a thread holds -------------------------------------------------------------------

  Node begin() {
    std::vector<Node> statements;
    if (weighs()) clear(sums_, statements);
    for (std::int64_t half = 0; half < halves_of_fragment; ++half) {
      // Not -inf, so that the difference of two of them is a number.
      statements.push_back(hold(greatest_, half, constant_float(least_greatest)));
      statements.push_back(hold(total_, half, constant_float(0)));
    }
    return threads_loop(workshop_.range(threads_), std::move(statements));
  }

  // ---- a block of keys -----------------------------------------------------------------------

  Substitution row_values(const Node& row) const {
    Substitution values = outside_;
    values[row_] = integer_min(row, (Size(row_.src(0)) - 1).node());
    return values;
  }

  // The last key that any row up to this one sees.
  Node last_key(const Node& row) const {
    Substitution values = row_values(row);
    return substitute(form_.last_key(), values);
  }

  // Of keys that any row of the tile sees.
  Size blocks_of_tile() const {
    Size keys = length();
    if (form_.last_key()) {
      const Node last = last_key(add(row0_, number(tile_rows_ - 1)));
      keys = Size(integer_min(keys.node(), add(last, number(1))));
    }
    return (keys + (block_keys_ - 1)) / block_keys_;
  }

  // The scores and weights of the first block; then, while the scores of the next one and the sum
  // of the one before are made, its exponentials.
  Node with_query(const Size& blocks) {
    count_ = blocks;
    std::vector<Node> statements = {
        load_of(query_.tile, query_.array, row0_, number(0), outside_), begin(),
        in_ring(workshop_.range(1), {load_keys(number(0)), scores(false)})};
    key0_ = number(0);
    weigh(statements);
    statements.push_back(pack(false));
    if (!(blocks == Size(1))) {
      const Node round = workshop_.range(blocks - 1);
      const Node before = mul(round, number(block_keys_));
      key0_ = add(before, number(block_keys_));
      std::vector<Node> next = {load_keys(key0_), scores(true), load_values(before), sum(true),
                                finish_steps(1)};
      weigh(next);
      next.push_back(finish_steps(0));
      next.push_back(pack(true));
      statements.push_back(in_ring(round, std::move(next)));
    }
    return pipeline(workshop_.range(1), block(std::move(statements)), query_stages_,
                    workshop_.target().copying_threads);
  }

  // Block after block, without values.
  Node totals(const Size& blocks) {
    const Node round = workshop_.range(blocks);
    key0_ = mul(round, number(block_keys_));
    std::vector<Node> inside = {load_keys(key0_), scores(false)};
    weigh(inside);
    return pipeline(workshop_.range(1),
                    block({load_of(query_.tile, query_.array, row0_, number(0), outside_), begin(),
                           in_ring(round, std::move(inside))}),
                    query_stages_, workshop_.target().copying_threads);
  }

  void add_up_totals(std::vector<Node>& statements) const {
    statements.push_back(
        group_reduce(ReduceOp::add, total_, 0, halves_of_fragment, threads_of_row, threads_));
  }

  // By the first of the threads that share a row.
  void store_totals(const Node& of_row, std::vector<Node>& statements) {
    const Node thread = workshop_.range(threads_);
    std::vector<Node> stores;
    for (std::int64_t half = 0; half < halves_of_fragment; ++half) {
      const FragmentElement element = fragment_element(threads_, block_keys_, thread, 2 * half);
      const Node row = add(row0_, element.row);
      Substitution values = outside_;
      values[row_] = row;
      values[form_.total] = held(total_, half);
      values[form_.greatest] = mul(held(greatest_, half), constant_float(factor_));
      const Node store = substitute(of_row, values);
      stores.push_back(branch(integer_less(row, row_.src(0)),
                              branch(integer_less(element.column, number(2)), store)));
    }
    statements.push_back(threads_loop(thread, std::move(stores)));
  }

  Node last_sum() {
    const Node last = mul((count_ - 1).node(), number(block_keys_));
    return in_ring(workshop_.range(1), {load_values(last), sum(false)});
  }

  Node in_ring(const Node& round, std::vector<Node> statements) const {
    return pipeline(round, block(std::move(statements)), stages_,
                    workshop_.target().copying_threads);
  }
  Node load_keys(const Node& key) const {
    return load_of(keys_.tile, keys_.array, key, number(0), outside_);
  }
  Node load_values(const Node& key) const {
    return load_of(values_.tile, values_.array, key, number(0), outside_);
  }

  Node scores(bool runs_on) const {
    const MatrixStep step = {.rows = tile_rows_,
                             .columns = block_keys_,
                             .depth = width(),
                             .threads = threads_,
                             .runs_on = runs_on,
                             .in_turn = !runs_on};
    return matrix_step(step, scores_, query_.tile, keys_.tile, constant_int(0, DType::boolean));
  }

  Node sum(bool runs_on) const {
    const MatrixStep step = {.rows = tile_rows_,
                             .columns = columns(),
                             .depth = block_keys_,
                             .threads = threads_,
                             .b_by_depth = true,
                             .runs_on = runs_on};
    return matrix_step(step, sums_, weights_, values_.tile, constant_int(1, DType::boolean));
  }

  void weigh(std::vector<Node>& statements) {
    arguments(statements);
    greatest(statements);
    exponentials(statements);
  }

  // Usually exponential = 2^((argument - greatest) · rate), and the argument is the score times a
  // factor, masked or not. Then scores stay as they are, and the rate takes the factor in.
  void find_rate() {
    whole_ = form_.last_key() ? form_.seen() : form_.argument;
    if (!form_.exponential.is(Op::exp2_)) return;
    const auto [below, rate] = without_factors(form_.exponential.src(0));
    const auto is_below = [&](std::size_t i) {
      const auto [greatest, sign] = without_factors(below.src(i));
      return greatest == form_.greatest && sign == -1 && below.src(1 - i) == form_.argument;
    };
    if (!below.is(Op::add_) || !(is_below(0) || is_below(1)) || rate <= 0) return;
    rate_ = rate;
    const auto [score, factor] = without_factors(whole_);
    if (!(score == form_.score) || factor <= 0) return;
    rate_ *= factor;
    factor_ = factor;
    whole_ = form_.score;
  }

  // What the softmax is of, over the scores; in blocks that are not seen whole, -inf where hidden.
  void arguments(std::vector<Node>& statements) {
    const Node end = add(key0_, number(block_keys_));
    Node cut;
    const bool is_whole = divides(length(), block_keys_);
    if (!is_whole) cut = integer_less(length().node(), end);
    if (form_.last_key()) {
      // Rows may differ in what they see, but none before the first sees more.
      cut = either(cut, integer_less(last_key(row0_), add(end, number(-1))));
    }
    std::vector<Node> where_cut;
    if (!(whole_ == form_.score)) {
      const Node none = constant_int(1, DType::boolean);
      const Node whole = argument(Node());
      statements.push_back(is_whole ? whole : branch(cmpne(cut, none), whole));
      if (!is_whole) where_cut.push_back(argument(length().node()));
    }
    where_cut.push_back(hide());
    if (cut) statements.push_back(branch(cut, block(std::move(where_cut))));
  }

  // Of all keys, or of those below the limit.
  Node argument(const Node& limit) {
    const Node thread = workshop_.range(threads_);
    std::vector<Node> statements;
    for (std::int64_t i = 0; i < scores_.ints(1); i += 2) {
      const FragmentElement element = fragment_element(threads_, block_keys_, thread, i);
      Substitution values = row_values(add(row0_, element.row));
      values[form_.score] = held(scores_, i, 2);
      const Node key = add(key0_, element.column);
      const Node value = vectorise(whole_, form_.key, key, 2, values, limit);
      statements.push_back(hold(scores_, i, splat(value, 2)));
    }
    return threads_loop(thread, std::move(statements));
  }

  Node hide() {
    const Node thread = workshop_.range(threads_);
    SeenColumns seen(threads_, block_keys_, workshop_);
    const auto first = [](const Node&) { return Node(); };
    const auto end = [&](const Node& row) {
      if (!form_.last_key()) return length().node();
      return integer_min(length().node(), add(last_key(add(row0_, row)), number(1)));
    };
    std::vector<Node> statements;
    seen.find(thread, key0_, first, end, statements);
    const Node none = constant_float(-std::numeric_limits<double>::infinity());
    for (std::int64_t i = 0; i < scores_.ints(1); i += 2)
      statements.push_back(hold(scores_, i, seen.where_seen(i, held(scores_, i, 2), none)));
    return threads_loop(thread, std::move(statements));
  }

  void greatest(std::vector<Node>& statements) {
    std::vector<Node> mine;
    for (std::int64_t half = 0; half < halves_of_fragment; ++half)
      mine.push_back(hold(pairs_, 2 * half, splat(held(greatest_, half), 2)));
    for (std::int64_t i = 0; i < scores_.ints(1); i += 2) {
      const std::int64_t pair = 2 * half_of(i);
      mine.push_back(hold(pairs_, pair, max(held(pairs_, pair, 2), held(scores_, i, 2))));
    }
    for (std::int64_t half = 0; half < halves_of_fragment; ++half)
      mine.push_back(hold(fresh_, half, horizontal(ReduceOp::max, held(pairs_, 2 * half, 2))));
    statements.push_back(threads_loop(workshop_.range(threads_), std::move(mine)));
    statements.push_back(
        group_reduce(ReduceOp::max, fresh_, 0, halves_of_fragment, threads_of_row, threads_));
  }

  // Exponentials in place of the scores, their sum, and by what earlier ones are too great.
  void exponentials(std::vector<Node>& statements) {
    std::vector<Node> mine;
    const auto exponential = [&](const Node& argument, std::int64_t half, int lanes) -> Node {
      if (rate_ != 0) {
        const Node by = splat(constant_float(rate_), lanes);
        const Node shift = mul(held(fresh_, half), constant_float(-rate_));
        return exp2_or_zero(add(mul(argument, by), splat(shift, lanes)));
      }
      Substitution values = {{form_.argument, argument}, {form_.greatest, held(fresh_, half)}};
      return splat(vectorise(form_.exponential, form_.key, key0_, lanes, values), lanes);
    };
    for (std::int64_t half = 0; half < halves_of_fragment; ++half) {
      mine.push_back(hold(scale_, half, exponential(held(greatest_, half), half, 1)));
      mine.push_back(hold(greatest_, half, held(fresh_, half)));
      mine.push_back(hold(pairs_, 2 * half, splat(constant_float(0), 2)));
    }
    for (std::int64_t i = 0; i < scores_.ints(1); i += 2) {
      const std::int64_t pair = 2 * half_of(i);
      mine.push_back(hold(scores_, i, exponential(held(scores_, i, 2), half_of(i), 2)));
      mine.push_back(hold(pairs_, pair, add(held(pairs_, pair, 2), held(scores_, i, 2))));
    }
    for (std::int64_t half = 0; half < halves_of_fragment; ++half) {
      const Node here = horizontal(ReduceOp::add, held(pairs_, 2 * half, 2));
      mine.push_back(hold(total_, half, add(mul(held(total_, half), held(scale_, half)), here)));
    }
    statements.push_back(threads_loop(workshop_.range(threads_), std::move(mine)));
  }

  // The weights as the next product takes them, and what it adds to.
  Node pack(bool has_sums) {
    std::vector<Node> mine;
    for (std::int64_t i = 0; i < scores_.ints(1); i += 2)
      mine.push_back(hold(weights_, i, cast(held(scores_, i, 2), weights_.dtype())));
    for (std::int64_t i = 0; has_sums && i < sums_.ints(1); i += 2)
      mine.push_back(hold(sums_, i, mul(held(sums_, i, 2), splat(held(scale_, half_of(i)), 2))));
    return threads_loop(workshop_.range(threads_), std::move(mine));
  }

  // ---- what follows the sum ------------------------------------------------------------------

  void finish(std::vector<Node>& statements) {
    add_up_totals(statements);
    for (const Node& store : form_.totals_stores) store_totals(store, statements);
    const Node thread = workshop_.range(threads_);
    const int bytes = byte_size(staging_.dtype());
    std::vector<Node> fill;
    std::vector<Node> inverse;
    for (std::int64_t half = 0; half < halves_of_fragment; ++half) {
      const Node kept = workshop_.registers(DType::float32, 1);
      fill.push_back(hold(kept, 0, near_recip(held(total_, half))));
      inverse.push_back(held(kept, 0));
    }
    for (std::int64_t i = 0; i < sums_.ints(1); i += 2) {
      const FragmentElement element = fragment_element(threads_, columns(), thread, i);
      Substitution values = row_values(add(row0_, element.row));
      const Node& by = inverse[static_cast<std::size_t>(half_of(i))];
      values[form_.weighted] = mul(held(sums_, i, 2), splat(by, 2));
      const Node value =
          splat(vectorise(store_.src(2), form_.column, element.column, 2, values), 2);
      fill.push_back(
          store_to(staging_, tile_index(bytes, tile_rows_, element.row, element.column), value));
    }
    statements.push_back(threads_loop(thread, std::move(fill)));
    statements.push_back(write_rows(store_, staging_, row_, form_.column, tile_rows_, row0_,
                                    outside_, threads_, workshop_));
  }

  const AttentionForm& form_;
  Workshop& workshop_;
  const Node& store_;
  Node row_;                 // the range along which queries make tiles
  std::vector<Node> outer_;  // the ranges around it
  TileOperand query_, keys_, values_;
  Node staging_;
  static constexpr std::int64_t tile_rows_ = 128;
  std::int64_t block_keys_ = 128;
  static constexpr std::int64_t threads_ = 2 * tile_rows_;
  std::int64_t stages_ = 2;
  std::int64_t query_stages_ = 1;
  // Of the main phase.
  Substitution outside_;
  Node row0_, key0_;
  Size count_;         // of blocks
  double factor_ = 1;  // from what stands for scores to arguments
  double rate_ = 0;    // 0 where exponentials are not of that form
  Node whole_;         // the argument where no mask hides it
  Node scores_, sums_, weights_, greatest_, fresh_, total_, pairs_, scale_;
};

}  // namespace

std::optional<Schedule> tile_attention(const Part& part, Workshop& workshop) {
  if (workshop.target().copying_threads == 0) return std::nullopt;
  std::optional<AttentionForm> form = attention_form(part);
  if (!form) form = softmax_form(part);
  if (!form) return std::nullopt;
  TileAttention strategy(*form, part, workshop);
  if (!strategy.fits()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
