// Attention by groups of threads, for few queries: a group takes a tile of rows (queries, and the
// heads that share keys) and a part of the keys, block after block, with the running maximum and
// sum of each row (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018);
// parts of keys are as many as keep the processor busy, and the last group of a tile to have done
// its own combines them, or a second phase where groups cannot tell.
//
//   block of keys:  scores, a few neighbouring threads a key; exponentials, some threads a row;
//                   then the weighted sum of values, each thread some columns of some keys.
#include <algorithm>
#include <limits>
#include <utility>

#include "optimize/analysis.h"
#include "optimize/attention_form.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t threads = 256;
constexpr std::int64_t most_rows = 8;
constexpr std::int64_t keys_wanted = 64;           // of a part
constexpr std::int64_t most_scores = 32;           // of a thread
constexpr std::int64_t most_sums = 64;             // accumulators of a thread
constexpr std::int64_t most_parts = 64;            // of the keys
constexpr std::int64_t exchange_bytes = 16 << 10;  // of the slices' sums
constexpr std::int64_t most_exchange = 20 << 10;
constexpr std::int64_t parts_together = 16;
constexpr std::int64_t line_bytes = 128;  // that memory gives at once

std::int64_t power_dividing(std::int64_t n, std::int64_t most) {
  std::int64_t p = 1;
  while (2 * p <= most && n % (2 * p) == 0) p *= 2;
  return p;
}

class GroupAttention {
 public:
  GroupAttention(const Part& part, Workshop& workshop) : part_(part), workshop_(workshop) {}

  bool recognise() {
    const std::optional<AttentionForm> form = attention_form(part_);
    if (!form || bounds(form->key.src(0)).least < 1) return false;
    form_ = *form;
    // Exponentials of the argument and the maximum alone; weights that are them times a factor.
    const Node known = exponential(constant_float(0), constant_float(0));
    const Node weight = form_.unrounded_weight();
    if (!free_ranges(known).empty() || !weight.is(Op::mul_)) return false;
    factor_ = weight.src(0) == form_.exponential ? weight.src(1) : weight.src(0);
    if (!(mul(form_.exponential, factor_) == weight) || depends_on(factor_, form_.key))
      return false;
    Substitution memo = {{form_.total, constant_float(1)}};
    if (!find_all({substitute(factor_, memo)}, Op::reduce_).empty() ||
        extent(form_.rows).upper() < 1 || extent(form_.batch).upper() < 1) {
      return false;
    }
    choose_sizes();
    return slices() * columns_ * 4 <= most_exchange && rows_ * width_ * 4 <= most_exchange;
  }

  Schedule run() {
    task_ = workshop_.range(extent(form_.batch) * tiles_ * parts_);
    const Node tile = idiv(task_, constant_int(parts_));
    part_number_ = mod(task_, constant_int(parts_));
    place(outside_, form_.batch, idiv(tile, tiles_.node()));
    place_tile(tile);
    for (std::int64_t r = 0; r < rows_; ++r) row_at_.push_back(at_row(constant_int(r)));
    name_memory();
    begin();
    blocks_of_keys();
    leave_part();
    const bool counts = workshop_.target().counts_groups;
    if (counts) combine_at_end(tile);
    Schedule schedule;
    schedule.name = "group_attention";
    schedule.phases = {loop(LoopKind::parallel, task_, block(statements_))};
    if (!counts) schedule.phases.push_back(combine_after());
    return schedule;
  }

 private:
  // ---- decisions -----------------------------------------------------------------------------

