// Buffers in the host's memory: owned bytes, or bytes that someone else keeps.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "graph/node.h"

namespace brisk {

class HostStorage : public Storage {
 public:
  explicit HostStorage(std::vector<std::byte> bytes) : own_(std::move(bytes)), bytes_(own_) {}
  HostStorage(std::shared_ptr<const void> owner, std::span<const std::byte> bytes)
      : owner_(std::move(owner)), bytes_(bytes) {}

  std::span<const std::byte> bytes() const { return bytes_; }
  void assign(std::vector<std::byte> bytes) {
    own_ = std::move(bytes);
    bytes_ = own_;
    owner_.reset();
  }
  /// Into memory of its own: what another keeps stays as it is.
  void write(std::span<const std::byte> bytes, std::size_t offset) {
    check(offset <= bytes_.size() && bytes.size() <= bytes_.size() - offset,
          "bytes that the buffer holds");
    if (owner_) assign({bytes_.begin(), bytes_.end()});
    std::copy(bytes.begin(), bytes.end(), own_.begin() + static_cast<std::ptrdiff_t>(offset));
  }

 private:
  std::shared_ptr<const void> owner_;
  std::vector<std::byte> own_;
  std::span<const std::byte> bytes_;
};

inline HostStorage* host_storage(const Node& buffer) {
  auto* storage = dynamic_cast<HostStorage*>(buffer.attr().storage.get());
  check(storage != nullptr, "a buffer in the host's memory");
  return storage;
}

}  // namespace brisk
