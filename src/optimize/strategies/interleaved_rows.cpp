// Products of a quantised matrix with some vectors, as a short prompt gives them: Y[n, k] · X[m, k]
// where groups of bytes along k have a scale. Rows of Y lie side by side, one in each lane of 32
// bits: a dot product takes 4 neighbours along k of every row, and the same 4 of X in every lane.
// So what a byte of Y needs first (its field cut out, say) is done once for all vectors, scales are
// vectors, and lanes are never added up. The price is that rows are turned in registers, which a
// single vector would not pay back.
#include <algorithm>
#include <array>

#include "optimize/analysis.h"
#include "optimize/product.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

using Ranges = std::vector<Node>;

constexpr std::int64_t most_vectors = 8;         // more are worth packing for
constexpr std::int64_t task_products = 1 << 18;  // that make a task worth a hand-over
constexpr int word = 4;                          // bytes of a row that a dot product takes
constexpr int piece = 16;                        // bytes of a row that are turned together

using Words = std::array<Node, piece / word>;  // of each row the first word, the second, …

// Of rows, a piece each: lane r of result w is word w of row r. Units of 128 bits stay where they
// are, as machines have it.
Words turned(const std::vector<Node>& rows) {
  const std::size_t units = rows.size() / word;
  const auto shuffled = [&](const Node& a, const Node& b, int bytes, bool high) {
    std::vector<std::int64_t> lanes;  // the lower or the higher half of each unit of both, in turn
    const auto width = static_cast<std::int64_t>(units) * piece;
    for (std::int64_t unit = 0; unit < width; unit += piece) {
      for (std::int64_t at = high ? piece / 2 : 0; at < piece / (high ? 1 : 2); at += bytes) {
        for (const std::int64_t from : {unit + at, width + unit + at}) {
          for (int i = 0; i < bytes; ++i) lanes.push_back(from + i);
        }
      }
    }
    return shuffle(a, b, lanes);
  };
  std::array<Node, word> joined;  // rows r, r + 4, r + 8, …
  for (std::size_t r = 0; r < word; ++r) {
    std::vector<Node> each;
    for (std::size_t unit = 0; unit < units; ++unit) each.push_back(rows[r + word * unit]);
    joined[r] = join_lanes(each);
  }
  Words words;
  for (const bool high : {false, true}) {
    const Node a = shuffled(joined[0], joined[1], word, high);
    const Node b = shuffled(joined[2], joined[3], word, high);
    const std::size_t first = high ? 2 : 0;
    words[first] = shuffled(a, b, 2 * word, false);
    words[first + 1] = shuffled(a, b, 2 * word, true);
  }
  return words;
}

// The same, as deep in the expressions as they are alike: bytes are turned before their fields are
// cut out.
Words interleave(const std::vector<Node>& rows) {
  const Node& first = rows[0];
  const bool alike =
      is_elementwise(first.op()) && std::all_of(rows.begin(), rows.end(), [&](const Node& row) {
        return row.op() == first.op() && row.dtype() == first.dtype();
      });
  if (!alike) return turned(rows);
  std::array<std::vector<Node>, piece / word> sources;
  for (std::size_t s = 0; s < first.srcs().size(); ++s) {
    const bool same = std::all_of(rows.begin(), rows.end(),
                                  [&](const Node& row) { return row.src(s) == first.src(s); });
    Words words;
    if (same && first.src(s).lanes() == 1) {
      words.fill(first.src(s));
    } else {
      std::vector<Node> below;
      for (const Node& row : rows) below.push_back(splat(row.src(s), piece));
      words = interleave(below);
    }
    for (std::size_t w = 0; w < words.size(); ++w) sources[w].push_back(words[w]);
  }
  Words result;
  const int lanes = word * static_cast<int>(rows.size());
  for (std::size_t w = 0; w < result.size(); ++w)
    result[w] = make_node(first.op(), first.dtype(), sources[w], first.attr(), lanes);
  return result;
}

class InterleavedRows {
 public:
  InterleavedRows(const Part& part, Workshop& workshop)
      : part_(part), workshop_(workshop), lanes_(workshop.target().lanes(4)) {}

