// Trains a small residual network on pictures of CIFAR-10, a fifth of which it is tested on and
// does not learn from: pictures are flipped and shifted at random, products may be in 16 bits.
//
//   cifar [--data FILE] [--epochs N] [--precision float32|bfloat16|float16] [--save
//   FILE.safetensors]
//
// The file is CIFAR-10's binary form (data_batch_1.bin, or a part of it), as it is or as .xz: 3,073
// bytes a picture, its label and 32 × 32 values of red, green and blue.
#include <brisk/brisk.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "../packed_file.h"

using namespace brisk;

// ---- the model ----------------------------------------------------------------------------------

nn::Conv2d conv(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride) {
  return nn::Conv2d(in, out, kernel, {.stride = stride, .padding = kernel / 2}, false);
}

struct Block {
  Block(std::int64_t in, std::int64_t out, std::int64_t stride)
      : conv1(conv(in, out, 3, stride)), norm1(out), conv2(conv(out, out, 3, 1)), norm2(out) {
    if (stride != 1) shortcut.emplace(conv(in, out, 1, stride));
  }
  Tensor operator()(const Tensor& x) const {
    const Tensor past = shortcut ? (*shortcut)(x) : x;
    return relu(norm2(conv2(relu(norm1(conv1(x))))) + past);
  }
  void visit(nn::Fields& fields) {
    fields("conv1", conv1);
    fields("norm1", norm1);
    fields("conv2", conv2);
    fields("norm2", norm2);
    fields("shortcut", shortcut);
  }

  nn::Conv2d conv1;
  nn::BatchNorm2d norm1;
  nn::Conv2d conv2;
  nn::BatchNorm2d norm2;
  std::optional<nn::Conv2d> shortcut;
};

struct Net {
  nn::Conv2d stem = conv(3, 16, 3, 1);
  nn::BatchNorm2d norm{16};
  std::vector<Block> blocks{{16, 16, 1}, {16, 32, 2}, {32, 64, 2}};
  nn::Linear fc{64, 10};

  Tensor operator()(const Tensor& pictures) const {
    Tensor x = relu(norm(stem(pictures)));
    for (const Block& block : blocks) x = block(x);
    return fc(adaptive_avg_pool2d(x, 1).flatten(1));
  }
  void visit(nn::Fields& fields) {
    fields("stem", stem);
    fields("norm", norm);
    fields("blocks", blocks);
    fields("fc", fc);
  }
};

// ---- the data -----------------------------------------------------------------------------------

struct Pictures {
  Tensor values;  // [count, 3, 32, 32], uint8
  Tensor labels;  // [count], uint8
  std::int64_t count() const { return labels.shape()[0]; }
  Pictures part(std::int64_t begin, std::int64_t end) const {
    return {narrow(values, 0, begin, end - begin).contiguous().realize(),
            narrow(labels, 0, begin, end - begin).contiguous().realize()};
  }
};

Pictures read_pictures(const std::string& path) {
  constexpr std::size_t size = 1 + 3 * 32 * 32;
  if (!std::filesystem::exists(path)) {
    throw UserError("there is no file " + path +
                    ": pass CIFAR-10's binary form (data_batch_1.bin, or .xz of it) as --data");
  }
  const std::string bytes = read_packed(path);
  const auto count = static_cast<std::int64_t>(bytes.size() / size);
  if (count < 10 || bytes.size() % size != 0) {
    throw UserError(path + " is no file of CIFAR-10's binary form: " +
                    std::to_string(bytes.size()) + " bytes, no multiple of 3073");
  }
  const Tensor all = from_bytes(std::as_bytes(std::span(bytes)),
                                {count, static_cast<std::int64_t>(size)}, DType::uint8);
  return {narrow(all, 1, 1, 3 * 32 * 32).reshape({count, 3, 32, 32}).contiguous().realize(),
          all.select(1, 0).contiguous().realize()};
}

Tensor normalized(const Tensor& bytes) { return (bytes.cast(DType::float32) / 255 - 0.47) / 0.25; }

