#include "formats/gguf.h"

#include "base/error.h"
#include "base/power_of_two.h"
#include "formats/quote.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

namespace brisk {
namespace {

constexpr std::uint32_t type_count = 13;
constexpr std::uint64_t string_least = 8;                // bytes of an empty string
constexpr std::uint64_t array_header = 4 + 8;            // element type, count
constexpr std::uint64_t entry_least = 8 + 1 + 4 + 1;     // key of one byte, type, value of one byte
constexpr std::uint64_t info_least = 8 + 1 + 4 + 4 + 8;  // name of one byte, no dimensions
constexpr std::uint64_t longest_key = 65535;
constexpr std::uint32_t most_dimensions = 4;
constexpr int deepest_array = 4;

std::string_view describe(GgufType type) {
  constexpr std::string_view names[type_count] = {
      "a uint8", "an int8",  "a uint16", "an int16", "a uint32", "an int32", "a float32",
      "a bool",  "a string", "an array", "a uint64", "an int64", "a float64"};
  return names[static_cast<std::uint32_t>(type)];
}

/// Bytes of a value of fixed size; 0 for strings and arrays.
std::uint64_t fixed_size(GgufType type) {
  constexpr std::uint64_t sizes[type_count] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return sizes[static_cast<std::uint32_t>(type)];
}

template <typename T>
T load(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Reads the bytes in order; every read is checked, and an error tells the part being read.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t remaining() const { return bytes_.size() - position_; }
  std::span<const std::byte> since(std::uint64_t start) const {
    return bytes_.subspan(start, position_ - start);
  }
  void enter(std::string_view part, std::uint64_t index) {
    part_ = part;
    index_ = index;
  }

  std::span<const std::byte> take(std::uint64_t size) {
    if (size > remaining()) {
      user_error("the file is truncated or damaged: {} {} needs {} bytes at byte {}, {} are left",
                 part_, index_, size, position_, remaining());
    }
    return bytes_.subspan(std::exchange(position_, position_ + size), size);
  }
  template <typename T>
  T number() {
    return load<T>(take(sizeof(T)));
  }
  std::string_view string() { return as_text(take(number<std::uint64_t>())); }

  GgufType type() {
    const auto id = number<std::uint32_t>();
    if (id >= type_count) user_error("{} {} has the unknown value type {}", part_, index_, id);
    return static_cast<GgufType>(id);
  }

  /// The bytes of one value, arrays with their header.
  std::span<const std::byte> value(GgufType type, int depth = 0) {
    const std::uint64_t start = position_;
    if (type == GgufType::string) {
      string();
    } else if (type == GgufType::array) {
      array(depth + 1);
    } else {
      take(fixed_size(type));
    }
    return since(start);
  }

 private:
  void array(int depth) {
    if (depth > deepest_array) {
      user_error("{} {} has arrays nested deeper than {}", part_, index_, deepest_array);
    }
    const GgufType element = type();
    const auto count = number<std::uint64_t>();
    const std::uint64_t size = fixed_size(element);
    const std::uint64_t least = size                          ? size
                                : element == GgufType::string ? string_least
                                                              : array_header;
    if (count > remaining() / least) {
      user_error("{} {} claims an array of {} elements, {} bytes of file are left", part_, index_,
                 count, remaining());
    }
    if (size) {
      take(count * size);
    } else {
      for (std::uint64_t i = 0; i < count; ++i) value(element, depth);
    }
  }

  std::span<const std::byte> bytes_;
  std::uint64_t position_ = 0;
  std::string_view part_ = "value";
  std::uint64_t index_ = 0;
};

/// Indices of `items` in the order of their names; two equal names are an error.
template <typename Item>
std::vector<std::uint32_t> order_by(const std::vector<Item>& items, std::string_view Item::*name,
                                    const char* kind) {
  std::vector<std::uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto name_at = [&](std::uint32_t i) { return items[i].*name; };
  std::ranges::sort(order, {}, name_at);
  const auto twice = std::ranges::adjacent_find(order, {}, name_at);
  if (twice != order.end()) user_error("{} {} appears twice", kind, quote(name_at(*twice)));
  return order;
}

template <typename Item>
const Item* look_up(const std::vector<Item>& items, const std::vector<std::uint32_t>& order,
                    std::string_view Item::*name, std::string_view wanted) {
  const auto name_at = [&](std::uint32_t i) { return items[i].*name; };
  const auto found = std::ranges::lower_bound(order, wanted, {}, name_at);
  return found != order.end() && name_at(*found) == wanted ? &items[*found] : nullptr;
}

std::uint64_t bytes_of(const GgufTensor& tensor) {
  const BlockInfo& info = block_info(tensor.type);
  const std::int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % info.values != 0) {
    user_error("tensor {} has rows of {} values, {} needs a multiple of {}", quote(tensor.name),
               row, info.name, info.values);
  }
  std::int64_t size = info.bytes;
  bool overflow = __builtin_mul_overflow(size, row / info.values, &size);
  for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i) {
    overflow |= __builtin_mul_overflow(size, tensor.shape[i], &size);
  }
  if (overflow) user_error("tensor {} has more than 2^63 bytes", quote(tensor.name));
  return static_cast<std::uint64_t>(size);
}

