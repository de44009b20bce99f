// The user's side of gradients: leaves, backward, grad, and what has a gradient of its own.
#include "brisk/autograd.h"

#include <algorithm>

#include "brisk/create.h"
#include "graph/pattern.h"
#include "tensor/accumulator.h"
#include "tensor/build.h"

namespace brisk {

// ---- whether gradients are wanted ---------------------------------------------------------------

namespace {
thread_local bool enabled = true;
}

bool grad_enabled() { return enabled; }
NoGrad::NoGrad() : before_(enabled) { enabled = false; }
NoGrad::~NoGrad() { enabled = before_; }
EnableGrad::EnableGrad() : before_(enabled) { enabled = true; }
EnableGrad::~EnableGrad() { enabled = before_; }

// ---- nodes --------------------------------------------------------------------------------------

const Node& value_node(const Node& node) {
  const Node* at = &node;
  while (at->is(Op::with_gradient_)) at = &at->src(0);
  return *at;
}

Node untracked(const Node& node) {
  const Node& value = value_node(node);
  return value.requires_grad() ? with_gradient(value, {}, nullptr) : value;
}

Node placed(const TensorState& state, const Node& place) {
  return is_leaf(state) ? gradient_leaf(place, state.gradient)
                        : with_gradient_of(place, state.node);
}

// ---- leaves -------------------------------------------------------------------------------------

Tensor Tensor::requires_grad_(bool requires_grad) const {
  const Call call("requires_grad_");
  want_defined(*this, "the tensor");
  const std::lock_guard lock(state_->mutex);
  if (state_->number) call_error("a number has no gradient: make a tensor of it with full()");
  if (requires_grad && !is_float(state_->node.dtype())) {
    call_error("only floating point has gradients, got {}", name(state_->node.dtype()));
  }
  if (requires_grad == state_->node.requires_grad()) return *this;
  if (!requires_grad && !brisk::is_leaf(*state_)) {
    call_error("only leaves can do without; use detach() for the value of what was computed");
  }
  const Node value = untracked(state_->node);
  state_->gradient = requires_grad ? std::make_shared<Accumulator>(true) : nullptr;
  state_->node = requires_grad ? gradient_leaf(value, state_->gradient) : value;
  return *this;
}

bool Tensor::requires_grad() const {
  const Call call("requires_grad");
  want_defined(*this, "the tensor");
  const std::lock_guard lock(state_->mutex);
  return state_->node.requires_grad();
}

bool Tensor::is_leaf() const {
  const Call call("is_leaf");
  want_defined(*this, "the tensor");
  const std::lock_guard lock(state_->mutex);
  return brisk::is_leaf(*state_) || !state_->node.requires_grad();
}

Tensor Tensor::grad() const {
  const Call call("grad");
  want_defined(*this, "the tensor");
  const std::shared_ptr<Accumulator> gradient = state_->gradient;
  if (!gradient) return {};
  const std::lock_guard lock(gradient->mutex);
  return gradient->sum;
}

void Tensor::set_grad(const Tensor& gradient) const {
  const Call call("set_grad");
  want_defined(*this, "the tensor");
  if (!state_->gradient)
    call_error("wants a tensor that requires_grad_() or retain_grad() made keep one");
  if (gradient.defined() && (gradient.dims() != dims() || gradient.dtype() != dtype())) {
    call_error("wants a gradient of {} of shape {}, got {} of shape {}", name(dtype()),
               to_string(dims()), name(gradient.dtype()), to_string(gradient.dims()));
  }
  const std::lock_guard lock(state_->gradient->mutex);
  state_->gradient->sum = gradient;
}

void Tensor::zero_grad() const {
  const Call call("zero_grad");
  want_defined(*this, "the tensor");
  if (!state_->gradient) return;
  const std::lock_guard lock(state_->gradient->mutex);
  state_->gradient->sum = {};
}

Tensor Tensor::retain_grad() const {
  const Call call("retain_grad");
  want_defined(*this, "the tensor");
  const std::lock_guard lock(state_->mutex);
  if (!state_->node.requires_grad()) call_error("wants a tensor that requires a gradient");
  if (state_->gradient) return *this;
  state_->gradient = std::make_shared<Accumulator>(false);
  state_->node = with_gradient(state_->node, {state_->node}, state_->gradient);
  return *this;
}

Tensor Tensor::detach() const {
  const Call call("detach");
  want_defined(*this, "the tensor");
  const std::lock_guard lock(state_->mutex);
  if (state_->number) return *this;
  return tensor_of(untracked(state_->node));
}

// ---- gradients ----------------------------------------------------------------------------------

namespace {

// The node itself, not what NoGrad makes of it.
Node tracked(const Tensor& tensor) {
  const std::lock_guard lock(tensor.state()->mutex);
  return tensor.state()->node;
}

struct Roots {
  std::vector<Node> nodes;
  std::vector<Node> seeds;
};

Node seed_of(const Tensor& output, const Node& node, const Tensor& given) {
  if (!given.defined()) {
    if (!(element_count(node.shape()) == Size(1))) {
      call_error(
          "wants the gradient of an output of several elements (shape {}): sum() or mean() "
          "it, or give the gradient",
          to_string(node.shape()));
    }
    return broadcast(constant_like(1, node.dtype()), node.shape());
  }
  if (given.dims() != output.dims()) {
    call_error("wants a gradient of the output's shape {}, got {}", to_string(output.dims()),
               to_string(given.dims()));
  }
  return to_dtype(node_of(given), node.dtype());
}

Roots roots_of(const std::vector<Tensor>& outputs, const std::vector<Tensor>& seeds) {
  if (outputs.empty()) call_error("wants at least one output");
  if (!seeds.empty() && seeds.size() != outputs.size()) {
    call_error("wants one gradient for each of the {} outputs, got {}", outputs.size(),
               seeds.size());
  }
  Roots roots;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    want_defined(outputs[i], "an output");
    if (outputs[i].state()->released) {
      call_error(
          "the graph of this output was released by an earlier backward(): give that one "
          "retain_graph = true");
    }
    const Node node = tracked(outputs[i]);
    if (!node.requires_grad()) {
      call_error(
          "output {} of {} ({} of shape {}) depends on nothing that requires a gradient: "
          "call requires_grad_() on its inputs before it is computed",
          i + 1, outputs.size(), name(node.dtype()), to_string(node.shape()));
    }
    roots.nodes.push_back(node);
    roots.seeds.push_back(seed_of(outputs[i], node, seeds.empty() ? Tensor() : seeds[i]));
  }
  return roots;
}

// The sweep; without create_graph the gradients are values only.
std::vector<Node> swept(const Roots& roots, const std::vector<Node>& targets, bool create_graph) {
  if (create_graph) {
    const EnableGrad guard;
    return gradient(roots.nodes, roots.seeds, targets);
  }
  const NoGrad guard;
  std::vector<Node> result = gradient(roots.nodes, roots.seeds, targets);
  for (Node& node : result) {
    if (node) node = untracked(node);
  }
  return result;
}

// The nodes that stand for a tensor in a graph: of a leaf those with its identity, of others the
// one from before it was realized.
std::vector<Node> nodes_of_input(const Tensor& input, const std::vector<Node>& order) {
  Node node = tracked(input);
  if (is_gradient_leaf(node)) {
    std::vector<Node> found;
    for (const Node& at : order) {
      if (is_gradient_leaf(at) && at.attr().storage == node.attr().storage) found.push_back(at);
    }
    return found;
  }
  while (node.is(Op::with_gradient_) && value_node(node).is(Op::buffer_) &&
         node.srcs().size() == 2) {
    node = node.src(1);
  }
  return {node};
}

}  // namespace

