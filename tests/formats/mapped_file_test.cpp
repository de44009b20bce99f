#include "formats/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "formats/file_writer.h"
#include "formats/quote.h"
#include "temporary_folder.h"

namespace brisk {
namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::string open_error(const std::filesystem::path& path) {
  return user_error_of([&] { MappedFile::open(path); });
}

TEST(MappedFile, gives_the_bytes_of_the_file) {
  const TemporaryFolder folder;
  const MappedFile file = MappedFile::open(folder.write("a", "hello"));
  EXPECT_EQ(text_of(file), "hello");
  EXPECT_EQ(file.path(), (folder.path() / "a").native());
}

TEST(MappedFile, keeps_its_bytes_in_place_when_moved) {
  const TemporaryFolder folder;
  MappedFile first = MappedFile::open(folder.write("a", "hello"));
  const std::byte* data = first.bytes().data();
  MappedFile second = std::move(first);
  EXPECT_EQ(second.bytes().data(), data);
  EXPECT_TRUE(first.bytes().empty());
  second = MappedFile::open(folder.write("b", "other"));
  EXPECT_EQ(text_of(second), "other");
}

TEST(MappedFile, stays_readable_after_the_file_is_removed) {
  const TemporaryFolder folder;
  const MappedFile file = MappedFile::open(folder.write("a", "hello"));
  std::filesystem::remove(folder.path() / "a");
  EXPECT_EQ(text_of(file), "hello");
}

TEST(MappedFile, takes_advice_for_any_range) {
  const TemporaryFolder folder;
  const MappedFile file = MappedFile::open(folder.write("a", std::string(10000, 'x')));
  for (const auto access :
       {MappedFile::Access::normal, MappedFile::Access::sequential, MappedFile::Access::random,
        MappedFile::Access::will_need, MappedFile::Access::dont_need}) {
    file.advise(access);
    file.advise(access, 5000, 1);
    file.advise(access, 9999, SIZE_MAX);
    file.advise(access, 20000, 1);
  }
  EXPECT_EQ(text_of(file), std::string(10000, 'x'));
}

TEST(MappedFile, says_what_is_wrong_with_a_path) {
  const TemporaryFolder folder;
  const std::string base = folder.path().native();
  EXPECT_EQ(open_error(folder.path() / "none"),
            "cannot open '" + base + "/none': No such file or directory");
  EXPECT_EQ(open_error(folder.path()), "cannot read '" + base + "': it is a directory");
  EXPECT_EQ(open_error(folder.write("empty", "")),
            "cannot read '" + base + "/empty': the file is empty");
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(open_error(folder.path() / "pipe"),
            "cannot read '" + base + "/pipe': it is not a regular file");
  EXPECT_EQ(open_error("/dev/zero"), "cannot read '/dev/zero': it is not a regular file");
}

TEST(MappedFile, says_that_a_file_is_not_readable) {
  const TemporaryFolder folder;
  const auto path = folder.write("secret", "hello");
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  const bool root = ::geteuid() == 0;  // may read everything, so be somebody else
  ASSERT_TRUE(!root || ::seteuid(65534) == 0);
  EXPECT_EQ(open_error(path), "cannot open '" + path.native() + "': Permission denied");
  ASSERT_TRUE(!root || ::seteuid(0) == 0);
}

TEST(FileWriter, replaces_the_target_only_on_commit) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", "old");
  {
    FileWriter writer(path);
    writer.append(as_bytes("ne"));
    EXPECT_EQ(text_of(MappedFile::open(path)), "old");
    writer.append(as_bytes("w"));
    writer.commit();
    EXPECT_EQ(text_of(MappedFile::open(path)), "new");
  }
  { FileWriter(path).append(as_bytes("abandoned")); }
  EXPECT_EQ(text_of(MappedFile::open(path)), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(FileWriter, leaves_the_target_when_there_is_no_room) {
  const TemporaryFolder folder;
  const auto path = folder.write("a", "old");
  rlimit kept{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &kept), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);  // then write() fails
  const rlimit small{.rlim_cur = 1000, .rlim_max = kept.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = user_error_of([&] {
    FileWriter writer(path);
    writer.append(as_bytes(std::string(5000, 'x')));
  });
  ::setrlimit(RLIMIT_FSIZE, &kept);
  ::signal(SIGXFSZ, handler);
  EXPECT_EQ(error, "cannot write '" + path.native() + "': File too large");
  EXPECT_EQ(text_of(MappedFile::open(path)), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(FileWriter, says_why_it_cannot_write) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "none" / "a";
  EXPECT_EQ(user_error_of([&] { FileWriter writer(path); }),
            "cannot write '" + path.native() + "': No such file or directory");
}

TEST(Quote, makes_one_printable_line_of_any_bytes) {
  EXPECT_EQ(quote("blk.0"), "'blk.0'");
  EXPECT_EQ(quote("a\n\x1b\\'"), "'a\\x0a\\x1b\\x5c\\x27'");
  EXPECT_EQ(one_line("node 'a' (b\n\x1b): …"), "node 'a' (b\\x0a\\x1b): …");
  EXPECT_EQ(quote(std::string(1000, 'a')), "'" + std::string(160, 'a') + "…'");
}

}  // namespace
}  // namespace brisk