  bool recognise() {
    std::optional<MatrixVectorForm> form = matrix_vector_form(part_);
    if (!form || form->n.empty() || lanes_ < word) return false;
    batch_ = std::move(form->batch);
    n_ = std::move(form->n);
    m_ = std::move(form->m);
    const std::int64_t vectors = extent(m_).upper();
    if (vectors < 2 || vectors > most_vectors || extent(n_).upper() < lanes_) return false;
    const Size row(n_.back().src(0));
    if (n_.size() > 1 && (!row.is_constant() || row.value() % lanes_ != 0)) return false;
    for (Product& product : form->products) {
      std::optional<Term> term = term_of(product);
      if (!term) return false;
      terms_.push_back(std::move(*term));
    }
    return terms_.size() <= 4;
  }

  Schedule run() {
    Schedule schedule;
    schedule.name = "interleaved_rows";
    Substitution computed;
    for (Term& term : terms_) vectors_first(term, computed, schedule);

    const Size n = extent(n_);
    if (!n.is_constant() || n.value() % lanes_ != 0) limit_ = n.node();
    const Size tiles = (n + (lanes_ - 1)) / lanes_;
    const Size count = extent(batch_) * tiles;
    const std::int64_t block = std::clamp<std::int64_t>(task_products / tile_products(), 1,
                                                        std::max<std::int64_t>(1, count.upper()));
    const Size tasks = (count + (block - 1)) / block;
    const Node task = workshop_.range(tasks);
    const Node each = workshop_.range(block);
    const Node tile = add(mul(tasks == Size(1) ? constant_int(0) : task, constant_int(block)),
                          block == 1 ? constant_int(0) : each);
    Substitution outside;
    place(outside, batch_, idiv(tile, tiles.node()));
    Node body = tile_of_vectors(outside, mul(mod(tile, tiles.node()), constant_int(lanes_)));
    if (block > 1) {
      body = loop(LoopKind::serial, each, branch(integer_less(tile, count.node()), body));
    }
    schedule.phases.push_back(tasks == Size(1) ? body : loop(LoopKind::parallel, task, body));
    return schedule;
  }

 private:
  struct Term {
    Product product;
    Factors scale, offset;  // of a group; `with` N and without it
    Node start;             // of a group's sums, where Y's bytes are another constant's further on
  };

  // ---- recognition ---------------------------------------------------------------------------

  std::optional<Term> term_of(const Product& product) const {
    const Target& target = workshop_.target();
    if (!product.grouped() || product.sum.dtype() != DType::float32) return std::nullopt;
    if (product.a.dtype() != DType::int8 || byte_size(product.b.dtype()) != 1) return std::nullopt;
    for (const Node& range : product.inner) {
      if (!Size(range.src(0)).is_constant()) return std::nullopt;
    }
    const Node& last = product.inner.back();
    if (Size(last.src(0)).value() % piece != 0 || !lies_in_order(product.b, last))
      return std::nullopt;
    const Bounds known = bounds(product.offset ? product.b : uncentred(product.b, target));
    const bool fits = known.least >= 0 && known.greatest <= 127;  // sums of two, in 16 bits
    if (!fits && !target.has_int8_dot) return std::nullopt;
    Term term{product, factors_of(product.scale, n_), {}, {}};
    if (product.offset) term.offset = factors_of(product.offset, n_);
    for (const Node& side : {term.scale.with, term.offset.with}) {
      const auto inside = [&](const Node& range) { return depends_on(side, range); };
      if (side &&
          (!find_all({side}, Op::reduce_).empty() || std::any_of(m_.begin(), m_.end(), inside))) {
        return std::nullopt;
      }
    }
    return term;
  }

  std::int64_t tile_products() const {
    const Product& product = terms_[0].product;
    const std::int64_t depth = extent(product.ranges).upper() * extent(product.inner).upper();
    return std::max<std::int64_t>(
        1, depth * lanes_ * extent(m_).upper() * static_cast<std::int64_t>(terms_.size()));
  }

  // ---- phases in front -----------------------------------------------------------------------

