#include "codegen/opencl_c/text.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace brisk::opencl_c {

namespace {

constexpr std::string_view lane_names = "0123456789abcdef";

std::string with_lanes(std::string_view type, int lanes) {
  return lanes == 1 ? std::string(type) : fmt::format("{}{}", type, lanes);
}

std::string_view scalar_name(DType dtype) {
  switch (dtype) {
    case DType::boolean: return "bool";
    case DType::int8: return "char";
    case DType::int16: return "short";
    case DType::int32: return "int";
    case DType::int64: return "long";
    case DType::uint8:
    case DType::float8_e4m3:
    case DType::float8_e5m2: return "uchar";
    case DType::uint16:
    case DType::float16:
    case DType::bfloat16: return "ushort";
    case DType::uint32: return "uint";
    case DType::uint64: return "ulong";
    case DType::float32: return "float";
    case DType::float64: return "double";
    case DType::none: break;
  }
  unreachable("a value has a dtype");
}

struct Spot {
  std::size_t piece;
  int lane;   // within it
  int width;  // of it
};

Spot spot(const Value& value, int lane) {
  std::size_t piece = 0;
  for (const int width : piece_lanes(value.lanes)) {
    if (lane < width) return {piece, lane, width};
    lane -= width;
    ++piece;
  }
  unreachable("a lane of the value");
}

// One lane: as a value of its own, or to stand in a vector.
std::string component(const Pick& pick, bool alone) {
  const Spot at = spot(*pick.value, pick.lane);
  const std::string& text = pick.value->pieces[at.piece];
  const bool is_mask = is_bool(pick.value->dtype);
  if (at.width == 1) return is_mask && !alone ? fmt::format("(char)({} ? -1 : 0)", text) : text;
  const std::string lane =
      fmt::format("{}.s{}", text, lane_names[static_cast<std::size_t>(at.lane)]);
  return is_mask && alone ? fmt::format("({} != 0)", lane) : lane;
}

std::string vector_of(DType dtype, const std::vector<Pick>& picks) {
  const auto lanes = static_cast<int>(picks.size());
  const Spot first = spot(*picks[0].value, picks[0].lane);
  bool one_piece = first.width > 1;
  bool whole = first.width == lanes;
  std::string order;
  for (std::size_t i = 0; i < picks.size() && one_piece; ++i) {
    const Spot at = spot(*picks[i].value, picks[i].lane);
    one_piece = picks[i].value == picks[0].value && at.piece == first.piece;
    whole &= at.lane == static_cast<int>(i);
    order += lane_names[static_cast<std::size_t>(at.lane)];
  }
  const std::string& text = picks[0].value->pieces[first.piece];
  if (one_piece) return whole ? text : fmt::format("{}.s{}", text, order);
  std::vector<std::string> parts;
  parts.reserve(picks.size());
  for (const Pick& pick : picks) parts.push_back(component(pick, false));
  return fmt::format("({})({})", type_name(dtype, lanes), fmt::join(parts, ", "));
}

std::string float_literal(double value, DType dtype) {
  const bool wide = dtype == DType::float64;
  if (std::isnan(value)) return wide ? "as_double(0x7ff8000000000000ul)" : "as_float(0x7fc00000u)";
  if (std::isinf(value)) {
    const std::string_view infinity = wide ? "(double)INFINITY" : "INFINITY";
    return value < 0 ? fmt::format("(-{})", infinity) : std::string(infinity);
  }
  std::string text = wide ? fmt::format("{}", value) : fmt::format("{}", static_cast<float>(value));
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  if (!wide) text += 'f';
  return text[0] == '-' ? fmt::format("({})", text) : text;
}

std::string integer_literal(std::int64_t value, DType dtype) {
  switch (dtype) {
    case DType::boolean: return value != 0 ? "true" : "false";
    case DType::uint64: return fmt::format("{}ul", static_cast<std::uint64_t>(value));
    case DType::uint32: return fmt::format("{}u", static_cast<std::uint32_t>(value));
    case DType::int64:
      if (value == std::numeric_limits<std::int64_t>::min()) return "(-9223372036854775807L - 1L)";
      return value < 0 ? fmt::format("({}L)", value) : fmt::format("{}L", value);
    case DType::int32:
      if (value == std::numeric_limits<std::int32_t>::min()) return "(-2147483647 - 1)";
      return value < 0 ? fmt::format("({})", value) : fmt::format("{}", value);
    default: return fmt::format("({})({})", scalar_name(dtype), value);
  }
}

}  // namespace

