#include "schedule/fuse.h"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "base/error.h"
#include "graph/idioms.h"
#include "graph/integer.h"
#include "graph/movement.h"
#include "schedule/factors.h"
#include "schedule/launches.h"

namespace brisk {

namespace {

// Costs in vector-sized scalar operations: memory traffic and a launch, in the same unit.
constexpr double cost_per_byte = 3;
constexpr double cost_of_kernel = 50'000;
constexpr double bytes_of_cache = 1 << 20;  // that any processor has
constexpr double products_worth_tiles = 16'384;
constexpr double rows_without_tiles = 8;
constexpr double products_worth_keeping = 1024;  // what they are made of, once for each element
constexpr double dear_after_product = 28;        // operations: many threads have them in less time
constexpr std::size_t most_uses = 64;

// One way in which a kernel reads a node: at which index.
struct Use {
  Node kernel;  // the stored node that the kernel computes
  Index index;
  bool operator==(const Use&) const = default;
};

std::int64_t axes(const Shape& shape) {
  return std::count_if(shape.begin(), shape.end(), [](const Size& size) { return !(size == 1); });
}

bool is_leaf(const Node& node) {
  switch (node.op()) {
    case Op::constant_:
    case Op::buffer_:
    case Op::variable_:
    case Op::iota_: return true;
    default: return false;
  }
}

double operation_cost(const Node& node) {
  if (!is_elementwise(node.op())) return node.is(Op::load_) ? 4 : 0;
  switch (node.op()) {
    case Op::exp2_:
    case Op::log2_:
    case Op::sin_: return 12;
    case Op::sqrt_:
    case Op::recip_:
    case Op::idiv_:
    case Op::mod_: return 4;
    default: return 1;
  }
}

class Fuser {
 public:
  Fuser(std::span<const Node> roots, const Target& target, std::span<const Node> sequence)
      : copies_tiles_(target.copying_threads > 0),
        runs_groups_(target.group_threads > 0),
        wanted_(roots.begin(), roots.end()) {
    std::vector<Node> nodes(sequence.begin(), sequence.end());
    nodes.insert(nodes.end(), roots.begin(), roots.end());
    order_ = topological_order(nodes);
  }

  KernelList run() {
    force_stores();
    find_splits();
    find_products();
    find_chains();
    find_attention();
    if (copies_tiles_) {
      find_chained_products();
      force_operands();
      separate_products();
    }
    if (runs_groups_) force_columns();
    for (auto node = order_.rbegin(); node != order_.rend(); ++node) visit(*node);
    return arrange();
  }

 private:
  // Nodes that must be in memory whatever it costs.
  void force_stores() {
    for (const Node& node : order_) {
      if (node.is(Op::after_)) want_events(node);
      bool below = node.is(Op::reduce_);
      for (const Node& src : node.srcs()) below = below || (heavy_[src] && !wanted_.count(src));
      heavy_[node] = below;
      if (node.is(Op::store_) || node.is(Op::copy_)) wanted_.insert(node);
      if (node.is(Op::load_) && heavy_[node.src(0)]) want_table(node.src(0));
      const bool scatters = node.is(Op::store_) && node.srcs().size() == 3;
      if (node.is(Op::store_) && reads_target(node)) wanted_.insert(node.srcs().back());
      if (scatters && heavy_[node.src(2)]) want_whole(node.src(2));
    }
  }

  // Long sums of products, and what is made of them up to where it is stored: wanted, or too dear
  // to be computed in each of the places that read it. Those of matrices come in tiles.
  void find_products() {
    const auto ends = [&](const Node& node) {
      return wanted_.count(node) + split_.count(node) != 0;
    };
    for (const Node& node : order_) {
      bool product =
          sums_products(node) && elements(node.src(0).shape()) >= 8 * elements(node.shape());
      bool tiles = is_worth_tiles(node);
      for (const Node& src : node.srcs()) {
        product = product || (products_.count(src) != 0 && !ends(src));
        const bool each = !node.is(Op::reduce_) && elements(node.shape()) <= elements(src.shape());
        tiles = tiles || (each && tiles_.count(src) != 0 && !ends(src));
      }
      if (product) products_.insert(node);
      if (tiles) tiles_.insert(node);
    }
  }

  // A large product of matrices of floats, or a convolution; of bytes on matrix units.
  bool is_worth_tiles(const Node& node) const {
    const bool bytes = copies_tiles_ && multiplies_bytes(node);
    return sums_products(node) && (is_float(node.dtype()) || bytes) && keeps_operands(node) &&
           elements(node.src(0).shape()) >=
               std::max(products_worth_tiles, 8 * elements(node.shape()));
  }

  // Matrix units take tiles of operands of 16 bits and fewer from memory, where products of several
  // kernels can share them.
  void force_operands() {
    for (const Node& node : order_) {
      if (!sums_products(node) || !keeps_operands(node)) continue;
      for (const Node& operand : node.src(0).srcs()) {
        const Node& at = unwidened(operand);
        const Node& factor = operand.is(Op::expand_) ? operand.src(0) : operand;
        const bool windows = elements(factor.shape()) > elements(at.shape());
        if (!is_sum_of_products(node) && !windows) continue;
        const bool narrow =
            byte_size(at.dtype()) <= 2 && (is_float(at.dtype()) || multiplies_bytes(node));
        if (narrow && virtual_.count(at) == 0) want_whole(at);
      }
    }
  }

  // Columns that are summed and whose greatest element is found, too (a bias's gradient, and the
  // scale of that gradient in few bits): groups of threads do both in one pass over what they read
  // (group_columns.cpp), if each is a result of the kernel. Sums beside sums stay where they are:
  // mostly one kernel wants both, and makes them on its way.
  void force_columns() {
    std::unordered_map<Node, std::vector<Node>, NodeHash> reductions;  // by what they are made of
    for (const Node& node : order_) {
      if (!reduces_columns(node)) continue;
      const std::vector<Node> sources = elementwise_sources(node.src(0));
      for (const Node& source : sources) {
        if (source.shape() != node.src(0).shape()) continue;
        std::vector<Node>& others = reductions[source];
        for (const Node& other : others) {
          const bool after = std::find(sources.begin(), sources.end(), other) != sources.end();
          if (after || other.ints(0) == node.ints(0) || other.shape() != node.shape()) continue;
          want_whole(other);
          want_whole(node);
        }
        others.push_back(node);
      }
    }
  }

