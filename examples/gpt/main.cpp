// Trains a small language model on any text and writes it as GGUF: a tokenizer of its own, a Llama,
// AdamW, checkpoints, and at the end files that `brisk run` loads.
//
//   gpt --text FOLDER --out RUN [--steps 2000] [--width 256] …      begins or goes on
//   brisk run RUN/model-q4_0.gguf -p "Once upon a time"
#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <limits>
#include <numbers>

#include "brisk/step.h"
#include "brisk/train.h"
#include "export.h"
#include "llama.h"
#include "text.h"

using namespace brisk;
namespace fs = std::filesystem;

namespace {

struct Options {
  std::vector<fs::path> text = {"text"};
  fs::path out = "gpt-run";
  LlamaConfig model;
  std::int64_t steps = 1000, rows = 16, warm_up = 50, every = 100;
  double lr = 2e-3, weight_decay = 0.1, clip = 1;
  std::string precision = "float32";
  std::uint64_t seed = 1;
  std::int64_t memory = 0;
};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app("Trains a small Llama on text files");
  app.option_defaults()->always_capture_default();
  app.add_option("--text", o.text, "text files, or folders of .txt files");
  app.add_option("--out", o.out, "folder of the run: checkpoint, log, picture, model files");
  app.add_option("--vocabulary", o.model.vocabulary, "tokens of the tokenizer");
  app.add_option("--context", o.model.context, "tokens that the model sees");
  app.add_option("--width", o.model.width, "of the residual stream; a multiple of 32 and of heads");
  app.add_option("--blocks", o.model.blocks);
  app.add_option("--heads", o.model.heads);
  app.add_option("--key-heads", o.model.key_heads, "divides heads");
  app.add_option("--ffn-width", o.model.ffn_width, "a multiple of 32");
  app.add_option("--steps", o.steps);
  app.add_option("--rows", o.rows, "of a batch, each of a context's length");
  app.add_option("--warm-up", o.warm_up, "steps over which the learning rate rises");
  app.add_option("--lr", o.lr, "greatest learning rate; falls to a tenth along a cosine");
  app.add_option("--weight-decay", o.weight_decay, "of matrices");
  app.add_option("--clip", o.clip, "greatest norm of the gradient");
  app.add_option("--precision", o.precision, "of products: float32, bfloat16, fp8 or int8")
      ->check(CLI::IsMember({"float32", "bfloat16", "fp8", "int8"}));
  app.add_option("--every", o.every, "steps between held-out losses and checkpoints");
  app.add_option("--memory", o.memory,
                 "bytes, as 8G, that a step's intermediate values may take; 0: as many as they do")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--seed", o.seed);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return o;
}

volatile std::sig_atomic_t stopped = 0;

// Means over the whole of the held-out text, up to so many batches.
class Evaluation {
 public:
  Evaluation(const Llama& model, DType products, const std::vector<std::int32_t>& tokens,
             std::int64_t rows)
      : tokens_(tokens),
        rows_(rows),
        x_(empty({rows, model.config.context}, DType::int32)),
        y_(empty({rows, model.config.context}, DType::int32)),
        step_([&model, products, this] {
          const NoGrad guard;
          return model.loss(x_, y_, products);
        }) {}

  double operator()(std::int64_t most = 16) {
    const std::int64_t length = x_.shape()[1];
    const std::int64_t batches = std::min(most, batches_in_order(tokens_, rows_, length));
    double sum = 0;
    for (std::int64_t i = 0; i < batches; ++i) {
      const Batch batch = batch_in_order(tokens_, rows_, length, i);
      x_.copy_from(std::as_bytes(std::span(batch.tokens)));
      y_.copy_from(std::as_bytes(std::span(batch.next)));
      sum += step_()[0].item<double>();
    }
    return batches == 0 ? std::numeric_limits<double>::quiet_NaN()
                        : sum / static_cast<double>(batches);
  }

 private:
  const std::vector<std::int32_t>& tokens_;
  std::int64_t rows_;
  Tensor x_, y_;
  Step step_;
};