/// One tensor info; the bytes are placed later. Returns the offset in the data section.
std::uint64_t read_info(Cursor& cursor, GgufTensor& tensor) {
  tensor.name = cursor.string();
  const std::string_view name = tensor.name;
  if (name.empty() || name.size() > longest_key) {
    user_error("a tensor's name has {} bytes, 1 to {} are allowed", name.size(), longest_key);
  }
  const auto dimensions = cursor.number<std::uint32_t>();
  if (dimensions > most_dimensions) {
    user_error("tensor {} has {} dimensions, at most {} are allowed", quote(name), dimensions,
               most_dimensions);
  }
  tensor.shape.resize(dimensions);
  for (std::uint32_t i = dimensions; i-- > 0;) {
    const auto size = cursor.number<std::uint64_t>();
    if (size == 0 || size > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) {
      user_error("tensor {} has a dimension of {}", quote(name), size);
    }
    tensor.shape[i] = static_cast<std::int64_t>(size);
  }
  const auto id = cursor.number<std::uint32_t>();
  const BlockInfo* info = find_block_type(id);
  if (!info && gguf_type_name(id).empty()) {
    user_error("tensor {} has the unknown type {}", quote(name), id);
  }
  if (!info)
    user_error("tensor {} is in {}, which brisk cannot read", quote(name), gguf_type_name(id));
  tensor.type = info->type;
  return cursor.number<std::uint64_t>();
}

}  // namespace

void GgufValue::refuse(std::string_view wanted) const {
  user_error("metadata {} is {} where {} is wanted", quote(key_), describe(type_), wanted);
}

std::int64_t GgufValue::integer() const {
  switch (type_) {
    case GgufType::uint8: return load<std::uint8_t>(bytes_);
    case GgufType::int8: return load<std::int8_t>(bytes_);
    case GgufType::uint16: return load<std::uint16_t>(bytes_);
    case GgufType::int16: return load<std::int16_t>(bytes_);
    case GgufType::uint32: return load<std::uint32_t>(bytes_);
    case GgufType::int32: return load<std::int32_t>(bytes_);
    case GgufType::int64: return load<std::int64_t>(bytes_);
    case GgufType::uint64: {
      const auto value = load<std::uint64_t>(bytes_);
      if (value >> 63) user_error("metadata {} is {}, above 2^63", quote(key_), value);
      return static_cast<std::int64_t>(value);
    }
    default: refuse("a whole number");
  }
}

double GgufValue::number() const {
  switch (type_) {
    case GgufType::float32: return load<float>(bytes_);
    case GgufType::float64: return load<double>(bytes_);
    case GgufType::uint64: return static_cast<double>(load<std::uint64_t>(bytes_));
    case GgufType::boolean:
    case GgufType::string:
    case GgufType::array: refuse("a number");
    default: return static_cast<double>(integer());
  }
}

bool GgufValue::boolean() const {
  if (type_ != GgufType::boolean) refuse("a bool");
  return load<std::uint8_t>(bytes_) != 0;
}

std::string_view GgufValue::string() const {
  if (type_ != GgufType::string) refuse("a string");
  return Cursor(bytes_).string();
}

GgufType GgufValue::element_type() const {
  if (type_ != GgufType::array) refuse("an array");
  return Cursor(bytes_).type();
}

std::uint64_t GgufValue::size() const {
  if (type_ != GgufType::array) refuse("an array");
  return load<std::uint64_t>(bytes_.subspan(4));
}

template <typename Take>
void GgufValue::each(Take take) const {
  const GgufType element = element_type();
  Cursor cursor(bytes_);
  cursor.take(array_header);
  for (std::uint64_t i = size(); i > 0; --i) take(GgufValue(key_, element, cursor.value(element)));
}

std::vector<GgufValue> GgufValue::values() const {
  std::vector<GgufValue> out;
  each([&](const GgufValue& value) { out.push_back(value); });
  return out;
}

std::vector<std::int64_t> GgufValue::integers() const {
  std::vector<std::int64_t> out;
  each([&](const GgufValue& value) { out.push_back(value.integer()); });
  return out;
}

std::vector<float> GgufValue::floats() const {
  std::vector<float> out;
  each([&](const GgufValue& value) { out.push_back(static_cast<float>(value.number())); });
  return out;
}

std::vector<std::string_view> GgufValue::strings() const {
  std::vector<std::string_view> out;
  each([&](const GgufValue& value) { out.push_back(value.string()); });
  return out;
}

