#include "kernel/tile.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "base/error.h"
#include "graph/integer.h"

namespace brisk {

namespace {

constexpr std::int64_t tile_alignment = 1024;  // of eight rows of a strip
constexpr std::int64_t signal_bytes = 16;  // two barriers for each stage: filled, and free again

bool is_tile_copy(const Node& node) { return node.is(Op::load_tile_) || node.is(Op::store_tile_); }

Node number(std::int64_t value) { return constant_int(value); }

Node tile_copy(Op op, const Node& tile, const TileView& view, const std::vector<Node>& at) {
  check(at.size() == view.sizes.size() && view.strides.size() + 1 == at.size(),
        "a coordinate for every dimension of a tile's array");
  std::vector<Node> srcs = {tile, view.pointer};
  srcs.insert(srcs.end(), at.begin(), at.end());
  Attr attr;
  const std::size_t beyond = view.strides.size();
  std::vector<std::int64_t> box = view.box;
  std::vector<std::int64_t> steps = view.steps;
  if (box.empty()) box = {view.rows};
  box.resize(beyond, 1);
  steps.resize(beyond, 1);
  attr.ints = {view.rows, view.columns};
  attr.ints.insert(attr.ints.end(), box.begin(), box.end());
  attr.ints.insert(attr.ints.end(), steps.begin(), steps.end());
  attr.sizes = {view.start};
  attr.sizes.insert(attr.sizes.end(), view.sizes.begin(), view.sizes.end());
  attr.sizes.insert(attr.sizes.end(), view.strides.begin(), view.strides.end());
  return make_node(op, DType::none, std::move(srcs), std::move(attr));
}

}  // namespace

std::int64_t tile_index(int element_bytes, std::int64_t rows, std::int64_t row,
                        std::int64_t column) {
  const std::int64_t strip = strip_bytes / element_bytes;
  const std::int64_t chunk = chunk_bytes / element_bytes;
  const std::int64_t place = (column % strip / chunk) ^ (row % 8);
  return column / strip * rows * strip + row * strip + place * chunk + column % chunk;
}

Node tile_index(int element_bytes, std::int64_t rows, const Node& row, const Node& column) {
  const std::int64_t strip = strip_bytes / element_bytes;
  const std::int64_t chunk = chunk_bytes / element_bytes;
  const Node in_strip = mod(column, number(strip));
  const Node permuted =
      make_node(Op::xor_, DType::int64, {idiv(in_strip, number(chunk)), mod(row, number(8))});
  return add(add(mul(idiv(column, number(strip)), number(rows * strip)), mul(row, number(strip))),
             add(mul(permuted, number(chunk)), mod(column, number(chunk))));
}

std::int64_t tile_elements(int element_bytes, std::int64_t rows, std::int64_t columns) {
  const std::int64_t strip = strip_bytes / element_bytes;
  return (columns + strip - 1) / strip * strip * rows;
}

Node load_tile(const Node& tile, const TileView& view, const std::vector<Node>& at) {
  return tile_copy(Op::load_tile_, tile, view, at);
}

Node store_tile(const Node& tile, const TileView& view, const std::vector<Node>& at) {
  return tile_copy(Op::store_tile_, tile, view, at);
}

TileView view_of(const Node& statement) {
  const Shape& sizes = statement.attr().sizes;
  const auto& ints = statement.attr().ints;
  const auto rank = static_cast<std::ptrdiff_t>(statement.srcs().size() - 2);
  return {statement.src(1),
          sizes[0],
          {sizes.begin() + 1, sizes.begin() + 1 + rank},
          {sizes.begin() + 1 + rank, sizes.end()},
          ints[0],
          ints[1],
          {ints.begin() + 2, ints.begin() + 1 + rank},
          {ints.begin() + 1 + rank, ints.end()}};
}

std::int64_t rows_in_box(const TileView& view) {
  if (view.box.empty()) return view.rows;
  return std::accumulate(view.box.begin(), view.box.end(), std::int64_t{1}, std::multiplies<>());
}

std::vector<TileView> tile_views(const Kernel& kernel) {
  std::vector<TileView> views;
  for (const Node& node : topological_order({&kernel.body, 1})) {
    if (!is_tile_copy(node)) continue;
    TileView view = view_of(node);
    if (std::find(views.begin(), views.end(), view) == views.end())
      views.push_back(std::move(view));
  }
  return views;
}

Node matrix_step(const MatrixStep& step, const Node& fragments, const Node& a, const Node& b,
                 const Node& accumulate) {
  Attr attr;
  attr.ints = {step.rows,       step.columns,    step.depth,  step.threads,
               step.a_by_depth, step.b_by_depth, step.runs_on};
  return make_node(Op::matrix_step_, DType::none, {fragments, a, b, accumulate}, std::move(attr));
}

MatrixStep step_of(const Node& statement) {
  return {statement.ints(0),      statement.ints(1),      statement.ints(2),     statement.ints(3),
          statement.ints(4) != 0, statement.ints(5) != 0, statement.ints(6) != 0};
}

Node finish_steps(std::int64_t left) {
  Attr attr;
  attr.ints = {left};
  return make_node(Op::finish_steps_, DType::none, {}, std::move(attr));
}

FragmentPlace fragment_place(std::int64_t threads, std::int64_t columns, std::int64_t row,
                             std::int64_t column) {
  const std::int64_t block_rows = threads / 2;
  const std::int64_t block = row / block_rows;
  const std::int64_t warp = row % block_rows / 16;
  return {warp * 32 + row % 8 * 4 + column % 8 / 2,
          block * columns / 2 + column / 8 * 4 + row % 16 / 8 * 2 + column % 2};
}

FragmentElement fragment_element(std::int64_t threads, std::int64_t columns, const Node& thread,
                                 std::int64_t index) {
  const std::int64_t block = index / (columns / 2);
  const std::int64_t in_block = index % (columns / 2);
  const Node lane = mod(thread, number(32));
  const Node row = add(add(mul(idiv(thread, number(32)), number(16)), idiv(lane, number(4))),
                       number(block * threads / 2 + in_block % 4 / 2 * 8));
  const Node column =
      add(mul(mod(lane, number(4)), number(2)), number(in_block / 4 * 8 + in_block % 2));
  return {row, column};
}

std::int64_t PhaseMemory::offset(const Node& local) const {
  const auto found = std::find_if(offsets.begin(), offsets.end(),
                                  [&](const auto& entry) { return entry.first == local; });
  check(found != offsets.end(), "a place for every shared local");
  return found->second;
}

bool has_tiles(const Node& phase) {
  const std::vector<Node> nodes = topological_order({&phase, 1});
  return std::any_of(nodes.begin(), nodes.end(), [](const Node& node) {
    return is_tile_copy(node) || node.is(Op::matrix_step_);
  });
}

std::vector<Node> loads_of(const Node& pipeline) {
  std::vector<Node> statements = {pipeline.src(1)};
  if (pipeline.src(1).is(Op::block_)) statements = pipeline.src(1).srcs();
  std::erase_if(statements, [](const Node& node) { return !node.is(Op::load_tile_); });
  return statements;
}

const TileRing& PhaseMemory::ring_of(const Node& pipeline) const {
  for (const TileRing& ring : rings) {
    if (std::find(ring.pipelines.begin(), ring.pipelines.end(), pipeline) != ring.pipelines.end())
      return ring;
  }
  unreachable("a ring for every pipeline");
}

namespace {

// The pipelines of a phase, those that load a tile in common together.
std::vector<TileRing> rings_of(const std::vector<Node>& nodes) {
  std::vector<TileRing> rings;
  std::vector<std::vector<Node>> tiles;  // of each
  for (const Node& node : nodes) {
    if (!is_loop(node, LoopKind::pipeline)) continue;
    std::vector<Node> mine;
    for (const Node& load : loads_of(node)) mine.push_back(load.src(0));
    std::size_t at = 0;
    const auto common = [&](const Node& tile) {
      return std::find(tiles[at].begin(), tiles[at].end(), tile) != tiles[at].end();
    };
    while (at < rings.size() && std::none_of(mine.begin(), mine.end(), common)) ++at;
    if (at == rings.size()) {
      rings.emplace_back();
      tiles.emplace_back();
    }
    rings[at].pipelines.push_back(node);
    rings[at].stages = std::max(rings[at].stages, node.ints(1));
    tiles[at].insert(tiles[at].end(), mine.begin(), mine.end());
  }
  return rings;
}

}  // namespace

PhaseMemory phase_memory(const Node& phase) {
  PhaseMemory memory;
  const auto reserve = [&](const Node& local) {
    const bool known = std::any_of(memory.offsets.begin(), memory.offsets.end(),
                                   [&](const auto& entry) { return entry.first == local; });
    if (known) return;
    memory.offsets.emplace_back(local, memory.bytes);
    memory.bytes += (local_bytes(local) + tile_alignment - 1) / tile_alignment * tile_alignment;
  };
  const std::vector<Node> nodes = topological_order({&phase, 1});
  memory.rings = rings_of(nodes);
  for (TileRing& ring : memory.rings) {
    const std::int64_t begin = memory.bytes;
    for (const Node& pipeline : ring.pipelines) {
      for (const Node& load : loads_of(pipeline)) reserve(load.src(0));
    }
    ring.stage_bytes = memory.bytes - begin;
    memory.bytes = begin + ring.stage_bytes * ring.stages;
  }
  for (const Node& node : nodes) {
    if (is_local(node, Memory::shared)) reserve(node);
  }
  for (TileRing& ring : memory.rings) {
    ring.signals = memory.bytes;
    memory.bytes += signal_bytes * ring.stages;
  }
  return memory;
}

}  // namespace brisk
