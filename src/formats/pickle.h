// Python's pickles as PyTorch writes them, interpreted without executing anything. Input: bytes
// that need not be trusted; every defect is a UserError of one line. Output: numbers, strings,
// lists and dicts, and PyTorch's storages and tensors as descriptions.
//
// A pickle is a program for a stack machine, an opcode and its operands at a time (Python's
// pickletools.py describes them). Those that torch.save and the protocols 2 to 5 need for such
// values are known here. Names of Python objects (GLOBAL) may be called only if they are in the
// table of pickle.cpp, and calling means to note the arguments; any other name is refused.
#pragma once

#include "base/dtype.h"

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace brisk {

/// One object; others are meant by their places in Pickle::objects.
struct PickleObject {
  enum class Kind {
    none,
    boolean,
    integer,
    real,
    text,
    list,     // tuples too
    dict,     // items: key, value, key, value, …
    global,   // text: "module.name"
    storage,  // text: its key; dtype; integer: count of elements
    tensor,   // items: storage, sizes, strides; integer: offset in elements; dtype
  };
  Kind kind = Kind::none;
  std::int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<std::size_t> items;
  DType dtype = DType::none;
};

struct Pickle {
  std::vector<PickleObject> objects;
  std::size_t root = 0;
};

Pickle read_pickle(std::span<const std::byte> bytes);

}  // namespace brisk
