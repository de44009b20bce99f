// Step: a computation recorded once and replayed. A training step's forward pass, backward pass and
// update become one list of kernels, which is scheduled and compiled at the first call alone.
//
//   Tensor x = empty({64, 784}), y = empty({64}, DType::int64);
//   Step step([&] {
//     Tensor loss = cross_entropy(net(x), y);
//     loss.backward();
//     optimizer.step();
//     optimizer.zero_grad();  // gradients that are kept would be stored
//     return loss;
//   });
//   for (…) {
//     x.copy_from(images);
//     y.copy_from(labels);
//     step();                 // step()[0].item<float>() is the loss
//   }
//
// The function runs once. Replays read the memory that the function's tensors lay in and write what
// it assigned to; random numbers are those that the function would draw if it ran again. Numbers of
// C++ are as they were: what changes from step to step is a tensor (a learning rate is one,
// brisk/optim.h). Nothing can be computed while it records, and what it draws from or assigns to
// outlives the Step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "brisk/tensor.h"

namespace brisk {

struct StepOptions {
  /// Bytes that the step's intermediate values may take: activations, gradients on their way; not
  /// parameters, the optimizer's state or what the function returns. What they would take beyond
  /// is computed again where it is read, cheap and large values first, with the same random
  /// numbers; results differ in last bits at most. UserError at the first run where that does not
  /// do, with what would. 0: no limit but BRISK_MEMORY's.
  std::int64_t memory = 0;
};

class Step {
 public:
  /// A function without arguments that returns a Tensor, a std::vector of them, or nothing.
  template <typename Function>
  requires std::is_invocable_v<Function&>
  explicit Step(Function function, const StepOptions& options = {})
      : Step(Recorded(listing(std::move(function))), options) {}
  ~Step();
  Step(Step&&) noexcept;
  Step& operator=(Step&&) noexcept;

  /// Runs the step; what the function returned, which every run overwrites.
  const std::vector<Tensor>& operator()();

  struct KernelTime {
    std::string name;
    double seconds;
  };
  /// Runs the step kernel by kernel. Where the evaluator computes there are none.
  std::vector<KernelTime> timed();
  /// Bytes that intermediate values take; 0 before the first run, and where the evaluator computes.
  std::int64_t memory() const;

 private:
  using Recorded = std::function<std::vector<Tensor>()>;
  Step(Recorded function, const StepOptions& options);

  template <typename Function>
  static Recorded listing(Function function) {
    using Result = std::invoke_result_t<Function&>;
    return [function = std::move(function)]() mutable -> std::vector<Tensor> {
      if constexpr (std::is_void_v<Result>) {
        function();
        return {};
      } else {
        return {function()};
      }
    };
  }

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace brisk
