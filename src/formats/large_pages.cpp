#include "formats/large_pages.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "base/host_block.h"

namespace brisk {

namespace {

// Of the calling thread: a large page is filled with one, as many small ones with 512.
long faults() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt;
}

std::byte* page_after(const std::byte* address) {
  const auto number = reinterpret_cast<std::uintptr_t>(address);
  return reinterpret_cast<std::byte*>((number + large_page - 1) / large_page * large_page);
}

/// Large pages that are not given away yet: `next()` and what follows. Where others lay, somebody
/// else's memory may lie by now.
class Reserve {
 public:
  explicit Reserve(std::size_t bytes) {
    void* memory = mmap(nullptr, bytes + large_page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return;
    auto* begin = static_cast<std::byte*>(memory);
    next_ = page_after(begin);
    end_ = begin + bytes + large_page;
    if (begin != next_) munmap(begin, static_cast<std::size_t>(next_ - begin));
    madvise(next_, static_cast<std::size_t>(end_ - next_), MADV_HUGEPAGE);
  }
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;
  ~Reserve() {
    if (next_ != end_) munmap(next_, static_cast<std::size_t>(end_ - next_));
  }

  explicit operator bool() const { return next_ != nullptr; }
  std::byte* next() const { return next_; }
  /// Puts the next page in the place of another at once for whoever reads there.
  bool give(std::byte* to) {
    if (mprotect(next_, large_page, PROT_READ) != 0 ||
        mremap(next_, large_page, large_page, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
      return false;
    }
    next_ += large_page;
    return true;
  }

 private:
  std::byte* next_ = nullptr;
  std::byte* end_ = nullptr;
};

}  // namespace

LargePages::LargePages(std::vector<std::span<const std::byte>> mappings,
                       std::shared_ptr<const void> owner)
    : mappings_(std::move(mappings)), owner_(std::move(owner)) {}

LargePages::~LargePages() {
  stop_ = true;
  wait();
}

void LargePages::start() {
  if (!started_.exchange(true)) thread_ = std::thread([this] { move_all(); });
}

std::size_t LargePages::wait() {
  if (thread_.joinable()) thread_.join();
  return moved_;
}

void LargePages::move_all() {
  std::size_t bytes = 0;
  for (const auto& mapping : mappings_) bytes += mapping.size();
  if (bytes > available_memory() / 2) return;
  for (const auto& mapping : mappings_) {
    if (!move(mapping)) return;
  }
}

bool LargePages::move(std::span<const std::byte> bytes) {
  Reserve reserve(bytes.size());
  if (!reserve) return false;
  const std::byte* end = bytes.data() + bytes.size();
  for (std::byte* to = page_after(bytes.data()); to + large_page <= end; to += large_page) {
    if (stop_) return false;
    const volatile std::byte first = *to;  // a fault that is not the new page's
    static_cast<void>(first);
    const long before = faults();
    std::memcpy(reserve.next(), to, large_page);
    if (faults() - before > 128) return false;  // small pages
    if (!reserve.give(to)) return false;
    moved_ += large_page;
  }
  return true;
}

}  // namespace brisk
