#include "formats/planes_stream.h"

#include "base/error.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace brisk {

namespace {

// Large enough to be worth several threads of whoever copies it.
constexpr std::size_t part_bytes = 64 << 20;
// What one thread makes at a time.
constexpr std::size_t task_bytes = 512 << 10;
// Parts in memory: one that is taken, and two that are made.
constexpr std::size_t slots = 3;

std::size_t row_bytes(const BlockRows& rows) {
  const BlockInfo& info = block_info(rows.type);
  check(rows.columns > 0 && rows.columns % info.values == 0, "a row is a whole number of blocks");
  return static_cast<std::size_t>(rows.columns / info.values * info.bytes);
}

// As many whole rows as fit, but at least one.
std::size_t whole_rows(std::size_t bytes, std::size_t row) {
  return std::max<std::size_t>(bytes / row, 1) * row;
}

// Rows of a matrix that are taken together.
struct Part {
  std::size_t matrix = 0;
  std::size_t offset = 0;  // in the matrix's bytes
  std::size_t bytes = 0;
  std::size_t row = 0;   // bytes of one
  std::size_t left = 0;  // bytes still to be made
};

std::vector<Part> parts_of(std::span<const BlockRows> matrices) {
  std::vector<Part> parts;
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const std::size_t row = row_bytes(matrices[i]);
    const std::size_t step = whole_rows(part_bytes, row);
    const std::size_t all = matrices[i].bytes.size();
    for (std::size_t at = 0; at < all; at += step) {
      const std::size_t bytes = std::min(step, all - at);
      parts.push_back({i, at, bytes, row, bytes});
    }
  }
  return parts;
}

class PlanesStream {
 public:
  PlanesStream(std::span<const BlockRows> matrices, int threads)
      : matrices_(matrices), parts_(parts_of(matrices)) {
    std::size_t largest = 0;
    for (const Part& part : parts_) largest = std::max(largest, part.bytes);
    for (std::size_t i = 0; i < std::min(slots, parts_.size()); ++i)
      memory_[i] = std::make_unique_for_overwrite<std::byte[]>(largest);
    try {
      for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { make_tasks(); });
    } catch (...) {
      stop();
      throw;
    }
  }
  ~PlanesStream() { stop(); }  // the threads are joined with their members
  PlanesStream(const PlanesStream&) = delete;
  PlanesStream& operator=(const PlanesStream&) = delete;

  void run(const TakePlanes& take) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      wait_until_made(parts_[i]);
      take(parts_[i].matrix, parts_[i].offset, {memory_of(i), parts_[i].bytes});
      const std::lock_guard lock(mutex_);
      taken_ = i + 1;
      room_.notify_all();
    }
  }

 private:
  struct Task {
    std::size_t part = 0;
    std::size_t at = 0;  // in the part
    std::size_t bytes = 0;
  };

  std::byte* memory_of(std::size_t part) const { return memory_[part % slots].get(); }

  void stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    room_.notify_all();
  }

  void wait_until_made(const Part& part) {
    std::unique_lock lock(mutex_);
    made_.wait(lock, [&] { return part.left == 0 || failure_; });
    if (failure_) std::rethrow_exception(failure_);
  }

  // Waits for a slot where all of them are full; nothing where there is no more to do.
  std::optional<Task> next_task() {
    std::unique_lock lock(mutex_);
    room_.wait(lock, [&] {
      return stopped_ || next_.part == parts_.size() || next_.part < taken_ + slots;
    });
    if (stopped_ || next_.part == parts_.size()) return std::nullopt;
    const Part& part = parts_[next_.part];
    Task task = next_;
    task.bytes = std::min(whole_rows(task_bytes, part.row), part.bytes - task.at);
    next_.at += task.bytes;
    if (next_.at == part.bytes) next_ = {next_.part + 1, 0, 0};
    return task;
  }

  void make(const Task& task) {
    const Part& part = parts_[task.part];
    const BlockRows& matrix = matrices_[part.matrix];
    split_planes(matrix.type, matrix.bytes.subspan(part.offset + task.at, task.bytes),
                 matrix.columns, {memory_of(task.part) + task.at, task.bytes});
  }

  void make_tasks() {
    try {
      while (const std::optional<Task> task = next_task()) {
        make(*task);
        const std::lock_guard lock(mutex_);
        Part& part = parts_[task->part];
        part.left -= task->bytes;
        if (part.left == 0) made_.notify_one();
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
      made_.notify_one();
    }
  }

  std::span<const BlockRows> matrices_;
  std::vector<Part> parts_;
  std::array<std::unique_ptr<std::byte[]>, slots> memory_;  // of part i: i % slots

  std::mutex mutex_;
  std::condition_variable made_;  // a part, or nothing any more
  std::condition_variable room_;  // for another part, or a reason to end
  Task next_;
  std::size_t taken_ = 0;  // parts
  bool stopped_ = false;
  std::exception_ptr failure_;

  std::vector<std::jthread> threads_;  // last: they use all of the above
};

}  // namespace

void stream_planes(std::span<const BlockRows> matrices, int threads, const TakePlanes& take) {
  check(threads > 0, "someone makes the planes");
  PlanesStream(matrices, threads).run(take);
}

}  // namespace brisk
