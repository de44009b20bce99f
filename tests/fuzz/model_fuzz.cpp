// Any bytes as a language model: config.json where they begin with "{", a GGUF file otherwise. They
// are refused with a UserError of one line, or the model stands ready with every tensor that its
// configuration asks for. Nothing is computed.
#include "base/error.h"
#include "llm/model.h"
#include "tensor/realize.h"

#include <memory>
#include <string_view>

namespace {

using namespace brisk;

void want_ready(const Model& model) {
  const ModelConfig& config = model.config();
  check(model.weights().blocks.size() == static_cast<std::size_t>(config.blocks),
        "every block has its weights");
  check(config.windows.size() == model.weights().blocks.size(), "every block has its window");
  const Tensor table = model.weights().token_embedding.value();
  check(table.shape() == std::vector<std::int64_t>{config.vocabulary, config.width},
        "the embedding has the shape of the model");
  if (model.tokenizer()) model.tokenizer()->encode("a b");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::unique_ptr<Executor> host = evaluator();
  use_executor(host.get());
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    if (size > 0 && data[0] == '{') {
      config_from_json({reinterpret_cast<const char*>(data), size}, "input");
    } else {
      want_ready(Model::load(ModelFile::parse_gguf(bytes, "input")));
    }
  } catch (const UserError& error) {
    check(std::string_view(error.what()).find('\n') == std::string_view::npos, "one line");
  }
  return 0;
}
