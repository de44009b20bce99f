// A benchmark that measures new processes runs itself again. Input: arguments and environment of
// the child; output: the figures that the child printed as lines "name value", and its time from
// exec.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>

#include <filesystem>
#include <map>

#include "measure.h"

namespace bench {

using Figures = std::map<std::string, double>;

inline std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

/// In the child: seconds since the parent called exec (the clock is the machine's).
inline double since_exec() {
  const char* start = getenv("BENCH_EXEC_NS");
  return start ? static_cast<double>(now_ns() - std::atoll(start)) * 1e-9 : 0;
}

inline void report(const char* name, double value) { fmt::print("{} {}\n", name, value); }

/// Runs this program with `arguments`, the kernel cache in `cache`; ends this process if it fails.
inline Figures run_child(const std::vector<std::string>& arguments,
                         const std::filesystem::path& cache) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::exit(1);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 1);
    setenv("BRISK_CACHE", cache.c_str(), 1);
    std::vector<char*> argv = {const_cast<char*>("bench")};
    for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    setenv("BENCH_EXEC_NS", std::to_string(now_ns()).c_str(), 1);
    execv("/proc/self/exe", argv.data());
    _exit(127);
  }
  close(ends[1]);
  FILE* lines = fdopen(ends[0], "r");
  Figures figures;
  char name[64];
  double value = 0;
  while (std::fscanf(lines, "%63s %lf", name, &value) == 2) figures[name] = value;
  std::fclose(lines);
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) {
    fmt::print(stderr, "the child {} ended with status {}\n", arguments[0], status);
    std::exit(1);
  }
  return figures;
}

/// A folder that goes with this object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "brisk-bench-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace bench
