#include "engine/pack.h"

#include <cstring>

#include "graph/integer.h"

namespace brisk {

void Packer::number(std::int64_t value) {
  const auto at = data_.size();
  data_.resize(at + sizeof value);
  std::memcpy(data_.data() + at, &value, sizeof value);
}

void Packer::bytes(std::span<const std::byte> value) {
  number(static_cast<std::int64_t>(value.size()));
  data_.insert(data_.end(), value.begin(), value.end());
}

void Packer::text(const std::string& value) { bytes(std::as_bytes(std::span(value))); }

void Packer::size(const Size& value) { node(value.node()); }

void Packer::node(const Node& value) {
  number(static_cast<std::int64_t>(value.op()));
  if (value.is_constant()) {
    number(value.int_value());
    number(is_bool(value.dtype()));
    return;
  }
  if (value.is(Op::variable_)) {
    text(value.attr().name);
    number(value.ints(0));
    number(value.ints(1));
    return;
  }
  for (const Node& src : value.srcs()) node(src);
}

std::int64_t Unpacker::number() {
  std::int64_t value = 0;
  if (data_.size() < sizeof value) {
    ok_ = false;
    return 0;
  }
  std::memcpy(&value, data_.data(), sizeof value);
  data_ = data_.subspan(sizeof value);
  return value;
}

std::vector<std::byte> Unpacker::bytes() {
  const std::int64_t count = number();
  if (!ok_ || count < 0 || static_cast<std::size_t>(count) > data_.size()) {
    ok_ = false;
    return {};
  }
  std::vector<std::byte> value(data_.begin(), data_.begin() + count);
  data_ = data_.subspan(static_cast<std::size_t>(count));
  return value;
}

std::string Unpacker::text() {
  const std::vector<std::byte> raw = bytes();
  return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}

Size Unpacker::size() { return node(0); }

Node Unpacker::node(int depth) {
  const auto op = static_cast<Op>(number());
  const auto fail = [&] {
    ok_ = false;
    return constant_int(0);
  };
  if (!ok_ || depth > 64) return fail();
  const auto pair = [&](Node (*make)(const Node&, const Node&)) {
    const Node a = node(depth + 1);
    const Node b = node(depth + 1);
    if (!ok_ || a.dtype() != DType::int64 || b.dtype() != DType::int64) return fail();
    return make(a, b);
  };
  switch (op) {
    case Op::constant_: {
      const std::int64_t value = number();
      const bool boolean = number() != 0;
      return constant_int(value, boolean ? DType::boolean : DType::int64);
    }
    case Op::variable_: {
      const std::string name = text();
      const std::int64_t least = number();
      const std::int64_t greatest = number();
      return ok_ && least <= greatest ? variable(name, least, greatest) : fail();
    }
    case Op::add_: return pair(integer_add);
    case Op::mul_: return pair(integer_mul);
    case Op::idiv_: return pair(integer_div);
    case Op::mod_: return pair(integer_mod);
    case Op::cmplt_: return pair(integer_less);
    case Op::where_: {
      const Node condition = node(depth + 1);
      const Node a = node(depth + 1);
      const Node b = node(depth + 1);
      if (!ok_ || condition.dtype() != DType::boolean || a.dtype() != DType::int64 ||
          b.dtype() != DType::int64) {
        return fail();
      }
      return where(condition, a, b);
    }
    default: return fail();
  }
}

}  // namespace brisk