  void choose_sizes() {
    const Target& target = workshop_.target();
    width_ = Size(form_.score.src(1).src(0)).value();
    columns_ = Size(form_.column.src(0)).value();
    key_lanes_ = lanes_along({form_.keys}, form_.score.src(1), target);
    value_lanes_ = lanes_along({form_.value}, form_.column, target);
    of_key_ = power_dividing(width_ / key_lanes_, target.group_step);
    of_value_ = power_dividing(columns_ / value_lanes_, target.group_step);
    while (value_lanes_ > 1 && slices() * columns_ * 4 > exchange_bytes) {
      value_lanes_ /= 2;
      of_value_ = power_dividing(columns_ / value_lanes_, target.group_step);
    }
    const Size all_rows = extent(form_.rows);
    while (rows_ < most_rows && rows_ < all_rows.upper() &&
           2 * rows_ * columns_ / of_value_ <= most_sums) {
      rows_ *= 2;
    }
    tiles_ = (all_rows + (rows_ - 1)) / rows_;
    // A group for each processor, and its part of the keys in one block where registers suffice:
    // two would leave the next launch no room to begin in.
    const std::int64_t length = Size(form_.key.src(0)).upper();
    const std::int64_t tasks = std::max<std::int64_t>(1, (extent(form_.batch) * tiles_).upper());
    const std::int64_t wanted = std::max<std::int64_t>(1, target.threads / tasks);
    parts_ = std::min({power_below(wanted), most_parts, power_from(shares(length, keys_wanted))});
    const std::string shapes = shape_class("attention", part_,
                                           {{"batch", extent(form_.batch)},
                                            {"rows", extent(form_.rows)},
                                            {"keys", Size(form_.key.src(0))},
                                            {"width", width_}});
    parts_ = workshop_.decisions().choose_near(
        shapes + " parts", parts_, 1,
        std::min(most_parts, power_from(shares(length, keys_wanted / 2))));
    const std::int64_t at_once = threads / of_key_;
    rounds_ =
        std::clamp<std::int64_t>(shares(shares(length, parts_), at_once), 1, most_scores / rows_);
    block_ = at_once * rounds_;
  }

  static std::int64_t shares(std::int64_t all, std::int64_t one) { return (all + one - 1) / one; }
  static std::int64_t power_from(std::int64_t n) { return n > 1 ? 2 * power_below(n - 1) : 1; }

  void place_tile(const Node& tile) {
    first_row_ = mul(mod(tile, tiles_.node()), constant_int(rows_));
    rows_before_ = mul(idiv(tile, tiles_.node()), extent(form_.rows).node());
  }

  // The counters of a row of the tile; rows beyond the last are the last one again.
  Substitution at_row(const Node& row) const {
    Substitution values = outside_;
    place(values, form_.rows, integer_min(add(first_row_, row), (extent(form_.rows) - 1).node()));
    return values;
  }

  Node is_row(const Node& row) const {
    return integer_less(add(first_row_, row), extent(form_.rows).node());
  }

  // Of a part of a row, in working memory.
  Node place_of(const Node& row) const {
    return add(mul(place_of_row(row), constant_int(parts_)), part_number_);
  }
  Node place_of_row(const Node& row) const { return add(add(rows_before_, first_row_), row); }

  void name_memory() {
    queries_ = workshop_.shared(DType::float32, rows_ * width_);
    scores_ = workshop_.shared(DType::float32, rows_ * block_);
    rescale_ = workshop_.shared(DType::float32, rows_);
    greatest_ = workshop_.registers(DType::float32, 1);
    total_ = workshop_.registers(DType::float32, 1);
    part_greatest_ = workshop_.registers(DType::float32, 1);
    sums_ = workshop_.registers(DType::float32, rows_ * columns_ / of_value_);
    products_ = workshop_.registers(DType::float32, rows_ * rounds_);
    const Size places = extent(form_.batch) * extent(form_.rows) * parts_;
    all_greatest_ = workshop_.workspace(DType::float32, places);
    all_totals_ = workshop_.workspace(DType::float32, places);
    all_sums_ = workshop_.workspace(DType::float32, places * columns_);
  }

  // ---- pieces --------------------------------------------------------------------------------

  static Node number(std::int64_t n) { return constant_int(n); }
  static Node lowest() { return constant_float(-std::numeric_limits<double>::infinity()); }

  Node exponential(const Node& argument, const Node& greatest) const {
    Substitution memo = {{form_.argument, argument}, {form_.greatest, greatest}};
    return substitute(form_.exponential, memo);
  }

  // A maximum to subtract: of scores that are all -inf, 0, so that their exponentials are.
  static Node finite(const Node& greatest) {
    return where(cmplt(lowest(), greatest), greatest, constant_float(0));
  }

  void of_threads(const Node& range, std::vector<Node> body) {
    statements_.push_back(loop(LoopKind::threads, range, block(std::move(body))));
  }

