// Sums of columns by groups of threads: reductions whose terms lie contiguous from result to
// result, and not along what is summed. Neighbouring threads take vectors of 16 bytes of
// neighbouring columns, sets of threads every so manieth row, and what the sets have is added up
// through shared memory. Where only a few rows are summed, as in the windows of a pool, a thread
// takes all of them.
#include <algorithm>

#include "optimize/analysis.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t threads = 256;
constexpr std::int64_t most_across = 32;  // threads side by side
constexpr std::int64_t few_rows = 64;     // that a thread sums by itself
constexpr std::int64_t unrolled_rows = 16;

class GroupColumns {
 public:
  GroupColumns(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores) {}

  bool recognise() {
    reductions_ = find_all(stores_, Op::reduce_);
    if (reductions_.empty() || part_.outer.empty()) return false;
    rows_ = ranges_of(reductions_[0]);
    std::vector<Node> terms;
    for (const Node& reduction : reductions_) {
      if (ranges_of(reduction) != rows_ || !find_all({reduction.src(0)}, Op::reduce_).empty())
        return false;
      for (const Node& range : part_.outer) {
        if (!depends_on(reduction, range)) return false;
      }
      terms.push_back(reduction.src(0));
    }
    if (!have_own_places(stores_, part_.outer)) return false;
    columns_ = part_.outer;
    return choose_direction(terms);
  }

  Schedule run() {
    if (are_windows()) return windows();
    const std::string shapes =
        shape_class("columns", part_, {{"rows", extent(rows_)}, {"columns", extent(columns_)}});
    Decisions& decisions = workshop_.decisions();
    const std::int64_t most = std::min(most_across, power_below(vectors_));
    const std::int64_t across = decisions.choose_near(shapes + " across", most, 4, most);
    together_ = decisions.choose_near(shapes + " together", together_, 2, 16);
    const std::int64_t sets = threads / across;
    const Size groups_along = Size((vectors_ + across - 1) / across);
    std::vector<Node> outside(columns_.begin(), columns_.end() - 1);
    const Node group = workshop_.range(extent(outside) * groups_along);
    place(values_, outside, idiv(group, groups_along.node()));
    first_ = mul(mod(group, groups_along.node()), constant_int(across));
    std::vector<Node> statements;
    const std::vector<Node> sums = add_rows(across, sets, statements);
    finish(across, sets, sums, statements);
    Schedule schedule;
    schedule.name = "group_columns";
    schedule.phases = {loop(LoopKind::parallel, group, block(std::move(statements)))};
    return schedule;
  }

 private:
  // The range of columns last, in vectors.
  bool choose_direction(const std::vector<Node>& terms) {
    int best = contiguous_bytes(terms, rows_.back());
    const Node* along = nullptr;
    for (const Node& range : part_.outer) {
      const int score = contiguous_bytes(terms, range);
      if (score > best && Size(range.src(0)).is_constant()) {
        best = score;
        along = &range;
      }
    }
    if (along == nullptr) return false;
    std::rotate(std::find(columns_.begin(), columns_.end(), *along),
                std::find(columns_.begin(), columns_.end(), *along) + 1, columns_.end());
    for (const Node& load : find_all(terms, Op::load_)) {
      if (!stride(load.src(1), columns_.back())) return false;
    }
    lanes_ = lanes_along(terms, columns_.back(), workshop_.target());
    vectors_ = Size(columns_.back().src(0)).value() / lanes_;
    return lanes_ > 1 && vectors_ >= 4;
  }

  Node vector_of(const Node& thread, std::int64_t across) const {
    const Node vector = add(first_, mod(thread, constant_int(across)));
    return vectors_ % across == 0 ? vector : integer_min(vector, constant_int(vectors_ - 1));
  }

  // So many results that every thread has one of its own.
  bool are_windows() const {
    const std::int64_t rows = extent(rows_).upper();
    const std::int64_t wanted = 2 * threads * workshop_.target().threads;
    return rows <= few_rows && extent(rows_).is_constant() &&
           extent(columns_).upper() / lanes_ >= wanted &&
           std::all_of(stores_.begin(), stores_.end(), [&](const Node& store) {
             return stride(store.src(1), columns_.back()) == 1;
           });
  }

  Schedule windows() {
    const std::vector<Node> outside(columns_.begin(), columns_.end() - 1);
    const Size vectors = extent(outside) * vectors_;
    Schedule schedule;
    schedule.name = "group_columns";
    schedule.phases = {for_points(workshop_, vectors, threads,
                                  [&](const Node& vector) { return window_at(vector, outside); })};
    return schedule;
  }

  Node window_at(const Node& vector, const std::vector<Node>& outside) {
    place(values_, outside, idiv(vector, constant_int(vectors_)));
    const Node base = mul(mod(vector, constant_int(vectors_)), constant_int(lanes_));
    std::vector<Node> body;
    const std::vector<Node> wide = begin_sums(body);
    const Node row = workshop_.range(extent(rows_));
    const bool unrolls = extent(rows_).value() <= unrolled_rows;
    body.push_back(loop(unrolls ? LoopKind::unrolled : LoopKind::serial, row,
                        block(add_row(row, base, wide))));
    Substitution values = values_;
    for (std::size_t i = 0; i < reductions_.size(); ++i)
      values[reductions_[i]] = load_from(wide[i], constant_int(0), {}, lanes_);
    for (const Node& store : stores_)
      body.push_back(store_vector(store, columns_.back(), base, lanes_, values));
    return block(std::move(body));
  }

