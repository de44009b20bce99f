// Statements, loops, memory. Every value is emitted in the outermost loop where it can be (loads
// stay in their statement), so that indices are ready before the inner loops and LICM has only
// loads left.
#include "codegen/llvm/render.h"

#include <llvm/IR/IntrinsicsX86.h>
#include <llvm/IR/MDBuilder.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Support/raw_ostream.h>

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "base/power_of_two.h"
#include "codegen/alignment.h"
#include "codegen/decompose.h"
#include "codegen/llvm/group.h"
#include "codegen/llvm/panel_product.h"
#include "codegen/llvm/streaming.h"
#include "codegen/llvm/tiles.h"
#include "codegen/llvm/values.h"
#include "codegen/meetings.h"
#include "graph/integer.h"

namespace brisk::ir {

namespace {

using llvm::BasicBlock;
using llvm::Value;

LoopKind kind_of(const Node& loop) { return static_cast<LoopKind>(loop.ints(0)); }

bool is_true(Value* value) {
  auto* c = llvm::dyn_cast<llvm::Constant>(value);
  return c != nullptr && c->isAllOnesValue();
}
bool is_false(Value* value) {
  auto* c = llvm::dyn_cast<llvm::Constant>(value);
  return c != nullptr && c->isNullValue();
}

// A vector index that is start, start + stride, start + 2 stride, …
struct Affine {
  Node start;
  std::int64_t stride;
};

std::optional<Affine> affine(const Node& index) {
  switch (index.op()) {
    case Op::ramp_: return Affine{index.src(0), 1};
    case Op::splat_: return Affine{index.src(0), 0};
    case Op::add_:
      for (std::size_t i = 0; i < 2; ++i) {
        const auto vector = index.src(i).lanes() > 1 ? affine(index.src(i)) : std::nullopt;
        if (!vector) continue;
        if (index.src(1 - i).lanes() == 1) {
          return Affine{add(vector->start, index.src(1 - i)), vector->stride};
        }
        const auto other = affine(index.src(1 - i));
        if (!other) return std::nullopt;
        return Affine{add(vector->start, other->start), vector->stride + other->stride};
      }
      return std::nullopt;
    case Op::mul_:
      for (std::size_t i = 0; i < 2; ++i) {
        const Node& factor = index.src(1 - i);
        const auto vector =
            index.src(i).lanes() > 1 && factor.is_constant() ? affine(index.src(i)) : std::nullopt;
        if (vector) {
          return Affine{mul(vector->start, factor), vector->stride * factor.int_value()};
        }
      }
      return std::nullopt;
    default: return std::nullopt;
  }
}

class Renderer {
 public:
  Renderer(const Kernel& kernel, const Target& target, llvm::Module& module)
      : kernel_(kernel),
        module_(module),
        context_(module.getContext()),
        b_(context_, llvm::TargetFolder(module.getDataLayout())),
        e_{b_, target} {
    llvm::FastMathFlags flags;
    flags.setAllowContract();
    b_.setFastMathFlags(flags);
  }

  void kernel() {
    const Node body = decompose(kernel_.body, [&](const Node& node) {
      return node.is(Op::sin_) || has_native_exp2(e_.target, node);
    });
    std::vector<Node> phases = {body};
    if (body.is(Op::block_)) phases = body.srcs();
    if (in_groups()) {
      for (std::size_t i = 0; i < phases.size(); ++i) {
        has_tiles(phases[i]) ? tile_phase(phases[i], i) : group_phase(phases[i], i);
      }
      return;
    }
    // In the kernel's order, so that scratch_bytes holds whatever the phases use.
    for (const Node& node : topological_order({&body, 1})) {
      if (!node.is(Op::local_) || memory_of(node) != Memory::scratch) continue;
      scratch_offset_.emplace(node, scratch_size_);
      scratch_size_ += (node.ints(1) * byte_size(node.dtype()) + 63) / 64 * 64;
    }
    entry_begin();
    for (std::size_t i = 0; i < phases.size(); ++i) {
      const Uses uses = uses_of(phases[i]);
      entry_case(i);
      const auto arguments = phase_arguments(uses);
      streamed_ = e_.target.isa == Isa::x86_64 ? streamed_params(phases[i], body)
                                               : std::unordered_set<Node, NodeHash>();
      if (!streamed_.empty()) {
        const auto entry = b_.saveIP();
        llvm::Function* streaming = phase(phases[i], uses, fmt::format("{}_streaming", i));
        b_.restoreIP(entry);
        call_if_aligned(streaming, uses, arguments);
        streamed_.clear();
      }
      const auto entry = b_.saveIP();
      llvm::Function* function = phase(phases[i], uses, std::to_string(i));
      b_.restoreIP(entry);
      b_.CreateCall(function, arguments);
      b_.CreateRetVoid();
    }
  }

 private:
  // ---- the entry point ---------------------------------------------------------------------

  // What a phase needs, in the order of its function's parameters; begin and end follow.
  struct Uses {
    std::vector<Node> params;
    std::vector<Node> variables;
    std::vector<Node> scratch;
    std::vector<Node> registers;
    std::vector<Node> shared;
  };

  static Memory memory_of(const Node& local) { return static_cast<Memory>(local.ints(2)); }

  static Uses uses_of(const Node& phase) {
    Uses uses;
    for (const Node& node : topological_order({&phase, 1})) {
      if (node.is(Op::param_)) uses.params.push_back(node);
      if (node.is(Op::variable_)) uses.variables.push_back(node);
      if (!node.is(Op::local_)) continue;
      switch (memory_of(node)) {
        case Memory::scratch: uses.scratch.push_back(node); break;
        case Memory::registers: uses.registers.push_back(node); break;
        case Memory::shared: uses.shared.push_back(node); break;
      }
    }
    return uses;
  }

  llvm::Function* function(llvm::FunctionType* type, llvm::GlobalValue::LinkageTypes linkage,
                           const std::string& name) {
    auto* made = llvm::Function::Create(type, linkage, name, module_);
    made->setDoesNotThrow();
    made->addFnAttr("no-jump-tables", "true");
    made->addFnAttr("no-trapping-math", "true");
    if (e_.target.isa == Isa::x86_64) {
      const std::string bits = std::to_string(e_.target.vector_bytes * 8);
      made->addFnAttr("prefer-vector-width", bits);
      made->addFnAttr("min-legal-vector-width", bits);
    }
    return made;
  }

  void entry_begin() {
    auto* pointer = b_.getPtrTy();
    auto* word = b_.getInt64Ty();
    auto* type = llvm::FunctionType::get(b_.getVoidTy(),
                                         {pointer, pointer, word, word, word, pointer}, false);
    entry_ = function(type, llvm::GlobalValue::ExternalLinkage, symbol_of(kernel_));
    auto* start = BasicBlock::Create(context_, "", entry_);
    auto* done = BasicBlock::Create(context_, "", entry_);
    b_.SetInsertPoint(done);
    b_.CreateRetVoid();
    b_.SetInsertPoint(start);
    switch_ = b_.CreateSwitch(entry_->getArg(2), done);
  }

  void entry_case(std::size_t index) {
    auto* block = BasicBlock::Create(context_, "", entry_);
    switch_->addCase(b_.getInt64(index), block);
    b_.SetInsertPoint(block);
  }

  // Where all memory that is streamed to starts at a full vector; goes on where it does not.
  void call_if_aligned(llvm::Function* streaming, const Uses& uses,
                       const std::vector<Value*>& arguments) {
    Value* low = b_.getInt64(0);
    for (std::size_t i = 0; i < uses.params.size(); ++i) {
      if (streamed_.contains(uses.params[i])) {
        low = b_.CreateOr(low, b_.CreatePtrToInt(arguments[i], b_.getInt64Ty()));
      }
    }
    low = b_.CreateAnd(low, static_cast<std::uint64_t>(e_.target.vector_bytes - 1));
    auto* aligned = BasicBlock::Create(context_, "", entry_);
    auto* otherwise = BasicBlock::Create(context_, "", entry_);
    b_.CreateCondBr(b_.CreateICmpEQ(low, b_.getInt64(0)), aligned, otherwise);
    b_.SetInsertPoint(aligned);
    b_.CreateCall(streaming, arguments);
    b_.CreateRetVoid();
    b_.SetInsertPoint(otherwise);
  }

  std::vector<Value*> phase_arguments(const Uses& uses) {
    std::vector<Value*> arguments;
    for (const Node& param : uses.params) {
      Value* slot = b_.CreateConstGEP1_64(b_.getPtrTy(), entry_->getArg(0),
                                          static_cast<std::uint64_t>(param.ints(0)));
      arguments.push_back(b_.CreateLoad(b_.getPtrTy(), slot));
    }
    for (const Node& variable : uses.variables) {
      const auto found = std::find(kernel_.variables.begin(), kernel_.variables.end(), variable);
      check(found != kernel_.variables.end(), "a kernel lists its variables");
      Value* slot =
          b_.CreateConstGEP1_64(b_.getInt64Ty(), entry_->getArg(1),
                                static_cast<std::uint64_t>(found - kernel_.variables.begin()));
      arguments.push_back(b_.CreateLoad(b_.getInt64Ty(), slot));
    }
    for (const Node& local : uses.scratch) {
      arguments.push_back(
          b_.CreateConstGEP1_64(b_.getInt8Ty(), entry_->getArg(5),
                                static_cast<std::uint64_t>(scratch_offset_.at(local))));
    }
    arguments.push_back(entry_->getArg(3));
    arguments.push_back(entry_->getArg(4));
    return arguments;
  }

  // ---- phases ------------------------------------------------------------------------------

