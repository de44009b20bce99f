// Rows that are passed over several times, of more data than the caches hold: a softmax, a norm.
// One loop over the columns stores row r, takes the last reduction of row r + 1, the one before of
// row r + 2, and so on, so that memory is read and written all the time while the arithmetic goes
// on. Only the first reduction's row comes from memory; the rows between are in the core's cache.
#include <algorithm>

#include "optimize/analysis.h"
#include "optimize/row_sum.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t least_rows = 16;  // of a task: the first and the last ones have less company
constexpr std::int64_t most_rows = 64;
constexpr std::int64_t tasks_per_thread = 4;
constexpr std::int64_t hint_distance = 2048;  // bytes that memory gives while a line is dealt with

class RowPipeline {
 public:
  RowPipeline(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores) {}

  bool recognise() {
    if (part_.stages.size() != 1 || find_all(stores_, Op::reduce_).empty()) return false;
    column_ = stored_along(stores_, part_.outer);
    if (!column_ || !Size(column_.src(0)).is_constant()) return false;
    for (const Node& range : part_.outer) {
      if (range == column_) continue;
      if (!Size(range.src(0)).is_constant()) return false;
      rows_.push_back(range);
    }
    columns_ = Size(column_.src(0)).value();
    for (const Node& store : stores_) {
      if (is_scatter(store) || places_overlap(store, part_.outer)) return false;
    }
    if (!find_stages() || !exceeds_caches()) return false;
    count_ = static_cast<std::int64_t>(points(rows_));
    const std::int64_t share = count_ / (tasks_per_thread * workshop_.threads());
    tasks_ = count_ / std::clamp(share, least_rows, most_rows);
    return tasks_ >= workshop_.threads();
  }

  Schedule run() {
    keep_terms();
    make_registers();
    const auto first_row = [&](const Node& task) {
      return idiv(mul(task, constant_int(count_)), constant_int(tasks_));
    };
    const Node task = workshop_.range(tasks_);
    const Node counter = tasks_ == 1 ? constant_int(0) : task;
    const Node begin = first_row(counter), end = first_row(add(counter, constant_int(1)));
    const auto depth = static_cast<std::int64_t>(stages_.size());
    std::vector<Node> body;
    for (const Stage& stage : stages_) {
      for (const Finished& finished : stage.finished) {
        for (const Node& value : finished.by_age)
          body.push_back(store_to(value, constant_int(0), constant_like(0, value.dtype())));
      }
    }
    for (std::int64_t ahead = depth; ahead > 0; --ahead)
      body.push_back(round(integer_sub(begin, constant_int(ahead)), ahead, depth));
    const Node each = workshop_.range((count_ + tasks_ - 1) / tasks_ - depth);
    const Node row = add(begin, each);
    const Node more = integer_less(add(row, constant_int(depth)), end);
    body.push_back(loop(LoopKind::serial, each, branch(more, round(row, 0, depth))));
    for (std::int64_t left = depth; left > 0; --left)
      body.push_back(round(integer_sub(end, constant_int(left)), 0, left - 1));
    Schedule schedule;
    schedule.name = "row_pipeline";
    const Node whole = block(std::move(body));
    schedule.phases = {tasks_ == 1 ? whole : loop(LoopKind::parallel, task, whole)};
    return schedule;
  }

 private:
  // A reduction's results: [a - 1] is that of a rounds ago.
  struct Finished {
    Node reduction;
    std::vector<Node> by_age;
  };
  // Reductions that need those of the stages before, over one range.
  struct Stage {
    std::vector<Node> reductions;
    RowSumShape shape;
    std::vector<RowSum> sums;
    std::vector<Finished> finished;

    const Node& range() const { return reductions[0].src(1); }
  };

  // ---- recognition

