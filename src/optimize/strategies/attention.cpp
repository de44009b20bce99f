// Attention: Σⱼ softmaxⱼ(S)·V where S is itself a contraction of queries and keys. One kernel, the
// scores never leave the core that made them.
//
// A task takes a few rows (queries, and the heads that share keys) and all keys: scores into its
// own scratch, whatever is done to them (scale, mask, cap) with their maximum, exponentials with
// their sum, then the weighted sum of V in registers. Keys that a causal mask hides from all of a
// task's rows are not even read: their weights are zeros.
#include <algorithm>
#include <limits>

#include "base/error.h"
#include "optimize/analysis.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

Node with(const Node& expression, const Node& from, const Node& to) {
  Substitution memo = {{from, to}};
  return substitute(expression, memo);
}

bool has(const Node& expression, const Node& part) {
  for (const Node& node : topological_order({&expression, 1})) {
    if (node == part) return true;
  }
  return false;
}

class Attention {
 public:
  Attention(const Part& part, Workshop& workshop) : part_(part), workshop_(workshop) {}

  bool recognise() {
    if (part_.stages[0].stores.size() != 1) return false;
    const Node& store = part_.stages[0].stores[0];
    if (store.srcs().size() != 3) return false;
    for (const Node& node : find_all({store.src(2)}, Op::reduce_)) {
      if (node.srcs().size() != 2 || node.dtype() != DType::float32) return false;
      const bool is_max = static_cast<ReduceOp>(node.ints(0)) == ReduceOp::max;
      if (!is_max && static_cast<ReduceOp>(node.ints(0)) != ReduceOp::add) return false;
      if (is_max) greatest_ = node;
      total_ = node;  // sources come first: the last is the outermost
    }
    if (!greatest_ || !total_.src(0).is(Op::mul_)) return false;
    weighted_ = total_;
    key_ = weighted_.src(1);
    weight_ = weighted_.src(0).src(0);
    value_ = weighted_.src(0).src(1);
    if (!has(weight_, greatest_)) std::swap(weight_, value_);
    if (!has(weight_, greatest_) || has(value_, greatest_)) return false;
    // Σ exp(score - greatest), and the scores as the weights have them.
    total_ = {};
    for (const Node& node : find_all({weight_}, Op::reduce_)) {
      if (node == greatest_) continue;
      if (has(node.src(0), greatest_)) {
        if (total_) return false;
        total_ = node;
      }
    }
    if (!total_) return false;
    exponential_ = with(total_.src(0), total_.src(1), key_);
    argument_ = with(greatest_.src(0), greatest_.src(1), key_);
    if (!has(weight_, exponential_) || !has(exponential_, argument_)) return false;
    // Scratch holds the scores, then the exponentials: the weights may ask for nothing before them.
    const Node known = constant_float(0);
    Substitution last = {{exponential_, known}, {total_, known}};
    Substitution first = {{argument_, known}, {greatest_, known}};
    if (!find_all({substitute(weight_, last)}, Op::reduce_).empty() ||
        !find_all({substitute(exponential_, first)}, Op::reduce_).empty()) {
      return false;
    }
    for (const Node& node : find_all({argument_}, Op::reduce_)) {
      if (score_) return false;
      score_ = node;
    }
    if (!score_ || !score_.src(0).is(Op::mul_) || !depends_on(score_, key_)) return false;
    query_ = score_.src(0).src(0);
    keys_ = score_.src(0).src(1);
    if (!depends_on(keys_, key_)) std::swap(query_, keys_);
    if (depends_on(query_, key_) || !depends_on(keys_, key_)) return false;
    for (const Node& range : part_.outer) {
      if (range == part_.outer.back()) {
        if (depends_on(weight_, range) || !depends_on(value_, range)) return false;
        if (stride(store.src(1), range) != 1) return false;
        column_ = range;
      } else if (depends_on(value_, range) || depends_on(keys_, range)) {
        batch_.push_back(range);
      } else {
        rows_.push_back(range);
      }
    }
    return static_cast<bool>(column_) && Size(column_.src(0)).is_constant() &&
           Size(score_.src(1).src(0)).is_constant();
  }

