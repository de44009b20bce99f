// Throwing the public exceptions with formatted messages, and the check of internal invariants.
#pragma once

#include <fmt/core.h>

#include <source_location>
#include <string>
#include <utility>

#include "brisk/error.h"

namespace brisk {

template <typename... Args>
[[noreturn]] void user_error(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void device_error(fmt::format_string<Args...> format, Args&&... args) {
  throw DeviceError(fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void internal_error(const std::string& what, std::source_location where);

/// Checks an invariant; on in every build, so keep it out of hot loops.
inline void check(bool holds, const char* what,
                  std::source_location where = std::source_location::current()) {
  if (!holds) internal_error(what, where);
}

/// Marks code that a correct program never reaches.
[[noreturn]] inline void unreachable(const char* what,
                                     std::source_location where = std::source_location::current()) {
  internal_error(what, where);
}

/// Value or message: for ordinary failure (parsing, I/O, a candidate that does not compile).
template <typename T>
class Result {
 public:
  Result(T value) : value_(std::move(value)), ok_(true) {}  // NOLINT: implicit on purpose
  static Result failure(std::string message) {
    Result result;
    result.error_ = std::move(message);
    return result;
  }
  explicit operator bool() const { return ok_; }
  T& operator*() { return value_; }
  const T& operator*() const { return value_; }
  T* operator->() { return &value_; }
  const std::string& error() const { return error_; }
  /// The value, or a UserError with the message.
  T& value_or_throw() {
    if (!ok_) throw UserError(error_);
    return value_;
  }

 private:
  Result() = default;
  T value_{};
  std::string error_;
  bool ok_ = false;
};

}  // namespace brisk
