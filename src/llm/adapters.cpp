#include "llm/adapters.h"

#include "base/error.h"
#include "brisk/autograd.h"
#include "brisk/create.h"
#include "brisk/functional.h"
#include "formats/file_writer.h"
#include "formats/gguf.h"
#include "formats/mapped_file.h"
#include "formats/quantise.h"
#include "formats/quote.h"
#include "formats/safetensors.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <list>
#include <set>

namespace brisk {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view prefix = "base_model.model.";

struct Matrix {
  const char* part;
  WeightBias BlockWeights::*weight;
};
constexpr Matrix matrices[] = {
    {"attn_q", &BlockWeights::query},
    {"attn_k", &BlockWeights::key},
    {"attn_v", &BlockWeights::value},
    {"attn_qkv", &BlockWeights::query_key_value},
    {"attn_output", &BlockWeights::attention_output},
    {"ffn_gate", &BlockWeights::gate},
    {"ffn_up", &BlockWeights::up},
    {"ffn_down", &BlockWeights::down},
};

// "q_proj" is the end of "model.layers.0.self_attn.q_proj".
bool ends_in(std::string_view name, std::string_view target) {
  return name.ends_with(target) &&
         (name.size() == target.size() || name[name.size() - target.size() - 1] == '.');
}

std::string without_suffix(std::string name) {
  return name.substr(0, name.size() - std::string_view(".weight").size());
}

// Rows of GGUF files whose rotary pairs are neighbours: head by head, 2i from i and 2i + 1 from
// i + half of the other form.
Tensor in_folder_order(const Tensor& rows, std::int64_t heads) {
  if (heads == 0) return rows;
  return rows.reshape({heads, -1, 2, rows.size(1)}).transpose(1, 2).reshape(rows.dims());
}
Tensor in_gguf_order(const Tensor& rows, std::int64_t heads) {
  if (heads == 0) return rows;
  return rows.reshape({heads, 2, -1, rows.size(1)}).transpose(1, 2).reshape(rows.dims());
}

std::vector<std::byte> encoded(const std::vector<float>& values, BlockType type) {
  const BlockInfo& info = block_info(type);
  const auto count = static_cast<std::int64_t>(values.size());
  std::vector<std::byte> bytes(static_cast<std::size_t>(count / info.values * info.bytes));
  encode_block_row(type, values.data(), bytes.data(), count);
  return bytes;
}

void write_text(const fs::path& path, const std::string& text) {
  FileWriter file(path);
  file.append(std::as_bytes(std::span(text)));
  file.commit();
}

AdapterOptions read_options(const fs::path& path) {
  const MappedFile file = MappedFile::open(path);
  const auto bytes = file.bytes();
  const auto json = nlohmann::json::parse(
      reinterpret_cast<const char*>(bytes.data()),
      reinterpret_cast<const char*>(bytes.data()) + bytes.size(), nullptr, false);
  AdapterOptions options;
  const auto whole = [&] {
    if (!json.is_object() || json.value("peft_type", "") != "LORA") return false;
    if (!json["r"].is_number_integer() || !json["lora_alpha"].is_number()) return false;
    options.rank = json["r"].get<std::int64_t>();
    options.alpha = json["lora_alpha"].get<double>();
    options.targets.clear();
    if (!json["target_modules"].is_array()) return false;
    for (const auto& target : json["target_modules"]) {
      if (!target.is_string()) return false;
      options.targets.push_back(target.get<std::string>());
    }
    return true;
  };
  bool read = false;
  try {
    read = json.is_object() && json.contains("r") && json.contains("lora_alpha") &&
           json.contains("target_modules") && whole();
  } catch (const nlohmann::json::exception&) {
    read = false;
  }
  if (!read)
    user_error(
        "{}: no configuration of adapters: it wants peft_type LORA, r, lora_alpha and a list "
        "of target_modules",
        path.string());
  return options;
}

}  // namespace

