// The list is simulated, kernel by kernel, with memory for so many bytes. Where that is full, a
// value that is still to be read leaves it: the one that costs least for its bytes and the time
// until it is read, counting all that would have to be computed again with it (Kirisame et al.,
// Dynamic Tensor Rematerialization, 2021; here the future is known). Where it is read, it is
// computed from what is there by then. What ran is written down as a graph, in which values that
// are computed again read their sources through `after`.
#include "schedule/rematerialize.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <unordered_map>

#include "graph/rewrite.h"

namespace brisk {

namespace {

using Numbers = std::vector<std::size_t>;
constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

struct Value {
  Node node;
  std::size_t step = 0;        // of the kernel that computes it
  std::vector<Node> cone;      // what its kernel computes, sources first
  std::vector<Node> sources;   // memory that it reads
  Numbers inputs;              // values in that memory
  Numbers readers;             // values that are computed from it
  Numbers uses;                // their steps, ascending
  std::int64_t bytes = 0;      // 0: in memory that is not the schedule's
  std::int64_t workspace = 0;  // of its kernel
  double cost = 0;             // of computing it, in bytes that could be moved in that time
  bool stays = false;          // cannot be computed again
  std::size_t until = never;   // the step that overwrites what it reads
};

std::int64_t bytes_of(const Node& node) {
  return static_cast<std::int64_t>(elements(node.shape())) * byte_size(node.dtype());
}

void sort_by_id(std::vector<Node>& nodes) {  // sources come before what is made of them
  std::sort(nodes.begin(), nodes.end(),
            [](const Node& a, const Node& b) { return a.id() < b.id(); });
}

// Values of a list in the order in which they are computed. What stores of the graph do to one
// memory is counted with the first of them.
class Values {
 public:
  Values(std::span<const Node> roots, const KernelList& list, const Target& target)
      : list_(list), has_matrix_units_(target.copying_threads > 0) {
    for (std::size_t step = 0; step < list.kernels.size(); ++step) {
      std::vector<Node> outputs = list.kernels[step].outputs;
      sort_by_id(outputs);
      for (const Node& output : outputs) add(output, step);
    }
    const NodeSet own(roots.begin(), roots.end());  // have memory of their own
    std::unordered_map<Node, std::size_t, NodeHash> overwritten;
    for (Value& value : all_) {
      if (own.count(value.node) != 0) {
        value.bytes = 0;
        value.stays = true;
      }
      if (!value.node.is(Op::store_)) continue;
      const Node* version = &value.node.src(0);
      while (is_movement(version->op())) version = &version->src(0);
      overwritten[*version] = value.step;
    }
    for (Value& value : all_) {
      for (const Node& source : value.sources) {
        if (const auto at = overwritten.find(source); at != overwritten.end())
          value.until = std::min(value.until, at->second);
      }
    }
  }

  const std::vector<Value>& all() const { return all_; }

 private:
  void add(const Node& node, std::size_t step) {
    Value value{.node = node, .step = step, .workspace = list_.kernels[step].workspace};
    find_cone(value);
    const std::size_t number = all_.size();
    const Node& memory = memory_of(node);
    const bool first = holders_.emplace(memory, number).second;
    if (first && !memory.attr().storage) value.bytes = bytes_of(memory);
    value.stays = node.is(Op::store_) || node.is(Op::copy_) || value.sources.empty();
    value.cost = cost_of(value);
    for (const Node& source : value.sources) {
      const auto found = holders_.find(memory_of(source));
      if (found == holders_.end() || found->second == number) continue;
      const std::size_t input = found->second;
      if (std::find(value.inputs.begin(), value.inputs.end(), input) != value.inputs.end())
        continue;
      value.inputs.push_back(input);
      all_[input].readers.push_back(number);
      Numbers& uses = all_[input].uses;
      if (uses.empty() || uses.back() != step) uses.push_back(step);
    }
    all_.push_back(std::move(value));
  }

  // What is waited for is not read.
  void find_cone(Value& value) const {
    NodeSet seen = {value.node};
    std::vector<Node> stack = {value.node};
    while (!stack.empty()) {
      const Node at = stack.back();
      stack.pop_back();
      value.cone.push_back(at);
      const std::size_t read = at.is(Op::after_) ? 1 : at.srcs().size();
      for (std::size_t i = 0; i < read; ++i) {
        const Node& src = at.src(i);
        if (!seen.insert(src).second) continue;
        const bool in_memory = src.is(Op::buffer_) || list_.stored.count(src) != 0;
        (in_memory ? value.sources : stack).push_back(src);
      }
    }
    sort_by_id(value.cone);
    sort_by_id(value.sources);
  }