  // Registers for a vector of each sum, in which there is nothing yet after these statements.
  std::vector<Node> begin_sums(std::vector<Node>& statements) {
    std::vector<Node> wide;
    for (const Node& reduction : reductions_) {
      wide.push_back(workshop_.registers(reduction.dtype(), lanes_));
      statements.push_back(
          store_to(wide.back(), constant_int(0),
                   splat(identity_of(op_of(reduction), reduction.dtype()), lanes_)));
    }
    return wide;
  }

  std::vector<Node> add_row(const Node& row, const Node& base,
                            const std::vector<Node>& wide) const {
    Substitution values = values_;
    place(values, rows_, row);
    std::vector<Node> statements;
    for (std::size_t i = 0; i < reductions_.size(); ++i) {
      const Node value =
          splat(vectorise(reductions_[i].src(0), columns_.back(), base, lanes_, values), lanes_);
      const Node old = load_from(wide[i], constant_int(0), {}, lanes_);
      statements.push_back(
          store_to(wide[i], constant_int(0), combine(op_of(reductions_[i]), old, value)));
    }
    return statements;
  }

  // Each thread's sums of its vector, left in shared memory by set; a place for each reduction.
  std::vector<Node> add_rows(std::int64_t across, std::int64_t sets,
                             std::vector<Node>& statements) {
    const Node thread = workshop_.range(threads);
    const Node base = mul(vector_of(thread, across), constant_int(lanes_));
    const Node set = idiv(thread, constant_int(across));
    std::vector<Node> body;
    const std::vector<Node> wide = begin_sums(body);
    const auto row_of = [&](const Node& step) { return add(mul(step, constant_int(sets)), set); };
    const Size count = extent(rows_);
    const Size rounds = count / (sets * together_);
    if (!(rounds == Size(0))) {
      const Node round = workshop_.range(rounds);
      std::vector<Node> several;
      for (std::int64_t i = 0; i < together_; ++i) {
        const Node step = add(mul(round, constant_int(together_)), constant_int(i));
        for (Node& one : add_row(row_of(step), base, wide)) several.push_back(std::move(one));
      }
      body.push_back(loop(LoopKind::serial, round, block(std::move(several))));
    }
    const Size left = (count - rounds * (sets * together_) + (sets - 1)) / sets;
    if (!(left == Size(0))) {
      const Node round = workshop_.range(left);
      const Node step = add(mul(rounds.node(), constant_int(together_)), round);
      const Node row = row_of(step);
      body.push_back(
          loop(LoopKind::serial, round,
               branch(integer_less(row, count.node()), block(add_row(row, base, wide)))));
    }
    std::vector<Node> memory;
    for (std::size_t i = 0; i < reductions_.size(); ++i) {
      memory.push_back(workshop_.shared(reductions_[i].dtype(), threads * lanes_));
      body.push_back(store_to(memory.back(), mul(thread, constant_int(lanes_)),
                              load_from(wide[i], constant_int(0), {}, lanes_)));
    }
    statements.push_back(loop(LoopKind::threads, thread, block(std::move(body))));
    return memory;
  }

  // A thread a column: what the sets have, and the stores.
  void finish(std::int64_t across, std::int64_t sets, const std::vector<Node>& sums,
              std::vector<Node>& statements) {
    const std::int64_t side = across * lanes_;
    const Node thread = workshop_.range(threads);
    const Node step = workshop_.range((side + threads - 1) / threads);
    const Node mine = add(mul(step, constant_int(threads)), thread);
    const Node column = add(mul(first_, constant_int(lanes_)), mine);
    Substitution values = values_;
    values[columns_.back()] = column;
    for (std::size_t i = 0; i < reductions_.size(); ++i) {
      Node total = load_from(sums[i], mine);
      for (std::int64_t s = 1; s < sets; ++s)
        total = combine(op_of(reductions_[i]), total,
                        load_from(sums[i], add(mine, constant_int(s * side))));
      values[reductions_[i]] = total;
    }
    std::vector<Node> results;
    for (const Node& store : stores_) results.push_back(substitute(store, values));
    const Node there = logical_and(integer_less(mine, constant_int(side)),
                                   integer_less(column, columns_.back().src(0)));
    statements.push_back(
        loop(LoopKind::threads, thread,
             loop(LoopKind::serial, step, branch(there, block(std::move(results))))));
  }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  std::vector<Node> reductions_;
  std::vector<Node> rows_;     // what is summed
  std::vector<Node> columns_;  // the results, the contiguous range last
  int lanes_ = 1;
  std::int64_t together_ = 16;  // rows that a thread reads at once
  std::int64_t vectors_ = 1;    // of the contiguous range
  Substitution values_;         // counters of the columns' other ranges
  Node first_;                  // vector of the group
};

}  // namespace

std::optional<Schedule> group_columns(const Part& part, Workshop& workshop) {
  GroupColumns strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
