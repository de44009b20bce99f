// engine/kernel_cache: what goes in comes out, or nothing does, whatever happens to the file, the
// disk and the processes in between.
#include "engine/kernel_cache.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>

namespace brisk {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t roomy = 64 << 20;

std::string key_of(int number) { return "kernel " + std::to_string(number); }

// A value by which one can tell whose it is and that it is whole.
std::vector<std::byte> value_of(int number, std::size_t size) {
  std::vector<std::byte> value(size);
  std::mt19937 random(static_cast<unsigned>(number));
  for (std::byte& byte : value) byte = static_cast<std::byte>(random());
  return value;
}

std::vector<std::byte> value_of(int number) {
  return value_of(number, static_cast<std::size_t>(number * 7919 % 9000));
}

class KernelCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "brisk_cache_XXXXXX").native();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    file_ = folder_ / "kernels.db";
  }
  void TearDown() override {
    std::error_code error;
    fs::permissions(folder_, fs::perms::owner_all, error);
    fs::remove_all(folder_, error);
  }

  // Inserts first … first + count - 1.
  void fill(int count, int first = 0) const {
    KernelCache cache(file_, roomy);
    for (int i = first; i < first + count; ++i) cache.insert(key_of(i), value_of(i));
  }

  // The number of first … first + count - 1 that are found; each that is must be intact.
  static int found(KernelCache& cache, int count, int first = 0) {
    int result = 0;
    for (int i = first; i < first + count; ++i) {
      const auto value = cache.find(key_of(i));
      if (!value) continue;
      EXPECT_EQ(*value, value_of(i)) << i;
      ++result;
    }
    return result;
  }

  int set_aside() const {
    int result = 0;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      result += entry.path().native().find(".corrupt-") != std::string::npos;
    }
    return result;
  }

  // What SQLite itself says to a question; "" where it says nothing.
  std::string ask(const std::string& question) const {
    sqlite3* handle = nullptr;
    std::string answer;
    EXPECT_EQ(sqlite3_open(file_.c_str(), &handle), SQLITE_OK);
    sqlite3_busy_timeout(handle, 2000);
    const auto take = [](void* text, int, char** values, char**) {
      *static_cast<std::string*>(text) += values[0] ? values[0] : "";
      return 0;
    };
    char* error = nullptr;
    sqlite3_exec(handle, question.c_str(), take, &answer, &error);
    if (error) answer = error;
    sqlite3_free(error);
    sqlite3_close(handle);
    return answer;
  }

  void overwrite(std::uintmax_t at, const std::string& bytes) const {
    std::fstream stream(file_, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(at));
    stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }

  fs::path folder_;
  fs::path file_;
};

// Starts a process that does this and ends with 0 if none of its expectations failed.
pid_t start(const std::function<void()>& work) {
  std::fflush(nullptr);
  const pid_t process = ::fork();
  if (process != 0) return process;
  work();
  std::fflush(nullptr);
  ::_exit(testing::Test::HasFailure() ? 1 : 0);
}

