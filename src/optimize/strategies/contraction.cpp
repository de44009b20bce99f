// Matrix products, convolutions and their batched forms: sums over products of two operands X and
// Y, where X depends on output ranges M and the summed ranges K, Y on N and K, both on the batch
// ranges. N holds the range along which the output is contiguous.
//
// Phases: operands that are no plain matrices are computed into working memory (so a norm or a
// dequantisation before the product is evaluated once per element); then tasks over blocks of N. A
// task packs its panel of Y, K × (2 vectors), into its own cache and runs register tiles of
// MR × 2 vectors down M over it; what follows the sum is computed on the tile in registers.
//
// Products of 8-bit integers and of bfloat16 go through the machine's dot products, which sum
// groups of 4 or 2 neighbours along K: panels then hold the groups of neighbouring columns side by
// side.
#include <algorithm>
#include <functional>

#include "base/error.h"
#include "optimize/analysis.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

// One operand: its expression and, once it lies in memory as [batch…, rows…, K], where.
struct Operand {
  Node value;
  Ranges rows;
};

class Contraction {
 public:
  Contraction(const Part& part, Workshop& workshop) : part_(part), workshop_(workshop) {}

  bool recognise() {
    const std::vector<Node>& stores = part_.stages[0].stores;
    sums_ = find_all(stores, Op::reduce_);
    if (sums_.empty() || sums_.size() > 2) return false;
    k_ = {sums_[0].srcs().begin() + 1, sums_[0].srcs().end()};
    for (const Node& sum : sums_) {
      const Ranges mine(sum.srcs().begin() + 1, sum.srcs().end());
      if (static_cast<ReduceOp>(sum.ints(0)) != ReduceOp::add || mine != k_ ||
          !sum.src(0).is(Op::mul_) || sum.dtype() != sums_[0].dtype()) {
        return false;
      }
    }
    total_ = sums_[0].dtype();
    choose_elements();
    if (group_ == 1 && total_ != DType::float32) return false;
    contiguous_ = {};
    for (const Node& range : part_.outer) {
      bool one = true;
      for (const Node& store : stores) {
        one = one && stride(store.src(1), range) == 1;
        if (is_scatter(store)) return false;
      }
      if (one) contiguous_ = range;
    }
    if (!contiguous_) return false;
    for (const Node& sum : sums_) {
      Operand x{uncast(sum.src(0).src(0)), {}};
      Operand y{uncast(sum.src(0).src(1)), {}};
      if (!depends_on(y.value, contiguous_)) std::swap(x, y);
      if (depends_on(x.value, contiguous_) || !depends_on(y.value, contiguous_)) return false;
      x_.push_back(x);
      y_.push_back(y);
    }
    for (const Node& range : part_.outer) {
      const bool in_x = any(x_, range);
      const bool in_y = any(y_, range);
      if (!in_x && !in_y) return false;
      (in_x && in_y ? batch_ : in_x ? m_ : n_).push_back(range);
    }
    if (n_.back() != contiguous_ || m_.empty()) return false;
    for (const Node& range : k_) {
      if (!any(x_, range) || !any(y_, range)) return false;
    }
    if (group_ > 1 && !groups_fit()) return false;
    const double m = static_cast<double>(extent(m_).upper());
    const double n = static_cast<double>(extent(n_).upper());
    const double k = static_cast<double>(extent(k_).upper());
    return m >= 2 && 2 * n >= lanes_ && k >= 4 && m * n * k >= 16'384;
  }

  Schedule run() {
    Schedule schedule;
    schedule.name = group_ == 1 ? "contraction" : "contraction_" + std::string(name(element_));
    choose_tile();
    if (element_ == DType::int8) sum_rows(schedule);
    // Y along a short innermost range (a small image, say) goes to memory as one long row first.
    const bool short_rows = n_.size() > 1 && Size(n_.back().src(0)).upper() < 2L * lanes_;
    for (Operand& x : x_) {
      if (!is_row_major(x)) stage(x, m_, schedule, true);
    }
    if (short_rows) {
      const Ranges whole = n_;
      const Node flat = workshop_.range(extent(n_));
      for (Operand& y : y_) stage(y, whole, schedule, false);
      place(n_values_, whole, flat);
      n_ = {flat};
      for (Operand& y : y_) {
        Substitution memo = {{flat_source_, flat}};
        y.value = substitute(y.value, memo);
      }
    }
    schedule.phases.push_back(main_phase());
    return schedule;
  }

