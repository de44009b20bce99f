#include "onnx/weights.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>

#include "base/host_block.h"

namespace brisk::onnx {

namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t least_bytes = 1024;  // of data that is worth it
constexpr std::size_t copied_at_once = std::size_t{4} << 20;
constexpr std::uint64_t graph_of_model = 7, initializer_of_graph = 5, raw_data_of_tensor = 9;

// One field of a message: a tag (number and kind), then what the kind says.
struct Field {
  std::uint64_t number = 0;
  bool has_length = false;
  Bytes whole, payload;
};

class Fields {
 public:
  explicit Fields(Bytes bytes) : left_(bytes) {}

  /// The next field; nothing at the end, or where there is none.
  std::optional<Field> next() {
    if (left_.empty()) return std::nullopt;
    const Bytes start = left_;
    const std::uint64_t tag = varint();
    Field field{tag >> 3, (tag & 7) == 2, {}, {}};
    switch (tag & 7) {
      case 0: varint(); break;
      case 1: skip(8); break;
      case 2: field.payload = skip(varint()); break;
      case 5: skip(4); break;
      default: damaged_ = true;
    }
    if (damaged_) return std::nullopt;
    field.whole = start.first(start.size() - left_.size());
    return field;
  }

  bool damaged() const { return damaged_; }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !left_.empty(); shift += 7) {
      const auto byte = std::to_integer<std::uint64_t>(left_[0]);
      left_ = left_.subspan(1);
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
    damaged_ = true;
    return 0;
  }

  Bytes skip(std::uint64_t count) {
    if (count > left_.size()) damaged_ = true;
    const Bytes skipped = left_.first(damaged_ ? 0 : static_cast<std::size_t>(count));
    left_ = left_.subspan(skipped.size());
    return skipped;
  }

  Bytes left_;
  bool damaged_ = false;
};

void append(std::string& to, Bytes bytes) {
  to.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void append_message(std::string& to, std::uint64_t number, const std::string& message) {
  const auto varint = [&](std::uint64_t value) {
    for (; value >= 128; value >>= 7) to += static_cast<char>(value | 128);
    to += static_cast<char>(value);
  };
  varint(number << 3 | 2);
  varint(message.size());
  to += message;
}

// The message with `change` applied to fields of one number; it says whether the field is good, and
// appends what is left of it.
template <typename Change>
bool rewrite(Bytes message, std::string& to, std::uint64_t number, const Change& change) {
  Fields fields(message);
  while (const auto field = fields.next()) {
    if (field->number != number || !field->has_length) {
      append(to, field->whole);
    } else if (!change(*field)) {
      return false;
    }
  }
  return !fields.damaged();
}

bool split_tensor(Bytes tensor, std::string& to, Weight& weight) {
  return rewrite(tensor, to, raw_data_of_tensor, [&](const Field& data) {
    if (data.payload.size() < least_bytes) {
      append(to, data.whole);
    } else {
      if (!weight.bytes.empty()) return false;  // of several the last counts: the parser's work
      weight.bytes = data.payload;
    }
    return true;
  });
}

bool split_graph(Bytes graph, std::string& to, std::vector<Weight>& weights) {
  return rewrite(graph, to, initializer_of_graph, [&](const Field& initializer) {
    std::string rest;
    weights.emplace_back();
    if (!split_tensor(initializer.payload, rest, weights.back())) return false;
    append_message(to, initializer_of_graph, rest);
    return true;
  });
}

std::shared_ptr<std::byte> allocate(std::size_t bytes) {
  auto* memory = static_cast<std::byte*>(allocate_block(bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return {memory, [](std::byte* block) { std::free(block); }};
}

struct Copy {
  std::byte* to;
  Bytes from;
};

void run_all(const std::vector<Copy>& copies, std::size_t bytes) {
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < copies.size(); i = next++)
      std::memcpy(copies[i].to, copies[i].from.data(), copies[i].from.size());
  };
  std::vector<std::thread> threads;
  const std::size_t most = std::max(1U, std::thread::hardware_concurrency());
  for (std::size_t i = 1; i < std::min(most, bytes / copied_at_once); ++i)
    threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

// Weights that lie badly go into a block of their own.
void align(std::vector<Weight>& weights, const std::shared_ptr<const void>& owner) {
  const auto lies_well = [&](const Weight& weight) {
    return owner && reinterpret_cast<std::uintptr_t>(weight.bytes.data()) % 16 == 0;
  };
  const auto place = [](std::size_t bytes) { return (bytes + 63) / 64 * 64; };
  std::size_t total = 0;
  for (Weight& weight : weights) {
    if (weight.bytes.empty()) continue;
    if (lies_well(weight))
      weight.owner = owner;
    else
      total += place(weight.bytes.size());
  }
  if (total == 0) return;
  const std::shared_ptr<std::byte> block = allocate(total);
  std::vector<Copy> copies;
  std::byte* to = block.get();
  for (Weight& weight : weights) {
    if (weight.bytes.empty() || weight.owner) continue;
    for (std::size_t at = 0; at < weight.bytes.size(); at += copied_at_once)
      copies.push_back({to + at, weight.bytes.subspan(at).first(
                                     std::min(copied_at_once, weight.bytes.size() - at))});
    const std::size_t size = weight.bytes.size();
    weight = {Bytes(to, size), block};
    to += place(size);
  }
  run_all(copies, total);
}

}  // namespace

std::optional<SplitModel> split_weights(Bytes model, const std::shared_ptr<const void>& owner) {
  SplitModel split;
  bool seen = false;
  const bool good = rewrite(model, split.message, graph_of_model, [&](const Field& graph) {
    std::string rest;
    if (seen || !split_graph(graph.payload, rest, split.weights)) return false;
    seen = true;
    append_message(split.message, graph_of_model, rest);
    return true;
  });
  if (!good) return std::nullopt;
  align(split.weights, owner);
  return split;
}

}  // namespace brisk::onnx