  void begin() {
    const int lanes = lanes_along({form_.query}, form_.score.src(1), workshop_.target());
    const std::int64_t vectors = width_ / lanes;
    const std::int64_t steps = (rows_ * vectors + threads - 1) / threads;
    const Node thread = workshop_.range(threads);
    const Node step = workshop_.range(steps);
    const Node p = add(mul(step, number(threads)), thread);
    const Node row = idiv(p, number(vectors));
    const Node base = mul(mod(p, number(vectors)), number(lanes));
    const Node query = vectorise(form_.query, form_.score.src(1), base, lanes, at_row(row));
    Node copy = store_to(queries_, mul(p, number(lanes)), splat(query, lanes));
    copy = branch(integer_less(p, number(rows_ * vectors)), copy);
    std::vector<Node> body = {loop(LoopKind::unrolled, step, copy),
                              store_to(greatest_, number(0), lowest()),
                              store_to(total_, number(0), constant_float(0))};
    for (std::int64_t i = 0; i < sums_.ints(1); i += value_lanes_) {
      body.push_back(store_to(sums_, number(i), splat(constant_float(0), value_lanes_)));
    }
    of_threads(thread, std::move(body));
  }

  // Keys that any of the tile's rows sees.
  Size seen_keys() const {
    Size length(form_.key.src(0));
    const Node last = form_.last_key();
    if (!last) return length;
    Node most;
    for (const Substitution& row : row_at_) {
      Substitution memo = row;
      const Node mine = substitute(last, memo);
      most = most ? max(most, mine) : mine;
    }
    return Size(integer_min(length.node(), add(most, number(1))));
  }

  void blocks_of_keys() {
    const Size length = seen_keys();
    limit_ = length.node();
    const Size all = (length + (block_ - 1)) / block_;
    const Size of_part = (all + (parts_ - 1)) / parts_;
    const Node first = mul(part_number_, of_part.node());
    const Node count =
        integer_max(number(0), integer_min(of_part.node(), integer_sub(all.node(), first)));
    const Node counter = workshop_.range(Size(count));
    first_key_ = mul(first, number(block_));
    if (workshop_.target().overlaps_launches)
      statements_.insert(statements_.begin(), first_block_ahead());
    first_key_ = mul(add(first, counter), number(block_));
    std::vector<Node> before = std::exchange(statements_, {});
    write_scores();
    exponentials();
    add_values();
    before.push_back(loop(LoopKind::serial, counter, block(std::move(statements_))));
    statements_ = std::move(before);
  }

  Node key_at(const Node& in_block) const { return add(first_key_, in_block); }
  Node safe_key(const Node& in_block) const {
    return integer_min(key_at(in_block), integer_sub(limit_, number(1)));
  }

  // Asks for the part's first keys and values before the kernel that makes the newest has ended.
  Node first_block_ahead() {
    const Node thread = workshop_.range(threads);
    std::vector<Node> asked;
    ask_ahead(form_.keys, form_.score.src(1), width_, key_lanes_, thread, asked);
    ask_ahead(form_.value, form_.column, columns_, value_lanes_, thread, asked);
    return loop(LoopKind::threads, thread, block(std::move(asked)));
  }

  // Of what lies along the range, `width` of each key.
  void ask_ahead(const Node& operand, const Node& along, std::int64_t width, int lanes,
                 const Node& thread, std::vector<Node>& asked) const {
    const std::int64_t vectors = width / lanes;
    const std::int64_t of_line =
        power_dividing(vectors, line_bytes / workshop_.target().vector_bytes);
    const std::int64_t lines = vectors / of_line;  // of a key
    for (std::int64_t i = 0; i < block_ * lines; i += threads) {
      const Node p = integer_min(add(thread, number(i)), number(block_ * lines - 1));
      const Node base = mul(mod(p, number(lines)), number(of_line * lanes));
      Substitution values = row_at_[0];
      values[form_.key] = safe_key(idiv(p, number(lines)));
      ask_for(vectorise(operand, along, base, lanes, values), asked);
    }
  }

