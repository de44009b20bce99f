// brisk bench: the device's table and its figures for programs, prices, and PyTorch beside it.
#include <cstdlib>
#include <fstream>
#include <set>

#include <nlohmann/json.hpp>

#include "cli/cards.h"
#include "cli/program.h"
#include "llm/model_fixture.h"

namespace brisk {
namespace {

TEST(Cards, are_found_by_the_whole_name_or_all_of_it_before_a_dash) {
  ASSERT_NE(find_card("NVIDIA H200"), nullptr);
  EXPECT_EQ(find_card("NVIDIA H200")->bytes, 4.8e12);
  EXPECT_EQ(find_card("NVIDIA L4")->watts, 72);
  EXPECT_EQ(find_card("NVIDIA L40S")->watts, 350);
  EXPECT_EQ(find_card("Tesla V100-SXM2-32GB"), find_card("Tesla V100-SXM2-16GB"));
  ASSERT_NE(find_card("Tesla V100-SXM2-32GB"), nullptr);
  for (const char* other : {"", "NVIDIA", "NVIDIA H200 NVL", "NVIDIA L40",
                            "NVIDIA GeForce RTX 4090 Laptop GPU", "AMD EPYC"}) {
    EXPECT_EQ(find_card(other), nullptr) << other;
  }
}

TEST(Cards, have_limits_in_the_order_that_hardware_has_and_a_price) {
  std::set<std::string_view> names;
  for (const Card& card : cards) {
    EXPECT_TRUE(names.insert(card.name).second) << card.name;
    EXPECT_EQ(find_card(card.name), &card);
    EXPECT_GT(card.bytes, 1e11) << card.name;
    EXPECT_GT(card.operations(DType::float16), card.operations(DType::float32)) << card.name;
    EXPECT_GE(card.operations(DType::float16), card.operations(DType::bfloat16)) << card.name;
    EXPECT_GT(card.watts, 0) << card.name;
    EXPECT_GT(card.dollars_per_hour, 0) << card.name;
    EXPECT_EQ(card.operations(DType::float64), 0) << card.name;
  }
}

class BenchTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;  // NOLINT: for the suite's life
    ::setenv("BRISK_CACHE", (folder_->path() / "cache").c_str(), 1);
  }
  static void TearDownTestSuite() { delete folder_; }

  static std::string written_model(BlockType type) {
    FixtureModel model;
    model.width = 64, model.head_width = 16, model.ffn = 64, model.context = 64;
    model.make();
    return folder_->write(std::string(block_info(type).name) + ".gguf", model.gguf(type)).string();
  }
  static nlohmann::json json_of(const Finished& finished) {
    EXPECT_EQ(finished.status, 0) << finished.err;
    return nlohmann::json::parse(finished.out, nullptr, false);
  }
  static void expect_one_line(const Finished& finished, int status, const std::string& part) {
    EXPECT_EQ(finished.status, status) << finished.err;
    EXPECT_EQ(finished.out, "");
    EXPECT_TRUE(finished.err.starts_with("brisk: ")) << finished.err;
    EXPECT_NE(finished.err.find(part), std::string::npos) << finished.err;
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  }
  // The program with a python3 of the test's before others, which is this shell script.
  static Finished run_with_python(const std::string& script, std::vector<std::string> arguments) {
    const auto folder = folder_->path() / "python";
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "python3") << "#!/bin/sh\n" << script;
    std::filesystem::permissions(folder / "python3", std::filesystem::perms::owner_all);
    const std::string before = std::getenv("PATH");
    ::setenv("PATH", (folder.string() + ":" + before).c_str(), 1);
    const Finished finished = run_brisk(std::move(arguments));
    ::setenv("PATH", before.c_str(), 1);
    return finished;
  }

  static inline TemporaryFolder* folder_ = nullptr;
};

TEST_F(BenchTest, times_the_device_for_programs_to_read) {
  const auto json = json_of(run_brisk({"bench", "--json", "--price", "2.5", "--device", "cpu"}));
  EXPECT_EQ(json.at("device"), "cpu");
  EXPECT_EQ(json.at("dollars_per_hour"), 2.5);
  EXPECT_EQ(json.at("price_from_table"), false);
  std::set<std::string> works;
  for (const auto& work : json.at("works")) {
    works.insert(work.at("work").get<std::string>());
    if (work.contains("missing")) {
      EXPECT_NE(work.at("missing"), "") << work;
      continue;
    }
    const bool product = work.at("work").get<std::string>().starts_with("matmul");
    const std::string unit = product ? "operations" : "bytes";
    const double rate = work.at(unit + "_per_second");
    EXPECT_GT(rate, 1e8) << work;
    const double n = work.at("size");
    const double amount = product ? 2 * n * n * n : (work.at("work") == "copy" ? 8 : 4) * n;
    EXPECT_NEAR(rate * work.at("seconds").get<double>() / amount, 1, 1e-9) << work;
    EXPECT_NEAR(work.at(unit + "_per_dollar").get<double>() / (rate * 3600 / 2.5), 1, 1e-9) << work;
    EXPECT_FALSE(work.contains("share_of_limit")) << "a CPU has no data sheet here";
  }
  EXPECT_EQ(works, (std::set<std::string>{"copy", "read", "matmul float32", "matmul bfloat16",
                                          "matmul float16", "matmul float8_e4m3", "matmul int8"}));
}

