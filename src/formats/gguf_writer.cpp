#include "base/error.h"
#include "base/power_of_two.h"
#include "formats/file_writer.h"
#include "formats/gguf.h"
#include "formats/quote.h"

#include <fmt/ranges.h>

namespace brisk {
namespace {

void append(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

template <GgufNumber T>
void append_number(std::vector<std::byte>& out, T value) {
  append(out, std::as_bytes(std::span(&value, 1)));
}

void append_string(std::vector<std::byte>& out, std::string_view text) {
  append_number(out, std::uint64_t{text.size()});
  append(out, std::as_bytes(std::span(text)));
}

}  // namespace

GgufWriter::GgufWriter(std::uint32_t alignment) : alignment_(alignment) {
  check(is_power_of_two(alignment), "an alignment is a power of two");
  if (alignment != 32) add("general.alignment", alignment);
}

void GgufWriter::add(std::string_view key, std::string_view value) {
  std::vector<std::byte> bytes;
  append_string(bytes, value);
  add_raw(key, GgufType::string, bytes);
}

void GgufWriter::add_array(std::string_view key, std::span<const std::string_view> values) {
  std::vector<std::byte> elements;
  for (const std::string_view value : values) append_string(elements, value);
  add_raw_array(key, GgufType::string, values.size(), elements);
}

void GgufWriter::add_raw_array(std::string_view key, GgufType element, std::uint64_t count,
                               std::span<const std::byte> elements) {
  std::vector<std::byte> bytes;
  append_number(bytes, static_cast<std::uint32_t>(element));
  append_number(bytes, count);
  append(bytes, elements);
  add_raw(key, GgufType::array, bytes);
}

void GgufWriter::add_raw(std::string_view key, GgufType type, std::span<const std::byte> value) {
  if (!keys_.emplace(key).second) user_error("metadata {} is written twice", quote(key));
  append_string(entries_, key);
  append_number(entries_, static_cast<std::uint32_t>(type));
  append(entries_, value);
}

void GgufWriter::add_tensor(std::string_view name, std::span<const std::int64_t> shape,
                            BlockType type, std::span<const std::byte> bytes) {
  if (!names_.emplace(name).second) user_error("tensor {} is written twice", quote(name));
  const BlockInfo& info = block_info(type);
  const std::int64_t row = shape.empty() ? 1 : shape.back();
  std::int64_t size = row / info.values * info.bytes;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) size *= shape[i];
  if (row % info.values != 0 || size <= 0 || static_cast<std::uint64_t>(size) != bytes.size()) {
    user_error("tensor {} of [{}] in {} does not have {} bytes", quote(name),
               fmt::join(shape, ", "), info.name, bytes.size());
  }
  if (shape.size() > 4) user_error("tensor {} has more than 4 dimensions", quote(name));

  append_string(infos_, name);
  append_number(infos_, static_cast<std::uint32_t>(shape.size()));
  for (std::size_t i = shape.size(); i-- > 0;) append_number(infos_, shape[i]);
  append_number(infos_, static_cast<std::uint32_t>(type));
  append_number(infos_, data_size_);
  tensors_.push_back(bytes);
  data_size_ += (bytes.size() + alignment_ - 1) / alignment_ * alignment_;
}

void GgufWriter::emit(const std::function<void(std::span<const std::byte>)>& out) const {
  const std::vector<std::byte> zeros(alignment_);
  std::uint64_t position = 0;
  const auto put = [&](std::span<const std::byte> bytes) {
    out(bytes);
    position += bytes.size();
  };
  const auto pad = [&] {
    put(std::span(zeros).first((alignment_ - position % alignment_) % alignment_));
  };

  std::vector<std::byte> header;
  append(header, std::as_bytes(std::span(std::string_view("GGUF"))));
  append_number(header, std::uint32_t{3});
  append_number(header, std::uint64_t{tensors_.size()});
  append_number(header, std::uint64_t{keys_.size()});
  put(header);
  put(entries_);
  put(infos_);
  pad();
  for (const auto bytes : tensors_) {
    put(bytes);
    pad();
  }
}

std::vector<std::byte> GgufWriter::bytes() const {
  std::vector<std::byte> out;
  emit([&](std::span<const std::byte> bytes) { append(out, bytes); });
  return out;
}

void GgufWriter::write(const std::filesystem::path& path) const {
  FileWriter file(path);
  emit([&](std::span<const std::byte> bytes) { file.append(bytes); });
  file.commit();
}

}  // namespace brisk
