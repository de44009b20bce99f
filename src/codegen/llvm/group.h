// What threads of a group do together, on processors that have groups (NVPTX): who they are, where
// they wait for each other, what they hand to their neighbours, the memory they share. One kernel
// function a phase, with the arguments
//   params and workspaces as pointers to global memory, variables as i64, the first task and the
//   end of tasks as i64, and where there are variables, a pointer to their values in memory that
//   count instead of the arguments (null: none do); then the tensor maps of tiles.
#pragma once

#include <llvm/IR/Module.h>

#include <string>

#include "codegen/llvm/values.h"

namespace brisk::ir {

constexpr unsigned global_space = 1;  // LLVM's address spaces of NVPTX
constexpr unsigned shared_space = 3;

/// One thread counts its group in at `counter`, after all threads of the group have met. Whether it
/// is the last of `groups`, which then, after its threads have met again, sees what the others had
/// written; the counter is zero again by then.
llvm::Value* count_in(Emitter& e, llvm::Value* counter, std::int64_t groups);
/// `count` counters, which are zero when the module is loaded.
llvm::GlobalVariable* counters(llvm::Module& module, std::int64_t count);

/// A kernel function that groups of exactly `threads` threads run, so many `together` on a
/// processor at least; see also make_clusters.
llvm::Function* group_function(llvm::Module& module, llvm::FunctionType* type,
                               const std::string& name, std::int64_t threads,
                               std::int64_t together);
/// One of at most `threads` threads, whose arguments from `first_map` on are tensor maps.
llvm::Function* tile_function(llvm::Module& module, llvm::FunctionType* type,
                              const std::string& name, std::int64_t threads, unsigned first_map);
/// The function's groups run in clusters of so many neighbours, a power of two; the directive comes
/// with the text (with_clusters), as LLVM 19 has none for it.
void make_clusters(llvm::Function* function, std::int64_t groups);
std::string with_clusters(std::string ptx, const llvm::Module& module);
/// The number of a group in its cluster of so many; i32.
llvm::Value* number_in_cluster(Emitter& e, std::int64_t groups);
/// All threads of the cluster wait for each other; or each says that it is there, and later waits
/// for the others to have said so.
void wait_for_cluster(Emitter& e);
void arrive_at_cluster(Emitter& e);
void wait_for_others(Emitter& e);
/// What `address`, i32, of this group's shared memory is in that of group `number` (i32) of the
/// cluster: an address for what says that it may be another group's.
llvm::Value* in_cluster(Emitter& e, llvm::Value* address, llvm::Value* number);
/// Stores a scalar at such an address.
void store_in_cluster(Emitter& e, llvm::Value* value, llvm::Value* address);
llvm::Value* group_number(Emitter& e);   // i64
llvm::Value* group_count(Emitter& e);    // i64
llvm::Value* thread_number(Emitter& e);  // i64, below the group's threads
void wait_for_group(Emitter& e);
/// The value that the thread whose number differs in the bits of `distance` has; that thread runs
/// in step with this one. `threads` is the size of the group.
llvm::Value* from_neighbour(Emitter& e, llvm::Value* value, std::int64_t distance,
                            std::int64_t threads);
/// The shared memory that the launch gives, at a multiple of 1024 bytes.
llvm::GlobalVariable* launch_memory(llvm::Module& module);
llvm::GlobalVariable* shared_array(llvm::Module& module, llvm::Type* element, std::int64_t count);

/// Lets the kernel that follows begin.
void let_next_launch(Emitter& e);
/// Waits until all kernels before this one are done; before it reads or writes anything.
void follow_launch(Emitter& e);
/// Asks the last cache for the line at this address.
void group_prefetch(Emitter& e, llvm::Value* address);

/// 2 to the power of float32s, by the processor's own instruction; `flush`: 0 for what is below the
/// least normal number.
llvm::Value* group_exp2(Emitter& e, llvm::Value* x, bool flush);
/// 1 / x as brisk::near_recip.
llvm::Value* near_recip(Emitter& e, llvm::Value* x);

}  // namespace brisk::ir
