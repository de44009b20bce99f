// What brisk says on stderr while it works, by the level of BRISK_DEBUG (base/options.h lists what
// each level shows). Input: a level and a line; output: the line, whole, however many threads
// write.
#pragma once

#include <fmt/core.h>

#include <string_view>
#include <utility>

#include "base/options.h"

namespace brisk {

inline bool log_enabled(int level) { return options().debug >= level; }

/// Writes `text` and a line end to stderr in one call.
void write_log(std::string_view text);

/// The arguments are formatted only where the level is shown; text that is dear to make asks
/// log_enabled first.
template <typename... Args>
void log_line(int level, fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(level)) write_log(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace brisk