  static bool reduces_columns(const Node& node) {
    constexpr double many = 1 << 20;
    constexpr double rows = 64;
    if (!node.is(Op::reduce_) || node.src(0).shape().back() != node.shape().back()) return false;
    const double all = elements(node.src(0).shape());
    return all >= many && all >= rows * elements(node.shape());
  }

  // What the value is made of element by element, and of what is expanded to its elements.
  static std::vector<Node> elementwise_sources(const Node& value) {
    std::vector<Node> stack = {value};
    NodeSet seen;
    std::vector<Node> sources;
    while (!stack.empty()) {
      const Node node = stack.back();
      stack.pop_back();
      if (!seen.insert(node).second) continue;
      if (is_elementwise(node.op()) || node.is(Op::expand_) || node.is(Op::reshape_)) {
        stack.insert(stack.end(), node.srcs().begin(), node.srcs().end());
      } else {
        sources.push_back(node);
      }
    }
    return sources;
  }

  // They make one product at a time, or two that share an operand: of others that meet, one comes
  // from memory, that which others read too.
  void separate_products() {
    std::unordered_map<Node, Node, NodeHash> products;  // the one that a node is made of
    std::unordered_map<Node, int, NodeHash> users;
    for (const Node& node : order_) {
      for (const Node& src : node.srcs()) ++users[src];
    }
    for (const Node& node : order_) {
      if (is_worth_tiles(node)) products[node] = node;
      if (is_worth_tiles(node) || tiles_.count(node) == 0 || virtual_.count(node) != 0) continue;
      Node made_with;
      for (const Node& src : node.srcs()) {
        const auto found = products.find(src);
        if (found == products.end() || wanted_.count(src) != 0) continue;
        const bool meet = made_with && !(products[made_with] == found->second) &&
                          !shares_operand(products[made_with], found->second);
        const bool other = meet && users[made_with] > users[src];
        if (meet) want_table(unmoved(other ? made_with : src));
        if (!made_with || other) made_with = src;
      }
      if (!made_with) continue;
      if (elementwise_cost(node) > dear_after_product) {
        want_table(unmoved(made_with));
      } else {
        products[node] = products[made_with];
      }
    }
  }

  // Operations of an element, up to what is summed or lies in memory.
  double elementwise_cost(const Node& node) const {
    double cost = 0;
    NodeSet seen;
    std::vector<Node> stack = {node};
    while (!stack.empty() && cost <= dear_after_product) {
      const Node at = stack.back();
      stack.pop_back();
      if (is_leaf(at) || (wanted_.count(at) != 0 && !(at == node)) || !seen.insert(at).second)
        continue;
      if (!is_elementwise(at.op()) && !is_movement(at.op())) continue;
      cost += operation_cost(at);
      stack.insert(stack.end(), at.srcs().begin(), at.srcs().end());
    }
    return cost;
  }

  static const Node& unmoved(const Node& node) {
    const Node* at = &node;
    while (is_movement(at->op())) at = &at->src(0);
    return *at;
  }

  // Before it was moved and converted to a wider dtype.
  static const Node& unwidened(const Node& node) {
    const Node* at = &node;
    while (is_movement(at->op()) || widens(*at)) at = &at->src(0);
    return *at;
  }

  static bool shares_operand(const Node& a, const Node& b) {
    if (!(a.src(0).shape() == b.src(0).shape())) return false;
    const auto origin = [](const Node& factor) {
      const Node* at = &factor;
      while (is_movement(at->op()) || at->is(Op::cast_)) at = &at->src(0);
      return *at;
    };
    for (const Node& mine : a.src(0).srcs()) {
      for (const Node& other : b.src(0).srcs()) {
        if (origin(mine) == origin(other)) return true;
      }
    }
    return false;
  }

  // What is waited for is complete once it is in memory.
  void want_events(const Node& after) {
    for (std::size_t i = 1; i < after.srcs().size(); ++i) {
      want_whole(unmoved(after.src(i)));
    }
  }

  // What is loaded from at computed places: in memory it is as narrow as it was.
  void want_table(const Node& table) {
    const Node* at = &table;
    while (widens(*at) || at->is(Op::after_)) at = &at->src(0);
    want_whole(*at);
  }

  void want_whole(const Node& node) {
    if (!is_leaf(node)) wanted_.insert(node);
  }

  // The stored value depends on the memory that the store overwrites, elsewhere than at the same
  // element: then it must be complete before the first write.
  static bool reads_target(const Node& store) {
    const Node& memory = base_buffer(store);
    const Node& target = store.src(0);
    const Node& value = store.srcs().back();
    if (is_leaf(value)) return false;
    std::vector<Node> stack = {value};
    NodeSet seen;
    while (!stack.empty()) {
      const Node node = stack.back();
      stack.pop_back();
      if (!seen.insert(node).second) continue;
      if (store.srcs().size() == 2 && node == target) continue;  // the same element
      if (node == memory || (node.is(Op::store_) && base_buffer(node) == memory)) return true;
      const bool same = is_elementwise(node.op());
      for (const Node& src : node.srcs()) {
        if (same) {
          stack.push_back(src);
        } else {
          // Past a movement, reduction or gather nothing is the same element any more.
          for (const Node& below : topological_order({&src, 1})) {
            if (below == memory) return true;
          }
        }
      }
    }
    return false;
  }

  void visit(const Node& node) {
    const auto found = uses_.find(node);
    const bool forced = wanted_.count(node) != 0;
    if (!forced && (is_leaf(node) || found == uses_.end())) return;
    if (forced || should_store(node, found->second)) {
      stored_.insert(node);
      open_kernel(node);
      return;
    }
    for (const Use& use : found->second) pass_on(node, use);
  }

