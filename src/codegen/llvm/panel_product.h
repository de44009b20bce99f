// kernel/panel_product.h in instructions: AMX's tiles of registers, 16 rows of 64 bytes. Input: the
// statement and where its operands begin; output: instructions, in blocks of their own where they
// loop. Registers are numbered here: sums first, row by row, then tiles of rows, then of the panel.
#pragma once

#include "codegen/llvm/values.h"
#include "kernel/panel_product.h"

namespace brisk::ir {

struct PanelProductValues {
  llvm::Value *sums, *a, *b;  // addresses
  llvm::Value* a_apart;       // i64, elements
  llvm::Value* there;         // i64, rows
  llvm::AllocaInst* shapes;   // 64 bytes for what is known late of the tiles' shapes
};

void panel_product(Emitter& e, const Node& statement, const PanelProductValues& values);
/// The registers are free; at the end of what uses them.
void release_tiles(Emitter& e);

}  // namespace brisk::ir
