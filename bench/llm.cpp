// A Llama of 1.1 billion random weights in F16, Q8_0 and Q4_0: decoding 64 tokens (tokens a second,
// share of the read bandwidth that the same run measures), a prompt of 512 tokens, the first token
// of a new process with warm page and kernel caches, and decoding while another process holds one
// core. Arguments: types to measure (f16 q8_0 q4_0), or `decode FILE` or `prompt FILE` for a
// profiler. The files are kept in BRISK_BENCH_MODELS, by default the folder brisk-bench-models
// among the temporary ones; beware of 4 GB. BRISK_BENCH_PEER, the path of a llama-bench (of
// llama.cpp or of ik_llama.cpp), has that measured on the same files in turn with ours.
#include <sched.h>

#include <csignal>
#include <functional>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "child.h"
#include "formats/mapped_file.h"
#include "limits.h"
#include "llm/generate.h"
#include "llm/model.h"
#include "llm_model.h"

namespace {

using namespace bench;
using brisk::BlockType;
using brisk::TokenId;

constexpr LlamaShape shape;

std::vector<TokenId> random_tokens(int count) {
  Random random(13);
  std::vector<TokenId> tokens = {1};
  while (static_cast<int>(tokens.size()) < count) {
    tokens.push_back(static_cast<TokenId>(300 + random.bits() % 31000));
  }
  return tokens;
}

TokenId likeliest(const std::vector<float>& logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Seconds of each step of `count` tokens after a prompt of 8; `between` is called before each
/// eighth of them.
std::vector<double> decode(brisk::Session& session, int count,
                           const std::function<void()>& between = {}) {
  session.rewind();
  std::vector<float> logits = session.advance(random_tokens(8));
  std::vector<double> times;
  for (int i = 0; i < count; ++i) {
    if (between && i % (count / 8) == 0) between();
    const TokenId next[] = {likeliest(logits)};
    times.push_back(seconds([&] { logits = session.advance(next); }));
  }
  return times;
}

/// A process that keeps the last processor busy as long as this object lives.
class BusyCore {
 public:
  BusyCore() : child_(fork()) {
    if (child_ != 0) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(std::thread::hardware_concurrency() - 1, &one);
    sched_setaffinity(0, sizeof one, &one);
    for (std::atomic<std::uint64_t> spin{0};; ++spin) {
    }
  }
  BusyCore(const BusyCore&) = delete;
  BusyCore& operator=(const BusyCore&) = delete;
  ~BusyCore() {
    kill(child_, SIGKILL);
    waitpid(child_, nullptr, 0);
  }

 private:
  pid_t child_;
};

int child_first_token(const std::string& path) {
  const double started = since_exec();
  const brisk::Model model = brisk::Model::load(path);
  const double loaded = since_exec();
  brisk::Session session(model);
  brisk::Sampler sampler({.temperature = 0});
  double first = 0;
  brisk::GenerateOptions options;
  options.max_tokens = 2;
  options.ignore_end = true;
  options.on_text = [&](std::string_view) {
    if (first == 0) first = since_exec();
    return true;
  };
  brisk::generate(session, random_tokens(6), sampler, options);
  report("main", started);
  report("loaded", loaded);
  report("first", first);
  return 0;
}

// For a profiler: nothing but decoding, or nothing but prompts.
int child_repeat(const std::string& what, const std::string& path) {
  const brisk::Model model = brisk::Model::load(path);
  brisk::Session session(model, {.context = 1024});
  std::vector<double> times;
  if (what == "decode") {
    times = decode(session, 32);
  } else {
    const auto prompt = random_tokens(512);
    for (int i = 0; i < 3; ++i) {
      session.rewind();
      times.push_back(seconds([&] { session.advance(prompt); }) / 512);
    }
  }
  report("tokens_per_second", 1 / median(times));
  return 0;
}

double first_token_seconds(const std::string& path) {
  const TemporaryFolder cache;
  run_child({"first", path}, cache.path());  // fills both caches
  std::vector<double> times;
  for (int i = 0; i < 5; ++i) times.push_back(run_child({"first", path}, cache.path())["first"]);
  return median(times);
}

// Tokens a second.
struct PeerRates {
  double decode = 0;
  double prompt = 0;
};

// One round of the peer, with weights repacked as it loads where it can and without, whichever is
// faster. Ends this process if the peer fails.
PeerRates peer_rates(const char* program, const std::string& path) {
  const bool repacks = std::string_view(program).find("ik_llama") != std::string_view::npos ||
                       getenv("BRISK_BENCH_PEER_REPACKS") != nullptr;
  PeerRates best;
  for (const char* more : {"", "-rtr 1"}) {
    if (*more != 0 && !repacks) continue;
    const std::string command =
        fmt::format("'{}' -m '{}' -t {} -p 512 -n 64 -r 2 -o json {} 2> /dev/null", program, path,
                    threads, more);
    FILE* output = popen(command.c_str(), "r");
    std::string text;
    for (int c = std::fgetc(output); c != EOF; c = std::fgetc(output)) text += static_cast<char>(c);
    if (pclose(output) != 0) {
      fmt::print(stderr, "the peer failed: {}\n", command);
      std::exit(1);
    }
    for (const auto& test : nlohmann::json::parse(text)) {
      double& rate = test.at("n_gen") == 0 ? best.prompt : best.decode;
      rate = std::max(rate, test.at("avg_ts").get<double>());
    }
  }
  return best;
}

std::string against(double ours, double peer) {
  return peer == 0 ? "-" : fmt::format("{:.1f} {:.2f}x", peer, ours / peer);
}

void measure(Table& table, const std::filesystem::path& folder, const char* type_name) {
  const brisk::BlockInfo* info = brisk::find_block_type(std::string_view(type_name));
  if (info == nullptr) {
    fmt::print(stderr, "{} is no type of blocks\n", type_name);
    std::exit(2);
  }
  const auto path = folder / fmt::format("llama-1.1b-{}.gguf", type_name);
  if (!std::filesystem::exists(path)) write_llama(path, shape, info->type);
  const double first = first_token_seconds(path);

  const brisk::Model model = brisk::Model::load(path);
  brisk::Session session(model, {.context = 1024});
  decode(session, 2);  // compiles
  const brisk::MappedFile file = brisk::MappedFile::open(path);
  const auto weights = file.bytes().first(std::min<std::size_t>(file.bytes().size(), 512 << 20));
  std::vector<double> limits, rates, shares, peer_decodes, peer_prompts;
  const char* peer = getenv("BRISK_BENCH_PEER");
  for (int round = 0; round < 3; ++round) {
    const PeerRates theirs = peer ? peer_rates(peer, path) : PeerRates();
    peer_decodes.push_back(theirs.decode);
    peer_prompts.push_back(theirs.prompt);
    std::vector<double> reads;  // between the steps: the machine's speed changes
    const auto read = [&] { reads.push_back(median(read_rates(weights, threads))); };
    rates.push_back(1 / median(decode(session, 64, read)));
    limits.push_back(median(reads));
    shares.push_back(rates.back() * bytes_per_token(shape, info->type) / limits.back());
  }
  double busy = 0;
  {
    const BusyCore core;
    busy = 1 / median(decode(session, 32));
  }
  const auto prompt = random_tokens(512);
  std::vector<double> prompts;
  for (int round = 0; round < 4; ++round) {  // the first compiles
    session.rewind();
    prompts.push_back(seconds([&] { session.advance(prompt); }));
  }
  const double prompt_rate = 512 / median({prompts.begin() + 1, prompts.end()});
  table.add({type_name, fmt::format("{:.0f}", static_cast<double>(file_size(path)) / 1e6),
             fmt::format("{:.1f}", median(rates)), fmt::format("{:.1f}", median(limits) / 1e9),
             fmt::format("{:.2f}", median(shares)), against(median(rates), median(peer_decodes)),
             fmt::format("{:.0f}", prompt_rate), against(prompt_rate, median(peer_prompts)),
             fmt::format("{:.0f}", first * 1e3), fmt::format("{:.2f}", busy / median(rates)),
             fmt::format("{}", session.decode_step().plan()->kernels().size())});
}

// The file of another shape, for `brisk bench` on a GPU: `write 1b|8b f16|bf16|q8_0|q4_0 FILE`,
// Llama 3's.
int write_model(const std::string& size, const std::string& type, const char* path) {
  LlamaShape shape = {.blocks = 16, .ffn = 8192, .key_heads = 8, .vocabulary = 128256};
  shape.context = 4096;
  if (size == "8b") {
    shape.blocks = 32;
    shape.width = 4096;
    shape.ffn = 14336;
  }
  const brisk::BlockInfo* info = brisk::find_block_type(std::string_view(type));
  if (info == nullptr || (size != "1b" && size != "8b")) {
    fmt::print(stderr, "write: no model of size '{}' and type '{}'; sizes are 1b and 8b\n", size,
               type);
    return 1;
  }
  write_llama(path, shape, info->type);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 5 && argv[1] == std::string("write")) return write_model(argv[2], argv[3], argv[4]);
  const std::string mode = argc == 3 ? argv[1] : "";
  if (mode == "first") return child_first_token(argv[2]);
  if (mode == "decode" || mode == "prompt") return child_repeat(mode, argv[2]);
  begin(argv, "llm: a Llama of 1.1 billion random weights");
  const char* given = getenv("BRISK_BENCH_MODELS");
  const std::filesystem::path folder =
      given ? given : std::filesystem::temp_directory_path() / "brisk-bench-models";
  std::filesystem::create_directories(folder);
  std::vector<const char*> types = {"f16", "q8_0", "q4_0"};
  if (argc > 1) types.assign(argv + 1, argv + argc);
  {
    Table table({"type", "MB", "decode tok/s", "read GB/s", "share*", "peer", "prompt tok/s",
                 "peer", "first token ms", "one core busy**", "kernels a step"});
    for (const char* type : types) measure(table, folder, type);
  }
  fmt::print(
      "*  bytes of the matrices that a token needs (all but the embedding) x tokens a second / "
      "read "
      "bandwidth of plain loops over the same file\n** rate beside a process that spins on one "
      "core / rate without\n"
      "Quoted, not measured here: ik_llama.cpp of August 2026, best options, 2 threads of a "
      "machine "
      "with 2 cores\n(AVX-512, VNNI) and 32.1 GB/s: decode 11.7 / 22.3 / 32.6 tok/s in F16 / Q8_0 "
      "/ "
      "Q4_0, prompt 100 / 171 / 168 tok/s,\nfirst token 315 / 286 / 203 ms, one core busy 0.12.\n");
}