  void write_scores() {
    const Node thread = workshop_.range(threads);
    const Node member = mod(thread, number(of_key_));
    const auto in_block = [&](const Node& t, std::int64_t round) {
      return add(idiv(t, number(of_key_)), number(round * (threads / of_key_)));
    };
    std::vector<Node> body;
    for (std::int64_t i = 0; i < rounds_; ++i) {
      for (std::int64_t r = 0; r < rows_; ++r) {
        body.push_back(store_to(products_, number(i * rows_ + r),
                                product(r, safe_key(in_block(thread, i)), member)));
      }
    }
    of_threads(thread, std::move(body));
    if (of_key_ > 1) {
      statements_.push_back(
          group_reduce(ReduceOp::add, products_, 0, rounds_ * rows_, of_key_, threads));
    }
    const Node other = workshop_.range(threads);
    std::vector<Node> stores;
    for (std::int64_t i = 0; i < rounds_; ++i) {
      const Node mine = in_block(other, i);
      for (std::int64_t r = 0; r < rows_; ++r) {
        Substitution values = row_at_[static_cast<std::size_t>(r)];
        values[form_.key] = safe_key(mine);
        values[form_.score] = load_from(products_, number(i * rows_ + r));
        const Node score =
            where(integer_less(key_at(mine), limit_), substitute(form_.argument, values), lowest());
        stores.push_back(store_to(scores_, add(mine, number(r * block_)), score));
      }
    }
    const Node first = integer_less(mod(other, number(of_key_)), number(1));
    of_threads(other, {branch(first, block(std::move(stores)))});
  }

  // The thread's share of query · key.
  Node product(std::int64_t row, const Node& key, const Node& member) const {
    const Node& along = form_.score.src(1);
    Node sum;
    for (std::int64_t i = 0; i < width_ / key_lanes_ / of_key_; ++i) {
      const Node vector = add(member, number(i * of_key_));
      const Node base = mul(vector, number(key_lanes_));
      Substitution mine = row_at_[static_cast<std::size_t>(row)];
      mine[form_.key] = key;
      const Node keys = splat(vectorise(form_.keys, along, base, key_lanes_, mine), key_lanes_);
      const Node query = load_from(queries_, add(base, number(row * width_)), {}, key_lanes_);
      const Node term = mul(query, keys);
      sum = sum ? add(sum, term) : term;
    }
    return key_lanes_ == 1 ? sum : horizontal(ReduceOp::add, sum);
  }

  void exponentials() {
    const std::int64_t team = threads / rows_;  // of a row
    const std::int64_t each = (block_ + team - 1) / team;
    const auto row_of = [&](const Node& t) { return idiv(t, number(team)); };
    const auto place_in = [&](const Node& t, std::int64_t i) {
      return add(mod(t, number(team)), number(i * team));
    };
    const auto if_there = [&](const Node& in_block, const Node& statement) {
      return branch(integer_less(in_block, number(block_)), statement);
    };
    const Node thread = workshop_.range(threads);
    std::vector<Node> body = {store_to(part_greatest_, number(0), lowest())};
    for (std::int64_t i = 0; i < each; ++i) {
      const Node mine = place_in(thread, i);
      const Node score = load_from(scores_, add(mul(row_of(thread), number(block_)), mine));
      const Node old = load_from(part_greatest_, number(0));
      body.push_back(if_there(mine, store_to(part_greatest_, number(0), max(old, score))));
    }
    of_threads(thread, std::move(body));
    statements_.push_back(group_reduce(ReduceOp::max, part_greatest_, 0, 1, team, threads));

    const Node other = workshop_.range(threads);
    const Node before = load_from(greatest_, number(0));
    const Node now = load_from(part_greatest_, number(0));  // then the greatest of all so far
    body = {store_to(part_greatest_, number(0), max(before, now))};
    const Node rescale = exponential(before, finite(now));
    body.push_back(store_to(total_, number(0), mul(load_from(total_, number(0)), rescale)));
    body.push_back(branch(integer_less(mod(other, number(team)), number(1)),
                          store_to(rescale_, row_of(other), rescale)));
    body.push_back(store_to(greatest_, number(0), now));
    for (std::int64_t i = 0; i < each; ++i) {
      const Node mine = place_in(other, i);
      const Node at = add(mul(row_of(other), number(block_)), mine);
      const Node score = load_from(scores_, at);
      const Node old = load_from(total_, number(0));
      body.push_back(
          if_there(mine, block({store_to(scores_, at, exponential(score, finite(now))),
                                store_to(total_, number(0), add(old, load_from(scores_, at)))})));
    }
    of_threads(other, std::move(body));
  }

