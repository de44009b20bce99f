// Elementwise work over two ranges by groups of threads, where what is stored lies along one (V)
// and what is read along the other (U): neighbouring threads compute neighbours along U for a few
// rows, turn them in registers so that neighbours along V are words, leave these in shared memory,
// and take whole lines along V from there to their places.
#include <algorithm>
#include <cstdlib>

#include "optimize/analysis.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t threads = 256;
constexpr int line_bytes = 128;  // of a group's block, along U and along V
constexpr int word_bytes = 4;    // that a thread stores at once
constexpr std::int64_t words = line_bytes / word_bytes;
// Elements of 16 bits are as fast without shared memory where caches keep the lines that are read
// for one of them until the next is wanted: while those of neighbours along V are not so far apart.
constexpr std::int64_t far_bytes = 64 << 10;

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
    const std::int64_t across = (length(u_) + side() - 1) / side();
    const std::int64_t down = (length(v_) + side() - 1) / side();
    const Node group = workshop_.range(extent(others_) * (across * down));
    place(values_, others_, idiv(group, constant_int(across * down)));
    const Node block_of = mod(group, constant_int(across * down));
    first_u_ = mul(mod(block_of, constant_int(across)), constant_int(side()));
    first_v_ = mul(idiv(block_of, constant_int(across)), constant_int(side()));
    for (const Node& store : stores_)
      turned_.push_back(workshop_.shared(store.src(2).dtype(), side() * side()));
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
    bytes_ = byte_size(stores_[0].src(2).dtype());
    if (bytes_ > 2 || length(u_) < side() / 2 || length(v_) < side() / 2) return false;
    const bool alike = std::all_of(stores_.begin(), stores_.end(), [&](const Node& store) {
      return byte_size(store.src(2).dtype()) == bytes_;
    });
    return alike && (bytes_ == 1 || reads_far_apart()) && side() % lanes_u_ == 0 &&
           length(u_) % lanes_u_ == 0 && length(v_) % word() == 0 &&
           static_cast<std::int64_t>(stores_.size()) * side() * side() * bytes_ <=
               workshop_.target().shared_bytes;
  }

  bool reads_far_apart() const {
    const std::vector<Node> loads = find_all(stores_, Op::load_);
    return std::any_of(loads.begin(), loads.end(), [&](const Node& load) {
      const std::int64_t step = stride(load.src(1), v_).value_or(0);
      return std::abs(step) * byte_size(load.dtype()) >= far_bytes;
    });
  }

  // Elements of a word, and of a line.
  int word() const { return word_bytes / bytes_; }
  std::int64_t side() const { return line_bytes / bytes_; }

  // Of a line's word in shared memory. Lines that neighbouring threads write at once begin at other
  // words, so that they meet no bank twice.
  Node place_of(const Node& line, const Node& group_of_lines, const Node& in_line) const {
    const std::int64_t threads_of_row = side() / lanes_u_;
    const std::int64_t turn = std::max<std::int64_t>(1, words / threads_of_row);
    const Node at = mod(add(in_line, mul(group_of_lines, constant_int(turn))), constant_int(words));
    return add(mul(line, constant_int(side())), mul(at, constant_int(word())));
  }

  Node inside(const Node& u, const Node& v) const {
    Node there = constant_int(1, DType::boolean);
    if (length(u_) % side() != 0) there = logical_and(there, integer_less(u, u_.src(0)));
    if (length(v_) % side() != 0) there = logical_and(there, integer_less(v, v_.src(0)));
    return there;
  }

  // The body at each (x, y) with x < `width` and y < `height`, neighbours along x in neighbouring
  // threads.
  template <typename Body>
  Node by_threads(std::int64_t width, std::int64_t height, const Body& body) const {
    const std::int64_t all = width * height;
    const Node thread = workshop_.range(threads);
    const Node step = workshop_.range((all + threads - 1) / threads);
    const Node p = add(mul(step, constant_int(threads)), thread);
    Node work = body(mod(p, constant_int(width)), idiv(p, constant_int(width)));
    if (all % threads != 0) work = branch(integer_less(p, constant_int(all)), work);
    return loop(LoopKind::threads, thread, loop(LoopKind::unrolled, step, work));
  }

  // A word's rows of a vector along U, turned.
  Node compute() const {
    return by_threads(side() / lanes_u_, words, [&](const Node& x, const Node& y) {
      const Node at = mul(x, constant_int(lanes_u_));
      const Node row = mul(y, constant_int(word()));
      const Node base = add(first_u_, at);
      Substitution values = values_;
      values[u_] = base;
      std::vector<Node> computed, stored;
      for (std::size_t i = 0; i < stores_.size(); ++i) {
        std::vector<Node> rows;
        for (int r = 0; r < word(); ++r) {
          values[v_] = add(add(first_v_, row), constant_int(r));
          const Node value =
              splat(vectorise(stores_[i].src(2), u_, base, lanes_u_, values), lanes_u_);
          rows.push_back(workshop_.registers(value.dtype(), lanes_u_));
          computed.push_back(store_to(rows.back(), constant_int(0), value));
        }
        for (int u = 0; u < lanes_u_; ++u) {
          std::vector<Node> column;
          for (const Node& memory : rows) column.push_back(load_from(memory, constant_int(u)));
          const Node line = add(at, constant_int(u));
          stored.push_back(store_to(turned_[i], place_of(line, x, y), join_lanes(column)));
        }
      }
      computed.insert(computed.end(), stored.begin(), stored.end());
      return branch(inside(base, add(first_v_, row)), block(std::move(computed)));
    });
  }

  Node take() const {
    return by_threads(words, side(), [&](const Node& x, const Node& line) {
      const Node at = mul(x, constant_int(word()));
      Substitution values = values_;
      values[u_] = add(first_u_, line);
      values[v_] = add(first_v_, at);
      std::vector<Node> statements;
      for (std::size_t i = 0; i < stores_.size(); ++i) {
        const Node turned = load_from(
            turned_[i], place_of(line, idiv(line, constant_int(lanes_u_)), x), {}, word());
        statements.push_back(
            store_to(stores_[i].src(0), substitute(stores_[i].src(1), values), turned));
      }
      return branch(inside(values.at(u_), values.at(v_)), block(std::move(statements)));
    });
  }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  Node u_, v_;
  std::vector<Node> others_;
  int bytes_ = 1;  // of an element
  int lanes_u_ = 1;
  Substitution values_;  // counters of the other ranges
  Node first_u_, first_v_;
  std::vector<Node> turned_;  // of each store, in shared memory: lines along V
};

}  // namespace

std::optional<Schedule> group_transposition(const Part& part, Workshop& workshop) {
  GroupTransposition strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
