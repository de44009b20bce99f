#include "codegen/foreign_machine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Module.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "codegen/run_kernel.h"

namespace brisk::test {

namespace {

// The first of these programs that is in the path.
std::string program(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (std::system(fmt::format("command -v {} > /dev/null 2>&1", name).c_str()) == 0) return name;
  }
  return "";
}

const std::string& linker() {
  static const std::string found = program({"ld.lld-19", "/usr/lib/llvm-19/bin/ld.lld", "ld.lld"});
  return found;
}
const std::string& emulator() {
  static const std::string found = program({"qemu-aarch64", "qemu-aarch64-static"});
  return found;
}

// Reads the arena from stdin, runs the phases, writes the arena to stdout.
std::string start_up(const std::string& symbol, const std::vector<std::size_t>& offsets,
                     std::size_t arena_bytes, const std::vector<std::int64_t>& variables,
                     const std::vector<std::int64_t>& phase_tasks, std::size_t scratch_bytes) {
  std::string text = R"(
    .macro transfer file, call
    adrp x20, arena
    adrp x21, arena_bytes
    ldr x21, [x21, :lo12:arena_bytes]
1:  mov x0, \file
    mov x1, x20
    mov x2, x21
    mov x8, \call
    svc #0
    cmp x0, #0
    b.le 2f
    add x20, x20, x0
    subs x21, x21, x0
    b.ne 1b
2:
    .endm
    .text
    .globl _start
_start:
    transfer #0, #63
)";
  for (std::size_t phase = 0; phase < phase_tasks.size(); ++phase) {
    text += fmt::format(R"(
    adrp x0, buffers
    add x0, x0, :lo12:buffers
    adrp x1, variables
    add x1, x1, :lo12:variables
    mov x2, #{}
    mov x3, #0
    ldr x4, ={}
    adrp x5, scratch
    bl {}
)",
                        phase, phase_tasks[phase], symbol);
  }
  text += R"(
    transfer #1, #64
    mov x0, #0
    mov x8, #93
    svc #0
    .data
    .balign 8
buffers:
)";
  for (const std::size_t offset : offsets) text += fmt::format("    .quad arena + {}\n", offset);
  text += "variables:\n";
  for (const std::int64_t value : variables) text += fmt::format("    .quad {}\n", value);
  text += fmt::format(
      "arena_bytes:\n    .quad {0}\n    .bss\n    .balign 4096\narena:\n    .skip {0}\n"
      "    .balign 4096\nscratch:\n    .skip {1}\n",
      arena_bytes, scratch_bytes + 64);
  return text;
}

void assemble(const std::string& text, const std::string& path) {
  LLVMInitializeAArch64TargetInfo();
  LLVMInitializeAArch64Target();
  LLVMInitializeAArch64TargetMC();
  LLVMInitializeAArch64AsmPrinter();
  LLVMInitializeAArch64AsmParser();
  const std::string triple = "aarch64-unknown-linux-gnu";
  std::string error;
  const llvm::Target* target = llvm::TargetRegistry::lookupTarget(triple, error);
  const std::unique_ptr<llvm::TargetMachine> machine(
      target->createTargetMachine(triple, "generic", "", {}, llvm::Reloc::Static));
  llvm::LLVMContext context;
  llvm::Module module("start", context);
  module.setDataLayout(machine->createDataLayout());
  module.setTargetTriple(triple);
  module.setModuleInlineAsm(text);
  std::error_code failed;
  llvm::raw_fd_ostream file(path, failed);
  llvm::legacy::PassManager passes;
  machine->addPassesToEmitFile(passes, file, nullptr, llvm::CodeGenFileType::ObjectFile);
  passes.run(module);
}

void shell(const std::string& command) {
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

}  // namespace

std::string missing_for_aarch64() {
  if (linker().empty()) return "lld is missing (package lld-19 or lld)";
  if (emulator().empty()) return "qemu-aarch64 is missing (package qemu-user)";
  return "";
}