std::vector<Tensor> grad(const std::vector<Tensor>& outputs, const std::vector<Tensor>& inputs,
                         const std::vector<Tensor>& grad_outputs, const GradOptions& options) {
  const Call call("grad");
  const Roots roots = roots_of(outputs, grad_outputs);
  const std::vector<Node> order = gradient_order(roots.nodes);
  std::vector<Node> targets;
  std::vector<std::size_t> input_of;  // for each target
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    want_defined(inputs[i], "an input");
    const Node node = tracked(inputs[i]);
    if (!node.requires_grad()) {
      call_error(
          "input {} of {} ({} of shape {}) requires no gradient: call requires_grad_() on it "
          "before anything is computed from it",
          i + 1, inputs.size(), name(node.dtype()), to_string(node.shape()));
    }
    for (const Node& target : nodes_of_input(inputs[i], order)) {
      targets.push_back(target);
      input_of.push_back(i);
    }
  }
  const std::vector<Node> gradients = swept(roots, targets, options.create_graph);
  std::vector<Node> sums(inputs.size());
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    Node& sum = sums[input_of[i]];
    if (gradients[i]) sum = sum ? add(sum, gradients[i]) : gradients[i];
  }
  std::vector<Tensor> result;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (!sums[i] && !options.allow_unused) {
      call_error(
          "no output depends on input {} of {} (shape {}); allow_unused = true gives an "
          "undefined tensor for it",
          i + 1, inputs.size(), to_string(inputs[i].dims()));
    }
    result.push_back(sums[i] ? tensor_of(sums[i]) : Tensor());
  }
  return result;
}

