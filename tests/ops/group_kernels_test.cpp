// What groups of threads compute, at sizes that meet each way of the strategies: the kernels of a
// GPU, interpreted, against the evaluator; where there is a ptxas it takes them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include <fmt/ranges.h>

#include "brisk/brisk.h"
#include "brisk/functional.h"
#include "codegen/ptx.h"
#include "formats/quant_tensors.h"
#include "kernel/print.h"
#include "ops/interpreted.h"
#include "tensor/node_of.h"

namespace brisk::ops_test {
namespace {

using Values = std::vector<double>;

class Numbers {
 public:
  explicit Numbers(unsigned seed) : state_(seed) {}
  std::uint32_t bits() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>(state_ >> 33);
  }
  Tensor floats(const Dims& shape, DType dtype = DType::float32) {
    std::vector<float> values(static_cast<std::size_t>(element_count(shape)));
    for (float& value : values) value = static_cast<float>(bits() % 2001) / 1000 - 1;
    return from_host(std::span<const float>(values), shape).cast(dtype);
  }
  /// Rows of blocks with scales that are halves of ordinary size.
  Tensor blocks(std::int64_t rows, std::int64_t columns, BlockType type, BlockLayout layout) {
    const BlockInfo& info = block_info(type);
    const std::int64_t row = columns / info.values * info.bytes;
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(rows * row));
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(bits());
    const bool half_later = type == BlockType::q6_k || type == BlockType::q3_k;
    for (std::size_t at = 0; at < bytes.size(); at += static_cast<std::size_t>(info.bytes)) {
      const std::size_t half = half_later ? at + static_cast<std::size_t>(info.bytes) - 2 : at;
      bytes[half + 1] = 0x20 | (bytes[half + 1] & 0x83);
      if (type == BlockType::q4_k || type == BlockType::q5_k || type == BlockType::q4_1)
        bytes[half + 3] = 0x20 | (bytes[half + 3] & 0x83);
    }
    if (layout == BlockLayout::blocks)
      return from_host(std::span<const std::uint8_t>(bytes), {rows, row});
    const auto planes = split_planes(type, std::as_bytes(std::span(bytes)), columns);
    return from_bytes(planes, {rows, row}, DType::uint8);
  }

 private:
  static std::int64_t element_count(const Dims& shape) {
    std::int64_t count = 1;
    for (const Dim& size : shape) count *= size.value();
    return count;
  }
  std::uint64_t state_;
};

using Make = std::function<Tensor(Numbers&)>;

Values values_by(Executor& executor, const Make& make, const VariableValues& variables) {
  Executor* before = use_executor(&executor);
  Numbers numbers(7);
  const Node root = node_of(make(numbers));
  const Node buffer = executor.realize({&root, 1}, variables)[0];
  std::vector<float> floats(executor.read(buffer).size() / sizeof(float));
  std::memcpy(floats.data(), executor.read(buffer).data(), floats.size() * sizeof(float));
  use_executor(before);
  return {floats.begin(), floats.end()};
}

/// `make` gives float32; the last kernel has the name. Errors are relative to the largest value.
/// `look` sees every kernel.
void expect_same_on(const Target& target, const std::string& name, const Make& make,
                    const VariableValues& variables, double tolerance,
                    const Interpreted::Look& look = {}) {
  Interpreted kernels(target, [&](const Kernel& kernel, const Target& its) {
    if (look) look(kernel, its);
    if (!test::ptxas().empty()) test::assemble(kernel, its);
  });
  const Values got = values_by(kernels, make, variables);
  const Values want = values_by(*evaluator(), make, variables);
  ASSERT_EQ(got.size(), want.size());
  ASSERT_FALSE(want.empty());
  EXPECT_EQ(kernels.names().back(), name);
  double greatest = 0;
  for (const double value : want) {
    ASSERT_TRUE(std::isfinite(value));
    greatest = std::max(greatest, std::fabs(value));
  }
  ASSERT_GT(greatest, 0);
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance * greatest) << "element " << i;
}

void expect_same(const std::string& name, const Make& make, const VariableValues& variables = {},
                 double tolerance = 2e-5) {
  for (const char* cpu : {"sm_75", "sm_90a"}) {
    SCOPED_TRACE(cpu);
    expect_same_on(target_for(cpu), name, make, variables, tolerance);
  }
}

