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
  attr.ints.push_back(view.sharers);
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
          {ints.begin() + 1 + rank, ints.end() - 1},
          ints.back()};
}

std::int64_t sharers_of(const Node& phase) {
  std::int64_t most = 1;
  for (const Node& node : topological_order({&phase, 1})) {
    if (node.is(Op::load_tile_)) most = std::max(most, view_of(node).sharers);
  }
  return most;
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
  attr.ints = {step.rows,       step.columns,    step.depth,   step.threads,
               step.a_by_depth, step.b_by_depth, step.runs_on, step.in_turn};
  return make_node(Op::matrix_step_, DType::none, {fragments, a, b, accumulate}, std::move(attr));
}

MatrixStep step_of(const Node& statement) {
  return {statement.ints(0),      statement.ints(1),      statement.ints(2),
          statement.ints(3),      statement.ints(4) != 0, statement.ints(5) != 0,
          statement.ints(6) != 0, statement.ints(7) != 0};
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

std::vector<Node> round_of(const Node& pipeline) {
  const Node& body = pipeline.src(1);
  return body.is(Op::block_) ? body.srcs() : std::vector<Node>{body};
}

std::vector<Node> loads_of(const Node& pipeline) {
  std::vector<Node> statements = round_of(pipeline);
  std::erase_if(statements, [](const Node& node) { return !node.is(Op::load_tile_); });
  return statements;
}

bool TileRing::holds(const Node& tile) const {
  return std::find(tiles.begin(), tiles.end(), tile) != tiles.end();
}

const TileRing& PhaseMemory::ring_of(const Node& tile) const {
  const auto found = std::find_if(rings.begin(), rings.end(),
                                  [&](const TileRing& ring) { return ring.holds(tile); });
  check(found != rings.end(), "a ring for every tile that is loaded");
  return *found;
}

namespace {

bool reads(const Node& statement, const Node& tile) {
  if (statement.is(Op::load_tile_)) return false;
  const std::vector<Node> nodes = topological_order({&statement, 1});
  return std::find(nodes.begin(), nodes.end(), tile) != nodes.end();
}

std::size_t first_reader(const std::vector<Node>& statements, const Node& tile) {
  const auto found = std::find_if(statements.begin(), statements.end(),
                                  [&](const Node& each) { return reads(each, tile); });
  return static_cast<std::size_t>(found - statements.begin());
}

// The steps that run on at the end of the statement.
void follow_steps(const Node& statement, std::vector<Node>& running) {
  if (statement.is(Op::matrix_step_)) {
    running.push_back(statement);
    if (!step_of(statement).runs_on) running.clear();
  } else if (statement.is(Op::finish_steps_)) {
    const auto left = static_cast<std::size_t>(statement.ints(0));
    if (running.size() > left)
      running.erase(running.begin(), running.end() - static_cast<std::ptrdiff_t>(left));
  } else if (statement.is(Op::block_)) {
    for (const Node& each : statement.srcs()) follow_steps(each, running);
  } else if (statement.is(Op::loop_) || statement.is(Op::branch_)) {
    follow_steps(statement.src(1), running);
  }
}

// Tiles that are loaded together and first read together.
std::vector<TileRing> rings_of(const std::vector<Node>& nodes) {
  std::vector<Node> tiles;
  std::vector<std::vector<std::pair<Node, std::size_t>>> readers;  // of each tile
  std::vector<std::int64_t> stages;
  std::vector<std::int64_t> sharers;
  for (const Node& node : nodes) {
    if (!is_loop(node, LoopKind::pipeline)) continue;
    const std::vector<Node> statements = round_of(node);
    for (const Node& load : loads_of(node)) {
      const auto at = static_cast<std::size_t>(std::find(tiles.begin(), tiles.end(), load.src(0)) -
                                               tiles.begin());
      if (at == tiles.size()) {
        tiles.push_back(load.src(0));
        readers.emplace_back();
        stages.push_back(1);
        sharers.push_back(1);
      }
      readers[at].emplace_back(node, first_reader(statements, load.src(0)));
      stages[at] = std::max(stages[at], node.ints(1));
      sharers[at] = std::max(sharers[at], view_of(load).sharers);
    }
  }
  std::vector<TileRing> rings;
  for (std::size_t i = 0; i < tiles.size(); ++i) {
    std::size_t first = 0;
    while (readers[first] != readers[i]) ++first;
    if (first == i) {
      rings.push_back({{tiles[i]}, stages[i], 0, 0, sharers[i]});
    } else {
      const auto same = std::find_if(rings.begin(), rings.end(), [&](const TileRing& ring) {
        return ring.holds(tiles[first]);
      });
      same->tiles.push_back(tiles[i]);
      same->sharers = std::max(same->sharers, sharers[i]);
    }
  }
  return rings;
}

}  // namespace

std::vector<RingUse> PhaseMemory::uses_of(const Node& pipeline) const {
  const std::vector<Node> statements = round_of(pipeline);
  std::vector<RingUse> uses;
  for (const Node& load : loads_of(pipeline)) {
    const TileRing& ring = ring_of(load.src(0));
    const bool known = std::any_of(uses.begin(), uses.end(),
                                   [&](const RingUse& use) { return use.ring == &ring; });
    if (known) continue;
    RingUse use = {&ring, first_reader(statements, load.src(0)), 0};
    const auto needs = [&](const Node& node) {
      return std::any_of(ring.tiles.begin(), ring.tiles.end(),
                         [&](const Node& tile) { return reads(node, tile); });
    };
    std::vector<Node> running;
    bool still = false;
    for (std::size_t i = 0; i < statements.size(); ++i) {
      if (still || needs(statements[i])) use.last = i;
      follow_steps(statements[i], running);
      still = std::any_of(running.begin(), running.end(), needs);
    }
    check(!still, "steps are done when the round that loaded their tiles is");
    check(use.first < statements.size(), "tiles are read in the round that loads them");
    uses.push_back(use);
  }
  return uses;
}

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
    for (const Node& tile : ring.tiles) reserve(tile);
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
