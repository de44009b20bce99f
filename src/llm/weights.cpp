#include "llm/weights.h"

#include "base/error.h"
#include "brisk/create.h"
#include "brisk/functional.h"
#include "formats/gguf.h"
#include "formats/planes_stream.h"
#include "formats/quant_tensors.h"
#include "formats/quote.h"
#include "tensor/node_of.h"
#include "tensor/realize.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>

namespace brisk {

namespace {

bool is_plain(BlockType type) {
  return type == BlockType::f32 || type == BlockType::f16 || type == BlockType::bf16;
}

// Where kernels read widely, the fields of blocks apart.
BlockLayout layout_of(const StoredTensor& from) {
  return !is_plain(from.type) && executor().runs_groups() ? BlockLayout::planes
                                                          : BlockLayout::blocks;
}

// Elements as a tensor; those that do not lie at a multiple of their size are copied.
Tensor upload_plain(const StoredTensor& from, std::shared_ptr<const void> owner) {
  const DType dtype = block_info(from.type).dtype;
  const auto address = reinterpret_cast<std::uintptr_t>(from.bytes.data());
  if (address % static_cast<std::size_t>(byte_size(dtype)) != 0) owner = nullptr;
  return from_memory(std::move(owner), from.bytes, Dims(from.shape), dtype);
}

// Rows of blocks as bytes: [rows, bytes of a row].
Dims shape_of_blocks(const StoredTensor& from) {
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < from.shape.size(); ++i) rows *= from.shape[i];
  return {rows, static_cast<std::int64_t>(from.bytes.size()) / rows};
}

// Matrices that lie on the device, and whose planes are yet to come there: all at once, so that one
// is turned into planes while others are copied.
class PlanesToCome {
 public:
  /// `bytes` from `offset` on are to be planes of these blocks, which lie where they do until
  /// upload().
  void add(const Tensor& bytes, std::size_t offset, const StoredTensor& blocks) {
    rows_.push_back({blocks.type, blocks.shape.back(), blocks.bytes});
    places_.push_back({node_of(bytes), offset});
  }

  void upload() {
    const auto threads = std::max(1U, std::thread::hardware_concurrency());
    stream_planes(rows_, static_cast<int>(threads),
                  [&](std::size_t i, std::size_t offset, std::span<const std::byte> planes) {
                    executor().write(places_[i].bytes, planes, places_[i].offset + offset);
                  });
  }

 private:
  struct Place {
    Node bytes;
    std::size_t offset = 0;
  };
  std::vector<BlockRows> rows_;
  std::vector<Place> places_;
};

class Loader {
 public:
  Loader(const ModelFile& file, ModelConfig& config)
      : file_(file), config_(config), row_(*config.architecture) {}

  ModelWeights load() {
    ModelWeights model;
    ModelConfig& c = config_;
    if (c.vocabulary == 0) {  // GGUF: the embedding says it
      const auto table = file_.find(name("token_embd", "weight", -1));
      c.vocabulary = table && table->shape.size() == 2 ? table->shape[0] : 1;
    }
    model.token_embedding = need("token_embd", "weight", -1, {c.vocabulary, c.width}, false);
    if (row_.learned_positions) {
      model.position_embedding = need("position_embd", "weight", -1, {c.context, c.width}, false);
    }
    read_rotary_factors();
    for (std::int64_t i = 0; i < c.blocks; ++i) model.blocks.push_back(block(i));
    model.output_norm = norm("output_norm", -1, c.width);
    if (!c.tied) {
      model.output.weight = find("output", "weight", -1, {c.vocabulary, c.width}, false);
      c.tied = !model.output.weight;
      if (c.tied && file_.gguf() == nullptr) {
        user_error("{}: there is no tensor {}", file_.name(), quote(name("output", "weight", -1)));
      }
    }
    planes_.upload();
    return model;
  }

 private:
  bool in_folder() const { return file_.gguf() == nullptr; }

  std::string name(std::string_view part, std::string_view suffix, std::int64_t block,
                   std::int64_t expert = -1) const {
    return in_folder() ? folder_tensor_name(row_, part, suffix, block, expert)
                       : gguf_tensor_name(part, suffix, block);
  }

  std::optional<StoredTensor> stored(const std::string& name) const {
    auto found = file_.find(name);
    // GPT-2's first files name their tensors without the model's prefix.
    if (!found && name.starts_with("transformer.")) found = file_.find(name.substr(12));
    return found;
  }

