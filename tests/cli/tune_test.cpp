// brisk tune: what it prints, that it tries nothing twice, and how it refuses.
#include <cstdlib>
#include <fstream>

#include "cli/program.h"
#include "llm/model_fixture.h"

namespace brisk {
namespace {

class TuneTest : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("BRISK_CACHE", (folder_.path() / "cache").c_str(), 1);
    ::setenv("BRISK_CPU", "x86-64-v3", 1);  // whose products of matrices leave a choice
    FixtureModel model;
    model.width = 64, model.head_width = 16, model.ffn = 64, model.context = 64;
    model.make();
    model_ = folder_.write("model.gguf", model.gguf(BlockType::f32)).string();
  }
  void TearDown() override { ::unsetenv("BRISK_CPU"); }

  Finished tune(std::vector<std::string> more) {
    std::vector<std::string> arguments = {"tune", model_, "--device", "cpu",    "--prompt",
                                          "32",   "-n",   "4",        "--exact"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_brisk(arguments);
  }

  TemporaryFolder folder_;
  std::string model_;
};

TEST_F(TuneTest, lists_what_it_tried_and_tries_it_once) {
  const std::string table = folder_.path() / "winners.def";
  const Finished first = tune({"--budget", "30", "--table", table});
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_TRUE(first.out.starts_with("kernel ")) << first.out;
  EXPECT_NE(first.out.find("\ncontraction"), std::string::npos) << first.out;
  EXPECT_EQ(first.out.find("failed:"), std::string::npos) << first.out;
  EXPECT_NE(first.out.find("\nprompt of 32, tok/s: "), std::string::npos) << first.out;
  EXPECT_NE(first.out.find("\ndecode of 4, tok/s: "), std::string::npos) << first.out;
  std::ifstream lines(table);
  ASSERT_TRUE(lines.is_open());
  for (std::string line; std::getline(lines, line);)
    EXPECT_TRUE(line.starts_with("WINNER(\"x86-64-v3\", \"")) << line;
  const Finished second = tune({"--budget", "30"});
  ASSERT_EQ(second.status, 0) << second.err;
  EXPECT_TRUE(second.out.starts_with("0 kernels tuned")) << second.out;
  const Finished again = tune({"--budget", "30", "--again"});
  EXPECT_TRUE(again.out.starts_with("kernel ")) << again.out;
}

TEST_F(TuneTest, stops_when_its_time_is_up) {
  const Finished finished = tune({"--budget", "0"});
  ASSERT_EQ(finished.status, 0) << finished.err;
  EXPECT_TRUE(finished.out.starts_with("0 kernels tuned")) << finished.out;
  EXPECT_NE(finished.out.find("the time is up"), std::string::npos) << finished.out;
}

TEST_F(TuneTest, tunes_at_first_use_where_it_is_told_to) {
  const auto run = [&] {
    return run_brisk(
        {"inspect", model_, "--device", "cpu", "--exact", "--kernels", "--tokens", "32"});
  };
  ::setenv("BRISK_DEBUG", "1", 1);
  const Finished without = run();
  ::setenv("BRISK_TUNE", "20", 1);
  ::setenv("BRISK_CACHE", (folder_.path() / "other").c_str(), 1);
  const Finished with = run();
  ::unsetenv("BRISK_TUNE");
  ::unsetenv("BRISK_DEBUG");
  EXPECT_EQ(without.err.find("\ntuned "), std::string::npos) << without.err;
  EXPECT_NE(with.err.find("\ntuned "), std::string::npos) << with.err;
}

TEST_F(TuneTest, refuses_in_one_line) {
  const auto expect = [](const Finished& finished, int status, const std::string& part) {
    EXPECT_EQ(finished.status, status) << finished.err;
    EXPECT_NE(finished.err.find(part), std::string::npos) << finished.err;
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  };
  expect(tune({"--budget", "-1"}), 2, "--budget");
  expect(run_brisk({"tune", (folder_.path() / "none.gguf").string()}), 1, "none.gguf");
  expect(tune({"--budget", "0", "--table", "/nowhere/table"}), 1, "/nowhere/table");
  expect(run_brisk({"time-kernel", model_}), 1, "is no kernel that brisk");
}

}  // namespace
}  // namespace brisk