Adapters::Adapters(const Model& model, AdapterOptions options)
    : model_(model), options_(std::move(options)) {
  if (options_.rank < 1) user_error("adapters want a rank of at least 1, got {}", options_.rank);
  if (options_.targets.empty()) user_error("adapters want at least one matrix to adapt");
  const ModelConfig& config = model.config();
  const bool in_gguf = model.file().gguf() != nullptr;
  std::set<std::string> found;
  for (std::size_t i = 0; i < model.weights().blocks.size(); ++i) {
    for (const Matrix& matrix : matrices) {
      const WeightBias& weight = model.weights().blocks[i].*matrix.weight;
      if (!weight.weight) continue;
      const auto block = static_cast<std::int64_t>(i);
      const std::string in_folder =
          folder_tensor_name(*config.architecture, matrix.part, "weight", block);
      const std::string name = without_suffix(in_folder);
      const auto target = std::find_if(options_.targets.begin(), options_.targets.end(),
                                       [&](const std::string& t) { return ends_in(name, t); });
      if (target == options_.targets.end()) continue;
      found.insert(*target);
      const std::string_view part = matrix.part;
      const bool turned = in_gguf && config.architecture->neighbours_in_gguf;
      const std::vector<std::int64_t>& shape = weight.weight.shape;
      Pair pair{nn::kaiming_uniform({options_.rank, shape[1]}, nn::Fan::in, std::sqrt(1.0 / 3)),
                zeros({shape[0], options_.rank}),
                &weight.weight,
                name,
                in_gguf ? gguf_tensor_name(part, "weight", block) : in_folder,
                !turned            ? 0
                : part == "attn_q" ? config.heads
                : part == "attn_k" ? config.key_heads
                                   : 0};
      for (Tensor* each : {&pair.a, &pair.b}) {
        *each = each->realize();
        each->requires_grad_();
      }
      pairs_.emplace(std::pair(std::string(part), block), std::move(pair));
    }
  }
  for (const std::string& target : options_.targets) {
    if (found.count(target) != 0) continue;
    std::set<std::string> names;
    for (const Matrix& matrix : matrices) {
      const WeightBias& weight = model.weights().blocks.at(0).*matrix.weight;
      if (!weight.weight) continue;
      const std::string name =
          without_suffix(folder_tensor_name(*config.architecture, matrix.part, "weight", 0));
      names.insert(name.substr(name.find(".0.") + 3));
    }
    user_error("{}: no matrix is called {}; those that adapters take are {}", model.file().name(),
               quote(target), fmt::join(names, ", "));
  }
}

Tensor Adapters::operator()(std::string_view part, std::int64_t block, const Tensor& x) const {
  const auto found = pairs_.find(std::pair(std::string(part), block));
  if (found == pairs_.end()) return {};
  return linear(linear(x, found->second.a), found->second.b) * scale();
}

std::vector<Tensor> Adapters::parameters() const {
  std::vector<Tensor> list;
  for (const auto& [place, pair] : pairs_) list.insert(list.end(), {pair.a, pair.b});
  return list;
}

nn::State Adapters::state() const {
  nn::State state;
  for (const auto& [place, pair] : pairs_) {
    state[std::string(prefix) + pair.name + ".lora_A.weight"] = pair.a;
    state[std::string(prefix) + pair.name + ".lora_B.weight"] = pair.b;
  }
  return state;
}

void Adapters::save(const fs::path& folder) const {
  const NoGrad guard;
  fs::create_directories(folder);
  nn::State state;
  for (const auto& [place, pair] : pairs_) {
    state[std::string(prefix) + pair.name + ".lora_A.weight"] = pair.a.detach();
    state[std::string(prefix) + pair.name + ".lora_B.weight"] =
        in_folder_order(pair.b.detach(), pair.heads).contiguous();
  }
  nn::save_state(state, folder / "adapter_model.safetensors");
  const nlohmann::json config = {
      {"peft_type", "LORA"},
      {"task_type", "CAUSAL_LM"},
      {"base_model_name_or_path", model_.file().name()},
      {"r", options_.rank},
      {"lora_alpha", options_.alpha},
      {"lora_dropout", 0.0},
      {"bias", "none"},
      {"fan_in_fan_out", model_.config().architecture->transposed_in_folder},
      {"inference_mode", true},
      {"target_modules", options_.targets}};
  write_text(folder / "adapter_config.json", config.dump(2) + "\n");
}