  Schedule run() {
    const Size rows = extent(rows_);
    tile_ = static_cast<int>(std::min<std::int64_t>(rows.upper(), 4));
    const Size tiles = (rows + (tile_ - 1)) / tile_;
    const Size tasks = extent(batch_) * tiles;
    const Node task = workshop_.range(tasks);
    const Node counter = tasks == Size(1) ? constant_int(0) : task;
    const Node first = mul(mod(counter, tiles.node()), constant_int(tile_));
    place(outside_, batch_, idiv(counter, tiles.node()));
    const bool ragged = !rows.is_constant() || rows.value() % tile_ != 0;
    for (int r = 0; r < tile_; ++r) {
      const Node row = add(first, constant_int(r));
      row_at_.push_back(outside_);
      place(row_at_.back(), rows_, ragged ? integer_min(row, (rows - 1).node()) : row);
      inside_.push_back(ragged && r > 0 ? cmplt(row, rows.node()) : Node());
    }
    length_ = Size(key_.src(0));
    pitch_ = length_.upper();
    if (const Node last = last_key()) {
      Node most;
      for (Substitution& row : row_at_) {
        const Node mine = substitute(last, row);
        most = most ? max(most, mine) : mine;
      }
      length_ = Size(integer_min(length_.node(), add(most, constant_int(1))));
    }
    scores_ = workshop_.scratch(DType::float32, pitch_ * tile_);
    std::vector<Node> statements;
    gather_queries(statements);
    write_scores(statements);
    for (int r = 0; r < tile_; ++r) normalise(r, statements);
    sum_values(statements);
    Schedule schedule;
    schedule.name = "attention";
    schedule.phases = {loop(LoopKind::parallel, task, block(std::move(statements)))};
    return schedule;
  }

 private:
  // The last key that a row's mask leaves, if all up to it are left: the scores are where(last <
  // key or its negation, …) and -inf beyond.
  Node last_key() const {
    if (!argument_.is(Op::where_)) return {};
    Node condition = argument_.src(0);
    const bool negated = condition.is(Op::cmpne_) && condition.src(1).is_constant(1);
    if (negated) condition = condition.src(0);
    const Node& hidden = argument_.src(negated ? 2 : 1);
    const bool causal = condition.is(Op::cmplt_) && condition.src(1) == key_ &&
                        !depends_on(condition.src(0), key_) && hidden.is_constant() &&
                        hidden.float_value() == -std::numeric_limits<double>::infinity() &&
                        is_integer(condition.src(0).dtype()) && bounds(condition.src(0)).least >= 0;
    return causal ? condition.src(0) : Node();
  }

  Node slot(int r, const Node& key) const { return add(key, constant_int(pitch_ * r)); }

  // Largest power of two of lanes that divides the size.
  int lanes_for(std::int64_t size) const {
    int lanes = workshop_.target().lanes(4);
    while (size % lanes != 0) lanes /= 2;
    return lanes;
  }

  // Queries that are more than a load (rotated, scaled, from half precision) are computed once.
  void gather_queries(std::vector<Node>& statements) {
    const Node width = score_.src(1);
    if (query_.is(Op::load_) && stride(query_.src(1), width) == 1) return;
    const std::int64_t size = Size(width.src(0)).value();
    const int lanes = lanes_for(size);
    const Node memory = workshop_.scratch(DType::float32, size * tile_);
    const Node step = workshop_.range(size / lanes);
    std::vector<Node> body;
    for (int r = 0; r < tile_; ++r) {
      const Node base = mul(step, constant_int(lanes));
      const Node value =
          vectorise(query_, width, base, lanes, row_at_[static_cast<std::size_t>(r)]);
      body.push_back(store_to(memory, add(base, constant_int(size * r)), splat(value, lanes)));
      query_at_.push_back(load_from(memory, add(width, constant_int(size * r))));
    }
    statements.push_back(loop(LoopKind::serial, step, block(std::move(body))));
  }

