#include "cli/onnx_inputs.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "brisk/functional.h"
#include "formats/image.h"
#include "formats/npy.h"
#include "formats/quote.h"
#include "formats/safetensors.h"
#include "formats/wav.h"

namespace brisk {

namespace {

using onnx::ElementType;
using onnx::HostTensor;
using onnx::Port;
using onnx::Value;

std::pair<std::string, std::string> split_at_equals(const std::string& text) {
  const auto at = text.find('=');
  if (at == std::string::npos) return {"", text};
  return {text.substr(0, at), text.substr(at + 1)};
}

bool ends_with(std::string text, std::string_view ending) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return static_cast<char>(std::tolower(c)); });
  return text.ends_with(ending);
}

std::optional<std::vector<double>> numbers_in(const std::string& text) {
  std::vector<double> numbers;
  for (const char* at = text.data(); at < text.data() + text.size(); ++at) {
    double value = 0;
    const auto [end, error] = std::from_chars(at, text.data() + text.size(), value);
    if (error != std::errc() || (end != text.data() + text.size() && *end != ','))
      return std::nullopt;
    numbers.push_back(value);
    at = end;
  }
  return numbers.empty() ? std::nullopt : std::optional(numbers);
}

const Port& port_named(const onnx::Session& session, const std::string& name) {
  for (const Port& port : session.model().graph.inputs) {
    if (port.name == name) return port;
  }
  std::string names;
  for (const Port& port : session.inputs()) names += (names.empty() ? "" : ", ") + quote(port.name);
  user_error("there is no input {}; the model's inputs: {}", quote(name), names);
}

Value of_tensor(const Tensor& tensor, const Port& port) {
  const DType dtype = onnx::stored_dtype(port.type.element);
  if (dtype == DType::none) user_error("input {} wants {}", quote(port.name), to_string(port.type));
  return {tensor.cast(dtype), port.type.element};
}

// One number for all elements of the input's shape, or as many as it has.
Value of_numbers(const std::vector<double>& numbers, const Port& port,
                 const std::vector<std::int64_t>& shape_of_one) {
  const Tensor each = from_host(std::span<const double>(numbers), {numbers.size()});
  if (numbers.size() == 1) return of_tensor(each.reshape(Dims()).broadcast_to(shape_of_one), port);
  std::vector<std::int64_t> shape;
  std::int64_t count = 1;
  for (const auto& size : port.type.shape) {
    shape.push_back(size.value >= 0 ? size.value
                    : count == 1    ? static_cast<std::int64_t>(numbers.size())
                                    : 1);
    count *= shape.back();
  }
  if (count != static_cast<std::int64_t>(numbers.size()))
    user_error("input {} wants {}, got {} numbers", quote(port.name), to_string(port.type),
               numbers.size());
  return of_tensor(each.reshape(shape), port);
}

Value of_npy(const NpyArray& array) {
  return onnx::host_tensor(onnx::element_of(array.dtype), array.shape, array.bytes);
}

// ---- pictures -----------------------------------------------------------------------------------

Tensor fitted(const Tensor& x, std::int64_t height, std::int64_t width, const std::string& fit) {
  const std::int64_t have_h = x.size(2).value(), have_w = x.size(3).value();
  const auto sized = [&](std::int64_t h, std::int64_t w) {
    return h == have_h && w == have_w ? x : interpolate(x, {h, w}, Interpolation::bilinear);
  };
  if (fit == "stretch") return sized(height, width);
  const double tall = static_cast<double>(height) / static_cast<double>(have_h);
  const double wide = static_cast<double>(width) / static_cast<double>(have_w);
  const double scale = fit == "crop" ? std::max(tall, wide) : std::min(tall, wide);
  const auto of_scale = [&](std::int64_t size) {
    return std::max<std::int64_t>(std::llround(static_cast<double>(size) * scale), 1);
  };
  const std::int64_t h = of_scale(have_h), w = of_scale(have_w);
  const std::int64_t more_h = height - h, more_w = width - w;  // negative: what is cut
  return pad(sized(h, w), {more_w / 2, more_w - more_w / 2, more_h / 2, more_h - more_h / 2},
             PadMode::constant, 114);
}

Tensor in_colours(const Tensor& x, const std::string& colours) {  // [1, 3, height, width]
  if (colours == "rgb") return x;
  if (colours == "bgr") return x.flip(1);
  const Tensor weights = tensor({0.299F, 0.587F, 0.114F}).reshape({1, 3, 1, 1});
  return sum(x * weights, 1, true);
}

