// What a model costs in memory: weights are read where the file lies, nothing of the size of a
// matrix is stored on the way, and a block takes few kernels.
#include <gtest/gtest.h>

#include "device/device.h"
#include "engine/engine.h"
#include "llm/model.h"
#include "llm/model_executors.h"
#include "llm/model_fixture.h"
#include "tensor/node_of.h"

namespace brisk {
namespace {

FixtureModel wide_model(std::int64_t blocks) {
  FixtureModel made;
  made.width = 256, made.heads = 8, made.key_heads = 2, made.head_width = 32, made.ffn = 512;
  made.vocabulary = 2000, made.blocks = blocks, made.context = 128;
  made.make();
  return made;
}

TEST(ModelMemory, reads_every_weight_where_it_lies) {
  const UseExecutor executor("engine");
  const std::string& device = Engine::shared().device().info().id;
  if (device != "cpu") GTEST_SKIP() << device << " has memory of its own";
  const auto bytes = wide_model(2).gguf(BlockType::q4_0);
  const Model model = Model::load(ModelFile::parse_gguf(bytes, "fixture"));
  const auto lies_in_file = [&](const Weight& weight) {
    const auto storage = node_of(weight.stored).attr().storage;
    const auto* buffer = dynamic_cast<const Buffer*>(storage.get());
    if (buffer == nullptr) return false;
    const auto* at = static_cast<const std::byte*>(buffer->address());
    return at >= bytes.data() && at + buffer->bytes() <= bytes.data() + bytes.size();
  };
  EXPECT_TRUE(lies_in_file(model.weights().token_embedding));
  EXPECT_TRUE(lies_in_file(model.weights().output.weight));
  for (const BlockWeights& block : model.weights().blocks) {
    for (const WeightBias* part : {&block.attention_norm, &block.query, &block.key, &block.value,
                                   &block.attention_output, &block.gate, &block.up, &block.down}) {
      EXPECT_TRUE(lies_in_file(part->weight));
    }
  }
}

TEST(ModelMemory, stores_no_decoded_matrix_on_the_way) {
  const UseExecutor executor("engine");
  for (const BlockType type : {BlockType::q4_0, BlockType::q8_0, BlockType::q6_k, BlockType::f16}) {
    const auto bytes = wide_model(1).gguf(type);
    const Model model = Model::load(ModelFile::parse_gguf(bytes, "fixture"));
    Session session(model, {.context = 128, .batch = 1});
    const Plan* plan = session.decode_step().plan();
    ASSERT_NE(plan, nullptr);
    // The smallest matrix is 64 rows of 256 floats. Where there are more threads than results, sums
    // are first made in parts, of which the most are the logits'.
    const Target& target = Engine::shared().target();
    const std::int64_t logits = model.config().vocabulary;
    const bool in_parts = 2L * target.threads > logits;
    EXPECT_LT(plan->intermediate_bytes(),
              64 * 256 * 4 + (in_parts ? 4 * logits * target.partial_results : 0))
        << block_info(type).name;
  }
}

TEST(ModelMemory, takes_at_most_eight_kernels_a_block) {
  const UseExecutor executor("engine");
  const auto kernels = [](std::int64_t blocks) {
    const auto bytes = wide_model(blocks).gguf(BlockType::q8_0);
    const Model model = Model::load(ModelFile::parse_gguf(bytes, "fixture"));
    Session session(model, {.context = 128, .batch = 1});
    return session.decode_step().plan()->kernels().size();
  };
  EXPECT_LE(kernels(3) - kernels(2), 8U);
}

}  // namespace
}  // namespace brisk