  // X, and what it gives to groups, into working memory where they must be computed; once for all
  // terms that share them.
  void vectors_first(Term& term, Substitution& computed, Schedule& schedule) {
    Product& product = term.product;
    const auto apart = [&](const Node& value, const Ranges& inner) {
      Node& known = computed[value];
      if (known) return known;
      Ranges order;
      for (const Ranges& ranges : {batch_, m_}) {
        for (const Node& range : ranges) {
          if (depends_on(value, range)) order.push_back(range);
        }
      }
      order.insert(order.end(), product.ranges.begin(), product.ranges.end());
      order.insert(order.end(), inner.begin(), inner.end());
      return known = compute_apart(value, order, workshop_, schedule).element;
    };
    const bool plain = product.a.is(Op::load_) && product.a.srcs().size() == 2 &&
                       stride(product.a.src(1), product.inner.back()) == 1;
    if (!plain) product.a = apart(product.a, product.inner);
    for (Node* side : {&term.scale.without, &term.offset.without}) {
      if (*side && !find_all({*side}, Op::reduce_).empty()) *side = apart(*side, {});
    }
    const Node bytes = uncentred(product.b, workshop_.target());
    if (product.offset || bytes == product.b) return;
    const Node centre = constant_int(product.b.src(1).int_value(), DType::int32);
    const Node sum = reduce_over(ReduceOp::add, cast(product.a, DType::int32), product.inner);
    term.start = apart(mul(sum, centre), {});
    product.b = bytes;
  }

  // ---- emission ------------------------------------------------------------------------------

  // The counters of a tile's rows, and those of each of its vectors.
  struct Tile {
    std::vector<Substitution> rows;
    std::vector<Substitution> vectors;
    std::vector<std::vector<Node>> sums;  // of each term and vector, in registers
  };

  // Where how many vectors there are is known late, tiles for several numbers of them, so that few
  // cost few.
  Node tile_of_vectors(const Substitution& outside, const Node& n0) {
    const Size m = extent(m_);
    const auto most = static_cast<int>(m.upper());
    if (m.is_constant()) return tile(outside, n0, most);
    return narrowest_tile(m, most, [&](int vectors) { return tile(outside, n0, vectors); });
  }

  Node tile(const Substitution& outside, const Node& n0, int vectors) {
    std::vector<Node> statements;
    Tile tile;
    for (int r = 0; r < lanes_; ++r) {
      const Node row = add(n0, constant_int(r));
      tile.rows.push_back(outside);
      place(tile.rows.back(), n_,
            limit_ ? integer_min(row, integer_sub(limit_, constant_int(1))) : row);
    }
    const Size m = extent(m_);
    for (int c = 0; c < vectors; ++c) {
      tile.vectors.push_back(outside);
      const Node at = constant_int(c);
      place(tile.vectors.back(), m_, m.is_constant() ? at : integer_min(at, (m - 1).node()));
    }
    for (const Term& term : terms_) {
      tile.sums.emplace_back();
      for (int c = 0; c < vectors; ++c) {
        const Node memory = workshop_.registers(DType::float32, lanes_);
        statements.push_back(store_to(memory, constant_int(0), splat(constant_float(0), lanes_)));
        tile.sums.back().push_back(memory);
      }
      statements.push_back(along(term, tile, {}, 0));
    }
    for (int c = 0; c < vectors; ++c) statements.push_back(finish(outside, n0, tile, c));
    return block(std::move(statements));
  }

  // The groups, those before `depth` at `counters`.
  Node along(const Term& term, const Tile& tile, const Substitution& counters, std::size_t depth) {
    const Ranges& ranges = term.product.ranges;
    if (depth == ranges.size()) return group(term, tile, counters);
    const Size size(ranges[depth].src(0));
    const Node counter = workshop_.range(size);
    Substitution inside = counters;
    inside[ranges[depth]] = size == Size(1) ? constant_int(0) : counter;
    const Node body = along(term, tile, inside, depth + 1);
    // Fields of a byte: the amount of a shift must be a constant.
    const bool fields = size.is_constant() && size.value() <= 4 && depth > 0;
    return loop(fields ? LoopKind::unrolled : LoopKind::serial, counter, body);
  }

  static Substitution both(const Substitution& values, const Substitution& more) {
    Substitution all = values;
    all.insert(more.begin(), more.end());
    return all;
  }

