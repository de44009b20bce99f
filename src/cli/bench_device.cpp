// brisk bench without a model: the device's copies, reads and products of matrices, as shares of
// its data sheet, for a watt and for a dollar; PyTorch's beside them where the user asks for it.
#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/bench.h"
#include "cli/bench_torch.h"
#include "cli/device_bench.h"
#include "engine/engine.h"

namespace brisk {

namespace {

using Json = nlohmann::ordered_json;

bool is_product(const DeviceWork& work) { return work.kind == DeviceWork::Kind::product; }

struct Report {
  const DeviceInfo& device;
  const Card* card = nullptr;
  std::optional<Price> price;
  std::optional<TorchFigures> torch;

  /// By the data sheet, bytes or operations a second.
  std::optional<double> limit(const DeviceWork& work) const {
    if (card == nullptr) return std::nullopt;
    const double rate = is_product(work) ? card->operations(work.dtype) : card->bytes;
    return rate > 0 ? std::optional(rate) : std::nullopt;
  }
  std::optional<double> torch_seconds(const DeviceWork& work) const {
    if (!torch) return std::nullopt;
    const auto found = torch->seconds.find(work.name());
    return found == torch->seconds.end() ? std::nullopt : std::optional(found->second);
  }
};

std::string or_dash(const std::optional<double>& value, auto text) {
  return value ? text(*value) : "-";
}

// One column of the table: its heading and a figure's entry.
struct Column {
  std::string heading;
  std::string (*entry)(const Report&, const DeviceFigure&);
};

std::string rate_text(const DeviceWork& work, double rate) {
  if (!is_product(work)) return fmt::format("{:.1f} GB/s", rate / 1e9);
  return fmt::format("{:.4g} T{}/s", rate / 1e12, is_float(work.dtype) ? "FLOP" : "OP");
}

std::string size_text(const DeviceWork& work) {
  if (is_product(work)) return fmt::format("{}", work.size);
  return byte_text(static_cast<double>(work.size * byte_size(work.dtype)));
}

std::string share_entry(const Report& report, const DeviceFigure& figure) {
  return or_dash(report.limit(figure.work),
                 [&](double limit) { return fmt::format("{:.2f}", figure.rate() / limit); });
}

std::string watts_entry(const Report&, const DeviceFigure& figure) {
  return or_dash(figure.watts, [](double watts) { return fmt::format("{:.0f}", watts); });
}

std::string joule_entry(const Report&, const DeviceFigure& figure) {
  return or_dash(figure.watts, [&](double watts) {
    return fmt::format("{:.4g} {}", figure.rate() / watts / 1e9,
                       is_product(figure.work) ? "G" : "GB");
  });
}

std::string dollar_entry(const Report& report, const DeviceFigure& figure) {
  if (!report.price) return "-";
  return fmt::format("{:.4g} {}", report.price->per_dollar(figure.rate()) / 1e15,
                     is_product(figure.work) ? "P" : "PB");
}

std::string torch_entry(const Report& report, const DeviceFigure& figure) {
  return or_dash(report.torch_seconds(figure.work), [&](double seconds) {
    return rate_text(figure.work, figure.work.amount() / seconds);
  });
}

std::string ratio_entry(const Report& report, const DeviceFigure& figure) {
  return or_dash(report.torch_seconds(figure.work),
                 [&](double seconds) { return fmt::format("{:.2f}", seconds / figure.seconds); });
}

std::vector<Column> columns_of(const Report& report) {
  std::vector<Column> columns = {
      {"work", [](const Report&, const DeviceFigure& f) { return f.work.name(); }},
      {"size", [](const Report&, const DeviceFigure& f) { return size_text(f.work); }},
      {"time", [](const Report&,
                  const DeviceFigure& f) { return fmt::format("{:.4g} ms", f.seconds * 1e3); }},
      {"rate", [](const Report&, const DeviceFigure& f) { return rate_text(f.work, f.rate()); }},
      {"of limit", share_entry},
      {"watts", watts_entry},
      {"a joule", joule_entry},
      {"a dollar", dollar_entry}};
  if (report.torch) {
    columns.push_back({"PyTorch", torch_entry});
    columns.push_back({"times it", ratio_entry});
  }
  return columns;
}

// Cells of the same column are as wide as its widest.
void print_rows(const std::vector<std::vector<std::string>>& rows) {
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::size_t width = 0;
      for (const auto& other : rows) width = std::max(width, other[i].size());
      line +=
          i == 0 ? fmt::format("{:<{}}", row[i], width) : fmt::format("  {:>{}}", row[i], width);
    }
    fmt::print("{}\n", line);
  }
}

