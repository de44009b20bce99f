// Networks whose steps bench/train.cpp measures: that of examples/mnist, ResNets as torchvision has
// them (He et al., arXiv:1512.03385), and GPT-2 (Radford et al., 2019).
#pragma once

#include <optional>
#include <vector>

#include "brisk/brisk.h"
#include "examples/mnist/net.h"

namespace bench {

using namespace brisk;

inline nn::Conv2d conv(std::int64_t in, std::int64_t out, std::int64_t kernel,
                       std::int64_t stride) {
  return nn::Conv2d(in, out, kernel, {.stride = stride, .padding = kernel / 2}, false);
}

/// Two convolutions of 3 × 3 and what goes past them.
struct BasicBlock {
  BasicBlock(std::int64_t in, std::int64_t out, std::int64_t stride)
      : conv1(conv(in, out, 3, stride)), norm1(out), conv2(conv(out, out, 3, 1)), norm2(out) {
    if (stride == 1 && in == out) return;
    shortcut.emplace(conv(in, out, 1, stride));
    shortcut_norm.emplace(out);
  }
  void visit(nn::Fields& fields) {
    fields("conv1", conv1);
    fields("bn1", norm1);
    fields("conv2", conv2);
    fields("bn2", norm2);
    fields("downsample.0", shortcut);
    fields("downsample.1", shortcut_norm);
  }
  Tensor operator()(const Tensor& x) const {
    const Tensor past = shortcut ? (*shortcut_norm)((*shortcut)(x)) : x;
    return relu(norm2(conv2(relu(norm1(conv1(x))))) + past);
  }

  nn::Conv2d conv1;
  nn::BatchNorm2d norm1;
  nn::Conv2d conv2;
  nn::BatchNorm2d norm2;
  std::optional<nn::Conv2d> shortcut;
  std::optional<nn::BatchNorm2d> shortcut_norm;
};

/// Three convolutions, 1 × 1, 3 × 3 and 1 × 1, and what goes past them.
struct Bottleneck {
  Bottleneck(std::int64_t in, std::int64_t width, std::int64_t stride)
      : conv1(conv(in, width, 1, 1)),
        norm1(width),
        conv2(conv(width, width, 3, stride)),
        norm2(width),
        conv3(conv(width, 4 * width, 1, 1)),
        norm3(4 * width) {
    if (stride == 1 && in == 4 * width) return;
    shortcut.emplace(conv(in, 4 * width, 1, stride));
    shortcut_norm.emplace(4 * width);
  }
  void visit(nn::Fields& fields) {
    fields("conv1", conv1);
    fields("bn1", norm1);
    fields("conv2", conv2);
    fields("bn2", norm2);
    fields("conv3", conv3);
    fields("bn3", norm3);
    fields("downsample.0", shortcut);
    fields("downsample.1", shortcut_norm);
  }
  Tensor operator()(const Tensor& x) const {
    const Tensor past = shortcut ? (*shortcut_norm)((*shortcut)(x)) : x;
    const Tensor inner = relu(norm2(conv2(relu(norm1(conv1(x))))));
    return relu(norm3(conv3(inner)) + past);
  }

  nn::Conv2d conv1;
  nn::BatchNorm2d norm1;
  nn::Conv2d conv2;
  nn::BatchNorm2d norm2;
  nn::Conv2d conv3;
  nn::BatchNorm2d norm3;
  std::optional<nn::Conv2d> shortcut;
  std::optional<nn::BatchNorm2d> shortcut_norm;
};

/// What stands around the blocks.
template <typename Block>
struct ResNet {
  explicit ResNet(std::int64_t features) : fc(features, 1000) {}
  void visit(nn::Fields& fields) {
    fields("conv1", conv1);
    fields("bn1", norm1);
    fields("layers", blocks);
    fields("fc", fc);
  }
  Tensor operator()(const Tensor& images) const {
    Tensor x = max_pool2d(relu(norm1(conv1(images))), 3, {.stride = 2, .padding = 1});
    for (const Block& block : blocks) x = block(x);
    return fc(adaptive_avg_pool2d(x, 1).flatten(1));
  }

