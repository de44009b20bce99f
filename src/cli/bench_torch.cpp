#include "cli/bench_torch.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "engine/engine.h"

namespace brisk {

namespace {

constexpr const char* script_name = "bench_torch.py";
constexpr int no_program = 127;  // exit status of a child that could not become another program

std::filesystem::path script_path() {
  std::error_code error;
  const auto folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  for (const auto& place : {folder, folder / ".." / "share" / "brisk"}) {
    if (std::filesystem::exists(place / script_name, error)) return place / script_name;
  }
  user_error("--compare-torch: {} is neither in {} nor in {}", script_name, folder.string(),
             (folder.parent_path() / "share" / "brisk").string());
}

struct ChildOutput {
  int status = 0;
  std::string text;
};

std::string read_all(int file) {
  std::string text;
  std::array<char, 4096> part;
  for (;;) {
    const ssize_t count = ::read(file, part.data(), part.size());
    if (count > 0) text.append(part.data(), static_cast<std::size_t>(count));
    if (count == 0 || (count < 0 && errno != EINTR)) return text;
  }
}

// What the program wrote on stdout; its stderr is ours.
ChildOutput output_of(std::vector<std::string> arguments) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    user_error("--compare-torch: making a pipe: {}", std::strerror(errno));
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execvp(argv[0], argv.data());
    ::_exit(no_program);
  }
  ::close(ends[1]);
  ChildOutput output;
  if (child > 0) output.text = read_all(ends[0]);
  ::close(ends[0]);
  if (child < 0) user_error("--compare-torch: starting python3: {}", std::strerror(errno));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return output;
}

std::string kind_name(DeviceWork::Kind kind) {
  switch (kind) {
    case DeviceWork::Kind::copy: return "copy";
    case DeviceWork::Kind::read: return "read";
    case DeviceWork::Kind::product: return "product";
  }
  unreachable("every kind of work has a name");
}

std::string as_json(std::span<const DeviceWork> works) {
  nlohmann::json list = nlohmann::json::array();
  for (const DeviceWork& work : works) {
    list.push_back({{"name", work.name()},
                    {"kind", kind_name(work.kind)},
                    {"dtype", name(work.dtype)},
                    {"size", work.size}});
  }
  return list.dump();
}

}  // namespace

TorchFigures time_torch(std::span<const DeviceWork> works) {
  const DeviceInfo& info = Engine::shared().device().info();
  const std::string script = script_path().string();
  const ChildOutput output =
      output_of({"python3", script, info.id, std::to_string(info.compute_units), as_json(works)});
  if (output.status == no_program)
    user_error("--compare-torch: there is no python3 to run {} with", script);
  const auto json = nlohmann::json::parse(output.text, nullptr, false);
  const bool complete = json.is_object() && (json.contains("error") || json.contains("torch"));
  if (!complete)
    user_error("--compare-torch: python3 {} ended with status {}", script, output.status);
  if (json.contains("error"))
    user_error("--compare-torch: {}", json.at("error").get<std::string>());
  return {json.at("torch").get<std::string>(),
          json.at("seconds").get<std::map<std::string, double>>(),
          json.at("missing").get<std::map<std::string, std::string>>()};
}

}  // namespace brisk