constexpr DType f32 = DType::float32;

TEST(GroupKernels, productsWithAMatrixOfEveryFloat) {
  for (const DType dtype : {f32, DType::float16, DType::bfloat16}) {
    for (const auto& [n, k] : {std::pair{4, 1024}, {70, 256}, {33, 1408}, {1027, 64}, {8, 8192}}) {
      SCOPED_TRACE(fmt::format("{} x {} of {}", n, k, name(dtype)));
      expect_same("group_matrix_vector", [&, n = n, k = k](Numbers& x) {
        return matmul(x.floats({1, k}), x.floats({n, k}, dtype).cast(f32).transpose(0, 1));
      });
    }
  }
}

TEST(GroupKernels, productsOfNormalisedRows) {
  for (const std::int64_t rows : {1, 3, 8}) {
    SCOPED_TRACE(rows);
    expect_same("group_matrix_vector", [&](Numbers& x) {
      const Tensor row = rms_norm(x.floats({rows, 512}), x.floats({512}));
      return matmul(row, x.floats({61, 512}, DType::float16).cast(f32).transpose(0, 1));
    });
  }
}

TEST(GroupKernels, twoProductsOfOneRowMeetInAResult) {
  expect_same("group_matrix_vector", [](Numbers& x) {
    const Tensor row = rms_norm(x.floats({1, 512}), x.floats({512}));
    const auto matrix = [&] { return x.floats({90, 512}, DType::bfloat16).cast(f32); };
    return silu(matmul(row, matrix().transpose(0, 1))) * matmul(row, matrix().transpose(0, 1));
  });
}

// In one block, in several, and through every number of distances at once; with equal keys.
TEST(GroupKernels, rowsAreSortedByKeysOfFourAndEightBytes) {
  const std::int64_t rows = 3;
  for (const std::int64_t length : {64, 100, 2049, 9000}) {
    for (const DType dtype : {f32, DType::float64}) {
      SCOPED_TRACE(fmt::format("{} of {}", length, name(dtype)));
      const auto keys = [&](Numbers& x) { return x.floats({rows, length}); };
      Interpreted kernels("sm_75", [](const Kernel& kernel, const Target& target) {
        if (!test::ptxas().empty()) test::assemble(kernel, target);
      });
      const Values order = values_by(
          kernels, [&](Numbers& x) { return argsort(keys(x).cast(dtype), 1).cast(f32); }, {});
      EXPECT_EQ(std::count(kernels.names().begin(), kernels.names().end(), "group_ranking"), 1);
      const Values values = values_by(*evaluator(), keys, {});
      for (std::int64_t row = 0; row < rows; ++row) {
        std::vector<std::size_t> want(static_cast<std::size_t>(length));
        std::iota(want.begin(), want.end(), std::size_t{0});
        const auto first = static_cast<std::size_t>(row * length);
        std::stable_sort(want.begin(), want.end(), [&](std::size_t a, std::size_t b) {
          return values[first + a] < values[first + b];
        });
        for (std::size_t i = 0; i < want.size(); ++i)
          ASSERT_EQ(order[first + i], static_cast<double>(want[i])) << row << ", " << i;
      }
    }
  }
}

// Within a block, in a block and a bit, in more blocks than there are threads.
TEST(GroupKernels, rowsRunAlong) {
  for (const std::int64_t length : {64, 300, 2048, 2500}) {
    SCOPED_TRACE(length);
    expect_same("group_running", [&](Numbers& x) {
      return cumsum(x.floats({3, length}) * 2, 1) + x.floats({3, length});
    });
    expect_same("group_running", [&](Numbers& x) {
      return cummax(x.floats({2, length}), 1).values;
    });
  }
  expect_same("group_running", [](Numbers& x) { return cumsum(x.floats({300, 2}), 0); });
  expect_same("group_running", [](Numbers& x) {
    return cumprod(x.floats({2, 400}) * 0.01 + 1, 1);
  });
}

