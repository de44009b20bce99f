// The process that times one kernel (kernel_timing.h). It gets its data ready, says so, waits for
// the word and measures; whatever it does besides, crash or hang, is told as a failure.
#pragma once

#include <sys/types.h>

#include <string>
#include <variant>

#include "engine/kernel_timing.h"

namespace brisk {

/// What became of it: figures, or what went wrong in words.
using TimingOutcome = std::variant<KernelTiming, std::string>;

class TimingProcess {
 public:
  /// Starts it. UserError where that cannot be done at all.
  explicit TimingProcess(const TimingTask& task);
  TimingProcess(const TimingProcess&) = delete;
  TimingProcess& operator=(const TimingProcess&) = delete;
  /// Kills it if it is still there.
  ~TimingProcess();

  /// Waits until its data are ready; false where it has failed.
  bool wait_until_ready(double seconds);
  /// Has it measure, and waits at most so long.
  TimingOutcome measure(double seconds);

 private:
  bool read_more(double seconds);
  std::string end();

  pid_t child_ = 0;
  int socket_ = -1;  // its stdin and stdout
  std::string failure_;
  std::string output_;
};

/// The child's side: the task from this file, the word from stdin, answers on stdout. UserError
/// where the file is no task of this version.
void serve_timing(const std::string& file);

/// The program that has the command `time-kernel`: this one, where it is brisk, else the one that
/// lies beside it or is found in PATH. UserError where there is none.
std::string timing_program();

}  // namespace brisk
