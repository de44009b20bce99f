// Trains a small convolutional network to read the digits of MNIST, and tests it on digits that it
// has not seen.
//
//   mnist [--data FOLDER] [--epochs N] [--seed N] [--save FILE.safetensors]
//
// The folder has the four files of MNIST (train-images-idx3-ubyte, …), as they are or compressed
// (.gz, .xz: gzip and xz are called).
#include <brisk/brisk.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>

#include "../packed_file.h"
#include "net.h"

using namespace brisk;

// ---- the data -----------------------------------------------------------------------------------

// A file of the folder, decompressed.
std::string read_part(const std::filesystem::path& folder, const std::string& name) {
  for (const char* ending : {"", ".gz", ".xz"}) {
    const std::filesystem::path path = folder / (name + ending);
    if (std::filesystem::exists(path)) return read_packed(path);
  }
  throw UserError("no " + name + " (.gz, .xz) in " + folder.string() +
                  ": pass the folder of MNIST's four files as --data");
}

// IDX: a magic number that ends with the count of axes, sizes as big-endian u32, bytes.
Tensor read_idx(const std::filesystem::path& folder, const std::string& name) {
  const std::string bytes = read_part(folder, name);
  const std::size_t rank = bytes.size() < 4 ? 0 : static_cast<unsigned char>(bytes[3]);
  Dims shape;
  std::size_t count = 1;
  for (std::size_t at = 4; at < 4 + 4 * rank && at + 4 <= bytes.size(); at += 4) {
    std::uint32_t size = 0;
    for (std::size_t i = 0; i < 4; ++i)
      size = size << 8 | static_cast<unsigned char>(bytes[at + i]);
    shape.emplace_back(static_cast<std::int64_t>(size));
    count *= size;
  }
  if (rank == 0 || bytes.size() != 4 + 4 * rank + count) {
    throw UserError(name + " is no whole IDX file: " + std::to_string(bytes.size()) + " bytes");
  }
  const auto values = std::as_bytes(std::span(bytes)).subspan(4 + 4 * rank);
  return from_bytes(values, shape, DType::uint8);
}

constexpr std::int64_t side = 28;
constexpr std::int64_t border = 2;  // of zeros, that images may move by
constexpr std::int64_t padded = side + 2 * border;

struct Digits {
  Tensor images;  // [count · padded · padded], uint8
  Tensor labels;  // [count], uint8

  std::int64_t count() const { return labels.shape()[0]; }
  // Of these places, as the network wants them: cut from the padded ones at (row, column), which is
  // one place in memory that the network's windows then read many times.
  Tensor images_at(const Tensor& index, const Tensor& row, const Tensor& column) const {
    const auto each = [](const Tensor& x) { return x.reshape({-1, 1, 1, 1}); };
    const Tensor first = each(index) * (padded * padded) + each(row) * padded + each(column);
    const Tensor inside = arange(side).unsqueeze(1) * padded + arange(side);
    const Tensor bytes = take(images, first + inside);
    return ((bytes.cast(DType::float32) / 255 - 0.1307) / 0.3081).contiguous();
  }
  Tensor labels_at(const Tensor& index) const { return labels[index].cast(DType::int64); }
};

Digits read_digits(const std::filesystem::path& folder, const std::string& name) {
  const Tensor images = read_idx(folder, name + "-images-idx3-ubyte");
  if (images.rank() != 3 || images.shape()[1] != side || images.shape()[2] != side)
    throw UserError(name + "-images-idx3-ubyte: wants images of 28 × 28");
  return {pad(images, {border, border, border, border}).flatten().contiguous().realize(),
          read_idx(folder, name + "-labels-idx1-ubyte")};
}

// ---- training and testing -----------------------------------------------------------------------

void copy_part(Tensor& to, const std::vector<std::int64_t>& from, std::int64_t begin) {
  to.copy_from(std::as_bytes(std::span(from).subspan(begin, to.shape()[0])));
}

void train(DigitNet& net, const Digits& digits, std::int64_t epochs) {
  constexpr std::int64_t batch = 128;
  nn::train(net);
  nn::Optimizer optimizer(nn::parameters(net), nn::AdamW{.weight_decay = 0.01});
  Tensor index = empty({batch}, DType::int64);
  Step step([&] {
    const auto moved = [&] { return randint(0, 2 * border + 1, {batch}); };
    const Tensor images = digits.images_at(index, moved(), moved());
    Tensor loss = cross_entropy(net(images), digits.labels_at(index), {.label_smoothing = 0.05});
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return loss;
  });
  const std::int64_t steps = digits.count() / batch;
  const nn::OneCycle lr{.greatest = 0.01, .steps = steps * epochs};
  for (std::int64_t epoch = 0; epoch < epochs; ++epoch) {
    const std::vector<std::int64_t> order = randperm(digits.count()).to_vector<std::int64_t>();
    const auto start = std::chrono::steady_clock::now();
    Tensor loss;
    for (std::int64_t i = 0; i < steps; ++i) {
      copy_part(index, order, i * batch);
      optimizer.set_lr(lr(epoch * steps + i));
      loss = step()[0];
    }
    const float last = loss.item<float>();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("epoch %lld: loss %.4f, %.1f s\n", static_cast<long long>(epoch + 1), last,
                took.count());
    std::fflush(stdout);
  }
}

double accuracy(DigitNet& net, const Digits& digits) {
  constexpr std::int64_t batch = 500;  // divides 10,000
  nn::eval(net);
  Tensor index = empty({batch}, DType::int64);
  Step step([&] {
    const NoGrad guard;
    const Tensor middle = full({batch}, border, DType::int64);
    const Tensor guess = net(digits.images_at(index, middle, middle)).argmax(1);
    return (guess == digits.labels_at(index)).sum();
  });
  const std::vector<std::int64_t> order = arange(digits.count()).to_vector<std::int64_t>();
  std::int64_t right = 0;
  for (std::int64_t i = 0; i + batch <= digits.count(); i += batch) {
    copy_part(index, order, i);
    right += step()[0].item<std::int64_t>();
  }
  return static_cast<double>(right) / static_cast<double>(digits.count() / batch * batch);
}

int main(int argc, char** argv) {
  std::string data = "../shared/data/mnist";
  std::string file;
  std::int64_t epochs = 5;
  std::uint64_t seed = 1;
  try {
    for (int i = 1; i + 1 < argc; i += 2) {
      const std::string option = argv[i];
      if (option == "--data")
        data = argv[i + 1];
      else if (option == "--epochs")
        epochs = std::stoll(argv[i + 1]);
      else if (option == "--seed")
        seed = std::stoull(argv[i + 1]);
      else if (option == "--save")
        file = argv[i + 1];
      else
        throw UserError("options are --data FOLDER, --epochs N, --seed N and --save FILE; got " +
                        option);
    }
    if (argc % 2 == 0)
      throw UserError("the option " + std::string(argv[argc - 1]) + " wants a value");
    const Digits training = read_digits(data, "train");
    const Digits test = read_digits(data, "t10k");
    manual_seed(seed);
    DigitNet net;
    train(net, training, epochs);
    std::printf("test accuracy %.2f %%\n", 100 * accuracy(net, test));
    if (!file.empty()) nn::save(net, file);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mnist: %s\n", error.what());
    return 1;
  }
  return 0;
}
