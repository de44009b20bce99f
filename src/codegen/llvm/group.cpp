#include "codegen/llvm/group.h"

#include <llvm/IR/IntrinsicsNVPTX.h>

#include <fmt/format.h>

#include "base/error.h"
#include "codegen/llvm/assembly.h"

namespace brisk::ir {

namespace {

using llvm::Value;

constexpr std::uint64_t map_bytes = 128;  // of the driver's tensor map

void annotate(llvm::Function* function, const char* what, std::int64_t value) {
  llvm::LLVMContext& context = function->getContext();
  auto* number =
      llvm::ConstantInt::get(llvm::Type::getInt32Ty(context), static_cast<std::uint64_t>(value));
  llvm::Metadata* parts[] = {llvm::ValueAsMetadata::get(function),
                             llvm::MDString::get(context, what),
                             llvm::ConstantAsMetadata::get(number)};
  function->getParent()
      ->getOrInsertNamedMetadata("nvvm.annotations")
      ->addOperand(llvm::MDNode::get(context, parts));
}

llvm::Function* kernel_function(llvm::Module& module, llvm::FunctionType* type,
                                const std::string& name) {
  auto* made = llvm::Function::Create(type, llvm::GlobalValue::ExternalLinkage, name, module);
  made->setCallingConv(llvm::CallingConv::PTX_Kernel);
  made->setDoesNotThrow();
  made->addFnAttr("no-trapping-math", "true");
  annotate(made, "kernel", 1);
  return made;
}

// A special register, known to lie below `limit`.
Value* special(Emitter& e, llvm::Intrinsic::ID id, std::uint32_t limit) {
  auto* number = llvm::cast<llvm::CallInst>(e.b.CreateIntrinsic(id, {}, {}));
  number->addRangeRetAttr(llvm::ConstantRange(llvm::APInt(32, 0), llvm::APInt(32, limit)));
  return e.b.CreateZExt(number, e.b.getInt64Ty());
}

Value* exchange_word(Emitter& e, Value* word, std::int64_t distance, std::int64_t threads) {
  const std::uint32_t members = threads >= 32 ? 0xffffffffU : (std::uint32_t{1} << threads) - 1;
  return e.b.CreateIntrinsic(
      llvm::Intrinsic::nvvm_shfl_sync_bfly_i32, {},
      {e.b.getInt32(members), word, e.b.getInt32(static_cast<std::uint32_t>(distance)),
       e.b.getInt32(31)});
}

}  // namespace

llvm::Function* tile_function(llvm::Module& module, llvm::FunctionType* type,
                              const std::string& name, std::int64_t threads, unsigned first_map) {
  llvm::LLVMContext& context = module.getContext();
  llvm::Function* made = kernel_function(module, type, name);
  annotate(made, "maxntidx", threads);
  annotate(made, "minctasm", 1);
  auto* map = llvm::ArrayType::get(llvm::Type::getInt8Ty(context), map_bytes);
  std::vector<llvm::Metadata*> numbers;  // from 1
  for (unsigned i = first_map; i < made->arg_size(); ++i) {
    made->addParamAttr(i, llvm::Attribute::getWithByValType(context, map));
    made->addParamAttr(i, llvm::Attribute::getWithAlignment(context, llvm::Align(64)));
    numbers.push_back(llvm::ConstantAsMetadata::get(
        llvm::ConstantInt::get(llvm::Type::getInt32Ty(context), i + 1)));
  }
  if (numbers.empty()) return made;
  llvm::Metadata* parts[] = {llvm::ValueAsMetadata::get(made),
                             llvm::MDString::get(context, "grid_constant"),
                             llvm::MDNode::get(context, numbers)};
  module.getOrInsertNamedMetadata("nvvm.annotations")
      ->addOperand(llvm::MDNode::get(context, parts));
  return made;
}

llvm::Function* group_function(llvm::Module& module, llvm::FunctionType* type,
                               const std::string& name, std::int64_t threads,
                               std::int64_t together) {
  llvm::Function* made = kernel_function(module, type, name);
  if (together > 1) annotate(made, "minctasm", together);
  annotate(made, "reqntidx", threads);
  annotate(made, "reqntidy", 1);
  annotate(made, "reqntidz", 1);
  return made;
}

namespace {
constexpr const char* cluster_attribute = "brisk-cluster";
}

void make_clusters(llvm::Function* function, std::int64_t groups) {
  if (groups > 1) function->addFnAttr(cluster_attribute, std::to_string(groups));
}

std::string with_clusters(std::string ptx, const llvm::Module& module) {
  for (const llvm::Function& function : module) {
    if (!function.hasFnAttribute(cluster_attribute)) continue;
    const std::size_t entry = ptx.find(fmt::format(".entry {}(", function.getName().str()));
    const std::size_t end = ptx.find("\n{", entry);  // of its directives
    check(entry != std::string::npos && end != std::string::npos, "an entry for every kernel");
    const llvm::StringRef groups = function.getFnAttribute(cluster_attribute).getValueAsString();
    ptx.insert(end, fmt::format("\n.reqnctapercluster {}, 1, 1", groups.str()));
  }
  return ptx;
}

Value* number_in_cluster(Emitter& e, std::int64_t groups) {
  Value* number = e.b.CreateTrunc(group_number(e), e.b.getInt32Ty());
  return e.b.CreateAnd(number, e.b.getInt32(static_cast<std::uint32_t>(groups - 1)));
}

void arrive_at_cluster(Emitter& e) { effect(e, {"barrier.cluster.arrive.release;", "", true}); }
void wait_for_others(Emitter& e) { effect(e, {"barrier.cluster.wait.acquire;", "", true}); }

void wait_for_cluster(Emitter& e) {
  arrive_at_cluster(e);
  wait_for_others(e);
}

Value* in_cluster(Emitter& e, Value* address, Value* number) {
  return assembly(e, {"mapa.shared::cluster.u32 $0, $1, $2;", "=r,r,r", false, false},
                  e.b.getInt32Ty(), {address, number});
}

void store_in_cluster(Emitter& e, Value* value, Value* address) {
  const unsigned bits = value->getType()->getScalarSizeInBits();
  const char* constraint = bits == 64 ? "l" : bits == 32 ? "r" : "h";
  Value* word = e.b.CreateBitCast(value, e.b.getIntNTy(bits));
  if (bits == 8) word = e.b.CreateZExt(word, e.b.getInt16Ty());
  effect(e, {fmt::format("st.shared::cluster.b{} [$1], $0;", bits), constraint + std::string(",r")},
         {word, address});
}

Value* group_number(Emitter& e) {
  return special(e, llvm::Intrinsic::nvvm_read_ptx_sreg_ctaid_x, 0x7fffffff);
}

Value* group_count(Emitter& e) {
  return special(e, llvm::Intrinsic::nvvm_read_ptx_sreg_nctaid_x, 0x7fffffff);
}

Value* thread_number(Emitter& e) {
  return special(e, llvm::Intrinsic::nvvm_read_ptx_sreg_tid_x,
                 static_cast<std::uint32_t>(e.target.group_threads));
}

void let_next_launch(Emitter& e) { effect(e, {"griddepcontrol.launch_dependents;", ""}); }
void follow_launch(Emitter& e) { effect(e, {"griddepcontrol.wait;", ""}); }

void group_prefetch(Emitter& e, Value* address) {
  effect(e, {"prefetch.global.L2 [$0];", "l", false, false}, {address});
}

void wait_for_group(Emitter& e) { e.b.CreateIntrinsic(llvm::Intrinsic::nvvm_barrier0, {}, {}); }

Value* from_neighbour(Emitter& e, Value* value, std::int64_t distance, std::int64_t threads) {
  llvm::Type* type = value->getType();
  check(!type->isVectorTy(), "threads exchange scalars");
  const unsigned bits = type->getScalarSizeInBits();
  Value* whole = e.b.CreateBitCast(value, e.b.getIntNTy(bits));
  if (bits <= 32) {
    Value* got = exchange_word(e, e.b.CreateZExt(whole, e.b.getInt32Ty()), distance, threads);
    return e.b.CreateBitCast(e.b.CreateTrunc(got, e.b.getIntNTy(bits)), type);
  }
  Value* low = exchange_word(e, e.b.CreateTrunc(whole, e.b.getInt32Ty()), distance, threads);
  Value* high = exchange_word(e, e.b.CreateTrunc(e.b.CreateLShr(whole, 32), e.b.getInt32Ty()),
                              distance, threads);
  Value* joined = e.b.CreateOr(e.b.CreateZExt(low, e.b.getInt64Ty()),
                               e.b.CreateShl(e.b.CreateZExt(high, e.b.getInt64Ty()), 32));
  return e.b.CreateBitCast(joined, type);
}

Value* count_in(Emitter& e, Value* counter, std::int64_t groups) {
  Value* greatest = e.b.getInt32(static_cast<std::uint32_t>(groups - 1));
  Value* before =
      assembly(e, {"atom.acq_rel.gpu.global.inc.u32 $0, [$1], $2;", "=r,l,r", false, true},
               e.b.getInt32Ty(), {counter, greatest});
  return e.b.CreateICmpEQ(before, greatest);
}

llvm::GlobalVariable* counters(llvm::Module& module, std::int64_t count) {
  auto* type = llvm::ArrayType::get(llvm::Type::getInt32Ty(module.getContext()),
                                    static_cast<std::uint64_t>(count));
  return new llvm::GlobalVariable(module, type, false, llvm::GlobalValue::InternalLinkage,
                                  llvm::Constant::getNullValue(type), "counters", nullptr,
                                  llvm::GlobalValue::NotThreadLocal, global_space);
}

llvm::GlobalVariable* launch_memory(llvm::Module& module) {
  constexpr const char* name = "launch_memory";
  if (llvm::GlobalVariable* known = module.getGlobalVariable(name)) return known;
  auto* type = llvm::ArrayType::get(llvm::Type::getInt8Ty(module.getContext()), 0);
  auto* memory =
      new llvm::GlobalVariable(module, type, false, llvm::GlobalValue::ExternalLinkage, nullptr,
                               name, nullptr, llvm::GlobalValue::NotThreadLocal, shared_space);
  memory->setAlignment(llvm::Align(1024));
  return memory;
}

llvm::GlobalVariable* shared_array(llvm::Module& module, llvm::Type* element, std::int64_t count) {
  auto* type = llvm::ArrayType::get(element, static_cast<std::uint64_t>(count));
  auto* array = new llvm::GlobalVariable(module, type, false, llvm::GlobalValue::InternalLinkage,
                                         llvm::UndefValue::get(type), "shared", nullptr,
                                         llvm::GlobalValue::NotThreadLocal, shared_space);
  array->setAlignment(llvm::Align(64));
  return array;
}

namespace {

// Of each element.
Value* elements_through(Emitter& e, llvm::Intrinsic::ID function, Value* x) {
  const auto one = [&](Value* value) { return e.b.CreateIntrinsic(function, {}, {value}); };
  if (!x->getType()->isVectorTy()) return one(x);
  Value* result = llvm::PoisonValue::get(x->getType());
  for (int i = 0; i < lane_count(x); ++i) {
    const auto at = static_cast<std::uint64_t>(i);
    result = e.b.CreateInsertElement(result, one(e.b.CreateExtractElement(x, at)), at);
  }
  return result;
}

}  // namespace

// At most 2 ulp off (CUDA C++ programming guide, table of mathematical functions), subnormals and
// infinities included.
Value* group_exp2(Emitter& e, Value* x, bool flush) {
  return elements_through(
      e, flush ? llvm::Intrinsic::nvvm_ex2_approx_ftz_f : llvm::Intrinsic::nvvm_ex2_approx_f, x);
}

Value* near_recip(Emitter& e, Value* x) {
  return elements_through(e, llvm::Intrinsic::nvvm_rcp_approx_ftz_f, x);
}

}  // namespace brisk::ir