  std::int64_t slices() const { return threads / of_value_; }
  std::int64_t vectors() const { return columns_ / value_lanes_ / of_value_; }
  Node sum_place(std::int64_t row, std::int64_t vector) const {
    return number((row * vectors() + vector) * value_lanes_);
  }

  void add_values() {
    const Node thread = workshop_.range(threads);
    const Node slice = idiv(thread, number(of_value_));
    std::vector<Node> body;
    for (std::int64_t r = 0; r < rows_; ++r) {
      for (std::int64_t v = 0; v < vectors(); ++v) {
        const Node old = load_from(sums_, sum_place(r, v), {}, value_lanes_);
        body.push_back(store_to(sums_, sum_place(r, v), mul(old, load_from(rescale_, number(r)))));
      }
    }
    for (std::int64_t first = 0; first < block_; first += slices()) {
      const Node mine = add(slice, number(first));
      std::vector<Node> each;
      for (std::int64_t v = 0; v < vectors(); ++v) {
        const Node column = column_of(thread, v);
        Substitution values = outside_;
        values[form_.key] = safe_key(mine);
        const Node value =
            splat(vectorise(form_.value, form_.column, column, value_lanes_, values), value_lanes_);
        for (std::int64_t r = 0; r < rows_; ++r) {
          const Node weight = load_from(scores_, add(mine, number(r * block_)));
          const Node old = load_from(sums_, sum_place(r, v), {}, value_lanes_);
          each.push_back(store_to(sums_, sum_place(r, v), add(old, mul(weight, value))));
        }
      }
      const Node all = block(std::move(each));
      body.push_back(block_ < slices() ? branch(integer_less(mine, number(block_)), all) : all);
    }
    of_threads(thread, std::move(body));
  }

  // The first column of the thread's vector.
  Node column_of(const Node& thread, std::int64_t vector) const {
    const Node at = add(mod(thread, number(of_value_)), number(vector * of_value_));
    return mul(at, number(value_lanes_));
  }

  // The slices' sums added up, and with the maxima and totals into working memory.
  void leave_part() {
    const std::int64_t at_once = std::clamp<std::int64_t>(
        exchange_bytes / (slices() * columns_ * byte_size(DType::float32)), 1, rows_);
    const Node exchange = workshop_.shared(DType::float32, at_once * slices() * columns_);
    for (std::int64_t first = 0; first < rows_; first += at_once) {
      const std::int64_t count = std::min(at_once, rows_ - first);
      const Node thread = workshop_.range(threads);
      std::vector<Node> body;
      for (std::int64_t i = 0; i < count; ++i) {
        const Node slice = add(idiv(thread, number(of_value_)), number(i * slices()));
        for (std::int64_t v = 0; v < vectors(); ++v) {
          body.push_back(store_to(exchange, add(mul(slice, number(columns_)), column_of(thread, v)),
                                  load_from(sums_, sum_place(first + i, v), {}, value_lanes_)));
        }
      }
      of_threads(thread, std::move(body));
      add_slices(exchange, first, count);
    }
    const std::int64_t team = threads / rows_;
    statements_.push_back(group_reduce(ReduceOp::add, total_, 0, 1, team, threads));
    const Node thread = workshop_.range(threads);
    const Node row = idiv(thread, number(team));
    const Node mine = logical_and(integer_less(mod(thread, number(team)), number(1)), is_row(row));
    of_threads(
        thread,
        {branch(mine,
                block({store_to(all_greatest_, place_of(row), load_from(greatest_, number(0))),
                       store_to(all_totals_, place_of(row), load_from(total_, number(0)))}))});
  }

  void add_slices(const Node& exchange, std::int64_t first, std::int64_t count) {
    const Node thread = workshop_.range(threads);
    const Node step = workshop_.range((count * columns_ + threads - 1) / threads);
    const Node p = add(mul(step, number(threads)), thread);
    const Node row = idiv(p, number(columns_));
    const Node column = mod(p, number(columns_));
    const Node start = add(mul(row, number(slices() * columns_)), column);
    Node sum = load_from(exchange, start);
    for (std::int64_t s = 1; s < slices(); ++s)
      sum = add(sum, load_from(exchange, add(start, number(s * columns_))));
    const Node mine = add(row, number(first));
    const Node at = add(mul(place_of(mine), number(columns_)), column);
    const Node there = logical_and(integer_less(p, number(count * columns_)), is_row(mine));
    of_threads(thread, {loop(LoopKind::serial, step, branch(there, store_to(all_sums_, at, sum)))});
  }

