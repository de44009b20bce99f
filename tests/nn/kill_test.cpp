// A training program that is killed, again and again, ends with the weights of one that is not.
// The program is this one, which a test starts anew to run another test of the file.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>

#include "brisk/brisk.h"
#include "formats/temporary_folder.h"

namespace brisk {
namespace {

namespace fs = std::filesystem;
using std::chrono::microseconds;

constexpr const char* folder_variable = "BRISK_TEST_RUN_FOLDER";
constexpr std::int64_t steps = 400;
constexpr microseconds pace{300};  // of a step at least: ten kills come before the end anywhere
constexpr int kills = 10;

struct Net {
  nn::Linear first{8, 24};
  nn::Dropout dropout{0.2};
  nn::Linear second{24, 3};
  void visit(nn::Fields& fields) {
    fields("first", first);
    fields("dropout", dropout);
    fields("second", second);
  }
  Tensor operator()(const Tensor& x) const { return second(dropout(tanh(first(x)))); }
};

// Begins or goes on; what a step draws follows from its number.
void train(const fs::path& folder) {
  manual_seed(5);
  Net net;
  nn::Optimizer optimizer(nn::parameters(net), nn::AdamW{.lr = 0.02});
  Tensor x = empty({16, 8});
  Step step([&] {
    const Tensor loss = square(net(x) - x.sum(1, true)).mean();
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return loss;
  });
  const fs::path checkpoint = folder / "checkpoint.safetensors";
  std::int64_t from = 0;
  if (fs::exists(checkpoint)) from = nn::load_checkpoint(checkpoint, nn::state(net), optimizer);
  nn::RunLog log(folder / "log.csv", {"loss"}, from);
  for (std::int64_t i = from; i < steps; ++i) {
    manual_seed(static_cast<std::uint64_t>(1000 + i));
    std::mt19937 random(static_cast<unsigned>(i));
    std::vector<float> values(16 * 8);
    for (float& value : values) value = static_cast<float>(random() % 1000) / 1000;
    x.copy_from(std::as_bytes(std::span(values)));
    log.add(i, {step()[0].item<double>()});
    std::this_thread::sleep_for(pace);
    if (i % 2 == 1) nn::save_checkpoint(checkpoint, nn::state(net), optimizer, i + 1);
  }
  nn::save(net, folder / "final.safetensors");
}

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::ptrdiff_t lines_of(const fs::path& path) {
  const std::string text = bytes_of(path);
  return std::count(text.begin(), text.end(), '\n');
}

TEST(KilledRun, TrainsToTheEnd) {
  const TemporaryFolder own;
  const char* given = std::getenv(folder_variable);
  const fs::path folder = given == nullptr ? own.path() : fs::path(given);
  train(folder);
  EXPECT_EQ(lines_of(folder / "log.csv"), steps + 1);
}

pid_t start(const fs::path& folder) {
  const std::string setting = std::string(folder_variable) + "=" + folder.string();
  std::vector<char*> environment;
  for (char** at = environ; *at != nullptr; ++at) environment.push_back(*at);
  environment.push_back(const_cast<char*>(setting.c_str()));
  environment.push_back(nullptr);
  const pid_t child = fork();
  if (child != 0) return child;
  const int nowhere = open("/dev/null", O_WRONLY);
  dup2(nowhere, STDOUT_FILENO);
  char program[] = "/proc/self/exe", filter[] = "--gtest_filter=KilledRun.TrainsToTheEnd";
  char* arguments[] = {program, filter, nullptr};
  execve(program, arguments, environment.data());
  _exit(127);
}

bool is_over(pid_t child, int& status, int options) {
  return waitpid(child, &status, options) == child;
}

// Once so many lines more are there, and a little later. False where the run came to its end.
bool kill_after(const fs::path& folder, std::ptrdiff_t lines, microseconds later) {
  const pid_t child = start(folder);
  const std::ptrdiff_t wanted = lines_of(folder / "log.csv") + lines;
  int status = 0;
  while (lines_of(folder / "log.csv") < wanted) {
    if (is_over(child, status, WNOHANG)) return false;
    std::this_thread::sleep_for(microseconds(200));
  }
  std::this_thread::sleep_for(later);
  kill(child, SIGKILL);
  return is_over(child, status, 0) && WIFSIGNALED(status);
}

TEST(KilledRun, EndsWithTheWeightsOfOneThatWasNot) {
  const TemporaryFolder whole, torn;
  int status = 0;
  ASSERT_TRUE(is_over(start(whole.path()), status, 0));
  ASSERT_EQ(status, 0);

  std::mt19937 random(11);
  for (int i = 0; i < kills; ++i) {
    const std::ptrdiff_t lines = 1 + static_cast<std::ptrdiff_t>(random() % 6);
    ASSERT_TRUE(kill_after(torn.path(), lines, microseconds(random() % 8000))) << "kill " << i;
    ASSERT_FALSE(fs::exists(torn.path() / "final.safetensors")) << "too late to be killed";
  }
  ASSERT_TRUE(is_over(start(torn.path()), status, 0));
  ASSERT_EQ(status, 0);
  for (const char* name : {"final.safetensors", "log.csv"}) {
    const std::string want = bytes_of(whole.path() / name);
    EXPECT_FALSE(want.empty());
    EXPECT_EQ(bytes_of(torn.path() / name), want) << name;
  }
}

}  // namespace
}  // namespace brisk
