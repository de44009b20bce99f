#include "codegen/llvm/tiles.h"

#include <llvm/IR/IntrinsicsNVPTX.h>

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "codegen/llvm/assembly.h"
#include "codegen/llvm/group.h"

namespace brisk::ir {

namespace {

using llvm::Value;

constexpr std::int64_t rows_of_four_warps = 64;
constexpr std::int64_t step_bytes = 32;       // of depth, of one instruction
constexpr std::int64_t rows_of_eight = 1024;  // bytes of eight rows of a strip

Value* word(Emitter& e, std::int64_t value) {
  return e.b.getInt32(static_cast<std::uint32_t>(value));
}

// "{$2, $3}" from operand `first` on.
std::string coordinates(std::size_t first, std::size_t count) {
  std::string text = "{";
  for (std::size_t i = 0; i < count; ++i) text += fmt::format("{}${}", i ? ", " : "", first + i);
  return text + "}";
}

std::string repeated(std::string_view what, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += fmt::format("{}{}", i ? "," : "", what);
  return text;
}

std::string_view type_of(DType dtype) {
  switch (dtype) {
    case DType::float16: return "f16";
    case DType::bfloat16: return "bf16";
    case DType::float8_e4m3: return "e4m3";
    case DType::float8_e5m2: return "e5m2";
    case DType::int8: return "s8";
    case DType::uint8: return "u8";
    default: return {};
  }
}

// A matrix in strips of 128 bytes as wgmma is told of it: `leading` bytes from one block of 64
// columns to the next, where these run along rows or columns of the product.
Value* description(Emitter& e, Value* address, std::int64_t leading) {
  Value* low = e.b.CreateAnd(e.b.CreateLShr(address, 4), word(e, 0x3fff));
  low = e.b.CreateOr(low, word(e, std::max<std::int64_t>(leading >> 4, 1) << 16));
  Value* both = llvm::ConstantVector::get(
      {e.b.getInt32(0), e.b.getInt32((1U << 30) | static_cast<unsigned>(rows_of_eight >> 4))});
  both = e.b.CreateInsertElement(both, low, std::uint64_t{0});
  return e.b.CreateBitCast(both, e.b.getInt64Ty());
}

// Where the instruction for the depth from `step` on (in step_bytes) begins to read.
std::int64_t depth_offset(std::int64_t step, bool by_depth, std::int64_t rows, int element_bytes) {
  if (by_depth) return step * (step_bytes / element_bytes) * strip_bytes;
  const std::int64_t steps = strip_bytes / step_bytes;
  return step / steps * rows * strip_bytes + step % steps * step_bytes;
}

}  // namespace

void make_signal(Emitter& e, Value* signal, std::int64_t arrivals) {
  effect(e, {fmt::format("mbarrier.init.shared::cta.b64 [$0], {};", arrivals), "r"}, {signal});
}

void signals_made(Emitter& e) { effect(e, {"fence.mbarrier_init.release.cluster;", ""}); }

void wait_for_signal(Emitter& e, Value* signal, Value* parity) {
  llvm::Function* function = e.b.GetInsertBlock()->getParent();
  auto* again = llvm::BasicBlock::Create(e.b.getContext(), "", function);
  auto* after = llvm::BasicBlock::Create(e.b.getContext(), "", function);
  e.b.CreateBr(again);
  e.b.SetInsertPoint(again);
  Value* over = assembly(e, {"mbarrier.try_wait.parity.shared::cta.b64 $0, [$1], $2;", "=b,r,r"},
                         e.b.getInt1Ty(), {signal, parity});
  e.b.CreateCondBr(over, after, again);
  e.b.SetInsertPoint(after);
}

void signal(Emitter& e, Value* at) {
  effect(e, {"mbarrier.arrive.shared::cta.b64 _, [$0];", "r"}, {at});
}

// Plain: what says that it is a release of the cluster waits for all of the thread's stores.
void signal_in_cluster(Emitter& e, Value* at, Value* number) {
  effect(e, {"mbarrier.arrive.shared::cluster.b64 _, [$0];", "r"}, {in_cluster(e, at, number)});
}

void signal_with_bytes(Emitter& e, Value* at, std::int64_t bytes) {
  effect(e, {"mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], $1;", "r,r"},
         {at, word(e, bytes)});
}

void load_strip(Emitter& e, Value* to, Value* map, const std::vector<Value*>& at, Value* signal,
                std::int64_t groups) {
  std::vector<Value*> arguments = {to, map, signal};
  arguments.insert(arguments.end(), at.begin(), at.end());
  std::string constraints = "r,l,r," + repeated("r", at.size());
  std::string mask;
  if (groups > 1) {
    mask = fmt::format(", ${}", arguments.size());
    arguments.push_back(e.b.getInt16(static_cast<std::uint16_t>((1U << groups) - 1)));
    constraints += ",h";
  }
  effect(e,
         {fmt::format("cp.async.bulk.tensor.{}d.shared::cluster.global.mbarrier::complete_tx::bytes"
                      "{} [$0], [$1, {}], [$2]{};",
                      at.size(), groups > 1 ? ".multicast::cluster" : "", coordinates(3, at.size()),
                      mask),
          constraints},
         arguments);
}

void store_strip(Emitter& e, Value* from, Value* map, const std::vector<Value*>& at) {
  std::vector<Value*> arguments = {from, map};
  arguments.insert(arguments.end(), at.begin(), at.end());
  effect(e,
         {fmt::format("cp.async.bulk.tensor.{}d.global.shared::cta.bulk_group [$1, {}], [$0];",
                      at.size(), coordinates(2, at.size())),
          "r,l," + repeated("r", at.size())},
         arguments);
}

void stores_issued(Emitter& e) { effect(e, {"cp.async.bulk.commit_group;", ""}); }
void wait_for_reads(Emitter& e) { effect(e, {"cp.async.bulk.wait_group.read 0;", ""}); }
void wait_for_stores(Emitter& e) { effect(e, {"cp.async.bulk.wait_group 0;", ""}); }
void show_to_copies(Emitter& e) { effect(e, {"fence.proxy.async.shared::cta;", ""}); }

void meet(Emitter& e, int id, std::int64_t threads) {
  effect(e, {fmt::format("bar.sync {}, {};", id, threads), "", true});
}

namespace {

// What the set `number` does at the barrier where the set `of` waits for the one before it.
void at_turn(Emitter& e, const char* action, int id, std::int64_t of, Value* is_number) {
  effect(e, {fmt::format("@$0 bar.{} {}, 256;", action, id + of), "b", true}, {is_number});
}

}  // namespace

void begin_turns(Emitter& e, int id, Value* number, std::int64_t sets) {
  at_turn(e, "arrive", id, 0, e.b.CreateICmpEQ(number, word(e, sets - 1)));
}

void wait_for_turn(Emitter& e, int id, Value* number, std::int64_t sets) {
  for (std::int64_t i = 0; i < sets; ++i)
    at_turn(e, "sync", id, i, e.b.CreateICmpEQ(number, word(e, i)));
}

void pass_turn(Emitter& e, int id, Value* number, std::int64_t sets) {
  for (std::int64_t i = 0; i < sets; ++i)
    at_turn(e, "arrive", id, (i + 1) % sets, e.b.CreateICmpEQ(number, word(e, i)));
}

void set_registers(Emitter& e, bool more, int count) {
  effect(e, {fmt::format("setmaxnreg.{}.sync.aligned.u32 {};", more ? "inc" : "dec", count), "",
             true, false});
}

Value* warp_number(Emitter& e, Value* thread) {
  Value* warp = e.b.CreateTrunc(e.b.CreateLShr(thread, 5), e.b.getInt32Ty());
  return e.b.CreateIntrinsic(llvm::Intrinsic::nvvm_shfl_sync_idx_i32, {},
                             {e.b.getInt32(~0U), warp, e.b.getInt32(0), e.b.getInt32(31)});
}

bool can_multiply(const MatrixStep& step, DType a, DType b) {
  if (type_of(a).empty() || type_of(b).empty() || byte_size(a) != byte_size(b)) return false;
  const bool wide = byte_size(a) == 2;
  if (wide ? a != b : (step.a_by_depth || step.b_by_depth)) return false;
  return step.threads % 128 == 0 && step.rows % (step.threads / 2) == 0 && step.columns % 16 == 0 &&
         step.columns <= 256 && step.depth * byte_size(a) % step_bytes == 0;
}

void issue_products(Emitter& e, const MatrixStep& step, const Operands& operands, Value* accumulate,
                    std::vector<Value*>& sums) {
  check(can_multiply(step, operands.a_dtype, operands.b_dtype), "a product that wgmma can make");
  const int bytes = byte_size(operands.a_dtype);
  const bool integers = is_integer(operands.a_dtype);
  const bool wide = bytes == 2;
  const auto count = static_cast<std::size_t>(step.columns / 2);
  const std::int64_t blocks = step.rows / (step.threads / 2);
  const std::int64_t steps = step.depth * bytes / step_bytes;
  llvm::Type* element = sums[0]->getType();
  auto* all = llvm::StructType::get(e.b.getContext(), std::vector<llvm::Type*>(count, element));
  const std::string outputs = repeated(integers ? "=r" : "=f", count);
  std::string ties;
  std::string registers;
  for (std::size_t i = 0; i < count; ++i) {
    ties += fmt::format(",{}", i);
    registers += fmt::format("{}${}", i ? ", " : "", i);
  }
  const bool a_in_registers = operands.a == nullptr;
  const std::size_t next = 2 * count;  // number of the first operand that is no sum
  std::string a_text = fmt::format("${}", next);
  if (a_in_registers) {
    a_text = fmt::format("{{${}, ${}, ${}, ${}}}", next, next + 1, next + 2, next + 3);
  }
  const std::size_t b_at = next + (a_in_registers ? 4 : 1);
  std::string tail = integers ? "" : ", 1, 1";
  if (wide && !a_in_registers) tail += step.a_by_depth ? ", 1" : ", 0";
  if (wide) tail += step.b_by_depth ? ", 1" : ", 0";
  const std::string text = fmt::format(
      "wgmma.mma_async.sync.aligned.m64n{}k{}.{}.{}.{} {{{}}}, {}, ${}, ${}{};", step.columns,
      step_bytes / bytes, integers ? "s32" : "f32", type_of(operands.a_dtype),
      type_of(operands.b_dtype), registers, a_text, b_at, b_at + 1, tail);
  const std::string inputs = a_in_registers ? ",r,r,r,r,l,b" : ",l,l,b";

  const auto run = [&](const Assembly& what, std::int64_t block, std::vector<Value*> extra) {
    const auto first = static_cast<std::size_t>(block) * count;
    std::vector<Value*> arguments(sums.begin() + static_cast<std::ptrdiff_t>(first),
                                  sums.begin() + static_cast<std::ptrdiff_t>(first + count));
    arguments.insert(arguments.end(), extra.begin(), extra.end());
    Value* result = assembly(e, what, all, arguments);
    for (std::size_t i = 0; i < count; ++i)
      sums[first + i] = e.b.CreateExtractValue(result, static_cast<unsigned>(i));
  };
  // Rows of A's tile that come before those of the thread's warps.
  const std::int64_t row_bytes =
      step.a_by_depth ? step.depth * strip_bytes / (strip_bytes / bytes) : strip_bytes;
  for (std::int64_t block = 0; block < blocks; ++block) {
    Value* a = nullptr;
    if (!a_in_registers) {
      a = e.b.CreateAdd(operands.a,
                        e.b.CreateMul(operands.warps, word(e, rows_of_four_warps * row_bytes)));
      a = description(e, e.b.CreateAdd(a, word(e, block * (step.threads / 2) * row_bytes)), 0);
    }
    Value* b = description(e, operands.b, step.b_by_depth ? step.depth * strip_bytes : 0);
    const auto advanced = [&](Value* from, std::int64_t offset) -> Value* {
      auto* pair = llvm::FixedVectorType::get(e.b.getInt32Ty(), 2);
      Value* words = e.b.CreateBitCast(from, pair);
      Value* low =
          e.b.CreateAdd(e.b.CreateExtractElement(words, std::uint64_t{0}), word(e, offset >> 4));
      return e.b.CreateBitCast(e.b.CreateInsertElement(words, low, std::uint64_t{0}),
                               e.b.getInt64Ty());
    };
    for (std::int64_t k = 0; k < steps; ++k) {
      std::vector<Value*> extra;
      if (a_in_registers) {
        const auto at = static_cast<std::size_t>((block * steps + k) * 4);
        extra.assign(operands.a_words.begin() + static_cast<std::ptrdiff_t>(at),
                     operands.a_words.begin() + static_cast<std::ptrdiff_t>(at + 4));
      } else {
        extra.push_back(advanced(a, depth_offset(k, step.a_by_depth, step.rows, bytes)));
      }
      extra.push_back(advanced(b, depth_offset(k, step.b_by_depth, step.columns, bytes)));
      extra.push_back(k == 0 ? accumulate : e.b.getTrue());
      run({text, outputs + ties + inputs, true}, block, extra);
    }
  }
}

void begin_products(Emitter& e) { effect(e, {"wgmma.fence.sync.aligned;", "", true}); }
void products_issued(Emitter& e) { effect(e, {"wgmma.commit_group.sync.aligned;", "", true}); }

// The sums go through it, so that nothing uses them before; an asm statement has room for so many.
void wait_for_products(Emitter& e, std::int64_t left, std::vector<Value*>& sums) {
  constexpr std::size_t most = 128;
  for (std::size_t first = 0; first < sums.size(); first += most) {
    const std::size_t count = std::min(most, sums.size() - first);
    const auto begin = sums.begin() + static_cast<std::ptrdiff_t>(first);
    const std::vector<Value*> some(begin, begin + static_cast<std::ptrdiff_t>(count));
    std::vector<llvm::Type*> types;
    std::string outputs;
    std::string ties;
    for (std::size_t i = 0; i < count; ++i) {
      types.push_back(some[i]->getType());
      outputs += fmt::format("{}{}", i ? "," : "", types.back()->isFloatTy() ? "=f" : "=r");
      ties += fmt::format(",{}", i);
    }
    const std::string text = fmt::format("wgmma.wait_group.sync.aligned {};", left);
    Value* result = assembly(e, {text, outputs + ties, true},
                             llvm::StructType::get(e.b.getContext(), types), some);
    for (std::size_t i = 0; i < count; ++i)
      sums[first + i] = e.b.CreateExtractValue(result, static_cast<unsigned>(i));
  }
}

}  // namespace brisk::ir
