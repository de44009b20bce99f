// brisk run: text from a model that the test makes, and every way that it can fail or end.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include <nlohmann/json.hpp>

#include "cli/program.h"
#include "llm/model_fixture.h"

namespace brisk {
namespace {

class RunTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;  // NOLINT: for the suite's life
    ::setenv("BRISK_CACHE", (folder_->path() / "cache").c_str(), 1);
    FixtureModel model;
    model.vocabulary = 300;
    model.context = 200000;
    model.tokenizer = true;
    model.make();
    bytes_ = model.gguf();
    path_ = folder_->write("model.gguf", bytes_);
  }
  static void TearDownTestSuite() { delete folder_; }

  static Finished run(std::vector<std::string> arguments, const std::string& input = {}) {
    arguments.insert(arguments.begin(), {"run", path_});
    return run_brisk(std::move(arguments), input);
  }
  static void expect_line(const Finished& finished, int status, const std::string& line) {
    EXPECT_EQ(finished.status, status);
    EXPECT_EQ(finished.err, "brisk: " + line + "\n");
    EXPECT_EQ(finished.out, "");
  }

  static inline TemporaryFolder* folder_ = nullptr;
  static inline std::vector<std::byte> bytes_;
  static inline std::string path_;
};

TEST_F(RunTest, writes_text_on_stdout_and_its_speed_on_stderr) {
  const Finished once = run({"-p", "ab", "-n", "12", "--temp", "0"});
  EXPECT_EQ(once.status, 0) << once.err;
  EXPECT_GT(once.out.size(), 1U);
  EXPECT_NE(once.err.find("loaded in "), std::string::npos) << once.err;
  EXPECT_NE(once.err.find("generated 12 tokens, "), std::string::npos) << once.err;
  EXPECT_EQ(run({"-p", "ab", "-n", "12", "--temp", "0"}).out, once.out);
}

TEST_F(RunTest, shows_kernels_and_their_speed_and_makes_the_same_text) {
  const std::vector<std::string> arguments = {"-p", "ab", "-n", "3", "--temp", "0"};
  const Finished quiet = run(arguments);
  ::setenv("BRISK_DEBUG", "1", 1);
  const Finished shown = run(arguments);
  ::unsetenv("BRISK_DEBUG");
  EXPECT_EQ(quiet.err.find(" GB/s"), std::string::npos) << quiet.err;
  EXPECT_NE(shown.err.find(" GFLOP/s"), std::string::npos) << shown.err;
  EXPECT_NE(shown.err.find(" GB/s"), std::string::npos) << shown.err;
  EXPECT_EQ(shown.out, quiet.out);
}

TEST_F(RunTest, gives_one_text_for_one_seed_whatever_the_threads) {
  const auto text = [&](const char* seed, const char* threads) {
    return run({"-p", "ab", "-n", "30", "--seed", seed, "--threads", threads}).out;
  };
  EXPECT_EQ(text("7", "1"), text("7", "2"));
  EXPECT_NE(text("7", "1"), text("8", "1"));
}

TEST_F(RunTest, answers_each_line_that_it_reads_by_itself) {
  const auto answer = [&](const char* prompt) {
    return run({"-p", prompt, "-n", "5", "--temp", "0"}).out;
  };
  const Finished both = run({"-n", "5", "--temp", "0"}, "ab\nhello\n");
  EXPECT_EQ(both.status, 0) << both.err;
  EXPECT_EQ(both.out, answer("ab") + answer("hello"));
  EXPECT_EQ(run({"-n", "5", "--temp", "0"}, "").out, answer(""));  // nothing to read
}

TEST_F(RunTest, says_that_the_context_is_full) {
  const Finished full = run({"-p", "ab", "-n", "-1", "--temp", "0", "--ctx", "16"});
  EXPECT_EQ(full.status, 0) << full.err;
  EXPECT_NE(full.err.find("the context is full (--ctx)"), std::string::npos) << full.err;
  const Finished over = run({"-p", "abcdefghijklmnopqrst", "--ctx", "8"});
  EXPECT_EQ(over.status, 1);
  EXPECT_NE(over.err.find("brisk: the context of 8 tokens is full: 0 are in it and 22 more do not "
                          "fit\n"),
            std::string::npos)
      << over.err;
}

