// The CPU device's threads. Input: a kernel's entry point and its launch; output: all tasks of all
// its phases done, each phase before the next.
//
// The caller works too, and only a thread that holds tasks is ever waited for: a worker that the
// operating system does not run costs its share of the work and nothing else. Who waits, spins for
// a moment and then sleeps; a sleeping caller leaves its processor to a worker that lost its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace brisk {

/// A kernel's entry point; codegen/codegen.h says what it does.
using Entry = void (*)(void* const* buffers, const std::int64_t* variables, std::int64_t phase,
                       std::int64_t begin, std::int64_t end, void* scratch);

struct Work {
  Entry entry = nullptr;
  void* const* buffers = nullptr;
  const std::int64_t* variables = nullptr;
  std::span<const std::int64_t> phase_tasks;
  std::size_t scratch_bytes = 0;
};

class ThreadPool {
 public:
  /// `threads` counts the caller: a pool of one has no workers.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// From any thread; launches of several threads run one after the other, except that those with
  /// one task a phase run at once in their callers. DeviceError where there is no memory for
  /// scratch.
  void run(const Work& work);

 private:
  class Scratch;  // of one thread
  static Scratch& scratch_of_this_thread();

  void run_phase(const Work& work, std::int64_t phase, std::int64_t tasks, Scratch& scratch);
  void worker_main(int index);
  // Takes tasks until none are left to take, those of the thread's own share first; returns the
  // epoch that it saw exhausted.
  std::uint64_t take_tasks(std::size_t own, Scratch& scratch);
  void wait_until_done(std::int64_t tasks);

  std::mutex launches_;
  std::vector<std::thread> workers_;

  // What is being run: an epoch for each phase, told when all else is set; and of each thread the
  // tasks that are left of its share. A share names its epoch: whoever takes of it has read the
  // fields of that one.
  struct alignas(64) Share {
    std::atomic<std::uint64_t> pieces = 0;
  };
  std::vector<Share> shares_;
  alignas(64) std::atomic<std::uint64_t> epoch_ = 0;
  std::atomic<Entry> entry_ = nullptr;
  std::atomic<void* const*> buffers_ = nullptr;
  std::atomic<const std::int64_t*> variables_ = nullptr;
  std::atomic<std::int64_t> phase_ = 0;
  std::atomic<std::int64_t> tasks_ = 0;
  std::atomic<std::int64_t> piece_ = 1;  // tasks that are taken or left together
  std::atomic<std::size_t> scratch_bytes_ = 0;

  alignas(64) std::atomic<std::int64_t> done_ = 0;  // tasks of this epoch
  std::atomic<std::uint32_t> caller_sleeps_ = 0;
  std::atomic<std::uint32_t> caller_alarm_ = 0;  // futex

  // Processors that the caller and the last worker to begin were seen on: two that share one must
  // not spin.
  alignas(64) std::atomic<int> caller_cpu_ = -1;
  std::atomic<int> worker_cpu_ = -1;

  alignas(64) std::atomic<std::uint32_t> sleepers_ = 0;
  std::atomic<std::uint32_t> worker_alarm_ = 0;  // futex
  std::atomic<bool> stop_ = false;
};

}  // namespace brisk
