// Every environment variable that brisk reads, in one list: name, meaning, legal values, default.
// Input: the environment, read once. Output: options(), the same for the life of the process.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace brisk {

struct Options {
  int debug = 0;        // BRISK_DEBUG
  bool verify = false;  // BRISK_VERIFY
  std::string device;   // BRISK_DEVICE; empty: the engine chooses
  int threads = 0;      // BRISK_THREADS; 0: every processor this process may run on
  std::string cache;    // BRISK_CACHE; empty where there is neither it nor a home folder
  std::int64_t cache_limit_mb = 1024;  // BRISK_CACHE_LIMIT_MB
  std::string cpu = "native";          // BRISK_CPU
  std::int64_t tune = 0;               // BRISK_TUNE, seconds
  std::optional<bool> opencl_groups;   // BRISK_OPENCL_GROUPS; empty: by the device
  std::int64_t memory = 0;             // BRISK_MEMORY, bytes; 0: no limit
};

/// One row of the list, as `brisk --help` and the documentation print it.
struct OptionInfo {
  std::string_view name;
  std::string_view meaning;
  std::string_view legal;     // what parse_options accepts, in words
  std::string_view fallback;  // the default, in words
};

std::span<const OptionInfo> option_list();

/// "8G": bytes, or K, M or G of 1024, 1024² or 1024³; nothing where it is neither, or is 0.
std::optional<std::int64_t> parse_bytes(std::string_view text);

/// Looks a variable up: its value, or null where it is not set.
using Lookup = const char* (*)(const char* name);

/// Throws UserError, naming the variable and its legal values, where a value is not legal. A
/// variable set to the empty string counts as not set.
Options parse_options(Lookup lookup);

/// The process's options, parsed at the first call; safe from several threads.
const Options& options();

}  // namespace brisk
