#include "device/device.h"

#include "base/error.h"

namespace brisk {

void Device::want_inside(const Buffer& buffer, std::size_t offset, std::size_t bytes,
                         const char* what) const {
  if (offset <= buffer.bytes() && bytes <= buffer.bytes() - offset) return;
  device_error("{}: {} of {} bytes at {} in a buffer of {} bytes", info().id, what, bytes, offset,
               buffer.bytes());
}

}  // namespace brisk
