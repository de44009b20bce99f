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

/// Memory not yet used, at the start of a large page.
class Reserve {
 public:
  explicit Reserve(std::size_t bytes)
      : bytes_(bytes + large_page),
        memory_(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (*this) madvise(memory_, bytes_, MADV_HUGEPAGE);
  }
  Reserve(const Reserve&) = delete;
  Reserve& operator=(const Reserve&) = delete;
  ~Reserve() {
    if (*this) munmap(memory_, bytes_);
  }

  explicit operator bool() const { return memory_ != MAP_FAILED; }
  std::byte* start() const { return page_after(static_cast<std::byte*>(memory_)); }

 private:
  std::size_t bytes_;
  void* memory_;
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

// mremap puts a page in the place of another at once for whoever reads there.
bool LargePages::move(std::span<const std::byte> bytes) {
  const Reserve reserve(bytes.size());
  if (!reserve) return false;
  std::byte* from = reserve.start();
  const std::byte* end = bytes.data() + bytes.size();
  for (std::byte* to = page_after(bytes.data()); to + large_page <= end; to += large_page) {
    if (stop_) return false;
    const volatile std::byte first = *to;  // a fault that is not the new page's
    static_cast<void>(first);
    const long before = faults();
    std::memcpy(from, to, large_page);
    if (faults() - before > 128) return false;  // small pages
    if (mprotect(from, large_page, PROT_READ) != 0 ||
        mremap(from, large_page, large_page, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED) {
      return false;
    }
    moved_ += large_page;
    from += large_page;
  }
  return true;
}

}  // namespace brisk
