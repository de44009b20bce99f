#include "schedule/launches.h"

#include <algorithm>

#include "base/error.h"

namespace brisk {

namespace {

constexpr std::size_t most_siblings = 4;  // kernels in one launch
constexpr std::size_t farthest_sibling = 16;

using Numbers = std::vector<std::size_t>;

class Launches {
 public:
  explicit Launches(std::vector<PlannedKernel> kernels) : kernels_(std::move(kernels)) {}

  std::vector<Numbers> run() {
    const Numbers sequence = beside_shared_sums(small_first(in_order()));
    // What reads a common input and does not wait for each other goes into one launch, also from a
    // few places further on in the sequence.
    std::vector<Numbers> result;
    std::vector<bool> placed(kernels_.size());
    for (std::size_t s = 0; s < sequence.size(); ++s) {
      if (placed[sequence[s]]) continue;
      Numbers members;
      const std::size_t end = std::min(sequence.size(), s + farthest_sibling);
      for (std::size_t t = s; t < end && members.size() < most_siblings; ++t) {
        const std::size_t i = sequence[t];
        const auto waits = [&](std::size_t m) { return waits_for(i, m); };
        const bool ready = !placed[i] && is_ready(i, placed) &&
                           std::none_of(members.begin(), members.end(), waits);
        if (!ready || !joins(members, i)) continue;
        members.push_back(i);
        placed[i] = true;
      }
      if (!members.empty()) result.push_back(std::move(members));
    }
    return result;
  }

 private:
  // Each after those that it waits for.
  Numbers in_order() const {
    Numbers sequence;
    std::vector<int> state(kernels_.size());
    for (std::size_t start = 0; start < kernels_.size(); ++start) {
      if (state[start] != 0 || !kernels_[start].output) continue;
      std::vector<std::pair<std::size_t, std::size_t>> stack = {{start, 0}};
      while (!stack.empty()) {
        auto& [at, next] = stack.back();
        if (next == 0) state[at] = 1;
        if (next < kernels_[at].before.size()) {
          const std::size_t b = kernels_[at].before[next++];
          check(state[b] != 1, "kernels without a cycle of in-place stores");
          if (state[b] == 0) stack.push_back({b, 0});
          continue;
        }
        state[at] = 2;
        sequence.push_back(at);
        stack.pop_back();
      }
    }
    return sequence;
  }

  // As soon as what they read is there: kernels that none waits for, and those whose output is
  // small beside what they read (the gradient of a weight, sums), so that this need not be kept
  // until the end.
  Numbers small_first(const Numbers& sequence) const {
    std::vector<Numbers> after(kernels_.size());
    for (const std::size_t i : sequence) {
      for (const std::size_t b : kernels_[i].before) after[b].push_back(i);
    }
    Numbers result;
    std::vector<bool> placed(kernels_.size());
    const auto place = [&](std::size_t start) {
      Numbers stack = {start};
      while (!stack.empty()) {
        const std::size_t i = stack.back();
        stack.pop_back();
        if (placed[i]) continue;
        placed[i] = true;
        result.push_back(i);
        for (auto next = after[i].rbegin(); next != after[i].rend(); ++next) {
          if ((after[*next].empty() || is_small(*next)) && is_ready(*next, placed))
            stack.push_back(*next);
        }
      }
    };
    for (const std::size_t i : sequence) place(i);
    return result;
  }

  bool is_small(std::size_t i) const {
    constexpr double much = 4;
    const auto bytes = [&](std::size_t k) {
      return elements(kernels_[k].output.shape()) * byte_size(kernels_[k].output.dtype());
    };
    const Numbers& before = kernels_[i].before;
    return std::any_of(before.begin(), before.end(),
                       [&](std::size_t b) { return bytes(i) * much <= bytes(b); });
  }
  bool is_ready(std::size_t i, const std::vector<bool>& placed) const {
    const Numbers& before = kernels_[i].before;
    return std::all_of(before.begin(), before.end(), [&](std::size_t b) { return placed[b]; });
  }

