// Short rows of pieces that are too short for vectors, stored one after the other: the windows of
// images with few channels, for a product with their filters. A thread takes a row: what its
// elements have in common, such as whether a window's line is in the image, is computed once, and
// they are stored in vectors.
#include "optimize/analysis.h"
#include "optimize/strategies/group.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

namespace {

constexpr std::int64_t threads = 128;
constexpr std::int64_t shortest = 16;  // elements of a row
constexpr std::int64_t longest = 256;

}  // namespace

std::optional<Schedule> group_packing(const Node& value, const std::vector<Node>& rows,
                                      const std::vector<Node>& row, const Node& memory,
                                      const Size& pitch, Workshop& workshop) {
  const Target& target = workshop.target();
  const Size points = extent(rows);
  if (!extent(row).is_constant() || !pitch.is_constant() || !find_all({value}, Op::reduce_).empty())
    return std::nullopt;
  const std::int64_t count = extent(row).value();
  const std::int64_t length = pitch.value();  // with what is behind the row
  const int lanes = target.lanes(byte_size(value.dtype()));
  if (count < shortest || length > longest || length % lanes != 0 || lanes == 1 ||
      points.upper() < 2 * threads * target.threads || contiguous_bytes({value}, row.back()) <= 0 ||
      lanes_along({value}, row.back(), target) > 1) {
    return std::nullopt;
  }
  const Node kept = workshop.registers(value.dtype(), length);
  const auto pack = [&](const Node& point) {
    Substitution outside;
    place(outside, rows, point);
    std::vector<Node> body;
    for (std::int64_t i = 0; i < length; ++i) {
      Substitution values = outside;
      place(values, row, constant_int(std::min(i, count - 1)));
      const Node element = i < count ? substitute(value, values) : constant_like(0, value.dtype());
      body.push_back(store_to(kept, constant_int(i), element));
    }
    const Node first = mul(point, constant_int(length));
    for (std::int64_t i = 0; i < length; i += lanes) {
      body.push_back(store_to(memory, add(first, constant_int(i)),
                              load_from(kept, constant_int(i), {}, lanes)));
    }
    return block(std::move(body));
  };
  Schedule schedule;
  schedule.name = "group_packing";
  schedule.phases = {for_points(workshop, points, threads, pack)};
  return schedule;
}

}  // namespace brisk
