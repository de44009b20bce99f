// Stands in for libFuzzer where the compiler has none: gives every file of the folders named on the
// command line to the fuzz target, so that each input that once failed is tried in every run. Small
// files are also tried cut at every length and with each byte replaced in four ways.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;
constexpr std::size_t largest_mutated = 512;

// From a copy of exactly this size, so that a sanitizer sees a read past the end.
void run(const std::uint8_t* data, std::size_t size) {
  const Bytes exact(data, data + size);
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void run_with_mutations(Bytes input) {
  run(input.data(), input.size());
  if (input.size() > largest_mutated) return;
  for (std::size_t i = 0; i < input.size(); ++i) {
    run(input.data(), i);
    const std::uint8_t kept = input[i];
    for (const int other : {0, 0xff, kept + 1, kept ^ 0x80}) {
      input[i] = static_cast<std::uint8_t>(other);
      run(input.data(), input.size());
    }
    input[i] = kept;
  }
}

}  // namespace

int main(int argc, char** argv) {
  int inputs = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      std::fprintf(stderr, "%s\n", entry.path().c_str());  // names the input that crashes
      run_with_mutations(Bytes(std::istreambuf_iterator<char>(file), {}));
      ++inputs;
    }
  }
  std::fprintf(stderr, "%d inputs replayed\n", inputs);
  return inputs > 0 ? 0 : 1;
}
