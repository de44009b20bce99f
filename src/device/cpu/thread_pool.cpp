#include "device/cpu/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>

#include "base/error.h"

namespace brisk {

namespace {

constexpr int task_bits = 40;
constexpr std::uint64_t task_mask = (std::uint64_t{1} << task_bits) - 1;
constexpr std::uint64_t closed = task_mask;  // no task has this index

// Longer than the gaps between the launches of a running model, shorter than anyone would notice on
// an idle machine.
constexpr auto spin_time = std::chrono::microseconds(50);
// A caller whose last tasks are held by a preempted worker gives up its processor early: the
// scheduler then runs the worker there.
constexpr auto caller_spin_time = std::chrono::microseconds(30);

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t expected) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<std::uint32_t>& word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

// Spins until `ready`, at most for `limit` and only while not `in_the_way` of who is waited for;
// the clock is read once in a while only.
template <typename Ready, typename InTheWay>
bool spin_until(Ready&& ready, InTheWay&& in_the_way, std::chrono::nanoseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      pause_briefly();
    }
    if (in_the_way()) return false;
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

// Grows, never shrinks.
class ThreadPool::Scratch {
 public:
  /// False where there is no memory.
  bool at_least(std::size_t bytes) {
    if (bytes <= bytes_) return true;
    memory_.reset(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
    bytes_ = memory_ ? bytes : 0;
    return memory_ != nullptr;
  }
  void* memory() const { return memory_.get(); }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  std::size_t bytes_ = 0;
};

ThreadPool::Scratch& ThreadPool::scratch_of_this_thread() {
  static thread_local Scratch scratch;
  return scratch;
}

ThreadPool::ThreadPool(int threads) : ticket_(closed) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { worker_main(i); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  worker_alarm_.fetch_add(1);
  futex_wake(worker_alarm_, static_cast<int>(workers_.size()));
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(const Work& work) {
  Scratch& scratch = scratch_of_this_thread();
  if (!scratch.at_least(work.scratch_bytes)) {
    device_error("cpu: no memory for {} bytes of a kernel's scratch", work.scratch_bytes);
  }
  bool parallel = false;
  for (const std::int64_t tasks : work.phase_tasks) parallel |= tasks > 1;
  std::unique_lock<std::mutex> lock;
  if (parallel && !workers_.empty()) lock = std::unique_lock(launches_);
  for (std::size_t i = 0; i < work.phase_tasks.size(); ++i) {
    const std::int64_t tasks = work.phase_tasks[i];
    const auto phase = static_cast<std::int64_t>(i);
    if (tasks > 1 && lock) {
      run_phase(work, phase, tasks, scratch);
    } else if (tasks > 0) {
      work.entry(work.buffers, work.variables, phase, 0, tasks, scratch.memory());
    }
  }
}

void ThreadPool::run_phase(const Work& work, std::int64_t phase, std::int64_t tasks,
                           Scratch& scratch) {
  check(static_cast<std::uint64_t>(tasks) < closed, "a phase's number of tasks");
  const std::uint64_t epoch = (ticket_.load(std::memory_order_relaxed) >> task_bits) + 1;
  ticket_.store(epoch << task_bits | closed, std::memory_order_relaxed);
  entry_.store(work.entry, std::memory_order_release);
  buffers_.store(work.buffers, std::memory_order_release);
  variables_.store(work.variables, std::memory_order_release);
  phase_.store(phase, std::memory_order_release);
  tasks_.store(tasks, std::memory_order_release);
  scratch_bytes_.store(work.scratch_bytes, std::memory_order_release);
  done_.store(0, std::memory_order_relaxed);
  caller_cpu_.store(sched_getcpu(), std::memory_order_relaxed);
  ticket_.store(epoch << task_bits);  // sequentially consistent, against sleepers_
  if (const std::uint32_t sleepers = sleepers_.load(); sleepers > 0) {
    worker_alarm_.fetch_add(1);
    futex_wake(worker_alarm_, static_cast<int>(std::min<std::int64_t>(sleepers, tasks - 1)));
  }
  take_tasks(scratch);
  wait_until_done(tasks);
}

std::uint64_t ThreadPool::take_tasks(Scratch& scratch) {
  const auto threads = static_cast<std::int64_t>(workers_.size()) + 1;
  std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (true) {
    const auto next = static_cast<std::int64_t>(ticket & task_mask);
    const std::int64_t tasks = tasks_.load(std::memory_order_acquire);
    // Without memory for its scratch, a worker leaves the tasks to the others.
    if (next >= tasks || !scratch.at_least(scratch_bytes_.load(std::memory_order_acquire))) {
      return ticket >> task_bits;
    }
    const Entry entry = entry_.load(std::memory_order_acquire);
    void* const* buffers = buffers_.load(std::memory_order_acquire);
    const std::int64_t* variables = variables_.load(std::memory_order_acquire);
    const std::int64_t phase = phase_.load(std::memory_order_acquire);
    // Ever smaller pieces, so that the threads end together.
    const std::int64_t count = std::max<std::int64_t>(1, (tasks - next) / (4 * threads));
    if (!ticket_.compare_exchange_strong(ticket, ticket + static_cast<std::uint64_t>(count),
                                         std::memory_order_acq_rel, std::memory_order_acquire)) {
      continue;
    }
    entry(buffers, variables, phase, next, next + count, scratch.memory());
    if (done_.fetch_add(count) + count == tasks && caller_sleeps_.load() != 0) {
      caller_alarm_.fetch_add(1);
      futex_wake(caller_alarm_, 1);
    }
    ticket = ticket_.load(std::memory_order_acquire);
  }
}

void ThreadPool::wait_until_done(std::int64_t tasks) {
  const auto finished = [&] { return done_.load(std::memory_order_acquire) == tasks; };
  const auto in_the_way = [&] {
    return sched_getcpu() == worker_cpu_.load(std::memory_order_relaxed);
  };
  if (spin_until(finished, in_the_way, caller_spin_time)) return;
  caller_sleeps_.store(1);
  while (true) {
    const std::uint32_t alarm = caller_alarm_.load();
    if (done_.load() == tasks) break;
    futex_wait(caller_alarm_, alarm);
  }
  caller_sleeps_.store(0);
}

void ThreadPool::worker_main(int index) {
  pthread_setname_np(pthread_self(), fmt::format("brisk-{}", index).c_str());
  Scratch& scratch = scratch_of_this_thread();
  std::uint64_t seen = 0;
  const auto news = [&] {
    const std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    return (ticket >> task_bits != seen && (ticket & task_mask) != closed) ||
           stop_.load(std::memory_order_relaxed);
  };
  while (!stop_) {
    // On a busy machine a worker may run where the caller did, who then waits to go on.
    const auto in_the_way = [&] {
      return sched_getcpu() == caller_cpu_.load(std::memory_order_relaxed);
    };
    if (!spin_until(news, in_the_way, spin_time)) {
      sleepers_.fetch_add(1);
      const std::uint32_t alarm = worker_alarm_.load();
      if (const std::uint64_t ticket = ticket_.load(); ticket >> task_bits == seen && !stop_) {
        futex_wait(worker_alarm_, alarm);
      }
      sleepers_.fetch_sub(1);
      continue;
    }
    worker_cpu_.store(sched_getcpu(), std::memory_order_relaxed);
    seen = take_tasks(scratch);
  }
}

}  // namespace brisk
