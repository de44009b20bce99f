// Tiles (kernel/tile.h) on processors that copy them by themselves and multiply them as groups of
// four warps: Hopper's tensor memory accelerator, mbarriers and wgmma, through inline assembly
// (PTX ISA 8.0). Addresses in shared memory are i32; maps are the driver's tensor maps, as i64.
#pragma once

#include <vector>

#include "codegen/llvm/values.h"
#include "kernel/tile.h"

namespace brisk::ir {

// ---- barriers in shared memory -----------------------------------------------------------------

void make_signal(Emitter& e, llvm::Value* signal, std::int64_t arrivals);
/// The barriers made by one thread are there for all; every thread of the group comes here before
/// they meet.
void signals_made(Emitter& e);
/// Goes on once the barrier's phase of this parity (i32) is over.
void wait_for_signal(Emitter& e, llvm::Value* signal, llvm::Value* parity);
void signal(Emitter& e, llvm::Value* at);
/// Of group `number` (i32) of the cluster.
void signal_in_cluster(Emitter& e, llvm::Value* at, llvm::Value* number);
/// One arrival, and bytes that copies will bring.
void signal_with_bytes(Emitter& e, llvm::Value* at, std::int64_t bytes);

// ---- copies ------------------------------------------------------------------------------------

/// One strip, to the same place in each of the first `groups` of the cluster, whose barriers there
/// hear of it; coordinates are i32, columns first. One thread's work.
void load_strip(Emitter& e, llvm::Value* to, llvm::Value* map, const std::vector<llvm::Value*>& at,
                llvm::Value* signal, std::int64_t groups);
void store_strip(Emitter& e, llvm::Value* from, llvm::Value* map,
                 const std::vector<llvm::Value*>& at);
/// Ends a group of stores of this thread; what they read may be written again after wait_for_reads,
/// and all of them are done after wait_for_stores.
void stores_issued(Emitter& e);
void wait_for_reads(Emitter& e);
void wait_for_stores(Emitter& e);
/// What this thread wrote to shared memory is there for copies.
void show_to_copies(Emitter& e);

// ---- threads -----------------------------------------------------------------------------------

/// The first `threads` threads of the group meet at barrier `id`, a constant.
void meet(Emitter& e, int id, std::int64_t threads);
/// The set of four warps `number` (i32) of so many goes on when the one before it has passed its
/// turn on, round and round; barriers from `id` on. At the start, before any waits, the last one
/// passes the turn to the first.
void begin_turns(Emitter& e, int id, llvm::Value* number, std::int64_t sets);
void wait_for_turn(Emitter& e, int id, llvm::Value* number, std::int64_t sets);
void pass_turn(Emitter& e, int id, llvm::Value* number, std::int64_t sets);
/// Gives registers to the warps that come here, or takes them; whole sets of four warps.
void set_registers(Emitter& e, bool more, int count);
/// The number of the thread's warp, known to be the same in all of its threads; i32.
llvm::Value* warp_number(Emitter& e, llvm::Value* thread);

// ---- products ----------------------------------------------------------------------------------

/// The operands of a step: tiles as addresses, `a` else as words of two fragments.
struct Operands {
  DType a_dtype, b_dtype;
  llvm::Value* a = nullptr;           // i32
  std::vector<llvm::Value*> a_words;  // of rows / (threads / 2) blocks, where A is in registers
  llvm::Value* b = nullptr;           // i32
  llvm::Value* warps = nullptr;       // number of the thread's four warps, i32
};

/// Whether wgmma can.
bool can_multiply(const MatrixStep& step, DType a, DType b);
/// Products run from begin_products on; operands in registers are complete before it.
void begin_products(Emitter& e);
/// The sums, where `accumulate` (i1) on top of those given; in place, complete after
/// wait_for_products.
void issue_products(Emitter& e, const MatrixStep& step, const Operands& operands,
                    llvm::Value* accumulate, std::vector<llvm::Value*>& sums);
void products_issued(Emitter& e);
/// Of all that were issued but the last `left` groups; `sums` are those of the products done.
void wait_for_products(Emitter& e, std::int64_t left, std::vector<llvm::Value*>& sums);

}  // namespace brisk::ir
