// Kernels, in the two forms they have between the graph and machine code. Both are made of scalar
// (or vector) nodes over ranges, params and locals; movement operations are gone into index
// arithmetic.
//
// 1. Lowered (kernel/lower.h gives it, strategies in optimize/ take it): parts that are independent
// of
//    each other; each part is a space of output ranges and stores whose values hold nested
//    reductions:
//      reduce(value, range…)   sum, product or maximum of value over all values of the ranges.
//    Nothing is said about order, tiles, vectors or threads, except that a store with attribute
//    ints = {1}, a scatter, may write a place several times, in row-major order.
// 2. Kernel (strategies give it, codegen/ and kernel/interpret take it): one statement,
//      statement = block(statement…) | loop(range, statement) | branch(condition, statement)
//                | store(pointer, index, value[, gate]) | prefetch(pointer, index)
//                | panel_product(…), see kernel/panel_product.h
//    The body is a block of phases. A phase is a loop of kind `parallel` (its values are tasks that
//    run in any order on any thread) or any other statement (one task). All tasks of a phase end
//    before the next phase begins. Parallel loops stand nowhere else.
//
//    A task may be a group of threads: its statements then are loops of kind `threads`, whose
//    values are threads that run side by side and all end before the group's next statement
//    begins, group_reduce, which combines what the threads hold in registers, and arrive, which
//    says whether the launch's other groups have come as far. Around them stand only blocks,
//    branches and loops, the same for every thread of the group.
//
//    A group of more than `largest_group` threads is a cluster: `cluster_groups` groups of equal
//    size, on processors of their own, run its task together. Its threads do what those of a group
//    do, but for what needs memory that all of them share: it has no `shared` locals.
//
//    A loop of kind `pipeline` runs like a serial one. Its body begins with the load_tile
//    statements of its rounds, and the memory that these write is used in the same round only: so
//    the copies of later rounds may run ahead, into as many sets of tiles as the loop has stages,
//    and threads of their own may make them (kernel/tile.h). Pipelines that load a tile in common
//    share their sets.
//
// Meaning of expressions in statements: everything in a statement is evaluated when the statement
// runs, loads included, each node once; nothing carries over to the next statement except memory
// and the counters of the enclosing loops. `local` memory of kind `registers` belongs to one task
// (in a group to one thread, from loop to loop) and is promoted to registers where indices are
// constant; `scratch` likewise, but is 64-byte aligned memory; `shared` belongs to a group of
// threads. All keep their content only within one task and start undefined.
//
// Vectors: a node has lanes(). Elementwise operations take sources of the same lanes or of one
// lane.
//   load, lanes n, index of one lane:  elements index … index+n-1;  index of n lanes: a gather.
//   store likewise. The gate has one lane or n; where it is false nothing is read (0) or written.
//   ramp(a): a, a+1, …; lane, shuffle, horizontal, dot: see graph/ops.def.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "graph/node.h"

