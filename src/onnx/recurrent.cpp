// RNN, GRU and LSTM: unrolled over their steps, with the inputs' product computed for all of them
// at once.
#include <algorithm>
#include <functional>

#include "onnx/build.h"
#include "tensor/node_of.h"

namespace brisk::onnx {

namespace {

using Activation = std::function<Tensor(const Tensor&)>;

Activation activation_of(const NodeCall& c, std::string name, double alpha, double beta,
                         bool has_alpha, bool has_beta) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char l) { return static_cast<char>(std::tolower(l)); });
  const auto a = [=](double otherwise) { return has_alpha ? alpha : otherwise; };
  const auto b = [=](double otherwise) { return has_beta ? beta : otherwise; };
  if (name == "sigmoid") return [](const Tensor& x) { return sigmoid(x); };
  if (name == "tanh") return [](const Tensor& x) { return tanh(x); };
  if (name == "relu") return [](const Tensor& x) { return relu(x); };
  if (name == "softsign") return [](const Tensor& x) { return softsign(x); };
  if (name == "softplus") return [](const Tensor& x) { return softplus(x); };
  if (name == "affine") return [m = a(1), n = b(0)](const Tensor& x) { return x * m + n; };
  if (name == "leakyrelu") return [m = a(0.01)](const Tensor& x) { return leaky_relu(x, m); };
  if (name == "elu") return [m = a(1)](const Tensor& x) { return elu(x, m); };
  if (name == "thresholdedrelu")
    return [m = a(1)](const Tensor& x) { return where(x > m, x, 0.0); };
  if (name == "scaledtanh")
    return [m = a(1), n = b(1)](const Tensor& x) { return tanh(x * n) * m; };
  if (name == "hardsigmoid")
    return [m = a(0.2), n = b(0.5)](const Tensor& x) { return clamp(x * m + n, 0.0, 1.0); };
  c.fail("activation '{}' is not known", name);
}

// What the three have in common: x [steps, batch, width], weights of one direction.
struct Layer {
  std::int64_t steps;
  Dim batch;
  std::int64_t hidden;
  Tensor x;        // [steps, batch, gates·hidden]: W x + biases of W (and R where they add)
  Tensor r;        // [gates·hidden, hidden]
  Tensor r_bias;   // [gates·hidden] or undefined
  Tensor lengths;  // [batch, 1] int64, or undefined
  bool reverse;
  std::vector<Activation> f;
  double clip;

  Tensor clipped(const Tensor& gate) const { return clip > 0 ? clamp(gate, -clip, clip) : gate; }
  /// Gate i of the gates in x.
  Tensor gate(const Tensor& all, int i) const { return all.narrow(1, i * hidden, hidden); }
};

// One step: the inputs' part of the gates and the state before, to the state after. state[0] is
// what the layer gives.
using Step =
    std::function<std::vector<Tensor>(const Layer&, const Tensor&, const std::vector<Tensor>&)>;

struct Result {
  Tensor every;                // [steps, batch, hidden]
  std::vector<Tensor> states;  // [batch, hidden]
};

// Step t of a reversed layer reads length - 1 - t of each row.
Tensor turned(const Tensor& x, const Tensor& lengths) {
  if (!lengths.defined()) return x.flip(0);
  const Tensor at = arange(x.size(0)).reshape({x.size(0), 1, 1});
  const Tensor length = lengths.reshape({1, x.size(1), 1});
  const Tensor from = where(at < length, length - 1 - at, at);
  return x.gather(0, from.broadcast_to(x.dims()));
}

// A cell, computed and kept before the next step reads it: else steps would compute again what
// those before them have, and each be another kernel. (What a product reads is kept as it is.)
Tensor kept(const Tensor& state) { return tensor_of(after(node_of(state), node_of(state))); }

