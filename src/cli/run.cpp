// brisk run: text from a model, as it is made, on stdout; everything else on stderr.
#include <CLI/CLI.hpp>

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>
#include <random>

#include "base/error.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/onnx.h"
#include "llm/generate.h"

namespace brisk {

namespace {

struct RunOptions {
  std::string model;
  std::string prompt;
  std::int64_t tokens = 256;
  std::int64_t context = 4096;
  bool exact = false;
  SamplerOptions sampler;
  OnnxRun onnx;
  DeviceChoice device;
};

void write_text(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    user_error("writing the text: {}", std::strerror(errno));
  }
}

class Runner {
 public:
  explicit Runner(const RunOptions& options)
      : options_(options),
        model_(Model::load(model_path(options.model))),
        sampler_(options.sampler) {
    if (model_.tokenizer() == nullptr) {
      user_error("{}: there is no tokenizer beside this model", model_.file().name());
    }
    for (const std::string& warning : model_.tokenizer()->warnings()) {
      say("brisk: {}\n", warning);
    }
    say("{}: {}, {} blocks of width {}; loaded in {:.3f} s\n", model_.file().name(),
        model_.config().architecture->name, model_.config().blocks, model_.config().width,
        model_.load_seconds());
  }

  /// The only text of this run: its cache is no longer than it needs.
  void answer_once(const std::string& prompt) {
    const std::vector<TokenId> tokens = tokens_of(prompt);
    const std::int64_t made = options_.tokens < 0 ? options_.context : options_.tokens;
    // Lengths are powers of two, so that the kernels of one length serve many prompts.
    const auto wanted =
        std::bit_ceil(tokens.size() + static_cast<std::size_t>(std::min(made, options_.context)));
    open_session(std::max<std::int64_t>(static_cast<std::int64_t>(wanted), 512));
    answer(tokens, prompt.empty());
  }

  void interactive() {
    const bool terminal = ::isatty(STDIN_FILENO) == 1;
    if (terminal) {
      say("Type the beginning of a text and Enter. Ctrl-C stops it, Ctrl-D ends.\n");
    }
    std::string line;
    while (true) {
      if (terminal) say("> ");
      if (!std::getline(std::cin, line)) break;
      if (!session_) open_session(options_.context);
      try {
        answer(tokens_of(line), line.empty());
      } catch (const Exit&) {
        if (!terminal) throw;
        interrupt_.clear();
      } catch (const UserError& error) {  // a prompt too long for the context, …
        if (!terminal) throw;
        say("brisk: {}\n", error.what());
      }
    }
    if (terminal) say("\n");
    if (interrupt_.requested()) throw Exit{130};
    if (!session_ && !terminal) answer_once("");  // nothing to read: the model begins by itself
  }

 private:
  void open_session(std::int64_t context) {
    session_.emplace(model_, SessionOptions{.context = std::min(context, options_.context),
                                            .round_activations = !options_.exact});
  }

  std::vector<TokenId> tokens_of(const std::string& prompt) const {
    const Tokenizer& tokenizer = *model_.tokenizer();
    std::vector<TokenId> tokens = tokenizer.encode(prompt, true, true);
    if (!tokens.empty()) return tokens;
    if (tokenizer.bos() != no_token) return {tokenizer.bos()};
    if (tokenizer.eos() != no_token) return {tokenizer.eos()};
    user_error("{}: this model does not begin a text by itself; pass a prompt with -p",
               model_.file().name());
  }

  // One text; Exit where Ctrl-C ended it.
  void answer(const std::vector<TokenId>& tokens, bool at_start) {
    session_->rewind();
    sampler_.reset();
    GenerateOptions generation;
    generation.max_tokens = options_.tokens;
    generation.at_start = at_start;
    generation.on_text = [&](std::string_view text) {
      write_text(text);
      return !interrupt_.requested();
    };
    const Generated result = generate(*session_, tokens, sampler_, generation);
    write_text("\n");
    report(result);
    if (result.ended == Ended::by_caller) throw Exit{130};
  }

  void report(const Generated& result) const {
    const auto rate = [](std::int64_t tokens, double seconds) {
      return seconds > 0 ? static_cast<double>(tokens) / seconds : 0.0;
    };
    say("prompt {} tokens, {:.1f} tok/s; generated {} tokens, {:.1f} tok/s{}{}\n",
        result.prompt_tokens, rate(result.prompt_tokens, result.prompt_seconds),
        result.tokens.size(), rate(result.steps, result.step_seconds),
        options_.sampler.temperature > 0 ? fmt::format("; seed {}", options_.sampler.seed) : "",
        result.ended == Ended::by_context ? "; the context is full (--ctx)" : "");
  }

  const RunOptions& options_;
  Model model_;
  std::optional<Session> session_;
  Sampler sampler_;
  Interrupt interrupt_;
};

}  // namespace

void add_run(CLI::App& program) {
  auto options = std::make_shared<RunOptions>();
  RunOptions& o = *options;
  CLI::App* run =
      program.add_subcommand("run", "make text with a language model, or run an ONNX model");
  run->add_option("MODEL", o.model, "a GGUF file, a Hugging Face folder, or an .onnx file");
  CLI::Option* prompt = run->add_option(
      "-p,--prompt", o.prompt, "the beginning of the text; without it, lines are read from stdin");
  run->add_option("-n,--tokens", o.tokens, "tokens to make at most; -1: until the model ends")
      ->check(CLI::Range(std::int64_t{-1}, std::int64_t{1} << 40))
      ->capture_default_str();
  run->add_option("--ctx", o.context, "tokens that prompt and text may have together at most")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 28))
      ->capture_default_str();
  SamplerOptions& s = o.sampler;
  run->add_option("--temp", s.temperature, "0: always the likeliest token")->capture_default_str();
  run->add_option("--top-k", s.top_k, "only so many of the likeliest tokens; 0: all")
      ->capture_default_str();
  run->add_option("--top-p", s.top_p, "only the likeliest that together reach this probability")
      ->capture_default_str();
  run->add_option("--min-p", s.min_p, "only those of this share of the likeliest's probability")
      ->capture_default_str();
  run->add_option("--repeat-penalty", s.repeat_penalty, "makes tokens already there less likely")
      ->capture_default_str();
  CLI::Option* seed =
      run->add_option("--seed", s.seed, "one seed gives one text (default: another each time)");
  o.onnx.inputs.add_to(*run);
  run->add_option("--output", o.onnx.outputs,
                  "NAME or NAME=FILE (.npy, .pb): only these outputs, or values inside the graph")
      ->group("ONNX models");
  o.device.add_to(*run);
  add_exact(*run, o.exact);
  run->callback([options, prompt, seed] {
    if (seed->count() == 0) options->sampler.seed = std::random_device()();
    options->device.apply();
    if (is_onnx(options->model)) return run_onnx(options->model, options->onnx);
    Runner runner(*options);
    if (prompt->count() > 0) {
      runner.answer_once(options->prompt);
    } else {
      runner.interactive();
    }
  });
}

}  // namespace brisk
