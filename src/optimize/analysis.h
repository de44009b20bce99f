// Questions that strategies ask about expressions over ranges, and the step from scalars to
// vectors.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/target.h"
#include "graph/integer.h"
#include "kernel/kernel.h"

namespace brisk {

/// Of a line of the processor's cache.
constexpr int line_bytes = 64;

/// Whether the range, or any other node, stands in the expression.
bool depends_on(const Node& expression, const Node& range);
/// The expression with `to` wherever `from` stood.
Node with(const Node& expression, const Node& from, const Node& to);
bool contains(const std::vector<Node>& list, const Node& node);
/// Of the ranges together, at the upper bounds of their sizes.
double points(const std::vector<Node>& ranges);

/// What a reduction combines, and over which ranges, outermost first.
ReduceOp op_of(const Node& reduction);
std::vector<Node> ranges_of(const Node& reduction);

/// How far `index` moves when the range's counter goes up by one, if that is a constant.
std::optional<std::int64_t> stride(const Node& index, const Node& range);

/// Where a store writes, if it writes: of a scatter's choice between a place and a negative number,
/// which no gate lets through, the place.
Node place_of(const Node& store);
/// Whether that place is read from memory by the range.
bool reads_place_by(const Node& store, const Node& range);
/// False where those of the ranges by which no place is read step like the digits of a number: then
/// no two of their points share a place.
bool places_overlap(const Node& store, const std::vector<Node>& ranges);

/// The range along which all of the stores are contiguous, if there is one.
Node stored_along(const std::vector<Node>& stores, const std::vector<Node>& ranges);

/// Bytes of the elements of loads that go on to the next one as the range's counter does, less
/// those of loads that go elsewhere. Loads of far fewer elements than others do not count: these
/// are read from nearby again and again.
int contiguous_bytes(const std::vector<Node>& expressions, const Node& range);

/// Number of points of nested ranges.
Size extent(const std::vector<Node>& ranges);
/// Position of a point of the ranges in row-major order, and the counters at a position: `values`
/// gets one for each range.
Node position(const std::vector<Node>& ranges);
void place(Substitution& values, const std::vector<Node>& ranges, Node at);

/// Each node of one kind in the expressions, sources first.
std::vector<Node> find_all(const std::vector<Node>& expressions, Op op);

/// The expression for `lanes` consecutive counters of `range`, from `base` on. Ranges in `others`
/// are replaced too (by scalars), and any other node found there. Loads with stride 1 become vector
/// loads, other strides gathers; what does not depend on the range stays scalar. Where `limit` is
/// given, loads that move with the range are closed for counters from it on.
Node vectorise(const Node& expression, const Node& range, const Node& base, int lanes,
               const Substitution& others, const Node& limit = {});

/// Vectors of equal lanes one after the other, joined as deep in the expressions as they are alike
/// (so that what they share is computed once): f(x, 0) and f(x, 4) as f(x x, 0 0 … 4 4 …).
Node join_lanes(const std::vector<Node>& parts);

/// The store for `lanes` consecutive counters of the range, as vectorise() has them. From `limit`
/// on nothing is stored.
Node vectorised_store(const Node& store, const Node& range, const Node& base, int lanes,
                      const Substitution& others, const Node& limit = {});

/// Appends hints for the cache lines that `count` elements of a load, from the range's counter
/// `from` on, will be in `distance` bytes later; other ranges as in `values`.
void ask_ahead(const Node& load, const Node& range, const Node& from, std::int64_t count,
               std::int64_t distance, Substitution values, std::vector<Node>& statements);

/// Replaces neighbouring ranges by one wherever that costs no division in an index.
/// Works on the output ranges of the part and on the ranges of its reductions.
void merge_ranges(Part& part, int& next_range);

/// The store where its ranges have these values: a place of its own, even if it is a scatter.
Node store_at(const Node& store, Substitution& values);

/// Makes `both`, of as many points, of the part's last two ranges where that costs divisions in the
/// gates of loads alone: an image's rows as one long row, of which windows read others.
bool merge_rows(Part& part, const Node& both);

/// The opposite where indices divide a range by constants (the fields of quantised blocks, a matrix
/// that is stored as one row): one range per digit, so that the innermost is read in order and the
/// divisions are gone.
void split_ranges(Part& part, int& next_range);

/// Rough count of scalar instructions of one evaluation, reductions not counted.
std::int64_t operation_count(const Node& expression);
Node identity_of(ReduceOp op, DType dtype);

/// The range i of a running reduction: op over j of (i < j ? identity : value), j of i's size and
/// the value independent of i. Nothing for other reductions.
Node running_range(const Node& reduction);
Node combine(ReduceOp op, const Node& a, const Node& b);
/// A product apart from its constant factors.
struct Scaled {
  Node value;
  double factor;
};
Scaled without_factors(const Node& product);
/// Whether one of the two conditions holds; an empty one never does.
Node either(const Node& a, const Node& b);

}  // namespace brisk
