// Attention as strategies see it: Σⱼ softmaxⱼ(S)·V, where S is itself a contraction of queries and
// keys. Input: a part of a lowered kernel; output: its expressions by name.
#pragma once

#include <optional>
#include <vector>

#include "kernel/kernel.h"

namespace brisk {

/// weighted = Σ over `key` of weight·value; `weight` holds `exponential` and `total`, their sum
/// over all keys; `exponential` holds `argument` and `greatest`, their maximum; `argument` holds
/// `score` = Σ query·keys over one range. Each is given at the counter of `key`.
struct AttentionForm {
  Node weighted, key, weight, value, total, exponential, greatest, argument, score, query, keys;
  Node column;              // the output range along `value`, in which the store is contiguous
  std::vector<Node> batch;  // output ranges on which keys or values depend
  std::vector<Node> rows;   // the others: queries, and heads that share keys

  /// The last key that a row's mask leaves, if all up to it are left: the scores are
  /// where(last < key or its negation, …) and -inf beyond. Nothing for other masks.
  Node last_key() const;
};

/// Nothing where the part is none.
std::optional<AttentionForm> attention_form(const Part& part);

}  // namespace brisk
