#include "base/error.h"
#include "formats/file_writer.h"
#include "formats/quote.h"
#include "formats/safetensors.h"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace brisk {
namespace {

std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error&) {
    user_error("{} cannot be written: it is not UTF-8", quote(text));
  }
}

}  // namespace

void SafetensorsWriter::add_metadata(std::string key, std::string value) {
  metadata_[std::move(key)] = std::move(value);
}

void SafetensorsWriter::add(std::string name, DType dtype, std::vector<std::int64_t> shape,
                            std::span<const std::byte> bytes) {
  std::int64_t size = byte_size(dtype);
  for (const std::int64_t dimension : shape) size *= dimension;
  if (size < 0 || static_cast<std::uint64_t>(size) != bytes.size()) {
    user_error("tensor {} of {} [{}] does not have {} bytes", quote(name), safetensors_name(dtype),
               fmt::join(shape, ", "), bytes.size());
  }
  if (name == "__metadata__" ||
      std::ranges::find(tensors_, name, &SafeTensor::name) != tensors_.end()) {
    user_error("tensor {} cannot be written: the name is taken", quote(name));
  }
  const auto place = std::ranges::find_if(tensors_, [&](const SafeTensor& tensor) {
    return byte_size(tensor.dtype) < byte_size(dtype);
  });
  tensors_.insert(place, {std::move(name), dtype, std::move(shape), bytes});
}

std::string SafetensorsWriter::header() const {
  std::vector<std::string> entries;
  if (!metadata_.empty()) {
    std::vector<std::string> pairs;
    pairs.reserve(metadata_.size());
    for (const auto& [key, value] : metadata_) {
      pairs.push_back(json_string(key) + ":" + json_string(value));
    }
    entries.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(pairs, ",")));
  }
  std::uint64_t offset = 0;
  for (const SafeTensor& tensor : tensors_) {
    entries.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                  json_string(tensor.name), safetensors_name(tensor.dtype),
                                  fmt::join(tensor.shape, ","), offset,
                                  offset + tensor.bytes.size()));
    offset += tensor.bytes.size();
  }
  std::string json = fmt::format("{{{}}}", fmt::join(entries, ","));
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = json.size();
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + json;
}

std::vector<std::byte> SafetensorsWriter::bytes() const {
  const std::string head = header();
  const auto head_bytes = std::as_bytes(std::span(head));
  std::vector<std::byte> out(head_bytes.begin(), head_bytes.end());
  for (const SafeTensor& tensor : tensors_) {
    out.insert(out.end(), tensor.bytes.begin(), tensor.bytes.end());
  }
  return out;
}

void SafetensorsWriter::write(const std::filesystem::path& path) const {
  FileWriter file(path);
  file.append(std::as_bytes(std::span<const char>(header())));
  for (const SafeTensor& tensor : tensors_) file.append(tensor.bytes);
  file.commit();
}

}  // namespace brisk
