// The program on ONNX models of ../shared/data.
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

}  // namespace
}  // namespace brisk
