#include "formats/safetensors.h"

#include "base/error.h"
#include "formats/json_events.h"
#include "formats/quote.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

namespace brisk {
namespace {

constexpr std::uint64_t longest_header = 100'000'000;
constexpr std::size_t most_dimensions = 64;

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr DTypeName dtype_names[] = {
    {"BOOL", DType::boolean},
    {"U8", DType::uint8},
    {"I8", DType::int8},
    {"U16", DType::uint16},
    {"I16", DType::int16},
    {"U32", DType::uint32},
    {"I32", DType::int32},
    {"U64", DType::uint64},
    {"I64", DType::int64},
    {"F16", DType::float16},
    {"BF16", DType::bfloat16},
    {"F32", DType::float32},
    {"F64", DType::float64},
    {"F8_E4M3", DType::float8_e4m3},
    {"F8_E5M2", DType::float8_e5m2},
};

struct Extent {
  std::uint64_t begin, end;
};

/// The header as it stands, field by field.
struct Header {
  std::vector<SafeTensor> tensors;
  std::vector<Extent> extents;  // of the tensor of the same index
  std::map<std::string, std::string> metadata;
};

class HeaderEvents : public JsonEvents {
 public:
  explicit HeaderEvents(Header& header) : header_(header) {}

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::top;
    } else if (place_ == Place::top && name_ == "__metadata__") {
      if (std::exchange(metadata_seen_, true)) user_error("the header has '__metadata__' twice");
      place_ = Place::metadata;
    } else if (place_ == Place::top) {
      place_ = Place::tensor;
      tensor_ = {.name = name_};
      offsets_.clear();
      seen_[0] = seen_[1] = seen_[2] = false;
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool key(string_t& key) override {
    if (place_ == Place::top) {
      name_ = std::move(key);
    } else if (place_ == Place::metadata) {
      metadata_key_ = std::move(key);
    } else {
      constexpr std::string_view fields[] = {"dtype", "shape", "data_offsets"};
      const auto found = std::ranges::find(fields, key);
      if (found == std::end(fields)) {
        user_error("tensor {} has the unknown field {}", quote(name_), quote(key));
      }
      field_ = static_cast<int>(found - fields);
      if (std::exchange(seen_[field_], true)) {
        user_error("tensor {} has the field '{}' twice", quote(name_), key);
      }
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::top) {
      place_ = Place::outside;
      return true;
    }
    if (place_ == Place::tensor) end_tensor();
    place_ = Place::top;
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::metadata) {
      if (!header_.metadata.emplace(metadata_key_, std::move(text)).second) {
        user_error("the header has the metadata {} twice", quote(metadata_key_));
      }
      return true;
    }
    if (place_ != Place::tensor || field_ != dtype_field) return unexpected("a string");
    const auto found = std::ranges::find(dtype_names, text, &DTypeName::name);
    if (found == std::end(dtype_names)) {
      user_error("tensor {} has the unknown dtype {}", quote(name_), quote(text));
    }
    tensor_.dtype = found->dtype;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::tensor || field_ == dtype_field) return unexpected("an array");
    place_ = Place::numbers;
    return true;
  }
  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ != Place::numbers) return unexpected("a number");
    if (field_ == offsets_field) {
      if (offsets_.size() == 2) user_error("tensor {} has more than two offsets", quote(name_));
      offsets_.push_back(value);
      return true;
    }
    if (value >> 63) user_error("tensor {} has a dimension of {}", quote(name_), value);
    if (tensor_.shape.size() == most_dimensions) {
      user_error("tensor {} has more than {} dimensions", quote(name_), most_dimensions);
    }
    tensor_.shape.push_back(static_cast<std::int64_t>(value));
    return true;
  }

 private:
  enum class Place { outside, top, metadata, tensor, numbers };
  enum Field { dtype_field, shape_field, offsets_field };

  bool unexpected(std::string_view what) override {
    if (place_ == Place::metadata) {
      user_error("the metadata {} is {}, a string is wanted", quote(metadata_key_), what);
    }
    if (place_ == Place::top)
      user_error("the entry {} is {}, an object is wanted", quote(name_), what);
    user_error("tensor {} has {} where it does not belong", quote(name_), what);
  }

  void end_tensor() {
    constexpr std::string_view fields[] = {"dtype", "shape", "data_offsets"};
    for (int i = 0; i < 3; ++i) {
      if (!seen_[i]) user_error("tensor {} lacks the field '{}'", quote(name_), fields[i]);
    }
    if (offsets_.size() != 2 || offsets_[0] > offsets_[1]) {
      user_error("tensor {} has wrong offsets [{}]", quote(name_), fmt::join(offsets_, ", "));
    }
    header_.extents.push_back({offsets_[0], offsets_[1]});
    header_.tensors.push_back(std::move(tensor_));
  }

  Header& header_;
  Place place_ = Place::outside;
  int field_ = 0;
  bool seen_[3] = {};
  bool metadata_seen_ = false;
  std::string name_, metadata_key_;
  SafeTensor tensor_;
  std::vector<std::uint64_t> offsets_;
};