  // ---- the parts together ---------------------------------------------------------------------

  // By the last group of the tile to have done its part.
  void combine_at_end(const Node& tile) {
    const Node flag = workshop_.shared(DType::int32, 1);
    const Size all = extent(form_.batch) * tiles_;
    statements_.push_back(arrive(flag, tile, parts_, all.upper()));
    const Node last = cmpne(load_from(flag, number(0)), constant_int(0, DType::int32));
    statements_.push_back(branch(last, block(combine_parts())));
  }

  // By a second phase.
  Node combine_after() {
    const Node tile = workshop_.range(extent(form_.batch) * tiles_);
    place_tile(tile);
    return loop(LoopKind::parallel, tile, block(combine_parts()));
  }

  // First the share of each part in each row of the tile, a thread a part; then the sums, a few
  // columns a thread.
  std::vector<Node> combine_parts() {
    const std::int64_t lanes = std::clamp<std::int64_t>(
        power_dividing(columns_, 4), 1, std::max<std::int64_t>(1, rows_ * columns_ / threads));
    std::vector<Node> body = weigh_parts();
    const Node thread = workshop_.range(threads);
    const Node round = workshop_.range((rows_ * columns_ / lanes + threads - 1) / threads);
    const Node p = mul(add(mul(round, number(threads)), thread), number(lanes));
    const Node row = idiv(p, number(columns_));
    const Node column = mod(p, number(columns_));
    const Node sum = workshop_.registers(DType::float32, lanes);
    const auto width = static_cast<int>(lanes);
    std::vector<Node> mine = {store_to(sum, number(0), splat(constant_float(0), width))};
    over_parts(mine, [&](const Node& part) {
      const Node at = add(mul(place_of_row(row), number(parts_)), part);
      const Node more = load_from(all_sums_, add(mul(at, number(columns_)), column), {}, width);
      const Node share = load_from(shares_, add(mul(row, number(parts_)), part));
      const Node old = load_from(sum, number(0), {}, width);
      return store_to(sum, number(0), add(old, mul(share, more)));
    });
    for (std::int64_t i = 0; i < lanes; ++i) {
      mine.push_back(result(place_of_row(row), add(column, number(i)), load_from(sum, number(i)),
                            load_from(totals_, row)));
    }
    const Node there = logical_and(integer_less(p, number(rows_ * columns_)), is_row(row));
    body.push_back(loop(LoopKind::threads, thread,
                        loop(LoopKind::serial, round, branch(there, block(std::move(mine))))));
    return body;
  }

