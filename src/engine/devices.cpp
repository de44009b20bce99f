#include "engine/devices.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "engine/backends.h"
#include "graph/integer.h"

namespace brisk {

namespace {

// The engines beside the shared one.
class Engines {
 public:
  static Engines& shared() {
    static Engines engines;
    return engines;
  }

  Engine& of(const std::string& id) {
    const std::string full = full_id(id);
    if (full == Engine::shared().device().info().id) return Engine::shared();
    const std::lock_guard lock(mutex_);
    std::unique_ptr<Engine>& engine = engines_[full];
    if (!engine) {
      OpenDevice opened = open_device(full);
      engine = std::make_unique<Engine>(std::move(opened.device), std::move(opened.target));
    }
    return *engine;
  }

  /// Null where no engine of the process has it.
  Engine* on(const Device& device) {
    if (&device == &Engine::shared().device()) return &Engine::shared();
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(engines_.begin(), engines_.end(), [&](const auto& entry) {
      return entry.second && &entry.second->device() == &device;
    });
    return found == engines_.end() ? nullptr : found->second.get();
  }

 private:
  // "cuda" is "cuda:0".
  static std::string full_id(const std::string& id) {
    return id == "cpu" || id.find(':') != std::string::npos ? id : id + ":0";
  }

  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<Engine>> engines_;
};

// The engine whose buffers a graph reads; null where it reads none.
Engine* home_of(const Node& root) {
  Engine* home = nullptr;
  for (const Node& node : topological_order({&root, 1})) {
    if (!node.is(Op::buffer_) || node.attr().storage == nullptr) continue;  // or made by the graph
    const auto* memory = dynamic_cast<const Buffer*>(node.attr().storage.get());
    Engine* engine = memory == nullptr ? nullptr : Engines::shared().on(memory->device());
    check(engine != nullptr, "a buffer that lies on an engine of the process");
    if (home != nullptr && home != engine) {
      const std::string& one = home->device().info().id;
      user_error(
          "one computation reads tensors of {} and of {}; bring them together with to(\"{}\")", one,
          engine->device().info().id, one);
    }
    home = engine;
  }
  return home;
}

// A buffer's values on another engine.
Node moved(const Node& value, Engine& from, Engine& to) {
  const auto source = std::dynamic_pointer_cast<Buffer>(value.attr().storage);
  std::shared_ptr<Buffer> memory = to.device().allocate(source->bytes());
  if (to.device().copy_across(*memory, *source)) {
    return buffer(value.dtype(), value.shape(), std::move(memory));
  }
  return to.upload(value.dtype(), value.shape(), from.read(value), nullptr);
}

Node copied(const Node& source, const std::string& id, const VariableValues& values) {
  Engine& to = engine_of(id);
  Engine* from = home_of(source);
  if (from == &to) return source;
  if (from == nullptr) return to.realize({&source, 1}, values)[0];
  return moved(from->realize({&source, 1}, values)[0], *from, to);
}

// The roots with every copy made.
std::vector<Node> with_copies_made(std::span<const Node> roots, const VariableValues& values) {
  std::vector<Node> result(roots.begin(), roots.end());
  const std::vector<Node> order = topological_order(roots);
  if (std::none_of(order.begin(), order.end(), [](const Node& node) { return node.is(Op::copy_); }))
    return result;
  Substitution memo;
  for (const Node& node : order) {  // sources first
    if (node.is(Op::copy_)) {
      memo.insert_or_assign(node, copied(memo.at(node.src(0)), node.attr().name, values));
    } else {
      substitute(node, memo);
    }
  }
  for (Node& root : result) root = memo.at(root);
  return result;
}

}  // namespace

std::string device_of_graph(const Node& root) {
  std::string last;  // where the last copy takes it
  for (const Node& node : topological_order({&root, 1})) {
    if (node.is(Op::copy_)) last = node.attr().name;
  }
  if (!last.empty()) return last;
  Engine* home = home_of(root);
  return (home == nullptr ? Engine::shared() : *home).device().info().id;
}

Engine& engine_of(const std::string& id) { return Engines::shared().of(id); }

std::vector<Node> realize_on_devices(std::span<const Node> roots, const VariableValues& values) {
  std::vector<Node> result = with_copies_made(roots, values);
  std::map<Engine*, std::vector<std::size_t>> places;
  for (std::size_t i = 0; i < result.size(); ++i) {
    Engine* home = home_of(result[i]);
    places[home == nullptr ? &Engine::shared() : home].push_back(i);
  }
  for (const auto& [engine, list] : places) {
    std::vector<Node> own;
    for (const std::size_t i : list) own.push_back(result[i]);
    own = engine->realize(own, values);
    for (std::size_t k = 0; k < list.size(); ++k) result[list[k]] = own[k];
  }
  return result;
}

}  // namespace brisk
