// PyTorch's training runs of ../shared/data/train: their models, optimizers and steps.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "brisk/brisk.h"

namespace brisk {

// A model, its optimizer and how a step is made of them.
struct Training {
  std::function<Tensor(const Tensor& x, const Tensor& y)> loss;
  nn::Fields fields;
  nn::Optimizer optimizer;
  double clip = 0;                         // 0: not
  std::function<double(std::int64_t)> lr;  // of the step; none: as it is
};

template <typename Model, typename MakeOptimizer>
Training run_of(Model net, const MakeOptimizer& optimizer) {
  const auto model = std::make_shared<Model>(std::move(net));
  const auto loss = [model](const Tensor& x, const Tensor& y) {
    const Tensor scores = (*model)(x);
    return cross_entropy(scores.reshape({-1, scores.size(-1)}), y.flatten());
  };
  return {loss, nn::fields_of(*model), optimizer(*model)};
}

inline Training mlp_sgd() {
  return run_of(nn::Sequential(nn::Linear(20, 64), &brisk::tanh, nn::Linear(64, 64), &brisk::relu,
                               nn::Linear(64, 5)),
                [](auto& net) {
                  return nn::Optimizer(
                      nn::parameters(net),
                      nn::Sgd{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-3, .nesterov = true});
                });
}

inline Training conv_adam() {
  const auto pooled = [](const Tensor& x) { return max_pool2d(x, 2); };
  const auto gelu_erf = [](const Tensor& x) { return gelu(x); };
  const auto global = [](const Tensor& x) { return adaptive_avg_pool2d(x, 1); };
  const auto flat = [](const Tensor& x) { return x.flatten(1); };
  return run_of(
      nn::Sequential(nn::Conv2d(1, 8, 3, {.padding = 1}), nn::BatchNorm2d(8), &brisk::relu, pooled,
                     nn::Conv2d(8, 16, 3, {.padding = 1, .groups = 2}), nn::BatchNorm2d(16),
                     gelu_erf, global, flat, nn::Linear(16, 10)),
      [](auto& net) { return nn::Optimizer(nn::parameters(net), nn::Adam{.lr = 3e-3}); });
}

struct Block {
  explicit Block(std::int64_t width)
      : l1({width}),
        qkv(width, 3 * width),
        o(width, width),
        l2({width}),
        f(width, 4 * width),
        p(4 * width, width) {}

  Tensor operator()(const Tensor& x) const {
    std::vector<Tensor> parts;
    for (const Tensor& part : qkv(l1(x)).chunk(3, -1)) {
      parts.push_back(part.unflatten(-1, {4, -1}).transpose(1, 2));
    }
    const Tensor mixed =
        scaled_dot_product_attention(parts[0], parts[1], parts[2], {.causal = true});
    const Tensor y = x + o(mixed.transpose(1, 2).flatten(2));
    return y + p(gelu(f(l2(y)), Gelu::tanh));
  }
  void visit(nn::Fields& fields) {
    fields("l1", l1);
    fields("qkv", qkv);
    fields("o", o);
    fields("l2", l2);
    fields("f", f);
    fields("p", p);
  }

  nn::LayerNorm l1;
  nn::Linear qkv, o;
  nn::LayerNorm l2;
  nn::Linear f, p;
};

struct Gpt {
  Tensor operator()(const Tensor& x) const {
    Tensor y = e(x) + pe(arange(x.size(1)));
    for (const Block& block : b) y = block(y);
    return linear(ln(y), e.weight);
  }
  void visit(nn::Fields& fields) {
    fields("e", e);
    fields("pe", pe);
    fields("b", b);
    fields("ln", ln);
  }

  nn::Embedding e{65, 48};
  nn::Embedding pe{32, 48};
  std::vector<Block> b{Block(48), Block(48)};
  nn::LayerNorm ln{{48}};
};

inline Training gpt_adamw() {
  Training run = run_of(Gpt(), [](Gpt& net) {
    std::vector<Tensor> matrices;
    std::vector<Tensor> vectors;
    for (const Tensor& parameter : nn::parameters(net)) {
      (parameter.rank() > 1 ? matrices : vectors).push_back(parameter);
    }
    const auto rule = [](double decay) {
      return nn::AdamW{.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .weight_decay = decay};
    };
    return nn::Optimizer({{matrices, rule(0.1)}, {vectors, rule(0)}});
  });
  run.clip = 1;
  run.lr = [](std::int64_t i) { return 1e-3 * nn::warmup(i, 5) * nn::cosine(i, 40, 1); };
  return run;
}

struct Trajectory {
  const char* name;
  Training (*run)();
};
inline const Trajectory trajectories[] = {
    {"mlp_sgd", mlp_sgd}, {"conv_adam", conv_adam}, {"gpt_adamw", gpt_adamw}};

// One step of a run: what the loop below does, and what a Step records.
struct Stepped {
  Tensor loss;
  Tensor norm;
};
inline Stepped step(Training& run, const Tensor& x, const Tensor& y) {
  Stepped result{run.loss(x, y), full({}, 0.0F)};
  result.loss.backward();
  if (run.clip > 0) result.norm = nn::clip_grad_norm(nn::parameters(run.fields), run.clip);
  run.optimizer.step();
  run.optimizer.zero_grad();
  return result;
}

}  // namespace brisk
