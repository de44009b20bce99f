#include "formats/large_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "base/host_block.h"
#include "formats/mapped_file.h"
#include "temporary_folder.h"

namespace brisk {
namespace {

std::string text_of(std::size_t size) {
  std::string text(size, 0);
  std::uint32_t state = 1;
  for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return text;
}

TEST(LargePages, KeepWhatIsReadMeanwhile) {
  const std::string text = text_of((std::size_t{40} << 20) + 12345);
  const TemporaryFolder folder;
  const MappedFile file = MappedFile::open(folder.write("a", text));
  std::atomic<bool> done = false;
  std::atomic<int> wrong = 0;
  std::thread reader([&] {
    do {
      if (std::memcmp(file.bytes().data(), text.data(), text.size()) != 0) ++wrong;
    } while (!done);
  });
  LargePages pages({file.bytes().first(5000), file.bytes().subspan(5000)}, nullptr);
  pages.start();
  pages.start();
  const std::size_t moved = pages.wait();
  done = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(std::memcmp(file.bytes().data(), text.data(), text.size()), 0);
  EXPECT_LE(moved, text.size());
  if (moved == 0) GTEST_SKIP() << "this system gives no large pages";
  EXPECT_GE(moved, text.size() - (std::size_t{6} << 20));
}

// Where pages came from is free for others at once.
TEST(LargePages, LeaveMemoryAloneThatOthersTakeMeanwhile) {
  const TemporaryFolder folder;
  const MappedFile file = MappedFile::open(folder.write("a", text_of(std::size_t{64} << 20)));
  LargePages pages({file.bytes()}, nullptr);
  std::atomic<bool> done = false;
  std::vector<void*> taken;
  std::thread taker([&] {
    while (!done && taken.size() < 20000) {
      taken.push_back(mmap(nullptr, large_page / 2, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
      if (taken.back() != MAP_FAILED) *static_cast<char*>(taken.back()) = 'x';
    }
  });
  pages.start();
  pages.wait();
  done = true;
  taker.join();
  int lost = 0;
  for (void* memory : taken) {
    if (memory == MAP_FAILED) continue;
    unsigned char resident = 0;
    lost += mincore(memory, 1, &resident) != 0 || *static_cast<char*>(memory) != 'x';
    munmap(memory, large_page / 2);
  }
  EXPECT_EQ(lost, 0) << "of " << taken.size();
}

TEST(LargePages, EndEarly) {
  const TemporaryFolder folder;
  const MappedFile file = MappedFile::open(folder.write("a", text_of(std::size_t{20} << 20)));
  LargePages({file.bytes()}, nullptr).start();
  const LargePages never({file.bytes()}, nullptr);
}

TEST(LargePages, LeaveTooMuchAlone) {
  const std::byte byte{};
  LargePages pages({{&byte, std::size_t{1} << 60}}, nullptr);
  pages.start();
  EXPECT_EQ(pages.wait(), 0);
}

}  // namespace
}  // namespace brisk