  double cost_of(const Value& value) const {
    constexpr double bytes_of_kernel = 1 << 14;
    constexpr double operations_per_byte = 10;
    constexpr double products_per_byte = 150;  // of matrix units
    double cost = bytes_of_kernel + static_cast<double>(value.bytes);
    for (const Node& source : value.sources) cost += static_cast<double>(bytes_of(source));
    for (const Node& node : value.cone) {
      if (is_movement(node.op())) continue;
      const bool reduces = node.is(Op::reduce_);
      const bool products = reduces && node.src(0).is(Op::mul_) && has_matrix_units_;
      cost += elements((reduces ? node.src(0) : node).shape()) /
              (products ? products_per_byte : operations_per_byte);
    }
    return cost;
  }

  const KernelList& list_;
  const bool has_matrix_units_;
  std::vector<Value> all_;
  std::unordered_map<Node, std::size_t, NodeHash> holders_;  // of memory: the value that counts it
};

// A value's kernel runs.
struct Run {
  std::size_t value;
  bool again;
};

class Simulation {
 public:
  Simulation(const std::vector<Value>& values, std::int64_t most)
      : values_(values), most_(most), there_(values.size()), local_(values.size()) {
    for (const Value& value : values) allowed_ += value.cost;
  }

  // Nothing where more than `most` bytes would be alive, or more computed again than there is.
  std::optional<std::vector<Run>> run() {
    for (std::size_t first = 0; first < values_.size();) {
      step_ = values_[first].step;
      std::size_t end = first;
      while (end < values_.size() && values_[end].step == step_) ++end;
      const Numbers wanted = missing(first, end);
      for (const std::size_t value : wanted) want_inputs(value);
      for (std::size_t value = first; value < end; ++value) want_inputs(value);
      for (const std::size_t value : wanted) {
        if (!make_room(values_[value].bytes + values_[value].workspace)) return {};
        start(value, true);
        finish(value);
      }
      std::int64_t bytes = values_[first].workspace;
      for (std::size_t value = first; value < end; ++value) bytes += values_[value].bytes;
      if (!make_room(bytes)) return {};
      for (std::size_t value = first; value < end; ++value) start(value, false);
      executed_ = end;
      for (std::size_t value = first; value < end; ++value) finish(value);
      for (std::size_t value = first; value < end; ++value) drop_unread(value);
      if (allowed_ < 0) return {};
      first = end;
    }
    return std::move(runs_);
  }

 private:
  // What the step's kernels read, and what that is computed from, as far as it is not there.
  Numbers missing(std::size_t first, std::size_t end) const {
    std::vector<bool> wanted(values_.size());
    Numbers result;
    for (std::size_t value = end; value-- > 0;) {
      if (value < first && !wanted[value]) continue;
      if (value < first) result.push_back(value);
      for (const std::size_t input : values_[value].inputs) {
        if (input < first && !there_[input]) wanted[input] = true;
      }
    }
    std::reverse(result.begin(), result.end());
    return result;
  }

  void want_inputs(std::size_t value) {
    for (const std::size_t input : values_[value].inputs) ++local_[input];
  }

  void start(std::size_t value, bool again) {
    there_[value] = true;
    alive_ += values_[value].bytes;
    runs_.push_back({value, again});
    if (again) allowed_ -= values_[value].cost;
  }

  void finish(std::size_t value) {
    for (const std::size_t input : values_[value].inputs) {
      --local_[input];
      drop_unread(input);
    }
  }

  void drop_unread(std::size_t value) {
    if (there_[value] && values_[value].bytes > 0 && local_[value] == 0 &&
        next_uses()[value] == never)
      drop(value);
  }

  void drop(std::size_t value) {
    there_[value] = false;
    alive_ -= values_[value].bytes;
  }

  // After this step, by what reads the value or must be computed again from it.
  Numbers next_uses() const {
    Numbers next(values_.size(), never);
    for (std::size_t value = executed_; value-- > 0;) {
      const Numbers& uses = values_[value].uses;
      const auto use = std::upper_bound(uses.begin(), uses.end(), step_);
      if (use != uses.end()) next[value] = std::min(next[value], *use);
      if (there_[value]) continue;
      for (const std::size_t input : values_[value].inputs)
        next[input] = std::min(next[input], next[value]);
    }
    return next;
  }

  bool make_room(std::int64_t bytes) {
    while (alive_ + bytes > most_) {
      const Numbers next = next_uses();
      std::size_t best = never;
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t value = 0; value < executed_; ++value) {
        const Value& it = values_[value];
        if (!there_[value] || it.stays || it.bytes == 0 || local_[value] != 0) continue;
        const double price = price_of(value, next);
        const auto distance = static_cast<double>(next[value] - step_);
        const double each = price / (static_cast<double>(it.bytes) * distance);
        if (each < least) {
          least = each;
          best = value;
        }
      }
      if (best == never) return false;
      drop(best);
    }
    return true;
  }