  llvm::Function* phase(const Node& body, const Uses& uses, const std::string& suffix) {
    std::vector<llvm::Type*> types(uses.params.size(), b_.getPtrTy());
    types.insert(types.end(), uses.variables.size(), b_.getInt64Ty());
    types.insert(types.end(), uses.scratch.size(), b_.getPtrTy());
    types.insert(types.end(), 2, b_.getInt64Ty());
    auto* type = llvm::FunctionType::get(b_.getVoidTy(), types, false);
    function_ = function(type, llvm::GlobalValue::InternalLinkage,
                         fmt::format("{}_{}", symbol_of(kernel_), suffix));
    function_->addFnAttr(llvm::Attribute::NoInline);
    begin_function();
    bind_arguments(uses);
    if (body.is(Op::loop_) && kind_of(body) == LoopKind::parallel) {
      llvm::Argument* begin = function_->getArg(function_->arg_size() - 2);
      llvm::Argument* end = function_->getArg(function_->arg_size() - 1);
      counted_loop(body, begin, end);
    } else {
      statement(body);
    }
    if (has_products(body)) release_tiles(e_);
    // Other threads see the task's end, and with it everything stored before.
    if (!streamed_.empty()) b_.CreateIntrinsic(llvm::Intrinsic::x86_sse_sfence, {}, {});
    b_.CreateRetVoid();
    return function_;
  }

  static bool has_products(const Node& body) {
    const std::vector<Node> nodes = topological_order({&body, 1});
    return std::any_of(nodes.begin(), nodes.end(),
                       [](const Node& node) { return node.is(Op::panel_product_); });
  }

  void panel_product(const Node& node) {
    ++statement_;
    Value* sums = address(node.src(0), constant_int(0));
    Value* a = address(node.src(1), node.src(3));
    Value* apart = value(node.src(4));
    Value* b = address(node.src(2), node.src(5));
    ir::panel_product(e_, node, {sums, a, b, apart, value(node.src(6)), shapes_of_tiles()});
  }

  llvm::AllocaInst* shapes_of_tiles() {
    const llvm::IRBuilderBase::InsertPointGuard guard(b_);
    llvm::BasicBlock& entry = function_->getEntryBlock();
    b_.SetInsertPoint(&entry, entry.begin());
    auto* memory = b_.CreateAlloca(llvm::ArrayType::get(b_.getInt8Ty(), 64));
    memory->setAlignment(llvm::Align(64));
    return memory;
  }

  void begin_function() {
    cache_.clear();
    addresses_.clear();
    pointers_.clear();
    scopes_ = {{next_scope_++, 0}};
    region_ends_.clear();
    floor_ = 0;
    b_.SetInsertPoint(BasicBlock::Create(context_, "", function_));
  }

  void bind_arguments(const Uses& uses) {
    unsigned next = 0;
    for (const Node& param : uses.params) {
      function_->addParamAttr(next, llvm::Attribute::NoAlias);
      function_->addParamAttr(next, llvm::Attribute::NoUndef);
      pointers_[param] = function_->getArg(next++);
    }
    for (const Node& variable : uses.variables) bind(variable, function_->getArg(next++));
    for (const Node& local : uses.scratch) {
      function_->addParamAttr(next, llvm::Attribute::NoAlias);
      function_->addParamAttr(next, llvm::Attribute::getWithAlignment(context_, llvm::Align(64)));
      pointers_[local] = function_->getArg(next++);
    }
    for (const Node& local : uses.registers) bind_registers(local);
  }

  void bind_registers(const Node& local) {
    auto* type = llvm::ArrayType::get(memory_type(context_, local.dtype()),
                                      static_cast<std::uint64_t>(local.ints(1)));
    auto* memory = b_.CreateAlloca(type);
    memory->setAlignment(llvm::Align(64));
    pointers_[local] = memory;
  }

  // ---- groups of threads (see codegen/llvm/group.h) ------------------------------------------

  bool in_groups() const { return e_.target.group_threads > 0; }

  void group_phase(const Node& body, std::size_t index) {
    threads_ = threads_of(body);
    copying_ = 0;
    auto* type = llvm::FunctionType::get(b_.getVoidTy(), group_types(), false);
    cluster_ = groups_of_task(body);
    function_ = group_function(module_, type, fmt::format("{}_{}", symbol_of(kernel_), index),
                               threads_ / cluster_, groups_together(body));
    make_clusters(function_, cluster_);
    begin_function();
    accesses_ = shared_accesses(body);
    meetings_.met();
    asked_.clear();
    if (e_.target.overlaps_launches) let_next_launch(e_);
    bind_group_arguments(uses_of(body));
    bind_group_variables();
    thread_ = thread_number(e_);
    Value* number = group_number(e_);
    if (cluster_ > 1) {
      in_cluster_ = number_in_cluster(e_, cluster_);
      Value* before = b_.CreateMul(b_.CreateZExt(in_cluster_, b_.getInt64Ty()),
                                   b_.getInt64(static_cast<std::uint64_t>(threads_ / cluster_)));
      thread_ = b_.CreateAdd(thread_, before);
      number = b_.CreateUDiv(number, b_.getInt64(static_cast<std::uint64_t>(cluster_)));
      arrive_at_cluster(e_);
    }
    const bool tasks = is_loop(body, LoopKind::parallel);
    const Node& run = tasks ? body.src(1) : body;
    Value* there = b_.getTrue();
    if (tasks) {
      Value* task = b_.CreateAdd(first_task(), number, "", true, true);
      there = b_.CreateICmpSLT(task, end_of_tasks());
      bind(body.src(0), task);
    }
    if (e_.target.overlaps_launches) {
      const std::vector<Node> asks = asks_of(run);
      if (!asks.empty()) guarded(there, [&] { ask(block(asks)); });
      follow_launch(e_);  // in any case: what follows this phase counts on it
    }
    if (tasks) return_unless(there);
    std::vector<Node> list = run.is(Op::block_) ? run.srcs() : std::vector<Node>{run};
    if (cluster_ > 1) {
      // The first loop of threads runs before it is known that the other groups have begun: from
      // then on they may write to each other's memory.
      if (is_loop(list[0], LoopKind::threads)) {
        statement(list[0]);
        list.erase(list.begin());
      }
      wait_for_others(e_);
    }
    statements(list);
    cluster_ = 1;
    b_.CreateRetVoid();
  }

  static bool only_asks(const Node& node) {
    if (node.is(Op::block_)) return std::all_of(node.srcs().begin(), node.srcs().end(), only_asks);
    return node.is(Op::prefetch_) || (is_loop(node, LoopKind::threads) && only_asks(node.src(1)));
  }

  // What asks memory for what is read later, at the beginning of a phase or of its branches: it
  // runs before what the phase follows is done.
  static std::vector<Node> asks_of(const Node& node) {
    if (only_asks(node)) return {node};
    std::vector<Node> asks;
    if (node.is(Op::branch_)) {
      asks = asks_of(node.src(1));
      if (!asks.empty()) asks = {brisk::branch(node.src(0), block(std::move(asks)))};
    } else if (node.is(Op::block_)) {
      for (const Node& each : node.srcs()) {
        const std::vector<Node> mine = asks_of(each);
        asks.insert(asks.end(), mine.begin(), mine.end());
        if (!only_asks(each) && !each.is(Op::branch_)) break;
      }
    }
    return asks;
  }

  void ask(const Node& node) {
    if (is_loop(node, LoopKind::threads)) {
      each_thread(node, [&] { ask(node.src(1)); });
    } else if (node.is(Op::block_)) {
      for (const Node& each : node.srcs()) ask(each);
    } else if (node.is(Op::branch_)) {
      ++statement_;
      guarded(value(node.src(0)), [&] { ask(node.src(1)); });
    } else {
      ++statement_;
      group_prefetch(e_, address(node.src(0), node.src(1)));
      asked_.insert(node);
    }
  }

  void return_unless(Value* condition) {
    auto* out = BasicBlock::Create(context_, "", function_);
    auto* on = BasicBlock::Create(context_, "", function_);
    b_.CreateCondBr(condition, on, out);
    b_.SetInsertPoint(out);
    b_.CreateRetVoid();
    b_.SetInsertPoint(on);
  }

  static std::int64_t bytes_held(const Node& body) {
    std::int64_t bytes = 0;
    for (const Node& node : topological_order({&body, 1})) {
      if (is_local(node, Memory::registers)) bytes += local_bytes(node);
    }
    return bytes;
  }

  // Where threads hold much and two groups have room for that and the rest, they get no more: one
  // multiplies while the other waits. Who holds little has that anyway.
  std::int64_t groups_together(const Node& body) const {
    constexpr std::int64_t registers = 65536;  // of a processor
    constexpr std::int64_t much = 80;
    constexpr std::int64_t rest = 40;
    const std::int64_t held = bytes_held(body) / 4;
    return held >= much && 2 * threads_ * (held + rest) <= registers ? 2 : 1;
  }

  std::vector<llvm::Type*> group_types() {
    const std::size_t pointers = kernel_.params.size() + kernel_.workspace.size();
    std::vector<llvm::Type*> types(pointers, b_.getPtrTy(global_space));
    types.insert(types.end(), kernel_.variables.size() + 2, b_.getInt64Ty());
    if (!kernel_.variables.empty()) types.push_back(b_.getPtrTy(global_space));
    types.insert(types.end(), views_.size(), b_.getPtrTy());
    return types;
  }
  unsigned first_map_argument() const {
    return task_argument() + (kernel_.variables.empty() ? 2 : 3);
  }

  unsigned task_argument() const {
    return static_cast<unsigned>(kernel_.params.size() + kernel_.workspace.size() +
                                 kernel_.variables.size());
  }
  Value* first_task() const { return function_->getArg(task_argument()); }
  Value* end_of_tasks() const { return function_->getArg(task_argument() + 1); }

  // Once there is memory for all else, since this ends the function's first block.
  void bind_group_variables() {
    for (std::size_t i = 0; i < kernel_.variables.size(); ++i)
      bind(kernel_.variables[i], variable_value(i));
  }

  // An argument, or where it changes from launch to launch, in memory.
  Value* variable_value(std::size_t i) {
    const std::size_t first = kernel_.params.size() + kernel_.workspace.size();
    Value* result = function_->getArg(static_cast<unsigned>(first + i));
    Value* memory = function_->getArg(task_argument() + 2);
    BasicBlock* before = b_.GetInsertBlock();
    auto* read = BasicBlock::Create(context_, "", function_);
    auto* after = BasicBlock::Create(context_, "", function_);
    b_.CreateCondBr(b_.CreateIsNull(memory), after, read);
    b_.SetInsertPoint(read);
    Value* place = b_.CreateConstInBoundsGEP1_64(b_.getInt64Ty(), memory, i);
    Value* held = b_.CreateAlignedLoad(b_.getInt64Ty(), place, llvm::Align(8));
    b_.CreateBr(after);
    b_.SetInsertPoint(after);
    llvm::PHINode* value = b_.CreatePHI(b_.getInt64Ty(), 2);
    value->addIncoming(result, before);
    value->addIncoming(held, read);
    return value;
  }

