// Where the data that tests share lies: in the folder BRISK_DATA, or in ../shared/data beside the
// tree.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace brisk {

inline std::filesystem::path shared_data() {
  const char* given = std::getenv("BRISK_DATA");
  if (given != nullptr) return given;
  return std::filesystem::path(BRISK_SOURCE_DIR) / ".." / "shared" / "data";
}

}  // namespace brisk
