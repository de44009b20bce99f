// Matrix products, convolutions and their batched forms: sums over products of two operands X and
// Y, where X depends on output ranges M and the summed ranges K, Y on N and K, both on the batch
// ranges. N holds the range along which the output is contiguous. Several such sums may stand in
// one expression, over the same K or each over its own.
//
// Phases: X, where its rows do not lie in memory, is computed into working memory (so a norm or a
// dequantisation before the product is evaluated once per element); then tasks over blocks of N. A
// task packs its panel of Y, K × a few vectors, into its own cache (optimize/panel.h) and runs
// register tiles of MR rows down M over it; what follows the sum is computed on the tile in
// registers.
//
// Small integers and bfloat16 go through the machine's dot products, which sum groups of 2 or 4
// neighbours along K. Where groups of integers have scales (quantised blocks), a tile's sums of a
// group stay integers in registers, and float32 sums lie in the core's cache.
#include <fmt/core.h>

#include <algorithm>
#include <functional>

#include "base/error.h"
#include "kernel/panel_product.h"
#include "optimize/analysis.h"
#include "optimize/panel.h"
#include "optimize/product.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

// One sum of products.
struct Term {
  Product product;
  Node x, y;  // the operands, as elements of the panels' dtype
  Ranges k;   // all summed ranges, outermost first: those of groups, then those within one
  Node flat;  // K as one counter, where X or Y are read by it
  bool flat_x = false;
  bool staged_y = false;
  Factors scale, offset;                  // of a group; `with` N and without it
  Node panel, scale_panel, offset_panel;  // of Y; no panel where it is read in place
  Node start;                             // what the sum (of a group) starts from
  Node sums, group_sums;                  // the tile's
};

class Contraction {
 public:
  Contraction(const Part& part, Workshop& workshop) : part_(part), workshop_(workshop) {}

  bool recognise() {
    if (!find_terms() || !find_columns() || !orient() || !classify_ranges()) return false;
    if (!choose_elements()) return false;
    double products = 0;
    for (const Term& term : terms_) products += points(m_) * points(n_) * points(term.k);
    return points(m_) >= 2 && 2 * points(n_) >= lanes_ && products >= 16'384;
  }

  Schedule run() {
    Schedule schedule;
    schedule.name = tiles_ ? "contraction_tiles" : "contraction";
    if (group_ > 1) schedule.name += "_" + std::string(name(element_));
    choose_tile();
    for (Term& term : terms_) {
      const bool in_place =
          tiles_ ? evenly_apart(term.x) && flatten_x(term) : reads_rows(term) || flatten_x(term);
      if (!in_place) stage_x(term, schedule);
    }
    for (Term& term : terms_) {
      if (bias_ != 0) sum_rows(term, schedule);
      for (Node* side : {&term.scale.without, &term.offset.without}) {
        if (*side && !find_all({*side}, Op::reduce_).empty())
          *side = by_rows(term, *side, schedule);
      }
    }
    // Y along a short innermost range (a small image, say) goes to memory as one long row first.
    const bool short_rows = n_.size() > 1 && Size(n_.back().src(0)).upper() < 2L * lanes_;
    if (short_rows) stage_y(schedule);
    schedule.phases.push_back(main_phase());
    return schedule;
  }

 private:
  // ---- recognition ---------------------------------------------------------------------------

  static double points(const Ranges& ranges) { return static_cast<double>(extent(ranges).upper()); }

  bool find_terms() {
    for (const Node& sum : outermost_reductions(part_.stages[0].stores)) {
      const std::optional<Product> product = product_of(sum);
      if (!product) return false;
      Term term;
      term.product = *product;
      term.k = product->ranges;
      term.k.insert(term.k.end(), product->inner.begin(), product->inner.end());
      const Product& first = terms_.empty() ? term.product : terms_[0].product;
      if (sum.dtype() != first.sum.dtype() || product->grouped() != first.grouped()) return false;
      terms_.push_back(std::move(term));
    }
    if (terms_.empty() || terms_.size() > 4) return false;
    total_ = terms_[0].product.sum.dtype();
    grouped_ = terms_[0].product.grouped();
    return total_ == DType::float32 || total_ == DType::int32;
  }

  // The range along which every store is contiguous. One that is shorter than a vector gives way to
  // a long one along which stores take steps, if operands lie in order along it, or along a summed
  // range that is longer than the short one: then they are turned as they are packed, which pays
  // where sums are long.
  bool find_columns() {
    const std::vector<Node>& stores = part_.stages[0].stores;
    if (std::any_of(stores.begin(), stores.end(), is_scatter)) return false;
    const auto all = [&](const Node& range, auto&& fits) {
      return std::all_of(stores.begin(), stores.end(),
                         [&](const Node& store) { return fits(stride(store.src(1), range)); });
    };
    for (const Node& range : part_.outer) {
      if (all(range, [](auto step) { return step == 1; })) contiguous_ = range;
    }
    if (!contiguous_ || length(contiguous_) >= workshop_.target().lanes(4))
      return static_cast<bool>(contiguous_);
    const std::vector<Node> loads = moving_loads();
    const Ranges& k = terms_[0].k;
    const bool may_turn = length(k.back()) > length(contiguous_);
    Node in_order;
    Node turned;
    for (const Node& range : part_.outer) {
      if (length(range) < workshop_.target().lanes(4) ||
          !all(range, [](auto step) { return step > 1; }))
        continue;
      if (contiguous_bytes(loads, range) > 0) in_order = range;
      const bool pays = may_turn && extent(k).upper() >= 4 * length(range);
      if (pays && is_turned(loads, range)) turned = range;
    }
    if (in_order || turned) contiguous_ = in_order ? in_order : turned;
    return true;
  }

