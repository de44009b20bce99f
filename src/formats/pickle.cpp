#include "formats/pickle.h"

#include <bit>
#include <string_view>
#include <unordered_map>

#include "formats/byte_reader.h"
#include "formats/quote.h"

namespace brisk {

namespace {

using Kind = PickleObject::Kind;

struct StorageType {
  std::string_view name;
  DType dtype;
};
constexpr StorageType storage_types[] = {
    {"torch.DoubleStorage", DType::float64}, {"torch.FloatStorage", DType::float32},
    {"torch.HalfStorage", DType::float16},   {"torch.BFloat16Storage", DType::bfloat16},
    {"torch.LongStorage", DType::int64},     {"torch.IntStorage", DType::int32},
    {"torch.ShortStorage", DType::int16},    {"torch.CharStorage", DType::int8},
    {"torch.ByteStorage", DType::uint8},     {"torch.BoolStorage", DType::boolean},
};

class Machine {
 public:
  explicit Machine(std::span<const std::byte> bytes) : reader_(bytes, "the pickle") {}

  Pickle run() {
    while (!step(reader_.number<std::uint8_t>())) {
    }
    pickle_.root = pop();
    return std::move(pickle_);
  }

 private:
  // ---- stack ------------------------------------------------------------------------------------

  PickleObject& object(std::size_t at) { return pickle_.objects[at]; }

  void push(PickleObject object) {
    stack_.push_back(pickle_.objects.size());
    pickle_.objects.push_back(std::move(object));
  }
  void push_integer(std::int64_t value) { push({.kind = Kind::integer, .integer = value}); }
  void push_text(std::uint64_t length) { push({.kind = Kind::text, .text = reader_.text(length)}); }