 private:
  static bool any(const std::vector<Operand>& operands, const Node& range) {
    return std::any_of(operands.begin(), operands.end(),
                       [&](const Operand& o) { return depends_on(o.value, range); });
  }

  Node uncast(const Node& operand) const { return group_ > 1 ? operand.src(0) : operand; }

  // The elements that are multiplied: as they are in memory where the machine has a dot product for
  // them, float32 otherwise.
  void choose_elements() {
    lanes_ = workshop_.target().lanes(4);
    const auto narrow = [&](DType a, DType b) {
      return std::all_of(sums_.begin(), sums_.end(), [&](const Node& sum) {
        const Node& left = sum.src(0).src(0);
        const Node& right = sum.src(0).src(1);
        return left.is(Op::cast_) && right.is(Op::cast_) && left.src(0).dtype() == a &&
               right.src(0).dtype() == b;
      });
    };
    if (total_ == DType::int32 && narrow(DType::int8, DType::int8)) {
      element_ = DType::int8;
      group_ = 4;
    } else if (total_ == DType::float32 && workshop_.target().has_bfloat16_dot &&
               narrow(DType::bfloat16, DType::bfloat16)) {
      element_ = DType::bfloat16;
      group_ = 2;
    }
  }

  // Whole groups along K, in whichever way the panels are packed.
  bool groups_fit() const {
    const Size whole = extent(k_);
    const Size last(k_.back().src(0));
    return whole.is_constant() && last.is_constant() && last.value() % group_ == 0;
  }

  // The dot product takes unsigned × signed bytes: Y goes in with 128 added, and 128·Σ X comes off.
  void sum_rows(Schedule& schedule) {
    for (const Operand& x : x_) {
      Ranges order = batch_of(x);
      order.insert(order.end(), m_.begin(), m_.end());
      const Node memory = workshop_.workspace(DType::int32, extent(order));
      Part part;
      part.outer = order;
      const Node sum = reduce_over(ReduceOp::add, cast(x.value, DType::int32), k_);
      part.stages.push_back(
          {{}, {store_to(memory, position(order), mul(sum, constant_int(-128, DType::int32)))}});
      join(schedule, *loops(part, workshop_));
      offsets_.push_back(load_from(memory, position(order)));
    }
  }

  // MR × NV vectors of accumulators for each sum, so that all stay in registers.
  void choose_tile() {
    const int registers = workshop_.target().vector_registers;
    const auto sums = static_cast<int>(sums_.size());
    nv_ = 2;
    int most = std::max(1, (registers - nv_ * sums - 2) / (nv_ * sums));
    most = std::min(most, 14);
    const std::int64_t m = extent(m_).upper();
    if (m <= most) {
      mr_ = static_cast<int>(m);
      while (nv_ < 4 && (mr_ * (nv_ + 1) + nv_ + 1) * sums + 1 <= registers &&
             extent(n_).upper() >= static_cast<std::int64_t>(nv_ + 1) * lanes_) {
        ++nv_;
      }
      return;
    }
    mr_ = most;
    double best = 1e9;
    for (int candidate = most; candidate >= std::max(1, most * 2 / 3); --candidate) {
      const std::int64_t tiles = (m + candidate - 1) / candidate;
      const double waste =
          static_cast<double>(tiles * candidate) / static_cast<double>(m) * (1 + 1.5 / candidate);
      if (waste < best - 1e-9) {
        best = waste;
        mr_ = candidate;
      }
    }
  }

  // A load whose elements lie one after the other along K.
  bool is_row_major(const Operand& x) const {
    return k_.size() == 1 && x.value.is(Op::load_) && x.value.srcs().size() == 2 &&
           stride(x.value.src(1), k_[0]) == 1;
  }

