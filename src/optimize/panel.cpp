#include "optimize/panel.h"

#include <algorithm>

#include "base/power_of_two.h"
#include "optimize/analysis.h"

namespace brisk {

namespace {

std::vector<std::int64_t> counting(int from, int count) {
  std::vector<std::int64_t> numbers;
  for (int i = from; i < from + count; ++i) numbers.push_back(i);
  return numbers;
}

// Element j of every row before element j+1 of any: a0 b0 c0 d0 a1 b1 …
Node interleave(std::vector<Node> rows) {
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

// One after the other.
Node join(std::vector<Node> parts) {
  while (parts.size() > 1) {
    const auto both = counting(0, 2 * parts[0].lanes());
    for (std::size_t i = 0; i < parts.size() / 2; ++i)
      parts[i] = shuffle(parts[2 * i], parts[2 * i + 1], both);
    parts.resize(parts.size() / 2);
  }
  return parts[0];
}

}  // namespace

// Each round swaps, between registers that differ in one bit of their number, the words that differ
// in the same bit.
Node turn_words(Node registers, int rows, int columns, int group, Workshop& workshop,
                std::vector<Node>& statements) {
  const int wide = columns * group;
  const auto at = [&](int i) { return constant_int(static_cast<std::int64_t>(i) * wide); };
  for (int bit = 1; bit < rows; bit *= 2) {
    const Node next = workshop.registers(registers.dtype(), static_cast<std::int64_t>(rows) * wide);
    std::vector<std::int64_t> low;
    std::vector<std::int64_t> high;
    for (int e = 0; e < wide; ++e) {
      const int word = e / group;
      const int other = (word ^ bit) * group + e % group;
      low.push_back((word & bit) == 0 ? e : wide + other);
      high.push_back((word & bit) == 0 ? other : wide + e);
    }
    for (int i = 0; i < rows; ++i) {
      if ((i & bit) != 0) continue;
      const Node a = load_from(registers, at(i), {}, wide);
      const Node b = load_from(registers, at(i | bit), {}, wide);
      statements.push_back(store_to(next, at(i), shuffle(a, b, low)));
      statements.push_back(store_to(next, at(i | bit), shuffle(a, b, high)));
    }
    registers = next;
  }
  return registers;
}

Node PanelPacker::pack(const Node& panel, const Node& value, const std::vector<Node>& k,
                       const Node& begin) const {
  const Node& last = k.back();
  const int width = turned_width(value, last);
  // The ranges of K as loops of their own, so that indices stay free of divisions.
  Substitution values = outside_;
  std::vector<Node> counters;
  Node at = constant_int(0);
  for (const Node& range : k) {
    const std::int64_t step = !(range == last) ? 1 : width > 0 ? width : form_.group;
    counters.push_back(workshop_.range(Size(range.src(0)) / step));
    values[range] = mul(counters.back(), constant_int(step));
    at = add(mul(at, range.src(0)), values[range]);
  }
  std::vector<Node> body;
  const Node row = add(begin, mul(at, constant_int(form_.columns())));
  if (width > 0) {
    for (int v = 0; v < form_.vectors; ++v) turned(panel, row, value, last, values, width, v, body);
  } else {
    in_rows(panel, row, value, last, values, body);
  }
  Node nest = block(std::move(body));
  const std::vector<bool> moves = moves_gates(value, k);
  for (const bool outside : {false, true}) {
    for (std::size_t i = counters.size(); i-- > 0;) {
      if (moves[i] != outside) continue;
      // Fields of a byte: the amount of a shift must be a constant.
      const Size size(counters[i].src(0));
      const bool fields = i > 0 && !outside && size.is_constant() && size.value() <= 4;
      nest = loop(fields ? LoopKind::unrolled : LoopKind::serial, counters[i], nest);
    }
  }
  return nest;
}

// Of the ranges of K, those by which lanes open and close (a window's taps at the image's edges):
// their loops stand outside the others, for which the masks then stay. Rows of the panel are
// written out of order then, so it must stay in the core's cache.
std::vector<bool> PanelPacker::moves_gates(const Node& value, const std::vector<Node>& k) const {
  std::vector<bool> moves(k.size());
  const std::int64_t bytes = extent(k).upper() * form_.columns() * byte_size(form_.dtype);
  if (bytes > workshop_.target().l2_bytes / 2) return moves;
  for (const Node& load : find_all({value}, Op::load_)) {
    if (load.srcs().size() < 3 || !depends_on(load.src(2), n_)) continue;
    for (std::size_t i = 0; i < k.size(); ++i) moves[i] = moves[i] || depends_on(load.src(2), k[i]);
  }
  return moves;
}

// Elements along K that are read at once and turned, where the operand lies along K rather than
// along N in memory; 0 where it does not.
int PanelPacker::turned_width(const Node& value, const Node& last) const {
  const Size size(last.src(0));
  if (!size.is_constant() || !is_power_of_two(form_.lanes)) return 0;
  int width = form_.lanes * form_.group;
  while (width > form_.group && size.value() % width != 0) width /= 2;
  if (width == form_.group) return 0;
  int score = 0;
  for (const Node& load : find_all({value}, Op::load_)) {
    const auto along = stride(load.src(1), last);
    const auto across = stride(load.src(1), n_);
    score += (along && (*along == 0 || *along == 1)) ? 1 : -1;
    score -= (across && (*across == 0 || *across == 1)) ? 1 : -1;
  }
  return score > 0 ? width : 0;
}

// One group of K: vectors along N, the group's elements interleaved.
void PanelPacker::in_rows(const Node& panel, const Node& at, const Node& value, const Node& last,
                          const Substitution& values, std::vector<Node>& statements) const {
  for (int v = 0; v < form_.vectors; ++v) {
    const Node column = constant_int(static_cast<std::int64_t>(v) * form_.lanes);
    std::vector<Node> rows;
    for (int j = 0; j < form_.group; ++j) {
      Substitution here = values;
      here[last] = add(values.at(last), constant_int(j));
      rows.push_back(
          splat(vectorise(value, n_, add(first_, column), form_.lanes, here, limit_), form_.lanes));
    }
    statements.push_back(store_to(panel, add(at, mul(column, constant_int(form_.group))),
                                  interleave(std::move(rows))));
  }
}

// `width` elements along K of each column of one vector. As words of one group each, they are a
// matrix of lanes × words that must be turned; columns that are `words` apart share a register.
void PanelPacker::turned(const Node& panel, const Node& at, const Node& value, const Node& last,
                         const Substitution& values, int width, int vector,
                         std::vector<Node>& statements) const {
  const int words = width / form_.group;
  const int wide = form_.lanes * form_.group;  // elements of a register
  const Node column = add(first_, constant_int(static_cast<std::int64_t>(vector) * form_.lanes));
  const auto slot = [&](const Node& memory, int i) {
    return load_from(memory, constant_int(static_cast<std::int64_t>(i) * wide), {}, wide);
  };
  const auto keep = [&](const Node& memory, int i, const Node& lanes) {
    statements.push_back(
        store_to(memory, constant_int(static_cast<std::int64_t>(i) * wide), lanes));
  };
  Substitution around = values;
  around.erase(last);
  Node now = workshop_.registers(form_.dtype, static_cast<std::int64_t>(words) * wide);
  for (int r = 0; r < words; ++r) {
    std::vector<Node> parts;
    for (int c = r; c < form_.lanes; c += words) {
      Substitution here = around;
      const Node n = add(column, constant_int(c));
      here[n_] = limit_ ? integer_min(n, integer_sub(limit_, constant_int(1))) : n;
      parts.push_back(splat(vectorise(value, last, values.at(last), width, here), width));
    }
    keep(now, r, join(std::move(parts)));
  }
  now = turn_words(now, words, form_.lanes, form_.group, workshop_, statements);
  const std::int64_t row = form_.columns() * form_.group;
  for (int i = 0; i < words; ++i) {
    const std::int64_t offset = row * i + static_cast<std::int64_t>(vector) * wide;
    statements.push_back(store_to(panel, add(at, constant_int(offset)), slot(now, i)));
  }
}

}  // namespace brisk
