// The two forms of a model's file behind one interface.
#include "base/error.h"
#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "llm/weights.h"

namespace brisk {

namespace {

namespace fs = std::filesystem;

StoredTensor stored(const GgufTensor& tensor) {
  return {std::string(tensor.name), tensor.type, tensor.shape, tensor.bytes};
}

StoredTensor stored(const SafeTensor& tensor) {
  const BlockInfo* info = nullptr;
  switch (tensor.dtype) {
    case DType::float32: info = &block_info(BlockType::f32); break;
    case DType::float16: info = &block_info(BlockType::f16); break;
    case DType::bfloat16: info = &block_info(BlockType::bf16); break;
    // Others stand for "no type of weights".
    default: info = &block_info(BlockType::i8);
  }
  return {tensor.name, info->type, tensor.shape, tensor.bytes};
}

}  // namespace

ModelFile ModelFile::open(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) user_error("{}: there is no such file or folder", path.string());
  ModelFile file;
  if (fs::is_directory(status) || path.extension() == ".safetensors") {
    const bool folder = fs::is_directory(status);
    file.folder_ = folder ? path : path.parent_path();
    if (!fs::exists(file.folder_ / "config.json", error)) {
      user_error("{}: there is no config.json {}", path.string(),
                 folder ? "in it, so this is not a model's folder" : "beside it");
    }
    file.safetensors_ = std::make_shared<const Safetensors>(Safetensors::open(path));
  } else {
    file.gguf_ = std::make_shared<const GgufFile>(GgufFile::open(path));
  }
  return file;
}

ModelFile ModelFile::parse_gguf(std::span<const std::byte> bytes, std::string name) {
  ModelFile file;
  file.gguf_ = std::make_shared<const GgufFile>(GgufFile::parse(bytes, std::move(name)));
  return file;
}

const std::string& ModelFile::name() const { return gguf_ ? gguf_->name() : safetensors_->name(); }

ModelConfig ModelFile::config() const {
  return gguf_ ? config_from_gguf(*gguf_) : config_from_folder(folder_);
}

std::vector<StoredTensor> ModelFile::tensors() const {
  std::vector<StoredTensor> all;
  if (gguf_) {
    for (const GgufTensor& tensor : gguf_->tensors()) all.push_back(stored(tensor));
  } else {
    for (const SafeTensor& tensor : safetensors_->tensors()) all.push_back(stored(tensor));
  }
  return all;
}

std::optional<StoredTensor> ModelFile::find(const std::string& name) const {
  if (gguf_) {
    if (const GgufTensor* tensor = gguf_->find_tensor(name)) return stored(*tensor);
  } else if (const SafeTensor* tensor = safetensors_->find(name)) {
    return stored(*tensor);
  }
  return std::nullopt;
}

std::shared_ptr<const void> ModelFile::owner() const {
  if (gguf_) return gguf_;
  return safetensors_;
}

std::vector<std::span<const std::byte>> ModelFile::mapped() const {
  std::vector<std::span<const std::byte>> bytes;
  if (gguf_) bytes.push_back(gguf_->file().bytes());
  if (safetensors_) {
    for (const MappedFile& file : safetensors_->files()) bytes.push_back(file.bytes());
  }
  return bytes;
}

}  // namespace brisk
