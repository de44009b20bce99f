// Operators of com.microsoft that exporters and optimisers emit: fused norms, activations and
// products, products with packed weights, and the QLinear family.
#include "onnx/build.h"
#include "tensor/build.h"

namespace brisk::onnx {

namespace {

Axes last_axis(const Tensor& x) { return x.rank() - 1; }

Values skip_layer_norm(NodeCall& c) {
  Tensor sum = c[0] + c[1];
  if (c.has(4)) sum = sum + c[4];
  const Normalized made =
      normalized(sum, last_axis(sum), c[2], c.optional(3), c.number("epsilon", 1e-12));
  return {made.output, made.mean, made.inverse, sum};
}

Values skip_rms_norm(NodeCall& c) {
  Tensor sum = c[0] + c[1];
  if (c.has(3)) sum = sum + c[3];
  return {rms_normalized(sum, last_axis(sum), c[2], c.number("epsilon", 1e-12)), Value(), Value(),
          sum};
}

Values embed_layer_norm(NodeCall& c) {
  const Dim sequence = c.dims(0).at(1);
  Tensor sum = embedding(c[0].cast(DType::int64), c[2]);
  const Tensor at = c.has(8) ? c[8].cast(DType::int64) : arange(sequence);
  sum = sum + embedding(at, c[3]);
  if (c.has(1) && c.has(4)) sum = sum + embedding(c[1].cast(DType::int64), c[4]);
  const Normalized made =
      normalized(sum, last_axis(sum), c[5], c.optional(6), c.number("epsilon", 1e-12));
  const Tensor count =
      c.has(7) ? brisk::sum(c[7], 1).cast(DType::int32) : zeros({c.dims(0).at(0)}, DType::int32);
  return {made.output, count, sum};
}

Values fused_matmul(NodeCall& c) {
  Tensor a = c[0], b = c[1];
  if (c.integer("transBatchA", 0) != 0 || c.integer("transBatchB", 0) != 0)
    c.fail("transposed batches are not supported");
  if (c.integer("transA", 0) != 0 && a.rank() > 1) a = a.transpose(-1, -2);
  if (c.integer("transB", 0) != 0 && b.rank() > 1) b = b.transpose(-1, -2);
  const double alpha = c.number("alpha", 1);
  const Tensor y = matmul(a, b);
  return {alpha == 1 ? y : (y * alpha).cast(y.dtype())};
}

Values fused_gemm(NodeCall& c) {
  Tensor a = c[0], b = c[1];
  if (c.integer("transA", 0) != 0) a = a.transpose(0, 1);
  if (c.integer("transB", 0) != 0) b = b.transpose(0, 1);
  Tensor y = matmul(a, b) * c.number("alpha", 1);
  if (c.has(2)) y = y + c[2] * c.number("beta", 1);
  return {activation(c, c.text("activation", ""), y).cast(c[0].dtype())};
}

Values fused_conv(NodeCall& c) {
  Tensor y = convolution(c, c[0], c[1], c.optional(2));
  if (c.has(3)) y = y + c[3];
  return {activation(c, c.text("activation", ""), y)};
}

// x [batch, …, channels] where channels_last.
Values group_norm_of(NodeCall& c) {
  const bool last = c.integer("channels_last", 1) != 0;
  const Tensor x = last ? movedim(c[0], -1, 1) : c[0];
  Tensor y = group_norm(x, c.integer("groups", 1), c[1], c[2], c.number("epsilon", 1e-5));
  if (c.integer("activation", 0) != 0) y = silu(y);
  return {(last ? movedim(y, 1, -1) : y).cast(c[0].dtype())};
}

// ---- packed weights -----------------------------------------------------------------------------

// Numbers of `bits` bits in bytes, the lowest bits first: [..., n] → [..., n·8 / bits], int32.
Tensor unpacked(const Tensor& bytes, std::int64_t bits) {
  Tensor wide = bytes.cast(DType::uint8).cast(DType::int32);
  if (bits == 8) return wide;
  std::vector<Tensor> parts;
  for (std::int64_t at = 0; at < 8; at += bits) parts.push_back((wide >> at) & ((1 << bits) - 1));
  return stack(parts, -1).flatten(-2);
}

// a, weight [n, blocks, bytes], scales, zero points, g_idx, bias.
Values matmul_bits(NodeCall& c) {
  const std::int64_t k = c.integer("K", 0), n = c.integer("N", 0);
  const std::int64_t bits = c.integer("bits", 4), block = c.integer("block_size", 0);
  if (k < 1 || n < 1 || block < 1 || (bits != 2 && bits != 4 && bits != 8))
    c.fail("K {}, N {}, bits {}, block_size {}", k, n, bits, block);
  const std::int64_t blocks = (k + block - 1) / block;
  const Tensor codes = unpacked(c[1].reshape({n, blocks, -1}), bits);
  if (codes.size(2).value() != block)
    c.fail("a weight of shape {} has no blocks of {}", to_string(c[1].dims()), block);
  const Tensor scale = c[2].reshape({n, blocks, 1});
  Tensor zero = static_cast<double>(1 << (bits - 1));
  if (c.has(3)) {
    if (is_float(c[3].dtype())) {
      zero = c[3].reshape({n, blocks, 1}).cast(scale.dtype());
    } else {  // packed as the weight is, each row in whole bytes
      zero = unpacked(c[3].reshape({n, -1}), bits)
                 .narrow(1, 0, blocks)
                 .reshape({n, blocks, 1})
                 .cast(scale.dtype());
    }
  }
  Tensor weight =
      ((codes.cast(scale.dtype()) - zero) * scale).reshape({n, blocks * block}).narrow(1, 0, k);
  if (c.has(4) && product(c.shape(4)) == k) {  // the block of each column
    const Tensor at = c[4].cast(DType::int64);
    const Tensor plain = codes.reshape({n, blocks * block}).narrow(1, 0, k).cast(scale.dtype());
    const Tensor own_zero = zero.rank() == 3 ? zero.reshape({n, blocks}).index_select(1, at) : zero;
    weight = (plain - own_zero) * scale.reshape({n, blocks}).index_select(1, at);
  }
  return {linear(c[0], weight.cast(c[0].dtype()), c.optional(5))};
}

// table, indices, scales, zero points: rows of a quantised table.
Values gather_blocks(NodeCall& c) {
  if (c.integer("gather_axis", 0) != 0) c.fail("gather_axis other than 0 is not supported");
  const std::int64_t bits = c.integer("bits", 4), block = c.integer("block_size", 128);
  const bool packed = c.type(0) == ElementType::uint8 && bits != 8;
  const Tensor at = c[1].cast(DType::int64);
  const auto rows = [&](const Tensor& table) {
    return tensor_of(take_axis(node_of(table), 0, node_of(at), true));
  };
  Tensor codes = rows(c[0]);
  codes = packed ? unpacked(codes, bits) : codes.cast(DType::int32);
  const std::int64_t width = codes.size(-1).value();
  const auto spread = [&](const Tensor& each) {
    return each.repeat_interleave(block, -1).narrow(-1, 0, width);
  };
  const Tensor scale = rows(c[2]);
  Tensor y = codes.cast(scale.dtype());
  if (c.has(3)) {
    Tensor zero = rows(c[3]);
    if (packed) zero = unpacked(zero, bits).narrow(-1, 0, scale.size(-1).value());
    y = y - spread(zero.cast(scale.dtype()));
  } else if (packed) {
    y = y - static_cast<double>(1 << (bits - 1));
  }
  return {y * spread(scale)};
}

// ---- the QLinear family -------------------------------------------------------------------------

Tensor scalar(const NodeCall& c, std::size_t i) {
  if (!c.has(i)) return {};
  return product(c.shape(i)) == 1 ? c[i].reshape(Dims()) : c[i];
}

Tensor real(const NodeCall& c, std::size_t i) {
  return dequantised(c[i], scalar(c, i + 1), scalar(c, i + 2));
}

Values quantised_result(const NodeCall& c, const Tensor& y, std::size_t scale) {
  const ElementType type = c.has(scale + 1) ? c.type(scale + 1) : c.type(0);
  return {quantised(y, scalar(c, scale), scalar(c, scale + 1), type)};
}

OperatorFunction q_binary(Tensor (*f)(const Tensor&, const Tensor&)) {
  return [f](NodeCall& c) -> Values { return quantised_result(c, f(real(c, 0), real(c, 3)), 6); };
}

template <typename F>
OperatorFunction q_unary(F f) {
  return [f](NodeCall& c) -> Values { return quantised_result(c, f(c, real(c, 0)), 3); };
}

Values q_concat(NodeCall& c) {
  std::vector<Tensor> parts;
  for (std::size_t i = 2; i + 2 < c.inputs(); i += 3) parts.push_back(real(c, i));
  if (parts.empty()) c.fail("wants at least one tensor");
  const Tensor y = cat(parts, c.axis("axis", 1, parts[0].rank()));
  return {quantised(y, scalar(c, 0), scalar(c, 1), c.has(1) ? c.type(1) : ElementType::uint8)};
}

Tensor channels_first(const NodeCall& c, const Tensor& x) {
  return c.integer("channels_last", 0) != 0 ? movedim(x, -1, 1) : x;
}
Tensor channels_back(const NodeCall& c, const Tensor& x) {
  return c.integer("channels_last", 0) != 0 ? movedim(x, 1, -1) : x;
}

Tensor q_global_average(const NodeCall& c, const Tensor& x) {
  const Tensor first = channels_first(c, x);
  Axes axes;
  for (int i = 2; i < first.rank(); ++i) axes.push_back(i);
  return channels_back(c, mean(first, axes, true));
}

// a, scale, zero, b, scale, zero, bias, scale, zero of the result.
Values q_gemm(NodeCall& c) {
  Tensor a = c[0].cast(DType::int32) - scalar(c, 2).cast(DType::int32);
  Tensor b = c[3].cast(DType::int32);
  b = b - scalar(c, 5).cast(DType::int32);
  if (c.integer("transA", 0) != 0) a = a.transpose(0, 1);
  if (c.integer("transB", 0) != 0) b = b.transpose(0, 1);
  Tensor sums = matmul(a, b);
  if (c.has(6)) sums = sums + c[6];
  const Tensor y = sums.cast(DType::float32) * (scalar(c, 1) * scalar(c, 4)) * c.number("alpha", 1);
  if (!c.has(7)) return {y};
  return {quantised(y, scalar(c, 7), scalar(c, 8), c.has(8) ? c.type(8) : c.type(0))};
}

// a, b, a scale, b scale, a zero, b zero, bias.
Values matmul_integer_to_float(NodeCall& c) {
  Tensor a = c[0].cast(DType::int32), b = c[1].cast(DType::int32);
  if (c.has(4)) a = a - scalar(c, 4).cast(DType::int32);
  if (c.has(5)) b = b - scalar(c, 5).cast(DType::int32);
  Tensor y = matmul(a, b).cast(DType::float32) * (scalar(c, 2) * scalar(c, 3));
  if (c.has(6)) y = y + c[6];
  return {y};
}

// a in float, b, b scale, b zero, bias.
Values dynamic_matmul(NodeCall& c) {
  const Tensor x = c[0];
  const Tensor least = minimum(min(x), 0.0), greatest = maximum(max(x), 0.0);
  const Tensor scale = (greatest - least) / 255.0;
  const Tensor zero = clamp(round(-least / scale), 0.0, 255.0);
  const Tensor codes = clamp(round(x / scale) + zero, 0.0, 255.0) - zero;
  Tensor b = c[1].cast(DType::int32);
  if (c.has(3)) b = b - scalar(c, 3).cast(DType::int32);
  Tensor y = matmul(codes.cast(DType::int32), b).cast(DType::float32) * (scale * scalar(c, 2));
  if (c.has(4)) y = y + c[4];
  return {y};
}

void add_quantised_family(OperatorTable& t) {
  t.add_microsoft("QLinearAdd", q_binary(brisk::add));
  t.add_microsoft("QLinearMul", q_binary(brisk::mul));
  t.add_microsoft("QLinearSigmoid",
                  q_unary([](const NodeCall&, const Tensor& x) { return sigmoid(x); }));
  t.add_microsoft("QLinearLeakyRelu", q_unary([](const NodeCall& c, const Tensor& x) {
                    return leaky_relu(x, c.number("alpha", 0.01));
                  }));
  t.add_microsoft("QLinearSoftmax", q_unary([](const NodeCall& c, const Tensor& x) {
                    return softmax(x, c.axis("axis", -1, x.rank()));
                  }));
  t.add_microsoft("QLinearGlobalAveragePool", q_unary(q_global_average));
  t.add_microsoft("QLinearAveragePool", [](NodeCall& c) -> Values {
    if (c.integer("channels_last", 0) != 0) c.fail("channels_last is not supported");
    return quantised_result(c, average_pool(c, real(c, 0)), 3);
  });
  t.add_microsoft("QLinearConcat", q_concat);
  t.add_microsoft("QGemm", q_gemm);
  t.add_microsoft("MatMulIntegerToFloat", matmul_integer_to_float);
  t.add_microsoft("DynamicQuantizeMatMul", dynamic_matmul);
}

}  // namespace

Tensor activation(const NodeCall& c, const std::string& name, const Tensor& x) {
  const auto parameters = c.numbers("activation_params");
  const auto parameter = [&](std::size_t i, double otherwise) {
    return i < parameters.size() ? parameters[i] : otherwise;
  };
  if (name.empty()) return x;
  if (name == "Relu") return relu(x);
  if (name == "Sigmoid") return sigmoid(x);
  if (name == "Tanh") return tanh(x);
  if (name == "LeakyRelu") return leaky_relu(x, parameter(0, c.number("activation_alpha", 0.01)));
  if (name == "Clip") return clamp(x, parameter(0, 0), parameter(1, 6));
  if (name == "HardSigmoid") return clamp(x * parameter(0, 0.2) + parameter(1, 0.5), 0.0, 1.0);
  c.fail("activation '{}' is not known", name);
}

void add_microsoft(OperatorTable& t) {
  t.add_microsoft("Gelu", unary([](const Tensor& x) { return gelu(x); }));
  t.add_microsoft("QuickGelu", [](NodeCall& c) -> Values {
    const Tensor x = c[0];
    return {(x * sigmoid(x * c.number("alpha", 1.702))).cast(x.dtype())};
  });
  t.add_microsoft("FastGelu", [](NodeCall& c) -> Values {
    return {gelu(c.has(1) ? c[0] + c[1] : c[0], Gelu::tanh)};
  });
  t.add_microsoft("BiasGelu", [](NodeCall& c) -> Values { return {gelu(c[0] + c[1])}; });
  t.add_microsoft("BiasAdd", [](NodeCall& c) -> Values { return {c[0] + c[1] + c[2]}; });
  t.add_microsoft("BiasSplitGelu", [](NodeCall& c) -> Values {
    const auto halves = (c[0] + c[1]).chunk(2, -1);
    return {halves[0] * gelu(halves[1])};
  });
  t.add_microsoft("SkipLayerNormalization", skip_layer_norm);
  t.add_microsoft("SkipSimplifiedLayerNormalization", skip_rms_norm);
  t.add_microsoft("SimplifiedLayerNormalization", [](NodeCall& c) -> Values {
    return {rms_normalized(c[0], last_axis(c[0]), c[1], c.number("epsilon", 1e-5))};
  });
  t.add_microsoft("EmbedLayerNormalization", embed_layer_norm);
  t.add_microsoft("GroupNorm", group_norm_of);
  t.add_microsoft("FusedMatMul", fused_matmul);
  t.add_microsoft("TransposeMatMul", fused_matmul);
  t.add_microsoft("FusedGemm", fused_gemm);
  t.add_microsoft("FusedConv", fused_conv);
  t.add_microsoft("MatMulNBits", matmul_bits);
  t.add_microsoft("GatherBlockQuantized", gather_blocks);
  add_quantised_family(t);
}

}  // namespace brisk::onnx
