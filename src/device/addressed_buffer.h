// A buffer that is an address of its device, and what keeps the memory there: all that most devices
// need.
#pragma once

#include <memory>
#include <utility>

#include "device/device.h"

namespace brisk {

class AddressedBuffer final : public Buffer {
 public:
  /// Releases `keep` with itself.
  AddressedBuffer(Device& device, void* address, std::size_t bytes, std::shared_ptr<void> keep)
      : device_(device), address_(address), bytes_(bytes), keep_(std::move(keep)) {}

  Device& device() const override { return device_; }
  std::size_t bytes() const override { return bytes_; }
  void* address() const override { return address_; }

 private:
  Device& device_;
  void* address_;
  std::size_t bytes_;
  std::shared_ptr<void> keep_;
};

}  // namespace brisk
