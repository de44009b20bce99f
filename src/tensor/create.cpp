// Tensors from data and from rules.
#include "brisk/create.h"

#include <cmath>

#include "tensor/build.h"
#include "tensor/realize.h"

namespace brisk {

namespace {

Shape checked_shape(const Dims& dims) {
  for (const Dim& dim : dims) {
    if (dim.lower() < 0) call_error("wants sizes of at least 0, got {}", to_string(dims));
  }
  return shape_of(dims);
}

void want_dtype(DType dtype) {
  if (dtype == DType::none) call_error("wants a dtype");
}

Shape stored_shape(const Dims& dims, DType dtype) {
  want_dtype(dtype);
  const Shape shape = checked_shape(dims);
  __int128 bytes = byte_size(dtype);
  for (const Size& size : shape) {
    bytes *= fixed(size);
    if (bytes > (__int128{1} << 62)) call_error("shape {} is too large", to_string(shape));
  }
  return shape;
}

Tensor filled(const Dims& dims, const Node& value) {
  return tensor_of(expand_to(value, checked_shape(dims)));
}

Tensor sequence(double start, double step, std::int64_t count, DType dtype) {
  const Node at = iota(std::max<std::int64_t>(count, 0));
  if (!is_float(dtype)) {
    Node values = at;
    if (step != 1) values = mul(values, constant_int(static_cast<std::int64_t>(step)));
    if (start != 0) values = add(values, constant_int(static_cast<std::int64_t>(start)));
    return tensor_of(cast(values, dtype));
  }
  const DType wide = compute_dtype(dtype);
  const Node values =
      add(mul(cast(at, wide), constant_float(step, wide)), constant_float(start, wide));
  return tensor_of(cast(values, dtype));
}

}  // namespace

Tensor from_memory(std::shared_ptr<const void> owner, std::span<const std::byte> bytes,
                   const Dims& dims, DType dtype) {
  const Call call("from_memory");
  const Shape shape = stored_shape(dims, dtype);
  const std::int64_t wanted = element_count(shape).value() * byte_size(dtype);
  if (bytes.size() != static_cast<std::size_t>(wanted)) {
    call_error("shape {} of {} wants {} bytes, got {}", to_string(shape), name(dtype), wanted,
               bytes.size());
  }
  return tensor_of(executor().upload(dtype, shape, bytes, std::move(owner)));
}

Tensor from_bytes(std::span<const std::byte> bytes, const Dims& shape, DType dtype) {
  const Call call("from_bytes");
  return from_memory(nullptr, bytes, shape, dtype);
}

Tensor empty(const Dims& dims, DType dtype) {
  const Call call("empty");
  return tensor_of(executor().allocate(dtype, stored_shape(dims, dtype)));
}

Tensor full(const Dims& shape, const Tensor& value, DType dtype) {
  const Call call("full");
  want_dtype(dtype);
  want_rank(value, "a value", 0, 0);
  return filled(shape, node_of(cast(value, dtype)));
}
Tensor full(const Dims& shape, const Tensor& value) {
  const Call call("full");
  return full(shape, value, value.dtype());
}
Tensor zeros(const Dims& shape, DType dtype) {
  const Call call("zeros");
  return full(shape, 0, dtype);
}
Tensor ones(const Dims& shape, DType dtype) {
  const Call call("ones");
  return full(shape, 1, dtype);
}
Tensor full_like(const Tensor& x, const Tensor& value) {
  const Call call("full_like");
  return full(x.dims(), value, x.dtype());
}
Tensor zeros_like(const Tensor& x) {
  const Call call("zeros_like");
  return full_like(x, 0);
}
Tensor ones_like(const Tensor& x) {
  const Call call("ones_like");
  return full_like(x, 1);
}

Tensor arange(const Dim& stop) {
  const Call call("arange");
  if (stop.lower() < 0) call_error("wants a stop of at least 0, got {}", to_string(stop));
  return tensor_of(iota(stop.size()));
}
Tensor arange(std::int64_t stop) { return arange(Dim(stop)); }
Tensor arange(std::int64_t start, std::int64_t stop, std::int64_t step) {
  const Call call("arange");
  if (step == 0) call_error("wants a step other than 0");
  const std::int64_t span = stop - start;
  const std::int64_t count = step > 0 ? (span + step - 1) / step : (span + step + 1) / step;
  const Node at =
      iota(std::max<std::int64_t>(span == 0 || (span > 0) != (step > 0) ? 0 : count, 0));
  const Node scaled = step == 1 ? at : mul(at, constant_int(step));
  return tensor_of(start == 0 ? scaled : add(scaled, constant_int(start)));
}
Tensor arange(double start, double stop, double step, DType dtype) {
  const Call call("arange");
  want_dtype(dtype);
  const double count = std::ceil((stop - start) / step);
  if (!(step != 0) || !(std::fabs(count) < 0x1p62)) {
    call_error("wants finite bounds and a step other than 0, got {} to {} by {}", start, stop,
               step);
  }
  return sequence(start, step, static_cast<std::int64_t>(count), dtype);
}

// From the nearer end, so that both ends come out exactly.
Tensor linspace(double start, double stop, std::int64_t count, DType dtype) {
  const Call call("linspace");
  want_dtype(dtype);
  if (count < 0) call_error("wants a count of at least 0, got {}", count);
  const DType wide = compute_dtype(dtype);
  const double step = count > 1 ? (stop - start) / static_cast<double>(count - 1) : 0;
  const Tensor at = arange(count).cast(wide);
  const Tensor back = tensor_of(iota(std::max<std::int64_t>(count, 0))) * -1 + (count - 1);
  const Tensor rising = at * step + start;
  const Tensor falling = stop - back.cast(wide) * step;
  return where(at<static_cast<double>(count) / 2, rising, count> 1 ? falling : rising).cast(dtype);
}

Tensor eye(std::int64_t rows, std::int64_t columns, DType dtype) {
  const Call call("eye");
  if (columns < 0) columns = rows;
  if (rows < 0) call_error("wants at least 0 rows, got {}", rows);
  const Tensor row = arange(rows).reshape({rows, 1});
  return (row == arange(columns)).cast(dtype);
}

}  // namespace brisk
