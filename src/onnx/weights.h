// The raw data of a model's initializers, apart from its protobuf: it is nearly all of the file, so
// it is not parsed, and copied at most once. Input: the bytes of a ModelProto that need not be
// trusted; output: the message without that data, and where the data lies.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace brisk::onnx {

struct Weight {
  std::span<const std::byte> bytes;  // empty: the message has them
  std::shared_ptr<const void> owner;
};

struct SplitModel {
  std::string message;
  std::vector<Weight> weights;  // one for each initializer of the model's graph, in their order
};

/// Nothing where the message is not what the format says: then the parser knows what is wrong. Data
/// stays where it is if that is aligned and has an owner.
std::optional<SplitModel> split_weights(std::span<const std::byte> model,
                                        const std::shared_ptr<const void>& owner);

}  // namespace brisk::onnx
