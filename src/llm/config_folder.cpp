// config.json of a Hugging Face folder → ModelConfig. Defaults of absent fields are those of
// transformers' configuration classes. Read with care: fields may have any type.
#include "llm/config.h"

#include "base/error.h"
#include "formats/mapped_file.h"
#include "formats/quote.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <numbers>

namespace brisk {

namespace {

using Json = nlohmann::json;

// An object of the file whose fields are asked for by type; null counts as absent.
class Fields {
 public:
  Fields(const Json& json, const std::string& file) : json_(json), file_(file) {}

  const Json* find(const char* key) const {
    const auto at = json_.find(key);
    return at == json_.end() || at->is_null() ? nullptr : &*at;
  }
  std::int64_t size(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr) user_error("{}: \"{}\" is missing", file_, key);
    return size_of(*value, key);
  }
  std::int64_t size(const char* key, std::int64_t otherwise) const {
    const Json* value = find(key);
    return value ? size_of(*value, key) : otherwise;
  }
  double number(const char* key, double otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_number()) refuse(key, "a number");
    return value->get<double>();
  }
  bool flag(const char* key, bool otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean()) refuse(key, "true or false");
    return value->get<bool>();
  }
  std::string text(const char* key, const char* otherwise) const {
    const Json* value = find(key);
    if (value == nullptr) return otherwise;
    if (!value->is_string()) refuse(key, "a string");
    return value->get<std::string>();
  }
  Fields object(const char* key) const {
    const Json* value = find(key);
    if (value == nullptr || !value->is_object()) refuse(key, "an object");
    return {*value, file_};
  }
  [[noreturn]] void refuse(const char* key, const char* wanted) const {
    user_error("{}: \"{}\" is not {}", file_, key, wanted);
  }

 private:
  std::int64_t size_of(const Json& value, const char* key) const {
    if (!value.is_number_integer() || value.get<std::int64_t>() < 0) refuse(key, "a size");
    return value.get<std::int64_t>();
  }

  const Json& json_;
  const std::string& file_;
};

// Llama 3's scaling: frequencies of wavelengths beyond the original context / low are divided by
// `factor`, those below original / high stay, between them it is interpolated.
void scale_as_llama3(std::vector<double>& frequencies, const Fields& rope, double original) {
  const double factor = rope.number("factor", 1);
  const double low = rope.number("low_freq_factor", 1);
  const double high = rope.number("high_freq_factor", 4);
  for (double& frequency : frequencies) {
    const double turns = original * frequency / (2 * std::numbers::pi);  // in the original context
    const double keep = std::clamp((turns - low) / (high - low), 0.0, 1.0);
    frequency = (1 - keep) * frequency / factor + keep * frequency;
  }
}

class Reader {
 public:
  Reader(const Json& json, const std::string& name) : fields_(json, name) { config_.file = name; }

  ModelConfig read() {
    const std::string type = fields_.text("model_type", "");
    config_.architecture = find_architecture_of_folder(type);
    if (config_.architecture == nullptr) {
      user_error("{}: brisk runs {}, not {}", config_.file, architecture_names(), quote(type));
    }
    if (type == "gpt2") {
      read_gpt2();
    } else {
      read_llama();
    }
    want_activation(type);
    read_windows();
    complete(config_);
    return std::move(config_);
  }

 private:
  void read_llama() {
    config_.vocabulary = fields_.size("vocab_size");
    config_.width = fields_.size("hidden_size");
    config_.blocks = fields_.size("num_hidden_layers");
    config_.heads = fields_.size("num_attention_heads");
    config_.key_heads = fields_.size("num_key_value_heads", config_.heads);
    config_.head_width =
        fields_.size("head_dim", config_.heads > 0 ? config_.width / config_.heads : 0);
    config_.ffn_width = fields_.size("intermediate_size");
    config_.context = fields_.size("max_position_embeddings", 2048);
    config_.experts = fields_.size("num_local_experts", 0);
    config_.experts_used = fields_.size("num_experts_per_tok", 0);
    config_.norm_epsilon = fields_.number("rms_norm_eps", 1e-6);
    config_.tied = fields_.flag("tie_word_embeddings", config_.architecture->name == "gemma2");
    config_.attention_cap = fields_.number("attn_logit_softcapping", 0);
    config_.logit_cap = fields_.number("final_logit_softcapping", 0);
    const double scale = static_cast<double>(config_.head_width);
    config_.attention_scale =
        1 / std::sqrt(std::max(fields_.number("query_pre_attn_scalar", scale), 1e-9));
    if (config_.head_width >= 1 && config_.head_width <= 1 << 20) read_rotary();
  }

