// What measurement has shown to be best: of each class of decisions (optimize/decisions.h) on a
// target the name of an option. Found in the kernel cache, where tuning keeps them, else in the
// table that comes with brisk (winners.def).
#pragma once

#include <optional>
#include <string>

#include "base/target.h"
#include "optimize/decisions.h"

namespace brisk {

/// Looks winners of the target up; holds on to it.
Decisions::Known winners_for(const Target& target);
/// For this machine, from now on.
void keep_winner(const Target& target, const std::string& shapes, const std::string& option);

/// The table's, by LLVM CPU name.
std::optional<std::string> shipped_winner(const std::string& cpu, const std::string& shapes);

}  // namespace brisk
