// Checkpoints, the run's table and picture, the line of progress.
#include "brisk/train.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <random>

#include "base/error.h"
#include "brisk/create.h"
#include "formats/file_writer.h"
#include "formats/quote.h"

namespace brisk::nn {

// ---- checkpoints --------------------------------------------------------------------------------

void save_checkpoint(const std::filesystem::path& path, const State& model,
                     const Optimizer& optimizer, std::int64_t step) {
  State all;
  for (const auto& [name, tensor] : model) all["model." + name] = tensor;
  for (const auto& [name, tensor] : optimizer.state()) all["optimizer." + name] = tensor;
  all["step"] = from_host(std::span<const std::int64_t>(&step, 1), {1});
  save_state(all, path);
}

std::int64_t load_checkpoint(const std::filesystem::path& path, const State& model,
                             Optimizer& optimizer) {
  const State all = read_state(path);
  const auto step = all.find("step");
  if (step == all.end()) user_error("{}: no checkpoint of a run: it has no step", path.native());
  State of_model;
  State of_optimizer;
  for (const auto& [name, tensor] : all) {
    if (name.starts_with("model.")) of_model[name.substr(6)] = tensor;
    if (name.starts_with("optimizer.")) of_optimizer[name.substr(10)] = tensor;
  }
  copy_state(of_model, model);
  optimizer.load_state(of_optimizer);
  return step->second.item<std::int64_t>();
}

// ---- batches ------------------------------------------------------------------------------------

std::vector<std::int64_t> shuffled(std::int64_t count, std::uint64_t seed, std::int64_t epoch) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(std::max<std::int64_t>(count, 0)));
  std::iota(order.begin(), order.end(), 0);
  std::seed_seq both{seed & 0xffffffffU, seed >> 32, static_cast<std::uint64_t>(epoch)};
  std::mt19937_64 random(both);
  // Not std::shuffle: what that gives is the library's own.
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  return order;
}

// ---- the table ----------------------------------------------------------------------------------

