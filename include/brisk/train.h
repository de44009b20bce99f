// What a training program keeps besides its model: checkpoints that a kill leaves whole, batches
// that threads make ahead, sums of gradients, a table of the run with its picture, and a line that
// says how far it is and how fast.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "brisk/autograd.h"
#include "brisk/nn.h"
#include "brisk/optim.h"

namespace brisk::nn {

/// Model, optimizer and step in one file, safetensors ("model.*", "optimizer.*", "step"): the old
/// file stays until the new one is on the disk, whole.
void save_checkpoint(const std::filesystem::path& path, const State& model,
                     const Optimizer& optimizer, std::int64_t step);
/// Puts the values back and gives the step. UserError where the file is not of this model.
std::int64_t load_checkpoint(const std::filesystem::path& path, const State& model,
                             Optimizer& optimizer);

/// 0 … count - 1 in an order that follows from seed and epoch alone.
std::vector<std::int64_t> shuffled(std::int64_t count, std::uint64_t seed, std::int64_t epoch = 0);

/// Batches that threads make ahead, given in order. What a batch holds follows from its number
/// alone, so a run can go on at any of them. `make` is called from several threads at once; what it
/// throws, next() throws in its place.
template <typename Batch>
class Loader {
 public:
  /// Batches `from` … `to` - 1, of which `ahead` wait to be taken.
  Loader(std::function<Batch(std::int64_t)> make, std::int64_t from, std::int64_t to,
         int threads = 2, std::int64_t ahead = 8)
      : make_(std::move(make)), given_(from), begun_(from), to_(to), ahead_(ahead) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Loader() {
    {
      const std::lock_guard lock(mutex_);
      to_ = begun_;
    }
    room_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// Nothing after the last.
  std::optional<Batch> next() {
    std::unique_lock lock(mutex_);
    if (given_ >= to_) return std::nullopt;
    made_one_.wait(lock, [this] { return made_.count(given_) != 0; });
    Made made = std::move(made_.extract(given_++).mapped());
    lock.unlock();
    room_.notify_all();
    if (made.error) std::rethrow_exception(made.error);
    return std::move(made.batch);
  }

 private:
  struct Made {
    std::optional<Batch> batch;
    std::exception_ptr error;
  };
  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      room_.wait(lock, [this] { return begun_ >= to_ || begun_ < given_ + ahead_; });
      if (begun_ >= to_) return;
      const std::int64_t mine = begun_++;
      lock.unlock();
      Made made;
      try {
        made.batch = make_(mine);
      } catch (...) {
        made.error = std::current_exception();
      }
      lock.lock();
      made_.emplace(mine, std::move(made));
      made_one_.notify_all();
    }
  }

  std::function<Batch(std::int64_t)> make_;
  std::int64_t given_, begun_, to_, ahead_;
  std::map<std::int64_t, Made> made_;
  std::mutex mutex_;
  std::condition_variable room_, made_one_;
  std::vector<std::thread> threads_;
};

/// Gradients of several batches, as one larger batch has them:
///
///   Step part([&] { Tensor loss = …; loss.backward(); sums.add(); return loss; });
///   Step update([&] { sums.take(4); optimizer.step(); optimizer.zero_grad(); });
///   for (…) { part(); part(); part(); part(); update(); }
class GradAccumulator {
 public:
  explicit GradAccumulator(std::vector<Tensor> parameters);
  /// Adds each parameter's gradient to its sum, and makes it undefined.
  void add();
  /// Each parameter's gradient becomes its sum over `count`; sums begin at zero again.
  void take(std::int64_t count);

 private:
  std::vector<Tensor> parameters_, sums_;
};

/// While it lives, the module is as nn::eval() makes it and nothing records gradients.
template <Module M>
class Evaluating {
 public:
  explicit Evaluating(M& module) {
    Fields fields;
    module.visit(fields);
    for (bool* training : fields.modes()) {
      before_.emplace_back(training, *training);
      *training = false;
    }
  }
  ~Evaluating() {
    for (const auto& [training, before] : before_) *training = before;
  }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;

 private:
  NoGrad guard_;
  std::vector<std::pair<bool*, bool>> before_;
};

/// Numbers by step, as CSV: "step,loss,…", one line a step, which is in the file at once.
class RunLog {
 public:
  /// Begins the file, or goes on with it before step `from`: later lines, which a run that was
  /// killed wrote and the resumed one will write again, go.
  RunLog(std::filesystem::path path, std::vector<std::string> columns, std::int64_t from = 0);
  void add(std::int64_t step, const std::vector<double>& values);  // NaN leaves a field empty
  /// The first columns (at most four of them) over the steps, as SVG.
  void plot(const std::filesystem::path& path, const std::string& title,
            std::size_t columns = 1) const;

 private:
  std::filesystem::path path_;
  std::ofstream file_;
  std::vector<std::string> columns_;
  std::vector<std::pair<std::int64_t, std::vector<double>>> rows_;
};

/// A line on stderr that is written again and again: step, share, what the caller says, time left.
/// Where stderr is no terminal, a line of its own every ten seconds.
class Progress {
 public:
  explicit Progress(std::int64_t steps, std::int64_t from = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void show(std::int64_t step, const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;
  std::int64_t steps_, from_;
  Clock::time_point start_ = Clock::now();
  std::optional<Clock::time_point> shown_;
  bool terminal_;
};

struct MeterOptions {
  std::string unit = "tokens";  // of items
  double operations = 0;        // that an item takes (of n parameters 6·n); 0: not said
  double most_operations = 0;   // a second, that the device is capable of; 0: not said
};

/// Items a second over the last seconds, and what follows from them: operations a second, their
/// share of what the device is capable of (MFU: Chowdhery et al., arXiv:2204.02311), and where the
/// device counts energy, joules an item since the beginning.
class Meter {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Meter(MeterOptions options = {});
  void add(double items, Clock::time_point now = Clock::now());
  double rate() const;  // 0 before the second add()
  std::string text() const;

 private:
  MeterOptions options_;
  std::deque<std::pair<Clock::time_point, double>> recent_;  // when, items by then
  double items_ = 0;
  std::optional<double> joules_;  // by the beginning
};

}  // namespace brisk::nn