  // What makes the same large product on its way comes together: as early as what it reads is
  // there, and as late as another of them where what waits for it comes later still. In one launch
  // that product is made once (by_shared_sums and with_softmax in optimize.cpp).
  Numbers beside_shared_sums(const Numbers& sequence) {
    Numbers early;
    std::vector<bool> placed(kernels_.size());
    const auto place = [&](std::size_t i) {
      early.push_back(i);
      placed[i] = true;
    };
    for (std::size_t s = 0; s < sequence.size(); ++s) {
      const std::size_t first = sequence[s];
      if (placed[first]) continue;
      place(first);
      for (std::size_t t = s + 1; t < sequence.size() && makes_products(first); ++t) {
        const std::size_t later = sequence[t];
        if (!placed[later] && share(first, later) && is_ready(later, placed) &&
            !waits_for(later, first)) {
          place(later);
        }
      }
    }
    Numbers backwards;
    for (auto i = early.rbegin(); i != early.rend(); ++i) {
      if (!makes_products(*i)) {
        backwards.push_back(*i);
        continue;
      }
      // Before whatever waits for it.
      const auto last = std::find_if(backwards.rbegin(), backwards.rend(),
                                     [&](std::size_t later) { return waits_for(later, *i); });
      auto partner = std::find_if(last.base(), backwards.end(),
                                  [&](std::size_t later) { return share(*i, later); });
      if (partner != backwards.end()) {
        Numbers& before = kernels_[*i].before;
        const Numbers& theirs = kernels_[*partner].before;
        before.insert(before.end(), theirs.begin(), theirs.end());
        ++partner;
      }
      backwards.insert(partner, *i);
    }
    return {backwards.rbegin(), backwards.rend()};
  }

  bool makes_products(std::size_t i) const { return !kernels_[i].products.empty(); }
  bool share(std::size_t a, std::size_t b) const {
    const NodeSet& theirs = kernels_[b].products;
    return std::any_of(kernels_[a].products.begin(), kernels_[a].products.end(),
                       [&](const Node& sum) { return theirs.count(sum) != 0; });
  }
  bool waits_for(std::size_t later, std::size_t i) const {
    const Numbers& before = kernels_[later].before;
    return std::find(before.begin(), before.end(), i) != before.end();
  }

  // Independent kernels share a launch where they read a common input.
  bool joins(const Numbers& members, std::size_t i) const {
    if (members.empty()) return true;
    const auto any_member = [&](const auto& test) {
      return std::any_of(members.begin(), members.end(), test);
    };
    // Two stores to one memory, or a read of what the other writes, must not run side by side.
    const bool meet = any_member([&](std::size_t m) {
      const Node& mine = memory(kernels_[i].output);
      const Node& theirs = memory(kernels_[m].output);
      return mine == theirs || reads(i, theirs) || reads(m, mine);
    });
    return !meet && any_member([&](std::size_t m) {
      const std::vector<Node>& inputs = kernels_[m].inputs;
      const std::vector<Node>& mine = kernels_[i].inputs;
      return std::find_first_of(mine.begin(), mine.end(), inputs.begin(), inputs.end()) !=
             mine.end();
    });
  }
  static const Node& memory(const Node& node) {
    return node.is(Op::store_) ? base_buffer(node) : node;
  }
  bool reads(std::size_t i, const Node& what) const {
    const std::vector<Node>& inputs = kernels_[i].inputs;
    return std::any_of(inputs.begin(), inputs.end(),
                       [&](const Node& input) { return memory(input) == what; });
  }

  std::vector<PlannedKernel> kernels_;
};

}  // namespace

std::vector<std::vector<std::size_t>> launches(std::vector<PlannedKernel> kernels) {
  return Launches(std::move(kernels)).run();
}

}  // namespace brisk
