// NumPy's files: .npy (one array) and .npz (a zip archive of them), read and written. Input: files
// that need not be trusted; every defect is a UserError of one line.
//
// The format of .npy (numpy.lib.format):
//   file    "\x93NUMPY", version (2 bytes: 1.0, 2.0 or 3.0), length of the header (u16, from 2.0 on
//           u32, little-endian), header, elements
//   header  a Python literal {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
//   descr   byte order (<, > or |), kind (b bool, i signed, u unsigned, f floating point), bytes
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace brisk {

struct NpyArray {
  DType dtype = DType::none;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;  // row-major, little-endian
};

NpyArray parse_npy(std::span<const std::byte> bytes, const std::string& name);
NpyArray read_npy(const std::filesystem::path& path);
/// By name, without ".npy".
std::map<std::string, NpyArray> parse_npz(std::span<const std::byte> bytes,
                                          const std::string& name);
std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path);

/// bfloat16 and float8, which NumPy has not, are refused.
std::vector<std::byte> npy_bytes(DType dtype, const std::vector<std::int64_t>& shape,
                                 std::span<const std::byte> bytes);
void write_npy(const std::filesystem::path& path, DType dtype,
               const std::vector<std::int64_t>& shape, std::span<const std::byte> bytes);

}  // namespace brisk
