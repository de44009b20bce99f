// Safetensors: named tensors read in place from one file or from a folder of shards, and written.
// Input: files that need not be trusted; every defect is a UserError of one line. Output: tensors
// as spans of bytes. Memory taken is at most proportional to the headers.
//
// The format:
//   file    u64 little-endian n, at most 100,000,000; n bytes of header; the data
//   header  one JSON object in UTF-8, perhaps between white space: tensor name → {"dtype", "shape",
//           "data_offsets": [begin, end]} and optionally "__metadata__" → {string: string}; no name
//           or field appears twice and there are no other fields
//   data    in row-major order, little-endian; the tensors, sorted by their offsets, fill it
//           without hole or overlap from the first byte to the end of the file
//   dtypes  BOOL U8 I8 U16 I16 U32 I32 U64 I64 F8_E4M3 F8_E5M2 F16 BF16 F32 F64
// A shape may be [] (one value) and may hold zeros (no bytes).
//   folder  model.safetensors, or model.safetensors.index.json with "weight_map": {tensor name:
//           path of its shard}, paths inside the folder; other fields are ignored
#pragma once

#include "base/dtype.h"
#include "formats/mapped_file.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace brisk {

struct SafeTensor {
  std::string name;
  DType dtype = DType::none;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;  // of any alignment: the file may begin them anywhere
};

class Safetensors {
 public:
  /// A file, or a folder as above.
  static Safetensors open(const std::filesystem::path& path);
  /// Reads one file from bytes that outlive the result; `name` stands for it in errors.
  static Safetensors parse(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  /// Sorted by name.
  const std::vector<SafeTensor>& tensors() const { return tensors_; }
  /// "__metadata__"; of a folder of shards, that of the shard that comes first by name.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::vector<MappedFile>& files() const { return files_; }

  /// nullptr when there is none.
  const SafeTensor* find(std::string_view tensor_name) const;
  /// A UserError when there is none.
  const SafeTensor& tensor(std::string_view tensor_name) const;

 private:
  Safetensors() = default;
  static Safetensors open_file(const std::filesystem::path& path);
  static Safetensors open_shards(const std::filesystem::path& folder,
                                 const std::filesystem::path& index);

  std::string name_;
  std::vector<SafeTensor> tensors_;
  std::map<std::string, std::string> metadata_;
  std::vector<MappedFile> files_;
};

/// The name of a dtype in the format: "BF16".
std::string_view safetensors_name(DType dtype);

/// Builds one file. The tensors stand by falling size of their elements, then in the order of the
/// calls, so that each is aligned to its elements.
class SafetensorsWriter {
 public:
  void add_metadata(std::string key, std::string value);
  /// `bytes` is borrowed until the file is written; its size must be that of the shape.
  void add(std::string name, DType dtype, std::vector<std::int64_t> shape,
           std::span<const std::byte> bytes);

  std::vector<std::byte> bytes() const;
  /// Whole or not at all (file_writer.h).
  void write(const std::filesystem::path& path) const;

 private:
  /// The length and the JSON, padded with spaces so that the data begins at a multiple of 8.
  std::string header() const;

  std::vector<SafeTensor> tensors_;  // in the order of the file
  std::map<std::string, std::string> metadata_;
};

}  // namespace brisk