  // scores[r][j] = Σ query[r]·key[j], along the width in lanes.
  void write_scores(std::vector<Node>& statements) {
    const Node width = score_.src(1);
    const std::int64_t size = Size(width.src(0)).value();
    const int lanes = lanes_for(size);
    const Node key = workshop_.range(length_);
    std::vector<Node> body;
    std::vector<Node> sums;
    for (int r = 0; r < tile_; ++r) {
      sums.push_back(workshop_.registers(DType::float32, lanes));
      body.push_back(store_to(sums.back(), constant_int(0), splat(constant_float(0), lanes)));
    }
    const auto products = [&](const Node& base) {
      std::vector<Node> list;
      for (int r = 0; r < tile_; ++r) {
        Substitution at = row_at_[static_cast<std::size_t>(r)];
        at[key_] = key;
        const Node product_of =
            query_at_.empty() ? score_.src(0)
                              : with(score_.src(0), query_, query_at_[static_cast<std::size_t>(r)]);
        const Node product = vectorise(product_of, width, base, lanes, at);
        const Node old = load_from(sums[static_cast<std::size_t>(r)], constant_int(0), {}, lanes);
        list.push_back(store_to(sums[static_cast<std::size_t>(r)], constant_int(0),
                                add(old, splat(product, lanes))));
      }
      return block(std::move(list));
    };
    if (size / lanes <= 8) {
      for (std::int64_t d = 0; d < size; d += lanes) body.push_back(products(constant_int(d)));
    } else {
      const Node step = workshop_.range(size / lanes);
      body.push_back(loop(LoopKind::serial, step, products(mul(step, constant_int(lanes)))));
    }
    for (int r = 0; r < tile_; ++r) {
      const Node sum = load_from(sums[static_cast<std::size_t>(r)], constant_int(0), {}, lanes);
      body.push_back(store_to(scores_, slot(r, key), horizontal(ReduceOp::add, sum)));
    }
    statements.push_back(loop(LoopKind::serial, key, block(std::move(body))));
  }

  // Runs over all keys in vectors, then one by one: value(lanes, base) is stored over the scores
  // and reduced into the result, a scalar in registers.
  template <typename Value>
  Node sweep(int r, ReduceOp op, std::vector<Node>& statements, Value&& value) {
    const int lanes = workshop_.target().lanes(4);
    const Node wide = workshop_.registers(DType::float32, lanes);
    const Node narrow = workshop_.registers(DType::float32, 1);
    const Node identity = identity_of(op, DType::float32);
    const Node zero = constant_int(0);
    statements.push_back(store_to(wide, zero, splat(identity, lanes)));
    const Size rounds = length_ / lanes;
    const auto step = [&](int width, const Node& base, const Node& into) {
      const Node at = slot(r, base);
      const Node fresh = load_from(scores_, at, {}, width);
      return block({store_to(scores_, at, splat(value(width, base), width)),
                    store_to(into, zero, combine(op, load_from(into, zero, {}, width), fresh))});
    };
    if (!(rounds == Size(0))) {
      const Node round = workshop_.range(rounds);
      statements.push_back(
          loop(LoopKind::serial, round, step(lanes, mul(round, constant_int(lanes)), wide)));
    }
    statements.push_back(store_to(narrow, zero, horizontal(op, load_from(wide, zero, {}, lanes))));
    const Size left = length_ - rounds * lanes;
    if (!(left == Size(0))) {
      const Node one = workshop_.range(left);
      statements.push_back(
          loop(LoopKind::serial, one, step(1, add((rounds * lanes).node(), one), narrow)));
    }
    return load_from(narrow, zero);
  }

  void normalise(int r, std::vector<Node>& statements) {
    const auto row = static_cast<std::size_t>(r);
    const auto element = [&](int lanes, const Node& base) {
      return load_from(scores_, slot(r, base), {}, lanes);
    };
    const Node greatest = sweep(r, ReduceOp::max, statements, [&](int lanes, const Node& base) {
      Substitution at = row_at_[row];
      at[score_] = element(lanes, base);
      return vectorise(argument_, key_, base, lanes, at);
    });
    greatest_of_.push_back(greatest);
    totals_.push_back(sweep(r, ReduceOp::add, statements, [&](int lanes, const Node& base) {
      Substitution at = row_at_[row];
      at[argument_] = element(lanes, base);
      at[greatest_] = greatest;
      return vectorise(exponential_, key_, base, lanes, at);
    }));
  }