Adapters Adapters::load(const Model& model, const fs::path& folder) {
  Adapters adapters(model, read_options(folder / "adapter_config.json"));
  const NoGrad guard;
  nn::State stored = nn::read_state(folder / "adapter_model.safetensors");
  for (const auto& [place, pair] : adapters.pairs_) {
    const auto b = stored.find(std::string(prefix) + pair.name + ".lora_B.weight");
    if (pair.heads == 0 || b == stored.end() || b->second.shape() != pair.b.shape()) continue;
    b->second = in_gguf_order(b->second, pair.heads).contiguous();
  }
  nn::copy_state(stored, adapters.state());
  return adapters;
}

// ---- merging ------------------------------------------------------------------------------------

std::vector<float> Adapters::merged(const Pair& pair) const {
  const NoGrad guard;
  Tensor sum = pair.weight->value() + matmul(pair.b.detach(), pair.a.detach()) * scale();
  if (pair.weight->transposed) sum = sum.transpose(0, 1);
  return sum.contiguous().to_vector<float>();
}

void Adapters::merge(const fs::path& path, BlockType type) const {
  if (model_.file().gguf() != nullptr) return merge_gguf(path, type);
  merge_folder(path);
}

void Adapters::merge_gguf(const fs::path& path, BlockType type) const {
  const GgufFile& file = *model_.file().gguf();
  GgufWriter writer(file.alignment());
  for (const GgufEntry& entry : file.metadata()) {
    if (entry.key != "general.alignment") writer.add(entry.key, entry.value);
  }
  std::list<std::vector<std::byte>> kept;  // until the file is written
  for (const GgufTensor& tensor : file.tensors()) {
    const auto pair = std::find_if(pairs_.begin(), pairs_.end(), [&](const auto& each) {
      return each.second.file_name == tensor.name;
    });
    if (pair == pairs_.end()) {
      writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.bytes);
      continue;
    }
    const bool whole = tensor.shape.back() % block_info(type).values == 0;
    const BlockType stored = whole ? type : BlockType::f16;
    writer.add_tensor(tensor.name, tensor.shape, stored,
                      kept.emplace_back(encoded(merged(pair->second), stored)));
  }
  writer.write(path);
}

void Adapters::merge_folder(const fs::path& path) const {
  fs::create_directories(path);
  SafetensorsWriter writer;
  std::list<std::vector<std::byte>> kept;
  for (const StoredTensor& tensor : model_.file().tensors()) {
    const auto pair = std::find_if(pairs_.begin(), pairs_.end(), [&](const auto& each) {
      return ends_in(each.second.file_name, tensor.name);  // GPT-2's may lack the model's prefix
    });
    const auto bytes = pair == pairs_.end() ? tensor.bytes
                                            : std::span<const std::byte>(kept.emplace_back(
                                                  encoded(merged(pair->second), tensor.type)));
    writer.add(tensor.name, block_info(tensor.type).dtype, tensor.shape, bytes);
  }
  writer.write(path / "model.safetensors");
  for (const auto& entry : fs::directory_iterator(model_.file().folder())) {
    const fs::path& from = entry.path();
    const std::string name = from.filename().string();
    const bool text =
        from.extension() == ".json" || from.extension() == ".txt" || name == "tokenizer.model";
    if (entry.is_regular_file() && text && !name.ends_with(".index.json"))
      fs::copy_file(from, path / name, fs::copy_options::overwrite_existing);
  }
}

}  // namespace brisk
