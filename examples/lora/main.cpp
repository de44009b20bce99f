// Fine-tunes a language model on any text with low-rank adapters: the model's weights stay as they
// lie in its file, quantised or not; what is learned is a few small matrices beside them.
//
//   lora --model base.gguf --text notes.txt --out run             begins or goes on
//   brisk run run/merged.gguf -p "Once upon a time"
//
// The folder gets a checkpoint, log.csv and loss.svg, the adapters as Hugging Face's PEFT reads
// them (adapter_config.json, adapter_model.safetensors), and the model with the adapters in it.
#include <CLI/CLI.hpp>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>

#include "brisk/brisk.h"
#include "brisk/train.h"
#include "llm/adapters.h"

using namespace brisk;
namespace fs = std::filesystem;

namespace {

struct Options {
  fs::path model, out = "lora-run";
  std::vector<fs::path> text;
  AdapterOptions adapters;
  std::int64_t steps = 200, rows = 4, parts = 1, length = 128, every = 50, warm_up = 10;
  double lr = 1e-3, clip = 1, held_out = 0.05, peak = 0;
  std::uint64_t seed = 1;
  std::string merged = "f16";
};

const std::map<std::string, BlockType> merged_types = {{"f32", BlockType::f32},
                                                       {"f16", BlockType::f16},
                                                       {"q8_0", BlockType::q8_0},
                                                       {"q4_0", BlockType::q4_0}};

Options parse(int argc, char** argv) {
  Options o;
  CLI::App app("Fine-tunes a language model with low-rank adapters");
  app.option_defaults()->always_capture_default();
  app.add_option("--model", o.model, "GGUF file, or Hugging Face folder")->required();
  app.add_option("--text", o.text, "text files to learn from")->required();
  app.add_option("--out", o.out, "folder of the run");
  app.add_option("--rank", o.adapters.rank, "of the adapters");
  app.add_option("--alpha", o.adapters.alpha, "adapters count alpha / rank");
  app.add_option("--targets", o.adapters.targets, "matrices to adapt: q_proj, up_proj, …");
  app.add_option("--steps", o.steps);
  app.add_option("--rows", o.rows, "of a batch");
  app.add_option("--accumulate", o.parts, "batches of a step, whose gradients are added");
  app.add_option("--length", o.length, "tokens of a row");
  app.add_option("--lr", o.lr, "greatest learning rate; falls to a tenth along a cosine");
  app.add_option("--warm-up", o.warm_up, "steps over which the learning rate rises");
  app.add_option("--clip", o.clip, "greatest norm of the gradient");
  app.add_option("--held-out", o.held_out, "share of each text, at its end, not to learn from");
  app.add_option("--every", o.every, "steps between held-out losses and checkpoints");
  app.add_option("--seed", o.seed);
  app.add_option("--peak", o.peak, "operations a second of the device, for the share used");
  app.add_option("--merged", o.merged, "type of the matrices that adapters are merged into")
      ->check(CLI::IsMember(merged_types));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : 2);
  }
  return o;
}

// ---- text ---------------------------------------------------------------------------------------

struct Text {
  std::vector<TokenId> train, held_out;
};

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw UserError("cannot read '" + path.string() + "'; pass text files as --text");
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

Text read_text(const Options& o, const Tokenizer& tokenizer) {
  Text text;
  for (const fs::path& path : o.text) {
    const std::string all = contents(path);
    const auto at = static_cast<std::size_t>(static_cast<double>(all.size()) * (1 - o.held_out));
    const std::size_t split = std::min(all.find('\n', at), all.size());
    for (const auto& [part, to] : {std::pair(all.substr(0, split), &text.train),
                                   std::pair(all.substr(split), &text.held_out)}) {
      const std::vector<TokenId> tokens = tokenizer.encode(part, false);
      to->insert(to->end(), tokens.begin(), tokens.end());
    }
  }
  const auto least = static_cast<std::size_t>(o.rows * o.length + 1);
  if (std::min(text.train.size(), text.held_out.size()) < least)
    throw UserError("the text has " + std::to_string(text.train.size()) +
                    " tokens to learn from and " + std::to_string(text.held_out.size()) +
                    " held out, a batch " + std::to_string(least) +
                    ": give more text, or less --rows or --length");
  return text;
}

// Rows of tokens, each with the one that follows the last.
using Batch = std::vector<TokenId>;

void add_row(Batch& batch, const std::vector<TokenId>& tokens, std::int64_t begin,
             std::int64_t length) {
  batch.insert(batch.end(), tokens.begin() + begin, tokens.begin() + begin + length + 1);
}

// At places that follow from the seed and the batch's number alone.
Batch random_batch(const Options& o, const std::vector<TokenId>& tokens, std::int64_t number) {
  std::seed_seq both{o.seed & 0xffffffffU, o.seed >> 32, static_cast<std::uint64_t>(number)};
  std::mt19937_64 random(both);
  Batch batch;
  for (std::int64_t row = 0; row < o.rows; ++row)
    add_row(batch, tokens, static_cast<std::int64_t>(random() % (tokens.size() - o.length)),
            o.length);
  return batch;
}

// ---- training -----------------------------------------------------------------------------------