  std::size_t top() {
    if (stack_.empty() || (!marks_.empty() && stack_.size() <= marks_.back())) {
      user_error("the pickle takes a value from an empty stack at byte {}", reader_.at());
    }
    return stack_.back();
  }
  std::size_t pop() {
    const std::size_t at = top();
    stack_.pop_back();
    return at;
  }
  // What lies above the last mark, which goes too.
  std::vector<std::size_t> pop_to_mark() {
    if (marks_.empty()) user_error("the pickle has no mark at byte {}", reader_.at());
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<std::size_t> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  std::vector<std::size_t> pop_items(int count) {
    std::vector<std::size_t> items(static_cast<std::size_t>(count));
    for (int i = count; i-- > 0;) items[static_cast<std::size_t>(i)] = pop();
    return items;
  }
  void push_list(std::vector<std::size_t> items) {
    push({.kind = Kind::list, .items = std::move(items)});
  }
  // Appends to the container on top of the stack.
  void add(Kind kind, const std::vector<std::size_t>& items) {
    PickleObject& container = object(top());
    if (container.kind != kind || (kind == Kind::dict && items.size() % 2 != 0)) {
      user_error("the pickle adds to what is no {} at byte {}",
                 kind == Kind::dict ? "dict" : "list", reader_.at());
    }
    container.items.insert(container.items.end(), items.begin(), items.end());
  }

  void memoize(std::uint64_t place) { memo_[place] = top(); }
  void recall(std::uint64_t place) {
    const auto found = memo_.find(place);
    if (found == memo_.end()) user_error("the pickle recalls {}, which it never noted", place);
    stack_.push_back(found->second);
  }

  // ---- PyTorch's objects ------------------------------------------------------------------------

  PickleObject& argument(const PickleObject& list, std::size_t i, Kind kind, const char* what) {
    if (list.kind != Kind::list || i >= list.items.size() || object(list.items[i]).kind != kind) {
      user_error("the pickle has no {} where one is wanted, at byte {}", what, reader_.at());
    }
    return object(list.items[i]);
  }

  // ("storage", type, key, device, count)
  void persistent() {
    const PickleObject& id = object(pop());
    if (argument(id, 0, Kind::text, "kind of a persistent object").text != "storage") {
      user_error("the pickle refers to {}; only storages are read",
                 quote(object(id.items[0]).text));
    }
    const std::string& type = argument(id, 1, Kind::global, "type of a storage").text;
    DType dtype = DType::none;
    for (const StorageType& known : storage_types) {
      if (known.name == type) dtype = known.dtype;
    }
    if (dtype == DType::none) user_error("storages of type {} are not read", quote(type));
    push({.kind = Kind::storage,
          .integer = argument(id, 4, Kind::integer, "count of elements").integer,
          .text = argument(id, 2, Kind::text, "key of a storage").text,
          .dtype = dtype});
  }

  void call() {
    const PickleObject& arguments = object(pop());
    const PickleObject& function = object(pop());
    if (function.kind != Kind::global || arguments.kind != Kind::list) {
      user_error("the pickle calls what is no function at byte {}", reader_.at());
    }
    if (function.text == "torch._utils._rebuild_tensor_v2") {
      push({.kind = Kind::tensor,
            .integer = argument(arguments, 1, Kind::integer, "offset of a tensor").integer,
            .items = {arguments.items[0], arguments.items.size() > 2 ? arguments.items[2] : 0,
                      arguments.items.size() > 3 ? arguments.items[3] : 0},
            .dtype = argument(arguments, 0, Kind::storage, "storage of a tensor").dtype});
      argument(arguments, 2, Kind::list, "shape of a tensor");
      argument(arguments, 3, Kind::list, "stride of a tensor");
    } else if (function.text == "torch._utils._rebuild_parameter") {
      argument(arguments, 0, Kind::tensor, "tensor of a parameter");
      stack_.push_back(arguments.items[0]);
    } else if (function.text == "collections.OrderedDict" && arguments.items.empty()) {
      push({.kind = Kind::dict});
    } else if (function.text == "torch.Size" && arguments.items.size() == 1) {
      stack_.push_back(arguments.items[0]);
    } else {
      refuse(function.text);
    }
  }

  [[noreturn]] static void refuse(const std::string& name) {
    user_error(
        "the pickle wants Python's {}; only tensors, dicts, lists, numbers and strings are read, "
        "and "
        "nothing is executed: save the model's state_dict() alone",
        quote(name));
  }

  void global(const std::string& module, const std::string& name) {
    const std::string full = module + "." + name;
    bool known = full == "torch._utils._rebuild_tensor_v2" ||
                 full == "torch._utils._rebuild_parameter" || full == "collections.OrderedDict" ||
                 full == "torch.Size";
    for (const StorageType& type : storage_types) known |= type.name == full;
    if (!known) refuse(full);
    push({.kind = Kind::global, .text = full});
  }

  void stack_global() {
    const PickleObject& name = object(pop());
    const PickleObject& module = object(pop());
    if (name.kind != Kind::text || module.kind != Kind::text) {
      user_error("the pickle names an object by what is no text at byte {}", reader_.at());
    }
    global(module.text, name.text);
  }

  // Two's complement, little-endian.
  void long_integer(std::size_t length) {
    const auto bytes = reader_.take(length);
    if (length > 8) user_error("the pickle has an integer of {} bytes, at most 8 are read", length);
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < length; ++i)
      value |= std::to_integer<std::uint64_t>(bytes[i]) << 8 * i;
    if (length > 0 && length < 8 && (value >> (8 * length - 1) & 1) != 0) {
      value |= ~std::uint64_t{0} << 8 * length;
    }
    push_integer(static_cast<std::int64_t>(value));
  }

  void real() {
    const auto bytes = reader_.take(8);  // big-endian
    std::uint64_t bits = 0;
    for (const std::byte byte : bytes) bits = bits << 8 | std::to_integer<std::uint64_t>(byte);
    push({.kind = Kind::real, .real = std::bit_cast<double>(bits)});
  }