TEST(GroupKernels, sumsBesideRunningOnesAreMadeFirst) {
  expect_same("group_running", [](Numbers& x) {
    const Tensor terms = x.floats({3, 200, 4}).sum(2);
    return cumsum(terms, 1) * terms.sum(1, true) + cumsum(terms * terms, 1);
  });
}

TEST(GroupKernels, longRowsRunAlong) {
  const std::int64_t length = 2048 * 257 + 5;
  Interpreted kernels("sm_75");
  const auto ones = [&](Numbers& x) { return x.floats({1, length}) * 0 + 1; };
  const Values sums = values_by(kernels, [&](Numbers& x) { return cumsum(ones(x), 1); }, {});
  EXPECT_EQ(kernels.names().back(), "group_running");
  for (std::size_t i = 0; i < sums.size(); ++i)
    ASSERT_EQ(sums[i], static_cast<double>(i % static_cast<std::size_t>(length) + 1)) << i;
}

// As on GPUs whose groups have at most 256 threads, where NVIDIA's would have 512.
TEST(GroupKernels, groupsAreNoLargerThanTheDevicesAre) {
  const auto largest = [](int most, const Make& make) {
    Target target = target_for("sm_75");
    target.group_threads = most;
    std::int64_t threads = 0;
    Interpreted kernels(target, [&](const Kernel& kernel, const Target&) {
      for (const Node& phase : phases_of(kernel)) threads = std::max(threads, threads_of(phase));
    });
    values_by(kernels, make, {});
    return threads;
  };
  const auto row = [](Numbers& x) { return x.floats({1, 16384}).softmax(1); };
  const auto columns = [](Numbers& x) { return x.floats({512, 40}).softmax(0); };
  for (const Make& make : {Make(row), Make(columns)}) {
    EXPECT_EQ(largest(1024, make), 512);
    EXPECT_EQ(largest(256, make), 256);
  }
}

// As rotary positions do: each pair of a product's elements (a, b) becomes (a c - b s, b c + a s).
TEST(GroupKernels, vectorsTurnedPairByPairAreMadeWithTheirProducts) {
  for (const bool neighbours : {true, false}) {
    for (const bool quantised : {false, true}) {
      SCOPED_TRACE(fmt::format("{} {}", neighbours, quantised));
      const auto make = [&](Numbers& x) {
        const Tensor row = rms_norm(x.floats({1, 256}), x.floats({256}));
        const BlockLayout layout = BlockLayout::planes;
        const Tensor product =
            quantised
                ? quantised_linear(round_rows(row), x.blocks(96, 256, BlockType::q8_0, layout),
                                   BlockType::q8_0, layout)
                : matmul(row, x.floats({96, 256}, DType::float16).cast(f32).transpose(0, 1));
        const Tensor heads = product.reshape({1, 4, 24});
        const Dims pairs = neighbours ? Dims{1, 4, 12, 2} : Dims{1, 4, 2, 12};
        const Tensor swapped = heads.reshape(pairs).flip(neighbours ? 3 : 2).reshape({1, 4, 24});
        return heads * x.floats({1, 1, 24}) + swapped * x.floats({1, 1, 24});
      };
      expect_same(quantised ? "group_matrix_vector_bytes" : "group_matrix_vector", make, {},
                  quantised ? 1e-2 : 2e-5);
      std::size_t stores = 0;  // of the last kernel: with each sum once, both elements of a pair
      Interpreted kernels("sm_90a", [&](const Kernel& kernel, const Target&) {
        const std::vector<Node> nodes = topological_order({&kernel.body, 1});
        stores = static_cast<std::size_t>(std::count_if(
            nodes.begin(), nodes.end(),
            [](const Node& node) { return node.is(Op::store_) && node.src(0).is(Op::param_); }));
      });
      values_by(kernels, make, {});
      EXPECT_EQ(stores, 2U);
      const std::vector<std::string> names = kernels.names();
      EXPECT_EQ(std::count(names.begin(), names.end(), "group_map"), 0) << fmt::format("{}", names);
    }
  }
}

