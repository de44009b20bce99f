// ELF-64 relocatable objects (System V gABI, and its x86-64 and AArch64 supplements).
#include "device/cpu/object_code.h"

#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace brisk {

namespace {

#if defined(__x86_64__)
constexpr auto this_machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr auto this_machine = EM_AARCH64;
#endif

[[noreturn]] void damaged(const char* what) { device_error("cpu: an object file has {}", what); }

template <typename T>
T read(std::span<const std::byte> bytes, std::uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) damaged("a part past its end");
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <typename T>
T get(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <typename T>
void put(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

// A far call from anywhere in the code: jumps to the address in its last eight bytes.
constexpr std::size_t stub_bytes = 16;

void write_stub(std::byte* at, std::uint64_t target) {
#if defined(__x86_64__)
  // jmp *2(%rip); 2 bytes of padding
  constexpr std::array<std::uint8_t, 8> code = {0xff, 0x25, 0x02, 0, 0, 0, 0, 0};
  std::memcpy(at, code.data(), code.size());
#elif defined(__aarch64__)
  put<std::uint32_t>(at, 0x58000050);      // ldr x16, +8
  put<std::uint32_t>(at + 4, 0xd61f0200);  // br x16
#endif
  put(at + 8, target);
}

std::uint64_t library_function(std::string_view name) {
  const auto address = [](auto* function) { return reinterpret_cast<std::uint64_t>(function); };
  if (name == "memcpy") return address(&std::memcpy);
  if (name == "memmove") return address(&std::memmove);
  if (name == "memset") return address(&std::memset);
  if (name == "fminf") return address(&::fminf);  // LLVM's choice for halves below a constant
  if (name == "fmaxf") return address(&::fmaxf);
  device_error("cpu: an object file calls \"{}\", which is not there", name);
}

class Loader {
 public:
  explicit Loader(std::span<const std::byte> object) : object_(object) {
    header_ = read<Elf64_Ehdr>(object, 0);
    if (std::memcmp(header_.e_ident, ELFMAG, SELFMAG) != 0 ||
        header_.e_ident[EI_CLASS] != ELFCLASS64 || header_.e_type != ET_REL) {
      damaged("no header of a 64-bit relocatable object");
    }
    if (header_.e_machine != this_machine) damaged("code for another machine");
    if (header_.e_shentsize != sizeof(Elf64_Shdr)) damaged("sections of an unknown form");
    for (std::uint64_t i = 0; i < header_.e_shnum; ++i) {
      sections_.push_back(read<Elf64_Shdr>(object, header_.e_shoff + i * sizeof(Elf64_Shdr)));
    }
    places_.resize(sections_.size());
    read_symbols();
    layout();
  }

  std::uint64_t bytes() const { return bytes_; }

  // Copies sections to `memory` (of bytes()) and resolves their references.
  void place(std::byte* memory) {
    memory_ = memory;
    for (std::size_t i = 0; i < sections_.size(); ++i) {
      const Elf64_Shdr& section = sections_[i];
      if (!places_[i] || section.sh_type == SHT_NOBITS || section.sh_size == 0) continue;
      const auto content = contents(section);
      std::memcpy(memory + *places_[i], content.data(), content.size());
    }
    std::uint64_t stub = stubs_;
    for (std::size_t i = 0; i < symbols_.size(); ++i) {
      if (!is_library(i)) continue;
      write_stub(memory + stub, library_function(name_of(symbols_[i])));
      stub_of_[i] = stub;
      stub += stub_bytes;
    }
    for (const Elf64_Shdr& section : sections_) {
      if (section.sh_type == SHT_REL) damaged("references of an unknown form");
      if (section.sh_type != SHT_RELA || section.sh_info >= sections_.size() ||
          !places_[section.sh_info]) {
        continue;
      }
      if (section.sh_entsize != sizeof(Elf64_Rela)) damaged("references of an unknown form");
      const auto table = contents(section);
      for (std::uint64_t at = 0; at + sizeof(Elf64_Rela) <= table.size();
           at += sizeof(Elf64_Rela)) {
        relocate(section.sh_info, read<Elf64_Rela>(table, at));
      }
    }
  }

  std::byte* find(const std::string& symbol) const {
    for (std::size_t i = 0; i < symbols_.size(); ++i) {
      if (name_of(symbols_[i]) == symbol && ELF64_ST_TYPE(symbols_[i].st_info) == STT_FUNC) {
        return memory_ + offset_of(i);
      }
    }
    device_error("cpu: an object file lacks the symbol \"{}\"", symbol);
  }

 private:
  std::span<const std::byte> contents(const Elf64_Shdr& section) const {
    if (section.sh_offset > object_.size() ||
        object_.size() - section.sh_offset < section.sh_size) {
      damaged("a section past its end");
    }
    return object_.subspan(section.sh_offset, section.sh_size);
  }

  void read_symbols() {
    for (const Elf64_Shdr& section : sections_) {
      if (section.sh_type != SHT_SYMTAB) continue;
      if (section.sh_entsize != sizeof(Elf64_Sym) || section.sh_link >= sections_.size()) {
        damaged("symbols of an unknown form");
      }
      names_ = contents(sections_[section.sh_link]);
      const auto table = contents(section);
      for (std::uint64_t at = 0; at + sizeof(Elf64_Sym) <= table.size(); at += sizeof(Elf64_Sym)) {
        symbols_.push_back(read<Elf64_Sym>(table, at));
      }
    }
    stub_of_.resize(symbols_.size());
  }

  std::string_view name_of(const Elf64_Sym& symbol) const {
    if (symbol.st_name >= names_.size()) damaged("a name past its end");
    const auto* first = reinterpret_cast<const char*>(names_.data()) + symbol.st_name;
    return {first, strnlen(first, names_.size() - symbol.st_name)};
  }

  bool is_library(std::size_t symbol) const {
    return symbol > 0 && symbols_[symbol].st_shndx == SHN_UNDEF;
  }

  void layout() {
    for (std::size_t i = 0; i < sections_.size(); ++i) {
      const Elf64_Shdr& section = sections_[i];
      if (!(section.sh_flags & SHF_ALLOC) || section.sh_type == SHT_X86_64_UNWIND) continue;
      if (section.sh_flags & (SHF_WRITE | SHF_TLS) && section.sh_size > 0) {
        damaged("writable data");
      }
      constexpr std::uint64_t most = 1U << 30;
      const std::uint64_t alignment = section.sh_addralign ? section.sh_addralign : 1;
      if (alignment > 4096 || section.sh_size > most || bytes_ > most) {
        damaged("a section beyond all measure");
      }
      places_[i] = align_up(bytes_, alignment);
      bytes_ = *places_[i] + section.sh_size;
    }
    stubs_ = align_up(bytes_, stub_bytes);
    bytes_ = stubs_;
    for (std::size_t i = 0; i < symbols_.size(); ++i) bytes_ += is_library(i) ? stub_bytes : 0;
  }

  std::uint64_t offset_of(std::size_t index) const {
    if (index >= symbols_.size()) damaged("a reference to no symbol");
    if (is_library(index)) return stub_of_[index];
    const Elf64_Sym& symbol = symbols_[index];
    if (symbol.st_shndx >= places_.size() || !places_[symbol.st_shndx] ||
        symbol.st_value > sections_[symbol.st_shndx].sh_size) {
      damaged("a symbol outside its sections");
    }
    return *places_[symbol.st_shndx] + symbol.st_value;
  }

  void relocate(std::size_t section, const Elf64_Rela& rela) {
    const std::uint64_t type = ELF64_R_TYPE(rela.r_info);
    const std::size_t width = width_of(type);
    if (rela.r_offset > sections_[section].sh_size ||
        sections_[section].sh_size - rela.r_offset < width) {
      damaged("a reference outside its section");
    }
    std::byte* at = memory_ + *places_[section] + rela.r_offset;
    const auto base = reinterpret_cast<std::uint64_t>(memory_);
    const auto place = reinterpret_cast<std::uint64_t>(at);
    const std::uint64_t target =
        base + offset_of(ELF64_R_SYM(rela.r_info)) + static_cast<std::uint64_t>(rela.r_addend);
    apply(type, at, place, target);
  }

  static void put_signed(std::byte* at, std::uint64_t value, int bits) {
    const auto wide = static_cast<std::int64_t>(value);
    if (wide >> (bits - 1) != 0 && wide >> (bits - 1) != -1) damaged("a reference out of reach");
    put(at, static_cast<std::uint32_t>(value));
  }

#if defined(__x86_64__)
  static std::size_t width_of(std::uint64_t type) {
    switch (type) {
      case R_X86_64_64:
      case R_X86_64_PC64: return 8;
      case R_X86_64_PC32:
      case R_X86_64_PLT32: return 4;
      default: device_error("cpu: an object file has a reference of unknown type {}", type);
    }
  }

  static void apply(std::uint64_t type, std::byte* at, std::uint64_t place, std::uint64_t target) {
    switch (type) {
      case R_X86_64_64: put(at, target); return;
      case R_X86_64_PC64: put(at, target - place); return;
      default: put_signed(at, target - place, 32); return;
    }
  }
#elif defined(__aarch64__)
  static std::size_t width_of(std::uint64_t type) {
    switch (type) {
      case R_AARCH64_ABS64:
      case R_AARCH64_PREL64: return 8;
      case R_AARCH64_PREL32:
      case R_AARCH64_ADR_PREL_PG_HI21:
      case R_AARCH64_ADR_PREL_LO21:
      case R_AARCH64_ADD_ABS_LO12_NC:
      case R_AARCH64_LDST8_ABS_LO12_NC:
      case R_AARCH64_LDST16_ABS_LO12_NC:
      case R_AARCH64_LDST32_ABS_LO12_NC:
      case R_AARCH64_LDST64_ABS_LO12_NC:
      case R_AARCH64_LDST128_ABS_LO12_NC:
      case R_AARCH64_CALL26:
      case R_AARCH64_JUMP26: return 4;
      default: device_error("cpu: an object file has a reference of unknown type {}", type);
    }
  }

  static void put_address(std::byte* at, std::uint64_t value) {  // adr, adrp: 21 bits in two parts
    const auto bits = static_cast<std::uint32_t>(value);
    const std::uint32_t code = get<std::uint32_t>(at) & 0x9f00001f;
    put(at, code | (bits & 3) << 29 | (bits >> 2 & 0x7ffff) << 5);
  }

  static void put_low(std::byte* at, std::uint64_t target, int shift) {  // 12 bits from bit 10
    const auto bits = static_cast<std::uint32_t>(target & 0xfff) >> shift;
    put(at, (get<std::uint32_t>(at) & 0xffc003ff) | bits << 10);
  }

  static void apply(std::uint64_t type, std::byte* at, std::uint64_t place, std::uint64_t target) {
    switch (type) {
      case R_AARCH64_ABS64: put(at, target); return;
      case R_AARCH64_PREL64: put(at, target - place); return;
      case R_AARCH64_PREL32: put_signed(at, target - place, 32); return;
      case R_AARCH64_ADR_PREL_PG_HI21:  // one mapping of at most 2 GiB is always in reach
        put_address(at, (target >> 12) - (place >> 12));
        return;
      case R_AARCH64_ADR_PREL_LO21: put_address(at, target - place); return;
      case R_AARCH64_ADD_ABS_LO12_NC:
      case R_AARCH64_LDST8_ABS_LO12_NC: put_low(at, target, 0); return;
      case R_AARCH64_LDST16_ABS_LO12_NC: put_low(at, target, 1); return;
      case R_AARCH64_LDST32_ABS_LO12_NC: put_low(at, target, 2); return;
      case R_AARCH64_LDST64_ABS_LO12_NC: put_low(at, target, 3); return;
      case R_AARCH64_LDST128_ABS_LO12_NC: put_low(at, target, 4); return;
      default: {  // branches: 26 bits of words
        const auto words = static_cast<std::int64_t>(target - place) >> 2;
        if (words >> 25 != 0 && words >> 25 != -1) damaged("a reference out of reach");
        const std::uint32_t code = get<std::uint32_t>(at) & 0xfc000000;
        put(at, code | (static_cast<std::uint32_t>(words) & 0x03ffffff));
      }
    }
  }
#endif

  std::span<const std::byte> object_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Shdr> sections_;
  std::vector<std::optional<std::uint64_t>> places_;  // offset of each section that is loaded
  std::vector<Elf64_Sym> symbols_;
  std::vector<std::uint64_t> stub_of_;
  std::span<const std::byte> names_;
  std::uint64_t stubs_ = 0;
  std::uint64_t bytes_ = 0;
  std::byte* memory_ = nullptr;
};

}  // namespace

ObjectCode::ObjectCode(std::span<const std::byte> object, const std::string& symbol) {
  Loader loader(object);
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  bytes_ = align_up(loader.bytes() + 1, page);
  memory_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory_ == MAP_FAILED) device_error("cpu: no memory for {} bytes of code", bytes_);
  try {
    loader.place(static_cast<std::byte*>(memory_));
    entry_ = loader.find(symbol);
    if (mprotect(memory_, bytes_, PROT_READ | PROT_EXEC) != 0) {
      device_error("cpu: the system does not allow generated code to run");
    }
  } catch (...) {
    munmap(memory_, bytes_);
    throw;
  }
  auto* first = static_cast<char*>(memory_);
  __builtin___clear_cache(first, first + bytes_);
}

ObjectCode::~ObjectCode() { munmap(memory_, bytes_); }

}  // namespace brisk
