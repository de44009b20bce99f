// Sums of products as strategies see them. Input: a reduction of a lowered kernel; output: its two
// factors and, where groups of them have scales (quantised blocks), what happens to the sum of each
// group.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/target.h"
#include "graph/integer.h"
#include "kernel/kernel.h"

namespace brisk {

/// Σ over `ranges` of a · b, or, where `inner` is not empty, Σ over `ranges` of
///   scale · (Σ over `inner` of a · b) + offset.
/// Factors that are integers converted for the product are given as they are before the conversion.
struct Product {
  Node sum;                  // the reduction
  std::vector<Node> ranges;  // outermost first
  std::vector<Node> inner;   // of the sums of integers within a group
  Node a, b;
  Node scale;   // float32; empty without `inner`
  Node offset;  // float32; empty where there is none

  bool grouped() const { return !inner.empty(); }
};

/// The sum as a product; nothing where it is none. Plain factors may hold reductions only where the
/// caller says so.
std::optional<Product> product_of(const Node& sum, bool made_of_reductions = false);

/// The value of 16 bits that is converted for a product; empty where the factor is none.
Node half_factor(const Node& factor);

/// A part all of whose results are computed from sums of products over the same ranges: each point
/// of `batch`, `n` and `m` is a result; `a`, the vectors, depends on m, `b`, the matrices, on n.
struct MatrixVectorForm {
  std::vector<Product> products;
  std::vector<Node> batch, n, m;
};

/// Nothing where the part is none. The matrix is the operand with more elements of its own.
std::optional<MatrixVectorForm> matrix_vector_form(const Part& part,
                                                   bool made_of_reductions = false);

/// Whether results over the ranges come in tiles that are worth sharing what they multiply: a sum
/// of products, both factors of which are many results' own.
bool is_contraction(const Node& sum, const std::vector<Node>& outer);

/// The product of the factors of `expression` that depend on any of the ranges, and that of the
/// others; empty where there are none.
struct Factors {
  Node with, without;
};
Factors factors_of(const Node& expression, const std::vector<Node>& ranges);

/// Whether every load of the operand stays, or goes on to the next element, as the range goes on,
/// and some do go on; and nothing in it is a reduction.
bool lies_in_order(const Node& operand, const Node& range);

/// Whether bytes are ones without a sign, less a constant.
bool is_centred(const Node& bytes);

/// Bytes of a matrix as dot products take them: without a constant that makes them signed, where
/// the machine's product wants one side that is not.
Node uncentred(const Node& bytes, const Target& target);

/// What `tile` makes for the narrowest of the widths 2, 4, … `widest` that holds m, which is known
/// late: so that few columns cost few.
Node narrowest_tile(const Size& m, int widest, const std::function<Node(int)>& tile);

/// A tile of a matrix: so many rows along the range n, and groups that a step along them takes.
struct RowTile {
  Node n;
  std::int64_t rows = 1;
  std::int64_t groups = 1;
  std::int64_t streams = 1;  // at most; a power of two that divides the rows
};
/// Hints for rows further on than the tile whose first row is at `first`: rows of blocks, read side
/// by side and piece by piece, leave the processor no stream to follow. They lie one after the
/// other; so each step of groups, at `counters`, asks for its share of a tile, in order. Memory
/// answers several streams faster than one: the share is of as many parts of the tile as have lines
/// enough.
void hint_rows_ahead(const Product& product, const RowTile& tile, const Substitution& first,
                     const Substitution& counters, std::vector<Node>& statements);

/// The reductions in these stores that stand in no other one's value.
std::vector<Node> outermost_reductions(const std::vector<Node>& stores);

}  // namespace brisk
