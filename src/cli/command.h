// The commands of the program `brisk`: each file of this folder adds one to the command line's
// parser. A command runs in its callback; it reports failure by an exception (main.cpp prints it),
// success by returning.
#pragma once

#include <fmt/core.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <utility>

namespace CLI {  // NOLINT(readability-identifier-naming): the name that CLI11 has
class App;
}

namespace brisk {

void add_run(CLI::App& program);
void add_inspect(CLI::App& program);
void add_devices(CLI::App& program);
void add_bench(CLI::App& program);
void add_tune(CLI::App& program);

/// Ends the program with this status and without a message.
struct Exit {
  int status;
};

/// The path given, or where there is none the repository's own model, models/default.gguf beside
/// one of the folders above the program. UserError where there is none either.
std::filesystem::path model_path(const std::string& given);

/// --threads and --device of the commands that compute. apply() must come before anything asks for
/// base/options.h.
struct DeviceChoice {
  int threads = 0;
  std::string device;
  void add_to(CLI::App& command);
  void apply() const;
};

/// --exact: products with quantised weights in float32, without rounding what they are multiplied
/// with to 8 bits (formats/quant_tensors.h).
void add_exact(CLI::App& command, bool& exact);

/// On stderr; that nobody listens there is no reason to stop.
template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
  std::fputs(fmt::format(format, std::forward<Args>(args)...).c_str(), stderr);
}

/// 1536 → "1.5 KiB".
std::string byte_text(double bytes);
/// 1100048384 → "1.10 G".
std::string count_text(double count);

}  // namespace brisk
