// Assembles PTX in tests, where there is a ptxas: $BRISK_PTXAS, in the path, or where NVIDIA's
// toolkit is usually installed.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "codegen/codegen.h"

namespace brisk::test {

/// Empty where there is none.
inline std::string ptxas() {
  if (const char* given = std::getenv("BRISK_PTXAS")) return given;
  std::string folders = std::getenv("PATH") == nullptr ? "" : std::getenv("PATH");
  folders += ":/usr/local/cuda/bin";
  for (std::size_t at = 0; at < folders.size();) {
    const std::size_t end = std::min(folders.find(':', at), folders.size());
    const std::string candidate = folders.substr(at, end - at) + "/ptxas";
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
    at = end + 1;
  }
  return {};
}

/// Skips the test that calls it, with the reason.
#define BRISK_WANT_PTXAS()                                                                     \
  if (brisk::test::ptxas().empty()) {                                                          \
    GTEST_SKIP() << "no ptxas in the path, in /usr/local/cuda/bin or at $BRISK_PTXAS: PTX is " \
                    "not assembled";                                                           \
  }

/// What ptxas -v says of the kernel's PTX; a warning of it, or a spilled register, fails the test.
inline std::string assemble(const Kernel& kernel, const Target& target) {
  const CodeObject code = compile(kernel, target);
  const std::string text(reinterpret_cast<const char*>(code.object.data()), code.object.size() - 1);
  const auto file =
      std::filesystem::temp_directory_path() / ("brisk_" + std::to_string(getpid()) + ".ptx");
  std::ofstream(file) << text;
  // As the driver does: relocatable, with exceptions (device/cuda).
  const auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
  const char* how = has("setmaxnreg") || (has("wgmma") && has("rcp.rn")) ? "" : " -c";
  const std::string command = ptxas() + how + " -v --warning-as-error -arch=" + target.cpu +
                              " -o /dev/null " + file.string() + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string said;
  std::array<char, 4096> part;
  while (pipe != nullptr && std::fgets(part.data(), part.size(), pipe) != nullptr)
    said += part.data();
  const int status = pipe == nullptr ? -1 : pclose(pipe);
  EXPECT_EQ(status, 0) << said << text;
  EXPECT_EQ(said.find("warning"), std::string::npos) << said << text;
  EXPECT_EQ(said.find("Potential Performance Loss"), std::string::npos) << said << text;
  std::filesystem::remove(file);
  return said;
}

}  // namespace brisk::test