Tensor by_channel(const std::vector<double>& values, std::int64_t channels) {
  std::vector<float> floats(values.begin(), values.end());
  if (floats.size() == 1) floats.resize(static_cast<std::size_t>(channels), floats[0]);
  if (static_cast<std::int64_t>(floats.size()) != channels)
    user_error("--mean and --std want 1 or {} numbers, got {}", channels, floats.size());
  return tensor(floats).reshape({1, channels, 1, 1});
}

Value of_image(const std::string& path, const Port& port, const OnnxInputs& options) {
  const Image image = read_image(path);
  Tensor x = from_host(std::span<const std::uint8_t>(image.pixels), {image.height, image.width, 3})
                 .permute({2, 0, 1})
                 .unsqueeze(0)
                 .cast(DType::float32);
  const auto& shape = port.type.shape;
  if (shape.size() < 2 || shape.size() > 4)
    user_error("input {} wants {}, which is no picture", quote(port.name), to_string(port.type));
  const auto size = [&](std::size_t from_end) { return shape[shape.size() - from_end].value; };
  // Channels stand last where their place has 1 or 3 and the usual one has not.
  const bool last =
      shape.size() > 2 && (size(1) == 3 || size(1) == 1) && size(3) != 3 && size(3) != 1;
  const std::int64_t channels = shape.size() < 3 ? 1 : last ? size(1) : size(3);
  const std::int64_t height = size(last ? 3 : 2), width = size(last ? 2 : 1);
  x = fitted(x, height > 0 ? height : image.height, width > 0 ? width : image.width, options.fit);
  x = in_colours(x, channels == 1 && options.colours != "y" ? "gray" : options.colours);
  const std::int64_t made = x.size(1).value();
  if (is_float(onnx::stored_dtype(port.type.element))) {
    x = x * options.scale;
    if (!options.mean.empty()) x = x - by_channel(options.mean, made);
    if (!options.std.empty()) x = x / by_channel(options.std, made);
  } else {
    x = round(x);
  }
  if (last) x = x.permute({0, 2, 3, 1});
  while (x.rank() > static_cast<int>(shape.size())) x = x.squeeze(0);
  return of_tensor(x, port);
}

// ---- sound --------------------------------------------------------------------------------------

Value of_sound(const std::string& path, const Port& port) {
  const Sound sound = read_wav(path);
  const auto frames = static_cast<std::int64_t>(sound.samples.size()) / sound.channels;
  Tensor x =
      from_host(std::span<const float>(sound.samples), {frames, sound.channels}).transpose(0, 1);
  const std::size_t rank = port.type.has_shape ? port.type.shape.size() : 2;
  if (rank < 3) x = mean(x, 0, true);  // one channel
  if (rank == 1) x = x.squeeze(0);
  for (std::size_t i = 2; i < rank; ++i) x = x.unsqueeze(0);
  if (rank == 0 || rank > 4)
    user_error("input {} wants {}, which is no sound", quote(port.name), to_string(port.type));
  return of_tensor(x, port);
}

// ---- at random ----------------------------------------------------------------------------------

// A number that is not negative.
std::optional<std::int64_t> number_in(const std::string& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || *end != '\0' || number < 0) return std::nullopt;
  return number;
}

std::map<std::string, std::int64_t> sizes_of(const OnnxInputs& options) {
  std::map<std::string, std::int64_t> sizes;
  for (const std::string& text : options.sizes) {
    const auto [name, number] = split_at_equals(text);
    const auto size = number_in(number);
    if (name.empty() || !size) user_error("--dim wants NAME=SIZE, got {}", quote(text));
    sizes[name] = *size;
  }
  return sizes;
}

Value random_value(const Port& port, const std::vector<std::int64_t>& shape) {
  if (port.type.kind != onnx::Type::Kind::tensor)
    user_error("input {} wants {}; there are no random ones", quote(port.name),
               to_string(port.type));
  onnx::element_count(shape, "input " + quote(port.name));
  const DType dtype = onnx::stored_dtype(port.type.element);
  if (is_float(dtype)) return of_tensor(rand(shape).realize(), port);
  return of_tensor(randint(0, 2, shape), port);
}

