// How a kernel's windows lie on the spatial axes: pads, strides, dilations, and the ways in which a
// node says them.
#pragma once

#include <cstdint>
#include <vector>

#include "onnx/operators.h"

namespace brisk::onnx {

struct Window {
  Dim have;
  std::int64_t kernel, stride, dilation;
  std::int64_t before, after;  // what is added around the axis; negative: cut
  Dim count;                   // windows
  std::int64_t reach() const { return dilation * (kernel - 1) + 1; }
};
/// Of input 0's spatial axes for kernels of these sizes: strides, dilations, pads, auto_pad,
/// ceil_mode. With ceil_mode `after` covers the last window.
std::vector<Window> windows_of(const NodeCall& c, const Dims& have,
                               const std::vector<std::int64_t>& kernel);
/// x with the pads of each axis from `first` on, filled with `value`.
Tensor padded(const Tensor& x, const std::vector<Window>& windows, int first, double value);

}  // namespace brisk::onnx
