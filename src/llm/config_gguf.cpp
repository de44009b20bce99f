// GGUF metadata → ModelConfig. Keys are "ARCHITECTURE.key"; what may be absent has the default of
// the format's writers.
#include "llm/config.h"

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/quote.h"

#include <cmath>

namespace brisk {

namespace {

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) {}

  ModelConfig read() {
    const std::string_view name = file_.get("general.architecture").string();
    config_.file = file_.name();
    config_.architecture = find_architecture_of_gguf(name);
    if (config_.architecture == nullptr) {
      user_error("{}: brisk runs {}, not {}", file_.name(), architecture_names(), quote(name));
    }
    prefix_ = std::string(name) + ".";
    config_.context = size("context_length");
    config_.width = size("embedding_length");
    config_.blocks = size("block_count");
    config_.ffn_width = size("feed_forward_length");
    config_.heads = size("attention.head_count");
    config_.key_heads = size("attention.head_count_kv", config_.heads);
    const std::int64_t heads = std::max<std::int64_t>(config_.heads, 1);
    config_.head_width = size("attention.key_length", config_.width / heads);
    if (size("attention.value_length", config_.head_width) != config_.head_width) {
      user_error("{}: keys and values of different widths are not supported", file_.name());
    }
    config_.experts = size("expert_count", 0);
    config_.experts_used = size("expert_used_count", 0);
    config_.norm_epsilon =
        number(config_.architecture->layer_norm ? "attention.layer_norm_epsilon"
                                                : "attention.layer_norm_rms_epsilon",
               1e-5);
    config_.attention_cap = number("attn_logit_softcapping", 0);
    config_.logit_cap = number("final_logit_softcapping", 0);
    config_.rotary_neighbours = config_.architecture->neighbours_in_gguf;
    read_attention();
    if (!config_.architecture->learned_positions) read_rotary();
    complete(config_);
    return std::move(config_);
  }

 private:
  const GgufValue* find(std::string_view key) const {
    return file_.find(prefix_ + std::string(key));
  }
  std::int64_t size(std::string_view key) const {
    return value_of(file_.get(prefix_ + std::string(key)));
  }
  std::int64_t size(std::string_view key, std::int64_t otherwise) const {
    const GgufValue* value = find(key);
    return value ? value_of(*value) : otherwise;
  }
  double number(std::string_view key, double otherwise) const {
    const GgufValue* value = find(key);
    return value ? value->number() : otherwise;
  }
  // Some keys are a number or one number a block; brisk wants the same for all.
  std::int64_t value_of(const GgufValue& value) const {
    if (value.type() != GgufType::array) return value.integer();
    const auto each = value.integers();
    for (const std::int64_t one : each) {
      if (one != each.front()) {
        user_error("{}: blocks of different sizes are not supported", file_.name());
      }
    }
    return each.empty() ? 0 : each.front();
  }

  void read_attention() {
    // Gemma 2's scale is that of its heads, but for the model of 46 blocks (27B), where it is that
    // of width / heads.
    const bool by_width = config_.architecture->name == "gemma2" && config_.blocks == 46;
    const double per_head = by_width
                                ? static_cast<double>(config_.width) /
                                      static_cast<double>(std::max<std::int64_t>(config_.heads, 1))
                                : static_cast<double>(config_.head_width);
    config_.attention_scale = 1 / std::sqrt(std::max(per_head, 1.0));
    const std::int64_t window = size("attention.sliding_window", 0);
    for (std::int64_t i = 0; i < std::min<std::int64_t>(config_.blocks, 4096); ++i) {
      const bool full = config_.architecture->name == "gemma2" && i % 2 == 1;
      config_.windows.push_back(full ? 0 : window);
    }
  }

  void read_rotary() {
    const double base = number("rope.freq_base", 10000);
    if (size("rope.dimension_count", config_.head_width) != config_.head_width) {
      user_error("{}: heads that are rotated in part are not supported", file_.name());
    }
    if (config_.head_width < 1 || config_.head_width > 1 << 20) return;  // complete() refuses it
    config_.rotary = rotary_frequencies(config_.head_width, base);
    const GgufValue* type = find("rope.scaling.type");
    const std::string_view scaling = type ? type->string() : "none";
    if (scaling == "linear") {
      const double factor = number("rope.scaling.factor", 1);
      for (double& frequency : config_.rotary) frequency /= factor;
    } else if (scaling != "none") {
      user_error("{}: rotary scaling {} is not supported", file_.name(), quote(scaling));
    }
  }

  const GgufFile& file_;
  std::string prefix_;
  ModelConfig config_;
};

}  // namespace

ModelConfig config_from_gguf(const GgufFile& file) { return Reader(file).read(); }

}  // namespace brisk