std::uint64_t bytes_of(const SafeTensor& tensor) {
  std::int64_t size = byte_size(tensor.dtype);
  bool overflow = false;
  for (const std::int64_t dimension : tensor.shape) {
    overflow |= __builtin_mul_overflow(size, dimension, &size);
  }
  if (overflow) user_error("tensor {} has more than 2^63 bytes", quote(tensor.name));
  return static_cast<std::uint64_t>(size);
}

/// Checks the extents against shapes and data, and sets the tensors' bytes.
void place_tensors(Header& header, std::span<const std::byte> data) {
  std::vector<std::size_t> order(header.tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) {
    return std::pair(header.extents[i].begin, header.extents[i].end);
  });
  std::uint64_t filled = 0;
  for (const std::size_t i : order) {
    SafeTensor& tensor = header.tensors[i];
    const auto [begin, end] = header.extents[i];
    if (begin != filled) {
      user_error("tensor {} begins at byte {} of the data, where {} ended: {}", quote(tensor.name),
                 begin, filled, begin < filled ? "an overlap" : "a hole");
    }
    if (const std::uint64_t size = bytes_of(tensor); end - begin != size) {
      user_error("tensor {} has {} bytes, {} of shape [{}] takes {}", quote(tensor.name),
                 end - begin, safetensors_name(tensor.dtype), fmt::join(tensor.shape, ", "), size);
    }
    if (end > data.size()) {
      user_error("the file is truncated: tensor {} ends at byte {} of the data, which has {}",
                 quote(tensor.name), end, data.size());
    }
    tensor.bytes = data.subspan(begin, end - begin);
    filled = end;
  }
  if (filled != data.size()) {
    user_error("{} bytes follow the last tensor", data.size() - filled);
  }
}

Header read_file(std::span<const std::byte> bytes) {
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) {
    user_error("not a safetensors file: {} bytes cannot hold the header's length", bytes.size());
  }
  std::memcpy(&length, bytes.data(), sizeof length);
  bytes = bytes.subspan(sizeof length);
  if (length > longest_header) {
    user_error("the header has {} bytes, at most {} are allowed (is it a safetensors file?)",
               length, longest_header);
  }
  if (length > bytes.size()) {
    user_error("the file is truncated: the header has {} bytes, {} are left", length, bytes.size());
  }
  Header header;
  HeaderEvents events(header);
  parse_json(bytes.first(length), events, "the header");
  place_tensors(header, bytes.subspan(length));
  return header;
}

/// Sorts by name; two equal names are an error.
void sort_by_name(std::vector<SafeTensor>& tensors) {
  std::ranges::sort(tensors, {}, &SafeTensor::name);
  const auto twice = std::ranges::adjacent_find(tensors, {}, &SafeTensor::name);
  if (twice != tensors.end()) user_error("tensor {} appears twice", quote(twice->name));
}

