// Losses: what is to be made small, per element and then reduced.
#include <limits>
#include <numbers>

#include "brisk/functional.h"
#include "tensor/autocast.h"
#include "tensor/build.h"
#include "tensor/own_gradient.h"

namespace brisk {

namespace {

Tensor reduced(const Tensor& loss, Reduction reduction) {
  switch (reduction) {
    case Reduction::none: return loss;
    case Reduction::sum: return sum(loss);
    case Reduction::mean: break;
  }
  return mean(loss);
}

// Both in the compute dtype; the loss comes back in the dtype of x.
struct Pair {
  Tensor x;
  Tensor target;
  DType dtype;
};
Pair pair_of(const Tensor& x, const Tensor& target) {
  want_defined(x, "the input");
  want_defined(target, "the target");
  return {widen(x), widen(target), loss_dtype(x.dtype())};
}

// Class numbers under scores [batch, classes, …] (or [classes]).
struct Classes {
  int axis;
  Tensor number;  // with the class axis, of size 1
  Tensor counts;  // false where the target is to be ignored
};
Classes classes_of(const Tensor& scores, const Tensor& target, const ClassOptions& options) {
  want_rank(scores, "scores", 1, 100);
  want_integers(target, "the target");
  const int axis = scores.rank() == 1 ? 0 : 1;
  Dims wanted = scores.dims();
  wanted.erase(wanted.begin() + axis);
  if (target.dims() != wanted) {
    call_error("wants a target of shape {} for scores of shape {}, got {}", to_string(wanted),
               to_string(scores.dims()), to_string(target.dims()));
  }
  const Tensor number = unsqueeze(target.cast(DType::int64), axis);
  return {axis, number, number != options.ignore_index};
}

void want_weight(const Tensor& weight, const Dim& classes) {
  if (weight.defined() && (weight.rank() != 1 || weight.size(0) != classes)) {
    call_error("wants a weight of shape [{}], got {}", to_string(classes),
               to_string(weight.dims()));
  }
}

// `loss` has the class axis still, of size 1; means are over the weights of what counts.
Tensor finished(const Tensor& loss, const Tensor& weights, const Classes& classes,
                const ClassOptions& options, DType dtype) {
  const Tensor kept = where(classes.counts, loss, 0);
  if (options.reduction == Reduction::none) return squeeze(kept, classes.axis).cast(dtype);
  if (options.reduction == Reduction::sum) return sum(kept).cast(dtype);
  return (sum(kept) / sum(where(classes.counts, weights, 0))).cast(dtype);
}

// x at each class number; its gradient is one comparison an element, no scatter.
Tensor of_class(const Tensor& x, const Classes& classes) {
  const int axis = classes.axis;
  return with_own_gradient(
      {x}, [&] { return gather(x, axis, classes.number); },
      [number = classes.number, axis](const Tensor&, const std::vector<Tensor>& in,
                                      const Tensor& g) {
        Dims shape(in[0].rank(), Dim(1));
        shape[axis] = in[0].size(axis);
        return std::vector<Tensor>{where(arange(in[0].size(axis)).reshape(shape) == number, g, 0)};
      });
}

Tensor weight_of(const Tensor& weight, const Classes& classes, const Tensor& like) {
  if (!weight.defined()) return ones_like(like);
  return tensor_of(take_axis(node_of(weight.cast(like.dtype())), 0, node_of(classes.number), true));
}

}  // namespace

// log Σ exp(x) - x[target], read from the scores themselves so that no row of probabilities is
// needed.
Tensor cross_entropy(const Tensor& scores, const Tensor& target, const ClassOptions& options) {
  const Call call("cross_entropy");
  want_rank(scores, "scores", 1, 100);
  want_defined(target, "the target");
  const DType dtype = loss_dtype(scores.dtype());
  const Tensor x = widen(scores);
  const int axis = scores.rank() == 1 ? 0 : 1;
  const Dim classes = scores.size(axis);
  want_weight(options.weight, classes);
  const double smoothing = options.label_smoothing;
  if (!(smoothing >= 0 && smoothing <= 1)) {
    call_error("wants label smoothing of 0 to 1, got {}", smoothing);
  }
  const double share = smoothing / static_cast<double>(fixed(classes.size()));
  Tensor by_class;  // the weights along the class axis
  if (options.weight.defined()) {
    Dims shape(scores.rank() - axis, Dim(1));
    shape[0] = classes;
    by_class = options.weight.cast(x.dtype()).reshape(shape);
  }
  const Tensor greatest = amax(x.detach(), axis, true);  // the loss does not depend on it
  const Tensor shifted = x - greatest;
  const Tensor total = log(sum(exp2_or_zero(shifted * std::numbers::log2e), axis, true));
  if (is_float(target.dtype())) {
    if (target.dims() != scores.dims()) {
      call_error("wants probabilities of the scores' shape {}, got {}", to_string(scores.dims()),
                 to_string(target.dims()));
    }
    Tensor part = widen(target) * (1 - smoothing) + share;
    if (by_class.defined()) part = part * by_class;
    const Tensor loss = sum(part * (total - shifted), axis);
    if (options.reduction != Reduction::mean) return reduced(loss, options.reduction).cast(dtype);
    return mean(loss).cast(dtype);
  }
  const Classes chosen = classes_of(scores, target, options);
  const Tensor own = of_class(x, chosen) - greatest;
  const Tensor weights = weight_of(options.weight, chosen, total);
  Tensor loss = total - own;
  if (options.weight.defined()) loss = loss * weights;
  if (smoothing > 0) {
    Tensor all = total - shifted;
    if (by_class.defined()) all = all * by_class;
    loss = loss * (1 - smoothing) + sum(all, axis, true) * share;
  }
  return finished(loss, weights, chosen, options, dtype);
}

Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target,
                const ClassOptions& options) {
  const Call call("nll_loss");
  const Classes chosen = classes_of(log_probabilities, target, options);
  want_weight(options.weight, log_probabilities.size(chosen.axis));
  const Tensor own = gather(widen(log_probabilities), chosen.axis, chosen.number);
  const Tensor weights = weight_of(options.weight, chosen, own);
  return finished(options.weight.defined() ? -own * weights : -own, weights, chosen, options,
                  loss_dtype(log_probabilities.dtype()));
}

