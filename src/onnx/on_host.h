// What is known while a graph is traced is computed by the evaluator, at once.
#pragma once

#include "tensor/realize.h"

namespace brisk::onnx {

/// While one lives, tensors of this thread are made and computed by the evaluator.
class OnHost {
 public:
  OnHost() : before_(use_executor(&host())), was_active_(std::exchange(active_, true)) {}
  ~OnHost() {
    use_executor(before_);
    active_ = was_active_;
  }
  OnHost(const OnHost&) = delete;
  OnHost& operator=(const OnHost&) = delete;
  static bool active() { return active_; }

 private:
  static Executor& host() {
    static const std::unique_ptr<Executor> one = evaluator();
    return *one;
  }
  static inline thread_local bool active_ = false;
  Executor* before_;
  bool was_active_;
};

}  // namespace brisk::onnx
