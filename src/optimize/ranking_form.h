// Parts that ask for the places of a row's keys in their order: sorts.
#pragma once

#include <optional>

#include "kernel/kernel.h"

namespace brisk {

struct RankingForm {
  Node place;  // the sum over all pairs that stands for the place
  Node at;     // the outer range along the row
  Node key;    // at it: an integer of 4 or 8 bytes
};
/// Nothing for rows that are so short that counting is as good.
std::optional<RankingForm> ranking_form(const Part& part);

/// Bits of the key that order as unsigned numbers as the keys do.
Node ordered_bits(const Node& key);

}  // namespace brisk
