// Elementwise work over two ranges, where what is stored lies along one (V) and something that is
// read along the other (U): a transposed matrix, permuted axes. Squares of lanes × lanes elements
// are read along U, turned in registers and used along V. As many of them are taken together as
// make whole lines of the cache both ways: rows that lie a power of two apart share few places in
// it, so that a line does not stay there until the next square wants the rest of it.
#include <algorithm>

#include "base/power_of_two.h"
#include "optimize/analysis.h"
#include "optimize/panel.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

// Of a task's block. Rows are read a page at a time, few of them side by side, so that the
// processor follows them ahead of the loads; lines that are written whole need not lie near each
// other.
constexpr std::int64_t read_bytes = 4096;
constexpr std::int64_t written_bytes = 2 * line_bytes;

class Transposition {
 public:
  Transposition(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), stores_(part.stages[0].stores) {}

  bool recognise() {
    if (part_.outer.size() < 2 || !find_all(stores_, Op::reduce_).empty()) return false;
    v_ = stored_along(stores_, part_.outer);
    if (!v_ || !find_across()) return false;
    lanes_ = std::min(workshop_.target().lanes(byte_size(across_[0].dtype())), 16);
    if (!is_power_of_two(lanes_) || lanes_ < 4) return false;
    for (const Node& store : stores_) {
      // Squares at the edges overlap their neighbours: what is read must not be written.
      const bool read = std::any_of(part_.outer.begin(), part_.outer.end(), [&](const Node& range) {
        return !depends_on(store.src(1), range);
      });
      if (is_scatter(store) || read || workshop_.params()[store.src(0).ints(0)].read) return false;
    }
    const std::int64_t least = std::min(Size(u_.src(0)).lower(), Size(v_.src(0)).lower());
    const bool two = line_bytes >= 2 * lanes_ * byte_size(across_[0].dtype());
    side_ = two && least >= 2 * lanes_ ? 2 * lanes_ : lanes_;
    return least >= side_;
  }

  Schedule run() {
    const auto block = [&](std::int64_t bytes) {
      return std::max<std::int64_t>(side_, bytes / byte_size(across_[0].dtype()));
    };
    const std::int64_t along_u = block(read_bytes);
    const std::int64_t along_v = block(written_bytes);
    std::vector<Node> points;
    for (const Node& range : part_.outer) {
      if (!(range == u_) && !(range == v_)) points.push_back(range);
    }
    const Size u_blocks = (Size(u_.src(0)) + (along_u - 1)) / along_u;
    const Size v_blocks = (Size(v_.src(0)) + (along_v - 1)) / along_v;
    const Size count = extent(points) * u_blocks * v_blocks;
    const Node task = workshop_.range(count);
    Node rest = count == Size(1) ? constant_int(0) : task;
    const Node u_block = mod(rest, u_blocks.node());
    rest = idiv(rest, u_blocks.node());
    const Node v_block = mod(rest, v_blocks.node());
    Substitution values;
    place(values, points, idiv(rest, v_blocks.node()));

    const Node i = workshop_.range(along_u / side_);
    const Node j = workshop_.range(along_v / side_);
    const Node u0 = add(mul(u_block, constant_int(along_u)), mul(i, constant_int(side_)));
    const Node v0 = add(mul(v_block, constant_int(along_v)), mul(j, constant_int(side_)));
    Node body = squares(values, edge(u_, u0), edge(v_, v0));
    body = branch(logical_and(integer_less(u0, u_.src(0)), integer_less(v0, v_.src(0))), body);
    body = loop(LoopKind::serial, j, loop(LoopKind::serial, i, body));
    Schedule schedule;
    schedule.name = "transposition";
    schedule.phases = {count == Size(1) ? body : loop(LoopKind::parallel, task, body)};
    return schedule;
  }

 private:
  // Loads that move by more than an element along V, but by one along some other range, the same
  // for all of them.
  bool find_across() {
    for (const Node& load : find_all(stores_, Op::load_)) {
      const auto along = stride(load.src(1), v_);
      if (along == 0 || along == 1) continue;
      if (!along || load.srcs().size() != 2) return false;
      Node one;
      for (const Node& range : part_.outer) {
        if (stride(load.src(1), range) == 1) one = range;
      }
      if (!one || (u_ && !(u_ == one)) ||
          (!across_.empty() && byte_size(across_[0].dtype()) != byte_size(load.dtype()))) {
        return false;
      }
      u_ = one;
      across_.push_back(load);
    }
    return !across_.empty();
  }

  // The last squares are moved back to where they are whole.
  Node edge(const Node& range, const Node& first) const {
    const Size size(range.src(0));
    if (size.is_constant() && size.value() % side_ == 0) return first;
    return integer_min(first, (size - side_).node());
  }

  // Reads side × side elements line by line, and then stores them line by line.
  Node squares(const Substitution& outside, const Node& u0, const Node& v0) {
    std::vector<Node> statements;
    const auto further = [](const Node& first, int by) { return add(first, constant_int(by)); };
    std::vector<std::vector<Node>> turned;  // of each square, V's turn last, each load
    for (int v = 0; v < side_; v += lanes_) {
      for (int u = 0; u < side_; u += lanes_)
        turned.push_back(turn(outside, further(u0, u), further(v0, v), statements));
    }
    const auto lanes = static_cast<std::size_t>(lanes_);
    const std::size_t squares = static_cast<std::size_t>(side_) / lanes;
    for (int u = 0; u < side_; ++u) {
      for (std::size_t v = 0; v < squares; ++v) {
        const std::vector<Node>& here =
            turned.at(v * squares + static_cast<std::size_t>(u) / lanes);
        Substitution at = outside;
        at[u_] = further(u0, u);
        for (std::size_t l = 0; l < across_.size(); ++l)
          at[across_[l]] = load_from(here[l], slot(u % lanes_), {}, lanes_);
        for (const Node& store : stores_)
          statements.push_back(store_along(store, at, further(v0, static_cast<int>(v) * lanes_)));
      }
    }
    return block(std::move(statements));
  }

  // What each load reads of a square, in registers along V.
  std::vector<Node> turn(const Substitution& outside, const Node& u0, const Node& v0,
                         std::vector<Node>& statements) {
    std::vector<Node> turned;
    for (const Node& load : across_) {
      Node rows = workshop_.registers(load.dtype(), static_cast<std::int64_t>(lanes_) * lanes_);
      for (int i = 0; i < lanes_; ++i) {
        Substitution at = outside;
        at[v_] = add(v0, constant_int(i));
        statements.push_back(store_to(rows, slot(i), vectorise(load, u_, u0, lanes_, at)));
      }
      turned.push_back(turn_words(rows, lanes_, lanes_, 1, workshop_, statements));
    }
    return turned;
  }

  Node store_along(const Node& store, const Substitution& at, const Node& v0) const {
    const Node value = splat(vectorise(store.src(2), v_, v0, lanes_, at), lanes_);
    const Node gate =
        store.srcs().size() == 4 ? vectorise(store.src(3), v_, v0, lanes_, at) : Node();
    Substitution scalars = at;
    scalars[v_] = v0;
    return store_to(store.src(0), substitute(store.src(1), scalars), value, gate);
  }

  Node slot(int i) const { return constant_int(static_cast<std::int64_t>(i) * lanes_); }

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  Node u_, v_;
  std::vector<Node> across_;  // the loads along U
  int lanes_ = 1;
  int side_ = 1;  // of the squares that are taken together
};

}  // namespace

std::optional<Schedule> transposition(const Part& part, Workshop& workshop) {
  Transposition strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
