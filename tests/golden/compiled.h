// What the tests of whole graphs share. Input: tensors; output: their compiled plan, run once on
// the process's engine and held to the reference evaluator.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "autograd/gradient.h"
#include "brisk/brisk.h"
#include "engine/engine.h"
#include "graph/elementwise.h"
#include "graph/evaluate.h"
#include "tensor/node_of.h"

namespace brisk {

/// Float32 values in [-1, 1), the same for the same shape and seed.
inline Tensor numbers(const std::vector<std::int64_t>& shape, unsigned seed = 1) {
  const auto count =
      std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  std::vector<float> values(static_cast<std::size_t>(count));
  std::uint32_t state = seed * 2654435761U + 12345U;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = static_cast<float>(state >> 8) / 8388608.0F - 1.0F;
  }
  return from_host(std::span<const float>(values), shape);
}

/// The kernels' names, for messages.
inline std::string names(const Plan& plan) {
  std::string text;
  for (const Plan::KernelInfo& kernel : plan.kernels()) text += kernel.name + " ";
  return text;
}

/// Compiles and runs the tensors' graphs together; every value is within `tolerance`, relative to
/// the larger of 1 and the value, of what the evaluator says.
inline Plan run_and_compare(const std::vector<Tensor>& tensors, const VariableValues& values = {},
                            double tolerance = 1e-4) {
  Engine& engine = Engine::shared();
  std::vector<Node> roots;
  for (const Tensor& tensor : tensors) roots.push_back(node_of(tensor));
  roots = values_of(roots);
  const std::vector<Array> want = evaluate(
      roots, {values, [&](const Node& node) {
                Array array{node.dtype(), evaluate_shape(node.shape(), values), {}};
                if (node.attr().storage) array.bytes = engine.read(node);
                std::size_t size = static_cast<std::size_t>(byte_size(array.dtype));
                for (const std::int64_t extent : array.shape)
                  size *= static_cast<std::size_t>(extent);
                array.bytes.resize(size);  // memory of the graph's own, written before it is read
                return array;
              }});
  Plan plan(roots, engine);
  plan.run(values);
  for (std::size_t r = 0; r < roots.size(); ++r) {
    const std::vector<double> right = reals(want[r].dtype, want[r].bytes);
    const std::vector<double> got = reals(want[r].dtype, engine.read(plan.outputs()[r]));
    EXPECT_GE(got.size(),
              right.size());  // where sizes are variables, the memory is of the greatest
    int wrong = 0;
    for (std::size_t i = 0; i < std::min(right.size(), got.size()) && wrong < 3; ++i) {
      const double a = right[i];
      const double b = got[i];
      const bool same = a == b || (std::isnan(a) && std::isnan(b)) ||
                        std::fabs(a - b) <= tolerance * std::max(1.0, std::fabs(a));
      if (same) continue;
      ADD_FAILURE() << "root " << r << ", element " << i << ": " << b << " for " << a;
      ++wrong;
    }
  }
  return plan;
}

/// So many kernels, no more.
inline void expect_kernels(std::size_t most, const std::vector<Tensor>& tensors,
                           const VariableValues& values = {}, double tolerance = 1e-4) {
  const Plan plan = run_and_compare(tensors, values, tolerance);
  EXPECT_GE(plan.kernels().size(), 1U);
  EXPECT_LE(plan.kernels().size(), most) << names(plan);
}

}  // namespace brisk
