// Tiles: matrices in shared memory as the units that copy and multiply them want them, and the
// statements of a group of threads that do so. Where a kernel's other statements read or write a
// tile, tile_index says where an element lies.
//
// A tile of `rows` × `columns` elements consists of strips of 128 bytes of every row, one strip
// after the other; in a strip, row r is 128 bytes at 128·r, and its eight chunks of 16 bytes are
// permuted: chunk c lies where chunk c xor (r mod 8) would (so that neither neighbouring rows nor
// neighbouring columns meet in one bank).
//
// Fragments: the result of a matrix step lies in the registers of `threads` threads, each 32 of
// them (a warp) taking 16 rows, block after block of threads / 2 rows. In a warp, element
// (r, c) of its rows lies in thread 4 (r mod 8) + (c mod 8) / 2, in the register
//   (block · columns + c / 8 · 8) / 2 + r mod 16 / 8 · 2 + c mod 2
// (PTX ISA, "Register Fragments and Shared Memory Matrix Layouts" of wgmma and mma.m16n8).
#pragma once

#include <vector>

#include "kernel/kernel.h"

namespace brisk {

constexpr std::int64_t strip_bytes = 128;
constexpr std::int64_t chunk_bytes = 16;

/// Where element (row, column) of a tile lies; the columns of a whole chunk lie in order.
std::int64_t tile_index(int element_bytes, std::int64_t rows, std::int64_t row,
                        std::int64_t column);
Node tile_index(int element_bytes, std::int64_t rows, const Node& row, const Node& column);
/// Elements of a tile; columns may end within a strip.
std::int64_t tile_elements(int element_bytes, std::int64_t rows, std::int64_t columns);

/// Boxes of an array in memory, each of them the rows of a tile. The array's dimensions are columns
/// (contiguous), rows, and up to three more; strides are those of rows and of these. The rows of a
/// tile may run through a box of several dimensions, its second dimension the fastest: then what
/// the box leaves over of the tile's rows stays as it was.
struct TileView {
  Node pointer;  // param
  Size start;    // of the array in it, in elements
  std::vector<Size> sizes;
  std::vector<Size> strides;  // in elements, one less than sizes
  std::int64_t rows = 1;      // of the tile
  std::int64_t columns = 1;
  /// Elements of a box in the array's second and later dimensions, and from one to the next of
  /// them; empty: `rows` neighbours in the second, one in the others.
  std::vector<std::int64_t> box = {};
  std::vector<std::int64_t> steps = {};
  /// Of a load: tasks sharers · i … sharers · i + sharers - 1 load the same boxes in the same
  /// rounds. The groups that run them do so side by side, as a cluster, and each copies its part of
  /// a box's rows, which are neighbours, to all of them. The number of tasks is a multiple of it.
  std::int64_t sharers = 1;
  bool operator==(const TileView&) const = default;
};
/// Rows of the tile that a box has.
std::int64_t rows_in_box(const TileView& view);

constexpr std::size_t most_dimensions = 5;  // of such an array
constexpr std::int64_t most_of_box = 256;   // elements of a dimension that a box reaches over
constexpr std::int64_t most_step = 8;

/// Copies the box whose first element is at these coordinates (columns, rows, …) into the tile;
/// zeros where the box reaches out of the array, before its beginning or beyond its end.
Node load_tile(const Node& tile, const TileView& view, const std::vector<Node>& at);
/// The other way, whole strips of columns; what reaches out is not written.
Node store_tile(const Node& tile, const TileView& view, const std::vector<Node>& at);
/// The most sharers of a load of the phase, which are those of every other load that has any.
std::int64_t sharers_of(const Node& phase);
/// Of a load_tile or store_tile; box and steps are never empty.
TileView view_of(const Node& statement);
/// Every different one of the kernel.
std::vector<TileView> tile_views(const Kernel& kernel);

/// A product of matrices A (rows × depth) and B (depth × columns).
struct MatrixStep {
  std::int64_t rows = 0, columns = 0, depth = 0;
  std::int64_t threads = 0;  // of the group, from the first on
  bool a_by_depth = false;   // A's tile has depth rows; otherwise depth columns
  bool b_by_depth = false;   // B's tile has depth rows; otherwise depth columns
  /// It runs on after the statement: until a finish_steps that does not leave it out, nothing
  /// touches its registers (`a` among them), and the tiles are not written.
  bool runs_on = false;
  /// Sets of four warps, which multiply together, begin one after the other, each when the one
  /// before has its part of the sums: what they do from then on takes turns.
  bool in_turn = false;
  bool operator==(const MatrixStep&) const = default;
};

/// fragments = A·B, or where `accumulate` (a bool) holds, fragments + A·B; in float32 or int32. `a`
/// is a tile, or registers that hold it as fragments of a rows × depth result.
Node matrix_step(const MatrixStep& step, const Node& fragments, const Node& a, const Node& b,
                 const Node& accumulate);
MatrixStep step_of(const Node& statement);
/// All steps that run on are done, but for the last `left`.
Node finish_steps(std::int64_t left);

/// Thread and register of element (row, column) of `columns` fragments.
struct FragmentPlace {
  std::int64_t thread, index;
};
FragmentPlace fragment_place(std::int64_t threads, std::int64_t columns, std::int64_t row,
                             std::int64_t column);
/// The row and column that a thread holds in register `index`, which is even: its neighbour holds
/// the next column.
struct FragmentElement {
  Node row, column;
};
FragmentElement fragment_element(std::int64_t threads, std::int64_t columns, const Node& thread,
                                 std::int64_t index);

/// The statements of a pipeline's rounds; and the load_tile ones among them.
std::vector<Node> round_of(const Node& pipeline);
std::vector<Node> loads_of(const Node& pipeline);

/// Tiles that the same pipelines load and whose first readers there are the same statements: so
/// many sets of them, one after the other in shared memory from where their first tile lies, and
/// two barriers for each set (16 bytes).
struct TileRing {
  std::vector<Node> tiles;
  std::int64_t stages = 1;
  std::int64_t stage_bytes = 0;
  std::int64_t signals = 0;  // offset of the barriers
  std::int64_t sharers = 1;  // groups that copy into a set, and whose readers free it
  bool holds(const Node& tile) const;
};

/// When a round of a pipeline needs the tiles of a ring: from before statement `first` of its body
/// until after statement `last`, at the end of which no step that reads them still runs.
struct RingUse {
  const TileRing* ring;
  std::size_t first, last;
};

/// Where the shared memory of a phase with tiles lies, and how much it is.
struct PhaseMemory {
  std::vector<std::pair<Node, std::int64_t>> offsets;  // of shared locals, in bytes
  std::vector<TileRing> rings;
  std::int64_t bytes = 0;
  std::int64_t offset(const Node& local) const;
  const TileRing& ring_of(const Node& tile) const;
  /// Of the rings whose tiles the pipeline loads.
  std::vector<RingUse> uses_of(const Node& pipeline) const;
};
PhaseMemory phase_memory(const Node& phase);
bool has_tiles(const Node& phase);

}  // namespace brisk
