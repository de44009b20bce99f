// Files of examples' data, which are often compressed.
#pragma once

#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

/// The bytes of a file, unpacked where it is .gz or .xz (gzip and xz are called). None where it
/// cannot be read, which the program says on stderr.
inline std::string read_packed(const std::filesystem::path& path) {
  const std::string ending = path.extension().string();
  const std::string program = ending == ".gz" ? "gzip -dc" : ending == ".xz" ? "xz -dc" : "cat";
  std::string quoted;
  for (const char c : path.string()) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(
      popen((program + " '" + quoted + "'").c_str(), "r"), pclose);
  std::string bytes;
  std::array<char, 1 << 16> part;
  while (const std::size_t n = pipe ? fread(part.data(), 1, part.size(), pipe.get()) : 0)
    bytes.append(part.data(), n);
  return bytes;
}