namespace brisk {

enum class LoopKind : std::int64_t { serial, parallel, unrolled, threads, pipeline };
enum class Memory : std::int64_t { registers, scratch, shared };

/// Argument i of a kernel is a buffer of `dtype`; distinct arguments never overlap.
struct Param {
  DType dtype = DType::none;
  bool written = false;
  bool read = false;
};

/// Stores of one stage run over `ranges` (outermost first) within each point of the part's outer
/// ranges; a later stage may read the scratch locals that earlier stages have written.
struct Stage {
  std::vector<Node> ranges;
  std::vector<Node> stores;  // store(param or scratch local, index, value[, gate])
};

struct Part {
  std::vector<Node> outer;  // ranges shared by all stages, outermost first
  std::vector<Stage> stages;
  int piece = 0;  // its number, where the results are a concatenation's (optimize/pieces.h)
};

struct LoweredKernel {
  std::vector<Param> params;
  std::vector<Node> variables;  // `variable` nodes, passed as int64 in this order
  std::vector<Part> parts;
};

struct Kernel {
  std::string name;  // [a-z0-9_], says the strategy and the sizes
  std::vector<Param> params;
  std::vector<Node> variables;
  /// Shared working memory: param index params.size() + i, `workspace[i]` elements of its dtype
  /// (counts may depend on variables). Undefined at the start of a launch.
  struct Workspace {
    DType dtype;
    Size elements;
  };
  std::vector<Workspace> workspace;
  Node body;
};

// ---- builders of kernel nodes
// --------------------------------------------------------------------

Node make_range(int id, const Size& size);
Node make_param(int index, DType dtype);
Node make_local(int id, DType dtype, std::int64_t elements, Memory memory);
Node reduce_over(ReduceOp op, const Node& value, std::vector<Node> ranges);
Node loop(LoopKind kind, const Node& range, const Node& body);
/// `copying_threads` of the group do nothing but its copies; they come on top of those that loops
/// of kind `threads` count.
Node pipeline(const Node& range, const Node& body, std::int64_t stages,
              std::int64_t copying_threads);
Node block(std::vector<Node> statements);  // flattens nested blocks
Node branch(const Node& condition, const Node& body);
Node load_from(const Node& pointer, const Node& index, const Node& gate = {}, int lanes = 1);
Node store_to(const Node& pointer, const Node& index, const Node& value, const Node& gate = {});
/// Of a lowered kernel: whether the store may write a place several times.
bool is_scatter(const Node& store);
/// A hint that the element will be read soon; the index may lie outside.
Node prefetch(const Node& pointer, const Node& index);
/// Combines, for each element index … index+count-1 (constants) of `registers`, what `width`
/// neighbouring threads of the group's first `threads` hold there; each of them then has the
/// result. `width` is a power of two that divides `threads`. Halves are combined until one is left.
Node group_reduce(ReduceOp op, const Node& registers, std::int64_t index, std::int64_t count,
                  std::int64_t width, std::int64_t threads);
/// Sets `flag`, an int32 of shared memory, to whether the group is the last of `groups` to arrive
/// at the place, one of `places`; the last one sees what the others had written. Every launch
/// brings each place that it comes to as many groups.
Node arrive(const Node& flag, const Node& place, std::int64_t groups, std::int64_t places);
/// 1 / x of float32, where both are normal numbers; one unit in the last place off at most.
Node near_recip(const Node& x);
Node ramp(const Node& start, int lanes);
Node splat(const Node& value, int lanes);
Node lane(const Node& vector, int index);
Node shuffle(const Node& a, const Node& b, std::vector<std::int64_t> lanes);  // b may be empty
Node horizontal(ReduceOp op, const Node& vector);
/// 8-bit integers: what is known of the values of `a` (graph/integer.h's bounds) goes along.
Node dot(const Node& accumulator, const Node& a, const Node& b);

/// Tasks of each phase of the body: the size of its parallel loop, or 1.
std::vector<Size> phase_tasks(const Kernel& kernel);
/// The phases of a kernel's body.
std::span<const Node> phases_of(const Kernel& kernel);
/// Threads of a group of the phase: the size of its largest loop of threads, or 1.
std::int64_t threads_of(const Node& phase);
constexpr std::int64_t largest_group = 1024;
constexpr std::int64_t cluster_groups = 8;  // all devices with clusters have room for so many
/// Groups that run a task of the phase together: 1 where it is no cluster.
std::int64_t groups_of_task(const Node& phase);
/// Those that do nothing but copy, beside them.
std::int64_t copying_threads_of(const Node& phase);
/// Bytes of scratch memory that a thread needs.
std::int64_t scratch_bytes(const Kernel& kernel);
bool is_loop(const Node& statement, LoopKind kind);
bool is_local(const Node& node, Memory memory);
/// Bytes of a local's elements.
std::int64_t local_bytes(const Node& local);
/// Ranges that the expression depends on and that no reduction inside it binds.
std::vector<Node> free_ranges(const Node& expression);

/// The same of many expressions that share parts, each of which is looked at once.
class FreeRanges {
 public:
  const std::vector<Node>& of(const Node& expression);

 private:
  std::unordered_map<Node, std::vector<Node>, NodeHash> known_;
};

}  // namespace brisk
