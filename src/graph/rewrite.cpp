#include "graph/rewrite.h"

#include <unordered_map>

#include "base/error.h"
#include "graph/print.h"

namespace brisk {

namespace {

class Rewriter {
 public:
  Rewriter(std::span<const Rule> rules, Trace* trace)
      : by_op_(static_cast<std::size_t>(op_count())), trace_(trace) {
    for (const Rule& rule : rules) {
      check(rule.left.kind() == Pattern::Kind::operation, "a rule's left side is an operation");
      for (const Op op : rule.left.ops()) by_op_[static_cast<std::size_t>(op)].push_back(&rule);
    }
  }

  /// Allows a number of applications in proportion to the graph.
  void allow(std::size_t nodes) { allowed_ += 1000 + 100 * nodes; }

  Node run(const Node& root) {
    std::vector<Frame> stack = {{root, root}};
    while (!stack.empty()) {
      const Node current = stack.back().current;
      if (const auto found = done_.find(current); found != done_.end()) {
        done_.emplace(stack.back().node, Node(found->second));
        stack.pop_back();
        continue;
      }
      const std::size_t before = stack.size();
      for (const Node& src : current.srcs()) {
        if (!done_.contains(src)) stack.push_back({src, src});
      }
      if (stack.size() > before) continue;
      Node next = rebuilt(current);
      if (next == current) next = replaced(current);
      if (next) {
        stack.back().current = next;
      } else {
        done_.emplace(current, current);
      }
    }
    return done_.at(root);
  }

 private:
  // A node on its way to the form that no rule applies to.
  struct Frame {
    Node node;
    Node current;
  };

  Node rebuilt(const Node& node) const {
    bool changed = false;
    std::vector<Node> srcs;
    srcs.reserve(node.srcs().size());
    for (const Node& src : node.srcs()) {
      srcs.push_back(done_.at(src));
      changed |= !(srcs.back() == src);
    }
    return changed ? with_sources(node, std::move(srcs)) : node;
  }

  Node replaced(const Node& node) {
    for (const Rule* rule : by_op_[static_cast<std::size_t>(node.op())]) {
      Node result = apply_rule(*rule, node);
      if (!result || result == node) continue;
      if (++applied_ > allowed_) {
        throw InternalError(fmt::format("rewrite: no end after {} steps, at rule '{}' of {}",
                                        applied_, rule->name, describe(node)));
      }
      if (trace_ != nullptr) trace_->steps.push_back({rule->name, node, result});
      return result;
    }
    return {};
  }

  std::vector<std::vector<const Rule*>> by_op_;
  Trace* trace_;
  std::unordered_map<Node, Node, NodeHash> done_;
  std::size_t applied_ = 0;
  std::size_t allowed_ = 0;
};

}  // namespace

Node over_values(const Node& node, const std::unordered_map<Node, Node, NodeHash>& values) {
  std::vector<Node> srcs;
  for (const Node& src : node.srcs()) srcs.push_back(values.at(src));
  return srcs == node.srcs() ? node : with_sources(node, std::move(srcs));
}

Node with_sources(const Node& node, std::vector<Node> srcs) {
  if (node.dtype() == DType::int64 || node.is(Op::cmplt_)) {
    switch (node.op()) {
      case Op::add_: return add(srcs[0], srcs[1]);
      case Op::mul_: return mul(srcs[0], srcs[1]);
      case Op::idiv_: return idiv(srcs[0], srcs[1]);
      case Op::mod_: return mod(srcs[0], srcs[1]);
      case Op::cmplt_: return cmplt(srcs[0], srcs[1]);
      default: break;
    }
  }
  return make_node(node.op(), node.dtype(), std::move(srcs), node.attr(), node.lanes());
}

std::vector<Node> rewrite(std::span<const Node> roots, std::span<const Rule> rules, Trace* trace) {
  Rewriter rewriter(rules, trace);
  rewriter.allow(topological_order(roots).size());
  std::vector<Node> results;
  results.reserve(roots.size());
  for (const Node& root : roots) results.push_back(rewriter.run(root));
  return results;
}

Node rewrite(const Node& root, std::span<const Rule> rules, Trace* trace) {
  return rewrite({&root, 1}, rules, trace)[0];
}

std::string print(const Trace& trace) {
  std::string text;
  for (const Trace::Step& step : trace.steps) {
    text += fmt::format("{}: {} -> {}\n", step.rule, describe(step.before), describe(step.after));
  }
  return text;
}

}  // namespace brisk