  void sum_values(std::vector<Node>& statements) {
    const std::int64_t size = Size(column_.src(0)).value();
    const int lanes = lanes_for(size);
    const auto most = std::max<std::int64_t>(1, (workshop_.target().vector_registers - 4) / tile_);
    std::int64_t vectors = std::min<std::int64_t>(most, size / lanes);
    while ((size / lanes) % vectors != 0) --vectors;
    const std::int64_t blocks = size / lanes / vectors;
    const Node block_counter = workshop_.range(blocks);
    const Node base =
        blocks == 1 ? constant_int(0) : mul(block_counter, constant_int(vectors * lanes));
    const Node key = workshop_.range(length_);
    std::vector<Node> body;
    const Node sums = workshop_.registers(DType::float32, tile_ * vectors * lanes);
    const auto at_sum = [&](int r, std::int64_t v) {
      return constant_int((r * vectors + v) * lanes);
    };
    std::vector<Node> inner;
    for (int r = 0; r < tile_; ++r) {
      Substitution at = row_at_[static_cast<std::size_t>(r)];
      at[exponential_] = load_from(scores_, slot(r, key));
      at[total_] = totals_[static_cast<std::size_t>(r)];
      at[greatest_] = greatest_of_[static_cast<std::size_t>(r)];
      at[key_] = key;
      Substitution scalars = at;
      const Node weight = substitute(weight_, scalars);
      for (std::int64_t v = 0; v < vectors; ++v) {
        body.push_back(store_to(sums, at_sum(r, v), splat(constant_float(0), lanes)));
        const Node from = add(base, constant_int(v * lanes));
        const Node value = vectorise(value_, column_, from, lanes, at);
        const Node old = load_from(sums, at_sum(r, v), {}, lanes);
        inner.push_back(store_to(sums, at_sum(r, v), add(old, mul(splat(weight, lanes), value))));
      }
    }
    body.push_back(loop(LoopKind::serial, key, block(std::move(inner))));
    const Node& store = part_.stages[0].stores[0];
    for (int r = 0; r < tile_; ++r) {
      std::vector<Node> finish;
      for (std::int64_t v = 0; v < vectors; ++v) {
        const Node from = add(base, constant_int(v * lanes));
        Substitution at = row_at_[static_cast<std::size_t>(r)];
        at[weighted_] = load_from(sums, at_sum(r, v), {}, lanes);
        const Node value = splat(vectorise(store.src(2), column_, from, lanes, at), lanes);
        Substitution scalars = row_at_[static_cast<std::size_t>(r)];
        scalars[column_] = from;
        finish.push_back(store_to(store.src(0), substitute(store.src(1), scalars), value));
      }
      const Node& inside = inside_[static_cast<std::size_t>(r)];
      body.push_back(inside ? branch(inside, block(std::move(finish))) : block(std::move(finish)));
    }
    const Node whole = block(std::move(body));
    statements.push_back(blocks == 1 ? whole : loop(LoopKind::serial, block_counter, whole));
  }

  const Part& part_;
  Workshop& workshop_;
  // The expression: weighted_ = Σ over key_ of weight_·value_; weight_ holds exponential_ and
  // total_, exponential_ holds argument_ and greatest_, argument_ holds score_ = Σ query_·keys_.
  Node weighted_, key_, weight_, value_, total_, exponential_, greatest_, argument_, score_, query_,
      keys_, column_;
  Ranges batch_;  // keys or values depend on them
  Ranges rows_;
  Substitution outside_;
  std::vector<Substitution> row_at_;  // of the tile's rows
  std::vector<Node> inside_;
  std::vector<Node> query_at_;
  std::vector<Node> greatest_of_;
  std::vector<Node> totals_;
  Node scores_;
  Size length_;
  std::int64_t pitch_ = 0;
  int tile_ = 1;
};

}  // namespace

std::optional<Schedule> attention(const Part& part, Workshop& workshop) {
  Attention strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
