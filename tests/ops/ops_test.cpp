// Every operator case of ../shared/data/ops (PyTorch's values) on the evaluator, the engine, and
// the interpreter of a GPU's kernels. Input: ops.json and ops.safetensors; output: one test for
// each case and executor. The engine's device is what BRISK_DEVICE says: brisk_device_tests in
// CMakeLists.txt runs them on others.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "formats/safetensors.h"
#include "ops/interpreted.h"
#include "ops/op_table.h"
#include "shared_data.h"
#include "tensor/realize.h"

namespace brisk::ops_test {
namespace {

const std::filesystem::path folder = shared_data() / "ops";

struct Backend {
  const char* name;
  std::unique_ptr<Executor> (*make)();
};
const Backend backends[] = {
    {"evaluator", evaluator},
#ifndef BRISK_NO_ENGINE
    {"engine", engine_executor},
    {"groups", [] { return std::unique_ptr<Executor>(new Interpreted("sm_90a")); }},
#endif
};

// |brisk - PyTorch| <= absolute + relative·|PyTorch|, of float32. What is looser than the default
// says why: PyTorch's own order of summation, or a result that is small beside what it is made of.
struct Tolerance {
  double relative = 2e-6;
  double absolute = 1e-6;
};
Tolerance tolerance(const std::string& op) {
  static const std::map<std::string, Tolerance> special = {
      {"matmul", {2e-6, 3e-5}},  // sums of up to 512 products in another order
      {"conv2d", {2e-6, 3e-6}},  // of up to 48
  };
  const auto found = special.find(op);
  return found == special.end() ? Tolerance{} : found->second;
}

std::vector<Case> cases() {
  std::vector<Case> list;
  std::ifstream file(folder / "ops.json");
  if (!file) return list;
  for (const auto& entry : nlohmann::json::parse(file)) {
    list.push_back({entry.at("name"), entry.at("op"), entry.at("args"), entry.at("inputs"),
                    entry.at("int_inputs")});
  }
  return list;
}

const Safetensors& data() {
  static const Safetensors file = Safetensors::open(folder / "ops.safetensors");
  return file;
}

Tensor stored(const std::string& name) {
  const SafeTensor& tensor = data().tensor(name);
  return from_bytes(tensor.bytes, tensor.shape, tensor.dtype);
}

using Parameter = std::tuple<Backend, Case>;

class Operators : public testing::TestWithParam<Parameter> {
 protected:
  void SetUp() override {
    executor_ = std::get<0>(GetParam()).make();
    before_ = use_executor(executor_.get());
  }
  void TearDown() override { use_executor(before_); }

 private:
  std::unique_ptr<Executor> executor_;
  Executor* before_ = nullptr;
};

TEST_P(Operators, MatchesPyTorch) {
  const Case& test = std::get<1>(GetParam());
  const auto function = op_table().find(test.op);
  ASSERT_NE(function, op_table().end()) << test.op << " is not in tests/ops/op_table.h";
  Inputs inputs;
  inputs.args = test.args;
  for (int i = 0; i < test.inputs; ++i) {
    inputs.in.push_back(stored(test.name + ".in" + std::to_string(i)));
  }
  for (const std::string& name : test.int_inputs) {
    inputs.ints[name] = stored(test.name + "." + name);
  }
  const Tensor result = function->second(inputs);
  const SafeTensor& expected = data().tensor(test.name + ".out");
  ASSERT_EQ(result.shape(), expected.shape);
  const std::vector<double> got = result.to_vector<double>();
  const std::vector<double> want = stored(test.name + ".out").to_vector<double>();
  const bool exact = expected.dtype != DType::float32;
  const Tolerance allowed = exact ? Tolerance{0, 0} : tolerance(test.op);
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (std::isnan(want[i]) || std::isinf(want[i])) {
      ASSERT_TRUE(std::isnan(want[i]) ? std::isnan(got[i]) : got[i] == want[i])
          << "element " << i << ": " << got[i] << " instead of " << want[i];
      continue;
    }
    const double limit = allowed.absolute + allowed.relative * std::fabs(want[i]);
    const double error = std::fabs(got[i] - want[i]);
    ASSERT_LE(error, limit) << "element " << i << ": " << got[i] << " instead of " << want[i];
    if (limit > 0) worst = std::max(worst, error / limit);
  }
  RecordProperty("share_of_tolerance", std::to_string(worst));
  if (std::getenv("BRISK_OPS_PRINT") != nullptr) std::printf("%s %.3f\n", test.name.c_str(), worst);
}

std::string label(const testing::TestParamInfo<Parameter>& info) {
  std::string name = std::string(std::get<0>(info.param).name) + "_" + std::get<1>(info.param).name;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(Shared, Operators,
                         testing::Combine(testing::ValuesIn(backends), testing::ValuesIn(cases())),
                         label);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Operators);

TEST(OperatorData, HoldsEveryCase) {
  if (!std::filesystem::exists(folder / "ops.json")) {
    GTEST_SKIP() << folder.string() << " is missing: PyTorch's values are not compared";
  }
  EXPECT_EQ(cases().size(), 238U);
}

}  // namespace
}  // namespace brisk::ops_test