  Node group(const Term& term, const Tile& tile, const Substitution& counters) const {
    const Product& product = term.product;
    const Node& last = product.inner.back();
    const std::int64_t bytes = extent(product.inner).value();
    std::vector<Node> statements;
    if (n_.size() == 1)
      hint_rows_ahead(product, {n_[0], lanes_, 1}, tile.rows[0], counters, statements);
    std::vector<Node> words;  // of Y
    for (std::int64_t at = 0; at < bytes; at += piece) {
      std::vector<Node> rows;
      for (const Substitution& row : tile.rows) {
        Substitution values = both(row, counters);
        place(values, product.inner, constant_int(at));
        const Node base = values.at(last);
        values.erase(last);
        rows.push_back(splat(vectorise(product.b, last, base, piece, values), piece));
      }
      const Words turned = interleave(rows);
      words.insert(words.end(), turned.begin(), turned.end());
    }
    const Node scale = of_rows(term.scale.with, tile, counters);
    const Node offset = term.offset.with ? of_rows(term.offset.with, tile, counters)
                                         : splat(constant_float(1), lanes_);
    const std::vector<Node>& sums = tile.sums[static_cast<std::size_t>(&term - terms_.data())];
    for (std::size_t c = 0; c < sums.size(); ++c) {
      const Substitution values = both(tile.vectors[c], counters);
      const auto here = [&](const Node& expression) {
        Substitution at = values;
        return splat(substitute(expression, at), lanes_);
      };
      Node total = term.start ? here(term.start) : splat(constant_int(0, DType::int32), lanes_);
      for (std::size_t w = 0; w < words.size(); ++w)
        total =
            dot(total, words[w], repeated(product, values, static_cast<std::int64_t>(w) * word));
      Node by = scale;
      if (term.scale.without) by = mul(by, here(term.scale.without));
      Node sum = add(load_from(sums[c], constant_int(0), {}, lanes_),
                     mul(cast(total, DType::float32), by));
      if (product.offset)
        sum = add(sum, term.offset.without ? mul(offset, here(term.offset.without)) : offset);
      statements.push_back(store_to(sums[c], constant_int(0), sum));
    }
    return block(std::move(statements));
  }

  // A value of each row, in lanes.
  Node of_rows(const Node& value, const Tile& tile, const Substitution& counters) const {
    if (!value) return splat(constant_float(1), lanes_);
    Substitution values = both(tile.rows[0], counters);
    const Node base = values.at(n_.back());
    values.erase(n_.back());
    return splat(vectorise(value, n_.back(), base, lanes_, values, limit_), lanes_);
  }

  // The word of X from the byte `at` of a group on, in every lane.
  Node repeated(const Product& product, Substitution values, std::int64_t at) const {
    const Node& last = product.inner.back();
    place(values, product.inner, constant_int(at));
    const Node base = values.at(last);
    values.erase(last);
    const Node four = vectorise(product.a, last, base, word, values);
    std::vector<std::int64_t> lanes;
    for (int i = 0; i < word * lanes_; ++i) lanes.push_back(i % word);
    return shuffle(four, {}, lanes);
  }

  Node finish(const Substitution& outside, const Node& n0, const Tile& tile, int c) const {
    Substitution values = outside;
    place(values, n_, n0);
    place(values, m_, constant_int(c));
    const Node base = values.at(n_.back());
    values.erase(n_.back());
    for (std::size_t t = 0; t < terms_.size(); ++t) {
      values[terms_[t].product.sum] =
          load_from(tile.sums[t][static_cast<std::size_t>(c)], constant_int(0), {}, lanes_);
    }
    std::vector<Node> stores;
    for (const Node& store : part_.stages[0].stores)
      stores.push_back(vectorised_store(store, n_.back(), base, lanes_, values, limit_));
    const Size m = extent(m_);
    const Node body = block(std::move(stores));
    return m.is_constant() || c == 0 ? body : branch(integer_less(constant_int(c), m.node()), body);
  }

  const Part& part_;
  Workshop& workshop_;
  std::vector<Term> terms_;
  Ranges batch_, n_, m_;
  int lanes_ = 1;  // rows of a tile
  Node limit_;     // N, where tiles do not come out even
};

}  // namespace

std::optional<Schedule> interleaved_rows(const Part& part, Workshop& workshop) {
  InterleavedRows strategy(part, workshop);
  if (!strategy.recognise()) return std::nullopt;
  return strategy.run();
}

}  // namespace brisk