  // A kernel of its own: ranges over the node's elements, or over the value that a store writes.
  void open_kernel(const Node& node) {
    const Shape& shape = !node.is(Op::store_)      ? node.shape()
                         : node.srcs().size() == 3 ? node.src(1).shape()
                                                   : node.src(0).shape();
    Index index;
    for (const Size& size : shape) index.push_back(new_range(size));
    space_[node] = index;
    if (!node.is(Op::store_)) return pass_on(node, {node, index});
    use(node.srcs().back(), {node, node.srcs().back().rank() == 0 ? Index{} : index});
    if (node.srcs().size() == 3) use(node.src(1), {node, index});
    use(unmoved(node.src(0)),
        {node, {}});  // keeps the order: an earlier store to this memory comes first
  }

  Node new_range(const Size& size) {
    if (size == Size(1)) return constant_int(0);
    Attr attr;
    attr.ints = {next_range_++};
    return make_node(Op::range_, DType::int64, {size.node()}, std::move(attr));
  }

  void use(const Node& node, Use use) {
    if (node.is(Op::constant_)) return;
    std::vector<Use>& uses = uses_[node];
    if (std::find(uses.begin(), uses.end(), use) == uses.end()) uses.push_back(std::move(use));
  }

  // What a kernel reads of the sources when it evaluates `node` at this index.
  void pass_on(const Node& node, const Use& at) {
    if (is_movement(node.op())) {
      Node gate;
      use(node.src(0), {at.kernel, source_index(node, at.index, gate)});
    } else if (node.is(Op::reduce_)) {
      Index index = at.index;
      for (std::size_t i = 1; i < node.attr().ints.size(); ++i) {
        const auto axis = static_cast<std::size_t>(node.ints(i));
        index[axis] = reduce_range(node, axis, at.index);
      }
      use(node.src(0), {at.kernel, std::move(index)});
    } else if (node.is(Op::load_)) {
      use(node.src(1), at);
      if (node.srcs().size() == 3)
        use(node.src(2), {at.kernel, node.src(2).rank() == 0 ? Index{} : at.index});
      // Where the element lies is not known: an index of its own that moves with every counter
      // here.
      Index index;
      for (const Size& size : node.src(0).shape()) {
        index.push_back(size == Size(1) ? constant_int(0) : gather_position(node, at));
      }
      use(node.src(0), {at.kernel, std::move(index)});
    } else {
      for (const Node& src : node.srcs()) {
        use(src, {at.kernel, src.rank() == 0 ? Index{} : at.index});
      }
    }
  }

  Node reduce_range(const Node& node, std::size_t axis, const Index& around) {
    const Size& size = node.src(0).shape()[axis];
    if (size == Size(1)) return constant_int(0);
    Node& range = reduce_ranges_[node][axis];
    if (!range) range = new_range(size);
    Enclosed& enclosed = enclosed_[range];
    const Node product = product_in(node);
    enclosed.packed = product && keeps_operands(product) &&
                      elements(product.src(0).shape()) >= products_worth_keeping;
    enclosed.whole = product == node;
    Index outside = around;
    if (const auto along = runs_along(node, axis)) outside[*along] = constant_int(0);
    for (const Node& at : topological_order(outside)) {
      if (at.is(Op::range_)) enclosed.by.insert(at);
    }
    return range;
  }

  // Of a running reduction or a ranking over the axis, the axis of the other counter: what it reads
  // is evaluated once per element, not once per pair.
  static std::optional<std::size_t> runs_along(const Node& node, std::size_t axis) {
    const auto running = running_term(node.src(0));
    const auto ranking = running ? std::nullopt : ranking_term(node.src(0));
    if (!running && !ranking) return {};
    const auto along = counter_axis(running ? running->at : ranking->at);
    const auto own = counter_axis(running ? running->other : ranking->other);
    return own == axis ? along : std::nullopt;
  }

  // The axis along which the node counts 0, 1, 2 …, if it does nothing else.
  static std::optional<std::size_t> counter_axis(const Node& node) {
    const Node& counter = node.is(Op::expand_) ? node.src(0) : node;
    if (!counter.is(Op::reshape_) || !counter.src(0).is(Op::iota_)) return {};
    const Size& count = counter.src(0).shape()[0];
    for (std::size_t axis = 0; axis < counter.shape().size(); ++axis) {
      if (counter.shape()[axis] == count) return axis;
    }
    return {};
  }

  // The sum of products that the reduction is, or, where groups of products are scaled and then
  // added up, those of a group.
  static Node product_in(const Node& node) {
    if (!node.is(Op::reduce_) || static_cast<ReduceOp>(node.ints(0)) != ReduceOp::add) return {};
    NodeSet seen;
    std::vector<Node> stack = {node.src(0)};
    while (!stack.empty()) {
      const Node at = stack.back();
      stack.pop_back();
      if (!seen.insert(at).second) continue;
      if (is_sum_of_products(at) && is_integer(at.dtype())) return at;
      if (is_movement(at.op())) {
        stack.push_back(at.src(0));
      } else if (at.is(Op::mul_) || at.is(Op::add_) || at.is(Op::cast_)) {
        stack.insert(stack.end(), at.srcs().begin(), at.srcs().end());
      }
    }
    return sums_products(node) ? node : Node();
  }

  // Along an axis of the product's result, as weights are for every column of the values.
  static bool is_read_again(const Node& operand, const Shape& result) {
    for (std::size_t axis = 0; axis < result.size(); ++axis) {
      if (!(result[axis] == Size(1)) && operand.rank() != 0 && !moves(operand, axis)) return true;
    }
    return false;
  }

  // Products whose strategies evaluate each operand once per element, not once per product. Those
  // of matrices: both operands are read along an axis of the result along which the other one is
  // constant. Those of integers also with a single row.
  static bool keeps_operands(const Node& node) {
    const auto [rows, columns] = own_elements(node);
    return is_integer(node.dtype()) ? rows > 0 || columns > 0 : rows > 0 && columns > 0;
  }