namespace {

std::string line_of(std::int64_t step, const std::vector<double>& values) {
  std::string line = fmt::format("{}", step);
  for (const double value : values)
    line += std::isnan(value) ? std::string(",") : fmt::format(",{:.9g}", value);
  return line + "\n";
}

void write_whole(const std::filesystem::path& path, const std::string& text) {
  FileWriter file(path);
  file.append(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace

RunLog::RunLog(std::filesystem::path path, std::vector<std::string> columns, std::int64_t from)
    : path_(std::move(path)), columns_(std::move(columns)) {
  std::string text = "step";
  for (const std::string& column : columns_) text += "," + column;
  const std::string head = text += "\n";
  if (std::ifstream file(path_); from > 0 && file) {
    std::string line;
    std::getline(file, line);
    if (line + "\n" != head)
      user_error("{}: its columns are {}, those of this run {}", path_.native(), quote(line),
                 quote(head.substr(0, head.size() - 1)));
    while (std::getline(file, line)) {
      char* rest = nullptr;
      const std::int64_t step = std::strtoll(line.c_str(), &rest, 10);
      std::vector<double> values;
      while (*rest == ',') {
        const char* field = rest + 1;
        const double value = std::strtod(field, &rest);
        values.push_back(rest == field ? std::numeric_limits<double>::quiet_NaN() : value);
      }
      if (values.size() != columns_.size() || step >= from) continue;  // torn, or to come again
      rows_.emplace_back(step, values);
      text += line_of(step, values);
    }
  }
  write_whole(path_, text);
  file_.open(path_, std::ios::app);
}

void RunLog::add(std::int64_t step, const std::vector<double>& values) {
  if (values.size() != columns_.size())
    user_error("a row of the run's table has {} columns, got {} values", columns_.size(),
               values.size());
  rows_.emplace_back(step, values);
  file_ << line_of(step, values) << std::flush;
  if (!file_) user_error("cannot write to {}: is the disk full?", path_.native());
}

// ---- the picture --------------------------------------------------------------------------------

namespace {

constexpr double width = 720, height = 400, left = 60, right = 16, top = 36, bottom = 40;

struct Axis {
  double least, greatest;

  // A step of 1, 2 or 5 times a power of ten that cuts the axis into four to ten parts.
  double step() const {
    const double rough = (greatest - least) / 6;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor * power >= rough) return factor * power;
    }
    return 10 * power;
  }
  double share(double value) const { return (value - least) / (greatest - least); }
};

Axis axis_of(double least, double greatest) {
  if (!(greatest > least)) {
    const double around = std::max(std::fabs(least), 1.0) / 2;
    return {least - around, greatest + around};
  }
  return {least, greatest};
}

}  // namespace

void RunLog::plot(const std::filesystem::path& path, const std::string& title,
                  std::size_t columns) const {
  constexpr std::array colours = {"#1f6fb2", "#d1621c", "#3a8f3a", "#8a4fb0"};
  columns = std::min({columns, columns_.size(), colours.size()});
  double least = std::numeric_limits<double>::infinity();
  double greatest = -least;
  for (const auto& [step, values] : rows_) {
    for (std::size_t c = 0; c < columns; ++c) {
      if (!std::isfinite(values[c])) continue;
      least = std::min(least, values[c]);
      greatest = std::max(greatest, values[c]);
    }
  }
  if (!(least <= greatest)) return;  // nothing to draw
  const Axis y = axis_of(least, greatest);
  const Axis x =
      axis_of(static_cast<double>(rows_.front().first), static_cast<double>(rows_.back().first));
  const auto at_x = [&](double v) { return left + x.share(v) * (width - left - right); };
  const auto at_y = [&](double v) {
    return height - bottom - y.share(v) * (height - top - bottom);
  };
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" "
      "font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"{}\" y=\"20\" font-size=\"14\">{}</text>\n",
      width, height, left, title);
  for (double v = std::ceil(y.least / y.step()) * y.step(); v <= y.greatest; v += y.step())
    svg += fmt::format(
        "<path d=\"M{} {:.1f}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{:.4g}</text>\n",
        left, at_y(v), width - right, left - 6, at_y(v) + 4, v);
  for (double v = std::ceil(x.least / x.step()) * x.step(); v <= x.greatest; v += x.step())
    svg += fmt::format(
        "<path d=\"M{:.1f} {}V{}\" stroke=\"#ddd\"/><text x=\"{:.1f}\" y=\"{}\" "
        "text-anchor=\"middle\">{:.6g}</text>\n",
        at_x(v), top, height - bottom, at_x(v), height - bottom + 18, v);
  for (std::size_t c = 0; c < columns; ++c) {
    std::string points;
    for (const auto& [step, values] : rows_) {
      if (!std::isfinite(values[c])) continue;
      points += fmt::format("{}{:.1f} {:.1f}", points.empty() ? "M" : "L",
                            at_x(static_cast<double>(step)), at_y(values[c]));
    }
    svg += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>\n",
                       points, colours[c]);
    svg += fmt::format("<text x=\"{}\" y=\"{}\" fill=\"{}\" text-anchor=\"end\">{}</text>\n",
                       width - right - 4, top + 16 + 16 * static_cast<double>(c), colours[c],
                       columns_[c]);
  }
  write_whole(path, svg + "</svg>\n");
}

// ---- the line -----------------------------------------------------------------------------------

Progress::Progress(std::int64_t steps, std::int64_t from)
    : steps_(steps), from_(from), terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (terminal_ && shown_) fmt::print(stderr, "\n");
}

void Progress::show(std::int64_t step, const std::string& text) {
  const auto now = Clock::now();
  const bool last = step + 1 >= steps_;
  const auto pause = terminal_ ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10'000);
  if (shown_ && !last && now - *shown_ < pause) return;
  shown_ = now;
  const double done = static_cast<double>(step + 1 - from_);
  const double left = std::chrono::duration<double>(now - start_).count() / std::max(done, 1.0) *
                      static_cast<double>(steps_ - step - 1);
  const auto seconds = static_cast<std::int64_t>(left);
  const std::string line =
      fmt::format("step {}/{} ({:.0f} %) {} {}:{:02}:{:02} left", step + 1, steps_,
                  100.0 * static_cast<double>(step + 1) / static_cast<double>(steps_), text,
                  seconds / 3600, seconds / 60 % 60, seconds % 60);
  if (terminal_)
    fmt::print(stderr, "\r{}\x1b[K", line);
  else
    fmt::print(stderr, "{}\n", line);
  std::fflush(stderr);
}

}  // namespace brisk::nn