// Logarithms of 0 count as -100, as PyTorch's.
Tensor binary_cross_entropy(const Tensor& probability, const Tensor& target, Reduction reduction) {
  const Call call("binary_cross_entropy");
  const auto [p, t, dtype] = pair_of(probability, target);
  const auto logs = [](const Tensor& x) {
    return std::pair(maximum(log(x), -100), maximum(log1p(-x), -100));
  };
  const auto value = [&, p = p, t = t] {
    const auto [yes, no] = logs(p);
    return -(t * yes + (1 - t) * no);
  };
  const std::vector<Tensor> both = broadcast_tensors({p, t});
  const Tensor loss = with_own_gradient(
      both, value, [logs](const Tensor&, const std::vector<Tensor>& in, const Tensor& g) {
        const auto [yes, no] = logs(in[0]);
        const Tensor slope = (in[0] - in[1]) / maximum(in[0] * (1 - in[0]), 1e-12);
        return std::vector<Tensor>{g * slope, g * (no - yes)};
      });
  return reduced(loss, reduction).cast(dtype);
}

Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target, const Tensor& weight,
                                        const Tensor& pos_weight, Reduction reduction) {
  const Call call("binary_cross_entropy_with_logits");
  const auto [z, t, dtype] = pair_of(x, target);
  constexpr double everywhere = std::numeric_limits<double>::infinity();
  Tensor loss;
  if (pos_weight.defined()) {
    const Tensor factor = 1 + (pos_weight - 1) * t;
    loss = (1 - t) * z + factor * softplus(-z, 1, everywhere);
  } else {
    loss = softplus(z, 1, everywhere) - z * t;
  }
  if (weight.defined()) loss = loss * weight;
  return reduced(loss, reduction).cast(dtype);
}

Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction) {
  const Call call("mse_loss");
  const auto [a, b, dtype] = pair_of(x, target);
  return reduced(square(a - b), reduction).cast(dtype);
}

Tensor l1_loss(const Tensor& x, const Tensor& target, Reduction reduction) {
  const Call call("l1_loss");
  const auto [a, b, dtype] = pair_of(x, target);
  return reduced((a - b).abs(), reduction).cast(dtype);
}

Tensor smooth_l1_loss(const Tensor& x, const Tensor& target, double beta, Reduction reduction) {
  const Call call("smooth_l1_loss");
  if (!(beta >= 0)) call_error("wants a beta of at least 0, got {}", beta);
  if (beta == 0) return l1_loss(x, target, reduction);
  const auto [a, b, dtype] = pair_of(x, target);
  const Tensor far = (a - b).abs();
  const Tensor loss = where(far < beta, square(far) * (0.5 / beta), far - 0.5 * beta);
  return reduced(loss, reduction).cast(dtype);
}

Tensor huber_loss(const Tensor& x, const Tensor& target, double delta, Reduction reduction) {
  const Call call("huber_loss");
  if (!(delta > 0)) call_error("wants a delta above 0, got {}", delta);
  const auto [a, b, dtype] = pair_of(x, target);
  const Tensor far = (a - b).abs();
  const Tensor loss = where(far < delta, square(far) * 0.5, (far - 0.5 * delta) * delta);
  return reduced(loss, reduction).cast(dtype);
}

Tensor kl_div(const Tensor& x, const Tensor& target, bool log_target, Reduction reduction) {
  const Call call("kl_div");
  const auto [a, t, dtype] = pair_of(x, target);
  // 0·log 0 is 0.
  const Tensor loss =
      log_target ? exp(t) * (t - a) : where(t > 0, t * log(where(t > 0, t, 1)), 0) - t * a;
  return reduced(loss, reduction).cast(dtype);
}

}  // namespace brisk
