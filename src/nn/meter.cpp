// How fast a training goes.
#include <fmt/format.h>

#include "brisk/train.h"
#include "engine/backends.h"
#include "engine/engine.h"

namespace brisk::nn {

namespace {

constexpr std::chrono::seconds looked_back{5};

std::optional<double> joules_so_far() {
  return read_sensors(Engine::shared().device().info().id).joules;
}

// 12.3 G.
std::string in_thousands(double value) {
  for (const char* prefix : {"", "k", "M", "G", "T"}) {
    if (value < 1000) return fmt::format("{:.3g} {}", value, prefix);
    value /= 1000;
  }
  return fmt::format("{:.3g} P", value);
}

}  // namespace

Meter::Meter(MeterOptions options) : options_(std::move(options)), joules_(joules_so_far()) {}

void Meter::add(double items, Clock::time_point now) {
  items_ += items;
  recent_.emplace_back(now, items_);
  while (recent_.size() > 2 && now - recent_[1].first >= looked_back) recent_.pop_front();
}

double Meter::rate() const {
  if (recent_.size() < 2) return 0;
  const std::chrono::duration<double> took = recent_.back().first - recent_.front().first;
  return took.count() > 0 ? (recent_.back().second - recent_.front().second) / took.count() : 0;
}

std::string Meter::text() const {
  std::string text = fmt::format("{:.0f} {}/s", rate(), options_.unit);
  const double operations = rate() * options_.operations;
  if (operations > 0) text += fmt::format(", {}FLOP/s", in_thousands(operations));
  if (operations > 0 && options_.most_operations > 0)
    text += fmt::format(" ({:.0f} % MFU)", 100 * operations / options_.most_operations);
  const std::optional<double> joules = joules_ && items_ > 0 ? joules_so_far() : std::nullopt;
  if (joules) {
    const std::string one = options_.unit.ends_with('s')
                                ? options_.unit.substr(0, options_.unit.size() - 1)
                                : options_.unit;
    text += fmt::format(", {:.3g} J a {}", (*joules - *joules_) / items_, one);
  }
  return text;
}

}  // namespace brisk::nn