void print_heading(const Report& report) {
  const DeviceInfo& info = report.device;
  fmt::print("{}: {} ({}), {} compute units, {} of memory", info.id, info.name, info.architecture,
             info.compute_units, byte_text(static_cast<double>(info.memory_bytes)));
  if (report.price) fmt::print(", {}", report.price->text());
  fmt::print("\n");
  if (report.card != nullptr) {
    fmt::print("limits by its data sheet: {:.0f} GB/s, {:.0f} W\n", report.card->bytes / 1e9,
               report.card->watts);
  } else {
    fmt::print("no data sheet of it in the table: no shares of its limits\n");
  }
  if (report.torch) fmt::print("beside PyTorch {}\n", report.torch->version);
}

void print_table(const Report& report, const std::vector<DeviceFigure>& figures) {
  const std::vector<Column> columns = columns_of(report);
  std::vector<std::vector<std::string>> rows(1);
  for (const Column& column : columns) rows[0].push_back(column.heading);
  for (const DeviceFigure& figure : figures) {
    if (!figure.missing.empty()) continue;
    rows.emplace_back();
    for (const Column& column : columns) rows.back().push_back(column.entry(report, figure));
  }
  print_rows(rows);
  for (const DeviceFigure& figure : figures) {
    if (!figure.missing.empty()) fmt::print("no {}: {}\n", figure.work.name(), figure.missing);
  }
  if (!report.torch) return;
  for (const auto& [name, reason] : report.torch->missing)
    fmt::print("no {} of PyTorch: {}\n", name, reason);
}

Json json_of(const Report& report, const DeviceFigure& figure) {
  const DeviceWork& work = figure.work;
  Json json = {{"work", work.name()}, {"dtype", name(work.dtype)}, {"size", work.size}};
  if (!figure.missing.empty()) {
    json["missing"] = figure.missing;
    return json;
  }
  const std::string unit = is_product(work) ? "operations" : "bytes";
  json["seconds"] = figure.seconds;
  json[unit + "_per_second"] = figure.rate();
  if (const auto limit = report.limit(work)) {
    json["limit_" + unit + "_per_second"] = *limit;
    json["share_of_limit"] = figure.rate() / *limit;
  }
  if (figure.watts) {
    json["watts"] = *figure.watts;
    json[unit + "_per_joule"] = figure.rate() / *figure.watts;
  }
  if (report.price) json[unit + "_per_dollar"] = report.price->per_dollar(figure.rate());
  if (const auto seconds = report.torch_seconds(work)) {
    json["torch_seconds"] = *seconds;
    json["times_torch"] = *seconds / figure.seconds;
  }
  return json;
}

void print_json(const Report& report, const std::vector<DeviceFigure>& figures) {
  const DeviceInfo& info = report.device;
  Json json = {{"device", info.id},
               {"name", info.name},
               {"architecture", info.architecture},
               {"compute_units", info.compute_units},
               {"memory_bytes", info.memory_bytes}};
  if (report.card != nullptr) {
    json["limit_watts"] = report.card->watts;
    json["limit_bytes_per_second"] = report.card->bytes;
  }
  if (report.price) {
    json["dollars_per_hour"] = report.price->dollars_per_hour;
    json["price_from_table"] = report.price->from_table;
  }
  if (report.torch) {
    json["torch"] = report.torch->version;
    json["torch_missing"] = report.torch->missing;
  }
  json["works"] = Json::array();
  for (const DeviceFigure& figure : figures) json["works"].push_back(json_of(report, figure));
  fmt::print("{}\n", json.dump(2));
}

}  // namespace

void bench_device(const BenchOptions& options) {
  const Card* card = card_of_device();
  Report report{Engine::shared().device().info(), card, price_of(options, card), std::nullopt};
  const std::vector<DeviceWork> works = device_works();
  if (options.compare_torch) report.torch = time_torch(works);  // first: it may not be there
  std::vector<DeviceFigure> figures;
  for (const DeviceWork& work : works) figures.push_back(measure(work));
  if (options.json) return print_json(report, figures);
  print_heading(report);
  print_table(report, figures);
}

}  // namespace brisk
