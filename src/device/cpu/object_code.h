// Loads code that brisk's code generator has written. Input: an ELF relocatable object for this
// machine; output: executable memory and the address of a symbol. The object may come from a
// damaged cache: everything in it is checked.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace brisk {

/// Executable memory (never writable at the same time); unmapped with its owner.
class ObjectCode {
 public:
  /// DeviceError where the object is damaged, for another machine, or refers to a function other
  /// than memcpy, memmove and memset.
  ObjectCode(std::span<const std::byte> object, const std::string& symbol);
  ~ObjectCode();
  ObjectCode(const ObjectCode&) = delete;
  ObjectCode& operator=(const ObjectCode&) = delete;

  void* entry() const { return entry_; }
  std::size_t bytes() const { return bytes_; }

 private:
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  void* entry_ = nullptr;
};

}  // namespace brisk
