// Zip archives whose files are stored or deflated. Input: bytes that need not be trusted; every
// defect is a UserError of one line. Output: names with spans of the bytes.
//
// The format, little-endian, from the end (APPNOTE.TXT 6.3.10):
//   end      "PK\5\6", u16 disk, u16 disk of the directory, u16 entries here, u16 entries, u32 size
//            and u32 offset of the directory, u16 length of a comment, the comment
//   zip64    where a number of the end is all ones: "PK\6\7", u32 disk, u64 offset of the zip64
//   end,
//            u32 disks, right before the end; there "PK\6\6", u64 size, u16 ×2, u32 ×2, u64 entries
//            here, u64 entries, u64 size and u64 offset of the directory
//   entry    of the directory: "PK\1\2", u16 ×2, u16 flags, u16 method (0: stored), u16 ×2, u32
//   crc,
//            u32 packed size, u32 size, u16 lengths of name, extra and comment, u16, u16, u32,
//            u32 offset of the file; name, extra, comment. Extra field 1 has as u64 what is all
//            ones of size, packed size and offset
//   file     "PK\3\4", 22 bytes, u16 lengths of name and extra, both of these, the bytes
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace brisk {

struct ZipEntry {
  std::string name;
  std::span<const std::byte> bytes;  // as they lie in the archive
  int method = 0;                    // 0: stored, 8: deflated
  std::uint64_t size = 0;            // of what they stand for
};

bool is_zip(std::span<const std::byte> bytes);
/// In the order of the directory. Checksums are not looked at.
std::vector<ZipEntry> read_zip(std::span<const std::byte> bytes);
/// Of an entry that is stored; UserError for others.
std::span<const std::byte> stored_bytes(const ZipEntry& entry);
/// Of any entry; `room` holds them where they are not stored.
std::span<const std::byte> unpacked(const ZipEntry& entry, std::vector<std::byte>& room);

}  // namespace brisk