std::vector<int> piece_lanes(int lanes) {
  std::vector<int> widths;
  for (int width = 16; lanes > 0; width /= 2) {
    for (; lanes >= width; lanes -= width) widths.push_back(width);
  }
  return widths;
}

std::string type_name(DType dtype, int lanes) {
  return with_lanes(is_bool(dtype) && lanes > 1 ? "char" : scalar_name(dtype), lanes);
}

std::string memory_type_name(DType dtype, int lanes) {
  return with_lanes(is_bool(dtype) ? "uchar" : scalar_name(dtype), lanes);
}

std::string integer_name(DType dtype, bool is_signed, int lanes) {
  switch (byte_size(dtype)) {
    case 1: return with_lanes(is_signed ? "char" : "uchar", lanes);
    case 2: return with_lanes(is_signed ? "short" : "ushort", lanes);
    case 4: return with_lanes(is_signed ? "int" : "uint", lanes);
    default: return with_lanes(is_signed ? "long" : "ulong", lanes);
  }
}

std::string literal(const Node& constant) {
  const DType dtype = constant.dtype();
  if (!is_float(dtype)) return integer_literal(constant.int_value(), dtype);
  const auto value = static_cast<float>(constant.float_value());
  switch (dtype) {
    case DType::float16: return fmt::format("(ushort)({:#06x})", float_to_half(value));
    case DType::bfloat16: return fmt::format("(ushort)({:#06x})", float_to_bfloat16(value));
    case DType::float8_e4m3: return fmt::format("(uchar)({:#04x})", float_to_e4m3(value));
    case DType::float8_e5m2: return fmt::format("(uchar)({:#04x})", float_to_e5m2(value));
    default: return float_literal(constant.float_value(), dtype);
  }
}

Value gather(DType dtype, const std::vector<Pick>& picks) {
  Value result{dtype, static_cast<int>(picks.size()), {}};
  std::size_t at = 0;
  for (const int width : piece_lanes(result.lanes)) {
    const std::vector<Pick> part(picks.begin() + static_cast<std::ptrdiff_t>(at),
                                 picks.begin() + static_cast<std::ptrdiff_t>(at) + width);
    result.pieces.push_back(width == 1 ? component(part[0], true) : vector_of(dtype, part));
    at += static_cast<std::size_t>(width);
  }
  return result;
}

Value slice(const Value& value, int start, int count) {
  std::vector<Pick> picks;
  for (int i = 0; i < count; ++i) picks.push_back({&value, start + i});
  return gather(value.dtype, picks);
}

std::string operand(const Value& value, std::size_t piece, int lanes) {
  if (value.lanes > 1) return value.pieces[piece];
  if (lanes == 1) return value.pieces[0];
  if (is_bool(value.dtype)) {
    return fmt::format("({})({} ? -1 : 0)", type_name(value.dtype, lanes), value.pieces[0]);
  }
  return fmt::format("({})({})", type_name(value.dtype, lanes), bare(value.pieces[0]));
}

std::string bare(const std::string& text) {
  if (text.empty() || text.front() != '(' || text.back() != ')') return text;
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(') ++depth;
    if (text[i] == ')' && --depth == 0 && i + 1 < text.size()) return text;
  }
  return text.substr(1, text.size() - 2);
}

}  // namespace brisk::opencl_c