void backward(const std::vector<Tensor>& tensors, const std::vector<Tensor>& grad_tensors,
              bool retain_graph, bool create_graph) {
  const Call call("backward");
  const Roots roots = roots_of(tensors, grad_tensors);
  std::vector<Node> targets;
  for (const Node& node : gradient_order(roots.nodes)) {
    if (dynamic_cast<Accumulator*>(node.attr().storage.get()) != nullptr) targets.push_back(node);
  }
  const std::vector<Node> gradients = swept(roots, targets, create_graph);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (!gradients[i]) continue;
    auto* accumulator = dynamic_cast<Accumulator*>(targets[i].attr().storage.get());
    const std::lock_guard lock(accumulator->mutex);
    const Tensor part = tensor_of(gradients[i]);
    accumulator->sum = accumulator->sum.defined() ? accumulator->sum + part : part;
    compute_soon(accumulator->sum);
  }
  for (const Tensor& tensor : tensors) {
    compute_soon(tensor);
    if (retain_graph || create_graph) continue;
    const std::lock_guard lock(tensor.state()->mutex);
    if (brisk::is_leaf(*tensor.state())) continue;
    tensor.state()->node = untracked(tensor.state()->node);
    tensor.state()->released = true;
  }
}

void Tensor::backward(const Tensor& gradient, bool retain_graph, bool create_graph) const {
  brisk::backward({*this},
                  gradient.defined() ? std::vector<Tensor>{gradient} : std::vector<Tensor>(),
                  retain_graph, create_graph);
}

// ---- what is computed with the next tensor ------------------------------------------------------

namespace {
thread_local std::vector<std::weak_ptr<TensorState>> soon;
}

void compute_soon(const Tensor& tensor) {
  std::erase_if(soon, [](const auto& state) { return state.expired(); });
  soon.push_back(tensor.state());
}

namespace {

// What depends on variables has no value by itself.
bool has_variables(std::span<const Node> roots) {
  const std::vector<Node> graph = topological_order(roots);
  return std::any_of(graph.begin(), graph.end(),
                     [](const Node& at) { return at.is(Op::variable_) || !is_static(at.shape()); });
}

}  // namespace

std::vector<Tensor> to_compute() {
  std::vector<Tensor> tensors;
  std::vector<Node> nodes;
  for (const auto& weak : soon) {
    const auto state = weak.lock();
    if (!state || std::any_of(tensors.begin(), tensors.end(),
                              [&](const Tensor& other) { return other.state() == state; })) {
      continue;
    }
    tensors.emplace_back(state);
    nodes.push_back(tracked(tensors.back()));
  }
  soon.clear();
  if (has_variables(nodes)) {
    std::erase_if(tensors, [](const Tensor& tensor) {
      const Node node = tracked(tensor);
      return has_variables({&node, 1});
    });
  }
  return tensors;
}

// ---- gradients of their own ---------------------------------------------------------------------

namespace {

struct TensorRule : GradientRule {
  explicit TensorRule(GradientFunction f) : function(std::move(f)) {}
  GradientFunction function;

  std::vector<Node> operator()(const Node& node, const Node& g) const override {
    const Call call("with_gradient");
    std::vector<Tensor> inputs;
    for (std::size_t i = 1; i < node.srcs().size(); ++i) inputs.push_back(tensor_of(node.src(i)));
    const std::vector<Tensor> gradients = function(tensor_of(node), inputs, tensor_of(g));
    if (gradients.size() != inputs.size()) {
      call_error("wants a gradient for each of the {} inputs, got {}", inputs.size(),
                 gradients.size());
    }
    std::vector<Node> result;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!gradients[i].defined()) {
        result.emplace_back();
        continue;
      }
      if (gradients[i].dims() != inputs[i].dims()) {
        call_error("wants a gradient of its input's shape {}, got {}", to_string(inputs[i].dims()),
                   to_string(gradients[i].dims()));
      }
      result.push_back(to_dtype(node_of(gradients[i]), node.src(i + 1).dtype()));
    }
    return result;
  }
};

}  // namespace

Tensor with_gradient(const Tensor& value, const std::vector<Tensor>& inputs,
                     GradientFunction gradients) {
  const Call call("with_gradient");
  const Node node = untracked(node_of(value));
  std::vector<Node> sources;
  bool any = false;
  for (const Tensor& input : inputs) {
    sources.push_back(node_of(input));
    any |= sources.back().requires_grad();
  }
  if (!any || !is_float(node.dtype())) return tensor_of(node);
  return tensor_of(
      with_gradient(node, sources, std::make_shared<TensorRule>(std::move(gradients))));
}

Tensor checkpoint(const std::function<Tensor(const std::vector<Tensor>&)>& function,
                  const std::vector<Tensor>& inputs) {
  const Call call("checkpoint");
  if (!grad_enabled()) return function(inputs);
  std::vector<Tensor> parts;
  std::vector<Node> leaves;
  for (const Tensor& input : inputs) {
    const Node node = node_of(input);
    if (!is_float(node.dtype())) {
      parts.push_back(input);
      continue;
    }
    leaves.push_back(gradient_leaf(node, std::make_shared<Accumulator>(true)));
    parts.push_back(tensor_of(leaves.back()));
  }
  const Tensor output = function(parts);
  want_defined(output, "the function's result");
  return tensor_of(recomputed(node_of(output), leaves));
}

}  // namespace brisk
