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

double scale_of(std::span<const double> values) {
  double magnitude = 0;
  double count = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    magnitude += std::fabs(value);
    count += 1;
  }
  return count == 0 ? 0 : magnitude / count;
}

// Of a value and what it should be, where the values have this magnitude.
bool near(DType dtype, double want, double got, double scale) {
  if (want == got || (std::isnan(want) && std::isnan(got))) return true;
  return is_float(dtype) &&
         std::fabs(want - got) <= tolerance(dtype) * std::max(std::fabs(want), scale);
}

// The first element that differs, as text; "" where none does.
std::string difference(DType dtype, const Bytes& before, const Bytes& want, const Bytes& got) {
  if (want == got) return "";
  const auto size = static_cast<std::size_t>(byte_size(dtype));
  const std::vector<double> right = reals(dtype, want);
  const std::vector<double> real = reals(dtype, got);
  std::vector<double> written;
  for (std::size_t i = 0; i < right.size(); ++i) {
    if (std::memcmp(&before[i * size], &want[i * size], size) != 0) written.push_back(right[i]);
  }
  const double scale = scale_of(written);
  for (std::size_t i = 0; i < right.size(); ++i) {
    if (std::memcmp(&want[i * size], &got[i * size], size) == 0) continue;
    if (!is_float(dtype) || !near(dtype, right[i], real[i], scale))
      return fmt::format("element {} is {}, the interpreter says {}", i, real[i], right[i]);
  }
  return "";
}

}  // namespace

bool nearly_equal(DType dtype, std::span<const double> want, std::span<const double> got) {
  if (want.size() != got.size()) return false;
  const double scale = scale_of(want);
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!near(dtype, want[i], got[i], scale)) return false;
  }
  return true;
}

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
