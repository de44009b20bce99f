#include "formats/npy.h"

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "formats/file_writer.h"
#include "formats/mapped_file.h"
#include "formats/quote.h"

namespace brisk {

namespace {

constexpr std::uint64_t most_bytes = std::uint64_t{1} << 40;

// Little-endian.
template <typename T>
T number_at(std::span<const std::byte> bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

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

std::vector<std::byte> row_major(const NpyArray& array, std::size_t width) {
  std::vector<std::byte> rows(array.bytes.size());
  const std::size_t count = array.bytes.size() / width;
  std::vector<std::int64_t> at(array.shape.size());
  for (std::size_t i = 0; i < count; ++i) {  // i counts in the order of the result
    std::size_t from = 0;
    for (std::size_t axis = at.size(); axis-- > 0;)
      from =
          from * static_cast<std::size_t>(array.shape[axis]) + static_cast<std::size_t>(at[axis]);
    std::memcpy(&rows[i * width], &array.bytes[from * width], width);
    for (std::size_t axis = at.size(); axis-- > 0;) {
      if (++at[axis] < array.shape[axis]) break;
      at[axis] = 0;
    }
  }
  return rows;
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
  if (header.column_major && array.shape.size() > 1) array.bytes = row_major(array, width);
  return array;
}

NpyArray read_npy(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  return parse_npy(file.bytes(), path.string());
}

namespace {

std::vector<std::byte> inflated(std::span<const std::byte> packed, std::uint64_t size,
                                const std::string& name) {
  // zlib makes at most 1032 bytes of one.
  if (size > packed.size() * std::uint64_t{1040} + 64)
    user_error("{}: a member's size is not possible", name);
  std::vector<std::byte> bytes(size);
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) user_error("{}: zlib does not start", name);
  stream.next_in =
      reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data()));  // NOLINT: zlib's interface
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  const int status = inflate(&stream, Z_FINISH);
  const bool whole = status == Z_STREAM_END && stream.total_out == size;
  inflateEnd(&stream);
  if (!whole) user_error("{}: a member is damaged", name);
  return bytes;
}

}  // namespace

// A zip archive: at its end a record that says where the directory of its members is; an entry of
// the directory says where a member's local header is, which its bytes follow.
std::map<std::string, NpyArray> parse_npz(std::span<const std::byte> bytes,
                                          const std::string& name) {
  const auto fail = [&] { user_error("{}: this is no .npz file, or it is damaged", name); };
  if (bytes.size() < 22) fail();
  std::size_t end = bytes.size() - 22;
  while (number_at<std::uint32_t>(bytes, end) != 0x06054b50) {
    if (end == 0 || bytes.size() - end > 70000) fail();
    --end;
  }
  const std::size_t count = number_at<std::uint16_t>(bytes, end + 10);
  std::size_t at = number_at<std::uint32_t>(bytes, end + 16);
  std::map<std::string, NpyArray> arrays;
  for (std::size_t i = 0; i < count; ++i) {
    if (at > bytes.size() || bytes.size() - at < 46 ||
        number_at<std::uint32_t>(bytes, at) != 0x02014b50)
      fail();
    const int method = number_at<std::uint16_t>(bytes, at + 10);
    const std::uint64_t packed = number_at<std::uint32_t>(bytes, at + 20);
    const std::uint64_t size = number_at<std::uint32_t>(bytes, at + 24);
    const std::size_t name_size = number_at<std::uint16_t>(bytes, at + 28);
    const std::size_t skipped =
        number_at<std::uint16_t>(bytes, at + 30) + number_at<std::uint16_t>(bytes, at + 32);
    const std::size_t local = number_at<std::uint32_t>(bytes, at + 42);
    if (bytes.size() - at - 46 < name_size) fail();
    std::string member(reinterpret_cast<const char*>(bytes.data() + at + 46), name_size);
    at += 46 + name_size + skipped;
    if (packed == 0xffffffff || size == 0xffffffff)
      user_error("{}: members of 4 GiB are not supported", name);
    if (local > bytes.size() || bytes.size() - local < 30 ||
        number_at<std::uint32_t>(bytes, local) != 0x04034b50)
      fail();
    const std::size_t start = local + 30 + number_at<std::uint16_t>(bytes, local + 26) +
                              number_at<std::uint16_t>(bytes, local + 28);
    if (start > bytes.size() || bytes.size() - start < packed) fail();
    const auto content = bytes.subspan(start, packed);
    const std::string full = name + ": " + quote(member);
    if (method != 0 && method != 8)
      user_error("{}: packed in way {}, which is not supported", full, method);
    if (member.ends_with(".npy")) member.resize(member.size() - 4);
    arrays[member] =
        method == 0 ? parse_npy(content, full) : parse_npy(inflated(content, size, full), full);
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
