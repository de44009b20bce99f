#include "formats/wav.h"

#include <cstdint>
#include <cstring>

#include "formats/byte_reader.h"
#include "formats/mapped_file.h"

namespace brisk {

namespace {

float sample_at(std::span<const std::byte> bytes, std::size_t at, int format, int bits) {
  if (format == 3)
    return bits == 32 ? number_at<float>(bytes, at)
                      : static_cast<float>(number_at<double>(bytes, at));
  if (bits == 8) return (static_cast<float>(number_at<std::uint8_t>(bytes, at)) - 128) / 128;
  if (bits == 16) return static_cast<float>(number_at<std::int16_t>(bytes, at)) / 32768;
  if (bits == 32)
    return static_cast<float>(static_cast<double>(number_at<std::int32_t>(bytes, at)) /
                              2147483648.0);
  std::uint32_t wide = 0;  // 24 bits, moved to the top for their sign
  std::memcpy(reinterpret_cast<std::byte*>(&wide) + 1, bytes.data() + at, 3);
  const std::int32_t sample = static_cast<std::int32_t>(wide) / 256;
  return static_cast<float>(sample) / 8388608;
}

}  // namespace

Sound parse_wav(std::span<const std::byte> bytes, const std::string& name) {
  const auto is = [&](std::size_t at, const char* letters) {
    return std::memcmp(bytes.data() + at, letters, 4) == 0;
  };
  if (bytes.size() < 12 || !is(0, "RIFF") || !is(8, "WAVE"))
    user_error("{}: this is no WAV file", name);
  Sound sound;
  int format = 0, bits = 0;
  for (std::size_t at = 12; bytes.size() - at >= 8;) {
    const std::size_t rest = bytes.size() - at - 8;
    std::size_t size = number_at<std::uint32_t>(bytes, at + 4);
    const bool is_data = is(at, "data");
    if (is_data && size > rest) size = rest;  // streams do not know their length
    if (size > rest) user_error("{}: a chunk of the WAV file is cut off", name);
    const auto chunk = bytes.subspan(at + 8, size);
    if (is(at, "fmt ")) {
      if (size < 16) user_error("{}: its WAV header is too short", name);
      format = number_at<std::uint16_t>(chunk, 0);
      if (format == 0xfffe && size >= 26) format = number_at<std::uint16_t>(chunk, 24);
      sound.channels = number_at<std::uint16_t>(chunk, 2);
      sound.rate = number_at<std::uint32_t>(chunk, 4);
      bits = number_at<std::uint16_t>(chunk, 14);
    }
    if (is_data) {
      const bool known = (format == 1 && (bits == 8 || bits == 16 || bits == 24 || bits == 32)) ||
                         (format == 3 && (bits == 32 || bits == 64));
      if (!known || sound.channels < 1)
        user_error("{}: samples of format {} with {} bits are not supported", name, format, bits);
      const std::size_t width = static_cast<std::size_t>(bits) / 8;
      const std::size_t frame = width * static_cast<std::size_t>(sound.channels);
      for (std::size_t i = 0; i + frame <= size; i += frame) {
        for (std::size_t channel = 0; channel < frame; channel += width)
          sound.samples.push_back(sample_at(chunk, i + channel, format, bits));
      }
      return sound;
    }
    at += 8 + size + size % 2;
    if (at > bytes.size()) break;
  }
  user_error("{}: the WAV file has no samples", name);
}

Sound read_wav(const std::filesystem::path& path) {
  const MappedFile file = MappedFile::open(path);
  return parse_wav(file.bytes(), path.string());
}

}  // namespace brisk