  void want_shape(const StoredTensor& tensor, const std::vector<std::int64_t>& shape) const {
    if (tensor.shape != shape) {
      user_error("{}: tensor {} has the shape [{}], its model wants [{}]", file_.name(),
                 quote(tensor.name), fmt::join(tensor.shape, ", "), fmt::join(shape, ", "));
    }
    if (!is_plain(tensor.type) && block_info(tensor.type).dtype != DType::none) {
      user_error("{}: tensor {} holds {}, which is no type of weights", file_.name(),
                 quote(tensor.name), block_info(tensor.type).name);
    }
  }

  Weight find(std::string_view part, std::string_view suffix, std::int64_t block,
              std::vector<std::int64_t> shape, bool matrix = true) {
    const auto tensor = stored(name(part, suffix, block));
    if (!tensor) return {};
    Weight weight;
    weight.type = tensor->type;
    weight.layout = layout_of(*tensor);
    weight.transposed = matrix && shape.size() == 2 && in_folder() && row_.transposed_in_folder;
    weight.shape = shape;
    if (weight.transposed) std::swap(shape[0], shape[1]);
    want_shape(*tensor, shape);
    weight.stored = upload(*tensor);
    return weight;
  }

  Tensor upload(const StoredTensor& from) {
    if (is_plain(from.type)) return upload_plain(from, file_.owner());
    const Dims shape = shape_of_blocks(from);
    if (layout_of(from) == BlockLayout::blocks)
      return from_memory(file_.owner(), from.bytes, shape, DType::uint8);
    const Tensor bytes = empty(shape, DType::uint8);
    planes_.add(bytes, 0, from);
    return bytes;
  }

  Weight need(std::string_view part, std::string_view suffix, std::int64_t block,
              std::vector<std::int64_t> shape, bool matrix = true) {
    Weight weight = find(part, suffix, block, std::move(shape), matrix);
    if (!weight) {
      user_error("{}: there is no tensor {}", file_.name(), quote(name(part, suffix, block)));
    }
    return weight;
  }

  WeightBias linear(std::string_view part, std::int64_t block, std::int64_t out, std::int64_t in,
                    bool with_bias = false) {
    return {need(part, "weight", block, {out, in}),
            with_bias ? need(part, "bias", block, {out}) : find(part, "bias", block, {out})};
  }

  WeightBias norm(std::string_view part, std::int64_t block, std::int64_t width) {
    WeightBias norm{need(part, "weight", block, {width}), {}};
    norm.weight.less_one = in_folder() && row_.norms_less_one_in_folder;
    if (row_.layer_norm) norm.bias = need(part, "bias", block, {width});
    return norm;
  }

  BlockWeights block(std::int64_t i) {
    const ModelConfig& c = config_;
    const std::int64_t queries = c.heads * c.head_width;
    const std::int64_t keys = c.key_heads * c.head_width;
    BlockWeights b;
    b.attention_norm = norm("attn_norm", i, c.width);
    if (row_.fused_qkv) {
      b.query_key_value = linear("attn_qkv", i, queries + 2 * keys, c.width, row_.qkv_bias);
    } else {
      b.query = linear("attn_q", i, queries, c.width, row_.qkv_bias);
      b.key = linear("attn_k", i, keys, c.width, row_.qkv_bias);
      b.value = linear("attn_v", i, keys, c.width, row_.qkv_bias);
    }
    if (row_.query_key_norms) {
      b.query_norm = norm("attn_q_norm", i, c.head_width);
      b.key_norm = norm("attn_k_norm", i, c.head_width);
    }
    b.attention_output = linear("attn_output", i, c.width, queries);
    b.ffn_norm = norm("ffn_norm", i, c.width);
    if (row_.post_norms) {
      b.post_attention_norm = norm("post_attention_norm", i, c.width);
      b.post_ffn_norm = norm("post_ffw_norm", i, c.width);
    }
    if (c.experts > 0) {
      b.router = {need("ffn_gate_inp", "weight", i, {c.experts, c.width}), {}};
      b.gate_experts = experts("ffn_gate_exps", i, c.ffn_width, c.width);
      b.up_experts = experts("ffn_up_exps", i, c.ffn_width, c.width);
      b.down_experts = experts("ffn_down_exps", i, c.width, c.ffn_width);
    } else {
      if (row_.gated) b.gate = linear("ffn_gate", i, c.ffn_width, c.width);
      b.up = linear("ffn_up", i, c.ffn_width, c.width);
      b.down = linear("ffn_down", i, c.width, c.ffn_width);
    }
    return b;
  }