  // Computes the operand into working memory: [batch, rows, K] (by_rows) or [batch, K, rows].
  void stage(Operand& operand, const Ranges& rows, Schedule& schedule, bool by_rows) {
    Ranges order = batch_of(operand);
    const Ranges& first = by_rows ? rows : k_;
    const Ranges& second = by_rows ? k_ : rows;
    order.insert(order.end(), first.begin(), first.end());
    order.insert(order.end(), second.begin(), second.end());
    const Node memory = workshop_.workspace(element_, extent(order));
    Part part;
    part.outer = order;
    part.stages.push_back({{}, {store_to(memory, position(order), operand.value)}});
    int next_range = workshop_.reserve_ranges(2 * static_cast<int>(order.size()) + 8);
    merge_ranges(part, next_range);
    const std::optional<Schedule> packing = loops(part, workshop_);
    join(schedule, *packing);
    Ranges flat_order = batch_of(operand);
    if (by_rows) {
      flat_order.insert(flat_order.end(), rows.begin(), rows.end());
      const Node k = flat_k();
      operand.value = load_from(memory, add(mul(position(flat_order), extent(k_).node()), k));
    } else {
      if (!flat_source_) flat_source_ = workshop_.range(extent(rows));
      flat_order.push_back(flat_k());
      operand.value =
          load_from(memory, add(mul(position(flat_order), extent(rows).node()), flat_source_));
    }
    staged_.push_back(operand.value);
  }

  // Packings of several operands run side by side.
  void join(Schedule& schedule, const Schedule& packing) {
    if (schedule.phases.empty()) {
      schedule.phases = packing.phases;
    } else {
      schedule.phases.insert(schedule.phases.end(), packing.phases.begin(), packing.phases.end());
    }
  }

  Ranges batch_of(const Operand& operand) const {
    Ranges mine;
    for (const Node& range : batch_) {
      if (depends_on(operand.value, range)) mine.push_back(range);
    }
    return mine;
  }

  // K as one counter.
  Node flat_k() {
    if (!flat_k_) flat_k_ = workshop_.range(extent(k_));
    return flat_k_;
  }

  bool staged(const Operand& operand) const {
    return std::any_of(staged_.begin(), staged_.end(), [&](const Node& node) {
      return node.src(0) == operand.value.src(0) && operand.value.is(Op::load_);
    });
  }

  // The operand at K position `k`.
  void place_k(Substitution& values, const Node& k) {
    place(values, k_, k);
    if (flat_k_) values[flat_k_] = k;
  }

  Node main_phase() {
    const Size m = extent(m_);
    const Size n = Size(n_.back().src(0));
    const std::int64_t nr = static_cast<std::int64_t>(nv_) * lanes_;
    const Size n_blocks = (n + (nr - 1)) / nr;
    const Size m_tiles = (m + (mr_ - 1)) / mr_;
    Ranges points = batch_;
    points.insert(points.end(), n_.begin(), n_.end() - 1);
    const Size columns = extent(points) * n_blocks;
    // M is split too where blocks of N alone would leave threads idle.
    const std::int64_t wanted = 4L * workshop_.target().threads;
    std::int64_t groups = 1;
    if (columns.upper() < wanted)
      groups = std::min(m_tiles.upper(), (wanted + columns.upper() - 1) / columns.upper());
    const Size tiles_each = (m_tiles + (groups - 1)) / groups;
    const Node task = workshop_.range(columns * groups);
    Node rest = columns * groups == Size(1) ? constant_int(0) : task;
    const Node group = groups == 1 ? constant_int(0) : mod(rest, constant_int(groups));
    rest = groups == 1 ? rest : idiv(rest, constant_int(groups));
    const Node n_block = n_blocks == Size(1) ? constant_int(0) : mod(rest, n_blocks.node());
    rest = idiv(rest, n_blocks.node());
    Substitution values;
    place(values, points, rest);
    const Node n0 = mul(n_block, constant_int(nr));
    const bool ragged = !n.is_constant() || n.value() % nr != 0;
    const Node limit = ragged ? n.node() : Node();

    std::vector<Node> statements;
    const std::int64_t depth = extent(k_).upper();
    // Panels of Y, unless a single tile reads it, in place and in order.
    std::vector<Node> panels;
    for (const Operand& y : y_) {
      const bool direct = group_ == 1 && m_tiles == Size(1) && contiguous_load(y.value);
      panels.push_back(direct ? Node() : workshop_.scratch(panel_dtype(), depth * nr));
      if (!direct) statements.push_back(pack(panels.back(), y, values, n0, limit));
    }
    const Node tile = workshop_.range(tiles_each);
    const Node index =
        add(mul(group, tiles_each.node()), tiles_each == Size(1) ? constant_int(0) : tile);
    Node body = register_tile(values, mul(index, constant_int(mr_)), m, n0, limit, panels);
    if (groups > 1) body = branch(cmplt(index, m_tiles.node()), body);
    statements.push_back(tiles_each == Size(1) ? body : loop(LoopKind::serial, tile, body));
    return loop(LoopKind::parallel, task, block(std::move(statements)));
  }