void read_one(const onnx::Session& session, const std::string& text, const OnnxInputs& options,
              onnx::NamedValues& values) {
  const auto [name, source] = split_at_equals(text);
  if (name.empty() && ends_with(source, ".npz")) {
    for (const auto& [key, array] : read_npz(source)) {
      const auto& ports = session.model().graph.inputs;
      if (std::any_of(ports.begin(), ports.end(),
                      [&](const Port& port) { return port.name == key; }))
        values[key] = of_npy(array);
    }
    return;
  }
  if (name.empty() && ends_with(source, ".safetensors")) {
    const Safetensors file = Safetensors::open(source);
    for (const Port& port : session.inputs()) {
      const SafeTensor* found = file.find(port.name);
      if (found != nullptr)
        values[port.name] = onnx::host_tensor(onnx::element_of(found->dtype), found->shape,
                                              {found->bytes.begin(), found->bytes.end()});
    }
    return;
  }
  // A lone file is for the only input.
  if (name.empty() && session.inputs().size() != 1)
    user_error("--input wants NAME=FILE where a model has {} inputs, got {}",
               session.inputs().size(), quote(text));
  const Port& port = name.empty() ? session.inputs()[0] : port_named(session, name);
  if (ends_with(source, ".npy")) {
    values[port.name] = of_npy(read_npy(source));
  } else if (ends_with(source, ".npz")) {
    const auto arrays = read_npz(source);
    const auto found = arrays.size() == 1 ? arrays.begin() : arrays.find(port.name);
    if (found == arrays.end()) user_error("{}: there is no array {}", source, quote(port.name));
    values[port.name] = of_npy(found->second);
  } else if (ends_with(source, ".safetensors")) {
    const Safetensors file = Safetensors::open(source);
    const SafeTensor& found =
        file.tensors().size() == 1 ? file.tensors()[0] : file.tensor(port.name);
    values[port.name] = onnx::host_tensor(onnx::element_of(found.dtype), found.shape,
                                          {found.bytes.begin(), found.bytes.end()});
  } else if (ends_with(source, ".pb")) {
    values[port.name] = onnx::value_of(onnx::read_value(source, port.type));
  } else if (ends_with(source, ".png") || ends_with(source, ".jpg") || ends_with(source, ".jpeg")) {
    values[port.name] = of_image(source, port, options);
  } else if (ends_with(source, ".wav")) {
    values[port.name] = of_sound(source, port);
  } else if (const auto numbers = numbers_in(source)) {
    values[port.name] =
        of_numbers(*numbers, port, session.open_sizes().shape_for(port, values, sizes_of(options)));
  } else {
    user_error(
        "input {}: {} is no number and no file of a known kind (.npy, .npz, .pb, "
        ".safetensors, .png, .jpg, .wav)",
        quote(port.name), quote(source));
  }
}

}  // namespace

void OnnxInputs::add_to(CLI::App& command) {
  const char* group = "ONNX models";
  command
      .add_option("--input", inputs,
                  "NAME=FILE (.npy, .npz, .pb, .safetensors, .png, .jpg, .wav) or NAME=NUMBER,…; "
                  "again for each input")
      ->group(group);
  command.add_flag("--random", random, "random values for inputs that are not given")->group(group);
  command.add_option("--dim", sizes, "NAME=SIZE of a size that the model leaves open (default: 1)")
      ->group(group);
  command
      .add_option("--bound", bounds,
                  "NAME=LEAST..GREATEST of a size that the model leaves open: one plan serves all")
      ->group(group);
  command.add_option("--fit", fit, "how a picture comes to the input's size")
      ->check(CLI::IsMember({"stretch", "letterbox", "crop"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--colours", colours, "a picture's channels")
      ->check(CLI::IsMember({"rgb", "bgr", "gray", "y"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--scale", scale, "what pixels of 0 to 255 are multiplied with")->group(group);
  command.add_option("--mean", mean, "then subtracted, by channel: 0.485,0.456,0.406")
      ->delimiter(',')
      ->group(group);
  command.add_option("--std", std, "then divided by, by channel")->delimiter(',')->group(group);
}

onnx::NamedValues read_inputs(const onnx::Session& session, const OnnxInputs& options) {
  onnx::NamedValues values;
  const auto sizes = sizes_of(options);
  for (const std::string& text : options.inputs) read_one(session, text, options, values);
  if (!options.random) return values;
  for (const Port& port : session.inputs()) {
    if (!values.contains(port.name) && port.type.kind != onnx::Type::Kind::optional)
      values[port.name] = random_value(port, session.open_sizes().shape_for(port, values, sizes));
  }
  return values;
}

void set_bounds(onnx::Session& session, const OnnxInputs& options) {
  for (const std::string& text : options.bounds) {
    const auto [name, range] = split_at_equals(text);
    const auto dots = range.find("..");
    const auto least = number_in(range.substr(0, dots));
    const auto greatest = number_in(dots == std::string::npos ? "" : range.substr(dots + 2));
    if (name.empty() || !least || !greatest)
      user_error("--bound wants NAME=LEAST..GREATEST, got {}", quote(text));
    session.bound(name, *least, *greatest);
  }
}

onnx::NamedValues some_inputs(const onnx::Session& session, OnnxInputs options) {
  options.random = true;
  return read_inputs(session, options);
}

}  // namespace brisk
