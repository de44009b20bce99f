// The thread pool runs every task of every phase once, phases in order, whoever launches.
#include "device/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

namespace brisk {
namespace {

// What the entry points below count; passed as buffers[0].
struct Counters {
  explicit Counters(std::vector<std::int64_t> phase_tasks)
      : tasks(std::move(phase_tasks)), done(tasks.size()) {
    for (const std::int64_t n : tasks) runs.emplace_back(static_cast<std::size_t>(n));
  }
  std::vector<std::int64_t> tasks;
  std::vector<std::vector<std::atomic<int>>> runs;  // by phase and task
  std::vector<std::atomic<std::int64_t>> done;      // tasks ended, by phase
  std::atomic<int> early = 0;                       // tasks begun before the phase before had ended
};

void count_tasks(void* const* buffers, const std::int64_t* variables, std::int64_t phase,
                 std::int64_t begin, std::int64_t end, void* scratch) {
  auto& counters = *static_cast<Counters*>(buffers[0]);
  const auto p = static_cast<std::size_t>(phase);
  if (p > 0 && counters.done[p - 1] != counters.tasks[p - 1]) ++counters.early;
  const auto scratch_bytes = static_cast<std::size_t>(variables[0]);
  for (std::int64_t i = begin; i < end; ++i) {
    auto* memory = static_cast<unsigned char*>(scratch);
    if (scratch_bytes > 0) std::memset(memory, static_cast<int>(i & 255), scratch_bytes);
    ++counters.runs[p][static_cast<std::size_t>(i)];
    for (std::size_t k = 0; k < scratch_bytes; ++k) {
      if (memory[k] != static_cast<unsigned char>(i)) ++counters.early;
    }
    ++counters.done[p];
  }
}

void launch(ThreadPool& pool, Counters& counters, std::size_t scratch_bytes = 0) {
  void* const buffers[] = {&counters};
  const std::int64_t variables[] = {static_cast<std::int64_t>(scratch_bytes)};
  pool.run({count_tasks, buffers, variables, counters.tasks, scratch_bytes});
}

void expect_once(const Counters& counters) {
  for (const auto& phase : counters.runs) {
    for (const auto& runs : phase) ASSERT_EQ(runs, 1);
  }
  EXPECT_EQ(counters.early, 0);
}

TEST(ThreadPool, RunsEveryTaskOnceAndPhasesInOrder) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 200; ++round) {
      Counters counters({round % 7, 1, 100, 2, 0, 1000, 3});
      launch(pool, counters);
      expect_once(counters);
    }
  }
}

TEST(ThreadPool, GivesEachThreadScratchOfItsOwn) {
  ThreadPool pool(4);
  for (const std::size_t bytes : {64U, 4096U, 1000U, 100000U}) {
    Counters counters({500, 300});
    launch(pool, counters, bytes);
    expect_once(counters);
  }
}

TEST(ThreadPool, TakesLaunchesFromSeveralThreads) {
  ThreadPool pool(2);
  std::vector<std::thread> users;
  for (int u = 0; u < 4; ++u) {
    users.emplace_back([&pool, u] {
      for (int round = 0; round < 300; ++round) {
        Counters counters({1 + (round + u) % 5, 40, 1});
        launch(pool, counters, 256);
        expect_once(counters);
      }
    });
  }
  for (std::thread& user : users) user.join();
}

TEST(ThreadPool, WakesWorkersThatSleep) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    Counters counters({64});
    launch(pool, counters);
    expect_once(counters);
  }
}

std::atomic<std::int64_t> other_threads{0};

void slow_tasks(void* const* buffers, const std::int64_t*, std::int64_t, std::int64_t begin,
                std::int64_t end, void*) {
  const auto caller = *static_cast<std::thread::id*>(buffers[0]);
  for (std::int64_t i = begin; i < end; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (std::this_thread::get_id() != caller) ++other_threads;
  }
}

TEST(ThreadPool, SharesTasksWithItsWorkers) {
  ThreadPool pool(2);
  std::thread::id caller = std::this_thread::get_id();
  void* const buffers[] = {&caller};
  const std::int64_t tasks[] = {40};
  other_threads = 0;
  pool.run({slow_tasks, buffers, nullptr, tasks, 0});
  EXPECT_GT(other_threads, 5);
  EXPECT_LT(other_threads, 35);
}

}  // namespace
}  // namespace brisk
