// Learning rates as functions of the step.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "brisk/optim.h"
#include "tensor/call.h"

namespace brisk::nn {

namespace {

// From `from` at 0 to `to` at 1.
double half_cosine(double at, double from, double to) {
  return to + (from - to) * 0.5 * (1 + std::cos(std::numbers::pi * std::clamp(at, 0.0, 1.0)));
}

double share(std::int64_t step, double steps) { return static_cast<double>(step) / steps; }

}  // namespace

double warmup(std::int64_t step, std::int64_t steps) {
  return steps <= 0 ? 1 : std::min(1.0, share(step + 1, static_cast<double>(steps)));
}

double cosine(std::int64_t step, std::int64_t steps, double from, double to) {
  return steps <= 0 ? to : half_cosine(share(step, static_cast<double>(steps)), from, to);
}

double step_decay(std::int64_t step, std::int64_t every, double from, double gamma) {
  const Call call("step_decay");
  if (every < 1) call_error("wants a decay every 1 or more steps, got {}", every);
  const std::int64_t falls = step / every;
  return from * std::pow(gamma, static_cast<double>(falls));
}

double OneCycle::operator()(std::int64_t step) const {
  const double top = rise * static_cast<double>(steps) - 1;
  const double end = static_cast<double>(steps) - 1;
  const auto at = static_cast<double>(step);
  const double first = greatest / divide;
  if (at <= top && top > 0) return half_cosine(at / top, first, greatest);
  return half_cosine(end > top ? (at - top) / (end - top) : 1, greatest, first / final_divide);
}

}  // namespace brisk::nn
