#include "engine/tune.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "base/options.h"
#include "engine/engine.h"
#include "engine/timing_process.h"
#include "engine/verify.h"
#include "engine/winners.h"

namespace brisk {

namespace {

using Clock = std::chrono::steady_clock;
using Picks = std::map<std::string, std::string>;  // shapes → option

constexpr double worth_trying = 1.6;         // of the cheapest option's predicted cost
constexpr std::size_t most_candidates = 16;  // of a round
constexpr int most_rounds = 3;
constexpr double least_gain = 0.98;        // of the time before
constexpr std::size_t side_by_side = 4;    // processes that get ready together
constexpr double patience = 20;            // seconds, for one process
constexpr double operations_a_byte = 100;  // that take as long as to read it
constexpr std::int64_t usual_size = 2048;  // of a variable

struct Candidate {
  KernelCode kernel;
  std::vector<Decision> decisions;
  double seconds = 0;
  std::string failure;
};

Picks picks_of(const std::vector<Decision>& decisions) {
  Picks picks;
  for (const Decision& decision : decisions)
    picks[decision.shapes] = decision.options[decision.chosen].name;
  return picks;
}

// One kernel's search.
class Search {
 public:
  Search(const LoweredKernel& lowered, TimingTask task, const Target& target, Clock::time_point end)
      : lowered_(lowered), task_(std::move(task)), target_(target), end_(end) {}

  /// Nothing where there is nothing to decide, or, unless `again`, nothing that is not known.
  std::optional<Tuned> run(bool again) {
    if (!again && all_known(compile(winners_for(target_)))) return std::nullopt;
    Candidate guess = compile([](const std::string&) { return std::nullopt; });
    if (candidates_near(guess).empty()) return std::nullopt;
    measure(guess, nullptr);
    if (!guess.failure.empty()) {
      failures_.push_back(guess.failure);
      return result(guess, guess);
    }
    best_ = guess;
    for (int round = 0; round < most_rounds && Clock::now() < end_; ++round) {
      if (!improve()) break;
    }
    return result(guess, best_);
  }

  const Candidate& best() const { return best_; }

 private:
  Candidate compile(Decisions::Known known) const {
    Decisions decisions(std::move(known));
    Candidate candidate;
    candidate.kernel = compile_kernel(lowered_, target_, decisions);
    candidate.decisions = decisions.made();
    return candidate;
  }

  bool all_known(const Candidate& candidate) const {
    const Decisions::Known known = winners_for(target_);
    return std::all_of(
        candidate.decisions.begin(), candidate.decisions.end(),
        [&](const Decision& decision) { return known(decision.shapes).has_value(); });
  }

  // Those that differ from this one in one decision, the likeliest first.
  std::vector<Picks> candidates_near(const Candidate& from) const {
    std::vector<std::pair<double, Picks>> list;
    for (const Decision& decision : from.decisions) {
      double cheapest = decision.options[0].cost;
      for (const auto& option : decision.options) cheapest = std::min(cheapest, option.cost);
      for (std::size_t i = 0; i < decision.options.size(); ++i) {
        const double cost = decision.options[i].cost / cheapest;
        if (i == decision.chosen || cost > worth_trying) continue;
        Picks picks = picks_of(from.decisions);
        picks[decision.shapes] = decision.options[i].name;
        list.emplace_back(cost, std::move(picks));
      }
    }
    std::stable_sort(list.begin(), list.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    if (list.size() > most_candidates) list.resize(most_candidates);
    std::vector<Picks> result;
    for (auto& [cost, picks] : list) result.push_back(std::move(picks));
    return result;
  }

  // All at once; those that are the same code as an earlier one are left out.
  std::vector<Candidate> compile_all(const std::vector<Picks>& picks) {
    std::vector<std::optional<Candidate>> made(picks.size());
    std::vector<std::string> failures(picks.size());
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t i = next++; i < picks.size(); i = next++) {
        try {
          made[i] = compile([&](const std::string& shapes) -> std::optional<std::string> {
            const auto found = picks[i].find(shapes);
            return found == picks[i].end() ? std::nullopt : std::optional(found->second);
          });
        } catch (const std::exception& error) {
          failures[i] = fmt::format("does not compile: {}", error.what());
        }
      }
    };
    std::vector<std::thread> threads;
    const std::size_t most = std::max(1U, std::thread::hardware_concurrency());
    for (std::size_t i = 1; i < std::min(most, picks.size()); ++i) threads.emplace_back(work);
    work();
    for (std::thread& thread : threads) thread.join();
    std::vector<Candidate> list;
    for (std::size_t i = 0; i < picks.size(); ++i) {
      if (!failures[i].empty()) failures_.push_back(failures[i]);
      if (made[i] && seen_.insert(code_of(*made[i])).second) list.push_back(std::move(*made[i]));
    }
    return list;
  }