  bool contiguous_load(const Node& value) const {
    return value.is(Op::load_) && stride(value.src(1), n_.back()) == 1;
  }

  DType panel_dtype() const { return element_ == DType::int8 ? DType::uint8 : element_; }

  // As it goes into the panel.
  Node biased(const Node& y) const {
    if (element_ != DType::int8) return y;
    return bit_xor(bitcast(y, DType::uint8), constant_int(128, DType::uint8));
  }

  // The task's columns of Y as K rows of NR, for unit-stride loads in the inner loop; groups of K
  // as one row of NR groups.
  Node pack(const Node& panel, const Operand& y, const Substitution& outside, const Node& n0,
            const Node& limit) {
    // The ranges of K as loops of their own, so that indices stay free of divisions.
    Ranges loops_over = k_;
    if (staged(y)) loops_over = {flat_k_};
    const bool turned = reads_along(y.value, loops_over.back());
    Substitution values = outside;
    Node k = constant_int(0);
    std::vector<std::pair<Node, std::int64_t>> counters;  // with the step of each
    for (const Node& range : loops_over) {
      const std::int64_t step = &range != &loops_over.back() ? 1
                                : turned ? static_cast<std::int64_t>(lanes_) * group_
                                         : group_;
      const Node counter = workshop_.range(Size(range.src(0)) / step);
      counters.push_back({counter, step});
      const Node at = mul(counter, constant_int(step));
      values[range] = at;
      k = add(mul(k, range.src(0)), at);
    }
    std::vector<Node> body;
    for (int v = 0; v < nv_; ++v) {
      const Node column = constant_int(static_cast<std::int64_t>(v) * lanes_);
      const Node first = add(mul(k, constant_int(static_cast<std::int64_t>(nv_) * lanes_)),
                             mul(column, constant_int(group_)));
      if (turned) {
        pack_turned(panel, first, y.value, loops_over.back(), values, add(n0, column), limit, body);
        continue;
      }
      std::vector<Node> rows;
      for (int j = 0; j < group_; ++j) {
        Substitution at = values;
        at[loops_over.back()] = add(values[loops_over.back()], constant_int(j));
        rows.push_back(splat(
            vectorise(biased(y.value), n_.back(), add(n0, column), lanes_, at, limit), lanes_));
      }
      body.push_back(store_to(panel, first, interleave(std::move(rows))));
    }
    Node nest = block(std::move(body));
    for (std::size_t i = counters.size(); i-- > 0;)
      nest = loop(LoopKind::serial, counters[i].first, nest);
    return nest;
  }

  // Y lies along K rather than along N in memory: whole vectors of K fit, and reading them is
  // cheaper.
  bool reads_along(const Node& value, const Node& range) const {
    const Size size(range.src(0));
    if (!size.is_constant() || size.value() % (static_cast<std::int64_t>(lanes_) * group_) != 0 ||
        (lanes_ & (lanes_ - 1)) != 0)
      return false;
    int score = 0;
    for (const Node& load : find_all({value}, Op::load_)) {
      const auto along = stride(load.src(1), range);
      const auto across = stride(load.src(1), n_.back());
      score += (along && (*along == 0 || *along == 1)) ? 1 : -1;
      score -= (across && (*across == 0 || *across == 1)) ? 1 : -1;
    }
    return score > 0;
  }

  // Element j of every row before element j+1 of any: a0 b0 c0 d0 a1 b1 …
  static Node interleave(std::vector<Node> rows) {
    while (rows.size() > 1) {
      const std::size_t half = rows.size() / 2;
      const int count = rows[0].lanes();
      std::vector<std::int64_t> lanes;
      for (int i = 0; i < count; ++i) {
        lanes.push_back(i);
        lanes.push_back(count + i);
      }
      for (std::size_t i = 0; i < half; ++i) rows[i] = shuffle(rows[i], rows[i + half], lanes);
      rows.resize(half);
    }
    return rows[0];
  }

