// Products in few bits: which dtype an Autocast gives them, and those whose rows have scales.
#include "brisk/precision.h"

#include <cmath>
#include <numeric>

#include "tensor/autocast.h"
#include "tensor/contract.h"
#include "tensor/own_gradient.h"

namespace brisk {

namespace {
thread_local DType products_in = DType::float32;
}

Autocast::Autocast(DType dtype) : before_(products_in) {
  const Call call("Autocast");
  if (dtype != DType::float16 && dtype != DType::bfloat16 && dtype != DType::float32) {
    call_error("wants float16, bfloat16 or float32, got {}", name(dtype));
  }
  products_in = dtype;
}
Autocast::~Autocast() { products_in = before_; }

DType product_operands(DType dtype) { return dtype == DType::float32 ? products_in : dtype; }

DType loss_dtype(DType dtype) {
  const DType plain = float_result(dtype);
  return products_in == DType::float32 ? plain : promote(plain, DType::float32);
}

namespace {

// The nearest whole numbers, even ones of two as near, of magnitudes below 2^22: sums with a number
// whose last place is one are rounded so. A tenth of the operations of round().
Tensor whole(const Tensor& x) {
  constexpr double ones = 0x1.8p23;
  return (x + ones) - ones;
}

// All axes but the last as one.
Tensor matrix(const Tensor& x) { return x.reshape({-1, x.size(-1)}); }

// Rows, each a multiple of what `values` has.
struct Rows {
  Tensor values;
  Tensor scale;  // [rows, 1]
};

double greatest_of(DType dtype) {
  return dtype == DType::int8 ? 127 : dtype == DType::float8_e4m3 ? 448 : 57344;
}
Tensor scale_for(const Tensor& most, DType dtype) {
  return where(most > 0, most / greatest_of(dtype), 1);
}
Tensor multiples(const Tensor& x, const Tensor& scale, DType dtype) {
  const Tensor units = clamp(x / scale, -greatest_of(dtype), greatest_of(dtype));
  return dtype == DType::int8 ? whole(units).cast(dtype) : units.cast(dtype);
}

// Of x as it lies, so that one kernel can make them with what x itself is made of by row.
Rows scaled_rows(const Tensor& x, DType dtype) {
  const Tensor scale = scale_for(amax(x.abs(), -1, true), dtype);
  return {matrix(multiples(x, scale, dtype)), matrix(scale)};
}

// The columns of x as rows.
Rows scaled_columns(const Tensor& x, DType dtype) {
  std::vector<int> axes(static_cast<std::size_t>(x.rank() - 1));
  std::iota(axes.begin(), axes.end(), 0);
  const Tensor scale = scale_for(amax(x.abs(), axes, true), dtype).reshape({-1, 1});
  return {multiples(matrix(x).transpose(0, 1), scale, dtype), scale};
}

// a[M, K] · b[N, K]ᵀ of narrow numbers, in float32.
Tensor narrow_product(const Tensor& a, const Tensor& b) {
  const DType sum = a.dtype() == DType::int8 ? DType::int32 : DType::float32;
  return tensor_of(product_by_rows(node_of(a.cast(sum)), node_of(b.cast(sum))))
      .cast(DType::float32);
}

// a[M, K] · b[N, K]ᵀ of rows that are rounded to these dtypes, in float32.
Tensor scaled_rows_product(const Tensor& a, DType a_dtype, const Tensor& b, DType b_dtype) {
  const Rows left = scaled_rows(a, a_dtype);
  const Rows right = scaled_rows(b, b_dtype);
  return narrow_product(left.values, right.values) * left.scale * right.scale.transpose(0, 1);
}

// aᵀ[M, K] · b[N, K]ᵀ, where rows of b are rounded as in every other product of b: what they are
// multiples of goes into those of a, and columns of these are rounded. So b needs no other scales.
Tensor scaled_columns_product(const Tensor& a, DType a_dtype, const Tensor& b, DType b_dtype) {
  const Rows right = scaled_rows(b, b_dtype);
  Dims column = a.dims();
  column.back() = 1;
  const Rows left = scaled_columns(a * right.scale.reshape(column), a_dtype);
  return narrow_product(left.values, right.values.transpose(0, 1)) * left.scale;
}

// ---- blocks in 16 bits --------------------------------------------------------------------------

constexpr std::int64_t block = 32;
constexpr double finer = 254;  // what int8 leaves is at most half a unit

// x [rows, K] as [rows, blocks, block], with zeros behind.
Tensor in_blocks(const Tensor& x) {
  const std::int64_t size = fixed(node_of(x).shape()[1]);
  return pad(x, {0, (block - size % block) % block}).reshape({x.size(0), -1, block});
}

// The greatest elements of each block's rows, squared and summed, beside those of other blocks.
Tensor greatness(const Tensor& blocks) {
  const Tensor sum = square(amax(blocks.abs(), -1)).sum(0);
  const Tensor mean = sum.mean();
  return where(mean > 0, sum / where(mean > 0, mean, 1), 0);
}

// Rows in 16 bits: multiples of (coarse + fine / 254) · scale.
struct FineRows {
  Tensor coarse, fine;  // whole numbers up to 127
  Tensor scale;         // [rows, 1]
};

FineRows fine_rows(const Tensor& x) {
  const Tensor most = amax(x.abs(), -1, true);
  const Tensor scale = where(most > 0, most / 127, 1);
  const Tensor units = x / scale;
  const Tensor coarse = whole(units);
  return {coarse.cast(DType::int8), whole((units - coarse) * finer).cast(DType::int8), scale};
}

// a[M, K] · b[N, K]ᵀ; what is fine in both counts for nothing.
Tensor fine_product(const Tensor& a, const Tensor& b) {
  const FineRows left = fine_rows(a);
  const FineRows right = fine_rows(b);
  const Tensor cross = narrow_product(cat({left.fine, left.coarse}, 1).contiguous(),
                                      cat({right.coarse, right.fine}, 1).contiguous());
  const Tensor sums = narrow_product(left.coarse, right.coarse) + cross / finer;
  return sums * left.scale * right.scale.transpose(0, 1);
}

// The same of bytes, but for the share of blocks with the greatest elements.
Tensor product_with_fallback(const Tensor& a, const Tensor& b, double share) {
  const Tensor left = in_blocks(matrix(a));
  const Tensor right = in_blocks(matrix(b));
  const std::int64_t blocks = fixed(node_of(left).shape()[1]);
  const auto count = static_cast<std::int64_t>(std::ceil(share * static_cast<double>(blocks)));
  const Tensor chosen = topk(greatness(left) + greatness(right), count).indices;  // [count]
  const Tensor fine = any(chosen.unsqueeze(1) == arange(blocks), {0});
  const auto others = [&](const Tensor& x) {
    return where(fine.unsqueeze(1), 0, x).flatten(1).contiguous();
  };
  const auto picked = [&](const Tensor& x) {
    return index_select(x, 1, chosen).flatten(1).contiguous();
  };
  return scaled_rows_product(others(left), DType::int8, others(right), DType::int8) +
         fine_product(picked(left), picked(right));
}

Tensor scaled_product(const Tensor& x, const Tensor& weight, const ScaledOptions& options) {
  const bool bytes = options.format == Scaled::int8;
  const DType values = bytes ? DType::int8 : DType::float8_e4m3;
  const DType gradients = bytes ? DType::int8 : DType::float8_e5m2;
  const auto product = [=](const Tensor& a, DType a_dtype, const Tensor& b, DType b_dtype) {
    return bytes && options.fallback > 0 ? product_with_fallback(a, b, options.fallback)
                                         : scaled_rows_product(a, a_dtype, b, b_dtype);
  };
  Dims shape = x.dims();
  shape.back() = weight.size(0);
  return with_own_gradient(
      {x, weight}, [&] { return product(x, values, weight, values).reshape(shape); },
      [=](const Tensor&, const std::vector<Tensor>& in, const Tensor& g) {
        const Tensor by_input =
            product(g, gradients, in[1].transpose(0, 1), values).reshape(in[0].dims());
        const auto turned = [](const Tensor& rows) { return matrix(rows).transpose(0, 1); };
        const DType half = DType::bfloat16;
        if (options.bfloat16_weight_gradient) {
          return std::vector<Tensor>{by_input,
                                     tensor_of(product_by_rows(node_of(turned(g).cast(half)),
                                                               node_of(turned(in[0]).cast(half))))};
        }
        if (options.fallback > 0)
          return std::vector<Tensor>{by_input,
                                     product(turned(g), gradients, turned(in[0]), values)};
        return std::vector<Tensor>{by_input, scaled_columns_product(g, gradients, in[0], values)};
      });
}

}  // namespace

Tensor scaled_linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
                     const ScaledOptions& options) {
  const Call call("scaled_linear");
  want_rank(x, "an input", 1, 100);
  want_rank(weight, "a weight", 2, 2);
  if (!is_float(x.dtype()) || !is_float(weight.dtype())) {
    call_error("wants floating point, got {} and {}", name(x.dtype()), name(weight.dtype()));
  }
  if (!(options.fallback >= 0 && options.fallback <= 1))
    call_error("wants a share of blocks from 0 to 1 to fall back, got {}", options.fallback);
  if (x.size(-1) != weight.size(1)) {
    call_error("shapes {} and {} do not multiply: inner sizes {} and {} differ",
               to_string(x.dims()), to_string(weight.dims()), to_string(x.size(-1)),
               to_string(weight.size(1)));
  }
  Tensor y = scaled_product(x.cast(DType::float32), weight.cast(DType::float32), options);
  if (bias.defined()) y = y + bias.cast(DType::float32);
  return y.cast(product_operands(x.dtype()));
}

}  // namespace brisk
