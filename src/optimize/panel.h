// Panels: columns of a contraction's operand, packed so that the inner loop reads them one vector
// after the other. Input: the operand as an expression over K and N; output: a statement that fills
// scratch memory.
//
// A panel has a row for each group of `group` neighbours along K (as many as one dot product sums),
// and in it, for each column, the elements of the group side by side:
//   panel[k / group][column][k % group], columns = vectors * lanes.
#pragma once

#include <vector>

#include "graph/integer.h"
#include "optimize/strategies/strategy.h"

namespace brisk {

struct PanelForm {
  DType dtype = DType::float32;
  int vectors = 1;  // of a row
  int lanes = 1;    // columns of a vector
  int group = 1;    // bytes of a group: 4, or what dtype has
  std::int64_t columns() const { return static_cast<std::int64_t>(vectors) * lanes; }
};

/// Turns a matrix that lies in registers: `rows` vectors of `columns` words, a word being `group`
/// neighbouring elements; rows divides columns, both are powers of two. Within each segment of
/// `rows` words, word i of vector j becomes word j of vector i. Gives the registers where it lies
/// after the statements.
Node turn_words(Node registers, int rows, int columns, int group, Workshop& workshop,
                std::vector<Node>& statements);

class PanelPacker {
 public:
  /// `n` is the range of the columns; they start at `first`, and those from `limit` on (where it is
  /// given) are left undefined. `outside` gives values to the ranges around.
  PanelPacker(const PanelForm& form, const Node& n, const Node& first, const Node& limit,
              const Substitution& outside, Workshop& workshop)
      : form_(form), n_(n), first_(first), limit_(limit), outside_(outside), workshop_(workshop) {}

  /// `value`, of the panel's dtype, over the ranges of K, outermost first; the size of the last is
  /// a multiple of the group. The panel begins at element `begin` of its memory.
  Node pack(const Node& panel, const Node& value, const std::vector<Node>& k,
            const Node& begin = constant_int(0)) const;

 private:
  std::vector<bool> moves_gates(const Node& value, const std::vector<Node>& k) const;
  int turned_width(const Node& value, const Node& last) const;
  void in_rows(const Node& panel, const Node& at, const Node& value, const Node& last,
               const Substitution& values, std::vector<Node>& statements) const;
  void turned(const Node& panel, const Node& at, const Node& value, const Node& last,
              const Substitution& values, int width, int vector,
              std::vector<Node>& statements) const;

  PanelForm form_;
  Node n_, first_, limit_;
  const Substitution& outside_;
  Workshop& workshop_;
};

}  // namespace brisk