  // A square of lanes × lanes groups: rows of N read along K, turned in registers, stored along N.
  void pack_turned(const Node& panel, const Node& first, const Node& value, const Node& along,
                   const Substitution& outside, const Node& n0, const Node& limit,
                   std::vector<Node>& statements) {
    const int width = lanes_ * group_;
    const auto square = static_cast<std::int64_t>(lanes_) * width;
    const auto slot = [&](const Node& memory, int i) {
      return load_from(memory, constant_int(static_cast<std::int64_t>(i) * width), {}, width);
    };
    const auto keep = [&](const Node& memory, int i, const Node& vector) {
      statements.push_back(
          store_to(memory, constant_int(static_cast<std::int64_t>(i) * width), vector));
    };
    Node now = workshop_.registers(panel_dtype(), square);
    for (int i = 0; i < lanes_; ++i) {
      Substitution at = outside;
      const Node row = add(n0, constant_int(i));
      at[n_.back()] = limit ? integer_min(row, integer_sub(limit, constant_int(1))) : row;
      const Node base = at[along];
      at.erase(along);
      keep(now, i, splat(vectorise(biased(value), along, base, width, at), width));
    }
    // Each round swaps, between rows that differ in one bit of their number, the halves of columns
    // that differ in the same bit.
    for (int bit = 1; bit < lanes_; bit *= 2) {
      const Node next = workshop_.registers(panel_dtype(), square);
      std::vector<std::int64_t> low;
      std::vector<std::int64_t> high;
      for (int e = 0; e < width; ++e) {
        const int c = e / group_;
        const int other = (c ^ bit) * group_ + e % group_;
        low.push_back((c & bit) == 0 ? e : width + other);
        high.push_back((c & bit) == 0 ? other : width + e);
      }
      for (int i = 0; i < lanes_; ++i) {
        if ((i & bit) != 0) continue;
        keep(next, i, shuffle(slot(now, i), slot(now, i | bit), low));
        keep(next, i | bit, shuffle(slot(now, i), slot(now, i | bit), high));
      }
      now = next;
    }
    const std::int64_t nr = static_cast<std::int64_t>(nv_) * width;
    for (int i = 0; i < lanes_; ++i) {
      statements.push_back(store_to(panel, add(first, constant_int(nr * i)), slot(now, i)));
    }
  }

  // The rows m0 … m0+MR-1 of the task's columns: accumulate over K, then finish and store.
  Node register_tile(const Substitution& outside, const Node& m0, const Size& m, const Node& n0,
                     const Node& limit, const std::vector<Node>& panels) {
    std::vector<Node> statements;
    const std::int64_t nr = static_cast<std::int64_t>(nv_) * lanes_;
    std::vector<Node> accumulators;
    for (std::size_t s = 0; s < sums_.size(); ++s) {
      accumulators.push_back(workshop_.registers(total_, mr_ * nr));
    }
    const bool ragged = !m.is_constant() || m.value() % mr_ != 0;
    std::vector<Node> rows;  // row of the output, clamped to the last for reading
    for (int r = 0; r < mr_; ++r) {
      const Node row = add(m0, constant_int(r));
      rows.push_back(ragged ? integer_min(row, (m - 1).node()) : row);
    }
    for (std::size_t s = 0; s < sums_.size(); ++s) {
      for (int i = 0; i < mr_ * nv_; ++i) {
        Node start = constant_like(0, total_);
        if (!offsets_.empty()) {
          Substitution at = outside;
          place(at, m_, rows[static_cast<std::size_t>(i / nv_)]);
          start = substitute(offsets_[s], at);
        }
        statements.push_back(store_to(accumulators[s],
                                      constant_int(static_cast<std::int64_t>(i) * lanes_),
                                      splat(start, lanes_)));
      }
    }
    const Node k = workshop_.range(extent(k_) / group_);
    const Node first_k = mul(k, constant_int(group_));
    std::vector<Node> products;
    for (std::size_t s = 0; s < sums_.size(); ++s) {
      for (int r = 0; r < mr_; ++r) {
        Substitution at = outside;
        place(at, m_, rows[static_cast<std::size_t>(r)]);
        place_k(at, first_k);
        Node x = substitute(x_[s].value, at);
        if (group_ > 1) x = repeated(x);
        for (int v = 0; v < nv_; ++v) {
          Node y;
          if (panels[s]) {
            y = load_from(panels[s],
                          add(mul(first_k, constant_int(nr)),
                              constant_int(static_cast<std::int64_t>(v) * lanes_ * group_)),
                          {}, lanes_ * group_);
          } else {
            Substitution values = outside;
            place_k(values, first_k);
            y = vectorise(y_[s].value, n_.back(),
                          add(n0, constant_int(static_cast<std::int64_t>(v) * lanes_)), lanes_,
                          values, limit);
          }
          const Node at_register = constant_int((static_cast<std::int64_t>(r) * nv_ + v) * lanes_);
          const Node old = load_from(accumulators[s], at_register, {}, lanes_);
          const Node sum = group_ > 1 ? dot(old, y, x) : add(old, mul(splat(x, lanes_), y));
          products.push_back(store_to(accumulators[s], at_register, sum));
        }
      }
    }
    statements.push_back(loop(LoopKind::serial, k, block(std::move(products))));

    for (int r = 0; r < mr_; ++r) {
      std::vector<Node> finish;
      for (int v = 0; v < nv_; ++v) {
        Substitution at = outside;
        place(at, m_, add(m0, constant_int(r)));
        for (std::size_t s = 0; s < sums_.size(); ++s) {
          at[sums_[s]] = load_from(accumulators[s],
                                   constant_int((static_cast<std::int64_t>(r) * nv_ + v) * lanes_),
                                   {}, lanes_);
        }
        const Node base = add(n0, constant_int(static_cast<std::int64_t>(v) * lanes_));
        for (const Node& store : part_.stages[0].stores)
          finish.push_back(finish_store(store, at, base, limit));
      }
      const Node inside = ragged && r > 0 ? cmplt(add(m0, constant_int(r)), m.node()) : Node();
      const Node body = block(std::move(finish));
      statements.push_back(inside ? branch(inside, body) : body);
    }
    return block(std::move(statements));
  }