TEST_F(RunTest, stops_at_the_first_interrupt_and_says_how_fast_it_was) {
  Program program({"run", path_, "-p", "ab", "-n", "-1", "--ctx", "190000", "--temp", "0"}, "");
  for (int i = 0; i < 1000 && program.out().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ASSERT_FALSE(program.out().empty());
  program.interrupt();
  const Finished finished = program.wait();
  EXPECT_EQ(finished.status, 130) << finished.err;
  EXPECT_TRUE(finished.out.ends_with('\n'));
  EXPECT_NE(finished.err.find("tok/s"), std::string::npos) << finished.err;
}

TEST_F(RunTest, refuses_files_that_are_no_model_in_one_line) {
  const std::string folder = folder_->path();
  expect_line(run_brisk({"run", folder + "/none"}), 1,
              folder + "/none: there is no such file or folder");
  expect_line(run_brisk({"run", folder}), 1,
              folder + ": there is no config.json in it, so this is not a model's folder");
  for (const std::size_t size : {4, 100, 5000, 20000}) {
    const auto path = folder_->write("cut.gguf", std::span<const std::byte>(bytes_).first(size));
    const Finished finished = run_brisk({"run", path, "-p", "a"});
    EXPECT_EQ(finished.status, 1);
    EXPECT_TRUE(finished.err.starts_with("brisk: " + path.string() + ": ")) << finished.err;
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
  }
  const auto text = folder_->write("text.gguf", std::string_view("not a model"));
  EXPECT_EQ(run_brisk({"run", text}).status, 1);
}

TEST_F(RunTest, says_that_a_model_has_no_tokenizer) {
  FixtureModel model;
  model.make();
  const auto bytes = model.gguf();
  const auto path = folder_->write("silent.gguf", bytes);
  expect_line(run_brisk({"run", path, "-p", "a"}), 1,
              path.string() + ": there is no tokenizer beside this model");
}

TEST_F(RunTest, says_that_the_text_cannot_be_written) {
  const Finished full = run_brisk({"run", path_, "-p", "ab", "-n", "5"}, "", "/dev/full");
  EXPECT_EQ(full.status, 1);
  EXPECT_NE(full.err.find("brisk: writing the text: No space left on device\n"), std::string::npos)
      << full.err;
}

TEST_F(RunTest, says_which_device_there_is_not) {
  const Finished finished = run({"-p", "a", "--device", "abacus"});
  EXPECT_EQ(finished.status, 1);
  EXPECT_NE(finished.err.find("abacus"), std::string::npos) << finished.err;
  EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
}

TEST_F(RunTest, shows_what_is_in_a_model) {
  const Finished shown =
      run_brisk({"inspect", path_, "--metadata", "--tensors", "--kernels", "--ctx", "64"});
  EXPECT_EQ(shown.status, 0) << shown.err;
  for (const char* part :
       {"2 blocks of width 32, 4 heads of 8 over 2 key heads", "parameters in 21 tensors",
        "blk.1.ffn_down.weight", "'llama.block_count' = 2",
        "one step of 1 token: ", "tokens/s; intermediate memory", "cache of 64 tokens: 16.0 KiB"}) {
    EXPECT_NE(shown.out.find(part), std::string::npos) << part << "\n" << shown.out;
  }
}

TEST_F(RunTest, shows_each_kernels_way_to_machine_code) {
  const Finished shown = run_brisk({"inspect", path_, "--graph", "--lowered", "--optimized", "--ir",
                                    "--assembly", "--kernel", "attention", "--tokens", "20"});
  EXPECT_EQ(shown.status, 0) << shown.err;
  for (const char* part : {"graph\n%0: ", "= reduce(", "== kernel ", "lowered(", "parallel r",
                           "define void @brisk_attention", ".globl\tbrisk_attention"}) {
    EXPECT_NE(shown.out.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(shown.out.find("define void @brisk_map"), std::string::npos);
  const Finished none = run_brisk({"inspect", path_, "--ir", "--kernel", "abacus"});
  EXPECT_EQ(none.status, 1);
  EXPECT_NE(none.err.find("--kernel abacus"), std::string::npos) << none.err;
  EXPECT_EQ(std::count(none.err.begin(), none.err.end(), '\n'), 1) << none.err;
}

TEST_F(RunTest, times_a_model_for_programs_to_read) {
  const Finished timed = run_brisk(
      {"bench", path_, "--prompt", "16", "-n", "4", "--repeats", "1", "--json", "--exact"});
  EXPECT_EQ(timed.status, 0) << timed.err;
  const auto json = nlohmann::json::parse(timed.out);
  EXPECT_EQ(json.at("prompt_tokens"), 16);
  for (const char* figure : {"prompt_tokens_per_second", "decode_tokens_per_second",
                             "decode_bytes_per_token", "read_bytes_per_second"}) {
    EXPECT_GT(json.at(figure).get<double>(), 0) << figure;
  }
}

// Rounding to 8 bits changes logits a little, so over many tokens the text changes too.
TEST_F(RunTest, computes_quantised_models_exactly_where_asked) {
  FixtureModel model;
  model.width = 64, model.head_width = 16, model.ffn = 64, model.vocabulary = 300;
  model.context = 512, model.tokenizer = true;
  model.make();
  const auto bytes = model.gguf(BlockType::q4_0);
  const std::string path = folder_->write("q4.gguf", bytes);
  const auto kernels = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"inspect", path, "--kernels"});
    return run_brisk(flags).out;
  };
  const auto text = [&](std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"run", path, "-p", "ab", "-n", "100", "--temp", "0"});
    const Finished finished = run_brisk(flags);
    EXPECT_EQ(finished.status, 0) << finished.err;
    return finished.out;
  };
  EXPECT_NE(kernels({}).find("matrix_vector_bytes"), std::string::npos) << kernels({});
  EXPECT_EQ(kernels({"--exact"}).find("matrix_vector_bytes"), std::string::npos);
  EXPECT_NE(text({}), text({"--exact"}));
}