  void bind_group_arguments(const Uses& uses) {
    for (const Node& param : uses.params) {
      const auto i = static_cast<unsigned>(param.ints(0));
      const bool written = accesses_.written.contains(param);
      // What other threads of the group may have written is not known from what this one did.
      if (!written || !accesses_.read.contains(param))
        function_->addParamAttr(i, llvm::Attribute::NoAlias);
      // Loads of what is only read go by a way that does not see what kernels write meanwhile.
      if (!written && !e_.target.overlaps_launches)
        function_->addParamAttr(i, llvm::Attribute::ReadOnly);
      function_->addParamAttr(i, llvm::Attribute::NoUndef);
      function_->addParamAttr(
          i, llvm::Attribute::getWithAlignment(context_, llvm::Align(group_alignment)));
      pointers_[param] = function_->getArg(i);
    }
    for (const Node& local : uses.scratch) bind_registers(local);
    for (const Node& local : uses.registers) bind_registers(local);
    for (const Node& local : uses.shared) {
      if (copying_ > 0) continue;  // in the launch's memory
      check(cluster_ == 1, "groups of a cluster share no locals");
      pointers_[local] = shared_array(module_, memory_type(context_, local.dtype()), local.ints(1));
    }
  }

  // Threads meet where one may touch what another one did since they met last.
  void meet_before(const SharedAccesses& next) {
    if (meetings_.wanted_before(next)) meet();
    meetings_.note(next);
  }

  void meet() {
    if (copying_ > 0) {
      show_to_copies(e_);
      ir::meet(e_, computing_barrier, threads_);
    } else if (cluster_ > 1) {
      wait_for_cluster(e_);
    } else {
      wait_for_group(e_);
    }
    meetings_.met();
  }

  void threads_loop(const Node& node) {
    const SharedAccesses accesses = shared_accesses(node);
    const bool reused = std::any_of(stored_.begin(), stored_.end(), [&](const Node& local) {
      return accesses.written.contains(local);
    });
    // One thread's stores read it until this thread knows that they do not.
    if (reused) {
      guarded(is_first_thread(), [&] { wait_for_reads(e_); });
      meet();
    }
    meet_before(accesses);
    each_thread(node, [&] { statement(node.src(1)); });
  }

  // For a loop's threads, the first of the group.
  template <typename Body>
  void each_thread(const Node& node, const Body& run) {
    const std::int64_t size = Size(node.src(0).src(0)).value();
    const auto body = [&] {
      bind(node.src(0), thread_);
      run();
    };
    if (size < threads_) {
      Value* limit = b_.getInt64(static_cast<std::uint64_t>(size));
      return guarded(b_.CreateICmpULT(thread_, limit), body);
    }
    scopes_.push_back({next_scope_++, region_ends_.size()});
    body();
    scopes_.pop_back();
  }

  // First among threads in step, by exchange; then, through shared memory, among those.
  void group_reduce(const Node& node) {
    const auto op = static_cast<ReduceOp>(node.ints(0));
    const std::int64_t count = node.ints(1);
    const std::int64_t step = std::min<std::int64_t>(node.ints(2), e_.target.group_step);
    const std::int64_t steps = node.ints(2) / step;  // that are combined
    const DType dtype = node.src(0).dtype();
    std::vector<Value*> values;
    for (std::int64_t i = 0; i < count; ++i) {
      const Node index = constant_int(node.src(1).int_value() + i);
      ++statement_;
      values.push_back(value(load_from(node.src(0), index)));
      exchange(op, dtype, values.back(), step / 2);
    }
    if (steps > 1) {
      SharedAccesses exchanged;
      exchanged.written.insert(node);
      meet_before(exchanged);
      through_memory(op, dtype, values, steps);
      meetings_.met();
      SharedAccesses left;
      left.read.insert(node);
      meetings_.note(left);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      Value* stored = values[static_cast<std::size_t>(i)];
      if (is_bool(dtype)) stored = b_.CreateZExt(stored, b_.getInt8Ty());
      const Node index = constant_int(node.src(1).int_value() + i);
      ++statement_;
      write_lanes(node.src(0), index, 1, stored, nullptr);
    }
  }

  void arrive(const Node& node) {
    ++statement_;
    Value* place = value(node.src(1));
    Value* all = counters(module_, node.ints(1));
    meet();
    guarded(is_first_thread(), [&] {
      Value* last = count_in(e_, b_.CreateGEP(b_.getInt32Ty(), all, place), node.ints(0));
      write_lanes(node.src(0), constant_int(0), 1, b_.CreateZExt(last, b_.getInt32Ty()), nullptr);
    });
    meet();
  }

  void exchange(ReduceOp op, DType dtype, Value*& value, std::int64_t first_distance) {
    for (std::int64_t distance = first_distance; distance > 0; distance /= 2)
      value = combine(e_, op, dtype, value, from_neighbour(e_, value, distance, threads_));
  }

  void through_memory(ReduceOp op, DType dtype, std::vector<Value*>& values, std::int64_t steps) {
    const std::int64_t step = e_.target.group_step;
    const std::int64_t all = (threads_ + step - 1) / step;
    auto* type = memory_type(context_, dtype);
    Value* array = shared_array(module_, type, all * static_cast<std::int64_t>(values.size()));
    const auto number = [&](std::int64_t n) { return b_.getInt64(static_cast<std::uint64_t>(n)); };
    Value* lane = b_.CreateAnd(thread_, number(step - 1));
    Value* mine = b_.CreateUDiv(thread_, number(step));
    const auto place = [&](Value* at, std::size_t i) {
      return b_.CreateGEP(type, array,
                          b_.CreateAdd(at, number(static_cast<std::int64_t>(i) * all)));
    };
    // In each group's memory, where there are several: a lane writes to one of them.
    guarded(b_.CreateICmpULT(lane, number(cluster_)), [&] {
      for (std::size_t i = 0; i < values.size(); ++i) {
        Value* stored = is_bool(dtype) ? b_.CreateZExt(values[i], type) : values[i];
        if (cluster_ == 1) {
          b_.CreateStore(stored, place(mine, i));
        } else {
          Value* here = b_.CreatePtrToInt(place(mine, i), b_.getInt32Ty());
          Value* group = b_.CreateTrunc(lane, b_.getInt32Ty());
          store_in_cluster(e_, stored, in_cluster(e_, here, group));
        }
      }
    });
    meet();
    // Each takes some of the results that it needs, the same ones in turn.
    const std::int64_t lanes = std::min(steps, step);
    Value* first = b_.CreateAnd(mine, number(~(steps - 1)));
    Value* at = b_.CreateAdd(first, b_.CreateAnd(lane, number(lanes - 1)));
    const auto taken = [&](std::int64_t from, std::size_t i) -> Value* {
      Value* value = b_.CreateLoad(type, place(b_.CreateAdd(at, number(from)), i));
      if (!is_bool(dtype)) return value;
      return b_.CreateICmpNE(value, llvm::Constant::getNullValue(type));
    };
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = taken(0, i);
      for (std::int64_t from = lanes; from < steps; from += lanes)
        values[i] = combine(e_, op, dtype, values[i], taken(from, i));
      exchange(op, dtype, values[i], lanes / 2);
    }
  }

  // What is known of where an access begins, given that memory is aligned as groups have it.
  llvm::Align group_align(const Node& pointer, const Node& start, int lanes) const {
    const int bytes = aligned_elements(pointer.dtype(), start, lanes) * byte_size(pointer.dtype());
    return llvm::Align(static_cast<std::uint64_t>(bytes));
  }

  // Small elements as the largest words that the alignment allows.
  llvm::Type* in_words(llvm::Type* type, llvm::Align align) const {
    const unsigned bits = type->getScalarSizeInBits();
    const auto lanes = static_cast<unsigned>(
        type->isVectorTy() ? llvm::cast<llvm::FixedVectorType>(type)->getNumElements() : 1);
    const auto word = std::min<unsigned>(32, static_cast<unsigned>(align.value()) * 8);
    if (lanes == 1 || word <= bits || bits * lanes % word != 0) return type;
    auto* one = llvm::IntegerType::get(context_, word);
    const unsigned count = bits * lanes / word;
    if (count == 1) return one;
    return llvm::FixedVectorType::get(one, count);
  }

  Value* group_read(const Node& node, llvm::Type* type, Value* gate) {
    const Node& pointer = node.src(0);
    const Node& index = node.src(1);
    const bool each = gate != nullptr && lane_count(gate) > 1;
    // Nothing is, while the kernel before may still write.
    const bool constant = !e_.target.overlaps_launches && pointer.is(Op::param_) &&
                          !accesses_.written.contains(pointer);
    const auto read = [&](llvm::Type* wanted, Value* at, llvm::Align align, Value* open) -> Value* {
      if (open != nullptr) at = b_.CreateSelect(open, at, pointers_.at(pointer));
      auto* load = b_.CreateAlignedLoad(in_words(wanted, align), at, align);
      if (constant) {
        load->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(context_, {}));
      }
      Value* value = b_.CreateBitCast(load, wanted);
      if (open == nullptr) return value;
      return b_.CreateSelect(open, value, llvm::Constant::getNullValue(wanted));
    };
    const auto at = index.lanes() == 1 ? std::optional(Affine{index, 1}) : affine(index);
    if (at && at->stride == 1 && !each) {
      return read(type, address(pointer, at->start), group_align(pointer, at->start, node.lanes()),
                  gate);
    }
    const llvm::Align align(static_cast<std::uint64_t>(byte_size(node.dtype())));
    llvm::Type* scalar = type->getScalarType();
    if (at && at->stride == 0 && !each)
      return broadcast(e_, read(scalar, address(pointer, at->start), align, gate), node.lanes());
    Value* result = llvm::PoisonValue::get(type);
    for (int i = 0; i < node.lanes(); ++i) {
      const auto lane = static_cast<std::uint64_t>(i);
      Value* place =
          at ? element(node.dtype(), address(pointer, at->start), at->stride * i)
             : b_.CreateGEP(memory_type(context_, pointer.dtype()), pointers_.at(pointer),
                            b_.CreateExtractElement(value(index), lane));
      Value* open = each ? b_.CreateExtractElement(gate, lane) : gate;
      result = b_.CreateInsertElement(result, read(scalar, place, align, open), lane);
    }
    return result;
  }

