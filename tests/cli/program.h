// Runs the program `brisk` as a process. Input: arguments and what it reads; output: what it wrote
// and how it ended.
#pragma once

#include <gtest/gtest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "formats/temporary_folder.h"

namespace brisk {

struct Finished {
  int status = -1;  // of exit, or -signal
  std::string out;
  std::string err;
};

class Program {
 public:
  /// Starts it; stdout and stderr go to these paths where they are given.
  Program(std::vector<std::string> arguments, const std::string& input,
          const std::string& out_path = {}, const std::string& err_path = {}) {
    std::ofstream(folder_.path() / "in", std::ios::binary) << input;
    out_ = out_path.empty() ? (folder_.path() / "out").string() : out_path;
    const std::string in = folder_.path() / "in";
    const std::string err = err_path.empty() ? (folder_.path() / "err").string() : err_path;
    arguments.insert(arguments.begin(), BRISK_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    process_ = ::fork();
    if (process_ == 0) {
      ::signal(SIGINT, SIG_DFL);  // whatever started the tests may ignore it
      ::dup2(::open(in.c_str(), O_RDONLY), STDIN_FILENO);
      ::dup2(::open(out_.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
      ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
  }

  std::string out() const { return read(out_); }
  void interrupt() const { ::kill(process_, SIGINT); }

  Finished wait() {
    int status = 0;
    ::waitpid(process_, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), out(),
            read(folder_.path() / "err")};
  }

 private:
  static std::string read(const std::filesystem::path& path) {
    if (!std::filesystem::is_regular_file(path)) return {};
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TemporaryFolder folder_;
  std::string out_;
  pid_t process_ = -1;
};

inline Finished run_brisk(std::vector<std::string> arguments, const std::string& input = {},
                          const std::string& out_path = {}) {
  return Program(std::move(arguments), input, out_path).wait();
}

}  // namespace brisk
