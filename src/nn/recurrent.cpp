// LSTM and GRU: layers and directions over cells, unrolled along the sequence. The products with
// the inputs are taken of the whole sequence at once.
#include <cmath>
#include <functional>

#include "brisk/nn.h"
#include "tensor/build.h"

namespace brisk::nn {

Recurrent::Recurrent(std::int64_t in, std::int64_t hidden, int gates,
                     const RecurrentOptions& options)
    : hidden(hidden), options(options) {
  const Call call(gates == 4 ? "LSTM" : "GRU");
  if (in < 1 || hidden < 1 || options.layers < 1) {
    call_error("wants sizes and layers of at least 1, got {} in, {} hidden, {} layers", in, hidden,
               options.layers);
  }
  const int directions = options.bidirectional ? 2 : 1;
  const double bound = 1 / std::sqrt(static_cast<double>(hidden));
  for (int i = 0; i < options.layers * directions; ++i) {
    const std::int64_t inputs = i < directions ? in : hidden * directions;
    Cell cell{parameter(uniform({gates * hidden, inputs}, bound)),
              parameter(uniform({gates * hidden, hidden}, bound)),
              {},
              {}};
    if (options.bias) {
      cell.bias_ih = parameter(uniform({gates * hidden}, bound));
      cell.bias_hh = parameter(uniform({gates * hidden}, bound));
    }
    cells.push_back(std::move(cell));
  }
}

void Recurrent::visit(Fields& fields) {
  const std::size_t directions = options.bidirectional ? 2 : 1;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::string end =
        fmt::format("_l{}{}", i / directions, i % directions == 1 ? "_reverse" : "");
    fields("weight_ih" + end, cells[i].weight_ih);
    fields("weight_hh" + end, cells[i].weight_hh);
    fields("bias_ih" + end, cells[i].bias_ih);
    fields("bias_hh" + end, cells[i].bias_hh);
  }
  fields.mode(training);
}

namespace {

// What goes from one place of the sequence to the next, [batch, hidden] each: hidden, and the
// LSTM's cell.
using Carried = std::vector<Tensor>;
// From the inputs' product [batch, gates hidden] and what came before: what goes on.
using Advance = std::function<Carried(const Tensor& input, const Recurrent::Cell&, const Carried&)>;

struct Sequence {
  Tensor output;
  std::vector<Tensor> last;  // of each carried value, [layers directions, batch, hidden]
};

Tensor along(const Recurrent::Cell& cell, const Tensor& x, bool reverse, Carried& carried,
             const Advance& advance) {
  const std::vector<Tensor> inputs = linear(x, cell.weight_ih, cell.bias_ih).unbind(1);
  std::vector<Tensor> outputs(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::size_t at = reverse ? inputs.size() - 1 - i : i;
    carried = advance(inputs[at], cell, carried);
    outputs[at] = carried[0];
  }
  return stack(outputs, 1);
}

Sequence run(const Recurrent& of, const Tensor& x, const std::vector<Tensor>& first,
             const Advance& advance) {
  want_rank(x, "the input", 3, 3);
  const int directions = of.options.bidirectional ? 2 : 1;
  const Dims states{static_cast<std::int64_t>(of.cells.size()), x.size(0), of.hidden};
  std::vector<std::vector<Tensor>> last(first.size());
  for (const Tensor& state : first) {
    if (state.defined() && state.dims() != states) {
      call_error("wants states of shape {}, got {}", to_string(states), to_string(state.dims()));
    }
  }
  Tensor y = x;
  for (int layer = 0; layer < of.options.layers; ++layer) {
    if (layer > 0 && of.training && of.options.dropout > 0) y = dropout(y, of.options.dropout);
    std::vector<Tensor> ways;
    for (int way = 0; way < directions; ++way) {
      const int at = layer * directions + way;
      Carried carried;
      for (const Tensor& state : first) {
        carried.push_back(state.defined() ? state.select(0, at)
                                          : zeros({x.size(0), of.hidden}, float_result(x.dtype())));
      }
      ways.push_back(along(of.cells[static_cast<std::size_t>(at)], y, way == 1, carried, advance));
      for (std::size_t i = 0; i < carried.size(); ++i) last[i].push_back(carried[i]);
    }
    y = directions == 1 ? ways[0] : cat(ways, -1);
  }
  Sequence result{y, {}};
  for (const std::vector<Tensor>& each : last) result.last.push_back(stack(each));
  return result;
}

// Gates: input, forget, cell, output.
Carried lstm_advance(const Tensor& input, const Recurrent::Cell& cell, const Carried& before) {
  const Tensor sums = input + linear(before[0], cell.weight_hh, cell.bias_hh);
  const std::vector<Tensor> gates = sums.chunk(4, -1);
  const Tensor next = sigmoid(gates[1]) * before[1] + sigmoid(gates[0]) * brisk::tanh(gates[2]);
  return {sigmoid(gates[3]) * brisk::tanh(next), next};
}

// Gates: reset, update, new; the reset gate acts on the hidden state's product.
Carried gru_advance(const Tensor& input, const Recurrent::Cell& cell, const Carried& before) {
  const std::vector<Tensor> own = input.chunk(3, -1);
  const std::vector<Tensor> fed = linear(before[0], cell.weight_hh, cell.bias_hh).chunk(3, -1);
  const Tensor reset = sigmoid(own[0] + fed[0]);
  const Tensor keep = sigmoid(own[1] + fed[1]);
  const Tensor fresh = brisk::tanh(own[2] + reset * fed[2]);
  return {fresh + keep * (before[0] - fresh)};
}

}  // namespace

LSTM::LSTM(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options)
    : Recurrent(in, hidden, 4, options) {}

LSTM::Result LSTM::operator()(const Tensor& x, const Tensor& hidden, const Tensor& cell) const {
  const Call call("LSTM");
  const Sequence sequence = run(*this, x, {hidden, cell}, lstm_advance);
  return {sequence.output, sequence.last[0], sequence.last[1]};
}

GRU::GRU(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options)
    : Recurrent(in, hidden, 3, options) {}

GRU::Result GRU::operator()(const Tensor& x, const Tensor& hidden) const {
  const Call call("GRU");
  const Sequence sequence = run(*this, x, {hidden}, gru_advance);
  return {sequence.output, sequence.last[0]};
}

}  // namespace brisk::nn
