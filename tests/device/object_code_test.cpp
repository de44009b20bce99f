// The loader of object files: runs what codegen makes, refuses everything else with one line.
#include "device/cpu/object_code.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "codegen/codegen.h"

namespace brisk {
namespace {

// out[i] = exp2(in[i]): code with constants in a section of their own.
CodeObject some_code(const Target& target = host_target()) {
  const Node i = make_range(0, 4);
  const Node at = mul(i, constant_int(16));
  Kernel kernel;
  kernel.name = "loaded";
  kernel.params = {{DType::float32, false, true}, {DType::float32, true, false}};
  kernel.body = loop(LoopKind::parallel, i,
                     store_to(make_param(1, DType::float32), at,
                              exp2(load_from(make_param(0, DType::float32), at, {}, 16))));
  return compile(kernel, target);
}

std::string refusal(std::span<const std::byte> object, const std::string& symbol) {
  try {
    const ObjectCode code(object, symbol);
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

TEST(ObjectCode, LoadsAndRunsAnObjectOfTheCodeGenerator) {
  const CodeObject code = some_code();
  const ObjectCode loaded(code.object, code.symbol);
  std::vector<float> in(64, 3);
  std::vector<float> out(64);
  void* const buffers[] = {in.data(), out.data()};
  using Entry =
      void (*)(void* const*, const std::int64_t*, std::int64_t, std::int64_t, std::int64_t, void*);
  reinterpret_cast<Entry>(loaded.entry())(buffers, nullptr, 0, 1, 3, nullptr);
  EXPECT_EQ(out[15], 0);
  EXPECT_EQ(out[16], 8);
  EXPECT_EQ(out[47], 8);
  EXPECT_EQ(out[48], 0);
}

TEST(ObjectCode, NamesASymbolThatIsMissing) {
  EXPECT_EQ(refusal(some_code().object, "nothing"),
            "cpu: an object file lacks the symbol \"nothing\"");
}

TEST(ObjectCode, RefusesCodeForAnotherMachine) {
  const CodeObject code =
      some_code(target_for(host_target().isa == Isa::x86_64 ? "neoverse-n1" : "x86-64-v2"));
  EXPECT_EQ(refusal(code.object, code.symbol), "cpu: an object file has code for another machine");
}

TEST(ObjectCode, RefusesWhatIsNoObjectFile) {
  EXPECT_NE(refusal({}, "f"), "");
  const std::vector<std::byte> zeros(4096);
  EXPECT_EQ(refusal(zeros, "f"),
            "cpu: an object file has no header of a 64-bit relocatable object");
}

TEST(ObjectCode, RefusesTruncatedObjects) {
  const CodeObject code = some_code();
  const std::span<const std::byte> whole = code.object;
  // The table of sections ends the file, so that every shorter one lacks a part.
  for (std::size_t length = 0; length < whole.size(); ++length) {
    ASSERT_NE(refusal(whole.first(length), code.symbol), "") << length;
  }
}

TEST(ObjectCode, SurvivesDamageAnywhere) {
  const CodeObject code = some_code();
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> object = code.object;
    for (int flips = 0; flips < 1 + round % 3; ++flips) {
      object[random() % object.size()] = static_cast<std::byte>(random());
    }
    refusal(object, code.symbol);  // either way, but no crash
  }
}

}  // namespace
}  // namespace brisk