  static std::string code_of(const Candidate& candidate) {
    const std::vector<std::byte> bytes = pack(candidate.kernel);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // Times candidates, some of which get ready while others do, but none while one is timed.
  void measure_all(std::span<Candidate> candidates) {
    for (std::size_t first = 0; first < candidates.size() && Clock::now() < end_;
         first += side_by_side) {
      const auto some =
          candidates.subspan(first, std::min(side_by_side, candidates.size() - first));
      std::vector<std::unique_ptr<TimingProcess>> processes;
      for (Candidate& candidate : some) processes.push_back(start(candidate));
      for (const auto& process : processes) process->wait_until_ready(patience);
      for (std::size_t i = 0; i < some.size(); ++i) {
        measure(some[i], processes[i].get());
        processes[i].reset();
        if (!some[i].failure.empty()) failures_.push_back(some[i].failure);
      }
    }
  }

  std::unique_ptr<TimingProcess> start(const Candidate& candidate) {
    task_.kernel = candidate.kernel;
    return std::make_unique<TimingProcess>(task_);
  }

  void measure(Candidate& candidate, TimingProcess* process) {
    std::unique_ptr<TimingProcess> own;
    if (process == nullptr) {
      own = start(candidate);
      process = own.get();
    }
    const TimingOutcome outcome = process->measure(patience);
    candidate.seconds = 0;
    if (const auto* failure = std::get_if<std::string>(&outcome)) {
      candidate.failure = *failure;
      return;
    }
    const auto& timing = std::get<KernelTiming>(outcome);
    if (expected_.empty()) expected_ = timing.results;
    if (!same_results(timing.results)) {
      candidate.failure = "gives other results";
      return;
    }
    ++tried_;
    candidate.seconds = timing.seconds;
  }

  bool same_results(const std::vector<std::vector<double>>& results) const {
    std::size_t r = 0;
    for (const TimingTask::Argument& argument : task_.arguments) {
      if (!argument.written) continue;
      if (!nearly_equal(argument.dtype, expected_[r], results[r])) return false;
      ++r;
    }
    return true;
  }

  // Whether a candidate is better than the best, which it then is.
  bool improve() {
    std::vector<Candidate> candidates = compile_all(candidates_near(best_));
    measure_all(candidates);
    const auto timed = [](const Candidate& candidate) { return candidate.seconds > 0; };
    std::stable_sort(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
      return std::pair(!timed(a), a.seconds) < std::pair(!timed(b), b.seconds);
    });
    if (candidates.empty() || !timed(candidates[0]) ||
        candidates[0].seconds > least_gain * best_.seconds)
      return false;
    // Once more, one after the other: a single measurement may have been lucky.
    Candidate old = best_;
    Candidate better = candidates[0];
    measure(better, nullptr);
    measure(old, nullptr);
    if (!timed(better) || !timed(old) || better.seconds > least_gain * old.seconds) return false;
    best_ = std::move(better);
    best_over_guess_ *= best_.seconds / old.seconds;
    return true;
  }

  Tuned result(const Candidate& guess, const Candidate& best) const {
    Tuned tuned;
    tuned.name = best.kernel.header.name;
    tuned.guessed = guess.seconds;
    tuned.tuned = guess.seconds * best_over_guess_;
    tuned.tried = tried_;
    tuned.failures = failures_;
    for (const Decision& decision : best.decisions) {
      const auto cheapest =
          std::min_element(decision.options.begin(), decision.options.end(),
                           [](const auto& a, const auto& b) { return a.cost < b.cost; });
      const auto& option = decision.options[decision.chosen];
      if (option.name != cheapest->name) tuned.changed.emplace_back(decision.shapes, option.name);
    }
    return tuned;
  }

