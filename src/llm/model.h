// A language model ready to run, and a session with it. Input: a GGUF file or a Hugging Face
// folder, then token ids; output: logits. A model's weights stay in the file's mapping and are
// shared by its sessions; a session holds a cache and the tokens so far, and is used by one thread.
#pragma once

#include "formats/large_pages.h"
#include "formats/map_ahead.h"
#include "llm/config.h"
#include "llm/kv_cache.h"
#include "llm/model_step.h"
#include "llm/tokenizer.h"
#include "llm/transformer.h"
#include "llm/weights.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace brisk {

class Model {
 public:
  /// UserError of one line where the file is no model that brisk runs.
  static Model load(const std::filesystem::path& path);
  static Model load(ModelFile file);

  const ModelFile& file() const { return file_; }
  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }
  /// Null for a folder without tokenizer files.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  double load_seconds() const { return load_seconds_; }
  /// That the weights will be read over and over where they lie.
  void settle() const { large_pages_->start(); }

 private:
  explicit Model(ModelFile file);

  ModelFile file_;
  ModelConfig config_;
  ModelWeights weights_;
  std::unique_ptr<const Tokenizer> tokenizer_;
  std::unique_ptr<MapAhead> ahead_;
  std::unique_ptr<LargePages> large_pages_;
  double load_seconds_ = 0;
};

struct SessionOptions {
  std::int64_t context = 4096;  // at most; never more than the model's
  /// Tokens of a prompt computed at once; where not given, 512, or 2048 if they are rounded to
  /// halves.
  std::optional<std::int64_t> batch = {};
  /// Where not given, float32, or 16 bits if prompts are rounded to halves.
  std::optional<DType> cache_dtype = {};
  /// Round what meets matrices of fewer bits, as peers do, for speed (Rounding: to bytes, or where
  /// the device multiplies matrices of 16 bits, prompts to these); or compute in float32
  /// throughout.
  bool round_activations = true;
};

/// The dtype that a session's cache has.
DType cache_dtype(const Model& model, const SessionOptions& options);

class Session {
 public:
  /// The model must outlive it. UserError for options that are out of range.
  explicit Session(const Model& model, const SessionOptions& options = {});
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Model& model() const { return model_; }
  std::int64_t context() const { return cache_.context; }
  /// Tokens in the cache.
  std::int64_t position() const { return position_; }

  /// Computes the tokens after those before; gives the logits that follow the last of them.
  /// UserError where the context cannot hold them, or for an id outside the vocabulary; the session
  /// stays as it was. It does too where `go_on`, asked between batches, says no; nothing is given
  /// then.
  std::vector<float> advance(std::span<const TokenId> tokens,
                             const std::function<bool()>& go_on = {});
  /// Greedy decoding: computes the token, then the likeliest one after it (of equals the lowest
  /// id), and so on, each chosen on the device; where that can run ahead of the host it does, so
  /// that it never waits. Hands over each chosen token until `on_token` says no, there were `most`
  /// of them or the context is full. The last one is not in the cache then. UserError where the
  /// greatest logit is not finite.
  void follow_likeliest(TokenId token, std::int64_t most,
                        const std::function<bool(TokenId)>& on_token);
  /// The same with the logits after each token, [tokens, vocabulary], and the hidden state after
  /// the first block, [tokens, width]; at most `batch` tokens.
  struct Trace {
    std::vector<float> logits;
    std::vector<float> first_block;
  };
  Trace trace(std::span<const TokenId> tokens);
  /// Forgets the tokens from `position` on.
  void rewind(std::int64_t position = 0);

  /// The type in which a prompt's values meet the matrices: one of 16 bits, int8, or float32.
  DType prompt_dtype() const;
  /// The step of one token, compiled when first asked for.
  const ModelStep& decode_step() { return step_of(1); }
  /// The step of follow_likeliest(): the likeliest token after one, int32 [1], or -1.
  ModelStep& likeliest_step();
  /// The step that `count` tokens take (at most `batch`): one, few or a whole prompt.
  ModelStep& step_of(std::int64_t count);
  /// Computes the tokens kernel by kernel, and forgets them again: what each kernel does and how
  /// long it took. At most `batch` tokens, on the engine.
  std::vector<Plan::KernelInfo> profile(std::span<const TokenId> tokens);

 private:
  void want(std::span<const TokenId> tokens) const;
  /// Leaves the tokens where steps read them; gives the variables of their step.
  std::unordered_map<std::string, std::int64_t> load(std::span<const TokenId> tokens);
  ModelStep& one_step();
  ModelStep& few_step();
  ModelStep& prompt_step(bool every_row);
  /// Notes a step of one token: after some of them the weights are worth a better place.
  void count_decoded();
  ModelStep& run(std::span<const TokenId> tokens, bool every_row);

  const Model& model_;
  Rounding rounding_, prompt_rounding_;
  KvCache cache_;
  Transformer transformer_;
  std::int64_t batch_;
  std::int64_t position_ = 0;
  int decoded_ = 0;  // steps of one token
  Tensor tokens_;    // int32 [batch], what the steps read
  Tensor chosen_;    // int32 [1], what the likeliest step reads and writes
  Dim position_variable_, few_variable_, count_variable_;
  // Of one token, of few (each matrix is read once and not packed), of a whole prompt.
  std::optional<ModelStep> decode_, likeliest_, few_, prompt_, trace_;
  // What likeliest steps have chosen, on its way to the host: of this one, and of the one after it.
  std::array<std::unique_ptr<HostCopy>, 2> chosen_copies_;
};

}  // namespace brisk
