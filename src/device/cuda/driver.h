// NVIDIA's driver, libcuda.so.1, opened at run time: the functions and numbers of its documented
// ABI (CUDA driver API reference) that brisk uses. Nothing of NVIDIA's is needed to build.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace brisk::cuda {

using Status = int;
using Ordinal = int;
using Address = unsigned long long;  // CUdeviceptr
using Context = struct CUctx_st*;
using Stream = struct CUstream_st*;
using Event = struct CUevent_st*;
using Module = struct CUmod_st*;
using Function = struct CUfunc_st*;
using Pool = struct CUmemPoolHandle_st*;
using Link = struct CUlinkState_st*;
using Graph = struct CUgraph_st*;
using GraphNode = struct CUgraphNode_st*;
using GraphExec = struct CUgraphExec_st*;

/// CUDA_KERNEL_NODE_PARAMS of the functions without a version in their names.
struct KernelNode {
  Function function;
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
  void** arguments;
  void** extra;
};

/// CUgraphEdgeData: what of the node before a node waits for.
struct GraphEdge {
  unsigned char from_port;
  unsigned char to_port;
  unsigned char type;
  unsigned char reserved[5];
};
constexpr GraphEdge all_groups_began = {1, 0, 1, {}};  // and the kernel waits for the rest

enum : Status {
  success = 0,
  out_of_memory = 2,
  not_found = 500,
};
enum : int {  // CUdevice_attribute
  attribute_processors = 16,
  attribute_cache_bytes = 38,
  attribute_capability_major = 75,
  attribute_capability_minor = 76,
  attribute_memory_pools = 115,
};
enum : int {  // CUjit_option, CUjitInputType
  jit_error_log = 5,
  jit_error_log_bytes = 6,
  jit_input_ptx = 1,
};
/// What the driver's assembler says of errors: pass `options` and `values`, which point here.
struct JitLog {
  std::array<char, 8192> text{};
  std::array<int, 2> options = {jit_error_log, jit_error_log_bytes};
  std::array<void*, 2> values = {text.data(), reinterpret_cast<void*>(text.size() - 1)};
  JitLog() = default;
  JitLog(const JitLog&) = delete;
  JitLog& operator=(const JitLog&) = delete;
};

constexpr int pool_release_threshold = 4;       // CUmemPool_attribute
constexpr int function_shared_bytes = 8;        // CUfunction_attribute
constexpr int swizzle_128_bytes = 3;            // CUtensorMapSwizzle
constexpr int promote_256_bytes = 3;            // CUtensorMapL2promotion
constexpr unsigned stream_non_blocking = 1;     // CUstream_flags
constexpr unsigned event_disable_timing = 2;    // CUevent_flags
constexpr long long largest_grid = 2147483647;  // blocks along x

