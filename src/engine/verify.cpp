#include "engine/verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "graph/elementwise.h"
#include "kernel/interpret.h"
#include "kernel/print.h"

namespace brisk {

namespace {

using Bytes = std::vector<std::byte>;

double tolerance(DType dtype) {
  switch (dtype) {
    case DType::float64: return 1e-9;
    case DType::float32: return 1e-3;
    case DType::float16: return 1e-2;
    case DType::bfloat16: return 5e-2;
    case DType::float8_e4m3:
    case DType::float8_e5m2: return 0.5;
    default: return 0;
  }
}

std::vector<double> reals(DType dtype, const Bytes& bytes) {
  const auto count = static_cast<std::int64_t>(bytes.size()) / byte_size(dtype);
  std::vector<double> values(static_cast<std::size_t>(count));
  const Operand source{dtype, bytes.data(), 1};
  apply(Op::cast_, DType::float64, {&source, 1}, count,
        reinterpret_cast<std::byte*>(values.data()));
  return values;
}

// The first element that differs, as text; "" where none does.
std::string difference(DType dtype, const Bytes& before, const Bytes& want, const Bytes& got) {
  if (want == got) return "";
  const auto size = static_cast<std::size_t>(byte_size(dtype));
  const std::vector<double> right = reals(dtype, want);
  const std::vector<double> real = reals(dtype, got);
  double magnitude = 0;
  double written = 0;
  for (std::size_t i = 0; i < right.size(); ++i) {
    if (std::memcmp(&before[i * size], &want[i * size], size) == 0 || !std::isfinite(right[i]))
      continue;
    magnitude += std::fabs(right[i]);
    written += 1;
  }
  const double scale = written == 0 ? 0 : magnitude / written;
  for (std::size_t i = 0; i < right.size(); ++i) {
    if (std::memcmp(&want[i * size], &got[i * size], size) == 0) continue;
    const double a = right[i];
    const double b = real[i];
    const bool same =
        is_float(dtype) && (a == b || (std::isnan(a) && std::isnan(b)) ||
                            std::fabs(a - b) <= tolerance(dtype) * std::max(std::fabs(a), scale));
    if (!same) return fmt::format("element {} is {}, the interpreter says {}", i, b, a);
  }
  return "";
}

}  // namespace

void launch_verified(Device& device, const Launch& launch, std::string_view name,
                     const LoweredKernel& kernel, std::span<const ArgumentMemory> arguments) {
  check(arguments.size() == kernel.params.size(), "a place for every argument of the kernel");
  const auto content = [&](std::size_t i) {
    Bytes bytes(arguments[i].bytes);
    device.copy_out(bytes, *arguments[i].memory, arguments[i].offset);
    return bytes;
  };
  device.synchronize();
  std::vector<Bytes> before;
  for (std::size_t i = 0; i < arguments.size(); ++i) before.push_back(content(i));
  std::vector<Bytes> want = before;
  std::vector<HostBuffer> host;
  for (Bytes& bytes : want) host.push_back({bytes.data(), static_cast<std::int64_t>(bytes.size())});
  const auto fail = [&](const std::string& what) {
    throw InternalError(
        fmt::format("BRISK_VERIFY: kernel '{}': {}\n{}", name, what, print(kernel)));
  };
  try {
    interpret(kernel, host, launch.variables);
  } catch (const InternalError& error) {
    fail(error.what());
  }
  device.launch(launch);
  device.synchronize();
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const DType dtype = kernel.params[i].dtype;
    const std::string wrong = difference(dtype, before[i], want[i], content(i));
    if (!wrong.empty()) fail(fmt::format("argument p{} ({}), {}", i, brisk::name(dtype), wrong));
  }
}

}  // namespace brisk
