// The real vocabularies of ../shared/data for tests: unpacks an archive into a temporary folder
// once. A test skips, saying so, where the data or tar is missing.
#pragma once

#include "formats/temporary_folder.h"
#include "shared_data.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace brisk {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// An archive's files; `path` is empty where there is nothing to unpack.
struct UnpackedArchive {
  explicit UnpackedArchive(const std::string& archive) {
    const auto source = shared_data() / archive;
    if (!std::filesystem::exists(source)) return;
    const std::string command =
        "tar -xJf '" + source.string() + "' -C '" + folder.path().string() + "'";
    if (std::system(command.c_str()) == 0) path = folder.path();
  }
  TemporaryFolder folder;
  std::filesystem::path path;
};

}  // namespace brisk

#define BRISK_NEED_DATA(archive, name)        \
  const brisk::UnpackedArchive archive(name); \
  if (archive.path.empty()) GTEST_SKIP() << "needs ../shared/data/" << name << " and tar with xz"
