#include "formats/npy.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "formats/byte_reader.h"
#include "formats/file_writer.h"
#include "formats/mapped_file.h"
#include "formats/quote.h"
#include "formats/strided.h"
#include "formats/zip.h"

namespace brisk {

namespace {

constexpr std::uint64_t most_bytes = std::uint64_t{1} << 40;

DType dtype_of_kind(char kind, int bytes) {
  struct Entry {
    char kind;
    int bytes;
    DType dtype;
  };
  constexpr Entry entries[] = {
      {'b', 1, DType::boolean}, {'i', 1, DType::int8},    {'i', 2, DType::int16},
      {'i', 4, DType::int32},   {'i', 8, DType::int64},   {'u', 1, DType::uint8},
      {'u', 2, DType::uint16},  {'u', 4, DType::uint32},  {'u', 8, DType::uint64},
      {'f', 2, DType::float16}, {'f', 4, DType::float32}, {'f', 8, DType::float64},
  };
  for (const Entry& entry : entries) {
    if (entry.kind == kind && entry.bytes == bytes) return entry.dtype;
  }
  return DType::none;
}

// The few literals that a header is made of.
class Header {
 public:
  Header(std::string text, const std::string& name) : text_(std::move(text)), name_(name) {
    read();
  }
  std::string descr;
  bool column_major = false;
  std::vector<std::int64_t> shape;

