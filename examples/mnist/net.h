// The network of this example, which bench/train.cpp measures too.
#pragma once

#include <brisk/brisk.h>

struct DigitNet {
  brisk::nn::Conv2d conv1{1, 16, 3, {.padding = 1}, false};
  brisk::nn::BatchNorm2d norm1{16};
  brisk::nn::Conv2d conv2{16, 32, 3, {.padding = 1}, false};
  brisk::nn::BatchNorm2d norm2{32};
  brisk::nn::Conv2d conv3{32, 64, 3, {.padding = 1}, false};
  brisk::nn::BatchNorm2d norm3{64};
  brisk::nn::Dropout dropout{0.25};
  brisk::nn::Linear fc{64 * 7 * 7, 10};

  void visit(brisk::nn::Fields& fields) {
    fields("conv1", conv1);
    fields("norm1", norm1);
    fields("conv2", conv2);
    fields("norm2", norm2);
    fields("conv3", conv3);
    fields("norm3", norm3);
    fields("dropout", dropout);
    fields("fc", fc);
  }

  brisk::Tensor operator()(const brisk::Tensor& images) const {
    brisk::Tensor x = max_pool2d(relu(norm1(conv1(images))), 2);
    x = max_pool2d(relu(norm2(conv2(x))), 2);
    x = relu(norm3(conv3(x)));
    return fc(dropout(x.flatten(1)));
  }
};
