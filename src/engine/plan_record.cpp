#include "engine/plan_record.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "engine/compile.h"
#include "engine/offsets.h"
#include "engine/pack.h"
#include "graph/rules_simplify.h"
#include "graph/verify.h"
#include "kernel/lower.h"
#include "kernel/verify.h"
#include "schedule/channels_last.h"
#include "schedule/fuse.h"
#include "schedule/versions.h"

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

PlanRecord schedule_graph(std::span<const Node> given, std::span<const Node> buffers,
                          const Target& target, std::vector<LoweredKernel>& kernels) {
  verify_graph(given, "tensor");
  std::vector<Node> roots = simplify(given);
  verify_graph(roots, "simplify");
  if (target.copying_threads > 0) {
    roots = simplify(with_channels_last(roots));
    verify_graph(roots, "channels_last");
  }
  // Values get memory of their own, even those that are found to be what some memory holds.
  const auto is_memory = [](const Node& root) {
    return root.is(Op::buffer_) || root.is(Op::store_);
  };
  for (std::size_t i = 0; i < roots.size(); ++i) {
    if (is_memory(roots[i]) && !is_memory(given[i])) roots[i] = copy_to(roots[i], "");
  }
  const auto computed = [&] {
    std::vector<Node> nodes;
    for (const Node& root : roots) {
      if (!root.is(Op::buffer_)) nodes.push_back(root);
    }
    return nodes;
  };
  KernelList list = fuse(computed(), target);
  while (!list.overwritten.empty()) {
    roots = read_copies(roots, list.overwritten);
    verify_graph(roots, "read_copies");
    list = fuse(computed(), target);
  }
  PlanRecord record;
  std::unordered_map<Node, int, NodeHash> temporaries;
  const auto place = [&](const Node& node) -> PlanRecord::Place {
    const Node& memory = memory_of(node);
    if (memory.attr().storage) {
      const auto at = std::find(buffers.begin(), buffers.end(), memory);
      check(at != buffers.end(), "a buffer of the graph");
      return {false, static_cast<int>(at - buffers.begin()), 0};
    }
    const auto [at, fresh] =
        temporaries.emplace(memory, static_cast<int>(record.temporaries.size()));
    if (fresh) record.temporaries.push_back({memory.dtype(), memory.shape()});
    return {true, at->second, 0};
  };
  for (const ScheduledKernel& kernel : list.kernels) {
    Lowering lowering = lower(kernel.outputs, list.stored);
    verify_kernel(lowering.kernel, "lower");
    PlanRecord::Step step;
    const std::vector<std::int64_t> offsets = take_offsets(lowering.kernel);
    step.key = kernel_key(lowering.kernel, target);
    for (std::size_t i = 0; i < lowering.arguments.size(); ++i) {
      step.arguments.push_back(place(lowering.arguments[i]));
      step.arguments.back().offset = offsets[i];
    }
    step.variables = lowering.kernel.variables;
    step.work = count_work(lowering.kernel);
    record.steps.push_back(std::move(step));
    kernels.push_back(std::move(lowering.kernel));
  }
  for (const Node& root : roots) record.roots.push_back(place(root));
  return record;
}

}  // namespace brisk