// Each picture flipped or not, and moved by up to 4 places each way: all are gathered at once.
Tensor augmented(const Tensor& pictures) {
  const std::int64_t count = pictures.shape()[0];
  const auto moved = [&] { return randint(-4, 5, {count, 1}); };
  const Tensor at = arange(32).unsqueeze(0);
  const Tensor rows = at + moved();
  const Tensor flipped = where(rand({count, 1}) < 0.5, at, 31 - at) + moved();
  const Tensor inside =
      ((rows >= 0) & (rows < 32)).unsqueeze(-1) & ((flipped >= 0) & (flipped < 32)).unsqueeze(-2);
  const Tensor place = clamp(rows, 0, 31).unsqueeze(-1) * 32 + clamp(flipped, 0, 31).unsqueeze(-2);
  const Tensor index = place.reshape({count, 1, 1024}).expand({count, 3, 1024});
  const Tensor values = gather(pictures.reshape({count, 3, 1024}), 2, index);
  return where(inside.unsqueeze(1), values.reshape({count, 3, 32, 32}), 0);
}

// ---- training and testing -----------------------------------------------------------------------

void copy_part(Tensor& to, const std::vector<std::int64_t>& from, std::int64_t begin) {
  to.copy_from(std::as_bytes(std::span(from).subspan(begin, to.shape()[0])));
}

void train(Net& net, const Pictures& data, std::int64_t epochs, DType precision) {
  constexpr std::int64_t batch = 64;
  nn::train(net);
  nn::Optimizer optimizer(nn::parameters(net), nn::AdamW{.weight_decay = 0.05});
  // float16's gradients need a scale; for wider exponents it stays 1.
  nn::GradScaler scaler({.scale = precision == DType::float16 ? 65536.0 : 1.0,
                         .interval = precision == DType::float16 ? 500 : 1'000'000'000});
  Tensor index = empty({batch}, DType::int64);
  Step step([&] {
    const Tensor pictures = augmented(normalized(data.values[index])).contiguous();
    Tensor loss;
    {
      const Autocast narrow(precision);
      loss = cross_entropy(net(pictures), data.labels[index].cast(DType::int64));
    }
    scaler.scale(loss).backward();
    scaler.step(optimizer);
    scaler.update();
    optimizer.zero_grad();
    return loss;
  });
  const std::int64_t steps = data.count() / batch;
  const nn::OneCycle lr{.greatest = 0.01, .steps = steps * epochs};
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    const std::vector<std::int64_t> order = randperm(data.count()).to_vector<std::int64_t>();
    const auto start = std::chrono::steady_clock::now();
    double sum = 0;
    for (std::int64_t i = 0; i < steps; ++i) {
      copy_part(index, order, i * batch);
      optimizer.set_lr(lr(epoch * steps + i));
      sum += step()[0].item<double>();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("epoch %lld: loss %.4f, %.1f s\n", static_cast<long long>(epoch + 1),
                sum / static_cast<double>(steps), took.count());
    std::fflush(stdout);
  }
}

double accuracy(Net& net, const Pictures& data) {
  nn::eval(net);
  const NoGrad guard;
  const Tensor guess = net(normalized(data.values)).argmax(1);
  const Tensor right = (guess == data.labels.cast(DType::int64)).sum();
  return static_cast<double>(right.item<std::int64_t>()) / static_cast<double>(data.count());
}

int main(int argc, char** argv) {
  const std::map<std::string, DType> precisions = {
      {"float32", DType::float32}, {"bfloat16", DType::bfloat16}, {"float16", DType::float16}};
  std::map<std::string, std::string> options = {
      {"--data", "../shared/data/cifar10-first2000/data_batch_first2000.bin.xz"},
      {"--epochs", "20"},
      {"--precision", "float32"},
      {"--save", ""}};
  try {
    for (int i = 1; i < argc; i += 2) {
      if (options.count(argv[i]) == 0 || i + 1 == argc) {
        throw UserError(
            "options are --data FILE, --epochs N, --precision DTYPE and --save FILE, "
            "each with a value; got " +
            std::string(argv[i]));
      }
      options[argv[i]] = argv[i + 1];
    }
    const auto precision = precisions.find(options["--precision"]);
    if (precision == precisions.end()) {
      throw UserError("--precision is float32, bfloat16 or float16; got " + options["--precision"]);
    }
    const Pictures all = read_pictures(options["--data"]);
    const std::int64_t learned = all.count() * 4 / 5;
    manual_seed(1);
    Net net;
    train(net, all.part(0, learned), std::stoll(options["--epochs"]), precision->second);
    std::printf("accuracy %.1f %% of what it learned from, %.1f %% of the other %lld\n",
                100 * accuracy(net, all.part(0, learned)),
                100 * accuracy(net, all.part(learned, all.count())),
                static_cast<long long>(all.count() - learned));
    if (!options["--save"].empty()) nn::save(net, options["--save"]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cifar: %s\n", error.what());
    return 1;
  }
  return 0;
}
