// Applying rules to groups of parameters, and what goes with it.
#include "brisk/create.h"
#include "brisk/optim.h"
#include "nn/rules.h"
#include "tensor/accumulator.h"
#include "tensor/build.h"
#include "tensor/capture.h"

namespace brisk::nn {

Optimizer::Optimizer(std::vector<Tensor> parameters, Rule rule)
    : Optimizer(std::vector<Group>{{std::move(parameters), rule}}) {}

Optimizer::Optimizer(std::vector<Group> groups) : count_(empty({})) {
  const Call call("Optimizer");
  std::vector<Tensor> all;
  for (const Group& group : groups) {
    all.insert(all.end(), group.parameters.begin(), group.parameters.end());
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    want_defined(all[i], "a parameter");
    if (!all[i].requires_grad() || !all[i].is_leaf()) {
      call_error("parameter {} of {} (shape {}) is no leaf that requires a gradient", i + 1,
                 all.size(), to_string(all[i].dims()));
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (all[j].state() == all[i].state()) {
        call_error("parameter {} of {} (shape {}) is parameter {} again", i + 1, all.size(),
                   to_string(all[i].dims()), j + 1);
      }
    }
  }
  if (all.empty()) call_error("got no parameters");
  realize(all);
  for (const Group& group : groups) add(group);
}

void Optimizer::add(const Group& group) {
  Applied applied{group.rule, 0, empty({}), {}};
  for (const Tensor& parameter : group.parameters) {
    Member member{parameter, {}};
    const DType dtype = compute_dtype(parameter.dtype());
    for (const KeptShape& kept : kept_shapes(group.rule, parameter.dims())) {
      member.kept.emplace_back(kept.name, empty(kept.shape, dtype));
    }
    applied.members.push_back(std::move(member));
  }
  groups_.push_back(std::move(applied));
  set_lr(groups_.size() - 1, std::visit([](const auto& rule) { return rule.lr; }, group.rule));
}

void Optimizer::step() { step_unless({}); }

void Optimizer::step_unless(const Tensor& skip) {
  const Call call("Optimizer::step");
  if (skip.defined() && (!is_bool(skip.dtype()) || skip.numel() != Dim(1))) {
    call_error("wants to skip by one bool, got {} of shape {}", name(skip.dtype()),
               to_string(skip.dims()));
  }
  const NoGrad guard;
  const auto move = [&](Tensor tensor, const Tensor& next) {
    tensor.assign(skip.defined() ? where(skip, tensor, next.cast(tensor.dtype())) : next);
  };
  move(count_, count_ + 1);
  for (Applied& group : groups_) {
    for (Member& member : group.members) {
      const Tensor grad = member.parameter.grad();
      if (!grad.defined()) continue;
      std::vector<Tensor> kept;
      for (const auto& [name, tensor] : member.kept) kept.push_back(tensor);
      const Update update =
          updated(group.rule, {widen(member.parameter), widen(grad), kept, group.lr, count_});
      move(member.parameter, update.parameter);
      for (std::size_t i = 0; i < kept.size(); ++i) move(kept[i], update.kept[i]);
    }
  }
  if (Capture::current() == nullptr) realize({});
}

std::vector<Tensor> Optimizer::parameters() const {
  std::vector<Tensor> result;
  for (const Applied& group : groups_) {
    for (const Member& member : group.members) result.push_back(member.parameter);
  }
  return result;
}

void Optimizer::zero_grad() {
  for (Applied& group : groups_) {
    for (Member& member : group.members) member.parameter.zero_grad();
  }
}

void Optimizer::set_lr(double lr) {
  for (std::size_t i = 0; i < groups_.size(); ++i) set_lr(i, lr);
}

void Optimizer::set_lr(std::size_t group, double lr) {
  Applied& applied = groups_.at(group);
  const float value = static_cast<float>(lr);
  applied.lr.copy_from(std::as_bytes(std::span(&value, 1)));
  applied.lr_value = lr;
}

State Optimizer::state() const {
  State state{{"step", count_}};
  std::size_t number = 0;
  for (const Applied& group : groups_) {
    for (const Member& member : group.members) {
      for (const auto& [name, tensor] : member.kept) {
        state.emplace(fmt::format("{}.{}", number, name), tensor);
      }
      ++number;
    }
  }
  return state;
}

void Optimizer::load_state(const State& given) {
  const Call call("Optimizer::load_state");
  copy_state(given, state());
}

// ---- gradients ----------------------------------------------------------------------------------

namespace {

std::vector<Tensor> with_gradients(const std::vector<Tensor>& parameters) {
  std::vector<Tensor> found;
  for (const Tensor& parameter : parameters) {
    want_defined(parameter, "a parameter");
    if (parameter.grad().defined()) found.push_back(parameter);
  }
  return found;
}

}  // namespace

Tensor clip_grad_norm(const std::vector<Tensor>& parameters, double greatest, double p) {
  const Call call("clip_grad_norm");
  if (!(greatest >= 0)) call_error("wants a norm of at least 0, got {}", greatest);
  const NoGrad guard;
  const std::vector<Tensor> found = with_gradients(parameters);
  if (found.empty()) return full({}, 0.0);
  std::vector<Tensor> norms;
  for (const Tensor& parameter : found) norms.push_back(norm(widen(parameter.grad()), p));
  const Tensor total = norm(stack(norms), p);
  compute_soon(total);  // of these parameters, not of what the step makes of them
  const Tensor factor = clamp(greatest / (total + 1e-6), {}, 1);
  for (const Tensor& parameter : found) {
    const Tensor grad = parameter.grad();
    parameter.set_grad((widen(grad) * factor).cast(grad.dtype()));
  }
  return total;
}

void clip_grad_value(const std::vector<Tensor>& parameters, double greatest) {
  const Call call("clip_grad_value");
  if (!(greatest >= 0)) call_error("wants a bound of at least 0, got {}", greatest);
  const NoGrad guard;
  for (const Tensor& parameter : with_gradients(parameters)) {
    parameter.set_grad(clamp(parameter.grad(), -greatest, greatest));
  }
}

// ---- averages -----------------------------------------------------------------------------------

Ema::Ema(std::vector<Tensor> parameters, double decay)
    : parameters_(std::move(parameters)), decay_(decay) {
  const Call call("Ema");
  if (!(decay >= 0 && decay <= 1)) call_error("wants a decay of 0 to 1, got {}", decay);
  const NoGrad guard;
  for (const Tensor& parameter : parameters_) {
    want_defined(parameter, "a parameter");
    averages_.push_back(empty(parameter.dims(), compute_dtype(parameter.dtype())));
    averages_.back().assign(parameter);
  }
  realize(averages_);
}

void Ema::update() {
  const Call call("Ema::update");
  const NoGrad guard;
  for (std::size_t i = 0; i < averages_.size(); ++i) {
    averages_[i].assign(averages_[i] + (widen(parameters_[i]) - averages_[i]) * (1 - decay_));
  }
}

void Ema::copy_to_parameters() const {
  const Call call("Ema::copy_to_parameters");
  for (std::size_t i = 0; i < averages_.size(); ++i) {
    Tensor parameter = parameters_[i];
    parameter.assign(averages_[i]);
  }
  realize(parameters_);
}

}  // namespace brisk::nn