  // The group that begins at this element, in every group of lanes.
  Node repeated(const Node& element) const {
    const Node group = load_from(element.src(0), element.src(1), {}, group_);
    std::vector<std::int64_t> lanes;
    for (int i = 0; i < lanes_ * group_; ++i) lanes.push_back(i % group_);
    return shuffle(group, {}, lanes);
  }

  Node finish_store(const Node& store, Substitution& at, const Node& base, const Node& limit) {
    // Where N went through memory as one row, the original ranges follow from the flat one.
    Node index = store.src(1);
    Node value = store.src(2);
    Node gate = store.srcs().size() == 4 ? store.src(3) : Node();
    if (!n_values_.empty()) {
      Substitution unflat = n_values_;
      index = substitute(index, unflat);
      Substitution again = n_values_;
      for (const Node& sum : sums_) again[sum] = sum;  // already a finished value
      value = substitute(value, again);
      if (gate) gate = substitute(gate, again);
    }
    const Node& range = n_.back();
    value = splat(vectorise(value, range, base, lanes_, at, limit), lanes_);
    if (gate) gate = vectorise(gate, range, base, lanes_, at, limit);
    if (limit) {
      const Node inside =
          make_node(Op::cmplt_, DType::boolean, {ramp(base, lanes_), limit}, {}, lanes_);
      gate = gate ? make_node(Op::and_, DType::boolean, {gate, inside}, {}, lanes_) : inside;
    }
    if (stride(index, range) == 1) {
      Substitution scalar = at;
      scalar[range] = base;
      return store_to(store.src(0), substitute(index, scalar), value, gate);
    }
    return store_to(store.src(0), splat(vectorise(index, range, base, lanes_, at), lanes_), value,
                    gate);
  }

  const Part& part_;
  Workshop& workshop_;
  std::vector<Node> sums_;
  std::vector<Operand> x_;
  std::vector<Operand> y_;
  Ranges m_;
  Ranges n_;
  Ranges k_;
  Ranges batch_;
  Node contiguous_;
  Node flat_k_;
  Node flat_source_;
  Substitution n_values_;
  std::vector<Node> staged_;
  std::vector<Node> offsets_;  // what each sum starts from
  DType total_ = DType::float32;
  DType element_ = DType::float32;
  int group_ = 1;  // elements along K that one dot product sums
  int lanes_ = 1;
  int mr_ = 1;
  int nv_ = 2;
};

}  // namespace

std::optional<Schedule> contraction(const Part& part, Workshop& workshop) {
  Contraction strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
