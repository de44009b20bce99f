// Writing and reading the small records that the kernel cache holds: numbers, texts, bytes and size
// expressions. A record that ends too early or says nonsense makes the reader fail, never crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "graph/node.h"

namespace brisk {

class Packer {
 public:
  void number(std::int64_t value);
  void text(const std::string& value);
  void bytes(std::span<const std::byte> value);
  void size(const Size& value);
  std::vector<std::byte> take() { return std::move(data_); }

 private:
  void node(const Node& value);
  std::vector<std::byte> data_;
};

class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> data) : data_(data) {}
  bool ok() const { return ok_; }
  std::int64_t number();
  std::string text();
  std::vector<std::byte> bytes();
  Size size();

 private:
  Node node(int depth);
  std::span<const std::byte> data_;
  bool ok_ = true;
};

}  // namespace brisk
