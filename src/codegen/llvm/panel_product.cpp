#include "codegen/llvm/panel_product.h"

#include <llvm/IR/IntrinsicsX86.h>

#include <array>

#include "base/error.h"

namespace brisk::ir {

namespace {

using llvm::Value;

constexpr std::int64_t row_bytes = 64;  // of a register at most
constexpr std::int64_t sum_bytes = 4;

class Renderer {
 public:
  Renderer(Emitter& e, const Node& statement, const PanelProductValues& values)
      : b_(e.b),
        values_(values),
        product_(panel_product_of(statement)),
        a_(statement.src(1).dtype()),
        panel_(statement.src(2).dtype()),
        row_tiles_(product_.rows / tile_rows),
        column_tiles_(product_.columns / tile_rows),
        groups_(product_.groups_of_tile(byte_size(a_))) {
    check(row_tiles_ * column_tiles_ + row_tiles_ + column_tiles_ <= tile_registers,
          "registers for the tiles");
  }

  void run() {
    b_.CreateIntrinsic(llvm::Intrinsic::x86_ldtilecfg, {}, {shapes()});
    const std::int64_t tiles = product_.depth * byte_size(a_) / group_bytes / groups_;
    counted(product_.count, [&](Value* g) {
      for (std::int64_t r = 0; r < row_tiles_; ++r) {
        for (std::int64_t c = 0; c < column_tiles_; ++c)
          tile(llvm::Intrinsic::x86_tilezero, sum(r, c));
      }
      Value* first = b_.CreateMul(g, number(tiles));
      counted(tiles, [&](Value* t) { step(b_.CreateAdd(first, t)); });
      keep_sums(b_.CreateMul(g, number(product_.rows * product_.columns * sum_bytes)));
    });
  }

 private:
  Value* number(std::int64_t n) { return b_.getInt64(static_cast<std::uint64_t>(n)); }
  Value* reg(std::int64_t n) { return b_.getInt8(static_cast<std::uint8_t>(n)); }
  std::int64_t sum(std::int64_t r, std::int64_t c) const { return r * column_tiles_ + c; }
  std::int64_t row_tile(std::int64_t r) const { return row_tiles_ * column_tiles_ + r; }
  std::int64_t panel_tile(std::int64_t c) const { return row_tile(row_tiles_) + c; }

  template <typename... Values>
  void tile(llvm::Intrinsic::ID id, std::int64_t n, Values... more) {
    b_.CreateIntrinsic(id, {}, {reg(n), more...});
  }

  Value* bytes_on(Value* address, Value* bytes) {
    return b_.CreateGEP(b_.getInt8Ty(), address, bytes);
  }

  // ---- shapes ------------------------------------------------------------------------------

  // Palette 1; for each register the bytes of a row, from byte 16 on, and rows, from byte 48 on.
  Value* shapes() {
    std::array<std::uint8_t, 64> text{};
    text[0] = 1;
    const auto set = [&](std::int64_t n, std::int64_t rows, std::int64_t bytes) {
      text[static_cast<std::size_t>(16 + 2 * n)] = static_cast<std::uint8_t>(bytes);
      text[static_cast<std::size_t>(48 + n)] = static_cast<std::uint8_t>(rows);
    };
    for (std::int64_t n = 0; n < row_tile(0); ++n) set(n, tile_rows, row_bytes);
    for (std::int64_t r = 0; r < row_tiles_; ++r)
      set(row_tile(r), tile_rows, groups_ * group_bytes);
    for (std::int64_t c = 0; c < column_tiles_; ++c) set(panel_tile(c), groups_, row_bytes);
    auto* constant = llvm::ConstantDataArray::get(b_.getContext(), text);
    llvm::Module& module = *b_.GetInsertBlock()->getModule();
    auto* global = new llvm::GlobalVariable(module, constant->getType(), true,
                                            llvm::GlobalValue::InternalLinkage, constant, "shapes");
    global->setAlignment(llvm::Align(64));
    if (all_there()) return global;
    b_.CreateMemCpy(values_.shapes, llvm::Align(64), global, llvm::Align(64), 64);
    for (std::int64_t r = 0; r < row_tiles_; ++r) {
      Value* rows = b_.CreateTrunc(rows_of(r), b_.getInt8Ty());
      const auto keep = [&](std::int64_t n) {
        b_.CreateStore(rows, bytes_on(values_.shapes, number(48 + n)));
      };
      for (std::int64_t c = 0; c < column_tiles_; ++c) keep(sum(r, c));
      keep(row_tile(r));
    }
    return values_.shapes;
  }