// clang-format off
#define BRISK_CUDA_FUNCTIONS(X)                                                                    \
  X(init, cuInit, (unsigned))                                                                      \
  X(driver_version, cuDriverGetVersion, (int*))                                                    \
  X(error_name, cuGetErrorName, (Status, const char**))                                            \
  X(error_text, cuGetErrorString, (Status, const char**))                                          \
  X(device_count, cuDeviceGetCount, (int*))                                                        \
  X(device_get, cuDeviceGet, (Ordinal*, int))                                                      \
  X(device_name, cuDeviceGetName, (char*, int, Ordinal))                                           \
  X(device_attribute, cuDeviceGetAttribute, (int*, int, Ordinal))                                  \
  X(device_memory, cuDeviceTotalMem_v2, (std::size_t*, Ordinal))                                   \
  X(context_retain, cuDevicePrimaryCtxRetain, (Context*, Ordinal))                                 \
  X(context_release, cuDevicePrimaryCtxRelease_v2, (Ordinal))                                      \
  X(context_reset, cuDevicePrimaryCtxReset_v2, (Ordinal))                                          \
  X(context_set, cuCtxSetCurrent, (Context))                                                       \
  X(memory_info, cuMemGetInfo_v2, (std::size_t*, std::size_t*))                                    \
  X(stream_create, cuStreamCreate, (Stream*, unsigned))                                            \
  X(stream_destroy, cuStreamDestroy_v2, (Stream))                                                  \
  X(stream_synchronize, cuStreamSynchronize, (Stream))                                             \
  X(event_create, cuEventCreate, (Event*, unsigned))                                               \
  X(event_record, cuEventRecord, (Event, Stream))                                                  \
  X(event_synchronize, cuEventSynchronize, (Event))                                                \
  X(event_destroy, cuEventDestroy_v2, (Event))                                                     \
  X(memory_allocate, cuMemAlloc_v2, (Address*, std::size_t))                                       \
  X(memory_free, cuMemFree_v2, (Address))                                                          \
  X(memory_allocate_ordered, cuMemAllocAsync, (Address*, std::size_t, Stream))                     \
  X(memory_free_ordered, cuMemFreeAsync, (Address, Stream))                                        \
  X(pool_of_device, cuDeviceGetDefaultMemPool, (Pool*, Ordinal))                                   \
  X(pool_set, cuMemPoolSetAttribute, (Pool, int, void*))                                           \
  X(pool_trim, cuMemPoolTrimTo, (Pool, std::size_t))                                               \
  X(host_allocate, cuMemHostAlloc, (void**, std::size_t, unsigned))                                \
  X(host_free, cuMemFreeHost, (void*))                                                             \
  X(copy_to_device, cuMemcpyHtoDAsync_v2, (Address, const void*, std::size_t, Stream))             \
  X(copy_to_host, cuMemcpyDtoHAsync_v2, (void*, Address, std::size_t, Stream))                     \
  X(copy_peer, cuMemcpyPeerAsync, (Address, Context, Address, Context, std::size_t, Stream))       \
  X(pci_bus_id, cuDeviceGetPCIBusId, (char*, int, Ordinal))                                        \
  X(fill_bytes, cuMemsetD8Async, (Address, unsigned char, std::size_t, Stream))                    \
  X(module_load, cuModuleLoadDataEx, (Module*, const void*, unsigned, int*, void**))               \
  X(module_unload, cuModuleUnload, (Module))                                                       \
  X(module_function, cuModuleGetFunction, (Function*, Module, const char*))                        \
  X(function_set, cuFuncSetAttribute, (Function, int, int))                                        \
  X(link_create, cuLinkCreate_v2, (unsigned, int*, void**, Link*))                                 \
  X(link_add, cuLinkAddData_v2,                                                                    \
    (Link, int, void*, std::size_t, const char*, unsigned, int*, void**))                          \
  X(link_complete, cuLinkComplete, (Link, void**, std::size_t*))                                   \
  X(link_destroy, cuLinkDestroy, (Link))                                                           \
  X(launch, cuLaunchKernel,                                                                        \
    (Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream,       \
     void**, void**))
// Of later drivers; null where they are missing: tiles (CUDA 12.0), graphs (11.6), edges of graphs (12.3).
#define BRISK_CUDA_NEWER_FUNCTIONS(X)                                                              \
  X(tensor_map, cuTensorMapEncodeTiled,                                                            \
    (void*, int, std::uint32_t, Address, const std::uint64_t*, const std::uint64_t*,               \
     const std::uint32_t*, const std::uint32_t*, int, int, int, int))                              \
  X(graph_create, cuGraphCreate, (Graph*, unsigned))                                               \
  X(graph_destroy, cuGraphDestroy, (Graph))                                                        \
  X(graph_add_kernel, cuGraphAddKernelNode,                                                        \
    (GraphNode*, Graph, const GraphNode*, std::size_t, const KernelNode*))                         \
  X(graph_depend, cuGraphAddDependencies_v2,                                                       \
    (Graph, const GraphNode*, const GraphNode*, const GraphEdge*, std::size_t))                    \
  X(graph_instantiate, cuGraphInstantiateWithFlags, (GraphExec*, Graph, unsigned long long))       \
  X(graph_exec_destroy, cuGraphExecDestroy, (GraphExec))                                           \
  X(graph_set_kernel, cuGraphExecKernelNodeSetParams, (GraphExec, GraphNode, const KernelNode*))   \
  X(graph_launch, cuGraphLaunch, (GraphExec, Stream))
// clang-format on

struct Driver {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a list of parameters has its own
#define BRISK_CUDA_MEMBER(name, symbol, arguments) Status(*name) arguments = nullptr;
  BRISK_CUDA_FUNCTIONS(BRISK_CUDA_MEMBER)
  BRISK_CUDA_NEWER_FUNCTIONS(BRISK_CUDA_MEMBER)
#undef BRISK_CUDA_MEMBER

  /// Devices there are; 0 with `missing` saying why there are none.
  int devices = 0;
  std::string missing;

  /// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)"
  std::string name_of(Status error) const;
};

/// The process's driver, opened at the first call.
const Driver& driver();

/// Errors after which nothing more runs in the context they happened in.
bool loses_context(Status error);

}  // namespace brisk::cuda
