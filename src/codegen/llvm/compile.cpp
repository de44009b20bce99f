// From a kernel to an object file: renders LLVM IR, runs the passes that fit it, and LLVM's back
// end.
#include <llvm/Analysis/CGSCCPassManager.h>
#include <llvm/Analysis/LoopAnalysisManager.h>
#include <llvm/IR/IntrinsicInst.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/PassManager.h>
#include <llvm/IR/PatternMatch.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Target/TargetOptions.h>
#include <llvm/Transforms/InstCombine/InstCombine.h>
#include <llvm/Transforms/Scalar/ADCE.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/GVN.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/LoopPassManager.h>
#include <llvm/Transforms/Scalar/SROA.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>

#include <mutex>

#include "base/error.h"
#include "codegen/codegen.h"
#include "codegen/llvm/constants.h"
#include "codegen/llvm/group.h"
#include "codegen/llvm/render.h"

namespace brisk {

namespace {

std::string triple_of(Isa isa) {
  switch (isa) {
    case Isa::x86_64: return "x86_64-unknown-linux-gnu";
    case Isa::aarch64: return "aarch64-unknown-linux-gnu";
    case Isa::nvptx: return "nvptx64-nvidia-cuda";
    case Isa::opencl_c: break;
  }
  unreachable("a target of LLVM's");
}

std::unique_ptr<llvm::TargetMachine> machine_for(const Target& target) {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
    // The renderer's addresses step already (render.cpp); LLVM's search for better ones has taken a
    // quarter of a second for a kernel of forty lines.
    auto options = llvm::cl::getRegisteredOptions();
    if (llvm::cl::Option* lsr = options.lookup("disable-lsr")) {
      lsr->addOccurrence(0, "disable-lsr", "true");
    }
  });
  const std::string triple = triple_of(target.isa);
  std::string error;
  const llvm::Target* found = llvm::TargetRegistry::lookupTarget(triple, error);
  if (found == nullptr) throw InternalError("LLVM: " + error);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Standard;  // where the IR's flags say so
  options.TrapUnreachable = false;
  return std::unique_ptr<llvm::TargetMachine>(
      found->createTargetMachine(triple, target.cpu, target.features, options, llvm::Reloc::PIC_,
                                 llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default));
}

// InstCombine compares a loop's counter before its increment, so that both stay alive around the
// loop; here the comparison moves back to the incremented one.
void compare_incremented(llvm::Function& function) {
  using namespace llvm::PatternMatch;
  for (llvm::BasicBlock& block : function) {
    llvm::Value* counter = nullptr;
    llvm::ConstantInt* last = nullptr;
    const auto* branch = llvm::dyn_cast<llvm::BranchInst>(block.getTerminator());
    if (branch == nullptr || !branch->isConditional()) continue;
    auto* compare = llvm::dyn_cast<llvm::ICmpInst>(branch->getCondition());
    if (compare == nullptr || compare->getParent() != &block ||
        !match(compare->getOperand(0), m_Value(counter)) ||
        !match(compare->getOperand(1), m_ConstantInt(last)) || last->isMaxValue(false) ||
        last->isMaxValue(true)) {
      continue;
    }
    const auto* phi = llvm::dyn_cast<llvm::PHINode>(counter);
    if (phi == nullptr || phi->getBasicBlockIndex(&block) < 0) continue;
    llvm::Value* next = phi->getIncomingValueForBlock(&block);
    if (!match(next, m_c_NUWAdd(m_Specific(counter), m_One()))) continue;
    auto* add = llvm::cast<llvm::Instruction>(next);
    if (add->getParent() != &block || !add->comesBefore(compare)) continue;
    compare->setOperand(0, next);
    compare->setOperand(1, llvm::ConstantInt::get(last->getType(), last->getValue() + 1));
  }
}

// a · (1 / b) as one division, where nothing else wants 1 / b and both are in one block: outside of
// a loop, a reciprocal spares the loop its divisions.
void divide_at_once(llvm::Function& function) {
  using namespace llvm::PatternMatch;
  for (llvm::BasicBlock& block : function) {
    for (llvm::Instruction& product : llvm::make_early_inc_range(block)) {
      llvm::Value* a = nullptr;
      llvm::Value* b = nullptr;
      llvm::Instruction* reciprocal = nullptr;
      if (!match(&product,
                 m_c_FMul(m_Value(a), m_OneUse(m_CombineAnd(m_Instruction(reciprocal),
                                                            m_FDiv(m_FPOne(), m_Value(b)))))) ||
          reciprocal->getParent() != &block) {
        continue;
      }
      llvm::IRBuilder<> builder(&product);
      product.replaceAllUsesWith(builder.CreateFDivFMF(a, b, &product));
      product.eraseFromParent();
      reciprocal->eraseFromParent();
    }
  }
}

