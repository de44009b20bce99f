// Graphics cards by the name that their driver says: what the maker's data sheet promises and what
// an hour of one costs. Rates are dense (without sparsity), of matrix units where the card has them
// for the type, with sums in float32; 0 where the sheet says nothing. What is measured on a card of
// this table is told as a share of its limits; of other cards, and of CPUs, it stands for itself.
#pragma once

#include "base/dtype.h"

#include <algorithm>
#include <iterator>
#include <string_view>

namespace brisk {

struct Card {
  std::string_view name;  // of which the device's name is the whole, or all before a '-'
  double bytes = 0;       // read or written a second
  double float32 = 0;     // operations a second, of a product of matrices of each type
  double halves = 0;      // of float16; of bfloat16 too unless `bfloat16` says no
  double float8 = 0;
  double int8 = 0;
  double watts = 0;  // that it may take by the sheet
  double dollars_per_hour = 0;
  bool bfloat16 = true;

  /// Operations a second of products of this type; 0 where unknown.
  double operations(DType dtype) const {
    switch (dtype) {
      case DType::float32: return float32;
      case DType::float16: return halves;
      case DType::bfloat16: return bfloat16 ? halves : 0;
      case DType::float8_e4m3: return float8;
      case DType::int8: return int8;
      default: return 0;
    }
  }
};

// Sources, limits: NVIDIA's data sheets of H100, H200, A100, L4, L40S, A10, T4 and V100, its white
// papers "Ada GPU Architecture" (RTX 4090) and "Ampere GA102 GPU Architecture" (RTX 3090), AMD's
// data sheet of MI300X. Where a sheet gives rates with sparsity alone, half of them.
// Sources, prices of one card on demand, in dollars an hour: RunPod's page of prices, secure cloud,
// September 2026 (H100, H200, A100 of 80 GB, L40S, RTX 4090), and community cloud, March 2026 (RTX
// 3090); Lambda's page of prices, September 2026 (A100 of 40 GB, A10); Amazon EC2, us-east-1, the
// smallest machine with one, 2025 (L4: g6.xlarge, T4: g4dn.xlarge, V100: p3.2xlarge); DigitalOcean,
// 2025 (MI300X). Prices change: --price says today's.
// clang-format off
inline constexpr Card cards[] = {
    // name                      bytes    float32   halves    float8    int8      watts dollars
    {"NVIDIA H100 80GB HBM3",    3.35e12, 67e12,    989.4e12, 1978.9e12, 1978.9e12, 700, 3.49},
    {"NVIDIA H100 PCIe",         2.0e12,  51e12,    756.5e12, 1513e12,   1513e12,   350, 2.89},
    {"NVIDIA H200",              4.8e12,  67e12,    989.4e12, 1978.9e12, 1978.9e12, 700, 4.59},
    {"NVIDIA A100-SXM4-80GB",    2.039e12, 19.5e12, 312e12,   0,         624e12,    400, 1.59},
    {"NVIDIA A100 80GB PCIe",    1.935e12, 19.5e12, 312e12,   0,         624e12,    300, 1.59},
    {"NVIDIA A100-SXM4-40GB",    1.555e12, 19.5e12, 312e12,   0,         624e12,    400, 1.99},
    {"NVIDIA L4",                300e9,   30.3e12,  121e12,   242.5e12,  242.5e12,  72,  0.8048},
    {"NVIDIA L40S",              864e9,   91.6e12,  362.05e12, 733e12,   733e12,    350, 1.09},
    {"NVIDIA A10",               600e9,   31.2e12,  125e12,   0,         250e12,    150, 1.29},
    {"NVIDIA GeForce RTX 4090",  1.008e12, 82.6e12, 165.2e12, 330.3e12,  660.6e12,  450, 0.74},
    {"NVIDIA GeForce RTX 3090",  936e9,   35.6e12,  71e12,    0,         284e12,    350, 0.22},
    {"Tesla T4",                 320e9,   8.1e12,   65e12,    0,         130e12,    70,  0.526, false},
    {"Tesla V100-SXM2",          900e9,   15.7e12,  125e12,   0,         0,         300, 3.06, false},
    {"AMD Instinct MI300X",      5.3e12,  163.4e12, 1307.4e12, 2614.9e12, 2614.9e12, 750, 1.99},
};
// clang-format on

/// The card of a device of this name, or null. A suffix behind a '-' ("-32GB") does not make it
/// another card, anything else does ("NVIDIA H200 NVL").
inline const Card* find_card(std::string_view device) {
  const auto found = std::find_if(std::begin(cards), std::end(cards), [&](const Card& card) {
    if (!device.starts_with(card.name)) return false;
    const std::string_view rest = device.substr(card.name.size());
    return rest.empty() || rest.front() == '-';
  });
  return found == std::end(cards) ? nullptr : found;
}

}  // namespace brisk
