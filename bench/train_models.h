// Convolutional networks whose steps bench/train.cpp measures: that of examples/mnist, and
// ResNet-18 as torchvision has it (He et al., arXiv:1512.03385).
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

struct ResNet18 {
  ResNet18() {
    std::int64_t in = 64;
    for (const std::int64_t width : {64, 128, 256, 512}) {
      blocks.emplace_back(in, width, width == 64 ? 1 : 2);
      blocks.emplace_back(width, width, 1);
      in = width;
    }
  }
  void visit(nn::Fields& fields) {
    fields("conv1", conv1);
    fields("bn1", norm1);
    fields("layers", blocks);
    fields("fc", fc);
  }
  Tensor operator()(const Tensor& images) const {
    Tensor x = max_pool2d(relu(norm1(conv1(images))), 3, {.stride = 2, .padding = 1});
    for (const BasicBlock& block : blocks) x = block(x);
    return fc(adaptive_avg_pool2d(x, 1).flatten(1));
  }

  nn::Conv2d conv1 = conv(3, 64, 7, 2);
  nn::BatchNorm2d norm1{64};
  std::vector<BasicBlock> blocks;
  nn::Linear fc{512, 1000};
};

}  // namespace bench
