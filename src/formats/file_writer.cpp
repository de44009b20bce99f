#include "formats/file_writer.h"

#include "base/error.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace brisk {

FileWriter::FileWriter(std::filesystem::path target) : target_(std::move(target)) {
  // A process of the same id that was killed may have left its file behind: then the next number.
  for (int number = 0; descriptor_ < 0; ++number) {
    temporary_ = fmt::format("{}.{}.{}.tmp", target_.native(), ::getpid(), number);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor_ < 0 && errno != EEXIST) fail();
  }
}

FileWriter::~FileWriter() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void FileWriter::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail();
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void FileWriter::commit() {
  if (::fsync(descriptor_) != 0) fail();
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) fail();
  ::close(std::exchange(descriptor_, -1));
}

void FileWriter::fail() const {
  user_error("cannot write '{}': {}", target_.native(), std::strerror(errno));
}

}  // namespace brisk
