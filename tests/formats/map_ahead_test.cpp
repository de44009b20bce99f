#include "formats/map_ahead.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>

#include "formats/mapped_file.h"
#include "temporary_folder.h"

namespace brisk {
namespace {

constexpr std::size_t size = std::size_t{20} << 20;  // more than one step

long faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

// Reads each page once. AddressSanitizer's checks would read pages of its own beside them.
__attribute__((no_sanitize("address"))) unsigned sum_over_pages(const std::byte* bytes,
                                                                std::size_t count) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < count; i += 4096) sum += static_cast<unsigned>(bytes[i]);
  return sum;
}

long faults_of_reading(std::span<const std::byte> bytes) {
  const long before = faults();
  const unsigned sum = sum_over_pages(bytes.data(), bytes.size());
  const long taken = faults() - before;
  EXPECT_EQ(sum, (bytes.size() + 4095) / 4096 * 'x');
  return taken;
}

TEST(MapAhead, LeavesFewPagesToFault) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", std::string(size, 'x'));
  const MappedFile without = MappedFile::open(path);
  const MappedFile file = MappedFile::open(path);
  MapAhead ahead({file.bytes().first(5000), file.bytes().subspan(5000)},
                 nullptr);  // not at a page's start
  EXPECT_TRUE(ahead.wait());
  const long left = faults_of_reading(file.bytes());
  EXPECT_LT(left, faults_of_reading(without.bytes()) / 4);
}

TEST(MapAhead, EndsEarly) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", "");
  std::filesystem::resize_file(path, std::uintmax_t{1} << 30);
  const MappedFile file = MappedFile::open(path);
  { const MapAhead ahead({file.bytes()}, nullptr); }
  MapAhead whole({file.bytes().first(1)}, nullptr);
  whole.wait();
  EXPECT_EQ(file.bytes()[size], std::byte{0});
}

TEST(MapAhead, LeavesNothingAndTooMuchAlone) {
  EXPECT_FALSE(MapAhead({}, nullptr).wait());
  const std::byte byte{};
  EXPECT_FALSE(MapAhead({{&byte, std::size_t{1} << 60}}, nullptr).wait());
}

}  // namespace
}  // namespace brisk
