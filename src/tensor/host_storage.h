// Buffers in the host's memory: owned bytes, or bytes that someone else keeps.
#pragma once

#include <cstddef>
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
