#include "device/cuda/driver.h"

#include <dlfcn.h>

#include <fmt/format.h>

namespace brisk::cuda {

namespace {

Driver open_driver() {
  Driver driver;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    driver.missing = fmt::format("NVIDIA's driver is not installed ({})", dlerror());
    return driver;
  }
  const char* absent = nullptr;
#define BRISK_CUDA_OPEN(name, symbol, arguments)                                  \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(library, #symbol)); \
  if (driver.name == nullptr && absent == nullptr) absent = #symbol;
  BRISK_CUDA_FUNCTIONS(BRISK_CUDA_OPEN)
#undef BRISK_CUDA_OPEN
#define BRISK_CUDA_OPEN_NEWER(name, symbol, arguments) \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(library, #symbol));
  BRISK_CUDA_NEWER_FUNCTIONS(BRISK_CUDA_OPEN_NEWER)
#undef BRISK_CUDA_OPEN_NEWER
  if (absent != nullptr) {
    driver.missing = fmt::format(
        "NVIDIA's driver is too old: it has no {}; brisk needs one of "
        "CUDA 11.4 or later (470)",
        absent);
    return driver;
  }
  if (const Status error = driver.init(0); error != success) {
    driver.missing = "NVIDIA's driver does not start: " + driver.name_of(error);
    return driver;
  }
  if (driver.device_count(&driver.devices) != success) driver.devices = 0;
  if (driver.devices == 0) driver.missing = "NVIDIA's driver finds no device";
  return driver;
}

}  // namespace

std::string Driver::name_of(Status error) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (error_name(error, &name) != success || name == nullptr) {
    return fmt::format("error {}", error);
  }
  if (error_text(error, &text) != success || text == nullptr) return name;
  return fmt::format("{} ({})", name, text);
}

const Driver& driver() {
  static const Driver opened = open_driver();
  return opened;
}

bool loses_context(Status error) {
  switch (error) {
    case 214:  // uncorrectable ECC error
    case 700:  // illegal address
    case 702:  // launch timeout
    case 709:  // context destroyed
    case 710:  // assert
    case 714:  // hardware stack error
    case 715:  // illegal instruction
    case 716:  // misaligned address
    case 717:  // invalid address space
    case 718:  // invalid program counter
    case 719:  // launch failed
    case 999: return true;
    default: return false;
  }
}

}  // namespace brisk::cuda
