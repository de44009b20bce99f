#include "engine/work.h"

#include <algorithm>
#include <unordered_set>

#include "optimize/analysis.h"

namespace brisk {

namespace {

constexpr double largest = 1e18;  // beyond which counts stop to be exact

Size product(const std::vector<Node>& ranges) {
  Size count = 1;
  double most = 1;
  for (const Node& range : ranges) {
    const Size size(range.src(0));
    most *= static_cast<double>(size.upper());
    if (most > largest) return static_cast<std::int64_t>(largest);
    count = count * size;
  }
  return count;
}

class Counter {
 public:
  explicit Counter(const LoweredKernel& kernel) { work_.elements.resize(kernel.params.size()); }

  void count(const Part& part) {
    const std::vector<Node>& stores = part.stages[0].stores;
    const std::vector<Node> nodes = topological_order(stores);
    std::unordered_set<Node, NodeHash> carried;  // selections of running reductions: never computed
    std::unordered_set<Node, NodeHash> summed;
    for (const Node& node : nodes) {
      if (!node.is(Op::reduce_)) continue;
      summed.insert(node.src(0));
      if (running_range(node)) carried.insert(node.src(0));
    }
    FreeRanges free;
    for (const Node& node : nodes) {
      if (node.is(Op::load_)) {
        add_elements(node.src(0), product(free.of(node.src(1))));
      } else if (node.is(Op::reduce_)) {
        const Node& term = node.src(0);
        add_operations(free.of(carried.count(term) != 0 ? term.src(2) : term));
      } else if (info(node.op()).group == OpGroup::arithmetic && carried.count(node) == 0 &&
                 (is_float(node.dtype()) || (node.is(Op::mul_) && summed.count(node) != 0))) {
        add_operations(free.of(node));
      }
    }
    for (const Node& store : stores) add_elements(store.src(0), product(part.outer));
  }

  Work take() { return std::move(work_); }

 private:
  void add_operations(const std::vector<Node>& ranges) { add(work_.operations, product(ranges)); }

  void add_elements(const Node& pointer, const Size& count) {
    if (pointer.is(Op::param_))
      add(work_.elements[static_cast<std::size_t>(pointer.ints(0))], count);
  }

  static void add(Size& sum, const Size& more) {
    const double most = static_cast<double>(sum.upper()) + static_cast<double>(more.upper());
    sum = most > largest ? Size(static_cast<std::int64_t>(largest)) : sum + more;
  }

  Work work_;
};

}  // namespace

Work count_work(const LoweredKernel& kernel) {
  Counter counter(kernel);
  int next_range = 1 << 20;  // beyond those of the kernel
  for (Part part : kernel.parts) {
    split_ranges(part, next_range);
    counter.count(part);
  }
  return counter.take();
}

}  // namespace brisk
