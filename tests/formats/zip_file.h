// Zip files for tests of what reads them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace brisk {

template <typename T>
std::string number(T value) {
  std::string text(sizeof value, '\0');
  std::memcpy(text.data(), &value, sizeof value);
  return text;
}

struct ZippedFile {
  std::string name;
  std::string bytes;
  std::uint16_t method = 0;
  std::uint32_t size = 0;  // of what the bytes stand for; 0: theirs
};

// A zip file; `zip64` as PyTorch's writer makes it where a file is large.
inline std::string zip(const std::vector<ZippedFile>& files, bool zip64 = false) {
  std::string out;
  std::string directory;
  for (const ZippedFile& file : files) {
    const auto size = static_cast<std::uint32_t>(file.bytes.size());
    const std::uint32_t unpacked = file.size == 0 ? size : file.size;
    const auto name = static_cast<std::uint16_t>(file.name.size());
    const std::uint32_t all = 0xffffffff;
    const std::string extra =
        zip64 ? number<std::uint16_t>(1) + number<std::uint16_t>(24) + number<std::uint64_t>(size) +
                    number<std::uint64_t>(size) + number<std::uint64_t>(out.size())
              : "";
    directory += "PK\1\2" + std::string(4, '\0') + number<std::uint16_t>(0) + number(file.method) +
                 std::string(8, '\0') + number(zip64 ? all : size) +
                 number(zip64 ? all : unpacked) + number(name) +
                 number(static_cast<std::uint16_t>(extra.size())) + std::string(10, '\0') +
                 number(zip64 ? all : static_cast<std::uint32_t>(out.size())) + file.name + extra;
    out += "PK\3\4" + std::string(22, '\0') + number(name) + number<std::uint16_t>(3) + file.name +
           "pad" + file.bytes;
  }
  const std::size_t begin = out.size();
  const auto count = static_cast<std::uint16_t>(files.size());
  out += directory;
  if (zip64) {
    const std::size_t end = out.size();
    out += "PK\6\6" + number<std::uint64_t>(44) + std::string(12, '\0') +
           number<std::uint64_t>(count) + number<std::uint64_t>(count) +
           number<std::uint64_t>(directory.size()) + number<std::uint64_t>(begin);
    out += "PK\6\7" + std::string(4, '\0') + number<std::uint64_t>(end) + number<std::uint32_t>(1);
  }
  return out + "PK\5\6" + std::string(4, '\0') + number(count) + number(count) +
         number(static_cast<std::uint32_t>(directory.size())) +
         number(zip64 ? 0xffffffffU : static_cast<std::uint32_t>(begin)) + std::string(2, '\0');
}

}  // namespace brisk
