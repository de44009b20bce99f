// The program on ONNX models of ../shared/data.
#include <algorithm>

#include "cli/program.h"
#include "formats/npy.h"
#include "shared_data.h"

namespace brisk {
namespace {

class OnnxCommand : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(model())) GTEST_SKIP() << "no mnist-onnx in shared/data";
  }
  static std::string model() { return shared_data() / "mnist-onnx" / "mnist.onnx"; }
  static Finished run(std::vector<std::string> arguments) {
    return Program(std::move(arguments), "").wait();
  }
  TemporaryFolder folder_;
};

TEST_F(OnnxCommand, runs_with_a_file_and_writes_an_output) {
  const std::vector<float> values(784, 1.0F);
  write_npy(folder_.path() / "x.npy", DType::float32, {1, 1, 28, 28},
            std::as_bytes(std::span(values)));
  const std::string out = folder_.path() / "y.npy";
  const Finished done =
      run({"run", model(), "--input", "Input3=" + (folder_.path() / "x.npy").string(), "--output",
           "Plus214_Output_0=" + out});
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find("Input3                           float32 [1, 1, 28, 28]"),
            std::string::npos)
      << done.out;
  EXPECT_EQ(read_npy(out).shape, (std::vector<std::int64_t>{1, 10}));
}

TEST_F(OnnxCommand, numbers_and_random_values_are_inputs) {
  EXPECT_EQ(run({"run", model(), "--input", "Input3=0.5"}).status, 0);
  EXPECT_EQ(run({"run", model(), "--random"}).status, 0);
}

TEST_F(OnnxCommand, what_is_wrong_is_one_line) {
  Finished done = run({"run", model()});
  EXPECT_EQ(done.status, 1);
  EXPECT_EQ(done.err, "brisk: " + model() +
                          ": input 'Input3' is missing (float32 [1, 1, 28, 28]); pass --input "
                          "Input3=FILE, or --random\n");
  done = run({"run", model(), "--input", "Input4=1"});
  EXPECT_EQ(done.err, "brisk: there is no input 'Input4'; the model's inputs: 'Input3'\n");
  const auto torn = folder_.write("torn.onnx", "rubbish");
  done = run({"run", torn});
  EXPECT_EQ(done.status, 1);
  EXPECT_EQ(done.err, "brisk: " + torn.string() + ": this is no model of ONNX, or it is damaged\n");
}

TEST_F(OnnxCommand, inspect_counts_and_bench_times) {
  const Finished shown = run({"inspect", model()});
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_NE(shown.out.find("parameters: 6.00 K"), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find("FLOP in"), std::string::npos) << shown.out;
  const Finished timed = run({"bench", model(), "--repeats", "3"});
  EXPECT_EQ(timed.status, 0) << timed.err;
  EXPECT_NE(timed.out.find("a second"), std::string::npos) << timed.out;
}

TEST_F(OnnxCommand, one_plan_serves_all_sizes_within_bounds) {
  const std::filesystem::path folder = shared_data() / "tract-cases" / "qrelu_1";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "no tract-cases in shared/data";
  const std::string path = folder / "model.onnx";  // input [?, 10]
  const std::vector<std::string> three = {"--random", "--dim", "input.0=3"};
  const auto with = [&](const char* command, const std::string& bound) {
    std::vector<std::string> arguments = {command, path, "--bound", bound};
    arguments.insert(arguments.end(), three.begin(), three.end());
    return run(arguments);
  };
  Finished done = with("inspect", "input.0=2..8");
  EXPECT_NE(done.out.find("for input [3, 10], input.0 from 2 to 8: "), std::string::npos)
      << done.out << done.err;
  done = with("run", "input.0=2..8");
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_NE(done.out.find("output: float32 [3, 10]: "), std::string::npos) << done.out;
  EXPECT_EQ(with("run", "input.0=4..8").err,
            "brisk: " + path + ": 'input.0' is 3, its bounds are 4 and 8\n");
  EXPECT_EQ(with("run", "batch=1..8").err,
            "brisk: " + path + ": no input has an open size 'batch'; there are 'input.0'\n");
  for (const char* wrong : {"input.0=8", "input.0=..8", "=1..8", "input.0=1..8x"})
    EXPECT_EQ(with("run", wrong).err, fmt::format("brisk: --bound wants NAME=LEAST..GREATEST, got "
                                                  "'{}'\n",
                                                  wrong));
}

// Models of tests/fuzz/corpus/onnx, none of which can run.
struct Hostile {
  const char* file;
  const char* says;
};

class HostileModel : public testing::TestWithParam<Hostile> {};

TEST_P(HostileModel, is_refused_in_one_line) {
  const TemporaryFolder folder;
  folder.write("secret", "12345678");
  std::filesystem::create_directory(folder.path() / "model");
  const std::string path = folder.path() / "model" / "m.onnx";
  std::filesystem::copy(std::string(BRISK_SOURCE_DIR "/tests/fuzz/corpus/onnx/") + GetParam().file,
                        path);
  for (const char* command : {"run", "bench"}) {
    const Finished done = run_brisk({command, path, "--random"});
    EXPECT_EQ(done.status, 1) << command;
    EXPECT_TRUE(done.err.starts_with("brisk: ")) << done.err;
    EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << done.err;
    EXPECT_NE(done.err.find(GetParam().says), std::string::npos) << done.err;
  }
}

INSTANTIATE_TEST_SUITE_P(
    of_every_kind, HostileModel,
    testing::Values(Hostile{"cycle", "reads 'z' before it is made: the graph has a cycle"},
                    Hostile{"missing", "reads 'w', which is no input, no initializer"},
                    Hostile{"external", "its data at '../secret' lies outside the model's folder"},
                    Hostile{"huge", "input 'x': a size of 4611686018427387904 is too large"},
                    Hostile{"rank", "(MaxPool): wants [batch, channels, spatial…], got rank 1"},
                    Hostile{"axis", "(Softmax): axis 7"},
                    Hostile{"unprintable", "operators that are not supported"},
                    Hostile{"unknown", "operators that are not supported"}),
    [](const auto& info) { return std::string(info.param.file); });

TEST(TornModel, is_refused_in_one_line) {
  std::ifstream file(BRISK_SOURCE_DIR "/tests/fuzz/corpus/onnx/conv", std::ios::binary);
  const std::string whole{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(whole.empty());
  const TemporaryFolder folder;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, whole.size() / 2, whole.size() - 1}) {
    const std::string path = folder.write("torn.onnx", whole.substr(0, size));
    const Finished done = run_brisk({"run", path, "--random"});
    EXPECT_EQ(done.status, 1) << size;
    EXPECT_TRUE(done.err.starts_with("brisk: ")) << done.err;
    EXPECT_NE(done.err.find(path), std::string::npos) << done.err;
    EXPECT_EQ(std::count(done.err.begin(), done.err.end(), '\n'), 1) << done.err;
  }
}

}  // namespace
}  // namespace brisk