Result run(const Layer& layer, std::vector<Tensor> state, const Step& step) {
  const Tensor x = layer.reverse ? turned(layer.x, layer.lengths) : layer.x;
  std::vector<Tensor> outputs;
  for (std::int64_t t = 0; t < layer.steps; ++t) {
    std::vector<Tensor> next = step(layer, x.select(0, t), state);
    Tensor output = next[0];
    if (layer.lengths.defined()) {
      const Tensor runs = layer.lengths > t;
      for (std::size_t i = 0; i < next.size(); ++i) next[i] = where(runs, next[i], state[i]);
      output = where(runs, output, 0.0);
    }
    outputs.push_back(output);
    state = std::move(next);
    if (t + 1 == layer.steps) break;
    for (std::size_t i = 1; i < state.size(); ++i) state[i] = kept(state[i]);
  }
  Tensor every =
      outputs.empty() ? zeros({0, layer.batch, layer.hidden}, layer.x.dtype()) : stack(outputs);
  if (layer.reverse) every = turned(every, layer.lengths);
  return {every, state};
}

// Inputs: x, w, r, b, lengths, then the states from input 5 on.
Values recurrent(NodeCall& c, int gates, int states, std::vector<std::string> defaults,
                 const std::function<Step(NodeCall&, int)>& step_of, bool r_bias_apart) {
  const bool batch_first = c.integer("layout", 0) != 0;
  Tensor x = c[0];
  if (x.rank() != 3) c.fail("wants an input of rank 3, got {}", x.rank());
  if (batch_first) x = x.transpose(0, 1);
  const std::int64_t steps = x.size(0).value(), width = x.size(2).value();
  const Dim batch = x.size(1);
  if (steps > (1 << 20)) c.fail("a sequence of {} steps is too long", steps);
  const auto weights = c.shape(1);
  if (weights.size() != 3 || c.rank(2) != 3) c.fail("wants weights of rank 3");
  const std::int64_t hidden = c.integer("hidden_size", weights[1] / gates);
  if (hidden < 1 || hidden > (1 << 24)) c.fail("a hidden size of {}", hidden);
  const std::string direction = c.text("direction", "forward");
  const int directions = direction == "bidirectional" ? 2 : 1;
  if (weights[0] != directions || weights[1] != gates * hidden || weights[2] != width)
    c.fail("a weight of shape [{}, {}, {}] does not fit: wants [{}, {}, {}]", weights[0],
           weights[1], weights[2], directions, gates * hidden, width);
  std::vector<std::string> names = c.texts("activations");
  if (names.empty()) names = defaults;
  const std::size_t each = defaults.size();
  while (names.size() < each * static_cast<std::size_t>(directions))
    names.push_back(defaults[names.size() % each]);
  const auto alphas = c.numbers("activation_alpha");
  const auto betas = c.numbers("activation_beta");
  std::vector<Tensor> all;
  std::vector<std::vector<Tensor>> last(static_cast<std::size_t>(states));
  for (int d = 0; d < directions; ++d) {
    Layer layer{steps,
                batch,
                hidden,
                {},
                c[2].select(0, d),
                {},
                {},
                direction == "reverse" || d == 1,
                {},
                c.number("clip", 0)};
    for (std::size_t i = 0; i < each; ++i) {
      const std::size_t at = static_cast<std::size_t>(d) * each + i;
      layer.f.push_back(activation_of(c, names[at], at < alphas.size() ? alphas[at] : 0,
                                      at < betas.size() ? betas[at] : 0, at < alphas.size(),
                                      at < betas.size()));
    }
    Tensor bias;
    if (c.has(3)) {
      const Tensor both = c[3].select(0, d);
      bias = both.narrow(0, 0, gates * hidden);
      const Tensor r_bias = both.narrow(0, gates * hidden, gates * hidden);
      if (r_bias_apart)
        layer.r_bias = r_bias;
      else
        bias = bias + r_bias;
    }
    layer.x = linear(x, c[1].select(0, d), bias);
    if (c.has(4)) layer.lengths = c[4].cast(DType::int64).unsqueeze(1);
    std::vector<Tensor> state;
    for (int i = 0; i < states; ++i) {
      const std::size_t at = 5 + static_cast<std::size_t>(i);
      state.push_back(c.has(at) ? c[at].select(batch_first ? 1 : 0, d)
                                : zeros({batch, hidden}, x.dtype()));
    }
    Result result = run(layer, state, step_of(c, d));
    all.push_back(result.every);
    for (int i = 0; i < states; ++i)
      last[static_cast<std::size_t>(i)].push_back(result.states[static_cast<std::size_t>(i)]);
  }
  Tensor every = stack(all, 1);  // [steps, directions, batch, hidden]
  if (batch_first) every = every.permute({2, 0, 1, 3});
  Values results = {every};
  for (const auto& one : last) results.emplace_back(stack(one, batch_first ? 1 : 0));
  return results;
}

