// Attention as strategies see it. Input: a part of a lowered kernel; output: its pieces, where it
// is a softmax of a contraction, contracted with a third operand.
#pragma once

#include <optional>
#include <vector>

#include "kernel/kernel.h"

namespace brisk {

/// The first store's value holds weighted = Σ over key of weight · value; weight holds exponential
/// and total = Σ exponential, exponential holds argument and greatest = max argument, and argument
/// holds score = Σ over width of query · keys. All of them name `key`, the range of the outer sum.
struct AttentionForm {
  Node weighted, key, weight, value, total, exponential, greatest, argument, score, query, keys;
  Node width;
  Node column;                      // the output's innermost range, along which it is contiguous
  std::vector<Node> batch;          // output ranges that keys or values depend on
  std::vector<Node> rows;           // the others
  std::vector<Node> totals_stores;  // further stores, of total and greatest alone, one a row

  /// The last key that a row's mask leaves, where all up to it are left (a causal mask); then the
  /// argument is `seen` up to it and -inf beyond. Empty otherwise.
  Node last_key() const;
  Node seen() const;
  /// The weight without what is rounded for the product: strategies keep it in float32, or round it
  /// as they sum.
  Node unrounded_weight() const;
};

std::optional<AttentionForm> attention_form(const Part& part);
/// The softmax alone: the store's value, one for each row, holds `total` and `greatest` of an
/// attention without weighted, weight, value and column.
std::optional<AttentionForm> softmax_form(const Part& part);

}  // namespace brisk
