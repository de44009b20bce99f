#include "formats/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstdint>

#include "formats/byte_reader.h"
#include "formats/quote.h"

namespace brisk {

namespace {

constexpr std::uint32_t end_mark = 0x06054b50;
constexpr std::uint32_t end64_mark = 0x06064b50;
constexpr std::uint32_t locator_mark = 0x07064b50;
constexpr std::uint32_t entry_mark = 0x02014b50;
constexpr std::uint32_t file_mark = 0x04034b50;
constexpr std::size_t end_size = 22;
constexpr std::size_t locator_size = 20;
constexpr std::uint32_t ones = 0xffffffff;

using Bytes = std::span<const std::byte>;

Bytes from(Bytes bytes, std::uint64_t offset) {
  if (offset > bytes.size()) {
    user_error("the zip file points to byte {}, it has {}", offset, bytes.size());
  }
  return bytes.subspan(static_cast<std::size_t>(offset));
}

void want_mark(ByteReader& reader, std::uint32_t mark, const char* what) {
  if (reader.left() < sizeof mark || reader.number<std::uint32_t>() != mark) {
    user_error("the zip file has no {} where it should be", what);
  }
}

// Comments are at most 65,535 bytes long; the last mark counts.
std::size_t find_end(Bytes bytes) {
  if (bytes.size() >= end_size) {
    const std::size_t last = bytes.size() - end_size;
    const std::size_t first = last - std::min<std::size_t>(last, 0xffff);
    for (std::size_t at = last + 1; at-- > first;) {
      if (ByteReader(bytes.subspan(at), "").number<std::uint32_t>() == end_mark) return at;
    }
  }
  user_error("the zip file has no directory: it is truncated");
}

struct Directory {
  std::uint64_t entries;
  std::uint64_t size;
  std::uint64_t offset;
};

Directory find_directory(Bytes bytes) {
  const std::size_t at = find_end(bytes);
  ByteReader end(bytes.subspan(at), "the end of the zip file");
  end.skip(10);
  const auto entries = end.number<std::uint16_t>();
  const auto size = end.number<std::uint32_t>();
  const auto offset = end.number<std::uint32_t>();
  if (entries != 0xffff && size != ones && offset != ones) return {entries, size, offset};
  if (at < locator_size) user_error("the zip file has no zip64 end");
  ByteReader locator(bytes.subspan(at - locator_size), "the zip64 locator");
  want_mark(locator, locator_mark, "zip64 locator");
  locator.skip(4);
  ByteReader end64(from(bytes, locator.number<std::uint64_t>()), "the zip64 end");
  want_mark(end64, end64_mark, "zip64 end");
  end64.skip(28);
  Directory directory{};
  directory.entries = end64.number<std::uint64_t>();
  directory.size = end64.number<std::uint64_t>();
  directory.offset = end64.number<std::uint64_t>();
  return directory;
}

// What the extra fields have for numbers that are all ones.
void widen(Bytes extra, std::initializer_list<std::uint64_t*> numbers) {
  ByteReader reader(extra, "an entry's extra field");
  while (reader.left() >= 4) {
    const auto id = reader.number<std::uint16_t>();
    ByteReader field(reader.take(reader.number<std::uint16_t>()), "an entry's zip64 field");
    if (id != 1) continue;
    for (std::uint64_t* number : numbers) {
      if (*number == ones) *number = field.number<std::uint64_t>();
    }
  }
}

ZipEntry read_entry(ByteReader& reader, Bytes bytes) {
  want_mark(reader, entry_mark, "entry");
  reader.skip(4);
  const auto flags = reader.number<std::uint16_t>();
  const auto method = reader.number<std::uint16_t>();
  reader.skip(8);
  std::uint64_t packed = reader.number<std::uint32_t>();
  std::uint64_t size = reader.number<std::uint32_t>();
  const auto name_length = reader.number<std::uint16_t>();
  const auto extra_length = reader.number<std::uint16_t>();
  const auto comment_length = reader.number<std::uint16_t>();
  reader.skip(8);
  std::uint64_t offset = reader.number<std::uint32_t>();
  ZipEntry entry{reader.text(name_length), {}, method, 0};
  widen(reader.take(extra_length), {&size, &packed, &offset});
  reader.skip(comment_length);
  if ((flags & 1) != 0) user_error("{} in the zip file is encrypted", quote(entry.name));
  ByteReader file(from(bytes, offset), "a file of the zip file");
  want_mark(file, file_mark, "file");
  file.skip(22);
  const auto local_name = file.number<std::uint16_t>();
  const auto local_extra = file.number<std::uint16_t>();
  file.skip(std::uint64_t{local_name} + local_extra);
  entry.bytes = file.take(packed);
  entry.size = size;
  return entry;
}

std::vector<std::byte> inflated(const ZipEntry& entry) {
  const auto fail = [&] { user_error("{} in the zip file is damaged", quote(entry.name)); };
  // zlib makes at most 1032 bytes of one, and takes at most 4 GiB at a time.
  constexpr std::uint64_t most = 0xffffffff;
  if (entry.bytes.size() > most || entry.size > most ||
      entry.size > entry.bytes.size() * std::uint64_t{1040} + 64) {
    fail();
  }
  std::vector<std::byte> bytes(static_cast<std::size_t>(entry.size));
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) user_error("zlib does not start");
  stream.next_in = reinterpret_cast<Bytef*>(
      const_cast<std::byte*>(entry.bytes.data()));  // NOLINT: zlib's interface
  stream.avail_in = static_cast<uInt>(entry.bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  const int status = inflate(&stream, Z_FINISH);
  const bool whole = status == Z_STREAM_END && stream.total_out == entry.size;
  inflateEnd(&stream);
  if (!whole) fail();
  return bytes;
}

}  // namespace

bool is_zip(Bytes bytes) {
  return bytes.size() >= 4 && ByteReader(bytes, "").number<std::uint32_t>() == file_mark;
}

std::vector<ZipEntry> read_zip(Bytes bytes) {
  const Directory directory = find_directory(bytes);
  ByteReader reader(from(bytes, directory.offset), "the zip file's directory");
  std::vector<ZipEntry> entries;
  for (std::uint64_t i = 0; i < directory.entries; ++i)
    entries.push_back(read_entry(reader, bytes));
  return entries;
}

Bytes stored_bytes(const ZipEntry& entry) {
  if (entry.method != 0 || entry.bytes.size() != entry.size) {
    user_error("{} in the zip file is compressed (method {}); only stored files are read",
               quote(entry.name), entry.method);
  }
  return entry.bytes;
}

Bytes unpacked(const ZipEntry& entry, std::vector<std::byte>& room) {
  if (entry.method == 0) return stored_bytes(entry);
  if (entry.method != 8) {
    user_error("{} in the zip file is packed in way {}, which is not supported", quote(entry.name),
               entry.method);
  }
  room = inflated(entry);
  return room;
}

}  // namespace brisk
