// Real models of ../shared/data against the outputs that are expected of them.
#include <gtest/gtest.h>

#include <zlib.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numbers>

#include "brisk/onnx.h"
#include "formats/image.h"
#include "formats/mapped_file.h"
#include "formats/npy.h"
#include "formats/wav.h"
#include "onnx/session.h"
#include "shared_data.h"
#include "tensor/realize.h"

namespace brisk::onnx {
namespace {

namespace fs = std::filesystem;

#define NEED(folder) \
  if (!fs::exists(shared_data() / (folder))) GTEST_SKIP() << "no " << (folder) << " in shared/data"

Tensor of(const NpyArray& array) { return from_bytes(array.bytes, array.shape, array.dtype); }

// Largest difference, relative to 1 or the value.
double difference(const Tensor& got, const std::vector<double>& want) {
  const auto values = got.to_vector<double>();
  if (values.size() != want.size()) return INFINITY;
  double most = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double d = std::abs(values[i] - want[i]) / std::max(1.0, std::abs(want[i]));
    most = std::isnan(d) ? INFINITY : std::max(most, d);
  }
  return most;
}

// ---- ONNX's light models ------------------------------------------------------------------------

class Light : public testing::TestWithParam<const char*> {};

TEST_P(Light, model_gives_its_output) {
  NEED("onnx-light-models");
  const fs::path folder = shared_data() / "onnx-light-models";
  const std::string name = GetParam();
  OnnxModel model = OnnxModel::load(folder / (name + ".onnx"));
  ASSERT_EQ(model.inputs().size(), 1U);
  const auto shape = model.inputs()[0].shape;
  std::vector<float> values(1 * 3 * 224 * 224);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(static_cast<double>(i) / static_cast<double>(values.size()));
  const auto outputs =
      model.run({{model.inputs()[0].name, from_host(std::span<const float>(values), shape)}});
  const auto want = read_value(folder / (name + "_output_0.pb"), Type{Type::Kind::tensor});
  EXPECT_LT(difference(outputs.at(model.outputs()[0].name), numbers_of(want.tensor)), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(onnx, Light,
                         testing::Values("light_squeezenet", "light_shufflenet",
                                         "light_inception_v1", "light_bvlc_alexnet",
                                         "light_resnet50", "light_vgg19"),
                         [](const auto& info) { return std::string(info.param); });

// ---- tract's cases ------------------------------------------------------------------------------

class Tract : public testing::TestWithParam<const char*> {};

TEST_P(Tract, case_gives_its_output) {
  NEED("tract-cases");
  const fs::path folder = shared_data() / "tract-cases" / GetParam();
  OnnxModel model = OnnxModel::load(folder / "model.onnx");
  const auto arrays = read_npz(folder / "io.npz");
  std::map<std::string, Tensor> inputs;
  for (const OnnxPort& port : model.inputs()) inputs[port.name] = of(arrays.at(port.name));
  const auto outputs = model.run(inputs);
  for (const OnnxPort& port : model.outputs()) {
    // byte_sb_bidi_lstm's output has the name of its node there.
    const auto found = arrays.contains(port.name) ? arrays.find(port.name) : arrays.find("Add_26");
    ASSERT_NE(found, arrays.end()) << port.name;
    EXPECT_EQ(outputs.at(port.name).shape(), found->second.shape);
    EXPECT_LT(difference(outputs.at(port.name), of(found->second).to_vector<double>()), 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(onnx, Tract,
                         testing::Values("qrelu_1", "qsigmoid_1", "qtanh_1",
                                         "averagepool_count_include_pad", "qlstm_3-2-3_T3_S1",
                                         "byte_sb_bidi_lstm"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// ---- MNIST --------------------------------------------------------------------------------------

std::vector<std::uint8_t> gunzipped(const fs::path& path) {
  gzFile file = gzopen(path.c_str(), "rb");  // reads files that are not packed too
  std::vector<std::uint8_t> bytes;
  std::vector<std::uint8_t> part(1 << 16);
  for (int count = 0; file != nullptr && (count = gzread(file, part.data(), 1 << 16)) > 0;)
    bytes.insert(bytes.end(), part.begin(), part.begin() + count);
  if (file != nullptr) gzclose(file);
  return bytes;
}

fs::path find_file(const fs::path& folder, const std::string& part) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().filename().string().find(part) != std::string::npos) return entry.path();
  }
  return {};
}

TEST(Models, mnist_is_right_about_digits) {
  NEED("mnist-onnx");
  NEED("mnist");
  const auto images = gunzipped(find_file(shared_data() / "mnist", "t10k-images"));
  const auto labels = gunzipped(find_file(shared_data() / "mnist", "t10k-labels"));
  ASSERT_GE(images.size(), 16U + 300 * 784);
  OnnxModel model = OnnxModel::load(shared_data() / "mnist-onnx" / "mnist.onnx");
  OnnxModel other = OnnxModel::load(shared_data() / "mnist-onnx" / "opt-mnist.onnx");
  int right = 0;
  for (std::size_t i = 0; i < 300; ++i) {
    const std::vector<float> pixels(images.begin() + 16 + i * 784,
                                    images.begin() + 16 + (i + 1) * 784);
    const Tensor x = tensor(pixels).reshape({1, 1, 28, 28});
    const Tensor scores = model.run({{"Input3", x}}).at("Plus214_Output_0");
    right += scores.argmax().item<int>() == labels[8 + i] ? 1 : 0;
    if (i < 20) {
      const Tensor same = other.run({{"Input3", x}}).at("Plus214_Output_0");
      EXPECT_LT(difference(same, scores.to_vector<double>()), 1e-4);
    }
  }
  EXPECT_EQ(right, 297);
}

// ---- FastestDet ---------------------------------------------------------------------------------

TEST(Models, fastestdet_gives_its_output) {
  NEED("fastestdet");
  const fs::path folder = shared_data() / "fastestdet";
  OnnxModel model = OnnxModel::load(folder / "FastestDet.onnx");
  std::vector<float> values(3 * 352 * 352);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] =
        static_cast<float>(static_cast<double>((i * 1103515245 + 12345) % 65536) / 32768 - 1);
  const Tensor x = tensor(values).reshape({1, 3, 352, 352});
  const Tensor y = model.run({{"input", x}}).at("output");
  EXPECT_LT(difference(y, of(read_npy(folder / "ref" / "output.npy")).to_vector<double>()), 1e-3);
}

// ---- Silero VAD: 512 samples a call, a state carried, an If on the rate -------------------------

TEST(Models, silero_vad_hears_speech) {
  NEED("silero-vad");
  const fs::path folder = shared_data() / "silero-vad";
  OnnxModel model = OnnxModel::load(folder / "silero_vad.onnx");
  const Sound sound = read_wav(folder / "jfk.wav");
  std::ifstream file(folder / "ref" / "jfk_probs.txt");
  std::vector<double> want;
  for (double p = 0; file >> p;) want.push_back(p);
  ASSERT_EQ(want.size(), 344U);
  std::vector<float> samples(64, 0.0F);  // the context before the first chunk
  samples.insert(samples.end(), sound.samples.begin(), sound.samples.end());
  samples.resize(64 + 344 * 512);
  Tensor state = zeros({2, 1, 128});
  const Tensor rate = full({}, Tensor(std::int64_t{16000}), DType::int64);
  double most = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const Tensor chunk = from_host(std::span<const float>(&samples[i * 512], 576), {1, 576});
    const auto outputs = model.run({{"input", chunk}, {"state", state}, {"sr", rate}});
    state = outputs.at("stateN");
    most = std::max(most, std::abs(outputs.at("output").item<double>() - want[i]));
  }
  EXPECT_LT(most, 1e-3);
}

// ---- GTCRN: one frame of a Fourier transform a call ---------------------------------------------

TEST(Models, gtcrn_cleans_speech) {
  NEED("gtcrn-denoise");
  const fs::path folder = shared_data() / "gtcrn-denoise";
  OnnxModel model = OnnxModel::load(folder / "gtcrn_simple.onnx");
  const Sound sound = read_wav(folder / "mix.wav");
  const Sound want = read_wav(folder / "ref" / "enh_ref.wav");
  constexpr int n = 512, hop = 256;
  std::vector<double> window(n);
  for (int i = 0; i < n; ++i)
    window[i] = std::sqrt(0.5 - 0.5 * std::cos(2 * std::numbers::pi * i / n));
  const auto length = static_cast<int>(sound.samples.size());
  const auto at = [&](int i) {  // mirrored at both ends
    if (i < 0) i = -i;
    if (i >= length) i = 2 * (length - 1) - i;
    return static_cast<double>(sound.samples[static_cast<std::size_t>(i)]);
  };
  const int frames = length / hop + 1;
  std::vector<double> cosine(n), sine(n);
  for (int i = 0; i < n; ++i) {
    cosine[i] = std::cos(2 * std::numbers::pi * i / n);
    sine[i] = std::sin(2 * std::numbers::pi * i / n);
  }
  std::vector<double> result(static_cast<std::size_t>(frames * hop + n)), weight(result.size());
  Tensor conv = zeros({2, 1, 16, 16, 33}), tra = zeros({2, 3, 1, 1, 16}),
         inter = zeros({2, 1, 33, 16});
  for (int t = 0; t < frames; ++t) {
    std::vector<float> spectrum;
    for (int k = 0; k <= n / 2; ++k) {
      double re = 0, im = 0;
      for (int i = 0; i < n; ++i) {
        const double x = at(t * hop - n / 2 + i) * window[i];
        re += x * cosine[k * i % n];
        im -= x * sine[k * i % n];
      }
      spectrum.push_back(static_cast<float>(re));
      spectrum.push_back(static_cast<float>(im));
    }
    const auto outputs = model.run({{"mix", tensor(spectrum).reshape({1, 257, 1, 2})},
                                    {"conv_cache", conv},
                                    {"tra_cache", tra},
                                    {"inter_cache", inter}});
    conv = outputs.at("conv_cache_out"), tra = outputs.at("tra_cache_out"),
    inter = outputs.at("inter_cache_out");
    const auto y = outputs.at("enh").to_vector<double>();
    for (int i = 0; i < n; ++i) {
      double x = 0;
      for (int k = 0; k <= n / 2; ++k) {
        const double both = k == 0 || k == n / 2 ? 1 : 2;
        x += both * (y[2 * k] * cosine[k * i % n] - y[2 * k + 1] * sine[k * i % n]);
      }
      result[t * hop + i] += x / n * window[i];
      weight[t * hop + i] += window[i] * window[i];
    }
  }
  double signal = 0, noise = 0;
  for (std::size_t i = 0; i < want.samples.size(); ++i) {
    const double x = result[i + n / 2] / std::max(weight[i + n / 2], 1e-8);
    signal += want.samples[i] * want.samples[i];
    noise += (x - want.samples[i]) * (x - want.samples[i]);
  }
  // The sound there is not what the model gives (its SOURCE.txt wants 40 dB): fed with the same
  // frames, onnxruntime 1.32 comes to the same 11.65 dB.
  EXPECT_NEAR(10 * std::log10(signal / noise), 11.6548, 0.01);
}

TEST(Models, gtcrn_is_the_same_on_the_evaluator) {
  NEED("gtcrn-denoise");
  OnnxModel model = OnnxModel::load(shared_data() / "gtcrn-denoise" / "gtcrn_simple.onnx");
  std::map<std::string, Tensor> inputs;
  Generator generator(1);
  std::map<std::string, std::vector<float>> values;
  for (const OnnxPort& port : model.inputs()) {
    inputs[port.name] = randn(port.shape, DType::float32, generator);
    values[port.name] = inputs[port.name].to_vector<float>();
  }
  const auto outputs = model.run(inputs);
  const auto reference = evaluator();
  Executor* before = use_executor(reference.get());
  OnnxModel other = OnnxModel::load(shared_data() / "gtcrn-denoise" / "gtcrn_simple.onnx");
  std::map<std::string, Tensor> same;
  for (const OnnxPort& port : model.inputs())
    same[port.name] = from_host(std::span<const float>(values[port.name]), port.shape);
  std::map<std::string, std::vector<double>> want;
  for (const auto& [name, tensor] : other.run(same)) want[name] = tensor.to_vector<double>();
  use_executor(before);
  for (const auto& [name, tensor] : outputs)
    EXPECT_LT(difference(tensor, want[name]), 1e-4) << name;
}

// ---- Magika -------------------------------------------------------------------------------------

std::string base64(const std::string& text) {
  std::string bytes;
  unsigned bits = 0, count = 0;
  for (const char c : text) {
    const auto at =
        std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
            .find(c);
    if (at == std::string_view::npos) break;
    bits = bits << 6 | static_cast<unsigned>(at);
    count += 6;
    if (count >= 8) bytes += static_cast<char>(bits >> (count -= 8) & 0xff);
  }
  return bytes;
}

TEST(Models, magika_tells_types_of_files) {
  NEED("magika-v3_3");
  const fs::path folder = shared_data() / "magika-v3_3";
  OnnxModel model = OnnxModel::load(folder / "model.onnx");
  std::ifstream file(folder / "config.min.json");
  const auto labels = nlohmann::json::parse(file).at("target_labels_space");
  const auto text = gunzipped(folder / "inference_examples_by_content.json.gz");
  constexpr const char* space = " \t\n\r\v\f";
  int checked = 0;
  for (const auto& one : nlohmann::json::parse(text)) {
    if (one.at("status") != "ok" || one.at("prediction").at("dl") == "undefined") continue;
    const std::string content = base64(one.at("content_base64"));
    std::string begin = content.substr(0, 4096),
                end = content.substr(content.size() - std::min<std::size_t>(content.size(), 4096));
    begin.erase(0, begin.find_first_not_of(space));
    end.erase(end.find_last_not_of(space) + 1);
    std::vector<std::int32_t> bytes(2048, 256);
    for (std::size_t i = 0; i < std::min<std::size_t>(begin.size(), 1024); ++i)
      bytes[i] = static_cast<std::uint8_t>(begin[i]);
    for (std::size_t i = 0; i < std::min<std::size_t>(end.size(), 1024); ++i)
      bytes[2047 - i] = static_cast<std::uint8_t>(end[end.size() - 1 - i]);
    const Tensor scores =
        model.run({{"bytes", tensor(bytes).reshape({1, 2048})}}).at("target_label");
    const auto values = scores.to_vector<double>();
    const auto best = std::max_element(values.begin(), values.end()) - values.begin();
    EXPECT_EQ(labels[static_cast<std::size_t>(best)], one.at("prediction").at("dl"));
    // These scores come of variances that are differences of means in float32, the model's own
    // form: one of them is 0.65871, for which float64 gives 0.65537.
    EXPECT_NEAR(*(values.begin() + best), one.at("prediction").at("score").get<double>(), 4e-3);
    ++checked;
  }
  EXPECT_EQ(checked, 129);
}

// ---- super-resolution ---------------------------------------------------------------------------

NodeDef node_of_op(std::string op, std::vector<std::string> inputs,
                   std::map<std::string, Attribute> attributes) {
  NodeDef node;
  node.op = std::move(op);
  node.inputs = std::move(inputs);
  node.outputs = {"y"};
  node.attributes = std::move(attributes);
  return node;
}

Attribute text_attribute(std::string text) {
  Attribute attribute;
  attribute.kind = Attribute::Kind::string;
  attribute.string = std::move(text);
  return attribute;
}

Attribute flag_attribute(std::int64_t value) {
  Attribute attribute;
  attribute.kind = Attribute::Kind::integer;
  attribute.integer = value;
  return attribute;
}

// x [height, width, channels] to a size, by the operator Resize.
Tensor resized(const Tensor& x, std::int64_t height, std::int64_t width) {
  ModelDef model;
  model.file = "resize";
  model.opsets[""] = 18;
  model.graph.inputs = {{"x", {Type::Kind::tensor, ElementType::float32}}};
  model.graph.outputs = {{"y", {Type::Kind::tensor, ElementType::float32}}};
  HostTensor sizes = host_integers({height, width, 3});
  sizes.name = "sizes";
  model.graph.initializers = {sizes};
  model.graph.nodes = {
      node_of_op("Resize", {"x", "", "", "sizes"},
                 {{"mode", text_attribute("linear")}, {"antialias", flag_attribute(1)}})};
  return Session(model).run({{"x", Value(x)}})[0].tensor();
}

Tensor colours(const Tensor& x, const std::vector<float>& matrix) {
  return matmul(x, tensor(matrix).reshape({3, 3}).transpose(0, 1));
}

// A picture is made small, one axis after the other, and cut to a square; its brightness goes
// through the model, its colours are made large again.
TEST(Models, super_resolution_makes_the_expected_picture) {
  NEED("super-resolution");
  const fs::path folder = shared_data() / "super-resolution";
  OnnxModel model = OnnxModel::load(folder / "pytorch_super_resolution.onnx");
  const auto floats = [](const Image& image) {
    return from_host(std::span<const std::uint8_t>(image.pixels), {image.height, image.width, 3})
        .cast(DType::float32);
  };
  const auto whole = [&](const Tensor& x) { return clamp(round(x), 0.0, 255.0); };
  const Tensor picture = floats(read_image(folder / "test_superresolution.png"));
  const auto wide = static_cast<std::int64_t>(505 * 224.0 / 487);
  Tensor small = whole(resized(picture, 487, wide));
  small = whole(resized(small, 224, wide)).narrow(1, (wide - 224) / 2, 224);
  const Tensor ycc = whole(colours(small, {0.299F, 0.587F, 0.114F, -0.168736F, -0.331264F, 0.5F,
                                           0.5F, -0.418688F, -0.081312F}) +
                           tensor({0.0F, 128.0F, 128.0F}));
  const Tensor y = ycc.select(2, 0).reshape({1, 1, 224, 224}) / 255.0;
  const Tensor bright = model.run({{"input", y}}).at("output").reshape({672, 672}) * 255.0;
  const Tensor large = whole(resized(ycc, 672, 672));
  const Tensor parts =
      stack({whole(bright), large.select(2, 1) - 128.0, large.select(2, 2) - 128.0}, 2);
  const Tensor made =
      whole(colours(parts, {1, 0, 1.402F, 1, -0.344136F, -0.714136F, 1, 1.772F, 0}));
  const Tensor want = floats(read_image(folder / "test_superresolution.expected.opset18.png"));
  const Tensor apart = abs(made - want);
  // That picture was made small in fixed point, which rounds a few pixels in a hundred thousand to
  // the neighbouring number; the model makes more of it.
  EXPECT_LE(apart.max().item<float>(), 4);
  EXPECT_LT((apart >= 3.0).cast(DType::int64).sum().item<int>(), 0.0001 * 672 * 672 * 3);
  EXPECT_LT(apart.sum().item<double>(), 0.001 * 672 * 672 * 3 * 255);
}

}  // namespace
}  // namespace brisk::onnx
