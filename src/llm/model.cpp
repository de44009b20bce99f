#include "llm/model.h"

#include "base/error.h"
#include "brisk/create.h"
#include "brisk/functions.h"
#include "formats/gguf.h"
#include "llm/tokenizer_load.h"
#include "tensor/realize.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>

namespace brisk {

namespace {

std::unique_ptr<const Tokenizer> load_tokenizer(const ModelFile& file) {
  if (const GgufFile* gguf = file.gguf()) {
    if (gguf->find("tokenizer.ggml.model") == nullptr) return nullptr;
    return std::make_unique<const Tokenizer>(tokenizer_spec_from_gguf(*gguf));
  }
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt"}) {
    if (std::filesystem::exists(file.folder() / name)) {
      return std::make_unique<const Tokenizer>(tokenizer_spec_from_folder(file.folder()));
    }
  }
  return nullptr;
}

// Prompts up to this length are bound by reading the matrices; longer ones by arithmetic.
constexpr std::int64_t few_tokens = 8;

constexpr int settled = 32;  // steps of one token, after which there will be many more

std::int64_t context_for(const Model& model, const SessionOptions& options) {
  if (options.context < 1) user_error("a context of {} tokens is too small", options.context);
  if (options.batch && *options.batch < 1)
    user_error("a batch of {} tokens is too small", *options.batch);
  return std::min(options.context, model.config().context);
}

Rounding rounding_of(const SessionOptions& options) {
  return options.round_activations ? Rounding::bytes : Rounding::none;
}

const Weight& first_matrix(const Model& model) {
  const BlockWeights& block = model.weights().blocks.at(0);
  return (block.query.weight ? block.query : block.query_key_value).weight;
}

Rounding rounding_of_prompts(const Model& model, const SessionOptions& options) {
  const bool halves = executor().has_cheap_halves() && first_matrix(model).half() != DType::none;
  return options.round_activations && halves ? Rounding::halves : rounding_of(options);
}

std::int64_t batch_of(const SessionOptions& options, Rounding rounding) {
  return options.batch.value_or(rounding == Rounding::halves ? 2048 : 512);
}

}  // namespace

// Keys and values of a quantised model want more digits than its products, and not their range.
DType cache_dtype(const Model& model, const SessionOptions& options) {
  if (options.cache_dtype) return *options.cache_dtype;
  if (rounding_of_prompts(model, options) != Rounding::halves) return DType::float32;
  return first_matrix(model).type == BlockType::bf16 ? DType::bfloat16 : DType::float16;
}

Model::Model(ModelFile file) : file_(std::move(file)) {}

Model Model::load(const std::filesystem::path& path) { return load(ModelFile::open(path)); }

Model Model::load(ModelFile file) {
  const auto start = std::chrono::steady_clock::now();
  Model model(std::move(file));
  model.ahead_ = std::make_unique<MapAhead>(model.file_.mapped(), model.file_.owner());
  model.large_pages_ = std::make_unique<LargePages>(model.file_.mapped(), model.file_.owner());
  model.config_ = model.file_.config();
  model.weights_ = load_weights(model.file_, model.config_);
  model.tokenizer_ = load_tokenizer(model.file_);
  if (model.tokenizer_ && model.tokenizer_->size() > model.config_.vocabulary) {
    user_error("{}: its tokenizer has {} tokens, its embedding {}", model.file_.name(),
               model.tokenizer_->size(), model.config_.vocabulary);
  }
  model.load_seconds_ =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return model;
}

Session::Session(const Model& model, const SessionOptions& options)
    : model_(model),
      rounding_(rounding_of(options)),
      prompt_rounding_(rounding_of_prompts(model, options)),
      cache_(model.config(), context_for(model, options), cache_dtype(model, options)),
      transformer_(model.config(), model.weights(), cache_),
      batch_(std::min(batch_of(options, prompt_rounding_), cache_.context)),
      tokens_(empty({batch_}, DType::int32)),
      chosen_(empty({1}, DType::int32)),
      position_variable_(Dim::variable("position", 0, cache_.context - 1)),
      few_variable_(batch_ > 1 ? Dim::variable("tokens", 1, std::min(batch_, few_tokens)) : Dim(1)),
      count_variable_(batch_ > 1 ? Dim::variable("tokens", 1, batch_) : Dim(1)) {}

ModelStep& Session::one_step() {
  if (!decode_) {
    const auto output = transformer_(tokens_.narrow(0, 0, 1), position_variable_, false, rounding_);
    decode_.emplace(std::vector{output.logits}, lies_on_engine(tokens_));
  }
  return *decode_;
}

// Reads a token and leaves the likeliest after it in its place; gives it too, or -1 where the
// logits are not usable.
ModelStep& Session::likeliest_step() {
  if (!likeliest_) {
    const Tensor logits = transformer_(chosen_, position_variable_, false, rounding_).logits;
    const ValuesIndices most = logits.max(1);
    const Tensor best = most.indices.cast(DType::int32);
    const Tensor usable = most.values.abs() < std::numeric_limits<float>::infinity();
    likeliest_.emplace(std::vector{where(usable, best, -1), chosen_.store({0}, best)},
                       lies_on_engine(chosen_));
    for (auto& copy : chosen_copies_) {
      if (const Buffer* buffer = likeliest_->memory(0))
        copy = buffer->device().host_copy(sizeof(TokenId));
    }
  }
  return *likeliest_;
}

