// The user's call in progress, so that errors and tensors name it.
#pragma once

#include <fmt/core.h>

#include <utility>

#include "base/error.h"

namespace brisk {

/// Marks a public call while it runs. The outermost one counts: softmax that fails in amax says
/// "softmax".
class Call {
 public:
  explicit Call(const char* name);  // static text
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  /// The outermost call of this thread; "" outside of calls.
  static const char* current();

 private:
  bool outermost_;
};

/// UserError that starts with the call's name.
template <typename... Args>
[[noreturn]] void call_error(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(
      fmt::format("{}: {}", Call::current(), fmt::format(format, std::forward<Args>(args)...)));
}

}  // namespace brisk