void train(const Options& o) {
  fs::create_directories(o.out);
  Options options = o;
  const Text text = read_text(text_files(o.text), o.model.vocabulary, o.out);
  options.model.vocabulary = static_cast<std::int64_t>(text.tokenizer.tokens.size());
  manual_seed(o.seed);
  Llama model(options.model);
  if (o.precision == "fp8") model.scale_products(Scaled::fp8);
  if (o.precision == "int8") model.scale_products(Scaled::int8);
  const DType products = o.precision == "float32" ? DType::float32 : DType::bfloat16;
  const std::int64_t size = model.parameters();
  std::printf("%zu tokens to learn from, %zu held out; %lld parameters\n", text.train.size(),
              text.held_out.size(), static_cast<long long>(size));

  nn::Group matrices{{}, nn::AdamW{.lr = o.lr, .beta2 = 0.95, .weight_decay = o.weight_decay}};
  nn::Group vectors{{}, nn::AdamW{.lr = o.lr, .beta2 = 0.95, .weight_decay = 0}};
  for (const Tensor& parameter : nn::parameters(model))
    (parameter.rank() > 1 ? matrices : vectors).parameters.push_back(parameter);
  nn::Optimizer optimizer({matrices, vectors});

  const Tensor x = empty({o.rows, o.model.context}, DType::int32);
  const Tensor y = empty({o.rows, o.model.context}, DType::int32);
  const std::vector<Tensor> parameters = nn::parameters(model);
  const auto learn = [&] {
    const Tensor loss = model.loss(x, y, products);
    loss.backward();
    const Tensor norm = nn::clip_grad_norm(parameters, o.clip);
    optimizer.step();
    optimizer.zero_grad();
    return std::vector<Tensor>{loss, norm};
  };
  Step step(learn, {.memory = o.memory});
  Evaluation held_out(model, products, text.held_out, o.rows);

  const fs::path checkpoint = o.out / "checkpoint.safetensors";
  std::int64_t first = 0;
  if (fs::exists(checkpoint)) {
    first = nn::load_checkpoint(checkpoint, nn::state(model), optimizer);
    std::printf("going on from step %lld\n", static_cast<long long>(first));
  }
  nn::RunLog log(o.out / "log.csv", {"loss", "held_out", "norm", "lr", "tokens_per_second"}, first);
  nn::Progress progress(o.steps, first);
  std::signal(SIGINT, [](int) { stopped = 1; });
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (std::int64_t i = first; i < o.steps && stopped == 0; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const Batch batch = random_batch(text.train, o.rows, o.model.context, o.seed, i);
    Tensor(x).copy_from(std::as_bytes(std::span(batch.tokens)));
    Tensor(y).copy_from(std::as_bytes(std::span(batch.next)));
    const double lr = nn::warmup(i, o.warm_up) * nn::cosine(i, o.steps, o.lr, o.lr / 10);
    optimizer.set_lr(lr);
    const std::vector<Tensor>& results = step();
    const double loss = results[0].item<double>();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    const double rate = static_cast<double>(o.rows * o.model.context) / took.count();
    const bool last = i + 1 == o.steps || stopped != 0;
    const bool look = (i + 1) % o.every == 0 || last;
    log.add(i, {loss, look ? held_out() : nan, results[1].item<double>(), lr, rate});
    char line[100];
    std::snprintf(line, sizeof line, "loss %.4f, %.0f tokens/s, %.1f GFLOP/s,", loss, rate,
                  6e-9 * static_cast<double>(size) * rate);
    progress.show(i, line);
    if (look) {
      nn::save_checkpoint(checkpoint, nn::state(model), optimizer, i + 1);
      log.plot(o.out / "loss.svg", "cross-entropy by step", 2);
    }
  }
  if (stopped != 0) {
    std::printf("stopped; the same command goes on from here\n");
    return;
  }

  const std::pair<const char*, BlockType> files[] = {
      {"f16", BlockType::f16}, {"q8_0", BlockType::q8_0}, {"q4_0", BlockType::q4_0}};
  for (const auto& [name, type] : files) {
    const fs::path path = o.out / (std::string("model-") + name + ".gguf");
    export_gguf(path, model, text.tokenizer, o.out.filename().string(), type);
    const double loss = held_out_loss(path, text.held_out, 64);
    std::printf("%s: %ju bytes, held-out loss %.4f nats a token, %.4f bits a byte\n", path.c_str(),
                static_cast<std::uintmax_t>(fs::file_size(path)), loss,
                loss / std::numbers::ln2 * static_cast<double>(text.held_out.size()) /
                    static_cast<double>(text.held_out_bytes));
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    train(parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gpt: %s\n", error.what());
    return 1;
  }
}
