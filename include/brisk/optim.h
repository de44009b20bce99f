// Optimizers. A rule says how a parameter moves along its gradient and is a plain struct; an
// Optimizer applies rules to groups of parameters. Names, defaults and arithmetic are PyTorch's
// where it has the rule.
//
//   nn::Optimizer optimizer(nn::parameters(net), nn::Adam{.lr = 3e-3});
//   nn::Optimizer muon({{matrices, nn::Muon{}}, {others, nn::AdamW{.weight_decay = 0}}});
//
// Learning rates and the number of steps are tensors: a recorded step (brisk/step.h) sees
// set_lr(). What a rule keeps of a parameter is float32 (float64 for float64), whatever the
// parameter's dtype.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "brisk/nn.h"
#include "brisk/tensor.h"

namespace brisk::nn {

// ---- rules --------------------------------------------------------------------------------------

struct Sgd {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;  // added to the gradient
  bool nesterov = false;
};
struct Adam {  // Kingma, Ba, arXiv:1412.6980
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;  // added to the gradient
};
struct AdamW {  // Loshchilov, Hutter, arXiv:1711.05101
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 1e-2;  // the parameter shrinks by lr·weight_decay
};
struct Lion {  // Chen et al., arXiv:2302.06675
  double lr = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.99;
  double weight_decay = 0;  // as AdamW
};
/// For matrices; more axes count as columns. https://kellerjordan.github.io/posts/muon
struct Muon {
  double lr = 1e-3;
  double momentum = 0.95;
  double weight_decay = 0.1;  // as AdamW
  bool nesterov = true;
  int iterations = 5;  // of Newton and Schulz, towards the nearest orthogonal matrix
  /// original: lr·sqrt(max(1, rows / columns)); match_rms_adamw: lr·0.2·sqrt(max(rows, columns)).
  enum class Scale { original, match_rms_adamw } scale = Scale::original;
};
struct Lamb {  // You et al., arXiv:1904.00962
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-6;
  double weight_decay = 0;  // added to the update before it is scaled
};
struct Adafactor {   // Shazeer, Stern, arXiv:1804.04235
  double lr = 1e-2;  // greatest relative step
  double beta2_decay = -0.8;
  double eps = 1e-3;        // least root mean square of a parameter that steps are relative to
  double clip = 1;          // greatest root mean square of an update
  double weight_decay = 0;  // as AdamW
};
using Rule = std::variant<Sgd, Adam, AdamW, Lion, Muon, Lamb, Adafactor>;

// ---- optimizer ----------------------------------------------------------------------------------

struct Group {
  std::vector<Tensor> parameters;
  Rule rule;
};

class Optimizer {
 public:
  /// Computes the parameters, which must require gradients, where they are not yet.
  Optimizer(std::vector<Tensor> parameters, Rule rule);
  explicit Optimizer(std::vector<Group> groups);

  /// Moves the parameters that have gradients, and computes all that waits to be computed; while a
  /// Step records it leaves that to the Step.
  void step();
  /// The same, but where `skip` (bool, one element) is true everything stays as it is.
  void step_unless(const Tensor& skip);
  /// Makes every gradient undefined.
  void zero_grad();

  std::vector<Tensor> parameters() const;  // of all groups
  std::size_t groups() const { return groups_.size(); }
  double lr(std::size_t group = 0) const { return groups_.at(group).lr_value; }
  /// Of every group, or of one.
  void set_lr(double lr);
  void set_lr(std::size_t group, double lr);

  /// "step", and "N.exp_avg", "N.exp_avg_sq", "N.momentum_buffer", … of the Nth parameter (counted
  /// through the groups, in order).
  State state() const;
  /// UserError where a tensor is missing, left over or of another shape.
  void load_state(const State& state);

 private:
  struct Member {
    Tensor parameter;
    std::vector<std::pair<std::string, Tensor>> kept;
  };
  struct Applied {
    Rule rule;
    double lr_value;
    Tensor lr;
    std::vector<Member> members;
  };
  void add(const Group& group);

  std::vector<Applied> groups_;
  Tensor count_;  // of steps, float32 (exact to 2^24)
};

// ---- scaled losses ------------------------------------------------------------------------------

struct GradScalerOptions {
  double scale = 65536;  // at first
  double growth = 2;     // of the scale, after so many steps without an overflow:
  std::int64_t interval = 2000;
  double backoff = 0.5;  // of the scale, after an overflow
};

/// PyTorch's GradScaler: gradients in float16 that would vanish are those of a scaled loss, and a
/// step some of whose gradients are infinite or NaN moves nothing but the scale.
///
///   scaler.scale(loss).backward();
///   scaler.unscale(optimizer);  // only where something is to see the gradients, as clip_grad_norm
///   scaler.step(optimizer);
///   scaler.update();
class GradScaler {
 public:
  explicit GradScaler(const GradScalerOptions& options = {});
  Tensor scale(const Tensor& loss) const;
  /// Divides the optimizer's gradients by the scale.
  void unscale(const Optimizer& optimizer);
  /// Of gradients that it unscales where unscale() did not. Several optimizers: each skips alone.
  void step(Optimizer& optimizer);
  /// At the end of a step of the loop.
  void update();
  /// The scale now: a number in memory.
  const Tensor& scale() const { return scale_; }
  /// "scale" and "growth_tracker".
  State state() const { return {{"scale", scale_}, {"growth_tracker", tracker_}}; }
  void load_state(const State& state);

 private:
  Tensor overflow_of(const Optimizer& optimizer) const;
  GradScalerOptions options_;
  Tensor scale_, tracker_;                                      // float32
  std::vector<std::pair<const Optimizer*, Tensor>> overflows_;  // of what is unscaled
};

// ---- gradients ----------------------------------------------------------------------------------

/// Scales the gradients so that the norm of all of them together is at most `greatest`; returns the
/// norm before. `p` may be infinity.
Tensor clip_grad_norm(const std::vector<Tensor>& parameters, double greatest, double p = 2);
/// Brings every element of the gradients to -greatest … greatest.
void clip_grad_value(const std::vector<Tensor>& parameters, double greatest);

// ---- learning rates as functions of the step, counted from 0 ------------------------------------

/// A factor: (step + 1) / steps up to 1.
double warmup(std::int64_t step, std::int64_t steps);
/// From `from` at step 0 to `to` at `steps`, and after, along half a cosine.
double cosine(std::int64_t step, std::int64_t steps, double from, double to = 0);
/// from · gamma^(step / every), the exponent rounded down.
double step_decay(std::int64_t step, std::int64_t every, double from, double gamma = 0.1);
/// Up to `greatest` in the first `rise` of the steps and down again, along cosines: from
/// greatest / divide, to greatest / divide / final_divide. Smith, Topin, arXiv:1708.07120
struct OneCycle {
  double greatest;
  std::int64_t steps;
  double rise = 0.3;
  double divide = 25;
  double final_divide = 1e4;
  double operator()(std::int64_t step) const;
};

// ---- averages -----------------------------------------------------------------------------------

/// Exponential moving average of parameters: average += (1 - decay)·(parameter - average).
class Ema {
 public:
  Ema(std::vector<Tensor> parameters, double decay);
  /// After each step; may be part of a recorded one.
  void update();
  const std::vector<Tensor>& averages() const { return averages_; }
  /// Writes the averages into the parameters.
  void copy_to_parameters() const;

 private:
  std::vector<Tensor> parameters_;
  std::vector<Tensor> averages_;
  double decay_;
};

}  // namespace brisk::nn
