// Tensors from several threads, and what stays alive.
#include <thread>

#include "graph/node.h"
#include "tensor/tensor_test.h"

namespace brisk {
namespace {

TEST(TensorThreads, BuildAndRealizeTogether) {
  const Tensor shared = counting({64}) * 2;
  std::vector<double> sums(8);
  std::vector<std::thread> threads;
  for (int id = 0; id < 8; ++id) {
    threads.emplace_back([&, id] {
      const std::unique_ptr<Executor> own = evaluator();
      use_executor(own.get());
      for (int round = 0; round < 10; ++round) {
        const Tensor mine = shared + id;
        if (round % 3 == id % 3) shared.realize();
        sums[id] = mine.sum().item<double>();
      }
      use_executor(nullptr);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int id = 0; id < 8; ++id) EXPECT_EQ(sums[id], 4032 + 64 * id);
}

TEST(TensorThreads, EachHasItsOwnGenerator) {
  manual_seed(5);
  const Tensor here = rand({3});
  Tensor there;
  std::thread([&] {
    manual_seed(5);
    there = rand({3});
  }).join();
  EXPECT_EQ(here.to_vector<float>(), there.to_vector<float>());
}

using TensorLife = TensorTest;

TEST_F(TensorLife, NodesDieWithTheirLastHandle) {
  const auto work = [] {
    Tensor x = rand({10, 10});
    const Tensor y = softmax(matmul(x, x), 1);
    y.realize();
    x.set({0}, 1);
    sort(x + y).values.realize();
  };
  work();
  const std::int64_t alive = live_nodes();
  for (int i = 0; i < 5; ++i) work();
  EXPECT_EQ(live_nodes(), alive);
}

}  // namespace
}  // namespace brisk
