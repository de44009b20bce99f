// What the tests of tensors share. Values are computed by the reference evaluator, so that a
// failure is one of the functions themselves; with BRISK_TEST_EXECUTOR=engine by the process's
// engine.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <vector>

#include "brisk/brisk.h"
#include "tensor/realize.h"

namespace brisk {

class TensorTest : public testing::Test {
 protected:
  TensorTest() : executor_(chosen()), before_(use_executor(executor_.get())) {}
  ~TensorTest() override { use_executor(before_); }

 private:
  static std::unique_ptr<Executor> chosen() {
    const char* name = std::getenv("BRISK_TEST_EXECUTOR");
    return name != nullptr && std::string(name) == "engine" ? engine_executor() : evaluator();
  }
  std::unique_ptr<Executor> executor_;
  Executor* before_;
};

/// Shape and values; values may differ by `tolerance` relative to the larger of 1 and the value.
/// NaN and infinity must be the same.
inline void expect_values(const Tensor& got, const std::vector<std::int64_t>& shape,
                          const std::vector<double>& want, double tolerance = 0) {
  EXPECT_EQ(got.shape(), shape);
  const std::vector<double> values = got.to_vector<double>();
  ASSERT_EQ(values.size(), want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (std::isnan(want[i])) {
      EXPECT_TRUE(std::isnan(values[i])) << "element " << i << " is " << values[i];
    } else if (std::isinf(want[i]) || tolerance == 0) {
      EXPECT_EQ(values[i], want[i]) << "element " << i;
    } else {
      EXPECT_NEAR(values[i], want[i], tolerance * std::max(1.0, std::fabs(want[i])))
          << "element " << i;
    }
  }
}

/// 0, 1, 2, … of a shape, in float32.
inline Tensor counting(const Dims& shape) {
  Dim count = 1;
  for (const Dim& size : shape) count = count * size;
  return arange(count).reshape(shape).cast(DType::float32);
}

}  // namespace brisk