int exit_of(pid_t process) {
  int status = 0;
  EXPECT_EQ(::waitpid(process, &status, 0), process);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

constexpr int not_permitted = 77;

// What the work says on stderr.
std::string said(const std::function<void()>& work) {
  testing::internal::CaptureStderr();
  work();
  return testing::internal::GetCapturedStderr();
}

int lines(const std::string& text) {
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

TEST_F(KernelCacheTest, finds_what_was_inserted_byte_for_byte) {
  KernelCache cache(file_, roomy);
  const std::vector<std::string> keys = {"", std::string(1, '\0'), std::string("a\0b", 3), "a",
                                         std::string(5000, 'k')};
  const std::vector<std::size_t> sizes = {0, 1, 15, 16, 17, 4096, 100'000, 3'000'000};
  for (const std::string& key : keys) {
    EXPECT_FALSE(cache.find(key));
    for (const std::size_t size : sizes) {
      cache.insert(key, value_of(1, size));
      EXPECT_EQ(cache.find(key), value_of(1, size)) << size;
    }
  }
  for (const std::string& key : keys) EXPECT_EQ(cache.find(key)->size(), sizes.back());
}

TEST_F(KernelCacheTest, keys_are_hashed_as_BLAKE2b_256) {
  // The digests are those of Python's hashlib.blake2b(…, digest_size=32).
  const std::vector<std::pair<std::string, std::string>> digests = {
      {"", "0E5751C026E543B2E8AB2EB06099DAA1D1E5DF47778F7787FAAB45CDF12FE3A8"},
      {"abc", "BDDD813C634239723171EF3FEE98579B94964E3BB1CB3E427262C8C068D52319"},
      {std::string(128, 'x'), "164FFB7089BAE6F5A62FB0795E751DC9E88EAC92E1A5B2FAFE93A25ABF2D9C3B"},
      {std::string(129, 'x'), "03B0758FA71D249C846C2304A2B9996E6AE66FFA7E5528F9E612E089A360FC8D"},
      {std::string(1000, 'x'), "AB75119EDE14EF06EBF31F745FB655ED006CCCFE8054C635308A557F7C9BEABA"}};
  for (const auto& [key, digest] : digests) {
    KernelCache cache(file_, roomy);
    cache.clear();
    cache.insert(key, value_of(1));
    EXPECT_EQ(ask("SELECT hex(hash) FROM kernel"), digest);
  }
}

TEST_F(KernelCacheTest, another_instance_finds_what_one_inserted) {
  fill(100);
  fill(10, 90);
  KernelCache cache(file_, roomy);
  EXPECT_EQ(found(cache, 101), 100);
  fill(1, 100);
  EXPECT_EQ(found(cache, 101), 101);
}

TEST_F(KernelCacheTest, counts_hits_misses_entries_and_bytes) {
  fill(10);
  KernelCache cache(file_, roomy);
  found(cache, 14);
  const auto before = cache.statistics();
  EXPECT_EQ(before.hits, 10);
  EXPECT_EQ(before.misses, 4);
  EXPECT_EQ(before.entries, 10);
  cache.insert("big", value_of(1, 1 << 20));
  EXPECT_EQ(cache.statistics().entries, 11);
  EXPECT_GE(cache.statistics().bytes, before.bytes + (1 << 20));
  cache.clear();
  EXPECT_EQ(cache.statistics().entries, 0);
  EXPECT_LT(cache.statistics().bytes, before.bytes);
  EXPECT_EQ(found(cache, 10), 0);
  EXPECT_LE(fs::file_size(file_), 64u << 10);
}

TEST_F(KernelCacheTest, drops_the_least_recently_used_to_stay_within_the_limit) {
  constexpr std::int64_t limit = 1 << 20;
  constexpr std::size_t size = 20'000;
  {
    KernelCache cache(file_, limit);
    for (int i = 0; i < 30; ++i) cache.insert(key_of(i), value_of(i, size));
    EXPECT_EQ(cache.statistics().entries, 30);
  }
  ask("UPDATE used SET time = time - 1000000 * 3600");
  {
    // Uses count whether they are written down by an insert or at the end.
    KernelCache cache(file_, limit);
    EXPECT_TRUE(cache.find(key_of(3)));
    cache.insert(key_of(30), value_of(30, size));
    EXPECT_TRUE(cache.find(key_of(4)));
  }
  KernelCache cache(file_, limit);
  for (int i = 31; i < 70; ++i) {
    cache.insert(key_of(i), value_of(i, size));
    EXPECT_LE(cache.statistics().bytes, limit);
    EXPECT_TRUE(cache.find(key_of(i)));
  }
  EXPECT_TRUE(cache.find(key_of(3)));
  EXPECT_TRUE(cache.find(key_of(4)));
  EXPECT_FALSE(cache.find(key_of(2)));
  EXPECT_FALSE(cache.find(key_of(5)));
  EXPECT_GT(cache.statistics().entries, 30);
}

TEST_F(KernelCacheTest, entries_of_a_time_to_come_go_first) {
  constexpr std::int64_t limit = 1 << 20;
  {
    KernelCache cache(file_, limit);
    for (int i = 0; i < 45; ++i) cache.insert(key_of(i), value_of(i, 20'000));
  }
  ask("UPDATE used SET time = time + 1000000 * 3600");
  KernelCache cache(file_, limit);
  for (int i = 50; i < 60; ++i) cache.insert(key_of(i), value_of(i, 20'000));
  for (int i = 50; i < 60; ++i) EXPECT_TRUE(cache.find(key_of(i))) << i;
}

TEST_F(KernelCacheTest, a_lower_limit_shrinks_the_file_at_the_next_insert) {
  {
    KernelCache cache(file_, roomy);
    for (int i = 0; i < 40; ++i) cache.insert(key_of(i), value_of(i, 100'000));
  }
  EXPECT_GT(fs::file_size(file_), 4'000'000u);
  {
    KernelCache cache(file_, 1 << 20);
    cache.insert("one more", value_of(1));
    EXPECT_TRUE(cache.find("one more"));
  }
  EXPECT_LE(fs::file_size(file_), 1u << 20);
  EXPECT_EQ(ask("PRAGMA integrity_check"), "ok");
}

TEST_F(KernelCacheTest, does_not_keep_a_value_that_would_fill_the_cache) {
  KernelCache cache(file_, 1 << 20);
  cache.insert("small", value_of(1));
  cache.insert("huge", value_of(1, 600'000));
  EXPECT_FALSE(cache.find("huge"));
  EXPECT_TRUE(cache.find("small"));
}

TEST_F(KernelCacheTest, threads_share_one_instance) {
  KernelCache cache(file_, roomy);
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        cache.insert(key_of(t * 100 + i), value_of(t * 100 + i));
        EXPECT_EQ(cache.find(key_of(t * 100 + i)), value_of(t * 100 + i));
        found(cache, 5, (t * 37 + i * 11) % 800);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(found(cache, 800), 800);
}

TEST_F(KernelCacheTest, eight_processes_write_and_read_one_file) {
  std::vector<pid_t> processes;
  for (int p = 0; p < 8; ++p) {
    processes.push_back(start([&] {
      // Opened and closed over and over, in turn with and without reason to evict.
      for (int round = 0; round < 10; ++round) {
        KernelCache cache(file_, round % 2 ? roomy : 1 << 20);
        for (int i = 0; i < 40; ++i) {
          const int number = (p * 53 + round * 131 + i * 7) % 400;
          found(cache, 1, number);
          cache.insert(key_of(number), value_of(number));
        }
        EXPECT_GT(found(cache, 400), 0);
      }
    }));
  }
  for (const pid_t process : processes) EXPECT_EQ(exit_of(process), 0);
  EXPECT_EQ(set_aside(), 0);
  EXPECT_EQ(ask("PRAGMA integrity_check"), "ok");
  EXPECT_EQ(ask("SELECT count(*) FROM kernel JOIN used USING (id)"),
            ask("SELECT count(*) FROM kernel"));
  KernelCache cache(file_, roomy);
  EXPECT_GT(found(cache, 400), 0);
}

TEST_F(KernelCacheTest, a_kill_loses_nothing_that_was_inserted) {
  std::mt19937 random(1);
  int total = 0;
  for (int round = 0; round < 20; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t process = start([&] {
      KernelCache cache(file_, roomy);
      for (int i = total;; ++i) {
        cache.insert(key_of(i), value_of(i));
        if (::write(pipe[1], "x", 1) != 1) return;
      }
    });
    ::close(pipe[1]);
    char first = 0;
    EXPECT_EQ(::read(pipe[0], &first, 1), 1);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    ::kill(process, SIGKILL);
    EXPECT_EQ(exit_of(process), 128 + SIGKILL);
    ++total;
    for (char one = 0; ::read(pipe[0], &one, 1) == 1;) ++total;
    ::close(pipe[0]);
    KernelCache cache(file_, roomy);
    EXPECT_EQ(found(cache, total), total) << "round " << round;
  }
  EXPECT_EQ(set_aside(), 0);
  EXPECT_EQ(ask("PRAGMA integrity_check"), "ok");
}

TEST_F(KernelCacheTest, a_kill_while_it_is_created_evicts_or_closes_does_no_harm) {
  std::mt19937 random(2);
  for (int round = 0; round < 40; ++round) {
    if (round % 2) fs::remove(file_);
    const pid_t process = start([&] {
      for (;;) {
        KernelCache cache(file_, 200'000);
        for (int i = 0; i < 30; ++i) cache.insert(key_of(i), value_of(i));
      }
    });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % (round % 2 ? 3000 : 30'000)));
    ::kill(process, SIGKILL);
    EXPECT_EQ(exit_of(process), 128 + SIGKILL);
    EXPECT_EQ(said([&] { fill(30); }), "");
    KernelCache cache(file_, roomy);
    EXPECT_EQ(found(cache, 30), 30);
  }
  EXPECT_EQ(ask("PRAGMA integrity_check"), "ok");
}

TEST_F(KernelCacheTest, a_file_of_something_else_is_set_aside_with_one_line) {
  for (const std::size_t size : {20, 100, 5000, 100'000}) {
    const auto noise = value_of(5, size);
    std::ofstream(file_, std::ios::binary)
        .write(reinterpret_cast<const char*>(noise.data()), static_cast<std::streamsize>(size));
    const std::string words = said([&] {
      fill(10);
      KernelCache cache(file_, roomy);
      EXPECT_EQ(found(cache, 10), 10);
    });
    EXPECT_EQ(lines(words), 1) << words;
    EXPECT_NE(words.find("kernels.db: damaged; set aside as kernels.db.corrupt-"),
              std::string::npos);
    EXPECT_EQ(set_aside(), 1);  // the one before is gone
    fs::remove(file_);
  }
}

TEST_F(KernelCacheTest, a_truncated_file_is_set_aside) {
  for (const std::uintmax_t size : {50, 4096, 10'000, 100'000}) {
    fill(100);
    ASSERT_GT(fs::file_size(file_), size);
    fs::resize_file(file_, size);
    const std::string words = said([&] { fill(5, 500); });
    EXPECT_EQ(lines(words), 1) << words;
    KernelCache cache(file_, roomy);
    EXPECT_EQ(found(cache, 100), 0);
    EXPECT_EQ(found(cache, 5, 500), 5);
  }
}

TEST_F(KernelCacheTest, an_empty_file_is_begun) {
  std::ofstream{file_};
  EXPECT_EQ(said([&] { fill(5); }), "");
  KernelCache cache(file_, roomy);
  EXPECT_EQ(found(cache, 5), 5);
}

TEST_F(KernelCacheTest, damage_anywhere_never_gives_a_wrong_value) {
  std::mt19937 random(3);
  for (int round = 0; round < 40; ++round) {
    fs::remove(file_);
    fill(40);
    const std::uintmax_t size = fs::file_size(file_);
    for (int i = 0; i < 20; ++i) {
      overwrite(random() % size, std::string(1 + random() % 60, static_cast<char>(random())));
    }
    const std::string words = said([&] {
      KernelCache cache(file_, roomy);
      found(cache, 40);  // compares
      for (int i = 0; i < 80; ++i) cache.insert(key_of(i), value_of(i));
      EXPECT_GT(found(cache, 80), 0);
    });
    EXPECT_LE(lines(words), 1) << words;
  }
}

TEST_F(KernelCacheTest, a_damaged_value_is_a_miss_and_deleted) {
  fill(3);
  ask("UPDATE kernel SET value = zeroblob(length(value)) WHERE length(value) = " +
      std::to_string(value_of(2).size()));
  KernelCache cache(file_, roomy);
  EXPECT_FALSE(cache.find(key_of(2)));
  EXPECT_EQ(cache.statistics().entries, 2);
  EXPECT_EQ(found(cache, 2), 2);
  fill(1, 2);
  EXPECT_EQ(found(cache, 3), 3);
}

TEST_F(KernelCacheTest, a_value_under_another_key_is_a_miss) {
  fill(3);
  ask("UPDATE kernel SET (value, checksum) = (SELECT value, checksum FROM kernel "
      "WHERE length(value) = " +
      std::to_string(value_of(1).size()) + ")");
  KernelCache cache(file_, roomy);
  EXPECT_EQ(found(cache, 3), 1);
}

TEST_F(KernelCacheTest, damage_met_by_two_users_begins_one_new_file) {
  fill(200);
  const std::string words = said([&] {
    KernelCache one(file_, roomy);
    KernelCache two(file_, roomy);
    EXPECT_TRUE(one.find(key_of(150)));
    EXPECT_TRUE(two.find(key_of(150)));
    // By another process: closing the file in this one would drop SQLite's locks.
    EXPECT_EQ(exit_of(start([&] { overwrite(4096, std::string(fs::file_size(file_), '?')); })), 0);
    found(one, 150);
    EXPECT_EQ(set_aside(), 1);
    one.insert(key_of(1000), value_of(1000));
    found(two, 150);
    EXPECT_EQ(found(two, 1, 1000), 1);
    two.insert(key_of(1001), value_of(1001));
    EXPECT_EQ(found(one, 2, 1000), 2);
  });
  EXPECT_EQ(lines(words), 1) << words;
  KernelCache cache(file_, roomy);
  EXPECT_EQ(found(cache, 2, 1000), 2);
  EXPECT_EQ(ask("PRAGMA integrity_check"), "ok");
}

TEST_F(KernelCacheTest, eight_processes_that_meet_a_damaged_file_set_it_aside_once) {
  std::ofstream(file_) << std::string(50'000, 'z');
  const std::string words = said([&] {
    std::vector<pid_t> processes;
    for (int p = 0; p < 8; ++p) processes.push_back(start([&, p] { fill(10, p * 10); }));
    for (const pid_t process : processes) EXPECT_EQ(exit_of(process), 0);
  });
  EXPECT_EQ(lines(words), 1) << words;
  EXPECT_EQ(set_aside(), 1);
  KernelCache cache(file_, roomy);
  EXPECT_EQ(found(cache, 80), 80);
}

TEST_F(KernelCacheTest, another_version_gives_way) {
  fill(5);
  ask("PRAGMA user_version = 999");
  EXPECT_EQ(said([&] { fill(3, 10); }), "");
  KernelCache cache(file_, roomy);
  EXPECT_EQ(found(cache, 5), 0);
  EXPECT_EQ(found(cache, 3, 10), 3);
  EXPECT_EQ(set_aside(), 0);
}

// Inserts until the disk is full, and then some.
void overfill(const fs::path& file) {
  int kept = 0;
  const std::string words = said([&] {
    KernelCache cache(file, roomy);
    for (int i = 0; i < 300; ++i) cache.insert(key_of(i), value_of(i, 9000));
    for (; kept < 300 && cache.find(key_of(kept)); ++kept) {
      EXPECT_EQ(cache.find(key_of(kept)), value_of(kept, 9000));
    }
  });
  EXPECT_GT(kept, 10);
  EXPECT_LT(kept, 300);
  EXPECT_EQ(lines(words), 1) << words;
  EXPECT_NE(words.find("no more kernels are kept"), std::string::npos) << words;
  KernelCache cache(file, roomy);
  for (int i = 0; i < kept; ++i) {
    EXPECT_EQ(cache.find(key_of(i)), value_of(i, 9000)) << i;
  }
}

TEST_F(KernelCacheTest, a_limit_on_file_size_stops_writing_and_loses_nothing) {
  EXPECT_EQ(exit_of(start([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{600'000, 600'000};
              ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
              overfill(file_);
            })),
            0);
  EXPECT_EQ(ask("PRAGMA integrity_check"), "ok");
  EXPECT_EQ(set_aside(), 0);
}

TEST_F(KernelCacheTest, a_full_disk_stops_writing_and_loses_nothing) {
  const int status = exit_of(start([&] {
    const int user = ::geteuid() == 0 ? 0 : CLONE_NEWUSER;
    if (::unshare(CLONE_NEWNS | user) != 0) ::_exit(not_permitted);
    if (user) std::ofstream("/proc/self/uid_map") << "0 " << ::getuid() << " 1";
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=1500k") != 0) {
      ::_exit(not_permitted);
    }
    overfill(file_);
    // Full before it is opened: what is there is still found.
    std::ofstream(folder_ / "rest") << std::string(2'000'000, 'r');
    said([&] {
      KernelCache cache(file_, roomy);
      EXPECT_EQ(cache.find(key_of(0)), value_of(0, 9000));
      cache.insert("one more", value_of(1, 9000));
    });
    EXPECT_EQ(set_aside(), 0);
    EXPECT_EQ(ask("PRAGMA integrity_check"), "ok");
  }));
  if (status == not_permitted) GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  EXPECT_EQ(status, 0);
}

TEST_F(KernelCacheTest, a_read_only_folder_is_read) {
  fill(20);
  fs::permissions(folder_, fs::perms(0555));
  fs::permissions(file_, fs::perms(0444));
  fs::permissions(file_.native() + ".lock", fs::perms(0444));
  EXPECT_EQ(exit_of(start([&] {
              // Permissions do not bind root.
              ASSERT_TRUE(::geteuid() != 0 || ::setuid(65534) == 0);
              const std::string words = said([&] {
                KernelCache cache(file_, roomy);
                EXPECT_EQ(found(cache, 20), 20);
                cache.insert(key_of(21), value_of(21));
                EXPECT_EQ(found(cache, 30), 20);
              });
              EXPECT_EQ(lines(words), 1) << words;
              EXPECT_NE(words.find("only read"), std::string::npos) << words;
            })),
            0);
}

TEST_F(KernelCacheTest, works_in_memory_where_there_can_be_no_file) {
  std::ofstream(folder_ / "a file") << "no folder";
  for (const fs::path& file :
       {folder_ / "a file" / "kernels.db", fs::path("/proc/kernels.db"), fs::path()}) {
    const std::string words = said([&] {
      KernelCache cache(file, roomy);
      for (int i = 0; i < 20; ++i) cache.insert(key_of(i), value_of(i));
      EXPECT_EQ(found(cache, 30), 20);
    });
    EXPECT_EQ(lines(words), 1) << words;
    EXPECT_NE(words.find("in memory only"), std::string::npos) << words;
  }
}

TEST_F(KernelCacheTest, the_shared_cache_lies_in_the_folder_of_BRISK_CACHE) {
  if (::getenv("BRISK_TEST_CHILD")) {
    KernelCache::shared().insert("key", value_of(1));
    return;
  }
  // A program anew: this one may have read its options already.
  const pid_t process = start([&] {
    ::setenv("BRISK_TEST_CHILD", "1", 1);
    ::setenv("BRISK_CACHE", folder_.c_str(), 1);
    ::execl("/proc/self/exe", "test", "--gtest_filter=*the_shared_cache*", nullptr);
    FAIL() << "no second program";
  });
  EXPECT_EQ(exit_of(process), 0);
  EXPECT_EQ(KernelCache(file_, roomy).find("key"), value_of(1));
}

TEST_F(KernelCacheTest, folders_on_the_way_are_made) {
  const fs::path file = folder_ / "a" / "b c?#%" / "kernels.db";
  EXPECT_EQ(said([&] { KernelCache(file, roomy).insert("key", value_of(1)); }), "");
  EXPECT_EQ(KernelCache(file, roomy).find("key"), value_of(1));
}

}  // namespace
}  // namespace brisk
