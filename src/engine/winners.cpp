#include "engine/winners.h"

#include <fmt/core.h>

#include <array>
#include <span>
#include <string_view>
#include <unordered_map>

#include "engine/kernel_cache.h"

namespace brisk {

namespace {

struct Winner {
  std::string_view cpu, shapes, option;
};

#define WINNER(cpu, shapes, option) Winner{cpu, shapes, option},
constexpr Winner shipped[] = {
#include "engine/winners.def"
    Winner{},
};
#undef WINNER

std::string cache_key(const Target& target, const std::string& shapes) {
  return fmt::format("winner {}\n{}", fingerprint(target), shapes);
}

}  // namespace

Decisions::Known winners_for(const Target& target) {
  return [&target](const std::string& shapes) -> std::optional<std::string> {
    const auto kept = KernelCache::shared().find(cache_key(target, shapes));
    if (!kept) return shipped_winner(target.cpu, shapes);
    return std::string(reinterpret_cast<const char*>(kept->data()), kept->size());
  };
}

void keep_winner(const Target& target, const std::string& shapes, const std::string& option) {
  KernelCache::shared().insert(cache_key(target, shapes), std::as_bytes(std::span(option)));
}

std::optional<std::string> shipped_winner(const std::string& cpu, const std::string& shapes) {
  static const auto table = [] {
    std::unordered_map<std::string, std::string_view> list;
    for (const Winner& winner : shipped)
      list.emplace(fmt::format("{}\n{}", winner.cpu, winner.shapes), winner.option);
    return list;
  }();
  const auto found = table.find(fmt::format("{}\n{}", cpu, shapes));
  return found == table.end() ? std::nullopt : std::optional<std::string>(found->second);
}

}  // namespace brisk
