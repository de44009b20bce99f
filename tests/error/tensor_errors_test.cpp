// Every message of the tensor functions, word for word: the call, what it got, what it wants.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "brisk/brisk.h"
#include "tensor/realize.h"

namespace brisk {
namespace {

struct Mistake {
  const char* message;
  std::function<void()> make;
};

const Tensor& x23() {
  static const Tensor x = zeros({2, 3});
  return x;
}
Tensor f(const Dims& shape) { return zeros(shape); }
Tensor leaf(const Dims& shape) { return zeros(shape).requires_grad_(); }
Tensor ints(const Dims& shape) { return zeros(shape, DType::int64); }
Dim some() { return Dim::variable("T", 0, 9); }
ConvOptions with(const std::function<void(ConvOptions&)>& change) {
  ConvOptions options;
  change(options);
  return options;
}
PoolOptions pool(const std::function<void(PoolOptions&)>& change) {
  PoolOptions options;
  change(options);
  return options;
}
ClassOptions classes(const std::function<void(ClassOptions&)>& change) {
  ClassOptions options;
  change(options);
  return options;
}

const std::vector<Mistake> mistakes = {
    // handles
    {"neg: got an undefined tensor", [] { neg(Tensor()); }},
    {"add: the second operand is undefined", [] { add(x23(), Tensor()); }},
    {"size: axis 2 is outside a tensor of rank 2: wants -2 to 1", [] { x23().size(2); }},
    {"size: a tensor of rank 0 has no sizes", [] { Tensor(1).size(0); }},
    {"item: wants a tensor of one element, got shape [2, 3]", [] { x23().item<float>(); }},
    {"the size T depends on variables: it has no value before realize", [] { some().value(); }},
    {"realize: wants variables to bind, got the size T+1",
     [] {
       arange(some()).realize({{some() + 1, 2}});
     }},
    {"realize: variable 'T' takes 0 to 9, got 10",
     [] {
       arange(some()).realize({{some(), 10}});
     }},
    {"copy_from: wants a realized tensor to write into", [] { (f({2}) + 1).copy_from({}); }},
    {"copy_from: wants 8 bytes for float32 of shape [2], got 0", [] { empty({2}).copy_from({}); }},
    {"Step: wants 0 bytes of memory or more, got -1", [] { Step([] {}, {.memory = -1}); }},
    {"store: wants a realized tensor or the result of store, got the result of add",
     [] {
       (x23() + 1).store({0, 0}, f({1, 1}));
     }},
    {"store: wants 2 positions and a value of rank 2 for shape [2, 3], got 1 and 2",
     [] {
       empty({2, 3}).store({0}, f({1, 1}));
     }},
    {"store: wants a value of float32, got int64",
     [] {
       empty({2, 3}).store({0, 0}, ints({1, 1}));
     }},
    {"store: a value of shape [2, 2] at [1, 0] is outside a tensor of shape [2, 3]",
     [] {
       empty({2, 3}).store({1, 0}, f({2, 2}));
     }},
    {"assign: wants a value that broadcasts to shape [2, 3], got [4, 2, 3]",
     [] {
       Tensor x = x23();
       x.assign(f({4, 2, 3}));
     }},
    {"assign: shapes [2, 3] and [2] do not broadcast: sizes 3 and 2 differ and neither is 1",
     [] {
       Tensor x = x23();
       x.assign(f({2}));
     }},
    // elementwise
    {"add: shapes [2, 3] and [4] do not broadcast: sizes 3 and 4 differ and neither is 1",
     [] { x23() + f({4}); }},
    {"sub: wants numbers, got bool",
     [] { zeros({2}, DType::boolean) - zeros({2}, DType::boolean); }},
    {"neg: wants numbers, got bool", [] { -zeros({2}, DType::boolean); }},
    {"pow: wants numbers, got bool",
     [] { pow(zeros({2}, DType::boolean), zeros({2}, DType::boolean)); }},
    {"pow: integers to a negative power are not integers: cast the base to a float",
     [] { pow(ints({2}), -1); }},
    {"bitwise_and: wants integers or bool, got float32 and int64", [] { f({2}) & ints({2}); }},
    {"bitwise_left_shift: wants integers, got bool and bool",
     [] { zeros({1}, DType::boolean) << zeros({1}, DType::boolean); }},
    {"where: wants a bool condition, got float32", [] { where(f({2}), 1, 2); }},
    {"clamp: wants a least or a greatest value", [] { clamp(x23(), {}, {}); }},
    {"cast: wants a dtype", [] { x23().cast(DType::none); }},
    {"bitcast: wants a dtype of 4 bytes as float32, got float64",
     [] { x23().bitcast(DType::float64); }},
    {"prelu: wants a slope of rank 0 to 1, got shape [2, 3]", [] { prelu(x23(), x23()); }},
    {"glu: wants an even size of axis -1, got shape [2, 3]", [] { glu(x23()); }},
    // creation
    {"zeros: wants sizes of at least 0, got [-1]", [] { zeros({-1}); }},
    {"full: wants a dtype", [] { full({1}, 1, DType::none); }},
    {"full: wants a value of rank 0, got shape [2, 3]", [] { full({1}, x23()); }},
    {"empty: shape [4611686018427387904, 4] is too large",
     [] {
       empty({std::int64_t{1} << 62, 4});
     }},
    {"empty: wants sizes known before run time, got T", [] { empty({some()}); }},
    {"from_bytes: shape [2] of float32 wants 8 bytes, got 4",
     [] {
       const float value = 1;
       from_bytes(std::as_bytes(std::span(&value, 1)), {2}, DType::float32);
     }},
    {"arange: wants a step other than 0", [] { arange(0, 1, 0); }},
    {"arange: wants a stop of at least 0, got -2", [] { arange(-2); }},
    {"arange: wants finite bounds and a step other than 0, got 0 to inf by 1",
     [] { arange(0.0, std::numeric_limits<double>::infinity(), 1, DType::float32); }},
    {"linspace: wants a count of at least 0, got -1", [] { linspace(0, 1, -1); }},
    {"eye: wants at least 0 rows, got -1", [] { eye(-1); }},
    // random
    {"rand: wants a floating-point dtype, got int64", [] { rand({2}, DType::int64); }},
    {"rand: wants sizes of at least 0, got [-2]", [] { rand({-2}); }},
    {"uniform: wants least <= greatest, got 2 and 1", [] { uniform({2}, 2, 1); }},
    {"randint: wants least < end, got 3 and 3", [] { randint(3, 3, {2}); }},
    {"randperm: wants a count of at least 0, got -1", [] { randperm(-1); }},
    {"bernoulli: wants probabilities in floating point, got int64", [] { bernoulli(ints({2})); }},
    {"dropout: wants a probability of 0 to 1, got 1.5", [] { dropout(x23(), 1.5); }},
    {"multinomial: wants weights of rank 1 to 2, got shape [1, 1, 1]",
     [] {
       multinomial(f({1, 1, 1}), 1);
     }},
    {"multinomial: wants at least 1 sample, got 0", [] { multinomial(f({2}), 0); }},
    // reductions
    {"sum: axis 2 is outside a tensor of rank 2: wants -2 to 1", [] { sum(x23(), 2); }},
    {"sum: axis 1 appears twice",
     [] {
       sum(x23(), {1, -1});
     }},
    {"amax: axis 0 of shape [0, 2] has no elements, and nothing has no extreme",
     [] {
       amax(f({0, 2}), 0);
     }},
    {"softmax: axis 3 is outside a tensor of rank 2: wants -2 to 1", [] { softmax(x23(), 3); }},
    {"cumsum: wants sizes known before run time, got T", [] { cumsum(arange(some()), 0); }},
    {"median: axis 0 of shape [0] has no elements", [] { median(f({0}), 0); }},
    {"diff: a tensor of rank 0 has no neighbours", [] { diff(Tensor(1)); }},
    {"diff: wants at least 1 element, got shape [0]", [] { diff(f({0})); }},
    {"tensordot: wants 0 to 1 axes for shapes [2, 3] and [3], got 2",
     [] { tensordot(x23(), f({3}), 2); }},
    {"tensordot: shapes [2, 3] and [4] do not multiply over 1 axes",
     [] { tensordot(x23(), f({4}), 1); }},
    {"trace: wants a matrix of rank 2, got shape [3]", [] { trace(f({3})); }},
    {"diag: wants a vector or a matrix of rank 1 to 2, got shape []", [] { diag(Tensor(1)); }},
    {"bmm: wants a first operand of rank 3, got shape [2, 3]", [] { bmm(x23(), x23()); }},
    // movement
    {"reshape: a tensor of shape [2, 3] (6 elements) does not fit shape [4, -1]",
     [] {
       x23().reshape({4, -1});
     }},
    {"reshape: a tensor of shape [2, 3] (6 elements) does not fit shape [7]",
     [] { x23().reshape({7}); }},
    {"reshape: a tensor of shape [2, 3] (6 elements) does not fit shape [4611686018427387904, 4]",
     [] {
       x23().reshape({std::int64_t{1} << 62, 4});
     }},
    {"reshape: wants at most one -1, got [-1, -1]",
     [] {
       x23().reshape({-1, -1});
     }},
    {"reshape: wants sizes of at least 0, or one -1, got [-2, 3]",
     [] {
       x23().reshape({-2, 3});
     }},
    {"permute: wants each of the 2 axes of shape [2, 3] once, got [0, 0]",
     [] {
       x23().permute({0, 0});
     }},
    {"flatten: wants the first axis before the last, got 1 and 0", [] { x23().flatten(1, 0); }},
    {"expand: a tensor of shape [2, 3] does not expand to [4, 3]: only axes of size 1 do",
     [] {
       x23().expand({4, 3});
     }},
    {"slice: wants a step other than 0",
     [] {
       x23().slice(0, {{}, {}, 0});
     }},
    {"slice: a tensor of rank 0 has no axis to slice", [] { Tensor(1).slice(0, {}); }},
    {"slice: wants a step of 1 where sizes depend on variables",
     [] {
       arange(some()).slice(0, {{}, {}, 2});
     }},
    {"slice: wants 0 <= start <= stop for every value of the variables, got T to 4",
     [] {
       x23().slice(1, {some(), 4});
     }},
    {"narrow: 3 elements from 1 on are outside axis 1 of shape [2, 3]",
     [] { x23().narrow(1, 1, 3); }},
    {"narrow: a tensor of rank 0 has no axis to narrow", [] { Tensor(1).narrow(0, 0, 1); }},
    {"select: position 2 is outside axis 0 of shape [2, 3]", [] { x23().select(0, 2); }},
    {"select: a tensor of rank 0 has no axis to select from", [] { Tensor(1).select(0, 0); }},
    {"split: wants parts that sum to 3, the size of axis 1, got a sum of 4",
     [] {
       x23().split(std::vector<std::int64_t>{2, 2}, 1);
     }},
    {"split: wants parts of at least 1, got 0", [] { x23().split(0); }},
    {"chunk: wants at least 1 part, got 0", [] { x23().chunk(0); }},
    {"unbind: wants a tensor of rank at least 1, got shape []", [] { Tensor(1).unbind(); }},
    {"roll: wants a shift for each axis, got 1 for 2",
     [] {
       roll(x23(), {1}, {0, 1});
     }},
    {"roll: wants one shift where no axes are given",
     [] {
       roll(x23(), {1, 2}, {});
     }},
    {"cat: wants at least one tensor", [] { cat({}); }},
    {"cat: wants shapes that differ in axis 0 only, got [2, 3] and [2, 4]",
     [] {
       cat({x23(), f({2, 4})});
     }},
    {"cat: wants tensors of rank at least 1, got shape []", [] { cat({Tensor(1)}); }},
    {"stack: wants at least one tensor", [] { stack({}); }},
    {"stack: wants tensors of one shape, got [2, 3] and [3]",
     [] {
       stack({x23(), f({3})});
     }},
    {"pad: wants two sizes for each of up to 2 axes, got 3",
     [] {
       pad(x23(), {1, 2, 3});
     }},
    {"pad: cannot cut 2 and 2 off axis 1 of shape [2, 3]",
     [] {
       pad(x23(), {-2, -2});
     }},
    {"pad: wants 0 to 2 on both sides of axis 1 of shape [2, 3], got 3 and 0",
     [] {
       pad(x23(), {3, 0}, PadMode::reflect);
     }},
    {"tile: wants repeats of at least 0, got -1", [] { tile(x23(), {-1}); }},
    {"repeat: wants at least 2 repeats for shape [2, 3], got 1", [] { repeat(x23(), {2}); }},
    {"repeat_interleave: wants repeats of at least 0, got -1",
     [] { repeat_interleave(x23(), -1, 0); }},
    {"unfold: wants a size of 1 to 3 and a step of at least 1, got 4 and 1",
     [] { unfold(x23(), 1, 4, 1); }},
    {"tril: wants a tensor of rank at least 2, got shape [3]", [] { tril(f({3})); }},
    {"diagonal: wants two different axes, got 1 twice", [] { diagonal(x23(), 0, 1, -1); }},
    {"meshgrid: wants indexing 'ij' or 'xy', got 'ab'", [] { meshgrid({f({2})}, "ab"); }},
    {"meshgrid: wants vectors of rank 0 to 1, got shape [2, 3]", [] { meshgrid({x23()}); }},
    {"pixel_shuffle: wants channels that 4 divides, got shape [3, 2, 2]",
     [] {
       pixel_shuffle(f({3, 2, 2}), 2);
     }},
    {"pixel_unshuffle: wants height and width that 2 divides, got shape [1, 3, 2]",
     [] {
       pixel_unshuffle(f({1, 3, 2}), 2);
     }},
    // indexing
    {"gather: wants integers as the index, got float32", [] { gather(x23(), 0, x23()); }},
    {"gather: wants an index of rank 2 within the tensor's shape [2, 3], got [1, 4]",
     [] {
       gather(x23(), 0, ints({1, 4}));
     }},
    {"scatter: wants an index of rank 2 within the source's shape [1, 1], got [1, 2]",
     [] {
       scatter(x23(), 0, ints({1, 2}), f({1, 1}));
     }},
    {"take_along_axis: wants an index of rank 2, got shape [2]",
     [] { take_along_axis(x23(), ints({2}), 0); }},
    {"index_select: wants an index of rank 0 to 1, got shape [1, 1]",
     [] {
       index_select(x23(), 0, ints({1, 1}));
     }},
    {"index_add: wants a position for each of the 2 slices of the source, got 3",
     [] { index_add(x23(), 0, ints({3}), x23()); }},
    {"embedding: wants a table of rank 2, got shape [3]", [] { embedding(ints({1}), f({3})); }},
    {"one_hot: wants at least 1 class, got 0", [] { one_hot(ints({1}), 0); }},
    {"masked_fill: wants a bool mask, got float32", [] { masked_fill(x23(), x23(), 1); }},
    {"masked_select: wants a bool mask, got float32", [] { masked_select(x23(), x23()); }},
    {"index: wants at most one ellipsis, got 2",
     [] {
       x23()[{ellipsis, ellipsis}];
     }},
    {"index: got 3 indices for a tensor of rank 2",
     [] {
       x23()[{0, 0, 0}];
     }},
    {"index: position -3 is outside axis 0 of shape [2, 3]", [] { x23()[-3]; }},
    {"index: wants integers as an index, got float32", [] { x23()[f({2})]; }},
    {"index: a mask of shape [3] does not fit the axes from 0 on of shape [2, 3]",
     [] { x23()[zeros({3}, DType::boolean)]; }},
    {"set: a mask of shape [3] does not fit shape [2, 3]",
     [] {
       Tensor x = x23() + 0;
       x.set({zeros({3}, DType::boolean)}, 1);
     }},
    // order
    {"topk: wants k of 0 to 3, the size of axis -1, got 4", [] { topk(x23(), 4); }},
    {"topk: wants k = 1 for a tensor of rank 0, got 2", [] { topk(Tensor(1), 2); }},
    // products
    {"matmul: shapes [2, 3] and [2, 3] do not multiply: inner sizes 3 and 2 differ",
     [] { matmul(x23(), x23()); }},
    {"matmul: wants a first operand of rank at least 1, got shape []",
     [] { matmul(Tensor(1), x23()); }},
    {"matmul: wants numbers, got bool",
     [] {
       matmul(zeros({2, 2}, DType::boolean), zeros({2, 2}, DType::boolean));
     }},
    {"dot: wants a first vector of rank 1, got shape [2, 3]", [] { dot(x23(), x23()); }},
    {"linear: wants a weight of rank 1 to 2, got shape [1, 2, 3]",
     [] {
       linear(x23(), f({1, 2, 3}));
     }},
    {"linear: wants a bias that broadcasts to [2, 4], got shape [2, 1, 4]",
     [] {
       linear(x23(), f({4, 3}), f({2, 1, 4}));
     }},
    {"einsum: 'ij,jk' names 2 operands, got 1", [] { einsum("ij,jk", {x23()}); }},
    {"einsum: 'i?' holds '?': wants letters, commas, '...' and '->'",
     [] { einsum("i?", {x23()}); }},
    {"einsum: 'ijk' names 3 axes of operand 0, whose shape is [2, 3]",
     [] { einsum("ijk", {x23()}); }},
    {"einsum: 'ii' gives 'i' the sizes 2 and 3", [] { einsum("ii", {x23()}); }},
    {"einsum: 'ij->k' wants 'k' in the output but no operand has it",
     [] { einsum("ij->k", {x23()}); }},
    {"einsum: 'ij->ii' wants 'i' in the output twice", [] { einsum("ij->ii", {x23()}); }},
    // convolutions
    {"conv2d: wants an input of rank 3 to 4, got shape [2, 3]",
     [] {
       conv2d(x23(), f({1, 1, 1, 1}));
     }},
    {"conv1d: an input of shape [1, 3, 8] does not fit a weight of shape [4, 2, 3] in 1 groups",
     [] {
       conv1d(f({1, 3, 8}), f({4, 2, 3}));
     }},
    {"conv1d: a kernel that spans 9 does not fit the padded input of shape [1, 1, 8]",
     [] {
       conv1d(f({1, 1, 8}), f({1, 1, 9}));
     }},
    {"conv1d: wants at least 1 group, got 0",
     [] {
       conv1d(f({1, 1, 8}), f({1, 1, 3}), {}, with([](auto& o) { o.groups = 0; }));
     }},
    {"conv2d: wants one stride or 2, got 3",
     [] {
       conv2d(f({1, 1, 8, 8}), f({1, 1, 3, 3}), {}, with([](auto& o) { o.stride = {1, 1, 1}; }));
     }},
    {"conv1d: wants a stride of at least 1, got 0",
     [] {
       conv1d(f({1, 1, 8}), f({1, 1, 3}), {}, with([](auto& o) { o.stride = 0; }));
     }},
    {"conv1d: wants a bias of shape [1], got [2]",
     [] {
       conv1d(f({1, 1, 8}), f({1, 1, 3}), f({2}));
     }},
    {"conv_transpose1d: wants output padding below stride or dilation, got 1 of 1 and 1",
     [] {
       conv_transpose1d(f({1, 1, 8}), f({1, 1, 3}), {},
                        with([](auto& o) { o.output_padding = 1; }));
     }},
    {"conv_transpose1d: padding 9 leaves nothing of an output for shape [1, 1, 8]",
     [] {
       conv_transpose1d(f({1, 1, 8}), f({1, 1, 3}), {}, with([](auto& o) { o.padding = 9; }));
     }},
    // pooling and resizing
    {"max_pool1d: wants padding of at most half the kernel, got 2 of 3",
     [] {
       max_pool1d(f({1, 8}), 3, pool([](auto& o) { o.padding = 2; }));
     }},
    {"max_pool1d: a kernel that spans 9 does not fit shape [1, 8] with padding 0",
     [] {
       max_pool1d(f({1, 8}), 9);
     }},
    {"avg_pool1d: wants a divisor other than 0",
     [] {
       avg_pool1d(f({1, 8}), 2, pool([](auto& o) { o.divisor_override = 0; }));
     }},
    {"lp_pool1d: wants an exponent other than 0",
     [] {
       lp_pool1d(f({1, 8}), 0, 2);
     }},
    {"adaptive_avg_pool1d: wants sizes of at least 1, got 0 from shape [1, 8]",
     [] {
       adaptive_avg_pool1d(f({1, 8}), 0);
     }},
    {"interpolate: wants an input of rank 4 for this mode, got shape [1, 1, 8]",
     [] {
       interpolate(f({1, 1, 8}), 4, Interpolation::bilinear);
     }},
    {"interpolate: align_corners is for linear and cubic modes",
     [] {
       interpolate(f({1, 1, 8}), 4, Interpolation::nearest, true);
     }},
    {"interpolate_by: wants one scale or 2, got 3",
     [] {
       interpolate_by(f({1, 1, 8, 8}), {1, 2, 3});
     }},
    {"interpolate_by: wants scales that leave at least 1, got 0 for shape [1, 1, 8]",
     [] {
       interpolate_by(f({1, 1, 8}), {0});
     }},
    // norms
    {"layer_norm: wants a weight of the last axes' shape, got [2] for an input of shape [2, 3]",
     [] { layer_norm(x23(), f({2})); }},
    {"group_norm: wants groups that divide the channels, got 2 for shape [2, 3]",
     [] { group_norm(x23(), 2); }},
    {"batch_norm_train: wants a weight of shape [3], got [2]",
     [] { batch_norm_train(x23(), f({2})); }},
    {"instance_norm: wants an input of rank at least 3, got shape [2, 3]",
     [] { instance_norm(x23()); }},
    // losses
    {"cross_entropy: wants a target of shape [2] for scores of shape [2, 3], got [3]",
     [] { cross_entropy(x23(), ints({3})); }},
    {"cross_entropy: wants probabilities of the scores' shape [2, 3], got [2]",
     [] { cross_entropy(x23(), f({2})); }},
    {"cross_entropy: wants label smoothing of 0 to 1, got 2",
     [] { cross_entropy(x23(), ints({2}), classes([](auto& o) { o.label_smoothing = 2; })); }},
    {"nll_loss: wants a weight of shape [3], got [2]",
     [] { nll_loss(x23(), ints({2}), classes([](auto& o) { o.weight = f({2}); })); }},
    {"smooth_l1_loss: wants a beta of at least 0, got -1",
     [] { smooth_l1_loss(x23(), x23(), -1); }},
    {"huber_loss: wants a delta above 0, got 0", [] { huber_loss(x23(), x23(), 0); }},
    // attention
    {"scaled_dot_product_attention: wants query [..., heads, queries, width], key and value [..., "
     "key heads, keys, width] with key heads dividing heads, got [4, 2, 8], [3, 2, 8] and [3, 2, "
     "8]",
     [] {
       scaled_dot_product_attention(f({4, 2, 8}), f({3, 2, 8}), f({3, 2, 8}));
     }},
    {"scaled_dot_product_attention: wants floating point, got int64",
     [] {
       scaled_dot_product_attention(ints({2, 8}), ints({2, 8}), ints({2, 8}));
     }},

    // gradients
    {"requires_grad_: only floating point has gradients, got int64",
     [] { ints({2}).requires_grad_(); }},
    {"requires_grad_: a number has no gradient: make a tensor of it with full()",
     [] { Tensor(1.5).requires_grad_(); }},
    {"requires_grad_: only leaves can do without; use detach() for the value of what was computed",
     [] { (leaf({2}) * 2).requires_grad_(false); }},
    {"backward: wants the gradient of an output of several elements (shape [2]): sum() or mean() "
     "it, or give the gradient",
     [] { (leaf({2}) * 2).backward(); }},
    {"backward: wants a gradient of the output's shape [2], got [3]",
     [] { (leaf({2}) * 2).backward(f({3})); }},
    {"backward: output 1 of 1 (float32 of shape []) depends on nothing that requires a gradient: "
     "call requires_grad_() on its inputs before it is computed",
     [] { f({2}).sum().backward(); }},
    {"backward: the graph of this output was released by an earlier backward(): give that one "
     "retain_graph = true",
     [] {
       Tensor y = leaf({2}).sum();
       y.backward();
       y.backward();
     }},
    {"grad: wants at least one output", [] { grad({}, {leaf({2})}); }},
    {"grad: wants one gradient for each of the 1 outputs, got 2",
     [] {
       const Tensor x = leaf({2});
       grad({x.sum()}, {x}, {f({}), f({})});
     }},
    {"grad: input 1 of 1 (float32 of shape [2]) requires no gradient: call requires_grad_() on it "
     "before anything is computed from it",
     [] { grad({leaf({2}).sum()}, {f({2})}); }},
    {"grad: no output depends on input 2 of 2 (shape [3]); allow_unused = true gives an undefined "
     "tensor for it",
     [] {
       const Tensor x = leaf({2});
       grad({x.sum()}, {x, leaf({3})});
     }},
    {"set_grad: wants a tensor that requires_grad_() or retain_grad() made keep one",
     [] { f({2}).set_grad(f({2})); }},
    {"set_grad: wants a gradient of float32 of shape [2], got float32 of shape [3]",
     [] { leaf({2}).set_grad(f({3})); }},
    {"retain_grad: wants a tensor that requires a gradient", [] { f({2}).retain_grad(); }},
    {"set: would change a leaf that requires a gradient: do it while a NoGrad lives, or assign()",
     [] { leaf({2}).set({0}, 1); }},
    {"grad: wants a gradient for each of the 1 inputs, got 0",
     [] {
       const Tensor x = leaf({2});
       const Tensor y =
           with_gradient(x * 2, {x}, [](const Tensor&, const std::vector<Tensor>&, const Tensor&) {
             return std::vector<Tensor>();
           });
       grad({y.sum()}, {x});
     }},
};

class TensorErrors : public testing::TestWithParam<Mistake> {};

TEST_P(TensorErrors, NameTheCallWhatItGotAndWhatItWants) {
  const std::unique_ptr<Executor> executor = evaluator();
  Executor* before = use_executor(executor.get());
  std::string message = "nothing was thrown";
  try {
    GetParam().make();
  } catch (const UserError& error) {
    message = error.what();
  } catch (const std::exception& error) {
    message = std::string("not a UserError: ") + error.what();
  }
  use_executor(before);
  EXPECT_EQ(message, GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Tensor, TensorErrors, testing::ValuesIn(mistakes), [](const auto& info) {
  std::string name;
  for (const char* c = info.param.message; *c != '\0'; ++c) {
    const bool word = std::isalnum(static_cast<unsigned char>(*c)) != 0;
    if (word || (!name.empty() && name.back() != '_')) {
      name += word ? *c : '_';
    }
  }
  return std::to_string(info.index) + "_" + name;
});

}  // namespace
}  // namespace brisk