  // Of the value, of what must be computed for it and of what is computed from it; infinite where
  // that cannot be, or reads memory that is overwritten before.
  double price_of(std::size_t value, const Numbers& next) const {
    double price = 0;
    std::size_t last = 0;
    std::size_t until = never;
    bool possible = true;
    const auto visit = [&](auto neighbours, auto follows, auto look) {
      std::vector<bool> seen(values_.size());
      seen[value] = true;
      Numbers stack = {value};
      while (!stack.empty()) {
        const std::size_t at = stack.back();
        stack.pop_back();
        look(at);
        if (at != value) price += values_[at].cost;
        for (const std::size_t next : values_[at].*neighbours) {
          if (there_[next] || seen[next] || !follows(next)) continue;
          seen[next] = true;
          stack.push_back(next);
        }
      }
    };
    visit(
        &Value::readers, [&](std::size_t v) { return next[v] != never; },
        [&](std::size_t v) { last = std::max(last, next[v]); });
    visit(
        &Value::inputs, [](std::size_t) { return true; },
        [&](std::size_t v) {
          until = std::min(until, values_[v].until);
          possible = possible && !values_[v].stays;
        });
    if (!possible || until < last) return std::numeric_limits<double>::infinity();
    return price + values_[value].cost;
  }

  const std::vector<Value>& values_;
  const std::int64_t most_;
  std::vector<bool> there_;
  std::vector<int> local_;  // reads that are still to come in this step
  std::size_t step_ = 0;
  std::size_t executed_ = 0;  // values
  std::int64_t alive_ = 0;
  double allowed_ = 0;  // cost of what may be computed again
  std::vector<Run> runs_;
};

// The runs as a graph.
class Writer {
 public:
  explicit Writer(const std::vector<Value>& values) : values_(values) {}

  void write(std::span<const Node> roots, const std::vector<Run>& runs, Rematerialized& result) {
    for (const auto& [number, again] : runs) {
      const Node& node = values_[number].node;
      const Node written = run(values_[number], again);
      latest_.insert_or_assign(node, written);
      result.sequence.push_back(written);
      if (again) continue;
      first_.insert_or_assign(node, written);
      if (!node.is(Op::store_) && !node.is(Op::copy_)) event_ = written;
    }
    for (const Node& root : roots) result.roots.push_back(first(root));
  }

 private:
  Node run(const Value& value, bool again) const {
    std::unordered_map<Node, Node, NodeHash> written;
    for (const Node& node : value.cone) {
      std::vector<Node> srcs;
      for (std::size_t i = 0; i < node.srcs().size(); ++i) {
        const Node& src = node.src(i);
        if (node.is(Op::after_) && i > 0) {
          srcs.push_back(first(src));
        } else if (const auto found = written.find(src); found != written.end()) {
          srcs.push_back(found->second);
        } else {
          const auto at = latest_.find(src);
          const Node& source = at == latest_.end() ? src : at->second;
          srcs.push_back(again ? after(source, event_) : source);
        }
      }
      written.emplace(node, srcs == node.srcs() ? node : with_sources(node, std::move(srcs)));
    }
    return written.at(value.node);
  }

  // Where the node's value is computed first.
  Node first(const Node& node) const {
    if (const auto found = first_.find(node); found != first_.end()) return found->second;
    if (node.is(Op::after_)) return first(node.src(0));
    return is_movement(node.op()) ? with_sources(node, {first(node.src(0))}) : node;
  }

  const std::vector<Value>& values_;
  std::unordered_map<Node, Node, NodeHash> first_;   // of each value, as it is computed first
  std::unordered_map<Node, Node, NodeHash> latest_;  // and last
  Node event_;                                       // the last one that was computed first
};

}  // namespace

Rematerialized rematerialize(std::span<const Node> roots, const KernelList& list,
                             const Target& target, std::int64_t bytes) {
  const Values values(roots, list, target);
  std::optional<std::vector<Run>> runs = Simulation(values.all(), bytes).run();
  Rematerialized result{.within = runs.has_value()};
  // Else the least that will do, between nothing and enough for all.
  std::int64_t few = 0;
  std::int64_t enough = 1;
  for (const Value& value : values.all()) enough += value.bytes + value.workspace;
  while (!result.within && (!runs || enough - few > enough / 64)) {
    const std::int64_t middle = few + (enough - few) / 2;
    if (auto found = Simulation(values.all(), middle).run()) {
      enough = middle;
      runs = std::move(found);
    } else {
      few = middle;
    }
  }
  Writer(values.all()).write(roots, *runs, result);
  return result;
}

}  // namespace brisk