TEST(GroupKernels, productsOfAVariableNumberOfRows) {
  const Dim count = Dim::variable("count", 1, 6);
  for (const std::int64_t rows : {1, 4, 6}) {
    SCOPED_TRACE(rows);
    const auto make = [&](Numbers& x) {
      const Tensor some = x.floats({6, 256}).narrow(0, 0, count);
      return matmul(rms_norm(some, x.floats({256})), x.floats({40, 256}).transpose(0, 1));
    };
    expect_same("group_matrix_vector", make, {{"count", rows}});
  }
}

TEST(GroupKernels, productsWithQuantisedMatrices) {
  for (const BlockType type : {BlockType::q8_0, BlockType::q4_0, BlockType::q4_1, BlockType::q5_0,
                               BlockType::q4_k, BlockType::q5_k, BlockType::q6_k}) {
    for (const auto& [rows, layout] : {std::pair{1, BlockLayout::blocks},
                                       {1, BlockLayout::planes},
                                       {3, BlockLayout::planes},
                                       {21, BlockLayout::planes}}) {
      SCOPED_TRACE(fmt::format("{} rows of {}", rows, block_info(type).name));
      expect_same(
          "group_matrix_vector_bytes",
          [&, rows = rows, layout = layout](Numbers& x) {
            const Tensor row = rms_norm(x.floats({rows, 768}), x.floats({768}));
            return quantised_linear(round_rows(row), x.blocks(37, 768, type, layout), type, layout);
          },
          {}, 1e-2);  // a value between two steps may be rounded to the other
    }
  }
}

TEST(GroupKernels, turnedMatricesOfEveryWidth) {
  for (const DType dtype : {f32, DType::float16, DType::int8}) {
    for (const auto& [n, k] : {std::pair{128, 192}, {100, 72}, {36, 260}}) {
      SCOPED_TRACE(fmt::format("{} x {} of {}", n, k, name(dtype)));
      expect_same("group_map", [&, n = n, k = k](Numbers& x) {
        const Tensor turned = (x.floats({3, n, k}) * 100.0).cast(dtype).transpose(1, 2);
        return turned.contiguous().cast(f32) * 2.0;
      });
    }
  }
}

// As products in 8 bits want the operands of a weight's gradient.
TEST(GroupKernels, bytesUnderScalesOfColumnsAreTurnedInSharedMemory) {
  const auto make = [](Numbers& x) {
    const Tensor values = x.floats({1024, 96});
    const Tensor bytes = (values / values.abs().amax(0, true) * 127.0).cast(DType::int8);
    return bytes.transpose(0, 1).contiguous().cast(f32) * 2.0;
  };
  expect_same("group_map", make, {}, 1e-2);  // a value between two steps may go to the other
  Interpreted kernels("sm_90a", [](const Kernel&, const Target&) {});
  values_by(kernels, make, {});
  EXPECT_EQ(kernels.names().front(), "group_transposition");
}

TEST(GroupKernels, productsOfManyRowsOfAVariableNumber) {
  const Dim count = Dim::variable("count", 1, 150);
  for (const std::int64_t rows : {1, 77, 150}) {
    SCOPED_TRACE(rows);
    const auto make = [&](Numbers& x) {
      const Tensor some = x.floats({150, 64}).narrow(0, 0, count);
      return relu(matmul(some, x.floats({40, 64}).transpose(0, 1)) + x.floats({40}));
    };
    expect_same("group_contraction", make, {{"count", rows}});
    const auto turned = [&](Numbers& x) {
      const Tensor some = x.floats({150, 64}).narrow(0, 0, count);
      return matmul(x.floats({40, 64}), some.transpose(0, 1));
    };
    expect_same("group_contraction", turned, {{"count", rows}});
  }
}

TEST(GroupKernels, productsOfManyRowsWithQuantisedMatrices) {
  for (const BlockType type : {BlockType::q8_0, BlockType::q4_0, BlockType::q4_k}) {
    for (const BlockLayout layout : {BlockLayout::blocks, BlockLayout::planes}) {
      SCOPED_TRACE(block_info(type).name);
      expect_same("group_contraction", [&](Numbers& x) {
        const Tensor matrix = dequantise(x.blocks(37, 256, type, layout), type, 256, layout);
        return matmul(x.floats({20, 256}), matrix.transpose(0, 1));
      });
    }
  }
}