/// "weight_map" of model.safetensors.index.json; everything else in it is passed over.
class IndexEvents : public JsonEvents {
 public:
  std::map<std::string, std::string> shard_of;  // by tensor name
  bool found = false;

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a bool"); }
  bool number_integer(std::int64_t) override { return other("a number"); }
  bool number_unsigned(std::uint64_t) override { return other("a number"); }
  bool number_float(double, const string_t&) override { return other("a number"); }
  bool start_array(std::size_t) override { return other("an array"); }
  bool string(string_t& text) override {
    if (!in_map_ || depth_ != 2) return other("a string");
    if (!shard_of.emplace(key_, std::move(text)).second) {
      user_error("'weight_map' has tensor {} twice", quote(key_));
    }
    return true;
  }
  bool start_object(std::size_t) override {
    if (in_map_ && depth_ == 1) {
      if (std::exchange(found, true)) user_error("it has 'weight_map' twice");
    } else {
      other("an object");
    }
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool key(string_t& key) override {
    if (depth_ == 1) in_map_ = key == "weight_map";
    key_ = std::move(key);
    return true;
  }

 private:
  bool other(std::string_view what) { return in_map_ ? unexpected(what) : true; }
  bool unexpected(std::string_view what) override {
    user_error("'weight_map' has {} at {}, a string is wanted", what, quote(key_));
  }

  std::size_t depth_ = 0;
  bool in_map_ = false;
  std::string key_;
};

std::map<std::string, std::string> read_index(const std::filesystem::path& index) {
  const MappedFile file = MappedFile::open(index);
  try {
    if (file.bytes().size() > longest_header) {
      user_error("it has {} bytes, at most {} are allowed", file.bytes().size(), longest_header);
    }
    IndexEvents events;
    parse_json(file.bytes(), events, "the index");
    if (!events.found) user_error("it has no 'weight_map'");
    for (const auto& [tensor, shard] : events.shard_of) {
      const std::filesystem::path path(shard);
      const bool leaves = path.is_absolute() || shard.find('\0') != std::string::npos ||
                          std::ranges::find(path, "..") != path.end();
      if (leaves || !path.has_filename()) {
        user_error("the shard {} of tensor {} is not a path inside the folder", quote(shard),
                   quote(tensor));
      }
    }
    return std::move(events.shard_of);
  } catch (const UserError& error) {
    user_error("{}: {}", file.path(), error.what());
  }
}

}  // namespace

std::string_view safetensors_name(DType dtype) {
  const auto found = std::ranges::find(dtype_names, dtype, &DTypeName::dtype);
  check(found != std::end(dtype_names), "every stored dtype has a safetensors name");
  return found->name;
}

Safetensors Safetensors::parse(std::span<const std::byte> bytes, std::string name) {
  Safetensors result;
  result.name_ = std::move(name);
  try {
    Header header = read_file(bytes);
    result.tensors_ = std::move(header.tensors);
    result.metadata_ = std::move(header.metadata);
    sort_by_name(result.tensors_);
  } catch (const UserError& error) {
    user_error("{}: {}", result.name_, error.what());
  }
  return result;
}

Safetensors Safetensors::open(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    const auto whole = path / "model.safetensors", index = path / "model.safetensors.index.json";
    if (std::filesystem::exists(whole, ignored)) return open_file(whole);
    if (std::filesystem::exists(index, ignored)) return open_shards(path, index);
    user_error("{} has neither model.safetensors nor model.safetensors.index.json", path.native());
  }
  return open_file(path);
}

Safetensors Safetensors::open_file(const std::filesystem::path& path) {
  MappedFile file = MappedFile::open(path);
  Safetensors result = parse(file.bytes(), file.path());
  result.files_.push_back(std::move(file));
  return result;
}

Safetensors Safetensors::open_shards(const std::filesystem::path& folder,
                                     const std::filesystem::path& index) {
  const auto shard_of = read_index(index);
  std::map<std::string, Safetensors> shards;
  for (const auto& [name, shard] : shard_of) {
    if (!shards.contains(shard)) shards.emplace(shard, open_file(folder / shard));
  }
  Safetensors result;
  result.name_ = folder.native();
  for (const auto& [name, shard] : shard_of) {
    result.tensors_.push_back(shards.at(shard).tensor(name));
  }
  for (auto& [path, shard] : shards) {
    if (result.files_.empty()) result.metadata_ = std::move(shard.metadata_);
    std::ranges::move(shard.files_, std::back_inserter(result.files_));
  }
  return result;  // in the order of shard_of, by name
}

const SafeTensor* Safetensors::find(std::string_view tensor_name) const {
  const auto found = std::ranges::lower_bound(tensors_, tensor_name, {}, &SafeTensor::name);
  return found != tensors_.end() && found->name == tensor_name ? &*found : nullptr;
}

const SafeTensor& Safetensors::tensor(std::string_view tensor_name) const {
  if (const SafeTensor* found = find(tensor_name)) return *found;
  user_error("{}: tensor {} is missing", name_, quote(tensor_name));
}

}  // namespace brisk