  nn::Conv2d conv1 = conv(3, 64, 7, 2);
  nn::BatchNorm2d norm1{64};
  std::vector<Block> blocks;
  nn::Linear fc;
};

struct ResNet18 : ResNet<BasicBlock> {
  ResNet18() : ResNet(512) {
    std::int64_t in = 64;
    for (const std::int64_t width : {64, 128, 256, 512}) {
      blocks.emplace_back(in, width, width == 64 ? 1 : 2);
      blocks.emplace_back(width, width, 1);
      in = width;
    }
  }
};

struct ResNet50 : ResNet<Bottleneck> {
  ResNet50() : ResNet(2048) {
    std::int64_t in = 64;
    const std::pair<std::int64_t, int> stages[] = {{64, 3}, {128, 4}, {256, 6}, {512, 3}};
    for (const auto& [width, count] : stages) {
      for (int i = 0; i < count; ++i) {
        blocks.emplace_back(in, width, i == 0 && width > 64 ? 2 : 1);
        in = 4 * width;
      }
    }
  }
};

struct Gpt2Block {
  Gpt2Block(std::int64_t width, std::int64_t heads)
      : heads(heads),
        ln_1({width}),
        c_attn(width, 3 * width),
        attn_c_proj(width, width),
        ln_2({width}),
        c_fc(width, 4 * width),
        c_proj(4 * width, width) {}
  void visit(nn::Fields& fields) {
    fields("ln_1", ln_1);
    fields("attn.c_attn", c_attn);
    fields("attn.c_proj", attn_c_proj);
    fields("ln_2", ln_2);
    fields("mlp.c_fc", c_fc);
    fields("mlp.c_proj", c_proj);
  }
  Tensor operator()(const Tensor& x) const {
    std::vector<Tensor> parts;
    for (const Tensor& part : c_attn(ln_1(x)).chunk(3, -1))
      parts.push_back(part.unflatten(-1, {heads, -1}).transpose(1, 2));
    const Tensor mixed =
        scaled_dot_product_attention(parts[0], parts[1], parts[2], {.causal = true});
    const Tensor y = x + attn_c_proj(mixed.transpose(1, 2).flatten(2));
    // The activation is made again for the backward pass, as torch.compile does.
    const auto second = [this](const std::vector<Tensor>& h) {
      return c_proj(gelu(h[0], Gelu::tanh));
    };
    // In 8 bits what the gradient needs of the activation is kept, in half its size.
    const Tensor inner = c_fc(ln_2(y));
    return y + (c_proj.scaled ? second({inner}) : checkpoint(second, {inner}));
  }

  std::int64_t heads;
  nn::LayerNorm ln_1;
  nn::Linear c_attn, attn_c_proj;
  nn::LayerNorm ln_2;
  nn::Linear c_fc, c_proj;
};

/// Of 124 million parameters; its vocabulary is rounded up to a multiple of 64. The blocks'
/// products in 8 bits where `scaled` says how.
struct Gpt2 {
  static constexpr std::int64_t vocabulary = 50304;
  explicit Gpt2(const std::optional<ScaledOptions>& scaled = {}) {
    for (int i = 0; i < 12; ++i) {
      Gpt2Block& block = h.emplace_back(768, 12);
      for (nn::Linear* matrix : {&block.c_attn, &block.attn_c_proj, &block.c_fc, &block.c_proj})
        matrix->scaled = scaled;
    }
    for (const Tensor& parameter : nn::parameters(*this)) {
      if (parameter.rank() > 1) nn::set(parameter, nn::normal(parameter.dims(), 0, 0.02));
    }
  }
  void visit(nn::Fields& fields) {
    fields("wte", wte);
    fields("wpe", wpe);
    fields("h", h);
    fields("ln_f", ln_f);
  }
  Tensor operator()(const Tensor& tokens) const {
    Tensor x = wte(tokens) + wpe(arange(tokens.size(1)));
    for (const Gpt2Block& block : h) x = block(x);
    return linear(ln_f(x), wte.weight);
  }

  nn::Embedding wte{vocabulary, 768};
  nn::Embedding wpe{1024, 768};
  std::vector<Gpt2Block> h;
  nn::LayerNorm ln_f{{768}};
};

}  // namespace bench