  bool find_stages() {
    std::unordered_map<Node, std::size_t, NodeHash> depths;
    FreeRanges free;
    for (const Node& reduction : find_all(stores_, Op::reduce_)) {
      const std::vector<Node> ranges = ranges_of(reduction);
      const std::vector<Node>& outer = free.of(reduction);
      if (ranges.size() != 1 || !(ranges[0].src(0) == column_.src(0)) || contains(outer, column_) ||
          outer.size() != rows_.size() ||
          !std::all_of(rows_.begin(), rows_.end(),
                       [&](const Node& row) { return contains(outer, row); })) {
        return false;
      }
      for (const Node& load : find_all({reduction.src(0)}, Op::load_)) {
        const auto step = stride(load.src(1), ranges[0]);
        if (depends_on(load.src(1), ranges[0]) && step != 1) return false;
      }
      std::size_t depth = 0;
      for (const Node& inner : find_all({reduction.src(0)}, Op::reduce_))
        depth = std::max(depth, depths.at(inner) + 1);
      depths[reduction] = depth;
      if (stages_.size() <= depth) stages_.resize(depth + 1);
      stages_[depth].reductions.push_back(reduction);
    }
    for (Stage& stage : stages_) {
      for (const Node& reduction : stage.reductions) {
        if (!(ranges_of(reduction) == ranges_of(stage.reductions[0]))) return false;
      }
      stage.shape = row_sum_shape(stage.reductions, workshop_.target());
      lanes_ = stages_[0].shape.lanes;
      together_ = std::max(together_, stage.shape.vectors);
      if (stage.shape.lanes != lanes_ || lanes_ == 1) return false;
    }
    return stages_.size() <= least_rows / 2 && columns_ >= together_ * lanes_;
  }

  // Whether the rows that stages read are too much for the caches together, but some of them fit.
  bool exceeds_caches() {
    const auto is_row = [&](const Node& load, const Node& along) {
      return load.srcs().size() == 2 && stride(load.src(1), along) == 1 &&
             std::any_of(rows_.begin(), rows_.end(),
                         [&](const Node& row) { return depends_on(load.src(1), row); });
    };
    std::int64_t bytes = 0;
    std::vector<Node> read;
    for (const Stage& stage : stages_) {
      for (const Node& load : find_all(stage.reductions, Op::load_)) {
        const Node there = with(load, stage.range(), column_);
        if (!is_row(there, column_) || contains(read, there)) continue;
        read.push_back(there);
        bytes += columns_ * byte_size(load.dtype());
        if (&stage == stages_.data()) streams_.push_back(load);
      }
    }
    const std::int64_t cache = workshop_.target().l2_bytes;
    return !streams_.empty() && bytes <= cache / 4 &&
           static_cast<double>(bytes) * points(rows_) >= 4.0 * static_cast<double>(cache);
  }

  // ---- emission

  // Dear terms of the last sum that the stores ask for again, as the exponentials of a softmax are:
  // the sum leaves them in the core's cache, where the row before has just been used up.
  void keep_terms() {
    const Stage& last = stages_.back();
    for (const Node& reduction : last.reductions) {
      const Node& term = reduction.src(0);
      if (operation_count(term) < dear_term) continue;
      const Node again = with(term, last.range(), column_);
      const std::vector<Node> all = topological_order(stores_);
      if (std::find(all.begin(), all.end(), again) == all.end()) continue;
      const Node memory = workshop_.scratch(term.dtype(), columns_);
      for (Node& store : stores_) store = with(store, again, load_from(memory, column_));
      kept_[reduction] = memory;
    }
  }