  // Of the result, the elements along the axes on which the left operand alone moves, and along
  // those of the right one alone: 0 where there is no such axis.
  static std::pair<double, double> own_elements(const Node& node) {
    const Node& left = node.src(0).src(0);
    const Node& right = node.src(0).src(1);
    if (left.rank() == 0 || right.rank() == 0) return {0, 0};
    double rows = 0;
    double columns = 0;
    for (std::size_t axis = 0; axis < node.shape().size(); ++axis) {
      const Size& size = node.shape()[axis];
      if (size == Size(1) || moves(left, axis) == moves(right, axis)) continue;
      double& own = moves(left, axis) ? rows : columns;
      own = std::max(own, 1.0) * static_cast<double>(size.upper());
    }
    return {rows, columns};
  }

  // A product of matrices of bytes; sums of a few under scales are parts of others.
  static bool multiplies_bytes(const Node& node) {
    constexpr double least_depth = 128;
    if (!is_sum_of_products(node) || !is_integer(node.dtype())) return false;
    const auto [rows, columns] = own_elements(node);
    const auto is_byte = [](const Node& factor) {
      return unwidened(factor).dtype() == DType::int8;
    };
    return rows > 0 && columns > 0 && is_byte(node.src(0).src(0)) && is_byte(node.src(0).src(1)) &&
           elements(node.src(0).shape()) >= least_depth * elements(node.shape());
  }

  Node gather_position(const Node& node, const Use& at) {
    Node sum = constant_int(0);
    for (const Node& i : at.index) sum = add(sum, i);
    (void)node;
    return sum;
  }

  // How many different indices there are: over the ranges they depend on, or, where an axis is a
  // mere digit of one range (i / 32, i % 16), over the digit's values; nobody keeps what was
  // reduced for as long as the digit stays, though. An index that moves with a summed range is met
  // again for every point around that sum, unless the value is an operand that a matrix product
  // packs (products themselves never are).
  double evaluations(const Node& value, const Use& use) const {
    NodeSet digits;
    NodeSet ranges;
    std::unordered_map<Node, double, NodeHash> inside;  // of a concatenation's range, this piece
    const bool product = products_.count(value) != 0;
    const bool reduced = heavy_.at(value);
    std::vector<Node> open;
    for (const Node& node : topological_order(use.index)) {
      if (node.is(Op::range_)) open.push_back(node);
    }
    while (!open.empty()) {
      const Node range = open.back();
      open.pop_back();
      const auto found = enclosed_.find(range);
      if (found == enclosed_.end()) continue;
      if (found->second.packed && !product) continue;
      for (const Node& around : found->second.by) {
        if (ranges.insert(around).second) open.push_back(around);
      }
    }
    for (std::size_t axis = 0; axis < use.index.size(); ++axis) {
      const Node& at = use.index[axis];
      const bool shifted = at.is(Op::add_) && at.src(0).is(Op::range_) && at.src(1).is_constant();
      const Node range = shifted ? at.src(0) : at;
      if (!runs_groups_ && tiles_.count(value) != 0 && range.is(Op::range_))
        inside[range] = static_cast<double>(value.shape()[axis].upper());
      const Node* inner = &at;
      while (inner->is(Op::idiv_) || inner->is(Op::mod_)) inner = &inner->src(0);
      if (inner->is(Op::range_) && !reduced) {
        digits.insert(at);
        continue;
      }
      for (const Node& node : topological_order({&at, 1})) {
        if (node.is(Op::range_)) ranges.insert(node);
      }
    }
    double count = 1;
    for (const Node& range : ranges) {
      const auto size = static_cast<double>(Size(range.src(0)).upper());
      const auto piece = inside.find(range);
      count *= piece == inside.end() ? size : std::min(size, piece->second);
    }
    for (const Node& digit : digits) {
      const Node* inner = &digit;
      while (!inner->is(Op::range_)) inner = &inner->src(0);
      if (ranges.count(*inner) == 0) count *= static_cast<double>(bounds(digit).greatest + 1);
    }
    return count;
  }

  bool should_store(const Node& node, const std::vector<Use>& uses) {
    if (computed_.count(node) != 0) return false;
    if (is_movement(node.op()) || node.rank() == 0) return uses.size() > most_uses;
    if (virtual_.count(node) != 0) return false;
    if (uses.size() > most_uses) return true;
    const bool result = copies_tiles_ && tiles_.count(node) + chain_ends_.count(node) != 0;
    if (widens(node)) return false;
    if (result && is_read_apart(uses)) return true;
    if (is_of_more(node)) return false;
    if (keeps_from_tiles(node, uses)) return true;
    const double own = std::max(1.0, elements(node.shape()));
    double total = 0;
    for (const Use& use : uses) total += std::max(1.0, evaluations(node, use));
    if (total <= own * 1.01 || is_read_in_pairs(node, uses)) return false;
    if (chained_.at(node) >= 2) return true;
    const Cone cone = cone_of(node);
    double again = (total - own) * cone.operations;
    if (cone.bytes > bytes_of_cache) {
      // What several kernels compute, each reads from memory.
      NodeSet kernels;
      for (const Use& use : uses) kernels.insert(use.kernel);
      again += (static_cast<double>(kernels.size()) - 1) * cone.bytes * cost_per_byte;
    }
    const double bytes = own * byte_size(node.dtype()) * 2 + total * byte_size(node.dtype());
    return again > bytes * cost_per_byte + cost_of_kernel;
  }

  // A product of a single row, two elements of which make two of one kernel (a vector that is
  // turned pair by pair): groups of threads make both together (optimize/optimize.cpp), which saves
  // a launch.
  bool is_read_in_pairs(const Node& node, const std::vector<Use>& uses) {
    if (!runs_groups_ || uses.size() != 2 || !(uses[0].kernel == uses[1].kernel)) return false;
    if (products_.count(node) == 0 || tiles_.count(node) != 0) return false;
    for (const Node& counter : space_.at(uses[0].kernel)) {
      if (!counter.is(Op::range_)) continue;
      const Size size(counter.src(0));
      if (!size.is_constant() || size.value() % 2 != 0 || size == Size(2)) continue;
      const std::int64_t half = size.value() / 2;
      const Node pair = new_range(Size(half));
      for (const bool neighbours : {true, false}) {
        const auto at = [&](const Use& use, std::int64_t member) {
          const Node mine = neighbours ? add(mul(pair, constant_int(2)), constant_int(member))
                                       : add(pair, constant_int(member * half));
          Substitution memo = {{counter, mine}};
          Index index;
          for (const Node& i : use.index) index.push_back(substitute(i, memo));
          return index;
        };
        const Index first = at(uses[0], 0);
        const Index second = at(uses[0], 1);
        if (first != second && first == at(uses[1], 1) && second == at(uses[1], 0)) return true;
      }
    }
    return false;
  }