  // One tensor in GGUF files; folders (and early GGUF files) have one an expert, which are put
  // together in memory so that the ones that a token needs can be picked by a computed index.
  Weight experts(std::string_view part, std::int64_t block, std::int64_t out, std::int64_t in) {
    if (!in_folder()) {
      if (Weight whole = find(part, "weight", block, {config_.experts, out, in})) return whole;
    }
    std::vector<StoredTensor> each;
    for (std::int64_t e = 0; e < config_.experts; ++e) {
      const std::string single =
          in_folder() ? name(part, "weight", block, e)
                      : fmt::format("blk.{}.{}.{}.weight", block, part.substr(0, part.size() - 5),
                                    e);  // without "_exps"
      const auto tensor = stored(single);
      if (!tensor) user_error("{}: there is no tensor {}", file_.name(), quote(single));
      want_shape(*tensor, {out, in});
      if (e > 0 && tensor->type != each[0].type) {
        user_error("{}: the experts of block {} have several types", file_.name(), block);
      }
      each.push_back(*tensor);
    }
    const std::vector<std::int64_t> shape = {config_.experts, out, in};
    return {together(each, shape), each[0].type, layout_of(each[0]), shape};
  }

  Tensor together(const std::vector<StoredTensor>& each, const std::vector<std::int64_t>& shape) {
    StoredTensor all;
    all.type = each[0].type;
    all.shape = shape;
    if (layout_of(all) == BlockLayout::planes) {
      Dims rows = shape_of_blocks(each[0]);
      rows[0] = rows[0] * static_cast<std::int64_t>(each.size());
      const Tensor bytes = empty(rows, DType::uint8);
      for (std::size_t e = 0; e < each.size(); ++e)
        planes_.add(bytes, e * each[e].bytes.size(), each[e]);
      return bytes;
    }
    auto bytes = std::make_shared<std::vector<std::byte>>();
    for (const StoredTensor& tensor : each)
      bytes->insert(bytes->end(), tensor.bytes.begin(), tensor.bytes.end());
    all.bytes = *bytes;
    if (is_plain(all.type)) return upload_plain(all, bytes);
    return from_memory(bytes, all.bytes, shape_of_blocks(all), DType::uint8);
  }

  // Llama 3.1's scaling in GGUF files: a divisor for each frequency.
  void read_rotary_factors() {
    const auto factors = in_folder() ? std::nullopt : file_.find("rope_freqs.weight");
    if (!factors || config_.rotary.empty()) return;
    want_shape(*factors, {config_.head_width / 2});
    std::vector<float> values(config_.rotary.size());
    decode_block_row(factors->type, factors->bytes.data(), values.data(),
                     static_cast<std::int64_t>(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!std::isfinite(values[i]) || values[i] <= 0) {
        user_error("{}: a factor in rope_freqs.weight is not positive", file_.name());
      }
      config_.rotary[i] /= static_cast<double>(values[i]);
    }
  }

  const ModelFile& file_;
  ModelConfig& config_;
  const Architecture& row_;
  PlanesToCome planes_;
};

}  // namespace

Tensor Weight::value() const {
  if (!stored.defined()) return {};
  std::vector<std::int64_t> in_file = shape;
  if (transposed) std::swap(in_file[0], in_file[1]);
  Tensor values = is_plain(type)
                      ? stored.cast(DType::float32)
                      : dequantise(stored, type, in_file.back(), layout).reshape(Dims(in_file));
  if (transposed) values = values.transpose(0, 1);
  return less_one ? values + 1 : values;
}

DType Weight::half() const {
  switch (type) {
    case BlockType::f32: return DType::none;
    case BlockType::f16: return DType::float16;
    default: return DType::bfloat16;
  }
}

Tensor Weight::product(const Tensor& x, Rounding rounding) const {
  if (rounding == Rounding::halves && half() != DType::none) {
    const auto rounded = [&](const Tensor& each) { return each.cast(half()).cast(DType::float32); };
    return linear(rounded(x), rounded(value()));
  }
  if (rounding == Rounding::bytes && !is_plain(type))
    return quantised_linear(round_rows(x), stored, type, layout);
  return linear(x, value());
}

ModelWeights load_weights(const ModelFile& file, ModelConfig& config) {
  return Loader(file, config).load();
}

}  // namespace brisk
