// Elementwise work over two ranges by groups of threads, where what is stored lies along one (V)
// and what is read along the other (U): neighbouring threads compute neighbours along U, leave them
// in shared memory, and take neighbours along V from there to their places.
#include <algorithm>

#include "optimize/analysis.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t threads = 256;
constexpr std::int64_t side = 64;  // of a group's square
constexpr int word_bytes = 4;      // that a thread stores at once

class GroupTransposition {
 public:
  GroupTransposition(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores) {}

  bool recognise() {
    const bool gated = std::any_of(stores_.begin(), stores_.end(),
                                   [](const Node& store) { return store.srcs().size() != 3; });
    if (gated || part_.outer.size() < 2 || !find_all(stores_, Op::reduce_).empty()) return false;
    return have_own_places(stores_, part_.outer) && find_ranges() && choose_lanes();
  }

  Schedule run() {
    const std::int64_t across = (length(u_) + side - 1) / side;
    const std::int64_t down = (length(v_) + side - 1) / side;
    const Node group = workshop_.range(extent(others_) * (across * down));
    place(values_, others_, idiv(group, constant_int(across * down)));
    const Node square = mod(group, constant_int(across * down));
    first_u_ = mul(mod(square, constant_int(across)), constant_int(side));
    first_v_ = mul(idiv(square, constant_int(across)), constant_int(side));
    for (const Node& store : stores_) {
      squares_.push_back(workshop_.shared(store.src(2).dtype(), side * pitch()));
    }
    Schedule schedule;
    schedule.name = "group_transposition";
    schedule.phases = {loop(LoopKind::parallel, group, block({compute(), take()}))};
    return schedule;
  }

 private:
  static std::int64_t length(const Node& range) { return Size(range.src(0)).value(); }

  bool find_ranges() {
    std::vector<Node> values;
    for (const Node& store : stores_) values.push_back(store.src(2));
    v_ = stored_along(stores_, part_.outer);
    if (!v_) return false;
    int most = std::max(0, contiguous_bytes(values, v_));
    for (const Node& range : part_.outer) {
      const int bytes = contiguous_bytes(values, range);
      if (range == v_ || bytes <= most) continue;
      most = bytes;
      u_ = range;
    }
    if (!u_) return false;
    for (const Node& range : part_.outer) {
      if (!(range == u_) && !(range == v_)) others_.push_back(range);
    }
    lanes_u_ = lanes_along(values, u_, workshop_.target());
    return true;
  }

  // Vectors and words that end where the ranges do.
  bool choose_lanes() {
    if (!Size(u_.src(0)).is_constant() || !Size(v_.src(0)).is_constant()) return false;
    if (length(u_) < side / 2 || length(v_) < side / 2) return false;
    const bool bytes = std::all_of(stores_.begin(), stores_.end(), [](const Node& store) {
      return byte_size(store.src(2).dtype()) == 1;
    });
    return bytes && side % lanes_u_ == 0 && length(u_) % lanes_u_ == 0 &&
           length(v_) % word_bytes == 0 &&
           static_cast<std::int64_t>(stores_.size()) * side * pitch() <=
               workshop_.target().shared_bytes;
  }

  // Elements from one row of a square, along U, to the next: rows begin in other banks of memory.
  std::int64_t pitch() const { return side + std::max(lanes_u_, word_bytes); }

  Node inside(const Node& u, const Node& v) const {
    Node there = constant_int(1, DType::boolean);
    if (length(u_) % side != 0) there = logical_and(there, integer_less(u, u_.src(0)));
    if (length(v_) % side != 0) there = logical_and(there, integer_less(v, v_.src(0)));
    return there;
  }

  // A statement for each of the thread's vectors along a row of `vectors`.
  template <typename Body>
  Node by_threads(std::int64_t vectors, const Body& body) const {
    const Node thread = workshop_.range(threads);
    const Node step = workshop_.range(side * vectors / threads);
    const Node p = add(mul(step, constant_int(threads)), thread);
    const Node work = body(mod(p, constant_int(vectors)), idiv(p, constant_int(vectors)));
    return loop(LoopKind::threads, thread, loop(LoopKind::unrolled, step, work));
  }

  Node compute() const {
    return by_threads(side / lanes_u_, [&](const Node& vector, const Node& row) {
      const Node at = mul(vector, constant_int(lanes_u_));
      Substitution values = values_;
      const Node base = add(first_u_, at);
      values[u_] = base;
      values[v_] = add(first_v_, row);
      std::vector<Node> statements;
      for (std::size_t i = 0; i < stores_.size(); ++i) {
        const Node value =
            splat(vectorise(stores_[i].src(2), u_, base, lanes_u_, values), lanes_u_);
        statements.push_back(
            store_to(squares_[i], add(mul(row, constant_int(pitch())), at), value));
      }
      return branch(inside(base, values.at(v_)), block(std::move(statements)));
    });
  }

  Node take() const {
    return by_threads(side / word_bytes, [&](const Node& word, const Node& column) {
      const Node at = mul(word, constant_int(word_bytes));
      Substitution values = values_;
      values[u_] = add(first_u_, column);
      values[v_] = add(first_v_, at);
      std::vector<Node> statements;
      for (std::size_t i = 0; i < stores_.size(); ++i) {
        std::vector<Node> parts;
        for (int lane = 0; lane < word_bytes; ++lane) {
          const Node row = mul(add(at, constant_int(lane)), constant_int(pitch()));
          parts.push_back(load_from(squares_[i], add(row, column)));
        }
        statements.push_back(
            store_to(stores_[i].src(0), substitute(stores_[i].src(1), values), join_lanes(parts)));
      }
      return branch(inside(values.at(u_), values.at(v_)), block(std::move(statements)));
    });
  }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  Node u_, v_;
  std::vector<Node> others_;
  int lanes_u_ = 1;
  Substitution values_;  // counters of the other ranges
  Node first_u_, first_v_;
  std::vector<Node> squares_;  // of each store, in shared memory: rows along U
};

}  // namespace

std::optional<Schedule> group_transposition(const Part& part, Workshop& workshop) {
  GroupTransposition strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