ModelStep& Session::few_step() {
  if (!few_) {
    const auto output =
        transformer_(tokens_.narrow(0, 0, few_variable_), position_variable_, false, rounding_);
    few_.emplace(std::vector{output.logits}, lies_on_engine(tokens_));
  }
  return *few_;
}

ModelStep& Session::prompt_step(bool every_row) {
  std::optional<ModelStep>& step = every_row ? trace_ : prompt_;
  if (!step) {
    const auto output = transformer_(tokens_.narrow(0, 0, count_variable_), position_variable_,
                                     every_row, prompt_rounding_);
    std::vector<Tensor> wanted = {output.logits};
    if (every_row) wanted.push_back(output.first_block);
    step.emplace(wanted, lies_on_engine(tokens_));
  }
  return *step;
}

DType Session::prompt_dtype() const {
  const Weight& matrix = first_matrix(model_);
  if (prompt_rounding_ == Rounding::halves) return matrix.half();
  const bool quantised = block_info(matrix.type).dtype == DType::none;
  return prompt_rounding_ == Rounding::bytes && quantised ? DType::int8 : DType::float32;
}

void Session::want(std::span<const TokenId> tokens) const {
  if (tokens.empty()) user_error("a step wants at least one token");
  for (const TokenId token : tokens) {
    if (token < 0 || token >= model_.config().vocabulary) {
      user_error("token {} is outside the vocabulary of {}", token, model_.config().vocabulary);
    }
  }
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count > context() - position_) {
    user_error("the context of {} tokens is full: {} are in it and {} more do not fit", context(),
               position_, count);
  }
}

ModelStep& Session::step_of(std::int64_t count) {
  return count == 1 ? one_step() : count <= few_tokens ? few_step() : prompt_step(false);
}

std::unordered_map<std::string, std::int64_t> Session::load(std::span<const TokenId> tokens) {
  std::vector<std::int32_t> ids(static_cast<std::size_t>(batch_));
  std::copy(tokens.begin(), tokens.end(), ids.begin());
  tokens_.copy_from(std::as_bytes(std::span(ids)));
  return {{"position", position_}, {"tokens", static_cast<std::int64_t>(tokens.size())}};
}

void Session::count_decoded() {
  if (++decoded_ == settled && executor().computes_in_place()) model_.settle();
}

ModelStep& Session::run(std::span<const TokenId> tokens, bool every_row) {
  const auto variables = load(tokens);
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count == 1) count_decoded();
  ModelStep& step = every_row ? prompt_step(true) : step_of(count);
  step.run(variables);
  position_ += count;
  return step;
}

std::vector<Plan::KernelInfo> Session::profile(std::span<const TokenId> tokens) {
  want(tokens);
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count > batch_)
    user_error("a profile of {} tokens is longer than the batch {}", count, batch_);
  return step_of(count).timed_run(load(tokens));
}

std::vector<float> Session::advance(std::span<const TokenId> tokens,
                                    const std::function<bool()>& go_on) {
  want(tokens);
  const std::int64_t before = position_;
  while (static_cast<std::int64_t>(tokens.size()) > batch_) {
    run(tokens.first(static_cast<std::size_t>(batch_)), false);
    tokens = tokens.subspan(static_cast<std::size_t>(batch_));
    if (go_on && !go_on()) {
      position_ = before;
      return {};
    }
  }
  return run(tokens, false).read(0, model_.config().vocabulary);
}

void Session::follow_likeliest(TokenId token, std::int64_t most,
                               const std::function<bool(TokenId)>& on_token) {
  want({&token, 1});
  chosen_.copy_from(std::as_bytes(std::span(&token, 1)));
  ModelStep& step = likeliest_step();
  const std::int64_t first = position_;
  const std::int64_t limit = std::min(most, context() - first);
  const std::int64_t ahead = chosen_copies_[0] ? 1 : 0;
  const auto copy_of = [&](std::int64_t i) { return chosen_copies_[i % 2].get(); };
  std::int64_t started = 0;
  for (std::int64_t i = 0; i < limit; ++i) {
    for (; started <= std::min(i + ahead, limit - 1); ++started) {
      count_decoded();
      step.run({{"position", first + started}});
      if (ahead > 0) copy_of(started)->start(*step.memory(0), 0);
    }
    TokenId chosen = -1;
    if (ahead > 0) {
      std::memcpy(&chosen, copy_of(i)->wait().data(), sizeof(chosen));
    } else {
      chosen = step.read_number(0);
    }
    position_ = first + i + 1;
    if (chosen < 0) user_error("a logit is not finite; the model's output is not usable");
    if (!on_token(chosen)) return;
  }
}

Session::Trace Session::trace(std::span<const TokenId> tokens) {
  want(tokens);
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count > batch_) user_error("a trace of {} tokens is longer than the batch {}", count, batch_);
  const ModelStep& step = run(tokens, true);
  return {step.read(0, count * model_.config().vocabulary),
          step.read(1, count * model_.config().width)};
}

void Session::rewind(std::int64_t position) {
  if (position < 0 || position > position_) {
    user_error("rewind to {}: the session holds {} tokens", position, position_);
  }
  position_ = position;
}

}  // namespace brisk
