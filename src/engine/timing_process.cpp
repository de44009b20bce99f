#include "engine/timing_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "brisk/version.h"
#include "engine/pack.h"

namespace brisk {

namespace {

constexpr char word = 'g';  // to begin
// What the process writes begins with one of these.
constexpr char ready = 'r', measured = 'm', failed = 'f';

// A file in memory, which the child opens by its number.
int memory_file(std::span<const std::byte> content) {
  const int file = ::memfd_create("brisk-kernel", MFD_CLOEXEC);
  if (file < 0) user_error("timing a kernel: a file in memory: {}", std::strerror(errno));
  while (!content.empty()) {
    const ssize_t count = ::write(file, content.data(), content.size());
    if (count < 0) {
      const int error = errno;
      ::close(file);
      user_error("timing a kernel: writing a file in memory: {}", std::strerror(error));
    }
    content = content.subspan(static_cast<std::size_t>(count));
  }
  return file;
}

// A socket, to which one can write without a signal though nobody listens.
std::array<int, 2> make_sockets() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
    user_error("timing a kernel: making a socket: {}", std::strerror(errno));
  return ends;
}

void close_one(int& file) {
  if (file >= 0) ::close(file);
  file = -1;
}

void answer(char kind, std::span<const std::byte> content = {}) {
  std::fputc(kind, stdout);
  if (!content.empty()) std::fwrite(content.data(), 1, content.size(), stdout);
  std::fflush(stdout);
}

std::vector<std::byte> pack(const KernelTiming& timing) {
  Packer packer;
  packer.number(std::bit_cast<std::int64_t>(timing.seconds));
  packer.number(static_cast<std::int64_t>(timing.results.size()));
  for (const auto& values : timing.results) {
    packer.number(static_cast<std::int64_t>(values.size()));
    for (const double value : values) packer.number(std::bit_cast<std::int64_t>(value));
  }
  return packer.take();
}

}  // namespace

std::string timing_program() {
  constexpr const char* name = "brisk";
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (self.filename() == name) return self.string();
  std::vector<std::filesystem::path> places = {self.parent_path()};
  const char* path = std::getenv("PATH");
  std::istringstream list(path != nullptr ? path : "");
  for (std::string folder; std::getline(list, folder, ':');) places.emplace_back(folder);
  for (const auto& folder : places) {
    if (::access((folder / name).c_str(), X_OK) == 0) return (folder / name).string();
  }
  user_error("tuning needs the program brisk, which is neither in {} nor in PATH",
             self.parent_path().string());
}

TimingProcess::TimingProcess(const TimingTask& task) {
  const std::string program = timing_program();
  int file = memory_file(task.pack());
  std::array<int, 2> ends = make_sockets();
  constexpr int place = 3;  // of the file in the child
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, file, place);
  std::string path = "/proc/self/fd/3";
  std::string command = "time-kernel";
  std::array<char*, 4> arguments = {const_cast<char*>(program.c_str()), command.data(), path.data(),
                                    nullptr};
  const int error =
      ::posix_spawn(&child_, program.c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  close_one(file);
  close_one(ends[1]);
  socket_ = ends[0];
  if (error != 0) {
    child_ = 0;
    failure_ = fmt::format("{} cannot be started: {}", program, std::strerror(error));
  }
}

TimingProcess::~TimingProcess() {
  close_one(socket_);
  if (child_ > 0) {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
}

// More of what it writes; false at its end, and where nothing comes for so long.
bool TimingProcess::read_more(double seconds) {
  pollfd wanted = {socket_, POLLIN, 0};
  const int count = ::poll(&wanted, 1, static_cast<int>(seconds * 1e3));
  if (count < 0 && errno == EINTR) return true;
  if (count == 0) {
    failure_ = fmt::format("gave no answer within {:.3g} s", seconds);
    return false;
  }
  std::array<char, 4096> part;
  const ssize_t got = ::read(socket_, part.data(), part.size());
  if (got > 0) output_.append(part.data(), static_cast<std::size_t>(got));
  return got > 0;
}

// How it ended.
std::string TimingProcess::end() {
  if (!failure_.empty()) return failure_;
  int status = 0;
  ::waitpid(child_, &status, 0);
  child_ = 0;
  if (WIFSIGNALED(status))
    failure_ =
        fmt::format("was ended by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  else
    failure_ = fmt::format("ended with status {}", WEXITSTATUS(status));
  return failure_;
}

bool TimingProcess::wait_until_ready(double seconds) {
  if (!failure_.empty()) return false;
  while (output_.empty()) {
    if (!read_more(seconds)) {
      end();
      return false;
    }
  }
  if (output_[0] == ready) return true;
  while (read_more(seconds)) {
  }
  failure_ = output_.substr(1);
  return false;
}

TimingOutcome TimingProcess::measure(double seconds) {
  if (!wait_until_ready(seconds)) return failure_;
  if (::send(socket_, &word, 1, MSG_NOSIGNAL) != 1) return end();
  while (read_more(seconds)) {
  }
  std::string how = end();
  const std::string content = output_.substr(std::min<std::size_t>(output_.size(), 2));
  if (output_.size() < 2 || output_[1] != measured) return content.empty() ? how : content;
  Unpacker unpacker(std::as_bytes(std::span(content)));
  KernelTiming timing;
  timing.seconds = std::bit_cast<double>(unpacker.number());
  for (std::int64_t i = unpacker.number(); unpacker.ok() && i > 0; --i) {
    std::vector<double> values;
    for (std::int64_t j = unpacker.number(); unpacker.ok() && j > 0; --j)
      values.push_back(std::bit_cast<double>(unpacker.number()));
    timing.results.push_back(std::move(values));
  }
  if (!unpacker.ok() || !(timing.seconds > 0)) return how;
  return timing;
}

void serve_timing(const std::string& file) {
  try {
    std::ifstream stream(file, std::ios::binary);
    const std::vector<char> content((std::istreambuf_iterator<char>(stream)),
                                    std::istreambuf_iterator<char>());
    const auto task = TimingTask::unpack(std::as_bytes(std::span(content)));
    if (!task) user_error("{} is no kernel that brisk {} made", file, version);
    TimedKernel kernel(*task);
    answer(ready);
    char got = 0;
    if (::read(STDIN_FILENO, &got, 1) != 1 || got != word) return;  // nobody waits any more
    answer(measured, pack(kernel.time()));
  } catch (const std::exception& error) {
    answer(failed, std::as_bytes(std::span(std::string_view(error.what()))));
    throw;
  }
}

}  // namespace brisk
