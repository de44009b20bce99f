#include "base/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <limits>

#include "base/error.h"

namespace brisk {

namespace {

constexpr std::array<OptionInfo, 10> list = {{
    {"BRISK_DEBUG",
     "what to show on stderr: 1 kernels with their time, GFLOP/s and GB/s (of work at the upper "
     "bounds of sizes), 2 also graphs and kernels as they are lowered, 3 also as they are "
     "optimized, 4 also generated code, 5 also assembly",
     "a whole number from 0 to 5", "0"},
    {"BRISK_VERIFY", "check every kernel against the reference interpreter; slow", "0 or 1", "0"},
    {"BRISK_DEVICE", "the device to run on", "a device's name, such as cpu or cuda:1",
     "the first NVIDIA GPU that works, else cpu"},
    {"BRISK_THREADS", "threads that run kernels on the CPU", "a whole number from 1 to 1024",
     "every processor the process may run on"},
    {"BRISK_CACHE", "folder of the kernel cache", "an absolute path",
     "$XDG_CACHE_HOME/brisk, or ~/.cache/brisk"},
    {"BRISK_CACHE_LIMIT_MB", "size of the kernel cache above which its oldest entries go",
     "a whole number of megabytes from 1 to 1000000", "1024"},
    {"BRISK_CPU", "instruction set to generate for instead of the machine's own",
     "native, x86-64-v2, x86-64-v3 or x86-64-v4", "native"},
    {"BRISK_TUNE",
     "seconds, in all, that go into trying out new kernels on the device (see brisk tune)",
     "a whole number of seconds from 0 to 86400", "0"},
    {"BRISK_OPENCL_GROUPS",
     "whether kernels of OpenCL devices are for groups of work items with local memory", "0 or 1",
     "1 on GPUs, 0 on CPUs"},
    {"BRISK_MEMORY",
     "bytes that the intermediate values of a computation may take: what they would take beyond is "
     "computed again where it is read",
     "a whole number from 1, of bytes or with K, M or G of 1024, 1024² or 1024³", "no limit"},
}};

// Reads the variables of `list` and says of a bad one what its row says.
class Reader {
 public:
  explicit Reader(Lookup lookup) : lookup_(lookup) {}

  // The value, empty where it is not set.
  std::string_view text(const char* name) const {
    const char* value = lookup_(name);
    return value ? value : "";
  }

  template <typename T>
  void number(const char* name, T lowest, T highest, T& result) const {
    const std::string_view value = text(name);
    if (value.empty()) return;
    T parsed{};
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, parsed);
    if (error != std::errc{} || stop != end || parsed < lowest || parsed > highest) refuse(name);
    result = parsed;
  }

  // A bool, or one that may be empty.
  template <typename T>
  void flag(const char* name, T& result) const {
    int value = -1;
    number(name, 0, 1, value);
    if (value >= 0) result = value == 1;
  }

  [[noreturn]] void refuse(std::string_view name) const {
    const auto* row = std::find_if(list.begin(), list.end(),
                                   [&](const OptionInfo& info) { return info.name == name; });
    check(row != list.end(), "every option is in the list");
    user_error("{} is \"{}\"; it may be {}", name, text(row->name.data()), row->legal);
  }

 private:
  Lookup lookup_;
};

// A word of lower-case letters, with an index after a colon where there are several.
bool is_device_name(std::string_view value) {
  const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const std::size_t colon = value.find(':');
  const std::string_view word = value.substr(0, colon);
  if (word.empty() || !std::all_of(word.begin(), word.end(), letter)) return false;
  if (colon == std::string_view::npos) return true;
  const std::string_view index = value.substr(colon + 1);
  return !index.empty() && index.size() <= 3 && std::all_of(index.begin(), index.end(), digit);
}

std::string cache_folder(const Reader& reader) {
  if (const auto folder = reader.text("BRISK_CACHE"); !folder.empty()) {
    if (folder.front() != '/') reader.refuse("BRISK_CACHE");
    return std::string(folder);
  }
  // The XDG base directory specification has a relative path ignored.
  if (const auto base = reader.text("XDG_CACHE_HOME"); base.starts_with('/')) {
    return fmt::format("{}/brisk", base);
  }
  const auto home = reader.text("HOME");
  return home.empty() ? std::string() : fmt::format("{}/.cache/brisk", home);
}

}  // namespace

std::span<const OptionInfo> option_list() { return list; }

std::optional<std::int64_t> parse_bytes(std::string_view text) {
  constexpr std::string_view units = "KMG";
  const std::size_t unit = text.empty() ? units.npos : units.find(text.back());
  if (unit != units.npos) text.remove_suffix(1);
  const int shift = unit == units.npos ? 0 : 10 * (static_cast<int>(unit) + 1);
  std::int64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc{} && stop == text.data() + text.size();
  if (!whole || number < 1 || number > std::numeric_limits<std::int64_t>::max() >> shift) return {};
  return number << shift;
}

Options parse_options(Lookup lookup) {
  const Reader reader(lookup);
  Options result;
  reader.number("BRISK_DEBUG", 0, 5, result.debug);
  reader.flag("BRISK_VERIFY", result.verify);
  reader.flag("BRISK_OPENCL_GROUPS", result.opencl_groups);
  result.device = reader.text("BRISK_DEVICE");
  if (!result.device.empty() && !is_device_name(result.device)) reader.refuse("BRISK_DEVICE");
  reader.number("BRISK_THREADS", 1, 1024, result.threads);
  result.cache = cache_folder(reader);
  reader.number<std::int64_t>("BRISK_CACHE_LIMIT_MB", 1, 1'000'000, result.cache_limit_mb);
  reader.number<std::int64_t>("BRISK_TUNE", 0, 86400, result.tune);
  if (const auto memory = reader.text("BRISK_MEMORY"); !memory.empty()) {
    const auto bytes = parse_bytes(memory);
    if (!bytes) reader.refuse("BRISK_MEMORY");
    result.memory = *bytes;
  }
  if (const auto cpu = reader.text("BRISK_CPU"); !cpu.empty()) {
    constexpr std::array<std::string_view, 4> known = {"native", "x86-64-v2", "x86-64-v3",
                                                       "x86-64-v4"};
    if (std::find(known.begin(), known.end(), cpu) == known.end()) reader.refuse("BRISK_CPU");
    result.cpu = cpu;
  }
  return result;
}

const Options& options() {
  static const Options parsed =
      parse_options([](const char* name) -> const char* { return std::getenv(name); });
  return parsed;
}

}  // namespace brisk