  static std::int64_t length(const Node& range) { return Size(range.src(0)).upper(); }

  // Loads of what the sums read anew as they go on.
  std::vector<Node> moving_loads() const {
    std::vector<Node> list;
    for (const Term& term : terms_) {
      for (const Node& load : find_all({term.product.sum}, Op::load_)) {
        const auto moves = [&](const Node& range) { return depends_on(load.src(1), range); };
        if (std::any_of(term.k.begin(), term.k.end(), moves)) list.push_back(load);
      }
    }
    return list;
  }

  // Whether the loads that move with a range of the results take steps with it, and go on to the
  // next element with the innermost of what is summed.
  bool is_turned(const std::vector<Node>& loads, const Node& range) const {
    bool any = false;
    for (const Node& load : loads) {
      if (!depends_on(load.src(1), range)) continue;
      any = stride(load.src(1), terms_[0].k.back()) == 1 && stride(load.src(1), range) &&
            load.srcs().size() == 2;
      if (!any) return false;
    }
    return any;
  }

  bool orient() {
    for (Term& term : terms_) {
      term.x = term.product.a;
      term.y = term.product.b;
      if (!depends_on(term.y, contiguous_)) std::swap(term.x, term.y);
      if (depends_on(term.x, contiguous_) || !depends_on(term.y, contiguous_)) return false;
      for (const Node& range : term.k) {
        if (!depends_on(term.x, range) || !depends_on(term.y, range)) return false;
      }
      if (!find_all({term.y}, Op::reduce_).empty()) return false;
    }
    return true;
  }

  bool classify_ranges() {
    for (const Node& range : part_.outer) {
      bool in_x = false;
      bool in_y = false;
      for (const Term& term : terms_) {
        in_x = in_x || depends_on(term.x, range);
        in_y = in_y || depends_on(term.y, range);
      }
      if (!in_x && !in_y) return false;
      (in_x && in_y ? batch_ : in_x ? m_ : n_).push_back(range);
    }
    if (n_.empty() || n_.back() != contiguous_ || m_.empty()) return false;
    if (!grouped_) return true;
    // What scales a group is a factor of X's side times one of Y's.
    for (Term& term : terms_) {
      term.scale = factors_of(term.product.scale, n_);
      if (term.product.offset) {
        if (term.product.offset.is(Op::add_)) return false;
        term.offset = factors_of(term.product.offset, n_);
      }
      for (const Node* side : {&term.scale.with, &term.offset.with}) {
        const auto in_both = [&](const Node& range) { return depends_on(*side, range); };
        if (*side && std::any_of(m_.begin(), m_.end(), in_both)) return false;
      }
    }
    return true;
  }

  // The elements that are multiplied: small integers and bfloat16 as the machine's dot products
  // take them, float32 otherwise. X and Y become expressions of that dtype.
  bool choose_elements() {
    const Target& target = workshop_.target();
    lanes_ = target.lanes(4);
    const auto all = [&](auto&& fits) { return std::all_of(terms_.begin(), terms_.end(), fits); };
    const auto of = [&](DType a, DType b) {
      return all([&](const Term& t) { return t.x.dtype() == a && t.y.dtype() == b; });
    };
    const bool integers = grouped_ || total_ == DType::int32;
    if (integers) {
      const bool bytes = all([](const Term& t) {
        return byte_size(t.x.dtype()) == 1 && byte_size(t.y.dtype()) == 1 &&
               is_integer(t.x.dtype()) && is_integer(t.y.dtype());
      });
      const bool words = all([](const Term& t) {
        const auto fits = [](const Node& v) {
          const Bounds known = bounds(v);
          return known.least >= -32768 && known.greatest <= 32767;
        };
        return is_integer(t.x.dtype()) && is_integer(t.y.dtype()) && fits(t.x) && fits(t.y);
      });
      const bool dots = target.has_int8_dot && !of(DType::uint8, DType::uint8);
      tiles_ = bytes && whole_groups(4) && fills_tiles(4);
      if (bytes && whole_groups(4) && (tiles_ || dots)) return bytes_of_dot();
      if (!words || !whole_groups(2)) return false;
      element_ = x_element_ = DType::int16;
      group_ = 2;
      convert();
      return true;
    }
    const auto halves = [](const Node& v) {
      return v.is(Op::cast_) && v.src(0).dtype() == DType::bfloat16;
    };
    if (target.has_bfloat16_dot && whole_groups(2) &&
        all([&](const Term& t) { return halves(t.x) && halves(t.y); })) {
      for (Term& term : terms_) {
        term.x = term.x.src(0);
        term.y = term.y.src(0);
      }
      element_ = x_element_ = DType::bfloat16;
      group_ = 2;
      tiles_ = fills_tiles(2);
      return true;
    }
    return total_ == DType::float32;
  }

