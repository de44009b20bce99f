// GGUF files: metadata and tensors of a language model, read in place from a mapping, and written.
// Input: a file of version 2 or 3, which need not be trusted; every defect is a UserError of one
// line. Output: typed metadata, tensors as spans of bytes. Memory taken is at most proportional to
// the file.
//
// The format, all numbers little-endian, nothing aligned before the data section:
//   file     "GGUF"; u32 version (2 or 3); u64 tensor count; u64 entry count; entries; infos;
//            zeros up to a multiple of the alignment; the data section
//   entry    string key (1 to 65535 bytes, unique); u32 type; value
//   string   u64 length; bytes, normally UTF-8, no terminator
//   array    u32 element type; u64 count; the elements without padding (here nested at most 4 deep)
//   types    0 u8 · 1 i8 · 2 u16 · 3 i16 · 4 u32 · 5 i32 · 6 f32 · 7 bool (one byte) · 8 string ·
//            9 array · 10 u64 · 11 i64 · 12 f64
//   info     string name (unique); u32 number of dimensions (at most 4); u64 each, innermost first;
//            u32 type (quant_blocks.h); u64 offset in the data section, a multiple of the alignment
// The alignment is the u32 entry "general.alignment", a power of two, or 32. A tensor's bytes are
// its rows of blocks; the innermost dimension is a multiple of the block's values. Tensors do not
// overlap. Version 3 allows big-endian files, which are refused; version 1 had 32-bit counts and is
// refused.
#pragma once

#include "formats/mapped_file.h"
#include "formats/quant_blocks.h"

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace brisk {

enum class GgufType : std::uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64,
};

/// A metadata value: a view into the file's bytes, valid as long as they are. A getter of the wrong
/// kind is a UserError that names the key.
class GgufValue {
 public:
  GgufValue(std::string_view key, GgufType type, std::span<const std::byte> bytes)
      : key_(key), type_(type), bytes_(bytes) {}

  GgufType type() const { return type_; }
  /// The bytes as in the file.
  std::span<const std::byte> bytes() const { return bytes_; }

  std::int64_t integer() const;     // of any integer type, if it fits
  double number() const;            // of any integer or float type
  bool boolean() const;             // any byte but zero is true
  std::string_view string() const;  // not checked to be UTF-8

  // Arrays.
  GgufType element_type() const;
  std::uint64_t size() const;
  std::vector<GgufValue> values() const;  // of any type
  std::vector<std::int64_t> integers() const;
  std::vector<float> floats() const;  // of any integer or float type
  std::vector<std::string_view> strings() const;

 private:
  [[noreturn]] void refuse(std::string_view wanted) const;
  template <typename Take>
  void each(Take take) const;  // take(element) in order

  std::string_view key_;
  GgufType type_;
  std::span<const std::byte> bytes_;
};

struct GgufEntry {
  std::string_view key;
  GgufValue value;
};

struct GgufTensor {
  std::string_view name;
  BlockType type;
  std::vector<std::int64_t>
      shape;  // outermost first (reversed from the file); a row is shape.back()
  std::span<const std::byte> bytes;  // rows of blocks, in the mapping
};

class GgufFile {
 public:
  static GgufFile open(const std::filesystem::path& path);
  /// Reads from bytes that outlive the result; `name` stands for the file in errors.
  static GgufFile parse(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  std::uint32_t version() const { return version_; }
  std::uint32_t alignment() const { return alignment_; }
  const MappedFile& file() const { return file_; }

  /// In the file's order.
  const std::vector<GgufEntry>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  /// nullptr when there is none.
  const GgufValue* find(std::string_view key) const;
  const GgufTensor* find_tensor(std::string_view tensor_name) const;
  /// A UserError when there is none.
  const GgufValue& get(std::string_view key) const;
  const GgufTensor& tensor(std::string_view tensor_name) const;

 private:
  GgufFile() = default;
  void read(std::span<const std::byte> bytes);
  void place_tensors(std::span<const std::byte> data, std::span<const std::uint64_t> offsets);

  MappedFile file_;
  std::string name_;
  std::uint32_t version_ = 0;
  std::uint32_t alignment_ = 32;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<std::uint32_t> metadata_by_key_;  // indices in the order of the keys
  std::vector<std::uint32_t> tensors_by_name_;
};

template <typename T>
concept GgufNumber = std::is_arithmetic_v<T> && sizeof(T) <= 8;

template <GgufNumber T>
constexpr GgufType gguf_type_of() {
  if constexpr (std::same_as<T, bool>) return GgufType::boolean;
  if constexpr (std::floating_point<T>)
    return sizeof(T) == 4 ? GgufType::float32 : GgufType::float64;
  constexpr GgufType of_size[2][4] = {
      {GgufType::uint8, GgufType::uint16, GgufType::uint32, GgufType::uint64},
      {GgufType::int8, GgufType::int16, GgufType::int32, GgufType::int64}};
  return of_size[std::is_signed_v<T>][sizeof(T) == 1   ? 0
                                      : sizeof(T) == 2 ? 1
                                      : sizeof(T) == 4 ? 2
                                                       : 3];
}

/// Builds a GGUF file of version 3: entries and tensors in the order of the calls, then write().
class GgufWriter {
 public:
  /// An alignment other than 32 is written as general.alignment.
  explicit GgufWriter(std::uint32_t alignment = 32);

  /// The type in the file is T's: add("llama.block_count", std::uint32_t{22}).
  template <GgufNumber T>
  void add(std::string_view key, T value) {
    add_raw(key, gguf_type_of<T>(), std::as_bytes(std::span(&value, 1)));
  }
  void add(std::string_view key, std::string_view value);
  template <GgufNumber T>
  void add_array(std::string_view key, std::span<const T> values) {
    add_raw_array(key, gguf_type_of<T>(), values.size(), std::as_bytes(values));
  }
  void add_array(std::string_view key, std::span<const std::string_view> values);
  /// Copies a value from another file, nested arrays too.
  void add(std::string_view key, const GgufValue& value) {
    add_raw(key, value.type(), value.bytes());
  }

  /// `bytes` is borrowed until the file is written; its size must be that of the shape in `type`.
  void add_tensor(std::string_view name, std::span<const std::int64_t> shape, BlockType type,
                  std::span<const std::byte> bytes);

  std::vector<std::byte> bytes() const;
  /// Whole or not at all (file_writer.h).
  void write(const std::filesystem::path& path) const;

 private:
  void add_raw(std::string_view key, GgufType type, std::span<const std::byte> value);
  void add_raw_array(std::string_view key, GgufType element, std::uint64_t count,
                     std::span<const std::byte> elements);
  void emit(const std::function<void(std::span<const std::byte>)>& append) const;

  std::uint32_t alignment_;
  std::uint64_t data_size_ = 0;
  std::vector<std::byte> entries_;
  std::vector<std::byte> infos_;
  std::vector<std::span<const std::byte>> tensors_;
  std::set<std::string> keys_;
  std::set<std::string> names_;
};

}  // namespace brisk
