// What torch.save wrote (.pt, .pth, .bin), read without executing anything. Input: files that need
// not be trusted; every defect is a UserError of one line. Output: the tensors in it by name.
//
// The format, since PyTorch 1.6: a zip file (zip.h) of the folder NAME/ with data.pkl, a pickle
// (pickle.h); data/KEY, the bytes of each storage, little-endian; and perhaps byteorder ("little").
// A tensor is a view of a storage: offset, sizes and strides in elements.
#pragma once

#include "base/dtype.h"
#include "formats/mapped_file.h"

#include <cstdint>
#include <filesystem>
#include <list>
#include <span>
#include <string>
#include <vector>

namespace brisk {

struct TorchTensor {
  std::string name;  // keys of dicts and places in lists, joined by dots
  DType dtype = DType::none;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;  // row-major, of any alignment
};

class TorchFile {
 public:
  static TorchFile open(const std::filesystem::path& path);
  /// From bytes that outlive the result; `name` stands for them in errors.
  static TorchFile parse(std::span<const std::byte> bytes, const std::string& name);

  /// In the order of the file. What is no tensor is passed over.
  const std::vector<TorchTensor>& tensors() const { return tensors_; }

 private:
  TorchFile() = default;

  MappedFile file_;
  std::list<std::vector<std::byte>> copies_;  // of tensors that were not row-major
  std::vector<TorchTensor> tensors_;
};

/// Whether a file's first bytes are those of a zip file.
bool is_torch_file(const std::filesystem::path& path);

}  // namespace brisk