// Vectors of integers of 16 bits and fewer by their elements: ptxas (seen in 13.0) shortens
// add.s16x2 to the half that is wanted, and then takes the constant of the other half.
void add_in_scalars(llvm::Function& function) {
  for (llvm::BasicBlock& block : function) {
    for (llvm::Instruction& instruction : llvm::make_early_inc_range(block)) {
      auto* type = llvm::dyn_cast<llvm::FixedVectorType>(instruction.getType());
      const auto* bounded = llvm::dyn_cast<llvm::MinMaxIntrinsic>(&instruction);
      const bool adds = instruction.getOpcode() == llvm::Instruction::Add ||
                        instruction.getOpcode() == llvm::Instruction::Sub;
      if (type == nullptr || type->getScalarSizeInBits() > 16 || (!adds && bounded == nullptr)) {
        continue;
      }
      llvm::IRBuilder<> builder(&instruction);
      llvm::Value* result = llvm::PoisonValue::get(type);
      for (unsigned i = 0; i < type->getNumElements(); ++i) {
        llvm::Value* a = builder.CreateExtractElement(instruction.getOperand(0), i);
        llvm::Value* b = builder.CreateExtractElement(instruction.getOperand(1), i);
        llvm::Value* element =
            adds ? builder.CreateBinOp(
                       static_cast<llvm::Instruction::BinaryOps>(instruction.getOpcode()), a, b)
                 : builder.CreateBinaryIntrinsic(bounded->getIntrinsicID(), a, b);
        result = builder.CreateInsertElement(result, element, i);
      }
      instruction.replaceAllUsesWith(result);
      instruction.eraseFromParent();
    }
  }
}

// Vectors and unrolling are the kernel's, so the pipeline only cleans up after rendering: locals
// into registers, repeated addresses and loads merged, loads out of loops.
void optimise(llvm::Module& module, llvm::TargetMachine& machine, const Target& target) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager graph;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(graph);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, graph, modules);

  llvm::FunctionPassManager passes;
  passes.addPass(llvm::SROAPass(llvm::SROAOptions::PreserveCFG));
  passes.addPass(llvm::EarlyCSEPass(true));
  passes.addPass(llvm::InstCombinePass(llvm::InstCombineOptions().setMaxIterations(1)));
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(
      llvm::LICMPass(llvm::LICMOptions()), /*UseMemorySSA=*/true, /*UseBlockFrequencyInfo=*/false));
  passes.addPass(llvm::GVNPass());
  passes.addPass(llvm::InstCombinePass(llvm::InstCombineOptions().setMaxIterations(1)));
  passes.addPass(llvm::SimplifyCFGPass());
  passes.addPass(llvm::ADCEPass());
  for (llvm::Function& function : module) {
    if (function.isDeclaration()) continue;
    passes.run(function, functions);
    compare_incremented(function);
    if (target.group_threads == 0) divide_at_once(function);
    if (target.isa == Isa::nvptx) add_in_scalars(function);
  }
}

struct Compiled {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::TargetMachine> machine;
  std::unique_ptr<llvm::Module> module;

  Compiled(const Kernel& kernel, const Target& target) : machine(machine_for(target)) {
    context.setDiscardValueNames(true);
    module = ir::render(kernel, target, machine->createDataLayout(), context);
    module->setTargetTriple(machine->getTargetTriple().str());
    optimise(*module, *machine, target);
    ir::constants_in_memory(*module, target);
  }

  llvm::SmallVector<char, 0> emit(llvm::CodeGenFileType type) {
    llvm::SmallVector<char, 0> bytes;
    llvm::raw_svector_ostream stream(bytes);
    llvm::legacy::PassManager passes;
    if (machine->addPassesToEmitFile(passes, stream, nullptr, type, /*DisableVerify=*/true)) {
      throw InternalError("LLVM cannot emit this kind of file");
    }
    passes.run(*module);
    return bytes;
  }

  std::string text() {
    const auto bytes = emit(llvm::CodeGenFileType::AssemblyFile);
    return ir::with_clusters({bytes.data(), bytes.size()}, *module);
  }
};

}  // namespace

CodeObject compile(const Kernel& kernel, const Target& target) {
  Compiled compiled(kernel, target);
  CodeObject result;
  result.symbol = ir::symbol_of(kernel);
  const auto take = [&](const char* data, std::size_t size) {
    const auto* first = reinterpret_cast<const std::byte*>(data);
    result.object.assign(first, first + size);
  };
  // A driver takes PTX as text and makes machine code of it.
  if (target.isa == Isa::nvptx) {
    const std::string text = compiled.text();
    take(text.c_str(), text.size() + 1);
  } else {
    const auto bytes = compiled.emit(llvm::CodeGenFileType::ObjectFile);
    take(bytes.data(), bytes.size());
  }
  return result;
}

std::string llvm_ir(const Kernel& kernel, const Target& target) {
  const Compiled compiled(kernel, target);
  std::string text;
  llvm::raw_string_ostream stream(text);
  compiled.module->print(stream, nullptr);
  return text;
}

std::string assembly(const Kernel& kernel, const Target& target) {
  return Compiled(kernel, target).text();
}

}  // namespace brisk