  // One opcode; true at the last.
  bool step(std::uint8_t opcode) {
    switch (opcode) {
      case 0x80: reader_.skip(1); break;                               // PROTO
      case 0x95: reader_.skip(8); break;                               // FRAME
      case '(': marks_.push_back(stack_.size()); break;                // MARK
      case 'N': push({}); break;                                       // NONE
      case 0x88: push({.kind = Kind::boolean, .integer = 1}); break;   // NEWTRUE
      case 0x89: push({.kind = Kind::boolean}); break;                 // NEWFALSE
      case 'K': push_integer(reader_.number<std::uint8_t>()); break;   // BININT1
      case 'M': push_integer(reader_.number<std::uint16_t>()); break;  // BININT2
      case 'J': push_integer(reader_.number<std::int32_t>()); break;   // BININT
      case 0x8a: long_integer(reader_.number<std::uint8_t>()); break;  // LONG1
      case 'G': real(); break;                                         // BINFLOAT
      case 'U': push_text(reader_.number<std::uint8_t>()); break;      // SHORT_BINSTRING
      case 'T': push_text(reader_.number<std::uint32_t>()); break;     // BINSTRING
      case 0x8c: push_text(reader_.number<std::uint8_t>()); break;     // SHORT_BINUNICODE
      case 'X': push_text(reader_.number<std::uint32_t>()); break;     // BINUNICODE
      case 0x8d: push_text(reader_.number<std::uint64_t>()); break;    // BINUNICODE8
      case ')': push_list({}); break;                                  // EMPTY_TUPLE
      case ']': push_list({}); break;                                  // EMPTY_LIST
      case 0x85: push_list(pop_items(1)); break;                       // TUPLE1
      case 0x86: push_list(pop_items(2)); break;                       // TUPLE2
      case 0x87: push_list(pop_items(3)); break;                       // TUPLE3
      case 't': push_list(pop_to_mark()); break;                       // TUPLE
      case 'l': push_list(pop_to_mark()); break;                       // LIST
      case 'a': add(Kind::list, pop_items(1)); break;                  // APPEND
      case 'e': add(Kind::list, pop_to_mark()); break;                 // APPENDS
      case '}': push({.kind = Kind::dict}); break;                     // EMPTY_DICT
      case 's': add(Kind::dict, pop_items(2)); break;                  // SETITEM
      case 'u': add(Kind::dict, pop_to_mark()); break;                 // SETITEMS
      case 'q': memoize(reader_.number<std::uint8_t>()); break;        // BINPUT
      case 'r': memoize(reader_.number<std::uint32_t>()); break;       // LONG_BINPUT
      case 0x94: memoize(memo_.size()); break;                         // MEMOIZE
      case 'h': recall(reader_.number<std::uint8_t>()); break;         // BINGET
      case 'j': recall(reader_.number<std::uint32_t>()); break;        // LONG_BINGET
      case 'Q': persistent(); break;                                   // BINPERSID
      case 'R': call(); break;                                         // REDUCE
      case 0x93: stack_global(); break;                                // STACK_GLOBAL
      case 'c': {                                                      // GLOBAL
        const std::string module = reader_.line();
        global(module, reader_.line());
        break;
      }
      case 'b':  // BUILD: attributes of an OrderedDict (_metadata), which are not needed
        pop();
        if (object(top()).kind != Kind::dict) {
          user_error("the pickle sets attributes of what is no dict at byte {}", reader_.at());
        }
        break;
      case '.': return true;  // STOP
      default:
        user_error("the pickle has opcode 0x{:02x} at byte {}, which is not read", opcode,
                   reader_.at() - 1);
    }
    return false;
  }

  ByteReader reader_;
  Pickle pickle_;
  std::vector<std::size_t> stack_;
  std::vector<std::size_t> marks_;  // sizes of the stack
  std::unordered_map<std::uint64_t, std::size_t> memo_;
};

}  // namespace

Pickle read_pickle(std::span<const std::byte> bytes) { return Machine(bytes).run(); }

}  // namespace brisk
