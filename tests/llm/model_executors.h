// The ways to compute that model tests run under: the evaluator, and the engine where it is set up.
#pragma once

#include "base/error.h"
#include "tensor/realize.h"

#include <memory>
#include <string>

namespace brisk {

/// Makes an executor the thread's own as long as it lives.
class UseExecutor {
 public:
  explicit UseExecutor(const std::string& name)
      : executor_(name == "engine" ? engine_executor() : evaluator()),
        before_(use_executor(executor_.get())) {}
  ~UseExecutor() { use_executor(before_); }
  UseExecutor(const UseExecutor&) = delete;
  UseExecutor& operator=(const UseExecutor&) = delete;

 private:
  std::unique_ptr<Executor> executor_;
  Executor* before_;
};

}  // namespace brisk