Values rnn(NodeCall& c) {
  return recurrent(
      c, 1, 1, {"Tanh"},
      [](NodeCall&, int) -> Step {
        return [](const Layer& l, const Tensor& x,
                  const std::vector<Tensor>& state) -> std::vector<Tensor> {
          return {l.f[0](l.clipped(x + linear(state[0], l.r)))};
        };
      },
      false);
}

// Gates z (update), r (reset), h (hidden).
Values gru(NodeCall& c) {
  const bool after = c.integer("linear_before_reset", 0) != 0;
  return recurrent(
      c, 3, 1, {"Sigmoid", "Tanh"},
      [after](NodeCall&, int) -> Step {
        return [after](const Layer& l, const Tensor& x,
                       const std::vector<Tensor>& state) -> std::vector<Tensor> {
          const Tensor& h = state[0];
          const Tensor part = [&](int first, int count) {
            const Tensor rows = l.r.narrow(0, first * l.hidden, count * l.hidden);
            const Tensor bias = l.r_bias.defined()
                                    ? l.r_bias.narrow(0, first * l.hidden, count * l.hidden)
                                    : Tensor();
            return linear(h, rows, bias);
          }(0, after ? 3 : 2);
          const Tensor z = l.f[0](l.clipped(l.gate(x, 0) + l.gate(part, 0)));
          const Tensor r = l.f[0](l.clipped(l.gate(x, 1) + l.gate(part, 1)));
          Tensor inner;
          if (after) {
            inner = r * l.gate(part, 2);
          } else {
            const Tensor bias =
                l.r_bias.defined() ? l.r_bias.narrow(0, 2 * l.hidden, l.hidden) : Tensor();
            inner = linear(r * h, l.r.narrow(0, 2 * l.hidden, l.hidden), bias);
          }
          const Tensor n = l.f[1](l.clipped(l.gate(x, 2) + inner));
          return {(1 - z) * n + z * h};
        };
      },
      true);
}

// Gates i, o, f, c; peepholes p [3·hidden] for i, o, f.
Values lstm(NodeCall& c) {
  const bool coupled = c.integer("input_forget", 0) != 0;
  return recurrent(
      c, 4, 2, {"Sigmoid", "Tanh", "Tanh"},
      [coupled](NodeCall& call, int d) -> Step {
        const Tensor p = call.has(7) ? call[7].select(0, d) : Tensor();
        return [coupled, p](const Layer& l, const Tensor& x,
                            const std::vector<Tensor>& state) -> std::vector<Tensor> {
          const Tensor& cell = state[1];
          const Tensor all = x + linear(state[0], l.r);
          const auto gate = [&](int i, int peep, const Tensor& seen) {
            Tensor value = l.gate(all, i);
            if (p.defined() && peep >= 0)
              value = value + p.narrow(0, peep * l.hidden, l.hidden) * seen;
            return l.clipped(value);
          };
          const Tensor in = l.f[0](gate(0, 0, cell));
          const Tensor forget = coupled ? 1 - in : l.f[0](gate(2, 2, cell));
          const Tensor next = forget * cell + in * l.f[1](gate(3, -1, cell));
          const Tensor out = l.f[0](gate(1, 1, next));
          return {out * l.f[2](next), next};
        };
      },
      false);
}

}  // namespace

void add_recurrent(OperatorTable& t) {
  t.add("RNN", rnn);
  t.add("GRU", gru);
  t.add("LSTM", lstm);
}

}  // namespace brisk::onnx
