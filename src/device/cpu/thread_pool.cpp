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

// A thread's share of a phase's tasks, in pieces: an epoch, the first piece that nobody has taken
// and the end of them, in one word.
constexpr int piece_bits = 14;
constexpr std::uint64_t piece_mask = (std::uint64_t{1} << piece_bits) - 1;

struct Range {
  std::uint64_t begin, end;

  explicit Range(std::uint64_t word)
      : begin(word >> piece_bits & piece_mask), end(word & piece_mask) {}
  std::uint64_t count() const { return end - begin; }
};

std::uint64_t packed(std::uint64_t epoch, std::uint64_t begin, std::uint64_t end) {
  return epoch << 2 * piece_bits | begin << piece_bits | end;
}

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

ThreadPool::ThreadPool(int threads) : shares_(static_cast<std::size_t>(threads)) {
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

// Neighbouring tasks go to one thread as far as can be: memory answers streams, and what one asks
// for ahead, or leaves in its caches, is what it needs next.
void ThreadPool::run_phase(const Work& work, std::int64_t phase, std::int64_t tasks,
                           Scratch& scratch) {
  const std::uint64_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  constexpr auto most_pieces = static_cast<std::int64_t>(piece_mask);
  const std::int64_t piece = (tasks + most_pieces - 1) / most_pieces;
  const auto pieces = static_cast<std::uint64_t>((tasks + piece - 1) / piece);
  entry_.store(work.entry, std::memory_order_relaxed);
  buffers_.store(work.buffers, std::memory_order_relaxed);
  variables_.store(work.variables, std::memory_order_relaxed);
  phase_.store(phase, std::memory_order_relaxed);
  tasks_.store(tasks, std::memory_order_relaxed);
  piece_.store(piece, std::memory_order_relaxed);
  scratch_bytes_.store(work.scratch_bytes, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  caller_cpu_.store(sched_getcpu(), std::memory_order_relaxed);
  const std::uint64_t threads = shares_.size();
  for (std::uint64_t i = 0; i < threads; ++i) {
    shares_[i].pieces.store(packed(epoch, pieces * i / threads, pieces * (i + 1) / threads),
                            std::memory_order_release);
  }
  epoch_.store(epoch);  // sequentially consistent, against sleepers_
  if (const std::uint32_t sleepers = sleepers_.load(); sleepers > 0) {
    worker_alarm_.fetch_add(1);
    futex_wake(worker_alarm_, static_cast<int>(std::min<std::int64_t>(sleepers, tasks - 1)));
  }
  take_tasks(0, scratch);
  wait_until_done(tasks);
}

std::uint64_t ThreadPool::take_tasks(std::size_t own, Scratch& scratch) {
  const std::uint64_t epoch = epoch_.load(std::memory_order_acquire);
  for (;;) {
    // Its own share from the front; then from the end of the longest of the others'.
    std::size_t from = own;
    std::uint64_t word = shares_[own].pieces.load(std::memory_order_acquire);
    const bool finished = Range(word).count() == 0;
    for (std::size_t i = 0; finished && i < shares_.size(); ++i) {
      const std::uint64_t other = shares_[i].pieces.load(std::memory_order_acquire);
      if (Range(other).count() <= Range(word).count()) continue;
      word = other;
      from = i;
    }
    const Range range(word);
    // Without memory for its scratch, a worker leaves the tasks to the others.
    if (range.count() == 0 || !scratch.at_least(scratch_bytes_.load(std::memory_order_relaxed))) {
      return epoch;
    }
    const Entry entry = entry_.load(std::memory_order_relaxed);
    void* const* buffers = buffers_.load(std::memory_order_relaxed);
    const std::int64_t* variables = variables_.load(std::memory_order_relaxed);
    const std::int64_t phase = phase_.load(std::memory_order_relaxed);
    const std::int64_t tasks = tasks_.load(std::memory_order_relaxed);
    const std::int64_t piece = piece_.load(std::memory_order_relaxed);
    // Ever fewer, so that the threads end together.
    const std::uint64_t count = std::max<std::uint64_t>(1, range.count() / (from == own ? 4 : 2));
    const Range mine(from == own ? packed(0, range.begin, range.begin + count)
                                 : packed(0, range.end - count, range.end));
    const std::uint64_t left = word >> 2 * piece_bits;
    const std::uint64_t rest =
        from == own ? packed(left, mine.end, range.end) : packed(left, range.begin, mine.begin);
    if (!shares_[from].pieces.compare_exchange_strong(word, rest, std::memory_order_acq_rel,
                                                      std::memory_order_relaxed)) {
      continue;
    }
    const std::int64_t begin = static_cast<std::int64_t>(mine.begin) * piece;
    const std::int64_t end = std::min(tasks, static_cast<std::int64_t>(mine.end) * piece);
    entry(buffers, variables, phase, begin, end, scratch.memory());
    if (done_.fetch_add(end - begin) + end - begin == tasks && caller_sleeps_.load() != 0) {
      caller_alarm_.fetch_add(1);
      futex_wake(caller_alarm_, 1);
    }
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
    return epoch_.load(std::memory_order_acquire) != seen || stop_.load(std::memory_order_relaxed);
  };
  while (!stop_) {
    // On a busy machine a worker may run where the caller did, who then waits to go on.
    const auto in_the_way = [&] {
      return sched_getcpu() == caller_cpu_.load(std::memory_order_relaxed);
    };
    if (!spin_until(news, in_the_way, spin_time)) {
      sleepers_.fetch_add(1);
      const std::uint32_t alarm = worker_alarm_.load();
      if (epoch_.load() == seen && !stop_) futex_wait(worker_alarm_, alarm);
      sleepers_.fetch_sub(1);
      continue;
    }
    worker_cpu_.store(sched_getcpu(), std::memory_order_relaxed);
    seen = take_tasks(static_cast<std::size_t>(index), scratch);
  }
}

}  // namespace brisk
