#include "device/opencl/driver.h"

#include <dlfcn.h>

#include <array>

#include <fmt/format.h>

namespace brisk::opencl {

namespace {

constexpr const char* library_name = "libOpenCL.so.1";

struct StatusName {
  Status status;
  std::string_view name;
};

constexpr std::array status_names = {
    StatusName{-1, "DEVICE_NOT_FOUND"},
    StatusName{-2, "DEVICE_NOT_AVAILABLE"},
    StatusName{-3, "COMPILER_NOT_AVAILABLE"},
    StatusName{allocation_failure, "MEM_OBJECT_ALLOCATION_FAILURE"},
    StatusName{out_of_resources, "OUT_OF_RESOURCES"},
    StatusName{-6, "OUT_OF_HOST_MEMORY"},
    StatusName{-11, "BUILD_PROGRAM_FAILURE"},
    StatusName{-14, "EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"},
    StatusName{-30, "INVALID_VALUE"},
    StatusName{-33, "INVALID_DEVICE"},
    StatusName{-34, "INVALID_CONTEXT"},
    StatusName{-36, "INVALID_COMMAND_QUEUE"},
    StatusName{-38, "INVALID_MEM_OBJECT"},
    StatusName{-42, "INVALID_BINARY"},
    StatusName{-43, "INVALID_BUILD_OPTIONS"},
    StatusName{-44, "INVALID_PROGRAM"},
    StatusName{-45, "INVALID_PROGRAM_EXECUTABLE"},
    StatusName{invalid_kernel_name, "INVALID_KERNEL_NAME"},
    StatusName{-48, "INVALID_KERNEL"},
    StatusName{-49, "INVALID_ARG_INDEX"},
    StatusName{-50, "INVALID_ARG_VALUE"},
    StatusName{-51, "INVALID_ARG_SIZE"},
    StatusName{-52, "INVALID_KERNEL_ARGS"},
    StatusName{-54, "INVALID_WORK_GROUP_SIZE"},
    StatusName{-61, "INVALID_BUFFER_SIZE"},
    StatusName{-63, "INVALID_GLOBAL_WORK_SIZE"},
};

// Fills a table of functions from a library; remembers whether all were there.
class Loader {
 public:
  explicit Loader(void* library) : library_(library) {}

  template <typename Function>
  void operator()(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(::dlsym(library_, name));
    complete_ &= function != nullptr;
  }
  bool complete() const { return complete_; }

 private:
  void* library_;
  bool complete_ = true;
};

bool open_driver(Driver& d) {
  void* library = ::dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return false;
  Loader load(library);
  load(d.platforms, "clGetPlatformIDs");
  load(d.devices, "clGetDeviceIDs");
  load(d.device_info, "clGetDeviceInfo");
  load(d.create_context, "clCreateContext");
  load(d.release_context, "clReleaseContext");
  load(d.create_queue, "clCreateCommandQueue");
  load(d.release_queue, "clReleaseCommandQueue");
  load(d.finish, "clFinish");
  load(d.flush, "clFlush");
  load(d.create_buffer, "clCreateBuffer");
  load(d.release_memory, "clReleaseMemObject");
  load(d.write, "clEnqueueWriteBuffer");
  load(d.read, "clEnqueueReadBuffer");
  load(d.fill, "clEnqueueFillBuffer");
  load(d.code_from_source, "clCreateProgramWithSource");
  load(d.code_from_binary, "clCreateProgramWithBinary");
  load(d.build, "clBuildProgram");
  load(d.build_info, "clGetProgramBuildInfo");
  load(d.code_info, "clGetProgramInfo");
  load(d.release_code, "clReleaseProgram");
  load(d.create_kernel, "clCreateKernel");
  load(d.set_argument, "clSetKernelArg");
  load(d.release_kernel, "clReleaseKernel");
  load(d.run, "clEnqueueNDRangeKernel");
  return load.complete();
}

}  // namespace

const Driver* driver() {
  static Driver table{};
  static const bool there = open_driver(table);
  return there ? &table : nullptr;
}

std::string status_text(Status status) {
  for (const StatusName& known : status_names) {
    if (known.status == status) return fmt::format("CL_{} ({})", known.name, status);
  }
  return fmt::format("OpenCL status {}", status);
}

std::string text_property(const Driver& driver, DeviceId device, DeviceProperty which) {
  std::size_t bytes = 0;
  if (driver.device_info(device, which, 0, nullptr, &bytes) != success || bytes == 0) return {};
  std::string text(bytes, '\0');
  driver.device_info(device, which, bytes, text.data(), nullptr);
  text.resize(text.find('\0'));
  return text;
}

std::vector<DeviceId> usable_devices(const Driver& driver) {
  constexpr std::uint64_t every_type = 0xffffffff;
  std::uint32_t count = 0;
  if (driver.platforms(0, nullptr, &count) != success) return {};  // there may be none
  std::vector<Platform> platforms(count);
  driver.platforms(count, platforms.data(), nullptr);
  std::vector<DeviceId> usable;
  for (const Platform platform : platforms) {
    count = 0;
    if (driver.devices(platform, every_type, 0, nullptr, &count) != success) continue;
    std::vector<DeviceId> devices(count);
    driver.devices(platform, every_type, count, devices.data(), nullptr);
    for (const DeviceId device : devices) {
      if (property<std::uint32_t>(driver, device, is_available) != 0 &&
          property<std::uint32_t>(driver, device, has_compiler) != 0) {
        usable.push_back(device);
      }
    }
  }
  return usable;
}

}  // namespace brisk::opencl
