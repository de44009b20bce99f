// A file written whole or not at all: bytes go to a new file beside the target, which takes the
// target's name only in commit(). A full disk or a kill leaves what was there before.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace brisk {

class FileWriter {
 public:
  explicit FileWriter(std::filesystem::path target);
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  /// Without commit() before: removes what was written.
  ~FileWriter();

  void append(std::span<const std::byte> bytes);
  /// Flushes to the disk and renames over the target.
  void commit();

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path target_;
  std::string temporary_;
  int descriptor_ = -1;
};

}  // namespace brisk
