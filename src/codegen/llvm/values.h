// Scalars and vectors of brisk's dtypes as LLVM values. In registers a bool is an i1, an integer
// its own width, float32 and float64 themselves, and a narrow float the bits it is stored as (i16,
// i8): arithmetic on those widens to float32 and rounds back. One lane is a scalar, more are a
// vector.
#pragma once

#include <llvm/Analysis/TargetFolder.h>
#include <llvm/IR/IRBuilder.h>

#include <span>

#include "base/target.h"
#include "graph/node.h"

namespace brisk::ir {

using Builder = llvm::IRBuilder<llvm::TargetFolder>;

/// Where to emit and for what: passed by reference everywhere below.
struct Emitter {
  Builder& b;
  const Target& target;
};

inline bool is_narrow(DType dtype) { return is_float(dtype) && byte_size(dtype) < 4; }

llvm::Type* register_type(llvm::LLVMContext& context, DType dtype, int lanes = 1);
/// As in memory: a bool is a byte.
llvm::Type* memory_type(llvm::LLVMContext& context, DType dtype, int lanes = 1);
int lane_count(const llvm::Value* value);
/// `type` with the lanes of `value`.
llvm::Type* shaped_like(const llvm::Value* value, llvm::Type* type);
/// A scalar in every lane; a vector stays.
llvm::Value* broadcast(Emitter& e, llvm::Value* value, int lanes);

/// Lanes start … start+count-1, poison past the end; two vectors one after the other.
llvm::Value* slice(Emitter& e, llvm::Value* vector, int start, int count);
llvm::Value* join(Emitter& e, llvm::Value* a, llvm::Value* b);

/// A narrow float's bits <-> float32, rounding to nearest even.
llvm::Value* widen(Emitter& e, llvm::Value* bits, DType dtype);
llvm::Value* narrow(Emitter& e, llvm::Value* value, DType dtype);

llvm::Value* convert(Emitter& e, llvm::Value* value, DType from, DType to);
llvm::Value* reinterpret(Emitter& e, llvm::Value* value, DType from, DType to);
llvm::Value* constant(llvm::LLVMContext& context, const Node& node);

/// An operation of the groups arithmetic and integer (without exp2, log2 and sin: see decompose.h)
/// on sources of equal lanes.
llvm::Value* elementwise(Emitter& e, const Node& node, std::span<llvm::Value*> srcs);
llvm::Value* combine(Emitter& e, ReduceOp op, DType dtype, llvm::Value* a, llvm::Value* b);
llvm::Value* horizontal(Emitter& e, ReduceOp op, DType dtype, llvm::Value* vector);
llvm::Value* shuffle(Emitter& e, const Node& node, std::span<llvm::Value*> srcs);
/// What a dot is made of: what its sum starts from, then pairs of factors; those of dots that it
/// starts from too, where the machine sums them together.
std::vector<Node> dot_operands(const Target& target, const Node& node);
llvm::Value* dot(Emitter& e, const Node& node, std::span<llvm::Value* const> operands);

/// Whether the machine has an exp2 that is right enough and faster than decompose.h's; native_exp2
/// is x86-64's.
bool has_native_exp2(const Target& target, const Node& node);
llvm::Value* native_exp2(Emitter& e, llvm::Value* x);

}  // namespace brisk::ir
