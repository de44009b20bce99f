// Attention: Σⱼ softmaxⱼ(S)·V where S is itself a contraction of queries and keys. One kernel, the
// scores never leave the core that made them.
//
// A task takes a few rows (queries, and the heads that share keys) and all keys: scores into its
// own scratch, whatever is done to them (scale, mask, cap) with their maximum, exponentials with
// their sum, then the weighted sum of V in registers. Keys that a causal mask hides from all of a
// task's rows are not even read: their weights are zeros.
#include <algorithm>

#include "base/error.h"
#include "optimize/analysis.h"
#include "optimize/attention_form.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

class Attention {
 public:
  Attention(const AttentionForm& form, const Part& part, Workshop& workshop)
      : form_(form), part_(part), workshop_(workshop) {}

  Schedule run() {
    const Size rows = extent(form_.rows);
    tile_ = static_cast<int>(std::min<std::int64_t>(rows.upper(), 4));
    const Size tiles = (rows + (tile_ - 1)) / tile_;
    const Size tasks = extent(form_.batch) * tiles;
    const Node task = workshop_.range(tasks);
    const Node counter = tasks == Size(1) ? constant_int(0) : task;
    const Node first = mul(mod(counter, tiles.node()), constant_int(tile_));
    place(outside_, form_.batch, idiv(counter, tiles.node()));
    const bool ragged = !rows.is_constant() || rows.value() % tile_ != 0;
    for (int r = 0; r < tile_; ++r) {
      const Node row = add(first, constant_int(r));
      row_at_.push_back(outside_);
      place(row_at_.back(), form_.rows, ragged ? integer_min(row, (rows - 1).node()) : row);
      inside_.push_back(ragged && r > 0 ? cmplt(row, rows.node()) : Node());
    }
    length_ = Size(form_.key.src(0));
    pitch_ = length_.upper();
    if (const Node last = form_.last_key()) {
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
    store_totals(statements);
    sum_values(statements);
    Schedule schedule;
    schedule.name = "attention";
    schedule.phases = {loop(LoopKind::parallel, task, block(std::move(statements)))};
    return schedule;
  }

 private:
  Node slot(int r, const Node& key) const { return add(key, constant_int(pitch_ * r)); }

  // Largest power of two of lanes that divides the size.
  int lanes_for(std::int64_t size) const {
    int lanes = workshop_.target().lanes(4);
    while (size % lanes != 0) lanes /= 2;
    return lanes;
  }

  // Queries that are more than a load (rotated, scaled, from half precision) are computed once.
  void gather_queries(std::vector<Node>& statements) {
    const Node width = form_.score.src(1);
    if (form_.query.is(Op::load_) && stride(form_.query.src(1), width) == 1) return;
    const std::int64_t size = Size(width.src(0)).value();
    const int lanes = lanes_for(size);
    const Node memory = workshop_.scratch(DType::float32, size * tile_);
    const Node step = workshop_.range(size / lanes);
    std::vector<Node> body;
    for (int r = 0; r < tile_; ++r) {
      const Node base = mul(step, constant_int(lanes));
      const Node value =
          vectorise(form_.query, width, base, lanes, row_at_[static_cast<std::size_t>(r)]);
      body.push_back(store_to(memory, add(base, constant_int(size * r)), splat(value, lanes)));
      query_at_.push_back(load_from(memory, add(width, constant_int(size * r))));
    }
    statements.push_back(loop(LoopKind::serial, step, block(std::move(body))));
  }

  // scores[r][j] = Σ query[r]·key[j], along the width in lanes.
  void write_scores(std::vector<Node>& statements) {
    const Node width = form_.score.src(1);
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
        at[form_.key] = key;
        const Node product_of = query_at_.empty() ? form_.score.src(0)
                                                  : with(form_.score.src(0), form_.query,
                                                         query_at_[static_cast<std::size_t>(r)]);
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
      at[form_.score] = element(lanes, base);
      return vectorise(form_.argument, form_.key, base, lanes, at);
    });
    greatest_of_.push_back(greatest);
    totals_.push_back(sweep(r, ReduceOp::add, statements, [&](int lanes, const Node& base) {
      Substitution at = row_at_[row];
      at[form_.argument] = element(lanes, base);
      at[form_.greatest] = greatest;
      return vectorise(form_.exponential, form_.key, base, lanes, at);
    }));
  }

  void store_totals(std::vector<Node>& statements) const {
    for (int r = 0; r < tile_; ++r) {
      const auto row = static_cast<std::size_t>(r);
      Substitution at = row_at_[row];
      at[form_.total] = totals_[row];
      at[form_.greatest] = greatest_of_[row];
      for (const Node& store : form_.totals_stores) {
        const Node mine = substitute(store, at);
        statements.push_back(inside_[row] ? branch(inside_[row], mine) : mine);
      }
    }
  }

  void sum_values(std::vector<Node>& statements) {
    const std::int64_t size = Size(form_.column.src(0)).value();
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
      at[form_.exponential] = load_from(scores_, slot(r, key));
      at[form_.total] = totals_[static_cast<std::size_t>(r)];
      at[form_.greatest] = greatest_of_[static_cast<std::size_t>(r)];
      at[form_.key] = key;
      Substitution scalars = at;
      const Node weight = substitute(form_.weight, scalars);
      for (std::int64_t v = 0; v < vectors; ++v) {
        body.push_back(store_to(sums, at_sum(r, v), splat(constant_float(0), lanes)));
        const Node from = add(base, constant_int(v * lanes));
        const Node value = vectorise(form_.value, form_.column, from, lanes, at);
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
        at[form_.weighted] = load_from(sums, at_sum(r, v), {}, lanes);
        const Node value = splat(vectorise(store.src(2), form_.column, from, lanes, at), lanes);
        Substitution scalars = row_at_[static_cast<std::size_t>(r)];
        scalars[form_.column] = from;
        finish.push_back(store_to(store.src(0), substitute(store.src(1), scalars), value));
      }
      const Node& inside = inside_[static_cast<std::size_t>(r)];
      body.push_back(inside ? branch(inside, block(std::move(finish))) : block(std::move(finish)));
    }
    const Node whole = block(std::move(body));
    statements.push_back(blocks == 1 ? whole : loop(LoopKind::serial, block_counter, whole));
  }

  const AttentionForm& form_;
  const Part& part_;
  Workshop& workshop_;
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
  const std::optional<AttentionForm> form = attention_form(part);
  if (!form) return std::nullopt;
  return Attention(*form, part, workshop).run();
}

}  // namespace brisk