  void make_registers() {
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      Stage& stage = stages_[s];
      for (const Node& reduction : stage.reductions) {
        stage.sums.emplace_back(reduction, stage.shape, 1, workshop_);
        Finished finished{reduction, {}};
        for (std::size_t age = s; age < stages_.size(); ++age)
          finished.by_age.push_back(workshop_.registers(reduction.dtype(), 1));
        stage.finished.push_back(std::move(finished));
      }
    }
  }

  // What `user` (a stage, or the stores if it is their number) reads in the round of `row`: its own
  // row, and the results of the stages before it for that row.
  Substitution values_of(std::size_t user, const Node& row) const {
    Substitution values;
    const auto ahead = static_cast<std::int64_t>(stages_.size() - user);
    place(values, rows_, add(row, constant_int(ahead)));
    for (std::size_t s = 0; s < user; ++s) {
      for (const Finished& finished : stages_[s].finished)
        values[finished.reduction] = load_from(finished.by_age.at(user - s - 1), constant_int(0));
    }
    return values;
  }

  // One pass over the columns, in which those that are `first` to `last` rows ahead of `row` take
  // part: 0 are the stores, n is the stage that is n rows ahead.
  Node round(const Node& row, std::int64_t first, std::int64_t last) {
    std::vector<Node> statements;
    std::vector<std::size_t> active;
    for (std::int64_t ahead = first; ahead <= last; ++ahead)
      active.push_back(stages_.size() - static_cast<std::size_t>(ahead));
    std::vector<Substitution> values;
    for (const std::size_t user : active) values.push_back(values_of(user, row));
    for (const std::size_t user : active) {
      if (user == stages_.size()) continue;
      for (const RowSum& sum : stages_[user].sums) sum.clear(statements);
    }
    // Some vectors at once, those that are left, single columns.
    const std::int64_t vectors = columns_ / lanes_;
    const std::int64_t step = static_cast<std::int64_t>(together_) * lanes_;
    const Node some = workshop_.range(vectors / together_);
    const Node from = mul(some, constant_int(step));
    std::vector<Node> body;
    for (std::size_t u = 0; u < active.size(); ++u) {
      if (active[u] == 0) hints(values[u], from, step, body);
    }
    for (int v = 0; v < together_; ++v)
      columns(active, values, add(from, constant_int(v * lanes_)), lanes_, v, body);
    statements.push_back(loop(LoopKind::serial, some, block(std::move(body))));
    for (std::int64_t v = vectors / together_ * together_; v < vectors; ++v)
      columns(active, values, constant_int(v * lanes_), lanes_, v, statements);
    if (const std::int64_t rest = columns_ - vectors * lanes_; rest > 0) {
      const Node one = workshop_.range(rest);
      std::vector<Node> single;
      columns(active, values, add(constant_int(vectors * lanes_), one), 1, vectors, single);
      statements.push_back(loop(LoopKind::serial, one, block(std::move(single))));
    }
    for (std::size_t s = 0; s < stages_.size(); ++s) {
      const bool here = std::find(active.begin(), active.end(), s) != active.end();
      for (std::size_t r = 0; r < stages_[s].reductions.size(); ++r) {
        const std::vector<Node>& by_age = stages_[s].finished[r].by_age;
        for (std::size_t age = by_age.size(); age-- > 1;) {
          statements.push_back(
              store_to(by_age[age], constant_int(0), load_from(by_age[age - 1], constant_int(0))));
        }
        if (!here) continue;
        stages_[s].sums[r].finish(statements);
        statements.push_back(store_to(by_age[0], constant_int(0), stages_[s].sums[r].result()));
      }
    }
    return block(std::move(statements));
  }

  // The v-th vector of columns, or one of those that are left over.
  void columns(const std::vector<std::size_t>& active, const std::vector<Substitution>& values,
               const Node& base, int lanes, std::int64_t v, std::vector<Node>& statements) {
    // First what the stages load: a load behind a store whose address ends in the same twelve bits
    // waits for it.
    std::vector<Node> after;
    for (std::size_t u = 0; u < active.size(); ++u) {
      if (active[u] == stages_.size()) continue;
      const Stage& stage = stages_[active[u]];
      for (std::size_t r = 0; r < stage.reductions.size(); ++r) {
        const Node& reduction = stage.reductions[r];
        const Node term = workshop_.registers(reduction.dtype(), lanes);
        const Node value = vectorise(reduction.src(0), stage.range(), base, lanes, values[u]);
        statements.push_back(store_to(term, constant_int(0), splat(value, lanes)));
        const Node again = load_from(term, constant_int(0), {}, lanes);
        if (const auto kept = kept_.find(reduction); kept != kept_.end())
          after.push_back(store_to(kept->second, base, again));
        const std::int64_t own = stage.shape.vectors;
        const bool left = v >= columns_ / lanes_ / own * own;
        after.push_back(lanes == 1 ? stage.sums[r].add_rest(again)
                                   : stage.sums[r].add_vector(
                                         left ? 0 : static_cast<std::size_t>(v % own), again));
      }
    }
    for (std::size_t u = 0; u < active.size(); ++u) {
      if (active[u] != stages_.size()) continue;
      for (const Node& store : stores_)
        statements.push_back(vectorised_store(store, column_, base, lanes, values[u]));
    }
    statements.insert(statements.end(), after.begin(), after.end());
  }

  // Machines fetch along a page, and not into the next.
  void hints(const Substitution& values, const Node& from, std::int64_t count,
             std::vector<Node>& statements) const {
    for (const Node& load : streams_)
      ask_ahead(load, stages_[0].range(), from, count, hint_distance, values, statements);
  }

  const Part& part_;
  Workshop& workshop_;
  std::vector<Node> stores_;
  std::vector<Node> rows_;
  Node column_;
  std::int64_t columns_ = 0;
  std::int64_t count_ = 0;  // of rows
  std::int64_t tasks_ = 0;
  std::vector<Stage> stages_;
  int lanes_ = 1;
  int together_ = 1;  // vectors
  std::vector<Node> streams_;
  Substitution kept_;  // where the terms of a sum are
};

}  // namespace

std::optional<Schedule> row_pipeline(const Part& part, Workshop& workshop) {
  RowPipeline pipeline(part, workshop);
  if (!pipeline.recognise()) return std::nullopt;
  return pipeline.run();
}

}  // namespace brisk
