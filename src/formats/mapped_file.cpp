#include "formats/mapped_file.h"

#include "base/error.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace brisk {
namespace {

struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

MappedFile MappedFile::open(const std::filesystem::path& path) {
  const std::string& shown = path.native();
  // O_NONBLOCK: opening a pipe without a writer must not hang.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.value < 0) user_error("cannot open '{}': {}", shown, std::strerror(errno));
  struct stat status {};
  if (::fstat(file.value, &status) != 0) {
    user_error("cannot read '{}': {}", shown, std::strerror(errno));
  }
  if (S_ISDIR(status.st_mode)) user_error("cannot read '{}': it is a directory", shown);
  if (!S_ISREG(status.st_mode)) user_error("cannot read '{}': it is not a regular file", shown);
  if (status.st_size == 0) user_error("cannot read '{}': the file is empty", shown);

  MappedFile mapped;
  mapped.size_ = static_cast<std::size_t>(status.st_size);
  mapped.path_ = path.native();
  void* address = ::mmap(nullptr, mapped.size_, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (address == MAP_FAILED) {
    user_error("cannot map '{}' ({} bytes): {}", shown, mapped.size_, std::strerror(errno));
  }
  mapped.data_ = static_cast<const std::byte*>(address);
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::advise(Access access, std::size_t offset, std::size_t length) const {
  if (offset >= size_) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t start = offset / page * page;
  const std::size_t end = offset + std::min(length, size_ - offset);
  int advice = MADV_NORMAL;
  switch (access) {
    case Access::normal: advice = MADV_NORMAL; break;
    case Access::sequential: advice = MADV_SEQUENTIAL; break;
    case Access::random: advice = MADV_RANDOM; break;
    case Access::will_need: advice = MADV_WILLNEED; break;
    case Access::dont_need: advice = MADV_DONTNEED; break;
  }
  ::madvise(const_cast<std::byte*>(data_ + start), end - start, advice);
}

}  // namespace brisk