 private:
  [[noreturn]] void fail() const { user_error("{}: its .npy header is damaged", name_); }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  bool take(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string string() {
    skip();
    const char mark = at_ < text_.size() ? text_[at_] : ' ';
    if (mark != '\'' && mark != '"') fail();
    const auto end = text_.find(mark, at_ + 1);
    if (end == std::string::npos) fail();
    std::string result = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return result;
  }
  bool boolean() {
    skip();
    for (const auto& [word, value] : {std::pair("True", true), std::pair("False", false)}) {
      if (text_.compare(at_, std::strlen(word), word) != 0) continue;
      at_ += std::strlen(word);
      return value;
    }
    fail();
  }
  void sizes() {
    if (!take('(')) fail();
    while (!take(')')) {
      skip();
      std::int64_t size = 0;
      const auto [end, error] =
          std::from_chars(text_.data() + at_, text_.data() + text_.size(), size);
      if (error != std::errc() || size < 0 || shape.size() > 64) fail();
      shape.push_back(size);
      at_ = static_cast<std::size_t>(end - text_.data());
      if (at_ < text_.size() && text_[at_] == 'L') ++at_;
      if (!take(',') && (skip(), at_ >= text_.size() || text_[at_] != ')')) fail();
    }
  }
  void read() {
    bool has_descr = false, has_order = false, has_shape = false;
    if (!take('{')) fail();
    while (!take('}')) {
      const std::string key = string();
      if (!take(':')) fail();
      if (key == "descr")
        descr = string(), has_descr = true;
      else if (key == "fortran_order")
        column_major = boolean(), has_order = true;
      else if (key == "shape")
        shape.clear(), sizes(), has_shape = true;
      else
        fail();
      take(',');
    }
    if (!has_descr || !has_order || !has_shape) fail();
  }

  std::string text_;
  const std::string& name_;
  std::size_t at_ = 0;
};

std::uint64_t bytes_of_shape(const std::vector<std::int64_t>& shape, std::size_t width,
                             const std::string& name) {
  std::uint64_t total = width;
  for (const std::int64_t size : shape) {
    if (size == 0) return 0;
    if (total > most_bytes / static_cast<std::uint64_t>(size))
      user_error("{}: its array is too large", name);
    total *= static_cast<std::uint64_t>(size);
  }
  return total;
}

std::vector<std::int64_t> column_major_strides(const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> strides;
  std::int64_t next = 1;
  for (const std::int64_t size : shape) {
    strides.push_back(next);
    next *= size;
  }
  return strides;
}

}  // namespace

NpyArray parse_npy(std::span<const std::byte> bytes, const std::string& name) {
  constexpr char magic[] = "\x93NUMPY";
  if (bytes.size() < 12 || std::memcmp(bytes.data(), magic, 6) != 0)
    user_error("{}: this is no .npy file", name);
  const int version = std::to_integer<int>(bytes[6]);
  if (version < 1 || version > 3) user_error("{}: version {} of .npy is not known", name, version);
  const std::size_t start = version == 1 ? 10 : 12;
  const std::size_t length =
      version == 1 ? number_at<std::uint16_t>(bytes, 8) : number_at<std::uint32_t>(bytes, 8);
  if (length > bytes.size() - start) user_error("{}: its .npy header is cut off", name);
  const Header header(std::string(reinterpret_cast<const char*>(bytes.data() + start), length),
                      name);
  NpyArray array;
  const std::string& d = header.descr;
  if (d.size() >= 3 && d.size() <= 4) {
    int width = 0;
    std::from_chars(d.data() + 2, d.data() + d.size(), width);
    array.dtype = dtype_of_kind(d[1], width);
  }
  if (array.dtype == DType::none || (d[0] != '<' && d[0] != '|' && d[0] != '='))
    user_error("{}: elements of type {} are not supported", name, quote(d));
  array.shape = header.shape;
  const auto width = static_cast<std::size_t>(byte_size(array.dtype));
  const std::uint64_t wanted = bytes_of_shape(array.shape, width, name);
  const auto content = bytes.subspan(start + length);
  if (content.size() < wanted)
    user_error("{}: {} bytes of elements, wants {}", name, content.size(), wanted);
  array.bytes.assign(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(wanted));
  if (header.column_major && array.shape.size() > 1)
    array.bytes = row_major(array.bytes, array.shape, column_major_strides(array.shape), width);
  return array;
}

NpyArray read_npy(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  return parse_npy(file.bytes(), path.string());
}

std::map<std::string, NpyArray> parse_npz(std::span<const std::byte> bytes,
                                          const std::string& name) {
  const auto told = [&](const auto& read) {
    try {
      return read();
    } catch (const UserError& error) {
      user_error("{}: {}", name, error.what());
    }
  };
  std::map<std::string, NpyArray> arrays;
  for (const ZipEntry& entry : told([&] { return read_zip(bytes); })) {
    std::vector<std::byte> room;
    const auto content = told([&] { return unpacked(entry, room); });
    std::string member = entry.name;
    if (member.ends_with(".npy")) member.resize(member.size() - 4);
    arrays[member] = parse_npy(content, name + ": " + quote(entry.name));
  }
  return arrays;
}

std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  return parse_npz(file.bytes(), path.string());
}

std::vector<std::byte> npy_bytes(DType dtype, const std::vector<std::int64_t>& shape,
                                 std::span<const std::byte> bytes) {
  char kind = is_bool(dtype) ? 'b' : is_float(dtype) ? 'f' : is_signed(dtype) ? 'i' : 'u';
  if (dtype_of_kind(kind, byte_size(dtype)) != dtype)
    user_error(".npy files do not hold {}", name(dtype));
  std::string sizes;
  for (const std::int64_t size : shape) sizes += std::to_string(size) + ", ";
  if (shape.size() > 1) sizes.resize(sizes.size() - 2);
  std::string header =
      fmt::format("{{'descr': '{}{}{}', 'fortran_order': False, 'shape': ({}), }}",
                  byte_size(dtype) == 1 ? '|' : '<', kind, byte_size(dtype), sizes);
  header.resize((header.size() + 10 + 1 + 63) / 64 * 64 - 10, ' ');  // elements begin at 64 bytes
  header.back() = '\n';
  std::string start = "\x93NUMPY";
  start += '\1';
  start += '\0';
  start += static_cast<char>(header.size() & 0xff);
  start += static_cast<char>(header.size() >> 8);
  start += header;
  std::vector<std::byte> file(start.size() + bytes.size());
  std::memcpy(file.data(), start.data(), start.size());
  std::copy(bytes.begin(), bytes.end(), file.begin() + static_cast<std::ptrdiff_t>(start.size()));
  return file;
}

void write_npy(const std::filesystem::path& path, DType dtype,
               const std::vector<std::int64_t>& shape, std::span<const std::byte> bytes) {
  FileWriter file(path);
  file.append(npy_bytes(dtype, shape, bytes));
  file.commit();
}

}  // namespace brisk