  // At several places of one kernel.
  static bool is_read_apart(const std::vector<Use>& uses) {
    for (std::size_t i = 0; i < uses.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (uses[i].kernel == uses[j].kernel) return true;
      }
    }
    return false;
  }

  // Products of matrices come in tiles only where nothing else is reduced in their kernel: neither
  // their results, nor what makes their operands. A long reduction in an operand would run for
  // every product.
  bool keeps_from_tiles(const Node& node, const std::vector<Use>& uses) const {
    const bool result = tiles_.count(node) != 0;
    const bool reduces = node.is(Op::reduce_);
    const double reduced = reduces ? elements(node.src(0).shape()) : 0;
    const bool is_large = reduced >= products_worth_tiles;
    const bool is_long =
        reduces && is_float(node.dtype()) && reduced >= 64 * elements(node.shape());
    if (!result && !is_large && !is_long) return false;
    const auto meets = [&](const Node& at) {
      const auto sum = enclosed_.find(at);
      if (sum == enclosed_.end()) return false;
      return result || (sum->second.packed && (is_long || (is_large && sum->second.whole)));
    };
    return std::any_of(uses.begin(), uses.end(), [&](const Use& use) {
      const std::vector<Node> inside = topological_order(use.index);
      return std::any_of(inside.begin(), inside.end(), meets);
    });
  }

  // What is stored, then, is the narrower source.
  static bool widens(const Node& node) {
    return node.is(Op::cast_) && byte_size(node.src(0).dtype()) < byte_size(node.dtype());
  }

  // A cheap function of what movement has made more of (the windows of an image, its padding): if
  // anything is stored, then what there was before.
  bool is_of_more(const Node& node) const {
    if (!is_elementwise(node.op()) || operation_cost(node) > 1) return false;
    const Node* below = nullptr;
    for (const Node& src : node.srcs()) {
      if (computed_.count(src) != 0) continue;
      if (below != nullptr) return false;
      below = &src;
    }
    if (below == nullptr) return false;
    below = &unmoved(*below);
    return !is_leaf(*below) && elements(below->shape()) < elements(node.shape());
  }

  // Two things that the price of one evaluation does not see: sums of products within sums of
  // products multiply with every level, and what is made of constants and counters alone (a shift
  // by the position in a block) is cheaper to compute than to load.
  void find_chains() {
    for (const Node& node : order_) {
      int chained = 0;
      bool computed = !node.is(Op::buffer_) && !node.is(Op::load_) && !node.is(Op::reduce_) &&
                      operation_cost(node) <= 4;
      for (const Node& src : node.srcs()) {
        if (wanted_.count(src) == 0 && split_.count(src) == 0)
          chained = std::max(chained, chained_[src]);
        computed = computed && computed_.count(src) != 0 && wanted_.count(src) == 0;
      }
      const bool sums = is_sum_of_products(node) && !(node.src(0).src(0) == node.src(0).src(1));
      chained_[node] = chained + (sums ? 1 : 0);
      if (computed) computed_.insert(node);
    }
  }

  // To compute the node from memory, everything in between virtual: operations per element, and
  // bytes that are read for all of them. Of memory counts what is read: of a table behind a gather
  // or a window no more than the reader's elements.
  struct Cone {
    double operations = 0;
    double bytes = 0;
  };
  Cone cone_of(const Node& node) const {
    Cone cone;
    NodeSet seen = {node};
    std::vector<Node> stack = {node};
    while (!stack.empty() && seen.size() < 400) {
      const Node at = stack.back();
      stack.pop_back();
      if (is_leaf(at)) continue;
      const double read = elements(at.is(Op::reduce_) ? at.src(0).shape() : at.shape());
      cone.operations += at.is(Op::reduce_) ? read : read * operation_cost(at);
      for (const Node& src : at.srcs()) {
        if (src.is(Op::constant_) || !seen.insert(src).second) continue;
        if (is_leaf(src) || wanted_.count(src) != 0 || split_.count(src) != 0) {
          const double loaded = std::min(read, elements(src.shape()));
          cone.operations += loaded;
          cone.bytes += loaded * byte_size(src.dtype());
        } else {
          stack.push_back(src);
        }
      }
    }
    cone.operations /= std::max(1.0, elements(node.shape()));
    return cone;
  }

  // Where each node's value ends up: the reductions and stored nodes that it reaches through
  // elementwise and movement operations. A node whose users end up in different places will be read
  // in different loops, like the argument of a softmax, and so be stored if it is dear.
  void find_splits() {
    std::unordered_map<Node, std::vector<std::vector<std::uint64_t>>, NodeHash> reached;
    for (auto at = order_.rbegin(); at != order_.rend(); ++at) {
      const Node& node = *at;
      std::vector<std::vector<std::uint64_t>>& users = reached[node];
      std::vector<std::uint64_t> ends;
      for (const auto& user : users) {
        ends.insert(ends.end(), user.begin(), user.end());
        if (user == users[0] || !heavy_[node]) continue;
        split_.insert(unmoved(node));
      }
      std::sort(ends.begin(), ends.end());
      ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
      if (ends.size() > 8) ends.resize(8);
      if (node.is(Op::reduce_) || node.is(Op::load_) || wanted_.count(node) != 0)
        ends = {node.id()};
      for (const Node& src : node.srcs()) reached[src].push_back(ends);
    }
  }