TEST_F(RunTest, times_a_model) {
  const Finished timed = run_brisk({"bench", path_, "--prompt", "16", "-n", "4", "--repeats", "1"});
  EXPECT_EQ(timed.status, 0) << timed.err;
  EXPECT_NE(timed.out.find("prompt of 16: "), std::string::npos) << timed.out;
  EXPECT_NE(timed.out.find("decode of 4: "), std::string::npos) << timed.out;
}

// What a user's machine may lack or have too little of.
TEST_F(RunTest, works_without_a_cache_and_says_so) {
  const std::string kept = std::getenv("BRISK_CACHE");
  const std::vector<std::string> arguments = {"-p", "ab", "-n", "3", "--temp", "0"};
  const std::string text = run(arguments).out;
  const auto expect_text = [&](const char* said) {
    const Finished finished = run(arguments);
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_EQ(finished.out, text);
    EXPECT_NE(finished.err.find(said), std::string::npos) << finished.err;
  };
  ::setenv("BRISK_CACHE", "/proc/none", 1);  // cannot be made
  expect_text("brisk: kernel cache /proc/none");
  const std::string home = std::getenv("HOME") ? std::getenv("HOME") : "";
  ::unsetenv("BRISK_CACHE");
  ::unsetenv("HOME");
  ::unsetenv("XDG_CACHE_HOME");
  expect_text("brisk: kernel cache: no home folder; kernels are kept in memory only");
  if (!home.empty()) ::setenv("HOME", home.c_str(), 1);
  ::setenv("BRISK_CACHE", kept.c_str(), 1);
}

TEST_F(RunTest, says_that_what_it_shows_cannot_be_written) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"inspect", path_},
                                                    {"devices"},
                                                    {"inspect", path_, "--ir"},
                                                    {"--help"}}) {
    const Finished full = run_brisk(arguments, "", "/dev/full");
    EXPECT_EQ(full.status, 1) << full.err;
    EXPECT_NE(full.err.find("No space left on device"), std::string::npos) << full.err;
    EXPECT_EQ(std::count(full.err.begin(), full.err.end(), '\n'), 1) << full.err;
  }
}

TEST_F(RunTest, makes_its_text_although_nobody_listens_on_stderr) {
  const std::vector<std::string> arguments = {"run", path_, "-p", "ab", "-n", "5", "--temp", "0"};
  const std::string text = run_brisk(arguments).out;
  Program deaf(arguments, "", {}, "/dev/full");
  const Finished finished = deaf.wait();
  EXPECT_EQ(finished.status, 0);
  EXPECT_EQ(finished.out, text);
}

TEST_F(RunTest, refuses_a_model_cut_off_anywhere) {
  for (std::size_t size = 0; size < bytes_.size(); size += 1 + bytes_.size() / 40) {
    const auto path = folder_->write("cut.gguf", std::span<const std::byte>(bytes_).first(size));
    for (const char* command : {"run", "inspect", "bench"}) {
      const Finished finished = run_brisk({command, path});
      EXPECT_EQ(finished.status, 1) << command << " " << size;
      EXPECT_TRUE(finished.err.starts_with("brisk: ")) << finished.err;
      EXPECT_NE(finished.err.find("cut.gguf"), std::string::npos) << finished.err;
      EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1) << finished.err;
    }
  }
}

TEST_F(RunTest, ends_quietly_at_an_interrupt_while_it_loads_or_waits) {
  for (const int wait_ms : {0, 1, 3, 10, 30, 100}) {
    Program program({"run", path_, "-p", "ab", "-n", "-1", "--ctx", "190000", "--temp", "0"}, "");
    std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
    program.interrupt();
    const Finished finished = program.wait();
    EXPECT_TRUE(finished.status == 130 || finished.status == -SIGINT)
        << wait_ms << ": " << finished.status << finished.err;
    EXPECT_EQ(finished.err.find("brisk: "), std::string::npos) << finished.err;
  }
}

}  // namespace
}  // namespace brisk
