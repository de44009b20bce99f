// The command line itself: what it shows, and that no arguments do more than fail in one line.
#include <algorithm>
#include <random>

#include "brisk/version.h"
#include "cli/program.h"

namespace brisk {
namespace {

void expect_usage_error(const std::vector<std::string>& arguments) {
  const Finished finished = run_brisk(arguments);
  EXPECT_EQ(finished.status, 2) << finished.err;
  EXPECT_TRUE(finished.err.starts_with("brisk: ")) << finished.err;
  EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  EXPECT_EQ(finished.out, "");
}

TEST(Arguments, shows_version_and_help) {
  const Finished version_shown = run_brisk({"--version"});
  EXPECT_EQ(version_shown.status, 0);
  EXPECT_EQ(version_shown.out, std::string("brisk ") + version + "\n");
  const Finished help = run_brisk({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* part : {"run", "inspect", "devices", "bench", "BRISK_THREADS"}) {
    EXPECT_NE(help.out.find(part), std::string::npos) << part;
  }
  const Finished of_run = run_brisk({"run", "--help"});
  EXPECT_EQ(of_run.status, 0);
  for (const char* part : {"--prompt", "--tokens", "--temp", "--top-k", "--top-p", "--min-p",
                           "--repeat-penalty", "--seed", "--threads", "--device", "--ctx"}) {
    EXPECT_NE(of_run.out.find(part), std::string::npos) << part;
  }
}

TEST(Arguments, lists_the_processor_as_a_device) {
  const Finished finished = run_brisk({"devices"});
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_TRUE(finished.out.starts_with("cpu: ")) << finished.out;
}

TEST(Arguments, refuses_what_it_does_not_know) {
  expect_usage_error({});
  expect_usage_error({"dance"});
  expect_usage_error({"run", "model.gguf", "--tepm", "0"});
  expect_usage_error({"run", "model.gguf", "-n", "many"});
  expect_usage_error({"run", "model.gguf", "--threads", "0"});
  expect_usage_error({"run", "model.gguf", "--ctx", "-4"});
  expect_usage_error({"run", "one.gguf", "two.gguf"});
  expect_usage_error({"inspect", "model.gguf", "--temp", "1"});
}

TEST(Arguments, never_ends_in_more_than_one_line) {
  const char* const words[] = {"run",
                               "inspect",
                               "bench",
                               "devices",
                               "-p",
                               "-n",
                               "--temp",
                               "--seed",
                               "--ctx",
                               "--threads",
                               "--device",
                               "0",
                               "-1",
                               "1e99",
                               "nan",
                               "x",
                               "",
                               "--",
                               "-",
                               "=",
                               "--temp=",
                               "\xff\xfe",
                               "/dev/null",
                               "/",
                               ".",
                               "/proc/self/mem",
                               "99999999999999999999",
                               "--top-k=-5",
                               "a\nb"};
  std::mt19937 random(1);
  for (int i = 0; i < 60; ++i) {
    std::vector<std::string> arguments;
    for (auto count = random() % 6; count > 0; --count) {
      arguments.emplace_back(words[random() % std::size(words)]);
    }
    const Finished finished = run_brisk(arguments);
    std::string all;
    for (const std::string& argument : arguments) all += " '" + argument + "'";
    EXPECT_GE(finished.status, 0) << all;
    EXPECT_LE(finished.status, 2) << all;
    if (finished.status == 0) continue;
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << all << finished.err;
    EXPECT_TRUE(finished.err.starts_with("brisk: ")) << all << finished.err;
  }
}

}  // namespace
}  // namespace brisk
