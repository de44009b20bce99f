// Little-endian numbers and text from bytes that need not be trusted: reading past the end is a
// UserError.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/error.h"

namespace brisk {

/// The number at a place that the caller has checked.
template <typename T>
T number_at(std::span<const std::byte> bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

class ByteReader {
 public:
  /// `what` names the bytes in errors.
  ByteReader(std::span<const std::byte> bytes, const char* what) : bytes_(bytes), what_(what) {}

  std::size_t at() const { return at_; }
  std::size_t left() const { return bytes_.size() - at_; }
  void skip(std::uint64_t count) { take(count); }

  std::span<const std::byte> take(std::uint64_t count) {
    if (count > left()) {
      user_error("{} is truncated: {} bytes are wanted at byte {}, {} are left", what_, count, at_,
                 left());
    }
    const auto part = bytes_.subspan(at_, static_cast<std::size_t>(count));
    at_ += part.size();
    return part;
  }
  template <typename T>
  T number() {
    return number_at<T>(take(sizeof(T)), 0);
  }
  std::string text(std::uint64_t count) {
    const auto part = take(count);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  /// Up to the next newline, which is passed over.
  std::string line() {
    std::string text;
    for (char c = number<char>(); c != '\n'; c = number<char>()) text += c;
    return text;
  }

 private:
  std::span<const std::byte> bytes_;
  const char* what_;
  std::size_t at_ = 0;
};

}  // namespace brisk