  // The one special rule: where a softmax of a contraction is contracted again, everything between
  // the two contractions stays virtual, however often it is read; the attention strategy computes
  // each score once.
  void find_attention() {
    for (const Node& node : order_) {
      if (!is_sum_of_products(node)) continue;
      for (const Node& operand : node.src(0).srcs()) {
        if (!is_read_again(operand, node.shape())) continue;
        const std::vector<Node> inside = softmax_of_contraction(operand, node.ints(1));
        virtual_.insert(inside.begin(), inside.end());
      }
    }
    want_totals();
  }

  // What else is made of an attention's maxima and totals alone is stored: its kernel has them.
  void want_totals() {
    NodeSet of_rows;
    for (const Node& node : order_) {
      const auto is_row = [&](const Node& src) {
        if (is_leaf(src) || of_rows.count(src) != 0) return !is_leaf(src);
        const Node& at = unmoved(src);
        return virtual_.count(at) != 0 && at.is(Op::reduce_) && !is_sum_of_products(at);
      };
      const auto is_given = [&](const Node& src) {
        const Node& at = unmoved(src);
        return is_leaf(at) || (is_row(src) && elements(node.shape()) <= elements(at.shape()));
      };
      const bool made = is_elementwise(node.op()) || is_movement(node.op());
      if (made && virtual_.count(node) == 0 &&
          std::all_of(node.srcs().begin(), node.srcs().end(), is_given) &&
          std::any_of(node.srcs().begin(), node.srcs().end(), is_row)) {
        of_rows.insert(node);
        continue;
      }
      for (const Node& src : node.srcs()) {
        if (of_rows.count(src) != 0) want_whole(unmoved(src));
      }
    }
  }

  // Where matrix units take the result of one product, through elementwise operations, as an
  // operand of the next, everything between the two stays virtual, though several kernels make it
  // again: the gradients of attention, whose scores would be larger than all that is stored. What
  // it takes by row or by column is in memory.
  void find_chained_products() {
    const NodeSet of_attention = virtual_;
    for (const Node& node : order_) {
      if (!multiplies_halves(node) || !is_of_heads(node)) continue;
      for (const Node& operand : node.src(0).srcs()) {
        const auto chain = chain_of_products(operand);
        const auto is_taken = [&](const Node& sum) { return of_attention.count(sum) != 0; };
        if (!chain || std::any_of(chain->products.begin(), chain->products.end(), is_taken))
          continue;
        virtual_.insert(chain->inside.begin(), chain->inside.end());
        wanted_.insert(chain->edge.begin(), chain->edge.end());
        for (const Node& row : chain->edge) keep_softmax_virtual(row, chain->products);
        chain_ends_.insert(node);
      }
    }
    // Who reads them elsewhere than where they are made reads them from memory.
    for (const Node& node : order_) {
      if (is_elementwise(node.op()) && chain_ends_.count(node.src(0)) != 0 &&
          elements(node.shape()) == elements(node.src(0).shape()))
        chain_ends_.insert(node);
    }
  }

  struct Chain {
    std::vector<Node> inside;
    std::vector<Node> products;  // one or two of them
    std::vector<Node> edge;      // reductions along its rows or columns, to be stored
  };
  std::optional<Chain> chain_of_products(const Node& operand) const {
    constexpr double least_length = 16;
    const Node* weight = &operand;
    while (is_movement(weight->op()) || weight->is(Op::cast_)) weight = &weight->src(0);
    Chain chain;
    NodeSet seen;
    std::vector<Node> stack = {operand};
    while (!stack.empty()) {
      const Node at = stack.back();
      stack.pop_back();
      if (is_leaf(at) || !seen.insert(at).second || wanted_.count(at) != 0) continue;
      if (elements(at.shape()) * least_length <= elements(weight->shape())) {
        if (heavy_.at(at)) chain.edge.push_back(at);
        continue;
      }
      if (multiplies_halves(at) && is_of_heads(at)) {
        chain.products.push_back(at);
        chain.inside.push_back(at.src(0));  // the products; their operands may be stored
      } else if (is_movement(at.op()) || is_elementwise(at.op())) {
        stack.insert(stack.end(), at.srcs().begin(), at.srcs().end());
      } else {
        return {};
      }
      chain.inside.push_back(at);
    }
    if (chain.products.empty() || chain.products.size() > 2) return {};
    return chain;
  }

  // A product of matrices of 16 bits that could be one of a chain.
  static bool multiplies_halves(const Node& node) {
    if (!is_sum_of_products(node) || !keeps_operands(node)) return false;
    const auto is_half = [](const Node& factor) {
      const Node& at = unmoved(factor);
      return widens(at) && is_float(at.src(0).dtype()) && byte_size(at.src(0).dtype()) == 2;
    };
    return is_half(node.src(0).src(0)) && is_half(node.src(0).src(1));
  }

  // One matrix of results for each of several heads, narrow in what is summed or in its columns.
  static bool is_of_heads(const Node& node) {
    constexpr double widest = 256;
    const Shape& shape = node.shape();
    bool batched = false;
    double columns = 1;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      if (shape[axis] == Size(1)) continue;
      const bool left = moves(node.src(0).src(0), axis);
      const bool right = moves(node.src(0).src(1), axis);
      batched = batched || (left && right);
      columns = static_cast<double>(shape[axis].upper());
    }
    return batched && std::min(columns, elements(node.src(0).shape()) / elements(shape)) <= widest;
  }

  // Of a value by row that is made of the greatest score and the sum of exponentials.
  void keep_softmax_virtual(const Node& row, const std::vector<Node>& products) {
    NodeSet inside;
    std::vector<Node> stack = {row};
    bool of_products = false;
    while (!stack.empty()) {
      const Node at = stack.back();
      stack.pop_back();
      if (std::find(products.begin(), products.end(), at) != products.end()) {
        of_products = true;
        continue;
      }
      if (is_leaf(at) || (wanted_.count(at) != 0 && !(at == row)) || !inside.insert(at).second)
        continue;
      stack.insert(stack.end(), at.srcs().begin(), at.srcs().end());
    }
    if (!of_products) return;
    inside.erase(row);
    virtual_.insert(inside.begin(), inside.end());
  }

  static bool is_sum_of_products(const Node& node) {
    return sums_products(node) && node.attr().ints.size() == 2;
  }