  bool all_there() const {
    const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(values_.there);
    return constant != nullptr && constant->getSExtValue() >= product_.rows;
  }

  Value* at_most(Value* value, std::int64_t most) {
    return b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, value, number(most));
  }

  // A register has one row at least; where none is left, it is the last row again.
  Value* rows_of(std::int64_t r) {
    if (all_there()) return number(tile_rows);
    Value* left = at_most(b_.CreateSub(values_.there, number(r * tile_rows)), tile_rows);
    return b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, left, number(1));
  }

  Value* first_row(std::int64_t r) {
    if (all_there() || r == 0) return number(r * tile_rows);
    return at_most(b_.CreateSub(values_.there, number(1)), r * tile_rows);
  }

  // ---- products ----------------------------------------------------------------------------

  void step(Value* t) {
    const int width = byte_size(a_);
    Value* apart = b_.CreateMul(values_.a_apart, number(width));
    Value* along = b_.CreateMul(t, number(groups_ * group_bytes));
    for (std::int64_t r = 0; r < row_tiles_; ++r) {
      Value* at = bytes_on(values_.a, b_.CreateMul(first_row(r), apart));
      tile(llvm::Intrinsic::x86_tileloadd64, row_tile(r), bytes_on(at, along), apart);
    }
    const std::int64_t panel_row = product_.columns * group_bytes;
    Value* from = bytes_on(values_.b, b_.CreateMul(t, number(groups_ * panel_row)));
    for (std::int64_t c = 0; c < column_tiles_; ++c) {
      tile(llvm::Intrinsic::x86_tileloadd64, panel_tile(c), bytes_on(from, number(c * row_bytes)),
           number(panel_row));
      for (std::int64_t r = 0; r < row_tiles_; ++r)
        tile(dot_id(), sum(r, c), reg(row_tile(r)), reg(panel_tile(c)));
    }
  }

  llvm::Intrinsic::ID dot_id() const {
    if (a_ == DType::bfloat16) return llvm::Intrinsic::x86_tdpbf16ps;
    const bool a_signed = a_ == DType::int8;
    const bool b_signed = panel_ == DType::int8;
    if (a_signed) return b_signed ? llvm::Intrinsic::x86_tdpbssd : llvm::Intrinsic::x86_tdpbsud;
    return b_signed ? llvm::Intrinsic::x86_tdpbusd : llvm::Intrinsic::x86_tdpbuud;
  }

  void keep_sums(Value* from) {
    const std::int64_t row = product_.columns * sum_bytes;
    Value* sums = bytes_on(values_.sums, from);
    for (std::int64_t r = 0; r < row_tiles_; ++r) {
      for (std::int64_t c = 0; c < column_tiles_; ++c) {
        Value* to = bytes_on(sums, number(r * tile_rows * row + c * row_bytes));
        tile(llvm::Intrinsic::x86_tilestored64, sum(r, c), to, number(row));
      }
    }
  }

  // ---- loops -------------------------------------------------------------------------------

  template <typename Body>
  void counted(std::int64_t count, const Body& body) {
    if (count == 1) return body(number(0));
    llvm::BasicBlock* before = b_.GetInsertBlock();
    llvm::Function* function = before->getParent();
    auto* round = llvm::BasicBlock::Create(b_.getContext(), "", function);
    auto* after = llvm::BasicBlock::Create(b_.getContext(), "", function);
    b_.CreateBr(round);
    b_.SetInsertPoint(round);
    llvm::PHINode* counter = b_.CreatePHI(b_.getInt64Ty(), 2);
    counter->addIncoming(number(0), before);
    body(counter);
    Value* next = b_.CreateAdd(counter, number(1), "", true, true);
    counter->addIncoming(next, b_.GetInsertBlock());
    b_.CreateCondBr(b_.CreateICmpSLT(next, number(count)), round, after);
    b_.SetInsertPoint(after);
  }

  Builder& b_;
  const PanelProductValues& values_;
  PanelProduct product_;
  DType a_, panel_;
  std::int64_t row_tiles_, column_tiles_, groups_;
};

}  // namespace

void panel_product(Emitter& e, const Node& statement, const PanelProductValues& values) {
  check(e.target.has_tile_dot, "a processor with tiles of registers");
  Renderer(e, statement, values).run();
}

void release_tiles(Emitter& e) { e.b.CreateIntrinsic(llvm::Intrinsic::x86_tilerelease, {}, {}); }

}  // namespace brisk::ir
