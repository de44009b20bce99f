// JSON from untrusted text as events, without building a tree: text and a handler in, calls of the
// handler out. What the handler does not expect, and text that is not JSON, is a UserError. Memory
// is one string or number at a time plus one bit for each open bracket.
#pragma once

#include <nlohmann/json.hpp>

#include <span>
#include <string_view>

namespace brisk {

/// Every event that a handler does not override is refused by unexpected().
class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  using string_t = nlohmann::json::string_t;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a bool"); }
  bool number_integer(std::int64_t) override { return unexpected("a negative number"); }
  bool number_unsigned(std::uint64_t) override { return unexpected("a number"); }
  bool number_float(double, const string_t&) override {
    return unexpected("a number that is fractional or too large");
  }
  bool string(string_t&) override { return unexpected("a string"); }
  bool binary(nlohmann::json::binary_t&) override { return unexpected("binary"); }
  bool start_object(std::size_t) override { return unexpected("an object"); }
  bool key(string_t&) override { return unexpected("a key"); }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return unexpected("an array"); }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& error) final;

 protected:
  /// Throws; its type lets an event return it.
  virtual bool unexpected(std::string_view what) = 0;
};

/// Parses the whole of `text`, which must be one object. `what` names it in errors.
void parse_json(std::span<const std::byte> text, JsonEvents& events, std::string_view what);

}  // namespace brisk
