// What several commands share: finding the model, choosing the device, numbers as text.
#include <CLI/CLI.hpp>

#include <array>
#include <cstdlib>

#include "base/error.h"
#include "cli/command.h"

namespace brisk {

std::filesystem::path model_path(const std::string& given) {
  if (!given.empty()) return given;
  std::error_code error;
  auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (int up = 0; up < 4 && !folder.empty(); ++up, folder = folder.parent_path()) {
    const auto model = folder / "models" / "default.gguf";
    if (std::filesystem::exists(model, error)) return model;
  }
  user_error("there is no model here; pass one, a GGUF file or a Hugging Face folder");
}

void DeviceChoice::add_to(CLI::App& command) {
  command.add_option("--threads", threads, "threads to compute with (default: all processors)")
      ->check(CLI::Range(1, 1024));
  command.add_option(
      "--device", device,
      "where to compute, as `brisk devices` lists it (default: the first NVIDIA GPU that works, "
      "else the CPU)");
}

void DeviceChoice::apply() const {
  if (threads > 0) ::setenv("BRISK_THREADS", std::to_string(threads).c_str(), 1);
  if (!device.empty()) ::setenv("BRISK_DEVICE", device.c_str(), 1);
}

void add_exact(CLI::App& command, bool& exact) {
  command.add_flag("--exact", exact,
                   "do not round activations to 8 bits before products with quantised weights; "
                   "slower");
}

namespace {

std::string scaled(double value, double step, const std::array<const char*, 5>& units) {
  std::size_t unit = 0;
  while (value >= step && unit + 1 < units.size()) {
    value /= step;
    ++unit;
  }
  return fmt::format("{:.{}f}{}", value, unit == 0 ? 0 : value < 10 ? 2 : 1, units[unit]);
}

}  // namespace

std::string byte_text(double bytes) {
  return scaled(bytes, 1024, {" B", " KiB", " MiB", " GiB", " TiB"});
}

std::string count_text(double count) { return scaled(count, 1000, {"", " K", " M", " G", " T"}); }

}  // namespace brisk
