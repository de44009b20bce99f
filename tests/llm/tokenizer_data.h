// The real vocabularies of ../shared/data for tests: unpacks an archive into a temporary folder
// once. A test skips, saying so, where the data or tar is missing.
#pragma once

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace brisk {

inline std::filesystem::path shared_data() {
  return std::filesystem::path(BRISK_SOURCE_DIR) / ".." / "shared" / "data";
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// An archive's files; `path` is empty where there is nothing to unpack.
struct UnpackedArchive {
  std::filesystem::path path;
  explicit UnpackedArchive(const std::string& archive) {
    const auto source = shared_data() / archive;
    if (!std::filesystem::exists(source)) return;
    std::string folder = (std::filesystem::temp_directory_path() / "brisk-test-XXXXXX").string();
    if (!mkdtemp(folder.data())) return;
    path = folder;
    const std::string command = "tar -xJf '" + source.string() + "' -C '" + folder + "'";
    if (std::system(command.c_str()) == 0) return;
    std::filesystem::remove_all(path);
    path.clear();
  }
  ~UnpackedArchive() {
    std::error_code ignored;
    if (!path.empty()) std::filesystem::remove_all(path, ignored);
  }
  UnpackedArchive(const UnpackedArchive&) = delete;
  UnpackedArchive& operator=(const UnpackedArchive&) = delete;
};

}  // namespace brisk

#define BRISK_NEED_DATA(archive, name)        \
  const brisk::UnpackedArchive archive(name); \
  if (archive.path.empty()) GTEST_SKIP() << "needs ../shared/data/" << name << " and tar with xz"
