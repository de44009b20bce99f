// Weights beside their message: what is taken out is what was in it, and damage is left to the
// parser.
#include "onnx/weights.h"

#include <gtest/gtest.h>

#include "onnx/wire.h"

namespace brisk::onnx {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string tensor(const std::string& name, const std::string& raw) {
  return number(2, 1) + text(9, raw) + text(8, name);
}
std::string model(const std::string& graph) { return number(1, 8) + text(7, graph) + text(8, ""); }

TEST(Weights, are_taken_out_where_they_are_large) {
  std::string large(5000, 'a');
  large[4999] = 'z';
  const std::string small(100, 'b');
  const std::string whole =
      model(text(2, "g") + text(5, tensor("large", large)) + text(5, tensor("small", small)));
  for (const auto& owner :
       {std::shared_ptr<const void>(), std::shared_ptr<const void>(&whole, [](auto) {})}) {
    const auto split = split_weights(bytes_of(whole), owner);
    ASSERT_TRUE(split);
    EXPECT_EQ(split->message, model(text(2, "g") + text(5, number(2, 1) + text(8, "large")) +
                                    text(5, tensor("small", small))));
    ASSERT_EQ(split->weights.size(), 2U);
    const Weight& weight = split->weights[0];
    ASSERT_TRUE(weight.owner);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(weight.bytes.data()) % 16, 0U);
    const auto* first = reinterpret_cast<const char*>(weight.bytes.data());
    EXPECT_EQ(std::string(first, weight.bytes.size()), large);
    EXPECT_TRUE(split->weights[1].bytes.empty());
  }
}

TEST(Weights, of_many_megabytes_are_copied_whole) {
  std::string large(std::size_t{9} << 20, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 31 >> 8);
  const std::string whole = model(text(5, tensor("a", large)) + text(5, tensor("b", large)));
  const auto split = split_weights(bytes_of(whole), nullptr);
  ASSERT_TRUE(split);
  for (const Weight& weight : split->weights) {
    const auto* first = reinterpret_cast<const char*>(weight.bytes.data());
    EXPECT_TRUE(std::string_view(first, weight.bytes.size()) == large);
  }
}

TEST(Weights, of_a_message_that_is_not_as_it_should_be_stay_in_it) {
  const std::string raw(2000, 'c');
  const std::string whole = model(text(5, tensor("w", raw)));
  for (const std::size_t size : {whole.size() - 1, whole.size() - 3, whole.size() / 2})
    EXPECT_FALSE(split_weights(bytes_of(whole.substr(0, size)), nullptr)) << size;
  EXPECT_FALSE(split_weights(bytes_of(model(text(5, tensor("w", raw) + text(9, raw)))), nullptr));
  EXPECT_FALSE(split_weights(bytes_of(whole + whole), nullptr));
  EXPECT_FALSE(split_weights(bytes_of(std::string(20, '\xff')), nullptr));
}

}  // namespace
}  // namespace brisk::onnx
