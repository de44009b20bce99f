// How many kernels the graphs of well-known computations become, and that they compute them.
#include "golden/compiled.h"
#include "llm/transformer.h"

namespace brisk {
namespace {

Tensor fixed(const Tensor& x) { return x.realize(); }

// A model of random weights: `blocks` blocks of Llama's kind.
struct Llama {
  ModelConfig config;
  ModelWeights weights;

  Weight weight(std::vector<std::int64_t> shape) {
    Weight w;
    const double scale = 1 / std::sqrt(static_cast<double>(shape.back()));
    w.stored = fixed(numbers(shape, seed_++) * scale);
    w.shape = std::move(shape);
    return w;
  }

  Llama(std::int64_t blocks, std::int64_t width, std::int64_t ffn, std::int64_t heads,
        std::int64_t key_heads, std::int64_t vocabulary, std::int64_t context) {
    config.architecture = find_architecture_of_folder("llama");
    config.width = width;
    config.blocks = blocks;
    config.heads = heads;
    config.key_heads = key_heads;
    config.head_width = width / heads;
    config.ffn_width = ffn;
    config.vocabulary = vocabulary;
    config.context = context;
    config.attention_scale = 1 / std::sqrt(static_cast<double>(config.head_width));
    config.rotary = rotary_frequencies(config.head_width, 10000);
    config.windows.assign(static_cast<std::size_t>(blocks), 0);
    const std::int64_t key_width = key_heads * config.head_width;
    weights.token_embedding = weight({vocabulary, width});
    for (std::int64_t i = 0; i < blocks; ++i) {
      BlockWeights b;
      b.attention_norm.weight = weight({width});
      b.query.weight = weight({width, width});
      b.key.weight = weight({key_width, width});
      b.value.weight = weight({key_width, width});
      b.attention_output.weight = weight({width, width});
      b.ffn_norm.weight = weight({width});
      b.gate.weight = weight({ffn, width});
      b.up.weight = weight({ffn, width});
      b.down.weight = weight({width, ffn});
      weights.blocks.push_back(std::move(b));
    }
    weights.output_norm.weight = weight({width});
    weights.output.weight = weight({vocabulary, width});
  }

