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

Tolerance gradient_tolerance(const std::string& op) {
  static const std::map<std::string, Tolerance> special = {
      {"matmul", {2e-6, 3e-5}},            // sums of up to 512 products in another order
      {"conv2d", {2e-6, 1e-5}},            // of a weight or bias over batch and places: up to 640
      {"conv3d", {2e-6, 1e-5}},            // up to 200
      {"conv_transpose2d", {2e-6, 1e-5}},  // up to 1,000
      {"cumprod", {2e-6, 4e-6}},           // sums of quotients that cancel
      {"attention", {2e-6, 3e-6}},         // over queries, of products that cancel
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
                    entry.at("int_inputs"), entry.at("grad")});
  }
  return list;
}

std::vector<Case> cases_with_gradients() {
  std::vector<Case> list = cases();
  std::erase_if(list, [](const Case& test) { return !test.grad; });
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

class OperatorTest : public testing::TestWithParam<Parameter> {
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

Inputs inputs_of(const Case& test) {
  Inputs inputs;
  inputs.args = test.args;
  for (int i = 0; i < test.inputs; ++i) {
    inputs.in.push_back(stored(test.name + ".in" + std::to_string(i)));
  }
  for (const std::string& name : test.int_inputs) {
    inputs.ints[name] = stored(test.name + "." + name);
  }
  return inputs;
}

// Against the stored tensor; returns the largest error as a share of what is allowed.
double compare(const Tensor& result, const std::string& name, Tolerance allowed) {
  const SafeTensor& expected = data().tensor(name);
  EXPECT_EQ(result.shape(), expected.shape) << name;
  const std::vector<double> got = result.to_vector<double>();
  const std::vector<double> want = stored(name).to_vector<double>();
  double worst = 0;
  for (std::size_t i = 0; i < std::min(want.size(), got.size()); ++i) {
    const auto failed = [&] {
      ADD_FAILURE() << name << ", element " << i << ": " << got[i] << " instead of " << want[i];
      return std::numeric_limits<double>::infinity();
    };
    if (std::isnan(want[i]) || std::isinf(want[i])) {
      if (!(std::isnan(want[i]) ? std::isnan(got[i]) : got[i] == want[i])) return failed();
      continue;
    }
    const double limit = allowed.absolute + allowed.relative * std::fabs(want[i]);
    const double error = std::fabs(got[i] - want[i]);
    if (!(error <= limit)) return failed();
    if (limit > 0) worst = std::max(worst, error / limit);
  }
  return worst;
}

class Operators : public OperatorTest {};

TEST_P(Operators, MatchesPyTorch) {
  const Case& test = std::get<1>(GetParam());
  const auto function = op_table().find(test.op);
  ASSERT_NE(function, op_table().end()) << test.op << " is not in tests/ops/op_table.h";
  const Tensor result = function->second(inputs_of(test));
  const bool exact = data().tensor(test.name + ".out").dtype != DType::float32;
  const double worst =
      compare(result, test.name + ".out", exact ? Tolerance{0, 0} : tolerance(test.op));
  RecordProperty("share_of_tolerance", std::to_string(worst));
  if (std::getenv("BRISK_OPS_PRINT") != nullptr) std::printf("%s %.3f\n", test.name.c_str(), worst);
}

class Gradients : public OperatorTest {};

// Every input's gradient, given the output's.
TEST_P(Gradients, MatchPyTorch) {
  const Case& test = std::get<1>(GetParam());
  Inputs inputs = inputs_of(test);
  for (Tensor& input : inputs.in) input.requires_grad_();
  const Tensor result = op_table().at(test.op)(inputs);
  const std::vector<Tensor> gradients =
      grad({result}, inputs.in, {stored(test.name + ".out_grad")}, {.allow_unused = true});
  int compared = 0;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    const std::string name = test.name + ".in" + std::to_string(i) + "_grad";
    if (data().find(name) == nullptr) continue;
    ++compared;
    const Tensor got = gradients[i].defined() ? gradients[i] : zeros_like(inputs.in[i]);
    const double worst = compare(got, name, gradient_tolerance(test.op));
    if (std::getenv("BRISK_OPS_PRINT") != nullptr) std::printf("%s %.3f\n", name.c_str(), worst);
  }
  EXPECT_GT(compared, 0);
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
INSTANTIATE_TEST_SUITE_P(Shared, Gradients,
                         testing::Combine(testing::ValuesIn(backends),
                                          testing::ValuesIn(cases_with_gradients())),
                         label);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Gradients);

TEST(OperatorData, HoldsEveryCase) {
  if (!std::filesystem::exists(folder / "ops.json")) {
    GTEST_SKIP() << folder.string() << " is missing: PyTorch's values are not compared";
  }
  EXPECT_EQ(cases().size(), 238U);
  EXPECT_EQ(cases_with_gradients().size(), 211U);
}

}  // namespace
}  // namespace brisk::ops_test