// The loss of the batch that lies in `text`, [rows, length + 1].
Tensor loss_of(const Transformer& model, const Adapters& adapters, const Tensor& text) {
  const std::int64_t length = text.shape()[1] - 1;
  const Tensor logits = model.rows(text.narrow(1, 0, length).contiguous(), std::cref(adapters));
  const Tensor next = text.narrow(1, 1, length).flatten().cast(DType::int64);
  return cross_entropy(logits.flatten(0, 1), next);
}

// The mean loss over the held-out text, at most 32 batches of it.
double held_out_loss(const Options& o, Step& step, Tensor text,
                     const std::vector<TokenId>& tokens) {
  const std::int64_t rows = std::min<std::int64_t>(
      32 * o.rows, (static_cast<std::int64_t>(tokens.size()) - 1) / o.length);
  double sum = 0;
  for (std::int64_t row = 0; row + o.rows <= rows; row += o.rows) {
    Batch batch;
    for (std::int64_t i = row; i < row + o.rows; ++i)
      add_row(batch, tokens, i * o.length, o.length);
    text.copy_from(std::as_bytes(std::span(batch)));
    sum += step()[0].item<double>();
  }
  return sum / static_cast<double>(rows / o.rows);
}

volatile std::sig_atomic_t stopped = 0;

void train(const Options& o) {
  const Model model = Model::load(o.model);
  if (model.tokenizer() == nullptr) throw UserError(o.model.string() + " has no tokenizer");
  const Text text = read_text(o, *model.tokenizer());
  fs::create_directories(o.out);
  manual_seed(o.seed);
  const Transformer transformer(model.config(), model.weights(), o.length);
  const Adapters adapters(model, o.adapters);
  const std::vector<Tensor> parameters = adapters.parameters();
  std::int64_t size = 0;
  for (const Tensor& parameter : parameters) size += parameter.shape()[0] * parameter.shape()[1];
  std::printf("%zu tokens to learn from, %zu held out; %lld parameters of adapters\n",
              text.train.size(), text.held_out.size(), static_cast<long long>(size));

  nn::Optimizer optimizer(parameters, nn::AdamW{.lr = o.lr, .weight_decay = 0});
  nn::GradAccumulator sums(parameters);
  Tensor batch = empty({o.rows, o.length + 1}, DType::int32);
  Step part([&] {
    const Tensor loss = loss_of(transformer, adapters, batch);
    loss.backward();
    sums.add();
    return loss;
  });
  Step update([&] {
    sums.take(o.parts);
    const Tensor norm = nn::clip_grad_norm(parameters, o.clip);
    optimizer.step();
    optimizer.zero_grad();
    return norm;
  });
  Step look([&] {
    const NoGrad guard;
    return loss_of(transformer, adapters, batch);
  });

  const fs::path checkpoint = o.out / "checkpoint.safetensors";
  std::int64_t first = 0;
  if (fs::exists(checkpoint)) {
    first = nn::load_checkpoint(checkpoint, adapters.state(), optimizer);
    std::printf("going on from step %lld\n", static_cast<long long>(first));
  }
  std::printf("held-out loss %.4f\n", held_out_loss(o, look, batch, text.held_out));

  nn::RunLog log(o.out / "log.csv", {"loss", "held_out", "norm", "lr", "tokens_per_second"}, first);
  nn::Loader<Batch> batches([&](std::int64_t i) { return random_batch(o, text.train, i); },
                            first * o.parts, o.steps * o.parts);
  nn::Meter meter({.most_operations = o.peak});
  nn::Progress progress(o.steps, first);
  std::signal(SIGINT, [](int) { stopped = 1; });
  for (std::int64_t i = first; i < o.steps && stopped == 0; ++i) {
    double loss = 0;
    for (std::int64_t p = 0; p < o.parts; ++p) {
      const Batch next = *batches.next();
      batch.copy_from(std::as_bytes(std::span(next)));
      loss += part()[0].item<double>() / static_cast<double>(o.parts);
    }
    const double lr = nn::warmup(i, o.warm_up) * nn::cosine(i, o.steps, o.lr, o.lr / 10);
    optimizer.set_lr(lr);
    const double norm = update()[0].item<double>();
    meter.add(static_cast<double>(o.parts * o.rows * o.length));
    const bool save = (i + 1) % o.every == 0 || i + 1 == o.steps || stopped != 0;
    const double held_out = save ? held_out_loss(o, look, batch, text.held_out)
                                 : std::numeric_limits<double>::quiet_NaN();
    log.add(i, {loss, held_out, norm, lr, meter.rate()});
    char line[32];
    std::snprintf(line, sizeof line, "loss %.4f, ", loss);
    progress.show(i, line + meter.text() + ",");
    if (!save) continue;
    nn::save_checkpoint(checkpoint, adapters.state(), optimizer, i + 1);
    log.plot(o.out / "loss.svg", "cross-entropy by step", 2);
  }
  if (stopped != 0) {
    std::printf("stopped; the same command goes on from here\n");
    return;
  }
  std::printf("held-out loss %.4f\n", held_out_loss(o, look, batch, text.held_out));

  adapters.save(o.out);
  const bool folder = model.file().gguf() == nullptr;
  const fs::path merged = o.out / (folder ? "merged" : "merged.gguf");
  adapters.merge(merged, merged_types.at(o.merged));
  std::printf("adapters in %s; merged into %s\n", o.out.c_str(), merged.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    train(parse(argc, argv));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lora: %s\n", error.what());
    return 1;
  }
}
