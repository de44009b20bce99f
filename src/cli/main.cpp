// The program: reads the command line and runs one command. Every failure is one line on stderr;
// status 0: done, 1: failed, 2: the command line is wrong, 130: interrupted.
#include <CLI/CLI.hpp>

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "base/options.h"
#include "brisk/error.h"
#include "brisk/version.h"
#include "cli/command.h"

namespace {

std::string environment_help() {
  std::string text = "Environment:\n";
  for (const brisk::OptionInfo& option : brisk::option_list()) {
    text += fmt::format("  {:<24}{} ({}; default: {})\n", option.name, option.meaning, option.legal,
                        option.fallback);
  }
  return text;
}

// The message as one line, whatever the exception wrote.
int fail(std::string text, int status) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  std::fputs(fmt::format("brisk: {}\n", text).c_str(), stderr);
  return status;
}

// The numbers of streams that the caller has closed must not go to files that are opened here. What
// is written to such a stream fails.
void occupy_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) < 0) {
      ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    }
  }
}

// What was printed may still wait for its way out.
int finish() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  return fail(fmt::format("writing the output: {}", std::strerror(errno)), 1);
}

int run(int argc, char** argv) {
  CLI::App program{"brisk runs language models through kernels that it compiles for this machine.",
                   "brisk"};
  program.set_version_flag("--version", fmt::format("brisk {}", brisk::version));
  program.require_subcommand(1);
  program.footer(environment_help);
  brisk::add_run(program);
  brisk::add_inspect(program);
  brisk::add_devices(program);
  brisk::add_bench(program);
  brisk::add_tune(program);
  try {
    program.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    program.exit(wanted);
    return finish();
  } catch (const CLI::ParseError& error) {
    return fail(fmt::format("{} (see brisk --help)", error.what()), 2);
  }
  return finish();
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_streams();
  try {
    return run(argc, argv);
  } catch (const brisk::Exit& exit) {
    return exit.status;
  } catch (const brisk::InternalError& error) {
    return fail(fmt::format("{} (this is a bug of brisk)", error.what()), 1);
  } catch (const std::bad_alloc&) {
    return fail("there is not enough memory", 1);
  } catch (const std::exception& error) {
    return fail(error.what(), 1);
  }
}
