#include "text.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "brisk/error.h"
#include "llm/tokenizer.h"
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

// Where the held-out part begins: at the end of a line, if there is one.
std::size_t split(const std::string& text) {
  const std::size_t at = text.size() - text.size() / 100;
  const std::size_t line = text.find('\n', at);
  return line == std::string::npos ? at : line;
}

}  // namespace

Text read_text(const std::vector<fs::path>& files, std::int64_t vocabulary) {
  std::vector<std::string> texts;
  for (const fs::path& file : files) texts.push_back(contents(file));
  brisk::TokenizerTrainer trainer;
  for (const std::string& text : texts) trainer.add(std::string_view(text).substr(0, split(text)));
  Text result;
  result.tokenizer = trainer.train(vocabulary);

  const brisk::Tokenizer tokenizer(result.tokenizer);
  struct Document {
    std::vector<brisk::TokenId> train, held_out;
  };
  std::vector<Document> documents(texts.size());
  std::atomic<std::size_t> next = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (std::size_t d = next++; d < texts.size(); d = next++) {
        const std::string_view text = texts[d];
        const std::size_t at = split(texts[d]);
        documents[d] = {tokenizer.encode(text.substr(0, at), false),
                        tokenizer.encode(text.substr(at), false)};
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Document& document : documents) {
    for (const auto& [from, to] : {std::pair{&document.train, &result.train},
                                   std::pair{&document.held_out, &result.held_out}}) {
      to->insert(to->end(), from->begin(), from->end());
      to->push_back(tokenizer.eos());
    }
  }
  return result;
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