  void group_write(Value* stored, Value* to, llvm::Align align) {
    b_.CreateAlignedStore(b_.CreateBitCast(stored, in_words(stored->getType(), align)), to, align);
  }

  // ---- phases with tiles (see codegen/llvm/tiles.h) ------------------------------------------

  // Some warps of the group do nothing but issue the copies of pipelines; the others do all else.
  // Both go through the same tasks and loops, and signal to each other which stage of a pipeline is
  // filled, and which one free again.
  enum class Role : std::uint8_t { all, copies, computes };

  // Of a ring, in one role.
  struct RingState {
    Value* stage;   // allocas of i32
    Value* parity;  // how often the ring went round, modulo 2
  };

  void tile_phase(const Node& body, std::size_t index) {
    threads_ = threads_of(body);
    copying_ = copying_threads_of(body);
    check(copying_ > 0, "tiles of a target whose groups have threads that copy");
    auto* type = llvm::FunctionType::get(b_.getVoidTy(), group_types(), false);
    function_ = tile_function(module_, type, fmt::format("{}_{}", symbol_of(kernel_), index),
                              threads_ + copying_, first_map_argument());
    cluster_ = sharers_of(body);
    make_clusters(function_, cluster_);
    begin_function();
    memory_ = phase_memory(body);
    accesses_ = shared_accesses(body);
    meetings_.met();
    stored_.clear();
    loaded_.clear();
    for (const Node& node : topological_order({&body, 1})) {
      if (node.is(Op::store_tile_)) stored_.insert(node.src(0));
      if (node.is(Op::load_tile_)) loaded_.insert(node.src(0));
    }
    if (e_.target.overlaps_launches) {
      let_next_launch(e_);
      follow_launch(e_);
    }
    const Uses uses = uses_of(body);
    bind_group_arguments(uses);
    bind_tiles(uses);
    bind_group_variables();
    thread_ = thread_number(e_);
    warp_ = warp_number(e_, thread_);
    guarded(is_first_thread(), [&] { make_signals(); });
    signals_made(e_);
    if (cluster_ > 1) {
      in_cluster_ = number_in_cluster(e_, cluster_);
      wait_for_cluster(e_);
    } else {
      wait_for_group(e_);
    }
    Value* copies = b_.CreateICmpUGE(warp_, b_.getInt32(static_cast<unsigned>(threads_ / 32)));
    either(
        copies, [&] { copying_role(body); }, [&] { computing_role(body); });
    role_ = Role::all;
    // Others of the cluster may still signal to this group.
    if (cluster_ > 1) wait_for_cluster(e_);
    cluster_ = 1;
    copying_ = 0;
    stored_.clear();
    b_.CreateRetVoid();
  }

  Value* is_first_thread() { return b_.CreateICmpEQ(thread_, b_.getInt64(0)); }
  Value* word(std::int64_t value) { return b_.getInt32(static_cast<std::uint32_t>(value)); }

  void bind_tiles(const Uses& uses) {
    shared_ = launch_memory(module_);
    shared_address_ = b_.CreatePtrToInt(shared_, b_.getInt32Ty());
    for (const Node& local : uses.shared) place_tile(local, word(memory_.offset(local)));
    maps_.clear();
    rings_.clear();
    for (unsigned i = first_map_argument(); i < function_->arg_size(); ++i)
      maps_.push_back(b_.CreatePtrToInt(function_->getArg(i), b_.getInt64Ty()));
    for (const TileRing& ring : memory_.rings) {
      for (const Role role : {Role::copies, Role::computes}) {
        RingState& state = rings_[{&ring, role}];
        state = {b_.CreateAlloca(b_.getInt32Ty()), b_.CreateAlloca(b_.getInt32Ty())};
        b_.CreateStore(b_.getInt32(0), state.stage);
        b_.CreateStore(b_.getInt32(0), state.parity);
      }
    }
  }

  void place_tile(const Node& local, Value* offset) {
    tiles_[local] = b_.CreateAdd(shared_address_, offset);
    pointers_[local] =
        b_.CreateGEP(b_.getInt8Ty(), shared_, b_.CreateZExt(offset, b_.getInt64Ty()));
  }

  void make_signals() {
    for (const TileRing& ring : memory_.rings) {
      for (std::int64_t i = 0; i < ring.stages; ++i) {
        make_signal(e_, filled(ring, word(i)), 1);
        make_signal(e_, freed(ring, word(i)), threads_ / 32 * ring.sharers);
      }
    }
  }

  Value* filled(const TileRing& ring, Value* stage) {
    return b_.CreateAdd(b_.CreateAdd(shared_address_, word(ring.signals)), b_.CreateShl(stage, 4));
  }
  Value* freed(const TileRing& ring, Value* stage) {
    return b_.CreateAdd(filled(ring, stage), word(8));
  }

  // Registers go from the threads that copy to those that compute, where these hold more than their
  // share leaves room for. (Drivers then have to assemble the kernel as a whole.)
  bool shares_out_registers(const Node& body) const {
    constexpr std::int64_t held_at_most = 132;  // of 168, the sums of a product
    return threads_ + copying_ > 256 && bytes_held(body) > 4 * held_at_most;
  }

  void copying_role(const Node& body) {
    role_ = Role::copies;
    if (shares_out_registers(body)) set_registers(e_, false, threads_ > 256 ? 32 : 24);
    Value* one = b_.CreateICmpEQ(thread_, b_.getInt64(static_cast<std::uint64_t>(threads_)));
    guarded(one, [&] { each_task(body); });
  }

  static bool takes_turns(const Node& body) {
    const std::vector<Node> nodes = topological_order({&body, 1});
    return std::any_of(nodes.begin(), nodes.end(), [](const Node& node) {
      return node.is(Op::matrix_step_) && step_of(node).in_turn;
    });
  }

  void computing_role(const Node& body) {
    role_ = Role::computes;
    if (shares_out_registers(body)) set_registers(e_, true, threads_ > 256 ? 160 : 240);
    if (takes_turns(body)) begin_turns(e_, first_turn, b_.CreateLShr(warp_, 2), threads_ / 128);
    each_task(body);
    // What stores read must live until they have.
    if (!stored_.empty()) guarded(is_first_thread(), [&] { wait_for_stores(e_); });
  }

  // A group takes every n-th task of a grid of n.
  void each_task(const Node& body) {
    if (!is_loop(body, LoopKind::parallel)) return statement(body);
    Value* begin = b_.CreateAdd(first_task(), group_number(e_), "", true, true);
    Value* step = group_count(e_);
    meetings_.around(shared_accesses(body), [&] {
      BasicBlock* before = b_.GetInsertBlock();
      auto* round = BasicBlock::Create(context_, "", function_);
      auto* after = BasicBlock::Create(context_, "", function_);
      llvm::Instruction* enter =
          b_.CreateCondBr(b_.CreateICmpSLT(begin, end_of_tasks()), round, after);
      b_.SetInsertPoint(round);
      llvm::PHINode* task = b_.CreatePHI(b_.getInt64Ty(), 2);
      task->addIncoming(begin, before);
      in_region(enter, [&] {
        const std::size_t floor = std::exchange(floor_, top());
        bind(body.src(0), task);
        statement(body.src(1));
        floor_ = floor;
      });
      Value* next = b_.CreateAdd(task, step, "", true, true);
      task->addIncoming(next, b_.GetInsertBlock());
      b_.CreateCondBr(b_.CreateICmpSLT(next, end_of_tasks()), round, after);
      b_.SetInsertPoint(after);
    });
  }

  void pipeline_round(const Node& pipeline) {
    const std::vector<RingUse> uses = memory_.uses_of(pipeline);
    role_ == Role::copies ? copy_round(pipeline, uses) : compute_round(pipeline, uses);
  }

  // Tiles in the order of their loads; each ring's when its turn is free.
  void copy_round(const Node& pipeline, const std::vector<RingUse>& uses) {
    const std::vector<Node> loads = loads_of(pipeline);
    std::map<const TileRing*, Value*> signals;
    for (const Node& node : round_of(pipeline)) {
      if (!node.is(Op::load_tile_)) {
        statement(node);
        continue;
      }
      const TileRing& ring = memory_.ring_of(node.src(0));
      if (signals.count(&ring) == 0) {
        const RingTurn turn = turn_of(ring);
        place_tiles(ring, turn);
        signals[&ring] = filled(ring, turn.stage);
        std::int64_t bytes = 0;
        for (const Node& load : loads) {
          if (!ring.holds(load.src(0))) continue;
          bytes += tile_elements(1, rows_in_box(view_of(load)),
                                 load.ints(1) * byte_size(load.src(0).dtype()));
        }
        wait_for_signal(e_, freed(ring, turn.stage), b_.CreateXor(turn.parity, word(1)));
        signal_with_bytes(e_, signals.at(&ring), bytes);
      }
      signal_ = signals.at(&ring);
      load_tile(node);
    }
    for (const RingUse& use : uses) next_turn(*use.ring);
  }

