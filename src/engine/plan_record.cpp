#include "engine/plan_record.h"

#include <algorithm>

#include "engine/pack.h"

namespace brisk {

namespace {

void pack_place(Packer& packer, const PlanRecord::Place& place) {
  packer.number(place.temporary ? -1 - place.number : place.number);
  packer.number(place.offset);
}

PlanRecord::Place unpack_place(Unpacker& unpacker) {
  const std::int64_t value = unpacker.number();
  return {value < 0, static_cast<int>(value < 0 ? -1 - value : value), unpacker.number()};
}

}  // namespace

std::vector<std::byte> PlanRecord::pack() const {
  Packer packer;
  packer.number(static_cast<std::int64_t>(temporaries.size()));
  for (const Temporary& temporary : temporaries) {
    packer.number(static_cast<std::int64_t>(temporary.dtype));
    packer.number(static_cast<std::int64_t>(temporary.shape.size()));
    for (const Size& size : temporary.shape) packer.size(size);
  }
  packer.number(static_cast<std::int64_t>(steps.size()));
  for (const Step& step : steps) {
    packer.text(step.key);
    packer.number(static_cast<std::int64_t>(step.arguments.size()));
    for (const Place& place : step.arguments) pack_place(packer, place);
    packer.number(static_cast<std::int64_t>(step.variables.size()));
    for (const Node& variable : step.variables) packer.size(Size(variable));
    packer.size(step.work.operations);
    for (const Size& count : step.work.elements) packer.size(count);
  }
  packer.number(static_cast<std::int64_t>(roots.size()));
  for (const Place& place : roots) pack_place(packer, place);
  return packer.take();
}

std::optional<PlanRecord> PlanRecord::unpack(std::span<const std::byte> data) {
  Unpacker unpacker(data);
  PlanRecord record;
  const auto each = [&](auto&& read) {
    for (std::int64_t i = unpacker.number(); unpacker.ok() && i > 0; --i) read();
  };
  each([&] {
    Temporary temporary{static_cast<DType>(unpacker.number()), {}};
    each([&] { temporary.shape.push_back(unpacker.size()); });
    record.temporaries.push_back(std::move(temporary));
  });
  each([&] {
    Step step;
    step.key = unpacker.text();
    each([&] { step.arguments.push_back(unpack_place(unpacker)); });
    each([&] { step.variables.push_back(unpacker.size().node()); });
    step.work.operations = unpacker.size();
    for (std::size_t i = 0; i < step.arguments.size(); ++i)
      step.work.elements.push_back(unpacker.size());
    record.steps.push_back(std::move(step));
  });
  each([&] { record.roots.push_back(unpack_place(unpacker)); });
  if (!unpacker.ok()) return std::nullopt;
  return record;
}

std::int64_t upper_bytes(DType dtype, const Shape& shape) {
  std::int64_t count = byte_size(dtype);
  for (const Size& size : shape) count *= size.upper();
  return std::max<std::int64_t>(count, 1);
}

MemoryPlan plan_memory(const PlanRecord& record, const Workspaces& workspaces) {
  std::vector<Interval> intervals;
  for (const auto& [dtype, shape] : record.temporaries)
    intervals.push_back({-1, -1, upper_bytes(dtype, shape)});
  for (const PlanRecord::Place& root : record.roots) {
    if (root.temporary) intervals[static_cast<std::size_t>(root.number)].bytes = 0;
  }
  for (std::size_t i = 0; i < record.steps.size(); ++i) {
    const auto step = static_cast<std::int64_t>(i);
    for (const PlanRecord::Place& place : record.steps[i].arguments) {
      if (!place.temporary) continue;
      Interval& interval = intervals[static_cast<std::size_t>(place.number)];
      interval.last = step;
      if (interval.first < 0) interval.first = step;
    }
    for (const Kernel::Workspace& workspace : workspaces[i])
      intervals.push_back({step, step, upper_bytes(workspace.dtype, {workspace.elements})});
  }
  return plan_memory(intervals);
}

}  // namespace brisk