GgufFile GgufFile::open(const std::filesystem::path& path) {
  MappedFile file = MappedFile::open(path);
  GgufFile gguf = parse(file.bytes(), file.path());
  gguf.file_ = std::move(file);
  return gguf;
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::string name) {
  GgufFile gguf;
  gguf.name_ = std::move(name);
  try {
    gguf.read(bytes);
  } catch (const UserError& error) {
    user_error("{}: {}", gguf.name_, error.what());
  }
  return gguf;
}

void GgufFile::read(std::span<const std::byte> bytes) {
  if (bytes.size() < 4 || as_text(bytes.first(4)) != "GGUF") {
    user_error("not a GGUF file: it does not begin with \"GGUF\"");
  }
  Cursor cursor(bytes);
  cursor.enter("header field", 0);
  cursor.take(4);
  version_ = cursor.number<std::uint32_t>();
  if (version_ != 0 && (version_ & 0xffff) == 0)
    user_error("a big-endian GGUF file, not supported");
  if (version_ != 2 && version_ != 3) {
    user_error("GGUF version {} is not supported, versions 2 and 3 are", version_);
  }
  const auto tensor_count = cursor.number<std::uint64_t>();
  const auto entry_count = cursor.number<std::uint64_t>();
  if (entry_count > cursor.remaining() / entry_least) {
    user_error("the header claims {} metadata entries, {} bytes follow", entry_count,
               cursor.remaining());
  }
  if (tensor_count > cursor.remaining() / info_least) {
    user_error("the header claims {} tensors, {} bytes follow", tensor_count, cursor.remaining());
  }

  for (std::uint64_t i = 0; i < entry_count; ++i) {
    cursor.enter("metadata entry", i);
    const std::string_view key = cursor.string();
    if (key.empty() || key.size() > longest_key) {
      user_error("the key of metadata entry {} has {} bytes, 1 to {} are allowed", i, key.size(),
                 longest_key);
    }
    const GgufType type = cursor.type();
    metadata_.push_back({key, GgufValue(key, type, cursor.value(type))});
  }
  metadata_by_key_ = order_by(metadata_, &GgufEntry::key, "metadata");
  if (const GgufValue* alignment = find("general.alignment")) {
    const std::int64_t value = alignment->integer();
    if (value > std::int64_t{1} << 31 || !is_power_of_two(value)) {
      user_error("general.alignment is {}, a power of two is wanted", value);
    }
    alignment_ = static_cast<std::uint32_t>(value);
  }

  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < tensor_count; ++i) {
    cursor.enter("tensor info", i);
    offsets.push_back(read_info(cursor, tensors_.emplace_back()));
  }
  tensors_by_name_ = order_by(tensors_, &GgufTensor::name, "tensor");
  const std::uint64_t data_start = (cursor.position() + alignment_ - 1) / alignment_ * alignment_;
  place_tensors(bytes.subspan(std::min<std::uint64_t>(data_start, bytes.size())), offsets);
}

void GgufFile::place_tensors(std::span<const std::byte> data,
                             std::span<const std::uint64_t> offsets) {
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const std::uint64_t size = bytes_of(tensors_[i]);
    if (offsets[i] % alignment_ != 0) {
      user_error("tensor {} is at offset {}, which is not a multiple of the alignment {}",
                 quote(tensors_[i].name), offsets[i], alignment_);
    }
    if (offsets[i] > data.size() || size > data.size() - offsets[i]) {
      user_error(
          "the file is truncated or damaged: tensor {} needs {} bytes at offset {} of the "
          "data, which has {}",
          quote(tensors_[i].name), size, offsets[i], data.size());
    }
    tensors_[i].bytes = data.subspan(offsets[i], size);
  }
  std::vector<std::uint32_t> order(tensors_.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](std::uint32_t i) { return offsets[i]; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const GgufTensor &before = tensors_[order[i - 1]], &after = tensors_[order[i]];
    if (offsets[order[i - 1]] + before.bytes.size() > offsets[order[i]]) {
      user_error("tensors {} and {} overlap", quote(before.name), quote(after.name));
    }
  }
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const GgufEntry* entry = look_up(metadata_, metadata_by_key_, &GgufEntry::key, key);
  return entry ? &entry->value : nullptr;
}

const GgufTensor* GgufFile::find_tensor(std::string_view tensor_name) const {
  return look_up(tensors_, tensors_by_name_, &GgufTensor::name, tensor_name);
}

const GgufValue& GgufFile::get(std::string_view key) const {
  if (const GgufValue* value = find(key)) return *value;
  user_error("{}: metadata {} is missing", name_, quote(key));
}

const GgufTensor& GgufFile::tensor(std::string_view tensor_name) const {
  if (const GgufTensor* found = find_tensor(tensor_name)) return *found;
  user_error("{}: tensor {} is missing", name_, quote(tensor_name));
}

}  // namespace brisk
