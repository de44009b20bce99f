#include "text.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "brisk/brisk.h"
#include "brisk/error.h"
#include "brisk/nn.h"
#include "formats/gguf.h"
#include "llm/tokenizer.h"
#include "llm/tokenizer_load.h"
#include "llm/tokenizer_train.h"

namespace fs = std::filesystem;

std::vector<fs::path> text_files(const std::vector<fs::path>& given) {
  std::vector<fs::path> files;
  for (const fs::path& path : given) {
    if (!fs::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file() && entry.path().extension() == ".txt" &&
          entry.path().filename() != "SOURCE.txt")
        files.push_back(entry.path());
    }
  }
  if (files.empty())
    throw brisk::UserError("no .txt files there: give --text files, or folders of them (unpacked)");
  std::sort(files.begin(), files.end());
  return files;
}

namespace {

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw brisk::UserError("cannot read '" + path.string() + "'");
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

constexpr char separator = '\x1e';
constexpr std::size_t share = 100;  // one part of so many is held out

struct Document {
  std::string text;
  std::size_t end = 0;  // of what is learned from
  std::vector<brisk::TokenId> train = {}, held_out = {};
};

std::vector<Document> documents_of(const std::vector<fs::path>& files) {
  std::vector<Document> documents;
  for (const fs::path& file : files) {
    std::istringstream text(contents(file));
    for (std::string part; std::getline(text, part, separator);)
      documents.push_back({.text = std::move(part)});
  }
  const std::size_t whole = documents.size() / share;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    Document& document = documents[i];
    const std::size_t size = document.text.size();
    document.end = size;
    if (i + whole >= documents.size()) {
      document.end = 0;
    } else if (whole == 0) {
      const std::size_t line = document.text.find('\n', size - size / share);
      document.end = line == std::string::npos ? size - size / share : line;
    }
  }
  return documents;
}

void tokenize(std::vector<Document>& documents, const brisk::Tokenizer& tokenizer) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (std::size_t d = next++; d < documents.size(); d = next++) {
        const std::string_view text = documents[d].text;
        documents[d].train = tokenizer.encode(text.substr(0, documents[d].end), false);
        documents[d].held_out = tokenizer.encode(text.substr(documents[d].end), false);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace

Text read_text(const std::vector<fs::path>& files, std::int64_t vocabulary) {
  std::vector<Document> documents = documents_of(files);
  brisk::TokenizerTrainer trainer;
  for (const Document& document : documents)
    trainer.add(std::string_view(document.text).substr(0, document.end));
  Text result;
  result.tokenizer = trainer.train(vocabulary);
  const brisk::Tokenizer tokenizer(result.tokenizer);
  tokenize(documents, tokenizer);
  for (const Document& document : documents) {
    for (const auto& [from, to] : {std::pair{&document.train, &result.train},
                                   std::pair{&document.held_out, &result.held_out}}) {
      if (from->empty()) continue;
      to->insert(to->end(), from->begin(), from->end());
      to->push_back(tokenizer.eos());
    }
    result.held_out_bytes += static_cast<std::int64_t>(document.text.size() - document.end);
  }
  return result;
}

Text read_text(const std::vector<fs::path>& files, std::int64_t vocabulary,
               const fs::path& folder) {
  const fs::path tokenizer = folder / "tokenizer.gguf";
  const fs::path tokens = folder / "tokens.safetensors";
  if (fs::exists(tokenizer) && fs::exists(tokens)) {
    const brisk::nn::State state = brisk::nn::read_state(tokens);
    return {brisk::tokenizer_spec_from_gguf(brisk::GgufFile::open(tokenizer)),
            state.at("train").to_vector<std::int32_t>(),
            state.at("held_out").to_vector<std::int32_t>(),
            state.at("held_out_bytes").item<std::int64_t>()};
  }
  Text text = read_text(files, vocabulary);
  const auto tensor = [](const std::vector<std::int32_t>& numbers) {
    return brisk::from_host(std::span<const std::int32_t>(numbers),
                            {static_cast<std::int64_t>(numbers.size())});
  };
  brisk::GgufWriter file;
  brisk::write_tokenizer(file, text.tokenizer);
  file.write(tokenizer);
  brisk::nn::save_state({{"train", tensor(text.train)},
                         {"held_out", tensor(text.held_out)},
                         {"held_out_bytes", brisk::full({1}, text.held_out_bytes)}},
                        tokens);
  return text;
}

namespace {

void add_row(Batch& batch, const std::vector<std::int32_t>& tokens, std::int64_t begin,
             std::int64_t length) {
  const auto first = tokens.begin() + begin;
  batch.tokens.insert(batch.tokens.end(), first, first + length);
  batch.next.insert(batch.next.end(), first + 1, first + length + 1);
}

}  // namespace

Batch random_batch(const std::vector<std::int32_t>& tokens, std::int64_t rows, std::int64_t length,
                   std::uint64_t seed, std::int64_t step) {
  const auto places = static_cast<std::int64_t>(tokens.size()) - length;
  if (places < 1)
    throw brisk::UserError("the text has " + std::to_string(tokens.size()) +
                           " tokens, fewer than a row of " + std::to_string(length) +
                           "; give more text or a smaller --context");
  std::seed_seq of_step{seed & 0xffffffffU, seed >> 32, static_cast<std::uint64_t>(step)};
  std::mt19937_64 random(of_step);
  Batch batch;
  for (std::int64_t row = 0; row < rows; ++row)
    add_row(batch, tokens, static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(places)),
            length);
  return batch;
}

Batch batch_in_order(const std::vector<std::int32_t>& tokens, std::int64_t rows,
                     std::int64_t length, std::int64_t index) {
  Batch batch;
  for (std::int64_t row = 0; row < rows; ++row)
    add_row(batch, tokens, (index * rows + row) * length, length);
  return batch;
}

std::int64_t batches_in_order(const std::vector<std::int32_t>& tokens, std::int64_t rows,
                              std::int64_t length) {
  return (static_cast<std::int64_t>(tokens.size()) - 1) / (rows * length);
}