  const LoweredKernel& lowered_;
  TimingTask task_;
  const Target& target_;
  Clock::time_point end_;
  Candidate best_;
  double best_over_guess_ = 1;
  std::vector<std::vector<double>> expected_;
  std::unordered_set<std::string> seen_;
  std::vector<std::string> failures_;
  int tried_ = 0;
};

// Values of a kernel's variables as they may be in use: a few thousand, and where there are several
// (a position and the tokens after it), together no more than one may be alone.
std::vector<std::pair<Node, std::int64_t>> usual_values(const std::vector<Node>& variables) {
  std::vector<std::pair<Node, std::int64_t>> values;
  const auto count = static_cast<std::int64_t>(variables.size());
  for (const Node& variable : variables) {
    const Size size(variable);
    const std::int64_t some = std::min(size.upper(), usual_size) / count;
    values.emplace_back(variable, std::max(size.lower(), some));
  }
  return values;
}

TimingTask task_of(const PlanRecord& record, const PlanRecord::Step& step,
                   const LoweredKernel& lowered, std::span<const Node> buffers,
                   const std::string& device) {
  TimingTask task;
  task.device = device;
  task.variables = usual_values(step.variables);
  task.seed = static_cast<std::int64_t>(std::random_device()());
  for (std::size_t i = 0; i < step.arguments.size(); ++i) {
    const PlanRecord::Place& place = step.arguments[i];
    const auto number = static_cast<std::size_t>(place.number);
    const std::int64_t bytes =
        place.temporary
            ? upper_bytes(record.temporaries[number].dtype, record.temporaries[number].shape)
            : upper_bytes(buffers[number].dtype(), buffers[number].shape());
    const Param& param = lowered.params[i];
    task.arguments.push_back({param.dtype,
                              std::max(bytes - place.offset, std::int64_t{byte_size(param.dtype)}),
                              param.written});
  }
  return task;
}

// How long a kernel takes, roughly.
double weight(const Work& work, const LoweredKernel& lowered) {
  double bytes = 0;
  for (std::size_t i = 0; i < work.elements.size(); ++i)
    bytes += static_cast<double>(work.elements[i].upper()) * byte_size(lowered.params[i].dtype);
  return bytes + static_cast<double>(work.operations.upper()) / operations_a_byte;
}

}  // namespace

Tuner::Tuner() {
  if (options().tune > 0) start(static_cast<double>(options().tune), false);
}

Tuner& Tuner::shared() {
  static Tuner tuner;
  return tuner;
}

void Tuner::start(double seconds, bool again) {
  const std::lock_guard lock(mutex_);
  end_ = Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  again_ = again;
  plans_.clear();
}

bool Tuner::has_time() const {
  const std::lock_guard lock(mutex_);
  return Clock::now() < end_;
}

bool Tuner::wants(const std::string& plan) {
  const std::lock_guard lock(mutex_);
  return Clock::now() < end_ && plans_.insert(plan).second;
}

std::vector<std::string> Tuner::tune(const PlanRecord& record,
                                     const std::vector<LoweredKernel>& lowered,
                                     std::span<const Node> buffers, const Engine& engine) {
  struct Job {
    std::size_t step;
    int times = 0;
    double weight = 0;
  };
  const std::lock_guard one(device_);
  std::map<std::string, Job> by_key;
  for (std::size_t i = 0; i < record.steps.size(); ++i) {
    Job& job = by_key.emplace(record.steps[i].key, Job{i}).first->second;
    ++job.times;
    job.weight += weight(record.steps[i].work, lowered[i]);
  }
  std::vector<Job> jobs;
  for (const auto& [key, job] : by_key) {
    if (!done_.contains(key)) jobs.push_back(job);
  }
  std::stable_sort(jobs.begin(), jobs.end(),
                   [](const Job& a, const Job& b) { return a.weight > b.weight; });
  const std::string& device = engine.device().info().id;
  std::vector<std::string> changed;
  for (const Job& job : jobs) {
    if (!has_time()) break;
    const PlanRecord::Step& step = record.steps[job.step];
    done_.insert(step.key);
    Search search(lowered[job.step], task_of(record, step, lowered[job.step], buffers, device),
                  engine.target(), end_);
    std::optional<Tuned> tuned = search.run(again_);
    if (!tuned) continue;
    tuned->times = job.times;
    if (tuned->guessed > 0) {
      for (const auto& [shapes, option] : picks_of(search.best().decisions))
        keep_winner(engine.target(), shapes, option);
      keep_compiled(step.key, search.best().kernel);
      changed.push_back(step.key);
    }
    log_line(1, "tuned {}: {:.1f} us, was {:.1f} us, {} tried, {} failed", tuned->name,
             tuned->tuned * 1e6, tuned->guessed * 1e6, tuned->tried, tuned->failures.size());
    for (const auto& [shapes, option] : tuned->changed) log_line(1, "  {}: {}", shapes, option);
    for (const std::string& failure : tuned->failures) log_line(1, "  failed: {}", failure);
    const std::lock_guard lock(mutex_);
    results_.push_back(std::move(*tuned));
  }
  return changed;
}

std::vector<Tuned> Tuner::take_results() {
  const std::lock_guard lock(mutex_);
  return std::exchange(results_, {});
}

}  // namespace brisk