  // By how much the parts of the tile's rows count, and the rows' totals, into shared memory.
  std::vector<Node> weigh_parts() {
    shares_ = workshop_.shared(DType::float32, rows_ * parts_);
    totals_ = workshop_.shared(DType::float32, rows_);
    const std::int64_t rounds = (rows_ * parts_ + threads - 1) / threads;
    const Node own = workshop_.registers(DType::float32, rounds);
    const Node greatest = workshop_.registers(DType::float32, rounds);
    const Node total = workshop_.registers(DType::float32, rounds);
    const auto place_in = [&](const Node& thread, std::int64_t i) {
      return integer_min(add(thread, number(i * threads)), number(rows_ * parts_ - 1));
    };
    const auto at = [&](const Node& p) {
      const Node last = (extent(form_.batch) * extent(form_.rows) * parts_ - 1).node();
      return integer_min(add(mul(place_of_row(number(0)), number(parts_)), p), last);
    };
    const Node thread = workshop_.range(threads);
    const Node other = workshop_.range(threads);
    const Node third = workshop_.range(threads);
    std::vector<Node> reading;
    std::vector<Node> weighing;
    std::vector<Node> leaving;
    for (std::int64_t i = 0; i < rounds; ++i) {
      const Node most = load_from(all_greatest_, at(place_in(thread, i)));
      reading.push_back(store_to(own, number(i), most));
      reading.push_back(store_to(greatest, number(i), load_from(own, number(i))));
      reading.push_back(
          store_to(total, number(i), load_from(all_totals_, at(place_in(thread, i)))));
      const Node share =
          exponential(load_from(own, number(i)), finite(load_from(greatest, number(i))));
      weighing.push_back(store_to(own, number(i), share));
      weighing.push_back(
          store_to(total, number(i), mul(load_from(own, number(i)), load_from(total, number(i)))));
      const Node p = add(third, number(i * threads));
      leaving.push_back(
          branch(integer_less(p, number(rows_ * parts_)),
                 block({store_to(shares_, p, load_from(own, number(i))),
                        branch(integer_less(mod(p, number(parts_)), number(1)),
                               leave_totals(idiv(p, number(parts_)), load_from(total, number(i)),
                                            load_from(greatest, number(i))))})));
    }
    return {loop(LoopKind::threads, thread, block(std::move(reading))),
            group_reduce(ReduceOp::max, greatest, 0, rounds, parts_, threads),
            loop(LoopKind::threads, other, block(std::move(weighing))),
            group_reduce(ReduceOp::add, total, 0, rounds, parts_, threads),
            loop(LoopKind::threads, third, block(std::move(leaving)))};
  }

  // What a row of the tile was divided by, for its columns, and what else is made of it.
  Node leave_totals(const Node& row, const Node& total, const Node& greatest) const {
    std::vector<Node> stores;
    for (const Node& store : form_.totals_stores) {
      Substitution values = at_place(place_of_row(row));
      values[form_.total] = total;
      values[form_.greatest] = greatest;
      stores.push_back(branch(is_row(row), substitute(store, values)));
    }
    stores.push_back(store_to(totals_, row, total));
    return block(std::move(stores));
  }

  // The counters of a row, of all rows of the batch.
  Substitution at_place(const Node& row) const {
    Substitution values;
    place(values, form_.batch, idiv(row, extent(form_.rows).node()));
    place(values, form_.rows, mod(row, extent(form_.rows).node()));
    return values;
  }

  // The stored result of a column of a row, of all rows of the batch.
  Node result(const Node& row, const Node& column, const Node& sum, const Node& total) const {
    Substitution values = at_place(row);
    values[form_.column] = column;
    Substitution memo = values;
    memo[form_.total] = total;
    values[form_.weighted] = mul(sum, substitute(factor_, memo));
    return substitute(part_.stages[0].stores[0], values);
  }

  template <typename Body>
  void over_parts(std::vector<Node>& statements, const Body& body) {
    const std::int64_t together = std::min(parts_together, parts_);
    const Node round = workshop_.range(parts_ / together);
    std::vector<Node> each;
    for (std::int64_t i = 0; i < together; ++i)
      each.push_back(body(add(mul(round, number(together)), number(i))));
    statements.push_back(loop(LoopKind::serial, round, block(std::move(each))));
  }

  const Part& part_;
  Workshop& workshop_;
  AttentionForm form_;
  Node factor_;  // weight = exponential · factor
  std::int64_t width_ = 1, columns_ = 1;
  int key_lanes_ = 1, value_lanes_ = 1;
  std::int64_t of_key_ = 1;    // threads of a key
  std::int64_t of_value_ = 1;  // threads of a value
  std::int64_t rows_ = 1;      // of a tile, a power of two
  std::int64_t rounds_ = 1;    // keys of a thread in a block
  std::int64_t block_ = 1;     // keys
  std::int64_t parts_ = 1;     // of the keys
  Size tiles_;
  Node task_, part_number_, first_row_, rows_before_, first_key_, limit_;
  Substitution outside_;
  std::vector<Substitution> row_at_;
  Node queries_, scores_, rescale_;            // shared
  Node shares_, totals_;                       // shared, of parts and of rows
  Node greatest_, total_, part_greatest_;      // of the thread's row
  Node sums_, products_;                       // of the thread
  Node all_greatest_, all_totals_, all_sums_;  // of every part of every row
  std::vector<Node> statements_;
};

}  // namespace

std::optional<Schedule> group_attention(const Part& part, Workshop& workshop) {
  GroupAttention strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