  // The same over any number of axes, as convolutions have.
  static bool sums_products(const Node& node) {
    return node.is(Op::reduce_) && static_cast<ReduceOp>(node.ints(0)) == ReduceOp::add &&
           node.src(0).is(Op::mul_);
  }

  // The nodes from `weights` down to the first contraction, if that is what it is: the softmax's
  // sum and maximum run along the axis `over` of the weights.
  std::vector<Node> softmax_of_contraction(const Node& weights, std::int64_t over) const {
    Index index(weights.shape().size(), constant_int(0));
    const auto axis = static_cast<std::size_t>(over);
    if (axis >= index.size()) return {};  // one weight for all
    const Node counter = variable("counter", 0, weights.shape()[axis].upper());
    index[axis] = counter;
    std::vector<Node> inside;
    std::vector<Node> sums;
    NodeSet seen;
    std::vector<std::pair<Node, Index>> stack = {{weights, index}};
    int maxima = 0;
    int exponentials = 0;
    int contractions = 0;
    while (!stack.empty()) {
      const auto [at, element] = stack.back();
      stack.pop_back();
      if (is_leaf(at) || !seen.insert(at).second) continue;
      if (wanted_.count(at) != 0) {
        if (heavy_.at(at)) return {};
        continue;
      }
      inside.push_back(at);
      if (inside.size() > 200) return {};
      exponentials += at.is(Op::exp2_);
      if (is_sum_of_products(at)) {
        ++contractions;
        inside.push_back(at.src(0));  // the products; their operands may be stored
        continue;
      }
      Index below = element;
      if (at.is(Op::reduce_)) {
        if (at.attr().ints.size() != 2) return {};
        for (const Node& node : topological_order(element)) {
          if (node == counter) return {};
        }
        const auto op = static_cast<ReduceOp>(at.ints(0));
        maxima += op == ReduceOp::max;
        if (op == ReduceOp::add) sums.push_back(at);
      } else if (is_movement(at.op())) {
        Node gate;
        below = source_index(at, element, gate);
      } else if (!is_elementwise(at.op())) {
        return {};
      }
      for (const Node& src : at.srcs()) stack.emplace_back(src, src.rank() == 0 ? Index{} : below);
    }
    const bool found = maxima == 1 && exponentials >= 1 && contractions == 1 && sums.size() == 1;
    if (!found || weights.dtype() != DType::float32) return {};
    return inside;
  }

  // ---- order
  // -------------------------------------------------------------------------------------

  // What a kernel reads: stored nodes and buffers at the edge of its cone.
  std::vector<Node> inputs_of(const Node& output) const {
    std::vector<Node> inputs;
    NodeSet seen;
    std::vector<Node> stack(output.srcs().begin(), output.srcs().end());
    while (!stack.empty()) {
      const Node node = stack.back();
      stack.pop_back();
      if (!seen.insert(node).second) continue;
      if (node.is(Op::buffer_) || (!is_leaf(node) && stored_.count(node) != 0)) {
        inputs.push_back(node);
        continue;
      }
      for (const Node& src : node.srcs()) stack.push_back(src);
    }
    std::sort(inputs.begin(), inputs.end(),
              [](const Node& a, const Node& b) { return a.id() < b.id(); });
    return inputs;
  }

