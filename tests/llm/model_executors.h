// The ways to compute that model tests run under: the evaluator, the engine, and the kernels that
// groups of threads would run on a GPU, interpreted.
#pragma once

#include "base/error.h"
#include "ops/interpreted.h"
#include "tensor/realize.h"

#include <memory>
#include <string>

namespace brisk {

/// Makes an executor the thread's own as long as it lives.
class UseExecutor {
 public:
  explicit UseExecutor(const std::string& name)
      : executor_(make(name)), before_(use_executor(executor_.get())) {}
  ~UseExecutor() { use_executor(before_); }
  UseExecutor(const UseExecutor&) = delete;
  UseExecutor& operator=(const UseExecutor&) = delete;

 private:
  static std::unique_ptr<Executor> make(const std::string& name) {
    if (name == "groups") return std::make_unique<ops_test::Interpreted>("sm_90a");
    return name == "engine" ? engine_executor() : evaluator();
  }

  std::unique_ptr<Executor> executor_;
  Executor* before_;
};

}  // namespace brisk
