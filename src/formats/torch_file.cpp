#include "formats/torch_file.h"

#include <array>
#include <fstream>
#include <map>

#include "base/error.h"
#include "formats/pickle.h"
#include "formats/quote.h"
#include "formats/strided.h"
#include "formats/zip.h"

namespace brisk {

namespace {

using Kind = PickleObject::Kind;
using Bytes = std::span<const std::byte>;

// The names of dicts within dicts; a pickle may say the same dict in many places, so the walk has
// bounds.
class Walk {
 public:
  Walk(const Pickle& pickle, const std::map<std::string, Bytes>& storages,
       std::list<std::vector<std::byte>>& copies)
      : pickle_(pickle), storages_(storages), copies_(copies) {}

  std::vector<TorchTensor> tensors() {
    visit(pickle_.root, "", 0);
    return std::move(tensors_);
  }

 private:
  static constexpr int deepest = 32;
  static constexpr int most_visits = 1'000'000;

  const PickleObject& object(std::size_t at) const { return pickle_.objects[at]; }

  void visit(std::size_t at, const std::string& name, int depth) {
    if (depth > deepest || ++visits_ > most_visits) {
      user_error("the pickle nests more than {} deep or {} values", deepest, most_visits);
    }
    const PickleObject& value = object(at);
    const auto joined = [&](const std::string& key) {
      return name.empty() ? key : name + "." + key;
    };
    if (value.kind == Kind::tensor) {
      add(value, name);
    } else if (value.kind == Kind::dict) {
      for (std::size_t i = 0; i < value.items.size(); i += 2) {
        const PickleObject& key = object(value.items[i]);
        const bool named = key.kind == Kind::text || key.kind == Kind::integer;
        if (!named) user_error("a dict in the pickle has a key that is no text and no integer");
        const std::string text = key.kind == Kind::text ? key.text : std::to_string(key.integer);
        visit(value.items[i + 1], joined(text), depth + 1);
      }
    } else if (value.kind == Kind::list) {
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        visit(value.items[i], joined(std::to_string(i)), depth + 1);
      }
    }
  }

  std::vector<std::int64_t> sizes(std::size_t at, const std::string& name) const {
    std::vector<std::int64_t> numbers;
    for (const std::size_t item : object(at).items) {
      const PickleObject& number = object(item);
      if (number.kind != Kind::integer || number.integer < 0) {
        user_error("tensor {} has a size or stride that is no number of at least 0", quote(name));
      }
      numbers.push_back(number.integer);
    }
    return numbers;
  }

  // The storage's elements, as many as the pickle says.
  Bytes storage_of(const PickleObject& storage, const std::string& name) const {
    const auto found = storages_.find(storage.text);
    if (found == storages_.end()) {
      user_error("the storage {} of tensor {} is missing", quote(storage.text), quote(name));
    }
    const auto wide = static_cast<std::uint64_t>(byte_size(storage.dtype));
    if (storage.integer < 0 ||
        found->second.size() / wide != static_cast<std::uint64_t>(storage.integer) ||
        found->second.size() % wide != 0) {
      user_error("the storage of tensor {} has {} bytes, {} of {} are wanted", quote(name),
                 found->second.size(), storage.integer, brisk::name(storage.dtype));
    }
    return found->second;
  }

  void add(const PickleObject& tensor, const std::string& name) {
    const PickleObject& storage = object(tensor.items[0]);
    TorchTensor result{name, tensor.dtype, sizes(tensor.items[1], name), {}};
    const std::vector<std::int64_t> strides = sizes(tensor.items[2], name);
    const Bytes bytes = storage_of(storage, name);
    const auto fail = [&] {
      user_error("tensor {} does not lie in its storage of {} elements", quote(name),
                 storage.integer);
    };
    if (strides.size() != result.shape.size() || tensor.integer < 0) fail();
    // Elements, and the distance of the last from the first.
    std::int64_t count = 1;
    std::int64_t reach = 0;
    for (const std::int64_t size : result.shape) count = size == 0 ? 0 : count;
    for (std::size_t i = 0; count != 0 && i < strides.size(); ++i) {
      std::int64_t span = 0;
      if (__builtin_mul_overflow(count, result.shape[i], &count) || count > storage.integer ||
          __builtin_mul_overflow(result.shape[i] - 1, strides[i], &span) ||
          __builtin_add_overflow(reach, span, &reach)) {
        fail();
      }
    }
    if (count != 0 && (reach >= storage.integer || tensor.integer >= storage.integer - reach))
      fail();
    const auto wide = static_cast<std::size_t>(byte_size(tensor.dtype));
    if (count != 0) {
      const Bytes own = bytes.subspan(static_cast<std::size_t>(tensor.integer) * wide);
      result.bytes = is_row_major(result.shape, strides)
                         ? own.first(static_cast<std::size_t>(count) * wide)
                         : copies_.emplace_back(row_major(own, result.shape, strides, wide));
    }
    tensors_.push_back(std::move(result));
  }

  static bool is_row_major(const std::vector<std::int64_t>& shape,
                           const std::vector<std::int64_t>& strides) {
    std::int64_t wanted = 1;
    for (std::size_t i = shape.size(); i-- > 0;) {
      if (shape[i] != 1 && strides[i] != wanted) return false;
      wanted *= shape[i];
    }
    return true;
  }

  const Pickle& pickle_;
  const std::map<std::string, Bytes>& storages_;
  std::list<std::vector<std::byte>>& copies_;
  std::vector<TorchTensor> tensors_;
  int visits_ = 0;
};

}  // namespace

TorchFile TorchFile::parse(Bytes bytes, const std::string& name) {
  constexpr std::string_view pickle_name = "/data.pkl";
  TorchFile result;
  try {
    if (!is_zip(bytes)) {
      user_error(
          "not a zip file: files of PyTorch before 1.6 are not read; load and save it again");
    }
    const std::vector<ZipEntry> entries = read_zip(bytes);
    for (const ZipEntry& entry : entries) stored_bytes(entry);
    const ZipEntry* pickle = nullptr;
    for (const ZipEntry& entry : entries) {
      if (!entry.name.ends_with(pickle_name)) continue;
      if (pickle != nullptr) user_error("it has two files data.pkl");
      pickle = &entry;
    }
    if (pickle == nullptr) user_error("it has no file data.pkl: torch.save did not write it");
    const std::string folder = pickle->name.substr(0, pickle->name.size() - pickle_name.size());
    std::map<std::string, Bytes> storages;
    for (const ZipEntry& entry : entries) {
      const std::string data = folder + "/data/";
      if (entry.name.starts_with(data))
        storages.emplace(entry.name.substr(data.size()), entry.bytes);
      if (entry.name == folder + "/byteorder" && entry.bytes.size() == 3) {
        user_error("its numbers are big-endian, which is not read");
      }
    }
    const Pickle read = read_pickle(pickle->bytes);
    result.tensors_ = Walk(read, storages, result.copies_).tensors();
  } catch (const UserError& error) {
    user_error("{}: {}", name, error.what());
  }
  return result;
}

TorchFile TorchFile::open(const std::filesystem::path& path) {
  MappedFile file = MappedFile::open(path);
  TorchFile result = parse(file.bytes(), file.path());
  result.file_ = std::move(file);
  return result;
}

bool is_torch_file(const std::filesystem::path& path) {
  std::array<char, 4> first{};
  std::ifstream(path, std::ios::binary).read(first.data(), first.size());
  return std::string_view(first.data(), 4) == std::string_view("PK\3\4", 4);
}

}  // namespace brisk
