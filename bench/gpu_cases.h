// The works that a GPU is measured with: what each takes, what it gives, how much it moves and
// computes, and the limits of the hardware that this is held to. Input: tensors on the process's
// device; output: seconds of replaying the compiled work many times in a row, with one wait at the
// end. bench/gpu.cpp prints them, bench/gpu_peer.py times PyTorch on the same data beside them.
#pragma once

#include <array>

#include "brisk/brisk.h"
#include "brisk/functional.h"
#include "cli/cards.h"
#include "measure.h"

namespace bench {

using brisk::DType;
using brisk::Tensor;

struct GpuInput {
  std::vector<std::int64_t> shape;
  DType dtype = DType::float32;
};

/// What bounds a work at best: memory, or the multiply-adds of a type.
enum class Bound { memory, half, byte, single };

struct GpuCase {
  std::string name;
  std::string op;  // the peer's name for it
  std::vector<GpuInput> inputs;
  Bound bound = Bound::memory;
  double work = 0;  // bytes that must be read and written, or operations
  Tensor (*make)(const std::vector<Tensor>& inputs) = nullptr;
  int copies = 1;  // of the inputs, used in turn, so that no cache has them
};

/// Bytes or operations a second by the maker's data sheet (without sparsity); 0 where unknown.
inline double gpu_limit(const std::string& device, Bound bound) {
  const brisk::Card* card = brisk::find_card(device);
  if (card == nullptr) return 0;
  switch (bound) {
    case Bound::memory: return card->bytes;
    case Bound::half: return card->halves;
    case Bound::byte: return card->int8;
    case Bound::single: return card->float32;
  }
  return 0;
}

namespace gpu {

// A product's operands as they are stored: `nt` is A·Bᵀ of [M, K] and [N, K].
inline Tensor nn(const std::vector<Tensor>& x) { return matmul(x[0], x[1]); }
inline Tensor nt(const std::vector<Tensor>& x) { return matmul(x[0], x[1].transpose(0, 1)); }
inline Tensor tn(const std::vector<Tensor>& x) { return matmul(x[0].transpose(0, 1), x[1]); }
inline Tensor tt(const std::vector<Tensor>& x) {
  return matmul(x[0].transpose(0, 1), x[1].transpose(0, 1));
}
inline Tensor nt_of_float8(const std::vector<Tensor>& x) {
  const Tensor b = x[1].cast(DType::float32);
  return matmul(x[0].cast(DType::float32), b.transpose(0, 1)).cast(DType::bfloat16);
}
inline Tensor nt_of_int8(const std::vector<Tensor>& x) {
  return matmul(x[0].cast(DType::int32), x[1].cast(DType::int32).transpose(0, 1));
}
inline Tensor attend(const std::vector<Tensor>& x) {
  return scaled_dot_product_attention(x[0], x[1], x[2]);
}
inline Tensor attend_causally(const std::vector<Tensor>& x) {
  return scaled_dot_product_attention(x[0], x[1], x[2], {.causal = true});
}
// Images, filters and the result with their channels last.
inline Tensor convolve(const std::vector<Tensor>& x) {
  const Tensor y =
      conv2d(x[0].permute({0, 3, 1, 2}), x[1].permute({0, 3, 1, 2}), {}, {.padding = 1});
  return y.permute({0, 2, 3, 1}).contiguous();
}

inline std::string text_of(DType dtype) {
  switch (dtype) {
    case DType::bfloat16: return "bf16";
    case DType::float16: return "f16";
    case DType::float32: return "f32";
    case DType::float8_e4m3: return "fp8";
    default: return std::string(brisk::name(dtype));
  }
}

inline GpuCase product(const std::string& op, std::int64_t m, std::int64_t n, std::int64_t k,
                       DType dtype, Tensor (*make)(const std::vector<Tensor>&)) {
  const bool turned_a = op.ends_with("tn") || op.ends_with("tt");
  const bool turned_b = op.ends_with("nt") || op.ends_with("tt");
  const std::string size =
      m == n && n == k ? fmt::format("{}", m) : fmt::format("{}x{}x{}", m, n, k);
  GpuCase result;
  result.name = fmt::format("matmul {} {} {}", text_of(dtype), op.substr(op.size() - 2), size);
  result.op = op;
  const auto matrix = [](std::int64_t rows, std::int64_t columns) {
    return std::vector<std::int64_t>{rows, columns};
  };
  result.inputs = {{turned_a ? matrix(k, m) : matrix(m, k), dtype},
                   {turned_b ? matrix(n, k) : matrix(k, n), dtype}};
  result.bound = dtype == DType::float32        ? Bound::single
                 : brisk::byte_size(dtype) == 1 ? Bound::byte
                                                : Bound::half;
  result.work = 2.0 * static_cast<double>(m * n) * static_cast<double>(k);
  result.make = make;
  return result;
}

inline void add_products(std::vector<GpuCase>& list) {
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    for (const std::int64_t n : {2048, 4096, 8192}) {
      list.push_back(product("nn", n, n, n, dtype, nn));
      list.push_back(product("nt", n, n, n, dtype, nt));
      list.push_back(product("tn", n, n, n, dtype, tn));
      list.push_back(product("tt", n, n, n, dtype, tt));
    }
  }
  constexpr std::array<std::array<std::int64_t, 3>, 5> shapes = {{{4096, 14336, 4096},
                                                                  {512, 4096, 4096},
                                                                  {64, 4096, 4096},
                                                                  {8192, 1024, 8192},
                                                                  {128, 128256, 4096}}};
  for (const auto& [m, n, k] : shapes) {
    list.push_back(product("nt", m, n, k, DType::bfloat16, nt));
  }
  list.push_back(product("nn", 1000, 1000, 1000, DType::bfloat16, nn));
  list.push_back(product("nn", 4097, 4095, 4099, DType::bfloat16, nn));
  list.push_back(product("fp8 nt", 8192, 8192, 8192, DType::float8_e4m3, nt_of_float8));
  list.push_back(product("int8 nt", 8192, 8192, 8192, DType::int8, nt_of_int8));
  list.push_back(product("nn", 4096, 4096, 4096, DType::float32, nn));
}

inline void add_streams(std::vector<GpuCase>& list) {
  constexpr std::int64_t count = std::int64_t{1} << 28;
  const GpuInput line = {{count}, DType::float32};
  const auto bytes = static_cast<double>(4 * count);
  list.push_back({"negate f32 2^28",
                  "negate",
                  {line},
                  Bound::memory,
                  2 * bytes,
                  [](const std::vector<Tensor>& x) { return -x[0]; }});
  list.push_back(
      {"sum f32 2^28", "sum", {line}, Bound::memory, bytes, [](const std::vector<Tensor>& x) {
         return x[0].sum();
       }});
  list.push_back({"add f32 2^28",
                  "add",
                  {line, line},
                  Bound::memory,
                  3 * bytes,
                  [](const std::vector<Tensor>& x) { return x[0] + x[1]; }});
  list.push_back(
      {"gelu(a*b+c) f32 2^28",
       "gelu",
       {line, line, line},
       Bound::memory,
       4 * bytes,
       [](const std::vector<Tensor>& x) { return gelu(x[0] * x[1] + x[2], brisk::Gelu::tanh); }});
}

// Rows that a processor holds, rows longer than that, and fewer than there are processors.
inline void add_rows(std::vector<GpuCase>& list) {
  constexpr double beyond_caches = 512e6;
  constexpr std::array<std::array<std::int64_t, 2>, 3> shapes = {
      {{32768, 8192}, {2048, 131072}, {16, 131072}}};
  for (const auto& [height, width] : shapes) {
    const GpuInput rows = {{height, width}, DType::bfloat16};
    const GpuInput row = {{width}, DType::bfloat16};
    const double both = 2.0 * 2.0 * static_cast<double>(height * width);
    const int copies = 1 + static_cast<int>(beyond_caches / both);
    list.push_back({fmt::format("softmax bf16 {}x{}", height, width),
                    "softmax",
                    {rows},
                    Bound::memory,
                    both,
                    [](const std::vector<Tensor>& x) { return x[0].softmax(1); },
                    copies});
    list.push_back({fmt::format("layer_norm bf16 {}x{}", height, width),
                    "layer_norm",
                    {rows, row, row},
                    Bound::memory,
                    both,
                    [](const std::vector<Tensor>& x) { return layer_norm(x[0], x[1], x[2]); },
                    copies});
  }
}

inline void add_matrix_vectors(std::vector<GpuCase>& list) {
  constexpr std::array<std::array<std::int64_t, 2>, 4> shapes = {
      {{14336, 4096}, {4096, 14336}, {4096, 4096}, {128256, 4096}}};
  for (const auto& [rows, columns] : shapes) {
    const auto bytes = 2.0 * static_cast<double>(rows * columns);
    constexpr double beyond_caches = 512e6;
    list.push_back({fmt::format("matrix x vector bf16 {}x{}", rows, columns),
                    "matvec",
                    {{{rows, columns}, DType::bfloat16}, {{columns}, DType::bfloat16}},
                    Bound::memory,
                    bytes,
                    [](const std::vector<Tensor>& x) { return matmul(x[0], x[1]); },
                    1 + static_cast<int>(beyond_caches / bytes)});
  }
}

inline void add_attentions(std::vector<GpuCase>& list) {
  const auto attention = [&](std::int64_t b, std::int64_t h, std::int64_t s, std::int64_t d,
                             bool causal) {
    const GpuInput heads = {{b, h, s, d}, DType::bfloat16};
    const double all = 4.0 * static_cast<double>(b * h * s) * static_cast<double>(s * d);
    list.push_back(
        {fmt::format("attention bf16 B{} H{} S{} D{} {}", b, h, s, d, causal ? "causal" : "full"),
         causal ? "attention causal" : "attention",
         {heads, heads, heads},
         Bound::half,
         causal ? all / 2 : all,
         causal ? attend_causally : attend});
  };
  attention(4, 32, 4096, 128, true);
  attention(4, 32, 4096, 128, false);
  attention(2, 16, 16384, 128, true);
  attention(8, 32, 2048, 64, true);
}

inline void add_convolutions(std::vector<GpuCase>& list) {
  const auto convolution = [&](std::int64_t batch, std::int64_t channels, std::int64_t size) {
    list.push_back({fmt::format("conv 3x3 bf16 {}x{}x{}x{}", batch, channels, size, size),
                    "conv",
                    {{{batch, size, size, channels}, DType::bfloat16},
                     {{channels, 3, 3, channels}, DType::bfloat16}},
                    Bound::half,
                    2.0 * 9.0 * static_cast<double>(batch * size * size * channels * channels),
                    convolve});
  };
  convolution(64, 64, 56);
  convolution(64, 256, 14);
}

inline void add_orders(std::vector<GpuCase>& list) {
  const auto order = [&](std::int64_t rows, std::int64_t length, const char* op,
                         Tensor (*make)(const std::vector<Tensor>&)) {
    list.push_back({fmt::format("{} f32 {}x{}", op, rows, length),
                    op,
                    {{{rows, length}, DType::float32}},
                    Bound::memory,
                    8.0 * static_cast<double>(rows * length),
                    make});
  };
  const auto sort = [](const std::vector<Tensor>& x) { return x[0].sort(1).values; };
  order(1024, 2048, "sort", sort);
  order(1, 131072, "sort", sort);
  order(1, 4194304, "sort", sort);
  const auto run = [](const std::vector<Tensor>& x) { return cumsum(x[0], 1); };
  order(8192, 8192, "cumsum", run);
  order(4, 16777216, "cumsum", run);
}

}  // namespace gpu

