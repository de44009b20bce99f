// The command `brisk bench`: what its options are, and its two sides: a model, and the device
// alone.
#pragma once

#include "cli/cards.h"
#include "cli/command.h"
#include "cli/onnx.h"

#include <cstdint>
#include <optional>
#include <string>

namespace brisk {

struct BenchOptions {
  std::string model;  // empty: the device alone
  std::int64_t prompt = 512;
  std::int64_t tokens = 64;
  int repeats = 3;
  bool exact = false;
  bool json = false;
  bool compare_torch = false;
  std::optional<double> price;  // dollars an hour
  OnnxInputs onnx;
  DeviceChoice device;
};

void bench_device(const BenchOptions& options);
void bench_model(const BenchOptions& options);

/// What an hour of the process's device costs: what the user says, else what the table of cards
/// says.
struct Price {
  double dollars_per_hour = 0;
  bool from_table = false;

  /// Of what comes at this rate a second, how much for a dollar.
  double per_dollar(double rate) const { return rate * 3600 / dollars_per_hour; }
  std::string text() const;
};
std::optional<Price> price_of(const BenchOptions& options, const Card* card);
/// The process's device in that table, or null.
const Card* card_of_device();

}  // namespace brisk