TEST(GroupKernels, convolutionsOfFloats) {
  expect_same("group_contraction", [](Numbers& x) {
    return conv2d(x.floats({2, 5, 9, 11}), x.floats({24, 5, 3, 3}));
  });
}

TEST(GroupKernels, attentionOfFewQueriesOverACache) {
  struct Heads {
    std::int64_t heads, key_heads, width;
    DType dtype;
  };
  const Dim seen = Dim::variable("seen", 1, 700);
  for (const Heads& h : {Heads{8, 1, 64, DType::float16}, Heads{4, 2, 128, DType::bfloat16},
                         Heads{3, 3, 24, f32}, Heads{2, 1, 80, DType::float16}}) {
    for (const std::int64_t keys : {1, 65, 700}) {
      SCOPED_TRACE(
          fmt::format("{} heads over {} of {}, {} keys", h.heads, h.key_heads, h.width, keys));
      const auto make = [&](Numbers& x) {
        const auto cache = [&] {
          const Tensor all = x.floats({h.key_heads, 700, h.width}, h.dtype);
          return all.narrow(1, 0, seen).cast(f32);
        };
        const Tensor keys = cache();
        return scaled_dot_product_attention(x.floats({h.heads, 1, h.width}), keys, cache());
      };
      expect_same("group_attention", make, {{"seen", keys}});
    }
  }
}

TEST(GroupKernels, attentionOfSeveralQueriesThatSeeWhatIsBefore) {
  for (const std::int64_t tokens : {2, 7, 40}) {
    SCOPED_TRACE(tokens);
    expect_same("group_attention", [&](Numbers& x) {
      AttentionOptions options;
      options.causal_end = true;
      return scaled_dot_product_attention(x.floats({2, tokens, 32}), x.floats({2, 150, 32}),
                                          x.floats({2, 150, 32}), options);
    });
  }
}

TEST(GroupKernels, rowsThatStayInRegisters) {
  for (const DType dtype : {f32, DType::bfloat16}) {
    for (const std::int64_t width : {64, 1000, 8192}) {
      SCOPED_TRACE(fmt::format("{} of {}", width, name(dtype)));
      expect_same("group_rows", [&](Numbers& x) {
        return x.floats({5, width}, dtype).cast(f32).softmax(1);
      });
      expect_same("group_rows", [&](Numbers& x) {
        return layer_norm(x.floats({5, width}, dtype).cast(f32), x.floats({width}),
                          x.floats({width}));
      });
    }
  }
}

// By clusters: rows that one group could not hold, a few and so many that the next ones are asked
// for ahead.
TEST(GroupKernels, rowsThatStayInTheRegistersOfClusters) {
  for (const auto& [rows, width] : {std::pair{3, 65536}, {1, 131072}, {20, 131072}}) {
    SCOPED_TRACE(fmt::format("{} x {}", rows, width));
    Target target = target_for("sm_90a");
    if (rows > 10) target.threads = 40;
    const auto look = [rows = rows](const Kernel& kernel, const Target& its) {
      const auto phases = phases_of(kernel);
      ASSERT_EQ(phases.size(), 1U);
      EXPECT_EQ(groups_of_task(phases[0]), cluster_groups) << threads_of(phases[0]);
      const std::string text = assembly(kernel, its);
      EXPECT_NE(text.find(".reqnctapercluster 8, 1, 1"), std::string::npos) << text;
      EXPECT_EQ(text.find("prefetch.global") != std::string::npos, rows > 10) << text;
    };
    const auto softmax = [rows = rows, width = width](Numbers& x) {
      return x.floats({rows, width}, DType::bfloat16).cast(f32).softmax(1);
    };
    expect_same_on(target, "group_rows", softmax, {}, 1e-4, look);
  }
}