  void read_gpt2() {
    config_.vocabulary = fields_.size("vocab_size");
    config_.width = fields_.size("n_embd");
    config_.blocks = fields_.size("n_layer");
    config_.heads = config_.key_heads = fields_.size("n_head");
    config_.head_width = config_.heads > 0 ? config_.width / config_.heads : 0;
    config_.ffn_width = fields_.size("n_inner", std::min(config_.width, INT64_MAX / 4) * 4);
    config_.context = fields_.size("n_positions", 1024);
    config_.norm_epsilon = fields_.number("layer_norm_epsilon", 1e-5);
    config_.tied = true;
    config_.attention_scale =
        1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(config_.head_width, 1)));
    if (fields_.flag("scale_attn_by_inverse_layer_idx", false) ||
        !fields_.flag("scale_attn_weights", true)) {
      user_error("{}: this scaling of the attention is not supported", config_.file);
    }
  }

  // transformers 5 keeps all of it in rope_parameters; before, rope_theta beside rope_scaling.
  void read_rotary() {
    const double base = fields_.number("rope_theta", 10000);
    if (fields_.find("rope_parameters") != nullptr)
      return read_rotary(fields_.object("rope_parameters"), base);
    if (fields_.find("rope_scaling") != nullptr)
      return read_rotary(fields_.object("rope_scaling"), base);
    config_.rotary = rotary_frequencies(config_.head_width, base);
  }
  void read_rotary(const Fields& rope, double base) {
    config_.rotary = rotary_frequencies(config_.head_width, rope.number("rope_theta", base));
    const std::string type = rope.text("rope_type", rope.text("type", "default").c_str());
    if (type == "linear") {
      for (double& frequency : config_.rotary) frequency /= rope.number("factor", 1);
    } else if (type == "llama3") {
      const auto original =
          rope.number("original_max_position_embeddings", static_cast<double>(config_.context));
      scale_as_llama3(config_.rotary, rope, original);
    } else if (type != "default") {
      user_error("{}: rotary scaling {} is not supported", config_.file, quote(type));
    }
  }

  void want_activation(const std::string& type) {
    const std::string name =
        type == "gpt2" ? fields_.text("activation_function", "gelu_new")
                       : fields_.text("hidden_activation", fields_.text("hidden_act", "").c_str());
    // Gemma's early files say "gelu" and mean its tanh form, as transformers does.
    const bool known = config_.architecture->gelu
                           ? name == "gelu_new" || name == "gelu_pytorch_tanh" || name.empty() ||
                                 (type == "gemma2" && name == "gelu")
                           : name == "silu" || name == "swish" || name.empty();
    if (!known) user_error("{}: activation {} is not supported", config_.file, quote(name));
  }

  void read_windows() {
    const std::int64_t window =
        fields_.flag("use_sliding_window", true) ? fields_.size("sliding_window", 0) : 0;
    const Json* types = fields_.find("layer_types");
    if (types != nullptr && !types->is_array()) fields_.refuse("layer_types", "a list");
    const std::int64_t first_full = fields_.size("max_window_layers", 0);
    for (std::int64_t i = 0; i < std::min<std::int64_t>(config_.blocks, 4096); ++i) {
      bool sliding = true;
      if (types != nullptr) {
        const auto at = static_cast<std::size_t>(i);
        if (at >= types->size() || !(*types)[at].is_string()) {
          fields_.refuse("layer_types", "a name for each layer");
        }
        sliding = (*types)[at].get<std::string>() == "sliding_attention";
      } else if (config_.architecture->name == "gemma2") {
        sliding = i % 2 == 0;
      } else if (first_full > 0) {  // Qwen 2: the first layers see everything
        sliding = i >= first_full;
      }
      config_.windows.push_back(sliding ? window : 0);
    }
  }

  Fields fields_;
  ModelConfig config_;
};

}  // namespace

ModelConfig config_from_json(std::string_view text, const std::string& name) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) user_error("{}: not a JSON object", name);
  return Reader(json, name).read();
}

ModelConfig config_from_folder(const std::filesystem::path& folder) {
  const MappedFile file = MappedFile::open(folder / "config.json");
  const auto bytes = file.bytes();
  return config_from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file.path());
}

}  // namespace brisk
