// Sorting: where a part asks for the places of a row's keys in their order, it takes a radix sort
// of key and position together, a byte at a time from the lowest, instead of comparing all pairs.
// Rows are tasks. What the part stores is then computed in the order of the places.
#include <algorithm>
#include <array>
#include <functional>

#include "optimize/analysis.h"
#include "optimize/ranking_form.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr int digit_bits = 8;
constexpr std::int64_t digit_values = 1 << digit_bits;
constexpr int digits = 32 / digit_bits;  // of a word

// A row's elements are words of 64 bits: 32 bits of the key above, the position below. A key of 64
// bits takes two rounds, the first for its lower half.
class Ranking {
 public:
  Ranking(const Part& part, const RankingForm& form, Workshop& workshop)
      : part_(part),
        workshop_(workshop),
        stores_(part.stages[0].stores),
        place_(form.place),
        at_(form.at),
        key_(form.key) {}

  Schedule run() {
    std::vector<Node> rows = part_.outer;
    std::erase(rows, at_);
    const Size count = extent(rows);
    const Node task = workshop_.range(count);
    place(row_, rows, count == Size(1) ? constant_int(0) : task);
    const std::int64_t length = Size(at_.src(0)).upper();
    for (Node& words : words_) words = workshop_.scratch(DType::uint64, length);
    counts_ = workshop_.scratch(DType::int32, digits * digit_values);
    std::vector<Node> statements;
    const int rounds = byte_size(key_.dtype()) / 4;
    for (int round = 0; round < rounds; ++round) sort_by_word(round, statements);
    statements.push_back(store_in_order());
    Schedule schedule;
    schedule.name = "ranking";
    const Node body = block(std::move(statements));
    schedule.phases = {count == Size(1) ? body : loop(LoopKind::parallel, task, body)};
    return schedule;
  }

 private:
  Node each(const Size& size, const std::function<Node(const Node&)>& statement) {
    const Node counter = workshop_.range(size);
    return loop(LoopKind::serial, counter, statement(counter));
  }

  static Node low_half(const Node& word) {
    return bit_and(word, constant_int(0xffffffff, DType::uint64));
  }

  // 32 bits of the key at a position, such that they order as unsigned numbers.
  Node key_word(const Node& position, int round) const {
    Substitution values = row_;
    values[at_] = position;
    const Node key = ordered_bits(substitute(key_, values));
    if (key.dtype() == DType::uint32) return cast(key, DType::uint64);
    return round == 0 ? low_half(key) : shr(key, constant_int(32, DType::uint64));
  }

  Node fill(int round) {
    return each(Size(at_.src(0)), [&](const Node& i) {
      const Node known = low_half(load_from(words_[0], i));
      const Node position = round == 0 ? cast(i, DType::uint64) : known;
      const Node from = round == 0 ? i : cast(known, DType::int64);
      const Node key = shl(key_word(from, round), constant_int(32, DType::uint64));
      return store_to(words_[0], i, bit_or(key, position));
    });
  }

  // Where the count (later the next place) of the word's digit lies.
  static Node slot(const Node& word, int digit) {
    const Node shifted = shr(word, constant_int(32 + digit * digit_bits, DType::uint64));
    const Node value = bit_and(shifted, constant_int(digit_values - 1, DType::uint64));
    return add(cast(value, DType::int64), constant_int(digit * digit_values));
  }

  Node plus_one(const Node& index) {
    return store_to(counts_, index, add(load_from(counts_, index), constant_int(1, DType::int32)));
  }

  void sort_by_word(int round, std::vector<Node>& statements) {
    const Size length(at_.src(0));
    statements.push_back(fill(round));
    statements.push_back(each(digits * digit_values, [&](const Node& i) {
      return store_to(counts_, i, constant_int(0, DType::int32));
    }));
    statements.push_back(each(length, [&](const Node& i) {
      std::vector<Node> body;
      for (int d = 0; d < digits; ++d) body.push_back(plus_one(slot(load_from(words_[0], i), d)));
      return block(std::move(body));
    }));
    for (int d = 0; d < digits; ++d) statements.push_back(first_places(d));
    for (int d = 0; d < digits; ++d) {
      statements.push_back(distribute(words_[d % 2], words_[1 - d % 2], d));
    }
  }

  // Counts of a digit's values to the places where their elements begin.
  Node first_places(int digit) {
    const Node next = workshop_.registers(DType::int32, 1);
    const Node count = workshop_.registers(DType::int32, 1);
    const Node zero = constant_int(0);
    const Node sums = each(digit_values, [&](const Node& value) {
      const Node at = add(value, constant_int(digit * digit_values));
      return block({store_to(count, zero, load_from(counts_, at)),
                    store_to(counts_, at, load_from(next, zero)),
                    store_to(next, zero, add(load_from(next, zero), load_from(count, zero)))});
    });
    return block({store_to(next, zero, constant_int(0, DType::int32)), sums});
  }

  Node distribute(const Node& from, const Node& to, int digit) {
    const Node word = workshop_.registers(DType::uint64, 1);
    const Node target = workshop_.registers(DType::int32, 1);
    const Node zero = constant_int(0);
    return each(Size(at_.src(0)), [&](const Node& i) {
      const Node index = slot(load_from(word, zero), digit);
      const Node place = load_from(target, zero);
      return block({store_to(word, zero, load_from(from, i)),
                    store_to(target, zero, load_from(counts_, index)),
                    store_to(counts_, index, add(place, constant_int(1, DType::int32))),
                    store_to(to, cast(place, DType::int64), load_from(word, zero))});
    });
  }

  Node store_in_order() {
    return each(Size(at_.src(0)), [&](const Node& i) {
      Substitution values = row_;
      values[at_] = cast(low_half(load_from(words_[0], i)), DType::int64);
      values[place_] = cast(i, place_.dtype());
      std::vector<Node> body;
      for (const Node& store : stores_) body.push_back(store_at(store, values));
      return block(std::move(body));
    });
  }

  static_assert(digits % 2 == 0, "the words end where they began");

  const Part& part_;
  Workshop& workshop_;
  const std::vector<Node>& stores_;
  Node place_, at_, key_;
  Substitution row_;  // the counters of the task's row
  std::array<Node, 2> words_;
  Node counts_;
};

}  // namespace

std::optional<Schedule> ranking(const Part& part, Workshop& workshop) {
  const std::optional<RankingForm> form = ranking_form(part);
  if (!form) return std::nullopt;
  return Ranking(part, *form, workshop).run();
}

}  // namespace brisk