// A thread takes a window of neighbouring channels.
TEST(GroupKernels, poolsOfChannelsThatLieNextToEachOther) {
  Target target = target_for("sm_90a");
  target.threads = 4;
  const auto look = [](const Kernel& kernel, const Target&) {
    for (const Node& node : topological_order({&kernel.body, 1}))
      EXPECT_FALSE(is_local(node, Memory::shared)) << kernel.name;
  };
  for (const auto& [kernel, stride] : {std::pair{3, 2}, {5, 3}}) {
    SCOPED_TRACE(kernel);
    const auto pool = [kernel = kernel, stride = stride](Numbers& x) {
      const Tensor images = x.floats({3, 40, 40, 64}, DType::bfloat16).permute({0, 3, 1, 2});
      const Tensor y = max_pool2d(images, kernel, {.stride = stride, .padding = 1});
      return y.permute({0, 2, 3, 1}).cast(f32).contiguous();
    };
    expect_same_on(target, "group_columns", pool, {}, 0, look);
  }
}

// Windows of few channels become rows of a matrix, each by a thread.
TEST(GroupKernels, windowsOfFewChannelsArePacked) {
  Target target = target_for("sm_90a");
  target.threads = 4;
  const auto look = [](const Kernel& kernel, const Target&) {
    const Size rows = 3 * 19 * 21;
    if (kernel.name == "tiles_bfloat16") {
      EXPECT_EQ(phase_tasks(kernel)[0], (rows + 127) / 128);
    }
  };
  const auto convolve = [](Numbers& x) {
    return conv2d(x.floats({3, 3, 37, 41}, DType::bfloat16),
                  x.floats({32, 3, 7, 7}, DType::bfloat16), {}, {.stride = 2, .padding = 3})
        .cast(f32);
  };
  expect_same_on(target, "tiles_bfloat16", convolve, {}, 1e-2, look);
}

// Points of one round of a group, of each of its threads, and of several rounds; the order of what
// meets in a place decides how it is rounded.
TEST(GroupKernels, whatMeetsInAPlaceIsAddedInOrder) {
  for (const auto& [points, columns] : {std::pair{7, 40}, {300, 700}, {5'000, 33}}) {
    SCOPED_TRACE(fmt::format("{} rows of {}", points, columns));
    const auto add = [points = points, columns = columns](Numbers& x) {
      std::vector<std::int64_t> rows(static_cast<std::size_t>(points));
      for (std::int64_t& row : rows) row = x.bits() % 37;
      const Tensor index = from_host(std::span<const std::int64_t>(rows), {points});
      return index_add(x.floats({37, columns}), 0, index, x.floats({points, columns}));
    };
    expect_same("group_scatter", add, {}, 0);
  }
}

// Several sums of the same columns read them once.
TEST(GroupKernels, sumsOfTheSameColumnsAreMadeTogether) {
  Interpreted kernels("sm_90a", [](const Kernel& kernel, const Target&) {
    EXPECT_EQ(phases_of(kernel).size(), 2U) << print(kernel);
  });
  const auto sums_by = [](Executor& executor) {
    Executor* before = use_executor(&executor);
    Numbers numbers(7);
    const Tensor x = numbers.floats({20'000, 64}), y = numbers.floats({20'000, 64});
    std::vector<Tensor> sums = {x.sum(0), (x * y).sum(0), (x + 1).sum(0)};
    realize(sums);
    Values values;
    for (const Tensor& sum : sums) {
      const std::vector<float> floats = sum.to_vector<float>();
      values.insert(values.end(), floats.begin(), floats.end());
    }
    use_executor(before);
    return values;
  };
  const Values got = sums_by(kernels), want = sums_by(*evaluator());
  EXPECT_EQ(kernels.names(), std::vector<std::string>{"group_columns"});
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], 1e-2 + 1e-4 * std::fabs(want[i])) << "element " << i;
}

TEST(GroupKernels, sumsOfColumns) {
  for (const auto& [rows, columns] : {std::pair{3000, 37}, {517, 256}, {64, 1028}, {40'000, 64}}) {
    SCOPED_TRACE(fmt::format("{} rows of {}", rows, columns));
    expect_same("group_columns", [&, rows = rows, columns = columns](Numbers& x) {
      return x.floats({rows, columns}).sum(0);
    });
  }
}

TEST(GroupKernels, sumsOfEverything) {
  for (const std::int64_t count : {2, 77, 5000, 300'000}) {
    SCOPED_TRACE(count);
    expect_same("group_rows", [&](Numbers& x) { return square(x.floats({count})).sum(); });
  }
}

}  // namespace
}  // namespace brisk::ops_test
