// What the threads of a group hold of a product's result, in the words of strategies (kernel/tile.h
// says where it lies).
#pragma once

#include "graph/integer.h"
#include "kernel/tile.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

constexpr std::int64_t halves_of_fragment = 2;  // rows of a thread: r and r + 8 of its warp's
constexpr std::int64_t threads_of_row = 4;

/// Of which of its rows a thread has this register.
inline std::int64_t half_of(std::int64_t index) { return index % 4 / 2; }

inline Node held(const Node& registers, std::int64_t index, int lanes = 1) {
  return load_from(registers, constant_int(index), {}, lanes);
}
inline Node hold(const Node& registers, std::int64_t index, const Node& value) {
  return store_to(registers, constant_int(index), value);
}

/// What each thread of a group does with what it holds.
inline Node threads_loop(const Node& thread, std::vector<Node> statements) {
  return loop(LoopKind::threads, thread, block(std::move(statements)));
}

/// All of them 0.
inline void clear(const Node& registers, std::vector<Node>& statements) {
  for (std::int64_t i = 0; i < registers.ints(1); i += 2)
    statements.push_back(hold(registers, i, splat(constant_float(0), 2)));
}

/// Whether the last block of a length is as long as the others.
inline bool divides(const Size& length, std::int64_t block) {
  return length.is_constant() && length.value() % block == 0;
}

/// What a thread's rows see of a block of columns, told by two numbers a row that are counted from
/// the thread's first column on: the column before the first one seen, and the one behind the last.
/// So a compare takes a constant and 32 bits.
class SeenColumns {
 public:
  SeenColumns(std::int64_t threads, std::int64_t columns, Workshop& workshop)
      : threads_(threads),
        columns_(columns),
        before_(workshop.registers(DType::int32, halves_of_fragment)),
        end_(workshop.registers(DType::int32, halves_of_fragment)) {}

  /// For the block from column0 on; first_of and end_of give the first column that a row of the
  /// tile sees and the one behind the last, or nothing where none is hidden on that side.
  template <typename First, typename End>
  void find(const Node& thread, const Node& column0, const First& first_of, const End& end_of,
            std::vector<Node>& statements) {
    for (std::int64_t half = 0; half < halves_of_fragment; ++half) {
      const FragmentElement mine = fragment_element(threads_, columns_, thread, 2 * half);
      const auto keep = [&](const Node& where, const Node& column) {
        Node count = integer_sub(column, add(column0, mine.column));
        count = integer_max(integer_min(count, constant_int(columns_)), constant_int(-1));
        statements.push_back(hold(where, half, cast(count, DType::int32)));
      };
      const Node first = first_of(mine.row);
      const Node end = end_of(mine.row);
      has_first_ = static_cast<bool>(first);
      has_end_ = static_cast<bool>(end);
      if (has_first_) keep(before_, integer_sub(first, constant_int(1)));
      if (has_end_) keep(end_, end);
    }
  }

  /// The value of two neighbouring elements from `index` on where they are seen, or `hidden`.
  Node where_seen(std::int64_t index, Node value, const Node& hidden) const {
    const std::int64_t ahead = index % (columns_ / 2) / 4 * 8;
    const Node columns = cast(ramp(constant_int(ahead), 2), DType::int32);
    const auto choose = [&](const Node& a, const Node& b) {
      const Node seen = make_node(Op::cmplt_, DType::boolean, {a, b}, {}, 2);
      value = make_node(Op::where_, value.dtype(), {seen, value, hidden}, {}, 2);
    };
    if (has_first_) choose(held(before_, half_of(index)), columns);
    if (has_end_) choose(columns, held(end_, half_of(index)));
    return value;
  }

 private:
  std::int64_t threads_, columns_;
  Node before_, end_;
  bool has_first_ = false, has_end_ = false;
};

}  // namespace brisk
