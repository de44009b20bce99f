// The exceptions that brisk throws.
#pragma once

#include <stdexcept>

namespace brisk {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The caller's mistake or a bad file: names the operation, what it got and what it wants.
struct UserError : Error {
  using Error::Error;
};

/// A device that is missing, out of memory, or failed.
struct DeviceError : Error {
  using Error::Error;
};

/// A broken invariant of brisk itself: always a bug to report.
struct InternalError : Error {
  using Error::Error;
};

}  // namespace brisk