  void compute_round(const Node& pipeline, const std::vector<RingUse>& uses) {
    const std::vector<Node> all = round_of(pipeline);
    std::size_t begin = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto any = [&](std::size_t RingUse::*when) {
        return std::any_of(uses.begin(), uses.end(),
                           [&](const RingUse& use) { return use.*when == i; });
      };
      if (any(&RingUse::first)) {
        statements(std::span(all).subspan(begin, i - begin));
        begin = i;
        for (const RingUse& use : uses) {
          if (use.first != i) continue;
          const RingTurn turn = turn_of(*use.ring);
          place_tiles(*use.ring, turn);
          wait_for_signal(e_, filled(*use.ring, turn.stage), turn.parity);
        }
      }
      if (!any(&RingUse::last)) continue;
      statements(std::span(all).subspan(begin, i + 1 - begin));
      begin = i + 1;
      Value* lane = b_.CreateTrunc(b_.CreateAnd(thread_, b_.getInt64(31)), b_.getInt32Ty());
      for (const RingUse& use : uses) {
        if (use.last == i) signal_freed(*use.ring, lane);
      }
      for (const RingUse& use : uses) {
        if (use.last == i) next_turn(*use.ring);
      }
    }
    statements(std::span(all).subspan(begin));
  }

  // To the groups that copy into the set; a lane of the warp to one of them.
  void signal_freed(const TileRing& ring, Value* lane) {
    guarded(b_.CreateICmpULT(lane, word(ring.sharers)), [&] {
      Value* at = freed(ring, turn_of(ring).stage);
      ring.sharers > 1 ? signal_in_cluster(e_, at, lane) : signal(e_, at);
    });
  }

  // Which set of a ring's tiles is next.
  struct RingTurn {
    Value* stage;
    Value* parity;
  };
  RingTurn turn_of(const TileRing& ring) {
    const RingState& state = rings_.at({&ring, role_});
    return {b_.CreateLoad(b_.getInt32Ty(), state.stage),
            b_.CreateLoad(b_.getInt32Ty(), state.parity)};
  }

  void place_tiles(const TileRing& ring, const RingTurn& turn) {
    Value* shift = b_.CreateMul(turn.stage, word(ring.stage_bytes));
    for (const Node& tile : ring.tiles)
      place_tile(tile, b_.CreateAdd(shift, word(memory_.offset(tile))));
  }

  void next_turn(const TileRing& ring) {
    const RingState& state = rings_.at({&ring, role_});
    const RingTurn turn = turn_of(ring);
    Value* next = b_.CreateAdd(turn.stage, word(1));
    Value* wraps = b_.CreateICmpEQ(next, word(ring.stages));
    b_.CreateStore(b_.CreateSelect(wraps, word(0), next), state.stage);
    b_.CreateStore(b_.CreateXor(turn.parity, b_.CreateZExt(wraps, b_.getInt32Ty())), state.parity);
  }

  std::size_t map_number(const Node& statement) const {
    const auto found = std::find(views_.begin(), views_.end(), view_of(statement));
    return static_cast<std::size_t>(found - views_.begin());
  }

  // Calls f(strip's address, its coordinates) for each strip of the tile.
  template <typename F>
  void each_strip(const Node& node, F&& f) {
    const std::int64_t strip = strip_bytes / byte_size(node.src(0).dtype());
    ++statement_;
    std::vector<Value*> at;
    for (std::size_t i = 2; i < node.srcs().size(); ++i)
      at.push_back(b_.CreateTrunc(value(node.src(i)), b_.getInt32Ty()));
    Value* first = at[0];
    for (std::int64_t column = 0; column < node.ints(1); column += strip) {
      at[0] = b_.CreateAdd(first, word(column));
      f(b_.CreateAdd(tiles_.at(node.src(0)), word(column / strip * node.ints(0) * strip_bytes)),
        at);
    }
  }

  void load_tile(const Node& node) {
    check(role_ == Role::copies, "tiles are loaded in pipelines");
    const TileView view = view_of(node);
    each_strip(node, [&](Value* to, std::vector<Value*> at) {
      if (view.sharers > 1) {
        Value* row = b_.CreateMul(in_cluster_, word(view.box[0] / view.sharers));
        to = b_.CreateAdd(to, b_.CreateMul(row, word(strip_bytes)));
        at[1] = b_.CreateAdd(at[1], row);
      }
      load_strip(e_, to, maps_[map_number(node)], at, signal_, view.sharers);
    });
  }

  void store_tile(const Node& node) {
    meet_before(shared_accesses(node));
    guarded(is_first_thread(), [&] {
      each_strip(node, [&](Value* from, const std::vector<Value*>& at) {
        store_strip(e_, from, maps_[map_number(node)], at);
      });
      stores_issued(e_);
    });
  }

  // Steps that follow each other begin together.
  void matrix_steps(std::span<const Node> steps) {
    SharedAccesses accesses;
    for (const Node& node : steps) accesses.add(shared_accesses(node));
    for (const Node& tile : loaded_) accesses.read.erase(tile);  // signals say when they are there
    meet_before(accesses);
    ++statement_;
    Value* set = b_.CreateLShr(warp_, 2);
    std::vector<Operands> operands;
    for (const Node& node : steps) operands.push_back(operands_of(node, set));
    const bool in_turn = step_of(steps[0]).in_turn;
    const std::int64_t sets = threads_ / 128;
    if (in_turn) wait_for_turn(e_, first_turn, set, sets);
    begin_products(e_);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const MatrixStep step = step_of(steps[i]);
      std::vector<Value*> sums = sums_of(steps[i]);
      issue_products(e_, step, operands[i], value(steps[i].src(3)), sums);
      products_issued(e_);
      keep_sums(steps[i], sums);
      running_.push_back(steps[i]);
    }
    const bool runs_on = std::all_of(steps.begin(), steps.end(),
                                     [](const Node& node) { return step_of(node).runs_on; });
    if (!runs_on) finish_steps(0);
    if (in_turn) pass_turn(e_, first_turn, set, sets);
  }

  Value* sum_place(const Node& step, std::int64_t i) {
    llvm::Type* type = memory_type(context_, step.src(0).dtype());
    return b_.CreateConstGEP1_64(type, pointers_.at(step.src(0)), static_cast<std::uint64_t>(i));
  }
  static std::int64_t sum_count(const Node& node) {
    const MatrixStep step = step_of(node);
    return step.rows * step.columns / step.threads;
  }
  std::vector<Value*> sums_of(const Node& step) {
    std::vector<Value*> sums;
    llvm::Type* type = memory_type(context_, step.src(0).dtype());
    for (std::int64_t i = 0; i < sum_count(step); ++i)
      sums.push_back(b_.CreateLoad(type, sum_place(step, i)));
    return sums;
  }
  void keep_sums(const Node& step, std::span<Value* const> sums) {
    for (std::int64_t i = 0; i < sum_count(step); ++i)
      b_.CreateStore(sums[static_cast<std::size_t>(i)], sum_place(step, i));
  }

  void finish_steps(std::int64_t left) {
    const auto done = static_cast<std::size_t>(
        std::max<std::int64_t>(0, static_cast<std::int64_t>(running_.size()) - left));
    std::vector<Value*> sums;
    for (std::size_t i = 0; i < done; ++i) {
      const std::vector<Value*> mine = sums_of(running_[i]);
      sums.insert(sums.end(), mine.begin(), mine.end());
    }
    wait_for_products(e_, left, sums);
    auto next = std::span<Value* const>(sums);
    for (std::size_t i = 0; i < done; ++i) {
      keep_sums(running_[i], next);
      next = next.subspan(static_cast<std::size_t>(sum_count(running_[i])));
    }
    running_.erase(running_.begin(), running_.begin() + static_cast<std::ptrdiff_t>(done));
  }

  Operands operands_of(const Node& step, Value* set) {
    Operands operands;
    operands.a_dtype = step.src(1).dtype();
    operands.b_dtype = step.src(2).dtype();
    if (memory_of(step.src(1)) == Memory::shared) {
      operands.a = tiles_.at(step.src(1));
    } else {
      operands.a_words = words_of(step.src(1));
    }
    operands.b = tiles_.at(step.src(2));
    operands.warps = set;
    return operands;
  }

  // Registers of 8 or 16 bits, as words.
  std::vector<Value*> words_of(const Node& registers) {
    llvm::Type* type = memory_type(context_, registers.dtype());
    const std::int64_t of_word = 4 / byte_size(registers.dtype());
    std::vector<Value*> words;
    for (std::int64_t i = 0; i < registers.ints(1); i += of_word) {
      Value* place =
          b_.CreateConstGEP1_64(type, pointers_.at(registers), static_cast<std::uint64_t>(i));
      words.push_back(b_.CreateLoad(b_.getInt32Ty(), place));
    }
    return words;
  }

  template <typename A, typename B>
  void either(Value* condition, A&& a, B&& b) {
    auto* then = BasicBlock::Create(context_, "", function_);
    auto* otherwise = BasicBlock::Create(context_, "", function_);
    auto* after = BasicBlock::Create(context_, "", function_);
    llvm::Instruction* enter = b_.CreateCondBr(condition, then, otherwise);
    const auto branch_of = [&](BasicBlock* start, auto& body) {
      b_.SetInsertPoint(start);
      in_region(enter, [&] {
        const std::size_t floor = std::exchange(floor_, top());
        body();
        floor_ = floor;
      });
      b_.CreateBr(after);
    };
    branch_of(then, a);
    branch_of(otherwise, b);
    b_.SetInsertPoint(after);
  }

  // ---- scopes ------------------------------------------------------------------------------

  // Where a value may live: the function (0) and each loop or branch around the statement. Scopes
  // of one region share its basic blocks (an unrolled iteration adds none). A region that has
  // another inside it ends, for the time being, at the branch into that one.
  struct Scope {
    std::uint64_t id;
    std::size_t region;
  };
  struct Rendered {
    Value* value;
    std::size_t level;    // of the scope it is valid in
    bool reads;           // depends on memory: valid within its statement only
    std::uint64_t stamp;  // id of that scope, or of the statement
  };

  // A loop being rendered.
  struct CountedLoop {
    BasicBlock* before;  // branches into it
    BasicBlock* latch;
    llvm::PHINode* counter;
    Value* begin;
    std::map<std::int64_t, Value*> steps;  // counters of bytes, by stride
  };

  std::size_t top() const { return scopes_.size() - 1; }

  void bind(const Node& node, Value* value) {
    cache_.insert_or_assign(node, Rendered{value, top(), false, scopes_.back().id});
  }

  bool valid(const Rendered& r) const {
    if (r.reads) return r.stamp == statement_;
    return r.level < scopes_.size() && scopes_[r.level].id == r.stamp;
  }

  // Runs `emit` with the builder in the region of the scope at `level`.
  template <typename Emit>
  auto emit_at(std::size_t level, Emit&& emit) {
    const std::size_t region = scopes_[level].region;
    if (region == region_ends_.size()) return emit();
    const llvm::IRBuilderBase::InsertPointGuard guard(b_);
    b_.SetInsertPoint(region_ends_[region]);
    return emit();
  }

  // A region that starts at the branch `end`; runs `body` in it.
  template <typename Body>
  void in_region(llvm::Instruction* end, Body&& body) {
    region_ends_.push_back(end);
    scopes_.push_back({next_scope_++, region_ends_.size()});
    body();
    scopes_.pop_back();
    region_ends_.pop_back();
  }

  // ---- statements --------------------------------------------------------------------------

  void statement(const Node& node) {
    if (role_ == Role::copies && !loads_tiles(node)) return;
    switch (node.op()) {
      case Op::block_: return statements(node.srcs());
      case Op::loop_:
        if (kind_of(node) == LoopKind::threads) return threads_loop(node);
        if (!in_groups() || !has_threads(node)) return loop(node);
        // It begins as it was found, or as one of its rounds leaves it.
        return meetings_.around(shared_accesses(node), [&] { loop(node); });
      case Op::branch_:
        if (!in_groups() || !has_threads(node)) return branch(node);
        meet_before(shared_accesses(node.src(0)));
        return meetings_.around({}, [&] { branch(node); });
      case Op::group_reduce_: return group_reduce(node);
      case Op::arrive_: return arrive(node);
      case Op::load_tile_:
        if (role_ == Role::copies) load_tile(node);
        return;
      case Op::store_tile_: return store_tile(node);
      case Op::matrix_step_: return matrix_steps({&node, 1});
      case Op::finish_steps_: return finish_steps(node.ints(0));
      case Op::store_:
        ++statement_;
        store(node);
        return;
      case Op::panel_product_: return panel_product(node);
      case Op::prefetch_:
        ++statement_;
        // Of a group those that ask early for what comes, and of them those that have not asked
        // yet; else other threads hide the time that memory takes.
        if (in_groups()) {
          if (e_.target.overlaps_launches && !asked_.contains(node)) ask(node);
          return;
        }
        // For reading, data, into all caches but the first: its few buffers are soon free again.
        b_.CreateIntrinsic(
            llvm::Intrinsic::prefetch, {b_.getPtrTy()},
            {address(node.src(0), node.src(1)), b_.getInt32(0), b_.getInt32(2), b_.getInt32(1)});
        return;
      default: unreachable("a statement");
    }
  }

  void statements(std::span<const Node> list) {
    const auto is_step = [](const Node& node) { return node.is(Op::matrix_step_); };
    while (!list.empty()) {
      const auto end = std::find_if_not(list.begin(), list.end(), is_step);
      const auto steps = static_cast<std::size_t>(end - list.begin());
      if (steps > 0 && role_ != Role::copies) matrix_steps(list.first(steps));
      if (steps == 0) statement(list[0]);
      list = list.subspan(std::max<std::size_t>(steps, 1));
    }
  }

  static bool loads_tiles(const Node& statement) {
    const std::vector<Node> nodes = topological_order({&statement, 1});
    return std::any_of(nodes.begin(), nodes.end(),
                       [](const Node& node) { return node.is(Op::load_tile_); });
  }

  void loop(const Node& node) {
    const LoopKind kind = kind_of(node);
    check(kind != LoopKind::parallel, "a parallel loop is a phase");
    ++statement_;
    Value* count = value(node.src(0).src(0));
    const auto* constant = llvm::dyn_cast<llvm::ConstantInt>(count);
    if (constant != nullptr && kind != LoopKind::pipeline &&
        (kind == LoopKind::unrolled || constant->getSExtValue() <= 1)) {
      for (std::int64_t i = 0; i < constant->getSExtValue(); ++i) {
        scopes_.push_back({next_scope_++, region_ends_.size()});
        bind(node.src(0), b_.getInt64(static_cast<std::uint64_t>(i)));
        statement(node.src(1));
        scopes_.pop_back();
      }
      return;
    }
    counted_loop(node, b_.getInt64(0), count);
  }

  // Bottom-tested, behind a guard where it might not run at all.
  void counted_loop(const Node& node, Value* begin, Value* end) {
    BasicBlock* before = b_.GetInsertBlock();
    auto* body = BasicBlock::Create(context_, "", function_);
    auto* after = BasicBlock::Create(context_, "", function_);
    llvm::Instruction* enter = llvm::isa<llvm::ConstantInt>(end)
                                   ? b_.CreateBr(body)
                                   : b_.CreateCondBr(b_.CreateICmpSLT(begin, end), body, after);
    // The counter is complete before anything uses it: the builder simplifies as it goes.
    auto* latch = BasicBlock::Create(context_, "", function_);
    b_.SetInsertPoint(body);
    llvm::PHINode* counter = b_.CreatePHI(b_.getInt64Ty(), 2);
    b_.SetInsertPoint(latch);
    Value* next = b_.CreateAdd(counter, b_.getInt64(1), "", true, true);
    b_.CreateCondBr(b_.CreateICmpSLT(next, end), body, after);
    counter->addIncoming(begin, before);
    counter->addIncoming(next, latch);
    b_.SetInsertPoint(body);
    const Node& range = node.src(0);
    loops_.insert_or_assign(range, CountedLoop{before, latch, counter, begin, {}});
    in_region(enter, [&] {
      bind(range, counter);
      kind_of(node) == LoopKind::pipeline ? pipeline_round(node) : statement(node.src(1));
    });
    loops_.erase(range);
    b_.CreateBr(latch);
    b_.SetInsertPoint(after);
  }

  template <typename Body>
  void guarded(Value* condition, Body&& body, bool likely = true) {
    auto* then = BasicBlock::Create(context_, "", function_);
    auto* after = BasicBlock::Create(context_, "", function_);
    llvm::MDNode* weights =
        likely ? nullptr : llvm::MDBuilder(context_).createBranchWeights(1, 1000);
    llvm::Instruction* enter = b_.CreateCondBr(condition, then, after, weights);
    b_.SetInsertPoint(then);
    in_region(enter, [&] {
      // Nothing that only the branch needs is computed outside of it.
      const std::size_t floor = std::exchange(floor_, top());
      body();
      floor_ = floor;
    });
    b_.CreateBr(after);
    b_.SetInsertPoint(after);
  }

  void branch(const Node& node) {
    ++statement_;
    Value* condition = value(node.src(0));
    if (is_false(condition)) return;
    if (is_true(condition)) return statement(node.src(1));
    guarded(condition, [&] { statement(node.src(1)); });
  }

  void store(const Node& node) {
    const Node& index = node.src(1);
    const DType dtype = node.src(0).dtype();
    check(node.src(2).dtype() == dtype, "a stored value has its memory's dtype");
    const int lanes = std::max(index.lanes(), node.src(2).lanes());
    Value* gate = node.srcs().size() > 3 ? value(node.src(3)) : b_.getTrue();
    if (is_false(gate)) return;
    Value* stored = broadcast(e_, value(node.src(2)), lanes);
    if (is_bool(dtype)) stored = b_.CreateZExt(stored, memory_type(context_, dtype, lanes));
    const auto write = [&](Value* mask) { write_lanes(node.src(0), index, lanes, stored, mask); };
    if (is_true(gate)) return write(nullptr);
    if (lane_count(gate) > 1) return write(gate);
    guarded(gate, [&] { write(nullptr); });
  }

  // Only full vectors at their own boundaries.
  bool streams(const Node& pointer, const Node& start, int lanes) const {
    const int width = e_.target.lanes(byte_size(pointer.dtype()));
    return streamed_.contains(pointer) && lanes % width == 0 && is_multiple(start, width);
  }

  void stream(llvm::StoreInst* store) {
    store->setAlignment(llvm::Align(static_cast<std::uint64_t>(e_.target.vector_bytes)));
    llvm::Metadata* one = llvm::ConstantAsMetadata::get(b_.getInt32(1));
    store->setMetadata(llvm::LLVMContext::MD_nontemporal, llvm::MDNode::get(context_, one));
  }

  // `mask` is null or a vector.
  void write_lanes(const Node& pointer, const Node& index, int lanes, Value* stored, Value* mask) {
    const llvm::Align align(static_cast<std::uint64_t>(byte_size(pointer.dtype())));
    auto at = index.lanes() == 1 ? std::optional(Affine{index, 1}) : affine(index);
    if (at && at->stride == 1) {
      Value* to = address(pointer, at->start);
      if (mask == nullptr && in_groups()) {
        group_write(stored, to, group_align(pointer, at->start, lanes));
      } else if (mask == nullptr) {
        llvm::StoreInst* store = b_.CreateAlignedStore(stored, to, align);
        if (streams(pointer, at->start, lanes)) stream(store);
      } else {
        b_.CreateMaskedStore(stored, to, align, mask);
      }
    } else if (at && at->stride != 0 && mask == nullptr) {
      Value* to = address(pointer, at->start);
      for (int i = 0; i < lanes; ++i) {
        b_.CreateAlignedStore(b_.CreateExtractElement(stored, static_cast<std::uint64_t>(i)),
                              element(pointer.dtype(), to, at->stride * i), align);
      }
    } else {
      if (mask == nullptr) mask = broadcast(e_, b_.getTrue(), lanes);
      b_.CreateMaskedScatter(stored, addresses(pointer, index), align, mask);
    }
  }

  // ---- expressions -------------------------------------------------------------------------

  Value* value(const Node& node) { return rendered(node).value; }

  Rendered rendered(const Node& node) {
    const auto found = cache_.find(node);
    if (found != cache_.end() && valid(found->second)) return found->second;
    Rendered result = render(node);
    if (result.reads) {
      result.level = top();
      result.stamp = statement_;
    } else {
      result.stamp = scopes_[result.level].id;
    }
    cache_.insert_or_assign(node, result);
    return result;
  }

  Rendered render(const Node& node) {
    switch (node.op()) {
      case Op::constant_: return {constant(context_, node), 0, false, 0};
      case Op::load_: return {load(node), top(), true, 0};
      case Op::or_:
        if (const Node low = low_byte_of_word(node))
          return {word_of_bytes(node, low), top(), true, 0};
        break;
      case Op::add_:
        if (node.dtype() == DType::int64 && node.lanes() == 1) return sum(node);
        break;
      case Op::cmplt_:
        if (Rendered r; lane_limit(node, r)) return r;
        break;
      case Op::sin_: return {sine(node), top(), true, 0};
      case Op::range_: unreachable("a range that no loop around the statement binds");
      default: break;
    }
    std::vector<Value*> srcs;
    Rendered result{nullptr, floor_, false, 0};
    const bool is_dot = node.is(Op::dot_);
    const std::vector<Node> of_dot = is_dot ? dot_operands(e_.target, node) : std::vector<Node>();
    for (const Node& src : is_dot ? of_dot : node.srcs()) {
      const Rendered r = rendered(src);
      result.level = std::max(result.level, r.level);
      result.reads |= r.reads;
      srcs.push_back(r.value);
    }
    result.value = emit_at(result.level, [&] { return operation(node, srcs); });
    return result;
  }

  Value* operation(const Node& node, std::vector<Value*>& srcs) {
    switch (node.op()) {
      case Op::splat_: return broadcast(e_, srcs[0], node.lanes());
      case Op::ramp_: {
        std::vector<std::uint64_t> steps(static_cast<std::size_t>(node.lanes()));
        for (std::size_t i = 0; i < steps.size(); ++i) steps[i] = i;
        return b_.CreateAdd(broadcast(e_, srcs[0], node.lanes()),
                            llvm::ConstantDataVector::get(context_, steps));
      }
      case Op::lane_:
        return b_.CreateExtractElement(srcs[0], static_cast<std::uint64_t>(node.ints(0)));
      case Op::shuffle_: return shuffle(e_, node, srcs);
      case Op::horizontal_:
        return horizontal(e_, static_cast<ReduceOp>(node.ints(0)), node.dtype(), srcs[0]);
      case Op::dot_: return dot(e_, node, srcs);
      case Op::exp2_:
        return in_groups() ? group_exp2(e_, srcs[0], !node.attr().ints.empty())
                           : native_exp2(e_, srcs[0]);
      case Op::recip_:
        if (in_groups() && !node.attr().ints.empty()) return ir::near_recip(e_, srcs[0]);
        [[fallthrough]];
      default:
        check(is_elementwise(node.op()), "an expression of a kernel");
        for (Value*& src : srcs) src = broadcast(e_, src, node.lanes());
        return elementwise(e_, node, srcs);
    }
  }

  // Branches around the long way that large arguments take; so it stays in its statement.
  Value* sine(const Node& node) {
    const SplitSin split = split_sin(node.src(0));
    Value* near = value(split.near);
    Value* all_near = value(split.is_near);
    if (node.lanes() > 1) all_near = b_.CreateAndReduce(all_near);
    BasicBlock* before = b_.GetInsertBlock();
    BasicBlock* end = nullptr;
    Value* far = nullptr;
    guarded(
        b_.CreateNot(all_near),
        [&] {
          far = value(split.anywhere);
          end = b_.GetInsertBlock();
        },
        false);
    llvm::PHINode* result = b_.CreatePHI(near->getType(), 2);
    result->addIncoming(near, before);
    result->addIncoming(far, end);
    return result;
  }

  // Terms of an index that is a sum, outermost first, so that each loop adds only what is its own.
  struct Term : Rendered {
    bool in_bytes = false;  // of an address: counts bytes, not elements
  };
  struct Terms {
    std::vector<Term> parts;
    std::int64_t constant = 0;
    std::size_t constant_level = 0;  // an unrolled loop's counter is a constant of its iteration
  };

  /// `element_bytes` where it is an address, otherwise 0.
  Terms terms_of(const Node& index, std::int64_t element_bytes = 0) {
    Terms terms;
    collect(index, element_bytes, terms);
    std::stable_sort(terms.parts.begin(), terms.parts.end(),
                     [](const Term& a, const Term& b) { return a.level < b.level; });
    return terms;
  }

  void collect(const Node& node, std::int64_t element_bytes, Terms& terms) {
    if (node.is(Op::add_) && node.lanes() == 1) {
      collect(node.src(0), element_bytes, terms);
      collect(node.src(1), element_bytes, terms);
      return;
    }
    const Rendered part = rendered(node);
    if (const auto* c = llvm::dyn_cast<llvm::ConstantInt>(part.value)) {
      terms.constant += c->getSExtValue();
      terms.constant_level = std::max(terms.constant_level, part.level);
    } else if (Value* steps = element_bytes > 0 ? stepping(node, element_bytes) : nullptr) {
      terms.parts.push_back({{steps, part.level, false, part.stamp}, true});
    } else {
      terms.parts.push_back({part, false});
    }
  }

  // A loop's counter times a constant, in bytes, as a second counter of the loop: one addition an
  // iteration for all addresses with this stride. Where the addressing mode can multiply, nothing.
  Value* stepping(const Node& term, std::int64_t element_bytes) {
    const bool product = term.is(Op::mul_) && term.src(1).is_constant();
    const auto found = loops_.find(product ? term.src(0) : term);
    if (found == loops_.end()) return nullptr;
    CountedLoop& loop = found->second;
    const std::int64_t stride = (product ? term.src(1).int_value() : 1) * element_bytes;
    if (stride == 1 || stride == 2 || stride == 4 || stride == 8) return nullptr;
    Value*& steps = loop.steps[stride];
    if (steps != nullptr) return steps;
    Value* amount = b_.getInt64(static_cast<std::uint64_t>(stride));
    const llvm::IRBuilderBase::InsertPointGuard guard(b_);
    b_.SetInsertPoint(loop.before->getTerminator());
    Value* first = b_.CreateMul(loop.begin, amount);
    b_.SetInsertPoint(loop.counter);
    llvm::PHINode* counter = b_.CreatePHI(b_.getInt64Ty(), 2);
    b_.SetInsertPoint(loop.latch->getTerminator());
    counter->addIncoming(first, loop.before);
    counter->addIncoming(b_.CreateAdd(counter, amount), loop.latch);
    return steps = counter;
  }

  Rendered sum(const Node& node) {
    const Terms terms = terms_of(node);
    Rendered total{b_.getInt64(0), std::max(floor_, terms.constant_level), false, 0};
    for (const Term& part : terms.parts) {
      total.level = std::max(total.level, part.level);
      total.reads |= part.reads;
      total.value = emit_at(total.level, [&] { return b_.CreateAdd(total.value, part.value); });
    }
    total.value = emit_at(total.level, [&] {
      return b_.CreateAdd(total.value, b_.getInt64(static_cast<std::uint64_t>(terms.constant)));
    });
    return total;
  }

  // a + s · lane against what is the same in every lane: lanes up to some count hold, or those from
  // it on, which is compared in narrow lanes.
  bool lane_limit(const Node& node, Rendered& result) {
    if (node.lanes() == 1 || node.lanes() > 127 || node.src(0).dtype() != DType::int64)
      return false;
    const auto same = [](const Node& side) { return side.is(Op::splat_) ? side.src(0) : side; };
    const auto moving = [](const Node& side) {
      auto found = side.lanes() > 1 ? affine(side) : std::nullopt;
      if (found && !is_power_of_two(found->stride)) found.reset();
      return found;
    };
    const bool below = same(node.src(1)).lanes() == 1;  // the lanes that hold are the first ones
    const auto ramp = moving(node.src(below ? 0 : 1));
    const Node right = same(node.src(below ? 1 : 0));
    if (!ramp || right.lanes() != 1) return false;
    const Rendered a = rendered(ramp->start);
    const Rendered limit = rendered(right);
    result = {nullptr, std::max({floor_, a.level, limit.level}), a.reads || limit.reads, 0};
    result.value = emit_at(result.level, [&] {
      const Rounding up{ramp->stride, below ? 0 : 1};
      return first_lanes(b_.CreateSub(limit.value, a.value), up, node.lanes(), below);
    });
    return true;
  }

  // (distance + more) / step, rounded up.
  struct Rounding {
    std::int64_t step, more;
  };
  // Whether a lane is among the first ones, that many, or not among them.
  Value* first_lanes(Value* distance, const Rounding& up, int lanes, bool among) {
    const auto number = [&](std::int64_t n) { return b_.getInt64(static_cast<std::uint64_t>(n)); };
    auto* type = e_.target.has_masks ? b_.getInt8Ty() : b_.getInt32Ty();
    Value* count = b_.CreateAdd(distance, number(up.more + up.step - 1));
    count = b_.CreateAShr(count, number(std::countr_zero(static_cast<std::uint64_t>(up.step))));
    count = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smin, count, number(lanes));
    count = b_.CreateBinaryIntrinsic(llvm::Intrinsic::smax, count, number(0));
    count = broadcast(e_, b_.CreateTrunc(count, type), lanes);
    std::vector<llvm::Constant*> steps;
    steps.reserve(static_cast<std::size_t>(lanes));
    for (int i = 0; i < lanes; ++i)
      steps.push_back(llvm::ConstantInt::get(type, static_cast<std::uint64_t>(i)));
    Value* lane = llvm::ConstantVector::get(steps);
    return among ? b_.CreateICmpSLT(lane, count) : b_.CreateICmpSGE(lane, count);
  }

  // ---- memory ------------------------------------------------------------------------------

  Value* element(DType dtype, Value* pointer, std::int64_t index) {
    if (index == 0) return pointer;
    return b_.CreateConstGEP1_64(memory_type(context_, dtype), pointer,
                                 static_cast<std::uint64_t>(index));
  }

  Value* address(const Node& pointer, const Node& index) {
    const Terms terms = terms_of(index, byte_size(pointer.dtype()));
    Rendered at{pointers_.at(pointer), floor_, false, 0};
    llvm::Type* type = memory_type(context_, pointer.dtype());
    for (const Term& part : terms.parts) {
      at.level = std::max(at.level, part.reads ? top() : part.level);
      Rendered& known = addresses_[{at.value, part.value}];
      if (known.value == nullptr || !valid(known)) {
        known.value = emit_at(at.level, [&] {
          return b_.CreateGEP(part.in_bytes ? b_.getInt8Ty() : type, at.value, part.value);
        });
        known.level = at.level;
        known.reads = at.reads || part.reads;
        known.stamp = known.reads ? statement_ : scopes_[at.level].id;
      }
      at = known;
    }
    return element(pointer.dtype(), at.value, terms.constant);
  }

  Value* addresses(const Node& pointer, const Node& index) {
    return b_.CreateGEP(memory_type(context_, pointer.dtype()), pointers_.at(pointer),
                        value(index));
  }

  // Zeros to read instead, where a scalar gate is false.
  Value* zeros(std::int64_t bytes) {
    auto& known = zeros_[bytes];
    if (known == nullptr) {
      auto* type = llvm::ArrayType::get(b_.getInt8Ty(), static_cast<std::uint64_t>(bytes));
      known = new llvm::GlobalVariable(module_, type, true, llvm::GlobalValue::InternalLinkage,
                                       llvm::ConstantAggregateZero::get(type), "zeros");
      known->setAlignment(llvm::Align(64));
    }
    return known;
  }

  // Of two neighbouring bytes that make a word, the first of them, where groups may read both at
  // once; empty otherwise.
  Node low_byte_of_word(const Node& node) const {
    if (!in_groups() || node.dtype() != DType::uint16 || node.lanes() != 1) return {};
    const auto byte = [](const Node& wide) -> Node {
      const bool plain = wide.is(Op::cast_) && wide.src(0).is(Op::load_) &&
                         wide.src(0).dtype() == DType::uint8 && wide.src(0).srcs().size() == 2;
      return plain ? wide.src(0) : Node();
    };
    const Node low = byte(node.src(0));
    const Node& raised = node.src(1);
    if (!low || !raised.is(Op::shl_) || !raised.src(1).is_constant() ||
        raised.src(1).int_value() != 8) {
      return {};
    }
    const Node high = byte(raised.src(0));
    const bool together = high && high.src(0) == low.src(0) &&
                          high.src(1) == brisk::add(low.src(1), constant_int(1)) &&
                          low.src(0).is(Op::param_) && is_multiple(low.src(1), 2);
    return together ? low : Node();
  }

  Value* word_of_bytes(const Node& node, const Node& low) {
    return b_.CreateAlignedLoad(memory_type(context_, node.dtype()),
                                address(low.src(0), low.src(1)), llvm::Align(2));
  }

  Value* load(const Node& node) {
    const DType dtype = node.dtype();
    const int lanes = node.lanes();
    llvm::Type* type = memory_type(context_, dtype, lanes);
    Value* gate = node.srcs().size() > 2 ? value(node.src(2)) : b_.getTrue();
    Value* loaded = nullptr;
    if (is_false(gate)) {
      loaded = llvm::Constant::getNullValue(type);
    } else {
      loaded = read_lanes(node, type, is_true(gate) ? nullptr : gate);
    }
    if (is_bool(dtype)) {
      loaded = b_.CreateICmpNE(loaded, llvm::Constant::getNullValue(type));
    }
    return loaded;
  }

  Value* read_lanes(const Node& node, llvm::Type* type, Value* gate) {
    if (in_groups()) return group_read(node, type, gate);
    const Node& pointer = node.src(0);
    const Node& index = node.src(1);
    const int bytes = byte_size(node.dtype());
    const llvm::Align align(static_cast<std::uint64_t>(bytes));
    const bool each = gate != nullptr && lane_count(gate) > 1;
    const auto from = [&](Value* at, std::int64_t size) {
      return gate == nullptr || each ? at : b_.CreateSelect(gate, at, zeros(size));
    };
    const auto at = index.lanes() == 1 ? std::optional(Affine{index, 1}) : affine(index);
    if (at && at->stride == 1) {
      Value* source = address(pointer, at->start);
      if (each) {
        return b_.CreateMaskedLoad(type, source, align, gate, llvm::Constant::getNullValue(type));
      }
      return b_.CreateAlignedLoad(type, from(source, bytes * node.lanes()), align);
    }
    // Masks of small elements are dear without instructions for them.
    const bool masks = !each || bytes >= 4 || e_.target.has_masks;
    if (at && at->stride == 2 && node.lanes() >= 4 && node.lanes() % 2 == 0 && masks) {
      Value* source = address(pointer, at->start);
      return every_other(node, type, from(source, bytes * (2L * node.lanes() - 1)),
                         each ? gate : nullptr);
    }
    llvm::Type* scalar = type->getScalarType();
    if (at && at->stride == 0 && !each) {
      Value* one = b_.CreateAlignedLoad(scalar, from(address(pointer, at->start), bytes), align);
      return broadcast(e_, one, node.lanes());
    }
    if (at && !each) {
      Value* source = address(pointer, at->start);
      Value* result = llvm::PoisonValue::get(type);
      for (int i = 0; i < node.lanes(); ++i) {
        Value* place = from(element(node.dtype(), source, at->stride * i), bytes);
        result = b_.CreateInsertElement(result, b_.CreateAlignedLoad(scalar, place, align),
                                        static_cast<std::uint64_t>(i));
      }
      return result;
    }
    Value* mask = broadcast(e_, gate == nullptr ? b_.getTrue() : gate, node.lanes());
    return b_.CreateMaskedGather(type, addresses(pointer, index), align, mask,
                                 llvm::Constant::getNullValue(type));
  }

  // Of two vectors, the second of which ends with the last element.
  Value* every_other(const Node& node, llvm::Type* type, Value* source, Value* mask) {
    const int lanes = node.lanes();
    const llvm::Align align(static_cast<std::uint64_t>(byte_size(node.dtype())));
    const auto from = [&](int first) -> Value* {
      Value* at = element(node.dtype(), source, first);
      if (mask == nullptr) return b_.CreateAlignedLoad(type, at, align);
      std::vector<int> open;  // of each element, the lane that it is for, or none
      for (int i = first; i < first + lanes; ++i) open.push_back(i % 2 == 0 ? i / 2 : lanes);
      Value* wide =
          b_.CreateShuffleVector(mask, llvm::Constant::getNullValue(mask->getType()), open);
      return b_.CreateMaskedLoad(type, at, align, wide, llvm::Constant::getNullValue(type));
    };
    std::vector<int> picked;
    for (int i = 0; i < lanes; ++i) picked.push_back(i < lanes / 2 ? 2 * i : 2 * i + 1);
    Value* low = from(0);
    return b_.CreateShuffleVector(low, from(lanes - 1), picked);
  }

  const Kernel& kernel_;
  const std::vector<TileView> views_ = tile_views(kernel_);
  llvm::Module& module_;
  llvm::LLVMContext& context_;
  Builder b_;
  Emitter e_;

  llvm::Function* entry_ = nullptr;
  llvm::SwitchInst* switch_ = nullptr;
  std::unordered_map<Node, std::int64_t, NodeHash> scratch_offset_;
  std::int64_t scratch_size_ = 0;
  std::map<std::int64_t, llvm::GlobalVariable*> zeros_;

  // Of the phase being rendered, where groups of threads run it.
  std::int64_t threads_ = 1;
  Value* thread_ = nullptr;
  SharedAccesses accesses_;  // of the whole phase
  Meetings meetings_;

  // Of the phase being rendered, where it has tiles.
  static constexpr int computing_barrier = 1;
  static constexpr int first_turn = 2;  // and one for each further set of four warps
  std::int64_t copying_ = 0;            // threads that only copy
  Role role_ = Role::all;
  PhaseMemory memory_;
  Value* shared_ = nullptr;  // the launch's memory, as a pointer and as i32
  Value* shared_address_ = nullptr;
  Value* warp_ = nullptr;                             // i32
  std::int64_t cluster_ = 1;                          // groups that run side by side
  Value* in_cluster_ = nullptr;                       // the number of this one, i32
  std::unordered_set<Node, NodeHash> asked_;          // prefetches that ran
  Value* signal_ = nullptr;                           // that copies of the round go to
  std::vector<Value*> maps_;                          // i64
  std::vector<Node> running_;                         // steps that are not finished, in their order
  std::unordered_map<Node, Value*, NodeHash> tiles_;  // addresses, i32
  std::unordered_set<Node, NodeHash> loaded_, stored_;  // locals that are tiles of copies
  std::map<std::pair<const TileRing*, Role>, RingState> rings_;

  // Of the phase being rendered.
  llvm::Function* function_ = nullptr;
  std::unordered_set<Node, NodeHash> streamed_;  // params stored to past the caches
  std::unordered_map<Node, Value*, NodeHash> pointers_;
  std::unordered_map<Node, Rendered, NodeHash> cache_;
  std::map<std::pair<Value*, Value*>, Rendered> addresses_;
  std::unordered_map<Node, CountedLoop, NodeHash> loops_;
  std::vector<Scope> scopes_;
  std::vector<llvm::Instruction*> region_ends_;  // of every region but the innermost
  std::size_t floor_ = 0;                        // the innermost branch's scope
  std::uint64_t next_scope_ = 1;
  std::uint64_t statement_ = 0;
};

}  // namespace

std::string symbol_of(const Kernel& kernel) { return "brisk_" + kernel.name; }

std::unique_ptr<llvm::Module> render(const Kernel& kernel, const Target& target,
                                     const llvm::DataLayout& layout, llvm::LLVMContext& context) {
  auto module = std::make_unique<llvm::Module>(kernel.name, context);
  module->setDataLayout(layout);
  Renderer(kernel, target, *module).kernel();
#ifndef NDEBUG
  std::string text;
  llvm::raw_string_ostream stream(text);
  if (llvm::verifyModule(*module, &stream)) throw InternalError("generated LLVM IR: " + text);
#endif
  return module;
}

}  // namespace brisk::ir
