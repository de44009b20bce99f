// WAV files: sound as samples in -1 … 1. Input: files that need not be trusted; every defect is a
// UserError of one line.
//
// The format: "RIFF", size, "WAVE", then chunks of 4 letters, u32 size and content (padded to
// even): "fmt " (u16 format: 1 integers, 3 floating point, 0xfffe: the format is at byte 24; u16
// channels, u32 rate, u32, u16, u16 bits a sample) and "data" (frames of one sample for each
// channel).
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace brisk {

struct Sound {
  std::int64_t rate = 0;  // frames a second
  std::int64_t channels = 0;
  std::vector<float> samples;  // frame by frame
};

Sound parse_wav(std::span<const std::byte> bytes, const std::string& name);
Sound read_wav(const std::filesystem::path& path);

}  // namespace brisk
