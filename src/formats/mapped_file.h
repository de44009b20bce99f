// A file mapped into memory for reading: path in, bytes out. Every failure is a UserError of one
// line that names the path. A file that another process shortens while it is mapped raises SIGBUS
// on access, as with any mapping; readers check all sizes against the size at opening.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace brisk {

class MappedFile {
 public:
  /// How the bytes will be used (madvise).
  enum class Access { normal, sequential, random, will_need, dont_need };

  MappedFile() = default;
  /// Maps a regular file that is not empty; directories, pipes and devices are refused.
  static MappedFile open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  /// Valid for the life of the mapping; moving the MappedFile does not move the bytes.
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

  /// Hints at the use of part of the file (widened to whole pages); never fails.
  void advise(Access access, std::size_t offset = 0, std::size_t length = SIZE_MAX) const;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string path_;
};

}  // namespace brisk