 private:
  unsigned seed_ = 1;
};

Tensor rows() { return numbers({64, 300}, 1); }

TEST(KernelCount, AnElementwiseChainIsOneKernel) {
  const Tensor a = numbers({33, 70}, 1), b = numbers({33, 70}, 2), c = numbers({70}, 3);
  expect_kernels(1, {a * b + c});
  expect_kernels(1, {(a * b + c).tanh() * sigmoid(a), a - b});
}

TEST(KernelCount, ASoftmaxIsOneKernel) {
  expect_kernels(1, {softmax(rows(), 1)});
  expect_kernels(1, {softmax(numbers({4, 1000}, 7), 1)});
  expect_kernels(1, {softmax(numbers({512, 1024}, 7), 1)});
  expect_kernels(1, {log_softmax(rows() * 2, 1)});
}

TEST(KernelCount, ASoftmaxOverColumnsIsOneKernel) { expect_kernels(1, {softmax(rows(), 0)}); }

TEST(KernelCount, ASoftmaxWithinAConcatenationIsComputedOnceARow) {
  const Tensor boxes = fixed(numbers({50, 4}, 1));
  const Tensor scores = fixed(numbers({50, 80}, 2));
  const Plan plan = run_and_compare({cat({boxes, softmax(scores, 1)}, 1)});
  std::int64_t operations = 0;
  for (const Plan::KernelInfo& kernel : plan.kernels()) operations += kernel.operations;
  EXPECT_LE(operations, 50 * 84 * 30) << names(plan);
}

TEST(KernelCount, StepsThatAreConcatenatedAreComputedOnceEach) {
  const std::int64_t steps = 24;
  const std::int64_t size = 16;
  const Tensor weight = fixed(numbers({size, size}, 1));
  Tensor h = fixed(numbers({1, size}, 2));
  std::vector<Tensor> all;
  for (std::int64_t i = 0; i < steps; ++i) {
    h = matmul(h, weight).tanh() * sigmoid(matmul(h, weight));
    all.push_back(h);
  }
  const Plan plan = run_and_compare({cat(all, 0)});
  std::int64_t operations = 0;
  for (const Plan::KernelInfo& kernel : plan.kernels()) operations += kernel.operations;
  EXPECT_LE(operations, steps * size * (4 * size + 200)) << names(plan);
}

TEST(KernelCount, NormsAreOneKernelEach) {
  const Tensor scale = numbers({300}, 2), shift = numbers({300}, 3);
  expect_kernels(1, {layer_norm(rows(), scale, shift)});
  expect_kernels(1, {rms_norm(rows(), scale)});
  expect_kernels(1, {layer_norm(numbers({512, 1024}, 5), Dims{1024})});
  expect_kernels(1, {rms_norm(numbers({1, 2048}, 5), numbers({2048}, 6))});
  expect_kernels(1, {group_norm(numbers({2, 8, 10, 10}, 5), 4)});
}

TEST(KernelCount, ACrossEntropyIsOneKernel) {
  const Tensor target = fixed((arange(64) * 37) % 300);
  expect_kernels(1, {cross_entropy(rows(), target)});
  ClassOptions each;
  each.reduction = Reduction::none;
  expect_kernels(1, {cross_entropy(rows(), target, each)});
}

TEST(KernelCount, AttentionIsOneKernel) {
  const Tensor q = numbers({2, 8, 20, 32}, 1), k = numbers({2, 8, 28, 32}, 2),
               v = numbers({2, 8, 28, 32}, 3);
  expect_kernels(1, {scaled_dot_product_attention(q, k, v)});
}

TEST(KernelCount, CausalAttentionIsOneKernel) {
  const Tensor q = numbers({8, 64, 32}, 1), k = numbers({8, 64, 32}, 2),
               v = numbers({8, 64, 32}, 3);
  AttentionOptions options;
  options.causal = true;
  expect_kernels(1, {scaled_dot_product_attention(q, k, v, options)});
}

TEST(KernelCount, AttentionWithMaskAndCapIsOneKernel) {
  const Tensor q = numbers({8, 20, 32}, 1), k = numbers({8, 28, 32}, 2),
               v = numbers({8, 28, 32}, 3);
  AttentionOptions options;
  options.mask = fixed(numbers({20, 28}, 4) > -0.5);
  options.softcap = 2;
  expect_kernels(1, {scaled_dot_product_attention(q, k, v, options)});
}

TEST(KernelCount, AttentionWithGroupedHeadsIsOneKernel) {
  const Tensor q = numbers({8, 20, 32}, 1), k = numbers({2, 28, 32}, 2),
               v = numbers({2, 28, 32}, 3);
  AttentionOptions options;
  options.causal_end = true;
  expect_kernels(1, {scaled_dot_product_attention(q, k, v, options)});
}

TEST(KernelCount, AProductWithBiasAndActivationIsOneKernel) {
  const Tensor x = numbers({40, 96}, 1), w = numbers({72, 96}, 2), b = numbers({72}, 3);
  expect_kernels(1, {gelu(linear(x, w, b))});
  expect_kernels(1, {relu(matmul(x, numbers({96, 72}, 5)) + b)});
  expect_kernels(1,
                 {silu(linear(numbers({1, 512}, 4), numbers({300, 512}, 6), numbers({300}, 3)))});
  expect_kernels(1, {silu(linear(x, w, b)) * numbers({40, 72}, 9)});
}

TEST(KernelCount, TheStateOfALstmIsMadeOnTheWayToItsOutput) {
  for (const std::int64_t rows : {1, 2}) {
    const Tensor x = numbers({rows, 256}, 1), state = numbers({rows, 64}, 2);
    const Tensor cell = numbers({rows, 64}, 3), weights = numbers({256, 64}, 4);
    const Tensor all = x + matmul(state, weights.transpose(0, 1));
    const auto gate = [&](int i) { return all.narrow(1, i * 64, 64); };
    const Tensor next = sigmoid(gate(2)) * cell + sigmoid(gate(0)) * gate(3).tanh();
    expect_kernels(1, {sigmoid(gate(1)) * next.tanh(), next});
  }
}

TEST(KernelCount, ALlamaBlockDecodesInAtMostEightKernels) {
  const auto count = [](std::int64_t blocks, std::int64_t width, std::int64_t ffn,
                        std::int64_t heads, std::int64_t key_heads, bool run) {
    Llama model(blocks, width, ffn, heads, key_heads, 500, 64);
    const KvCache cache(model.config, 64, DType::float16);
    const Transformer transformer(model.config, model.weights, cache);
    const Tensor tokens = tensor<std::int64_t>({17});
    const auto output =
        transformer(tokens, Dim::variable("position", 0, 63), false, Rounding::bytes);
    if (run) {
      const Plan plan = run_and_compare({output.logits}, {{"position", 5}}, 1e-3);
      return std::pair(plan.kernels().size(), names(plan));
    }
    const Node root = node_of(output.logits);
    const Plan plan({&root, 1}, Engine::shared());
    return std::pair(plan.kernels().size(), names(plan));
  };
  for (const bool wide : {false, true}) {
    const auto size = [&](std::int64_t blocks) {
      return wide ? count(blocks, 1024, 2816, 16, 4, false) : count(blocks, 128, 352, 4, 2, true);
    };
    const auto [one, first] = size(1);
    const auto [three, all] = size(3);
    EXPECT_LE(three - one, 16U) << all;
    EXPECT_LE(one, 8U + 1U) << first;  // and the output
  }
}

TEST(KernelCount, RunningSumsAreOneOrOfLongRowsThree) {
  expect_kernels(1, {cumsum(numbers({7, 1000}, 3), 1)});
  expect_kernels(1, {cumsum(softmax(numbers({7, 1000}, 3), 1), 1)});
  expect_kernels(1, {cumprod(numbers({300, 7}, 3), 0)});
  expect_kernels(3, {cumsum(numbers({5000}, 3), 0)});
}

TEST(KernelCount, OrderingARowIsOneKernelAndItsValuesAnother) {
  for (const std::int64_t length : {10, 100, 1000, 5000}) {
    SCOPED_TRACE(length);
    const Tensor x = numbers({1, length}, 3);
    const ValuesIndices best = topk(x, 8);
    expect_kernels(2, {best.values, best.indices});
    const ValuesIndices all = sort(x);
    expect_kernels(2, {all.values, all.indices});
  }
}

TEST(KernelCount, ATransformersIntermediatesTakeHardlyMoreThanLivenessNeeds) {
  Llama model(12, 64, 176, 4, 2, 200, 32);
  const KvCache cache(model.config, 32, DType::float32);
  const Transformer transformer(model.config, model.weights, cache);
  const Tensor tokens = fixed((arange(16) * 31) % 200);
  const Plan plan =
      run_and_compare({transformer(tokens, 0, true, Rounding::bytes).logits}, {}, 1e-3);
  EXPECT_GT(plan.intermediate_lower_bound(), 0);
  EXPECT_LE(static_cast<double>(plan.intermediate_bytes()),
            1.1 * static_cast<double>(plan.intermediate_lower_bound()));
}

}  // namespace
}  // namespace brisk