void run_on_aarch64(const CodeObject& code, const std::vector<Memory>& buffers,
                    const std::vector<std::int64_t>& variables,
                    const std::vector<std::int64_t>& phase_tasks, std::size_t scratch_bytes) {
  std::vector<std::size_t> offsets;
  std::string arena;
  for (const Memory& memory : buffers) {
    offsets.push_back(arena.size());
    arena.append(static_cast<const char*>(memory.address), memory.bytes);
    arena.resize((arena.size() + 127) / 64 * 64);
  }
  std::string folder = (std::filesystem::temp_directory_path() / "brisk-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no temporary folder");
  const auto at = [&](const char* name) { return folder + "/" + name; };
  std::ofstream(at("kernel.o"), std::ios::binary)
      .write(reinterpret_cast<const char*>(code.object.data()),
             static_cast<std::streamsize>(code.object.size()));
  std::ofstream(at("in"), std::ios::binary) << arena;
  assemble(start_up(code.symbol, offsets, arena.size(), variables, phase_tasks, scratch_bytes),
           at("start.o"));
  shell(fmt::format("{} -o {} {} {}", linker(), at("program"), at("start.o"), at("kernel.o")));
  shell(fmt::format("{} -cpu max {} < {} > {}", emulator(), at("program"), at("in"), at("out")));
  std::ifstream out(at("out"), std::ios::binary);
  out.read(arena.data(), static_cast<std::streamsize>(arena.size()));
  const bool whole = out.gcount() == static_cast<std::streamsize>(arena.size());
  std::filesystem::remove_all(folder);
  if (!whole) throw std::runtime_error("the AArch64 program ended early");
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    std::memcpy(buffers[i].address, arena.data() + offsets[i], buffers[i].bytes);
  }
}

TEST(AArch64, ObjectsAreLinkedAndRunUnderQemu) {
  if (const std::string missing = missing_for_aarch64(); !missing.empty()) {
    GTEST_SKIP() << missing << ": AArch64 code is generated but not run";
  }
  const Node i = make_range(0, 10);
  const Kernel kernel =
      kernel_of("squares", {DType::int64},
                loop(LoopKind::parallel, i, store_to(make_param(0, DType::int64), i, mul(i, i))));
  for (const char* cpu : {"cortex-a76", "neoverse-n1", "neoverse-v1"}) {
    std::vector<std::int64_t> z(10);
    run(kernel, {{z}, {}}, target_for(cpu));
    for (std::int64_t k = 0; k < 10; ++k) EXPECT_EQ(z[static_cast<std::size_t>(k)], k * k);
  }
}

TEST(AArch64, DotProductsRunOnCpusThatHaveThemForBothTypes) {
  if (const std::string missing = missing_for_aarch64(); !missing.empty()) {
    GTEST_SKIP() << missing << ": AArch64 code is generated but not run";
  }
  const auto part = [](int p, DType dtype, int lanes) {
    return load_from(make_param(p, dtype), constant_int(0), {}, lanes);
  };
  const DType b16 = DType::bfloat16;
  const Node whole =
      dot(part(0, DType::int32, 8), part(1, DType::uint8, 32), part(2, DType::int8, 32));
  const Node real = dot(part(3, DType::float32, 8), part(4, b16, 16), part(4, b16, 16));
  const Kernel kernel =
      kernel_of("dots", {DType::int32, DType::uint8, DType::int8, DType::float32, b16},
                block({store_to(make_param(0, DType::int32), constant_int(0), whole),
                       store_to(make_param(3, DType::float32), constant_int(0), real)}));
  std::vector<std::int32_t> sums(8, 5);
  std::vector<std::uint8_t> a(32, 255);
  std::vector<std::int8_t> b(32, -128);
  std::vector<float> floats(8, 1);
  std::vector<std::uint16_t> halves(16, float_to_bfloat16(3));
  run(kernel, {{sums, a, b, floats, halves}, {}}, target_for("neoverse-v1"));
  EXPECT_EQ(sums, std::vector<std::int32_t>(8, 5 - 4 * 255 * 128));
  EXPECT_EQ(floats, std::vector<float>(8, 19));
}

}  // namespace brisk::test
