// base/options: what each variable takes, and what it says of a value it does not take.
#include "base/options.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"

namespace brisk {
namespace {

// parse_options takes a plain function, so the environment it sees lies beside it.
std::map<std::string, std::string>& environment() {
  static std::map<std::string, std::string> variables;
  return variables;
}

Options parse(std::map<std::string, std::string> variables) {
  environment() = std::move(variables);
  return parse_options([](const char* name) -> const char* {
    const auto found = environment().find(name);
    return found == environment().end() ? nullptr : found->second.c_str();
  });
}

std::string refusal(const std::string& name, const std::string& value) {
  try {
    parse({{name, value}});
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(Options, an_empty_environment_gives_the_defaults) {
  const Options options = parse({});
  EXPECT_EQ(options.debug, 0);
  EXPECT_FALSE(options.verify);
  EXPECT_EQ(options.device, "");
  EXPECT_EQ(options.threads, 0);
  EXPECT_EQ(options.cache, "");
  EXPECT_EQ(options.cache_limit_mb, 1024);
  EXPECT_EQ(options.cpu, "native");
  EXPECT_EQ(options.memory, 0);
}

TEST(Options, an_empty_value_counts_as_not_set) {
  const Options options = parse({{"BRISK_DEBUG", ""}, {"BRISK_DEVICE", ""}, {"BRISK_CPU", ""}});
  EXPECT_EQ(options.debug, 0);
  EXPECT_EQ(options.device, "");
  EXPECT_EQ(options.cpu, "native");
}

TEST(Options, legal_values_are_taken_at_both_ends_of_their_range) {
  EXPECT_EQ(parse({{"BRISK_DEBUG", "5"}}).debug, 5);
  EXPECT_EQ(parse({{"BRISK_THREADS", "1"}}).threads, 1);
  EXPECT_EQ(parse({{"BRISK_THREADS", "1024"}}).threads, 1024);
  EXPECT_TRUE(parse({{"BRISK_VERIFY", "1"}}).verify);
  EXPECT_FALSE(parse({{"BRISK_VERIFY", "0"}}).verify);
  EXPECT_EQ(parse({{"BRISK_CACHE_LIMIT_MB", "1000000"}}).cache_limit_mb, 1000000);
  EXPECT_EQ(parse({}).opencl_groups, std::nullopt);
  EXPECT_EQ(parse({{"BRISK_OPENCL_GROUPS", "0"}}).opencl_groups, false);
  EXPECT_EQ(parse({{"BRISK_OPENCL_GROUPS", "1"}}).opencl_groups, true);
  EXPECT_EQ(parse({{"BRISK_MEMORY", "1"}}).memory, 1);
  EXPECT_EQ(parse({{"BRISK_MEMORY", "3K"}}).memory, 3 << 10);
  EXPECT_EQ(parse({{"BRISK_MEMORY", "5M"}}).memory, 5 << 20);
  EXPECT_EQ(parse({{"BRISK_MEMORY", "8589934591G"}}).memory, 8589934591LL << 30);
  for (const char* cpu : {"native", "x86-64-v2", "x86-64-v3", "x86-64-v4"}) {
    EXPECT_EQ(parse({{"BRISK_CPU", cpu}}).cpu, cpu);
  }
  for (const char* device : {"cpu", "cuda", "cuda:0", "opencl:12"}) {
    EXPECT_EQ(parse({{"BRISK_DEVICE", device}}).device, device);
  }
}

TEST(Options, the_cache_lies_where_the_first_of_three_variables_says) {
  EXPECT_EQ(parse({{"HOME", "/home/ann"}}).cache, "/home/ann/.cache/brisk");
  EXPECT_EQ(parse({{"HOME", "/home/ann"}, {"XDG_CACHE_HOME", "/fast"}}).cache, "/fast/brisk");
  EXPECT_EQ(parse({{"HOME", "/home/ann"}, {"XDG_CACHE_HOME", "relative"}}).cache,
            "/home/ann/.cache/brisk");
  EXPECT_EQ(
      parse({{"HOME", "/home/ann"}, {"XDG_CACHE_HOME", "/fast"}, {"BRISK_CACHE", "/mine"}}).cache,
      "/mine");
}

TEST(Options, a_bad_value_is_refused_with_the_variable_the_value_and_what_it_may_be) {
  const std::map<std::string, std::vector<std::string>> bad = {
      {"BRISK_DEBUG", {"6", "-1", "two", "1x", " 1", "99999999999999999999"}},
      {"BRISK_VERIFY", {"2", "yes"}},
      {"BRISK_DEVICE", {"GPU", "cuda:", "cuda:x", ":0", "cuda:1:2", "cuda:1000"}},
      {"BRISK_THREADS", {"0", "1025", "-2", "1.5"}},
      {"BRISK_CACHE", {"relative/folder"}},
      {"BRISK_CACHE_LIMIT_MB", {"0", "1000001", "1G"}},
      {"BRISK_CPU", {"i386", "X86-64-V2"}},
      {"BRISK_TUNE", {"-1", "86401", "5s", "0.5"}},
      {"BRISK_OPENCL_GROUPS", {"2", "yes"}},
      {"BRISK_MEMORY", {"0", "-1K", "G", "8GB", "1.5G", "8g", "8589934592G"}},
  };
  std::size_t seen = 0;
  for (const OptionInfo& info : option_list()) {
    const auto values = bad.find(std::string(info.name));
    ASSERT_NE(values, bad.end()) << info.name << " needs bad values here";
    for (const std::string& value : values->second) {
      EXPECT_EQ(refusal(values->first, value),
                fmt::format("{} is \"{}\"; it may be {}", info.name, value, info.legal));
    }
    ++seen;
  }
  EXPECT_EQ(seen, bad.size());
}

TEST(Options, every_row_of_the_list_says_all_there_is_to_say) {
  for (const OptionInfo& info : option_list()) {
    EXPECT_TRUE(info.name.starts_with("BRISK_"));
    EXPECT_FALSE(info.meaning.empty());
    EXPECT_FALSE(info.legal.empty());
    EXPECT_FALSE(info.fallback.empty());
  }
}

TEST(Options, the_documentation_has_the_list) {
  std::string page =
      "# Environment variables\n\n"
      "All that brisk reads, from `src/base/options.cpp`; a test holds this page to it.\n\n"
      "| variable | meaning | may be | default |\n|---|---|---|---|\n";
  for (const OptionInfo& info : option_list()) {
    page += fmt::format("| `{}` | {} | {} | {} |\n", info.name, info.meaning, info.legal,
                        info.fallback);
  }
  std::ifstream file(BRISK_SOURCE_DIR "/docs/options.md");
  const std::string written{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(written, page) << "docs/options.md must read:\n" << page;
}

TEST(Options, the_process_options_are_parsed_once) { EXPECT_EQ(&options(), &options()); }

}  // namespace
}  // namespace brisk