inline std::vector<GpuCase> gpu_cases() {
  std::vector<GpuCase> list;
  gpu::add_streams(list);
  gpu::add_rows(list);
  gpu::add_products(list);
  gpu::add_matrix_vectors(list);
  gpu::add_attentions(list);
  gpu::add_convolutions(list);
  gpu::add_orders(list);
  return list;
}

/// A work compiled for the process's device, with as many copies of its inputs as it asks for.
class GpuWork {
 public:
  /// `input` makes the tensor of an input anew at each call.
  GpuWork(const GpuCase& work, const std::function<Tensor(std::size_t input)>& input) {
    for (int copy = 0; copy < work.copies; ++copy) {
      std::vector<Tensor> inputs;
      for (std::size_t i = 0; i < work.inputs.size(); ++i) inputs.push_back(input(i));
      const brisk::Node root = brisk::node_of(work.make(inputs));
      plans_.emplace_back(std::span(&root, 1), brisk::Engine::shared());
    }
  }
  std::size_t kernels() const { return plans_[0].kernels().size(); }
  /// Seconds of one run among `count` that follow each other.
  double burst(int count) {
    brisk::Device& device = brisk::Engine::shared().device();
    device.synchronize();
    const auto start = Clock::now();
    for (int i = 0; i < count; ++i) plans_[next_++ % plans_.size()].run();
    device.synchronize();
    return seconds_since(start) / count;
  }
  /// The result of the first copy.
  std::vector<std::byte> result() {
    plans_[0].run();
    return brisk::Engine::shared().read(plans_[0].outputs()[0]);
  }

 private:
  std::vector<brisk::Plan> plans_;
  std::size_t next_ = 0;
};

}  // namespace bench
