#include "formats/image.h"

#include <limits>
#include <memory>

#include "base/error.h"
#include "formats/mapped_file.h"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_NO_FAILURE_STRINGS
#define STBI_ASSERT(x)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

namespace brisk {

Image parse_image(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
    user_error("{}: a picture of {} bytes is too large", name, bytes.size());
  const auto* data = reinterpret_cast<const stbi_uc*>(bytes.data());
  const int size = static_cast<int>(bytes.size());
  int width = 0, height = 0, channels = 0;
  if (stbi_info_from_memory(data, size, &width, &height, &channels) == 0)
    user_error("{}: this is no PNG or JPEG picture", name);
  if (static_cast<std::int64_t>(width) * height > (1 << 28))
    user_error("{}: a picture of {} x {} pixels is too large", name, width, height);
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(data, size, &width, &height, &channels, 3), stbi_image_free);
  if (!pixels) user_error("{}: the picture is damaged", name);
  const std::size_t count = static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3;
  return {height, width, {pixels.get(), pixels.get() + count}};
}

Image read_image(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  return parse_image(file.bytes(), path.string());
}

}  // namespace brisk