  KernelList arrange() {
    // Kernels in topological order, then held back by in-place stores: whoever reads the version
    // that a store overwrites comes before it.
    std::vector<Node> outputs;
    for (const Node& node : order_) {
      if (stored_.count(node) != 0) outputs.push_back(node);
    }
    std::unordered_map<Node, std::size_t, NodeHash> position;
    for (std::size_t i = 0; i < outputs.size(); ++i) position[outputs[i]] = i;
    std::vector<std::vector<Node>> inputs(outputs.size());
    std::vector<std::vector<std::size_t>> before(outputs.size());
    std::unordered_map<Node, std::vector<std::size_t>, NodeHash> readers;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      inputs[i] = inputs_of(outputs[i]);
      for (const Node& input : inputs[i]) {
        readers[input].push_back(i);
        if (const auto at = position.find(input); at != position.end())
          before[i].push_back(at->second);
      }
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (!outputs[i].is(Op::store_)) continue;
      const Node& version = unmoved(outputs[i].src(0));
      for (const std::size_t reader : readers[version]) {
        if (reader == i) continue;
        if (!reaches(before, reader, i)) {
          before[i].push_back(reader);
        } else if (std::find(overwritten_.begin(), overwritten_.end(), version) ==
                   overwritten_.end()) {
          overwritten_.push_back(version);
        }
      }
    }
    absorb(outputs, inputs, before);
    return list(outputs, inputs, before);
  }

  // A value that a kernel computes on its way, once for each of its rows, and that others read too:
  // it becomes an output of that kernel. It leaves the list by having no output of its own. Last
  // ones first: then what they are made of is on the way too.
  void absorb(std::vector<Node>& outputs, std::vector<std::vector<Node>>& inputs,
              std::vector<std::vector<std::size_t>>& before) {
    for (std::size_t a = outputs.size(); a-- > 0;) {
      const Node& value = outputs[a];
      if (!heavy_.at(value) || value.is(Op::store_) || value.is(Op::copy_)) continue;
      for (std::size_t b = a + 1; b < outputs.size(); ++b) {
        if (!outputs[b] || !computes_on_its_way(outputs[b], value)) continue;
        std::vector<std::vector<std::size_t>> others = before;
        std::erase(others[b], a);
        if (reaches(others, b, a)) continue;
        for (const std::size_t first : before[a]) others[b].push_back(first);
        for (auto& list : others) std::replace(list.begin(), list.end(), a, b);
        others[a].clear();
        before = std::move(others);
        std::erase(inputs[b], outputs[a]);
        for (const Node& input : inputs[a]) {
          if (std::find(inputs[b].begin(), inputs[b].end(), input) == inputs[b].end())
            inputs[b].push_back(input);
        }
        more_outputs_[outputs[b]].push_back(outputs[a]);
        for (const Node& further : more_outputs_[outputs[a]])
          more_outputs_[outputs[b]].push_back(further);
        outputs[a] = {};
        break;
      }
    }
  }

  // The kernel of `output` reads `value` at its own counters, and the further axes of its space, if
  // there are any, are within one element of the value.
  bool computes_on_its_way(const Node& output, const Node& value) const {
    const auto space = space_.find(output);
    const auto uses = uses_.find(value);
    if (output.is(Op::store_) || output.rank() != value.rank() || space == space_.end() ||
        uses == uses_.end()) {
      return false;
    }
    const Use* only = nullptr;
    for (const Use& use : uses->second) {
      if (!(use.kernel == output)) continue;
      if (only != nullptr) return false;
      only = &use;
    }
    if (only == nullptr || has_tiles(output)) return false;
    if (elements(value.shape()) == 1 && axes(output.shape()) > 1) return false;  // of no row
    bool within = false;
    for (std::size_t axis = 0; axis < space->second.size(); ++axis) {
      if (!within && only->index[axis] == space->second[axis] &&
          value.shape()[axis] == output.shape()[axis]) {
        continue;
      }
      within = true;
      if (!(value.shape()[axis] == Size(1))) return false;
    }
    return within || (has_product(value) && !has_tiles(value));
  }

  // Strategies for products in tiles have one output. Those for a few rows, where no matrix units
  // take these too, have any number of outputs of the same elements.
  bool has_tiles(const Node& output) const {
    return any_in_kernel(output, [&](const Node& node) {
      if (!is_sum_of_products(node) || !is_worth_tiles(node)) return false;
      const auto [rows, columns] = own_elements(node);
      return copies_tiles_ || std::min(rows, columns) > rows_without_tiles;
    });
  }
  bool has_product(const Node& output) const {
    return any_in_kernel(output, [&](const Node& node) {
      return is_sum_of_products(node) && elements(node.src(0).shape()) >= products_worth_keeping;
    });
  }

  template <typename Test>
  bool any_in_kernel(const Node& output, const Test& test) const {
    NodeSet seen;
    std::vector<Node> stack = {output};
    while (!stack.empty()) {
      const Node node = stack.back();
      stack.pop_back();
      if (!seen.insert(node).second || is_leaf(node)) continue;
      if (!(node == output) && stored_.count(node) != 0) continue;
      if (test(node)) return true;
      stack.insert(stack.end(), node.srcs().begin(), node.srcs().end());
    }
    return false;
  }

  // True where `from` can only run after `to`.
  static bool reaches(const std::vector<std::vector<std::size_t>>& before, std::size_t from,
                      std::size_t to) {
    std::vector<std::size_t> stack = {from};
    std::vector<bool> seen(before.size());
    while (!stack.empty()) {
      const std::size_t at = stack.back();
      stack.pop_back();
      if (at == to) return true;
      if (seen[at]) continue;
      seen[at] = true;
      stack.insert(stack.end(), before[at].begin(), before[at].end());
    }
    return false;
  }

  KernelList list(const std::vector<Node>& outputs, const std::vector<std::vector<Node>>& inputs,
                  const std::vector<std::vector<std::size_t>>& before) {
    std::vector<PlannedKernel> planned;
    for (std::size_t i = 0; i < outputs.size(); ++i)
      planned.push_back({outputs[i], inputs[i], before[i], large_products(outputs[i])});
    KernelList result;
    for (const std::vector<std::size_t>& launch : launches(std::move(planned))) {
      ScheduledKernel& kernel = result.kernels.emplace_back();
      for (const std::size_t i : launch) {
        kernel.outputs.push_back(outputs[i]);
        for (const Node& more : more_outputs_[outputs[i]]) kernel.outputs.push_back(more);
        for (const Node& input : inputs[i]) {
          if (std::find(kernel.inputs.begin(), kernel.inputs.end(), input) == kernel.inputs.end())
            kernel.inputs.push_back(input);
        }
      }
    }
    result.stored = std::move(stored_);
    result.overwritten = std::move(overwritten_);
    return result;
  }

  // Those that the output's kernel computes.
  NodeSet large_products(const Node& output) const {
    NodeSet found;
    if (!output) return found;
    any_in_kernel(output, [&](const Node& node) {
      if (sums_products(node) && is_worth_tiles(node)) found.insert(node);
      return false;
    });
    return found;
  }

  const bool copies_tiles_;
  const bool runs_groups_;
  std::vector<Node> order_;
  std::unordered_map<Node, Index, NodeHash> space_;  // the counters of a stored node's kernel
  std::unordered_map<Node, std::vector<Node>, NodeHash> more_outputs_;
  NodeSet wanted_;
  NodeSet stored_;
  NodeSet split_;
  NodeSet computed_;  // of constants and counters, by cheap operations only
  std::unordered_map<Node, int, NodeHash> chained_;  // virtual sums of products on a path to memory
  std::vector<Node> overwritten_;
  NodeSet virtual_;     // never stored: inside an attention
  NodeSet chain_ends_;  // results of chained products, and elementwise functions of them
  // The loops in which a summed range runs.
  struct Enclosed {
    NodeSet by;
    bool packed = false;  // of a matrix product
    bool whole = false;   // which has no groups
  };
  std::unordered_map<Node, Enclosed, NodeHash> enclosed_;
  NodeSet products_;                                // have a sum of products at or below them
  NodeSet tiles_;                                   // have one of matrices, and no other reduction
  std::unordered_map<Node, bool, NodeHash> heavy_;  // has a reduction at or below it
  std::unordered_map<Node, std::vector<Use>, NodeHash> uses_;
  std::unordered_map<Node, std::unordered_map<std::size_t, Node>, NodeHash> reduce_ranges_;
  std::int64_t next_range_ = 0;
};

}  // namespace

const Node& memory_of(const Node& node) { return node.is(Op::store_) ? base_buffer(node) : node; }

double elements(const Shape& shape) {
  double count = 1;
  for (const Size& size : shape) count *= static_cast<double>(size.upper());
  return count;
}

KernelList fuse(std::span<const Node> roots, const Target& target, std::span<const Node> sequence) {
  return Fuser(roots, target, sequence).run();
}

}  // namespace brisk