  // Four bytes a lane: one side signed, the other not, or both signed where the machine can.
  bool bytes_of_dot() {
    group_ = 4;
    const bool x_signed = terms_[0].x.dtype() == DType::int8;
    const bool y_signed = terms_[0].y.dtype() == DType::int8;
    for (const Term& term : terms_) {
      if ((term.x.dtype() == DType::int8) != x_signed ||
          (term.y.dtype() == DType::int8) != y_signed)
        return false;
    }
    x_element_ = x_signed ? DType::int8 : DType::uint8;
    element_ = y_signed ? DType::int8 : DType::uint8;
    if (x_signed && y_signed && !tiles_ && !workshop_.target().has_signed_dot) {
      // Y goes in with a bias added, and bias · Σ X comes off.
      std::int64_t least = 0;
      for (const Term& term : terms_) least = std::min(least, bounds(term.y).least);
      bias_ = -least;
      element_ = DType::uint8;
      for (Term& term : terms_) {
        term.y = bitcast(add(term.y, constant_int(bias_ == 128 ? -128 : bias_, DType::int8)),
                         DType::uint8);
      }
    }
    convert();
    return true;
  }

  void convert() {
    for (Term& term : terms_) {
      if (term.x.dtype() != x_element_) term.x = cast(term.x, x_element_);
      if (term.y.dtype() != element_) term.y = cast(term.y, element_);
    }
  }

