// Pictures: PNG and JPEG files as bytes, read by stb_image (Debian's libstb-dev).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace brisk {

struct Image {
  std::int64_t height = 0, width = 0;
  std::vector<std::uint8_t> pixels;  // [height, width, 3], red, green, blue
};

/// UserError of one line where the bytes are no picture, or one of more than 2^28 pixels.
Image parse_image(std::span<const std::byte> bytes, const std::string& name);
Image read_image(const std::filesystem::path& path);

}  // namespace brisk