TEST_F(BenchTest, refuses_prices_that_are_none) {
  for (const char* price : {"0", "-1", "nan", "inf", "cheap", "1e999", "2$", ""}) {
    const Finished finished = run_brisk({"bench", "--price=" + std::string(price)});
    expect_one_line(finished, 2, "--price");
  }
  expect_one_line(run_brisk({"bench", "--price", "-3"}), 2, "--price: -3 is no price");
}

TEST_F(BenchTest, says_what_a_model_costs_and_what_its_prompts_are_held_to) {
  for (const auto& [type, dtype] :
       {std::pair{BlockType::q4_0, "int8"}, {BlockType::f32, "float32"}}) {
    const std::vector<std::string> arguments = {
        "bench", written_model(type), "--prompt", "32",       "-n", "4", "--repeats",
        "1",     "--price",           "0.5",      "--device", "cpu"};
    const Finished shown = run_brisk(arguments);
    EXPECT_EQ(shown.status, 0) << shown.err;
    for (const std::string part : {"tokens a dollar", "at $0.5 an hour", dtype})
      EXPECT_NE(shown.out.find(part), std::string::npos) << part << "\n" << shown.out;
    std::vector<std::string> for_programs = arguments;
    for_programs.emplace_back("--json");
    const auto json = json_of(run_brisk(for_programs));
    EXPECT_EQ(json.at("prompt_dtype"), dtype);
    const double share = json.at("prompt_share_of_matmul");
    const double wanted = json.at("prompt_operations_per_second").get<double>() /
                          json.at("matmul_operations_per_second").get<double>();
    EXPECT_NEAR(share / wanted, 1, 1e-9);
    for (const std::string phase : {"prompt", "decode"}) {
      const double rate = json.at(phase + "_tokens_per_second");
      EXPECT_NEAR(json.at(phase + "_tokens_per_dollar").get<double>() / (rate * 3600 / 0.5), 1,
                  1e-9);
    }
  }
}

TEST_F(BenchTest, says_in_one_line_why_it_cannot_compare) {
  expect_one_line(run_brisk({"bench", "model.gguf", "--compare-torch"}), 2, "--compare-torch");
  const std::vector<std::string> compare = {"bench", "--compare-torch", "--device", "cpu"};
  expect_one_line(run_with_python("exit 3\n", compare), 1, "ended with status 3");
  expect_one_line(run_with_python("echo '{\"seconds\": 1}'\n", compare), 1, "ended with status 0");
  expect_one_line(run_with_python("exit 127\n", compare), 1, "there is no python3");
  // -S: without the folders that packages are installed in.
  expect_one_line(run_with_python("PATH=${PATH#*:} exec python3 -S -E \"$@\"\n", compare), 1,
                  "PyTorch is not there");
}

// A python3 that gives figures tells the table from what makes them.
TEST_F(BenchTest, puts_pytorch_beside_what_it_times) {
  const std::string answer =
      "echo '{\"torch\": \"9.9\", \"seconds\": {\"copy\": 1, \"matmul float32\": 2},"
      " \"missing\": {\"matmul int8\": \"not there\"}}'\n";
  const auto json =
      json_of(run_with_python(answer, {"bench", "--compare-torch", "--json", "--device", "cpu"}));
  EXPECT_EQ(json.at("torch"), "9.9");
  EXPECT_EQ(json.at("torch_missing").at("matmul int8"), "not there");
  for (const auto& work : json.at("works")) {
    const bool timed = work.at("work") == "copy" || work.at("work") == "matmul float32";
    ASSERT_EQ(work.contains("torch_seconds"), timed) << work;
    if (!timed) continue;
    const double theirs = work.at("torch_seconds");
    EXPECT_NEAR(work.at("times_torch").get<double>() * work.at("seconds").get<double>() / theirs, 1,
                1e-9);
  }
  const Finished shown = run_with_python(answer, {"bench", "--compare-torch", "--device", "cpu"});
  for (const char* part :
       {"beside PyTorch 9.9", "times it", "no matmul int8 of PyTorch: not there"})
    EXPECT_NE(shown.out.find(part), std::string::npos) << part << "\n" << shown.out;
}

}  // namespace
}  // namespace brisk