  // Whole groups along K, in whichever way the panels are packed.
  bool whole_groups(int group) const {
    return std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
      const Size last(term.k.back().src(0));
      return extent(term.k).is_constant() && last.is_constant() && last.value() % group == 0;
    });
  }

  // Whether tiles of registers are worth their while along K.
  bool fills_tiles(int group) const {
    if (!workshop_.target().has_tile_dot) return false;
    return std::all_of(terms_.begin(), terms_.end(), [&](const Term& term) {
      const Size depth = extent(grouped_ ? term.product.inner : term.k);
      const PanelProduct product = {tile_rows, tile_rows, depth.value()};
      return product.groups_of_tile(static_cast<int>(group_bytes) / group) >= 4;
    });
  }

  // MR × NV vectors of accumulators, so that all stay in registers.
  void choose_tile() {
    if (tiles_) {
      mr_ = extent(m_).upper() <= tile_rows ? tile_rows : 2 * tile_rows;
      return;
    }
    const int registers = workshop_.target().vector_registers;
    nv_ = 2;
    const int most = std::clamp((registers - nv_ - 2) / nv_, 1, 14);
    const std::int64_t m = extent(m_).upper();
    if (m <= most) {
      mr_ = static_cast<int>(m);
      while (nv_ < 4 && mr_ * (nv_ + 1) + nv_ + 2 <= registers &&
             extent(n_).upper() >= static_cast<std::int64_t>(nv_ + 1) * lanes_) {
        ++nv_;
      }
      return;
    }
    std::vector<Decision::Option> options;
    for (int rows = most; rows >= std::max(1, most * 2 / 3); --rows) {
      const std::int64_t tiles = (m + rows - 1) / rows;
      const double waste = static_cast<double>(tiles * rows) / static_cast<double>(m);
      options.push_back({fmt::format("{}", rows), waste * (1 + 1.5 / rows)});
    }
    const std::string shapes = shape_class("contraction", part_,
                                           {{"batch", extent(batch_)},
                                            {"rows", extent(m_)},
                                            {"columns", extent(n_)},
                                            {"depth", extent(terms_[0].k)}});
    mr_ = most - static_cast<int>(workshop_.decisions().choose(shapes + " rows", options));
  }

  // ---- phases in front -----------------------------------------------------------------------

  Ranges batch_of(const Node& operand) const {
    Ranges mine;
    for (const Node& range : batch_) {
      if (depends_on(operand, range)) mine.push_back(range);
    }
    return mine;
  }

  // X as it is in memory: single elements, or whole groups side by side.
  bool reads_rows(const Term& term) const {
    const bool plain = term.x.is(Op::load_) && term.x.srcs().size() == 2 &&
                       stride(term.x.src(1), term.k.back()) == 1;
    return plain && (group_ > 1 || term.k.size() == 1);
  }

  // Rows of X that are equally far apart, whatever ranges M has.
  bool evenly_apart(const Node& x) const {
    if (!x.is(Op::load_) || x.srcs().size() != 2) return false;
    Size apart;
    for (std::size_t i = m_.size(); i-- > 0;) {
      const auto step = stride(x.src(1), m_[i]);
      if (!step || (i + 1 < m_.size() && Size(*step) != apart)) return false;
      apart = Size(*step) * Size(m_[i].src(0));
    }
    return true;
  }

  // X whose elements lie one after the other along all of K (a convolution's weight) is read in
  // place by one counter.
  bool flatten_x(Term& term) {
    if (!term.x.is(Op::load_) || term.x.srcs().size() != 2) return false;
    Substitution first;
    Size apart = 1;
    for (std::size_t i = term.k.size(); i-- > 0;) {
      const auto step = stride(term.x.src(1), term.k[i]);
      if (!step || Size(*step) != apart) return false;
      apart = apart * Size(term.k[i].src(0));
      first[term.k[i]] = constant_int(0);
    }
    term.x = load_from(term.x.src(0), add(substitute(term.x.src(1), first), flat(term)));
    return term.flat_x = true;
  }

  // X into working memory, [batch, M, K]. Rows that lie a power of two apart would meet in the same
  // lines of the first cache.
  void stage_x(Term& term, Schedule& schedule) {
    Ranges rows = batch_of(term.x);
    rows.insert(rows.end(), m_.begin(), m_.end());
    Ranges order = rows;
    order.insert(order.end(), term.k.begin(), term.k.end());
    const std::int64_t padding = 64 / byte_size(term.x.dtype());
    const Apart apart = compute_apart(term.x, order, workshop_, schedule, term.k.size(), padding);
    const Size length = extent(term.k) + padding;
    term.x = load_from(apart.memory, add(mul(position(rows), length.node()), flat(term)));
    term.flat_x = true;
  }

  // Y into working memory, [batch, K, N as one range].
  void stage_y(Schedule& schedule) {
    const Ranges whole = n_;
    const Node column = workshop_.range(extent(n_));
    for (Term& term : terms_) {
      Ranges order = batch_of(term.y);
      Ranges first = order;
      order.insert(order.end(), term.k.begin(), term.k.end());
      order.insert(order.end(), whole.begin(), whole.end());
      const Node memory = compute_apart(term.y, order, workshop_, schedule).memory;
      first.push_back(flat(term));
      term.y = load_from(memory, add(mul(position(first), extent(whole).node()), column));
      term.staged_y = true;
    }
    place(n_values_, whole, column);
    n_ = {column};
    for (Term& term : terms_) {
      for (Node* side : {&term.scale.with, &term.offset.with}) {
        Substitution values = n_values_;
        if (*side) *side = substitute(*side, values);
      }
    }
  }

  // A value of each row of X, or of each group in it, in working memory.
  Node by_rows(const Term& term, const Node& value, Schedule& schedule) {
    Ranges order = batch_of(value);
    order.insert(order.end(), m_.begin(), m_.end());
    if (grouped_) order.insert(order.end(), term.product.ranges.begin(), term.product.ranges.end());
    return compute_apart(value, order, workshop_, schedule).element;
  }

  // -bias · Σ X, of each group where there are groups.
  void sum_rows(Term& term, Schedule& schedule) {
    Substitution values;
    if (term.flat_x) values[term.flat] = position(term.k);
    const Node x = substitute(term.x, values);
    const Node sum =
        reduce_over(ReduceOp::add, cast(x, DType::int32), grouped_ ? term.product.inner : term.k);
    term.start = by_rows(term, mul(sum, constant_int(-bias_, DType::int32)), schedule);
  }

  // K as one counter.
  Node flat(Term& term) {
    if (!term.flat) term.flat = workshop_.range(extent(term.k));
    return term.flat;
  }

  static void place_k(Substitution& values, const Term& term, const Node& k) {
    place(values, term.k, k);
    if (term.flat) values[term.flat] = k;
  }

  // ---- the product ---------------------------------------------------------------------------

  Node main_phase() {
    const Size m = extent(m_);
    const Size n = Size(n_.back().src(0));
    panels_ = panels_together((n + (columns() - 1)) / columns());
    const std::int64_t nr = columns() * panels_;
    const Size n_blocks = (n + (nr - 1)) / nr;
    const Size m_tiles = (m + (mr_ - 1)) / mr_;
    Ranges points = batch_;
    points.insert(points.end(), n_.begin(), n_.end() - 1);
    const Size blocks = extent(points) * n_blocks;
    // M is split too where blocks of N alone would leave threads idle.
    const std::int64_t wanted = 4L * workshop_.target().threads;
    std::int64_t groups = 1;
    if (blocks.upper() < wanted)
      groups = std::min(m_tiles.upper(), (wanted + blocks.upper() - 1) / blocks.upper());
    const Size tiles_each = (m_tiles + (groups - 1)) / groups;
    const Node task = workshop_.range(blocks * groups);
    Node rest = blocks * groups == Size(1) ? constant_int(0) : task;
    const Node group = groups == 1 ? constant_int(0) : mod(rest, constant_int(groups));
    rest = groups == 1 ? rest : idiv(rest, constant_int(groups));
    const Node n_block = n_blocks == Size(1) ? constant_int(0) : mod(rest, n_blocks.node());
    rest = idiv(rest, n_blocks.node());
    place(outside_, points, rest);
    n0_ = mul(n_block, constant_int(nr));
    limit_ = !n.is_constant() || n.value() % nr != 0 ? n.node() : Node();

    std::vector<Node> statements;
    for (Term& term : terms_) pack(term, m_tiles == Size(1), statements);
    const Node tile = workshop_.range(tiles_each);
    const Node index =
        add(mul(group, tiles_each.node()), tiles_each == Size(1) ? constant_int(0) : tile);
    const Node m0 = mul(index, constant_int(mr_));
    Node body = tiles_ ? row_of_tiles(m0, m) : register_tiles(m0, m);
    if (groups > 1) body = branch(cmplt(index, m_tiles.node()), body);
    statements.push_back(tiles_each == Size(1) ? body : loop(LoopKind::serial, tile, body));
    return loop(LoopKind::parallel, task, block(std::move(statements)));
  }

  std::int64_t columns() const { return static_cast<std::int64_t>(nv_) * lanes_; }

  // The task's columns of Y, unless a single tile reads them, in place and in order; and of what
  // scales groups.
  void pack(Term& term, bool once, std::vector<Node>& statements) {
    const bool direct = group_ == 1 && once && term.y.is(Op::load_) && term.y.srcs().size() == 2 &&
                        stride(term.y.src(1), n_.back()) == 1;
    const auto panel = [&](const Node& value, const Ranges& k, DType dtype, int group) {
      const std::int64_t elements = extent(k).upper() * columns();
      const Node memory = workshop_.scratch(dtype, elements * panels_);
      statements.push_back(each_panel([&](const Node& p, const Node& column) {
        const PanelPacker packer({dtype, nv_, lanes_, group}, n_.back(), column, limit_, outside_,
                                 workshop_);
        return packer.pack(memory, value, k, mul(p, constant_int(elements)));
      }));
      return memory;
    };
    if (!direct)
      term.panel = panel(term.y, term.staged_y ? Ranges{term.flat} : term.k, element_, group_);
    if (term.scale.with)
      term.scale_panel = panel(term.scale.with, term.product.ranges, DType::float32, 1);
    if (term.offset.with)
      term.offset_panel = panel(term.offset.with, term.product.ranges, DType::float32, 1);
  }

  // What `make` gives for a panel, its number and first column, for every panel of the task.
  template <typename Make>
  Node each_panel(const Make& make) {
    if (panels_ == 1) return make(constant_int(0), n0_);
    const Node p = workshop_.range(panels_);
    const Node column = add(n0_, mul(p, constant_int(columns())));
    const Node body = make(p, column);
    const Node& n = n_.back().src(0);
    return loop(LoopKind::serial, p, limit_ ? branch(integer_less(column, n), body) : body);
  }

  // The rows m0 … m0+MR-1 of all the task's panels. The last of all panels has as many vectors as
  // there are columns left.
  Node register_tiles(const Node& m0, const Size& m) {
    const Node first = n0_;
    const Node body = each_panel([&](const Node& p, const Node& column) {
      n0_ = column;
      panel_ = p;
      const Size n(n_.back().src(0));
      const std::int64_t rest = n.is_constant() && !grouped_ ? n.value() % columns() : 0;
      const int last = static_cast<int>((rest + lanes_ - 1) / lanes_);
      if (rest == 0 || last == nv_) return register_tile(m0, m, nv_, limit_);
      const Node whole = constant_int(n.value() - rest);
      Node narrow = register_tile(m0, m, last, rest % lanes_ == 0 ? Node() : limit_);
      if (n.value() == rest) return narrow;
      return block({branch(integer_less(column, whole), register_tile(m0, m, nv_, {})),
                    branch(integer_less(integer_sub(whole, constant_int(1)), column), narrow)});
    });
    n0_ = first;
    return body;
  }

  // Those of one panel: accumulate over K, then finish and store.
  Node register_tile(const Node& m0, const Size& m, int vectors, const Node& limit) {
    vectors_ = vectors;
    std::vector<Node> statements;
    const bool ragged = !m.is_constant() || m.value() % mr_ != 0;
    std::vector<Substitution> rows;  // of the output, clamped to the last for reading
    for (int r = 0; r < mr_; ++r) {
      const Node row = add(m0, constant_int(r));
      rows.push_back(outside_);
      place(rows.back(), m_, ragged ? integer_min(row, (m - 1).node()) : row);
    }
    for (Term& term : terms_) {
      const DType sums = grouped_ ? DType::float32 : total_;
      term.sums = grouped_ ? workshop_.scratch(sums, mr_ * columns())
                           : workshop_.registers(sums, mr_ * columns());
      if (grouped_) term.group_sums = workshop_.registers(DType::int32, mr_ * columns());
      fill(term, term.sums, sums, grouped_ ? nullptr : &rows, statements);
    }
    // One after the other: a tile fills the registers with the sums of one.
    for (const Term& term : terms_) {
      statements.push_back(grouped_ ? over_groups(term, rows)
                                    : over_k(term, rows, constant_int(0), extent(term.k)));
    }
    finish(m0, m, ragged, limit, statements);
    return block(std::move(statements));
  }

  // Vector v of row r in a tile's memory.
  Node slot(int r, int v) const { return slot(constant_int(r), v); }
  Node slot(const Node& r, int v) const {
    return add(mul(r, constant_int(columns())),
               constant_int(static_cast<std::int64_t>(v) * lanes_));
  }

  // Every sum at its start: the term's, in the given rows, or 0.
  void fill(const Term& term, const Node& memory, DType dtype,
            const std::vector<Substitution>* rows, std::vector<Node>& statements) const {
    for (int r = 0; r < mr_; ++r) {
      Node start = constant_like(0, dtype);
      if (term.start && rows != nullptr) {
        Substitution at = (*rows)[static_cast<std::size_t>(r)];
        start = substitute(term.start, at);
      }
      for (int v = 0; v < vectors_; ++v)
        statements.push_back(store_to(memory, slot(r, v), splat(start, lanes_)));
    }
  }

  // Products of `count` elements along K from `first` on, onto the sums (of the group).
  Node over_k(const Term& term, const std::vector<Substitution>& rows, const Node& first,
              const Size& count) {
    const Node k = workshop_.range(count / group_);
    const Node at_k = add(first, mul(k, constant_int(group_)));
    const Node& sums = grouped_ ? term.group_sums : term.sums;
    std::vector<Node> products;
    for (int r = 0; r < mr_; ++r) {
      Substitution at = rows[static_cast<std::size_t>(r)];
      place_k(at, term, at_k);
      Node x = substitute(term.x, at);
      if (group_ > 1) x = repeated(x);
      for (int v = 0; v < vectors_; ++v) {
        const Node y = column_of(term, at_k, v);
        const Node old = load_from(sums, slot(r, v), {}, lanes_);
        const Node sum = group_ == 1                  ? add(old, mul(splat(x, lanes_), y))
                         : x_element_ == DType::uint8 ? dot(old, x, y)
                                                      : dot(old, y, x);
        products.push_back(store_to(sums, slot(r, v), sum));
      }
    }
    return loop(LoopKind::serial, k, block(std::move(products)));
  }

  Node column_of(const Term& term, const Node& at_k, int v) const {
    if (term.panel) {
      const Node first = mul(panel_, constant_int(extent(term.k).upper() * columns()));
      return load_from(term.panel,
                       add(add(first, mul(at_k, constant_int(columns()))),
                           constant_int(static_cast<std::int64_t>(v) * lanes_ * group_)),
                       {}, lanes_ * group_);
    }
    Substitution values = outside_;
    place_k(values, term, at_k);
    return vectorise(term.y, n_.back(),
                     add(n0_, constant_int(static_cast<std::int64_t>(v) * lanes_)), lanes_, values,
                     limit_);
  }

  // The group that begins at this element, in every group of lanes.
  Node repeated(const Node& element) const {
    const Node group = load_from(element.src(0), element.src(1), {}, group_);
    std::vector<std::int64_t> lanes;
    for (int i = 0; i < lanes_ * group_; ++i) lanes.push_back(i % group_);
    return shuffle(group, {}, lanes);
  }

  // Group after group: its sums as integers, then scaled onto those of float32.
  Node over_groups(const Term& term, const std::vector<Substitution>& rows) {
    const Ranges& ranges = term.product.ranges;
    const Size inner = extent(term.product.inner);
    const Node group = workshop_.range(extent(ranges));
    std::vector<Substitution> here = rows;
    for (Substitution& values : here) place(values, ranges, group);
    std::vector<Node> statements;
    fill(term, term.group_sums, DType::int32, &here, statements);
    statements.push_back(over_k(term, rows, mul(group, inner.node()), inner));
    for (int r = 0; r < mr_; ++r) {
      const auto scaled = [&](const Factors& factors, const Node& panel, int v) {
        Substitution at = here[static_cast<std::size_t>(r)];
        const Node by = factors.without ? substitute(factors.without, at) : constant_float(1);
        if (!panel) return splat(by, lanes_);
        const Node index = add(mul(group, constant_int(columns())),
                               constant_int(static_cast<std::int64_t>(v) * lanes_));
        return mul(splat(by, lanes_), load_from(panel, index, {}, lanes_));
      };
      for (int v = 0; v < vectors_; ++v) {
        const Node sum = cast(load_from(term.group_sums, slot(r, v), {}, lanes_), DType::float32);
        Node value = add(load_from(term.sums, slot(r, v), {}, lanes_),
                         mul(sum, scaled(term.scale, term.scale_panel, v)));
        if (term.product.offset) value = add(value, scaled(term.offset, term.offset_panel, v));
        statements.push_back(store_to(term.sums, slot(r, v), value));
      }
    }
    return loop(LoopKind::serial, group, block(std::move(statements)));
  }

  // ---- the product in tiles of registers (kernel/panel_product.h) ----------------------------

  // Panels that a task takes, evenly. Of those that its loop over K reads from the first cache, so
  // many that rows of the output are written in long runs and every thread has its share; where X
  // is too long to stay in the core's cache, and where tiles of registers read it, as many as stay
  // there, so that X is read few times.
  std::int64_t panels_together(const Size& panels) const {
    if (grouped_ && !tiles_) return 1;
    const Target& target = workshop_.target();
    std::int64_t depth = 0;
    for (const Term& term : terms_) depth += extent(term.k).upper();
    const std::int64_t bytes = depth * columns() * byte_size(element_);
    const bool long_x = depth * extent(m_).upper() * byte_size(element_) > target.l2_bytes / 2;
    const std::int64_t fit = (tiles_ || long_x ? target.l2_bytes : target.l1_bytes) / 2 / bytes;
    std::int64_t share = panels.upper();
    if (tiles_) share = (panels.upper() + target.threads - 1) / target.threads;
    if (!tiles_ && !long_x) {
      Ranges all = batch_;
      all.insert(all.end(), n_.begin(), n_.end() - 1);
      share = extent(all).upper() * panels.upper() / (8L * target.threads);
    }
    const std::int64_t most = std::clamp<std::int64_t>(std::min(fit, share), 1, panels.upper());
    const std::int64_t blocks = (panels.upper() + most - 1) / most;
    return (panels.upper() + blocks - 1) / blocks;
  }

  // The rows m0 … m0+MR-1 of all the task's panels.
  Node row_of_tiles(const Node& m0, const Size& m) {
    for (Term& term : terms_) {
      term.sums = workshop_.scratch(total_, mr_ * columns());
      if (grouped_)
        term.group_sums = workshop_.scratch(DType::int32, mr_ * columns() * groups_of_step(term));
    }
    const bool ragged = !m.is_constant() || m.value() % mr_ != 0;
    const Node there = ragged ? integer_sub(m.node(), m0) : constant_int(mr_);
    const Node first = n0_;
    const Node body = each_panel([&](const Node& p, const Node& column) {
      n0_ = column;
      std::vector<Node> statements;
      for (const Term& term : terms_) {
        statements.push_back(grouped_ ? tile_over_groups(term, p, m0, m, there)
                                      : tile_product(term, p, m0, constant_int(0), 1, there));
      }
      vectors_ = nv_;
      finish(m0, m, ragged, limit_, statements);
      return block(std::move(statements));
    });
    n0_ = first;
    return body;
  }

  // Groups whose sums are made at once: they stay in the first cache, beside what is multiplied.
  std::int64_t groups_of_step(const Term& term) const {
    const std::int64_t groups = extent(term.product.ranges).value();
    const std::int64_t bytes = mr_ * columns() * byte_size(DType::int32);
    std::int64_t count =
        std::clamp<std::int64_t>(workshop_.target().l1_bytes / 3 / bytes, 1, groups);
    while (groups % count != 0) --count;
    return count;
  }

  // `count` sums of the products from element `first` along K on.
  Node tile_product(const Term& term, const Node& p, const Node& m0, const Node& first,
                    std::int64_t count, const Node& there) const {
    Substitution at = outside_;
    place(at, m_, m0);
    place_k(at, term, first);
    const Node apart = constant_int(*stride(term.x.src(1), m_.back()));
    const std::int64_t depth = extent(grouped_ ? term.product.inner : term.k).value();
    const std::int64_t elements = extent(term.k).value() * columns();
    const Node of_panel = add(mul(p, constant_int(elements)), mul(first, constant_int(columns())));
    return panel_product({mr_, columns(), depth, count}, grouped_ ? term.group_sums : term.sums,
                         {term.x.src(0), substitute(term.x.src(1), at), apart},
                         {term.panel, of_panel}, there);
  }

  template <typename Make>
  Node each_row(const Node& m0, const Size& m, const Make& make) const {
    const Node r = workshop_.range(mr_);
    const bool ragged = !m.is_constant() || m.value() % mr_ != 0;
    const Node body = make(r);
    return loop(LoopKind::serial, r, ragged ? branch(cmplt(add(m0, r), m.node()), body) : body);
  }

  // Some groups' sums as integers, then scaled onto those of float32, row by row.
  Node tile_over_groups(const Term& term, const Node& p, const Node& m0, const Size& m,
                        const Node& there) const {
    std::vector<Node> zeros;
    const Node row = workshop_.range(mr_);
    for (int v = 0; v < nv_; ++v)
      zeros.push_back(store_to(term.sums, slot(row, v), splat(constant_float(0), lanes_)));
    const std::int64_t count = groups_of_step(term);
    const std::int64_t depth = extent(term.product.inner).value();
    const Node step = workshop_.range(extent(term.product.ranges) / count);
    const Node group = mul(step, constant_int(count));
    const Node product =
        tile_product(term, p, m0, mul(step, constant_int(count * depth)), count, there);
    const Node scaled = each_row(
        m0, m, [&](const Node& r) { return scaled_row(term, p, add(m0, r), r, group, count); });
    return block({loop(LoopKind::serial, row, block(std::move(zeros))),
                  loop(LoopKind::serial, step, block({product, scaled}))});
  }

  Node scaled_row(const Term& term, const Node& p, const Node& row, const Node& r,
                  const Node& first_group, std::int64_t count) const {
    const std::int64_t panel = extent(term.product.ranges).value() * columns();
    std::vector<Node> stores;
    for (int v = 0; v < nv_; ++v) {
      Node value = load_from(term.sums, slot(r, v), {}, lanes_);
      for (std::int64_t g = 0; g < count; ++g) {
        const Node group = add(first_group, constant_int(g));
        const auto scaled = [&](const Factors& factors, const Node& memory) {
          Substitution at = outside_;
          place(at, m_, row);
          place(at, term.product.ranges, group);
          const Node by = factors.without ? substitute(factors.without, at) : constant_float(1);
          if (!memory) return splat(by, lanes_);
          const Node index =
              add(add(mul(p, constant_int(panel)), mul(group, constant_int(columns()))),
                  constant_int(static_cast<std::int64_t>(v) * lanes_));
          return mul(splat(by, lanes_), load_from(memory, index, {}, lanes_));
        };
        const Node place_of_sum = add(slot(r, v), constant_int(g * mr_ * columns()));
        const Node sum = cast(load_from(term.group_sums, place_of_sum, {}, lanes_), DType::float32);
        value = add(value, mul(sum, scaled(term.scale, term.scale_panel)));
        if (term.product.offset) value = add(value, scaled(term.offset, term.offset_panel));
      }
      stores.push_back(store_to(term.sums, slot(r, v), value));
    }
    return block(std::move(stores));
  }

  // ---- what follows the sums -----------------------------------------------------------------

  // Masks are dear: tiles all of whose columns are inside go without.
  void finish(const Node& m0, const Size& m, bool ragged, const Node& limit,
              std::vector<Node>& statements) const {
    const Node end = add(n0_, constant_int(static_cast<std::int64_t>(vectors_) * lanes_));
    const Node whole = limit ? integer_less(integer_sub(end, constant_int(1)), limit) : Node();
    if (!whole || whole.is_constant() || vectors_ < nv_)
      return finish_rows(m0, m, ragged, limit, statements);
    std::vector<Node> inside;
    finish_rows(m0, m, ragged, {}, inside);
    statements.push_back(branch(whole, block(std::move(inside))));
    std::vector<Node> across;
    finish_rows(m0, m, ragged, limit, across);
    statements.push_back(branch(integer_less(limit, end), block(std::move(across))));
  }

  void finish_rows(const Node& m0, const Size& m, bool ragged, const Node& limit,
                   std::vector<Node>& statements) const {
    if (tiles_) {
      return statements.push_back(
          each_row(m0, m, [&](const Node& r) { return finish_row(r, m0, limit, sums()); }));
    }
    if (follows_much()) return finish_in_loop(m0, m, limit, statements);
    for (int r = 0; r < mr_; ++r) {
      const Node row = add(m0, constant_int(r));
      const Node body = finish_row(constant_int(r), m0, limit, sums());
      statements.push_back(ragged && r > 0 ? branch(cmplt(row, m.node()), body) : body);
    }
  }

  // Unrolled over a tile it would be more code than the sums themselves.
  bool follows_much() const {
    constexpr std::int64_t much = 8;
    std::int64_t operations = 0;
    for (const Node& store : part_.stages[0].stores) operations += operation_count(store.src(2));
    return mr_ > 2 && operations > much;
  }

  void finish_in_loop(const Node& m0, const Size& m, const Node& limit,
                      std::vector<Node>& statements) const {
    std::vector<Node> memory;
    for (const Term& term : terms_) {
      memory.push_back(grouped_ ? term.sums : workshop_.scratch(total_, mr_ * columns()));
      for (int i = 0; !grouped_ && i < mr_ * vectors_; ++i) {
        const Node at = slot(i / vectors_, i % vectors_);
        statements.push_back(store_to(memory.back(), at, load_from(term.sums, at, {}, lanes_)));
      }
    }
    statements.push_back(
        each_row(m0, m, [&](const Node& r) { return finish_row(r, m0, limit, memory); }));
  }

  std::vector<Node> sums() const {
    std::vector<Node> list;
    for (const Term& term : terms_) list.push_back(term.sums);
    return list;
  }

  // Of a tile whose sums lie in this memory.
  Node finish_row(const Node& r, const Node& m0, const Node& limit,
                  const std::vector<Node>& memory) const {
    std::vector<Node> stores;
    Substitution at = outside_;
    place(at, m_, add(m0, r));
    for (int v = 0; v < vectors_; ++v) {
      for (std::size_t i = 0; i < terms_.size(); ++i)
        at[terms_[i].product.sum] = load_from(memory[i], slot(r, v), {}, lanes_);
      const Node base = add(n0_, constant_int(static_cast<std::int64_t>(v) * lanes_));
      for (const Node& store : part_.stages[0].stores)
        stores.push_back(finish_store(store, at, base, limit));
    }
    return block(std::move(stores));
  }

  Node finish_store(const Node& store, const Substitution& at, const Node& base,
                    const Node& limit) const {
    if (n_values_.empty()) return vectorised_store(store, n_.back(), base, lanes_, at, limit);
    // N went through memory as one row: the original ranges follow from the flat one.
    Substitution unflat = n_values_;
    for (const Term& term : terms_) unflat[term.product.sum] = term.product.sum;  // finished
    return vectorised_store(substitute(store, unflat), n_.back(), base, lanes_, at, limit);
  }

  const Part& part_;
  Workshop& workshop_;
  std::vector<Term> terms_;
  Ranges batch_, m_, n_;
  Node contiguous_;
  Substitution n_values_;  // of the original ranges of N, where it became one
  DType total_ = DType::float32;
  bool grouped_ = false;
  DType element_ = DType::float32;    // of panels
  DType x_element_ = DType::float32;  // of X
  std::int64_t bias_ = 0;             // that Y's elements have in panels
  int group_ = 1;                     // elements along K that one dot product sums
  int lanes_ = 1;
  int mr_ = 1;
  int nv_ = 2;
  int vectors_ = 2;          // of the present tile: NV, or fewer
  bool tiles_ = false;       // of registers
  std::int64_t panels_ = 1;  // of a task
  // Of the main phase: the ranges around the tile, its panel, first column, and where columns end.
  Substitution outside_;
  Node panel_, n0_, limit_;
};

}  // namespace

std::optional<Schedule> contraction(const Part& part, Workshop& workshop) {
  Contraction strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  // Rows that fill no whole panels follow each other in one.
  const std::vector<Node>& outer = part.outer;
  const bool ragged = outer.size() > 1 &&
                      Size(outer.back().src(0)).upper() % (2L * workshop.target().lanes(4)) != 0;
  Part whole = part;
  if (ragged && merge_rows(whole, workshop.range(extent({outer.end()[-2], outer.back()})))) {
    Contraction of_whole(whole, workshop);
    if (of_whole.recognise()) return of_whole.run();
  }
  return strategy.run();
}

}  // namespace brisk
