// Modules: plain structs of tensors and other modules. A module lists its fields once, in visit(),
// which gives them their names; from that come parameters, state dicts and train/eval. Names,
// shapes, defaults and initial values are PyTorch's.
//
//   struct Net {
//     nn::Conv2d conv{1, 32, 3};
//     nn::Linear fc{32 * 13 * 13, 10};
//     void visit(nn::Fields& fields) {
//       fields("conv", conv);
//       fields("fc", fc);
//     }
//     Tensor operator()(const Tensor& x) const {
//       return fc(max_pool2d(relu(conv(x)), 2).flatten(1));
//     }
//   };
//   Net net;
//   nn::Optimizer optimizer(nn::parameters(net), nn::AdamW{.lr = 1e-3});
//   nn::save(net, "net.safetensors");
//
// A tensor is a handle, so copies of a module share their parameters, and one tensor in two modules
// is one parameter. Initial values come from default_generator(): manual_seed() repeats them.
// Activations and pooling are functions (brisk/functional.h).
#pragma once

#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "brisk/create.h"
#include "brisk/functional.h"
#include "brisk/precision.h"
#include "brisk/tensor.h"

namespace brisk::nn {

// ---- fields -------------------------------------------------------------------------------------

class Fields;

template <typename M>
concept Module = requires(M& module, Fields& fields) {
  module.visit(fields);
};

/// What a module's visit() is given: the list that its fields go to.
class Fields {
 public:
  struct Field {
    std::string name;  // dotted: "blocks.0.attention.weight"
    Tensor* tensor;
    bool is_parameter;  // else a buffer: saved, but no optimizer moves it
  };

  /// A parameter; an undefined one (no bias) is not there.
  void operator()(std::string_view name, Tensor& parameter) { add(name, parameter, true); }
  void buffer(std::string_view name, Tensor& buffer) { add(name, buffer, false); }
  /// Whether the module behaves as in training, which train() sets.
  void mode(bool& training) { modes_.push_back(&training); }

  template <Module M>
  void operator()(std::string_view name, M& module) {
    const std::size_t outside = prefix_.size();
    prefix_.append(name).append(".");
    module.visit(*this);
    prefix_.resize(outside);
  }
  template <Module M>
  void operator()(std::string_view name, std::vector<M>& modules) {
    for (std::size_t i = 0; i < modules.size(); ++i) {
      (*this)(std::string(name) + "." + std::to_string(i), modules[i]);
    }
  }
  template <Module M>
  void operator()(std::string_view name, std::optional<M>& module) {
    if (module) (*this)(name, *module);
  }
  template <Module M>
  void operator()(std::string_view name, std::unique_ptr<M>& module) {
    if (module) (*this)(name, *module);
  }

  const std::vector<Field>& list() const& { return list_; }
  std::vector<Field> list() && { return std::move(list_); }
  const std::vector<bool*>& modes() const { return modes_; }

 private:
  void add(std::string_view name, Tensor& tensor, bool is_parameter) {
    if (tensor.defined()) list_.push_back({prefix_ + std::string(name), &tensor, is_parameter});
  }

  std::string prefix_;
  std::vector<Field> list_;
  std::vector<bool*> modes_;
};

template <Module M>
Fields fields_of(M& module) {
  Fields fields;
  module.visit(fields);
  return fields;
}

/// In the order of the fields; a tensor that is in two places comes once.
std::vector<Tensor> parameters(const Fields& fields);
std::vector<std::pair<std::string, Tensor>> named_parameters(const Fields& fields);
template <Module M>
std::vector<Tensor> parameters(M& module) {
  return parameters(fields_of(module));
}
template <Module M>
std::vector<std::pair<std::string, Tensor>> named_parameters(M& module) {
  return named_parameters(fields_of(module));
}

/// Sets how BatchNorm, Dropout, … behave. New modules are in training.
template <Module M>
void train(M& module, bool training = true) {
  const Fields fields = fields_of(module);
  for (bool* mode : fields.modes()) *mode = training;
}
template <Module M>
void eval(M& module) {
  train(module, false);
}

// ---- saving and loading -------------------------------------------------------------------------

/// Tensors by name: a state dict.
using State = std::map<std::string, Tensor>;

State state(const Fields& fields);
template <Module M>
State state(M& module) {
  return state(fields_of(module));
}

struct Difference {
  std::vector<std::string> missing;  // in the state, of the module's tensors
  std::vector<std::string> unknown;  // to the module
};
/// Copies values into the tensors of the same names, converted to their dtypes. UserError where a
/// shape differs and, if `strict`, where a name is on one side only; PyTorch's
/// num_batches_tracked, which nothing here reads, is passed over.
Difference load_state(const Fields& fields, const State& state, bool strict = true);
template <Module M>
Difference load_state(M& module, const State& state, bool strict = true) {
  return load_state(fields_of(module), state, strict);
}
/// The same between states.
Difference copy_state(const State& from, const State& to, bool strict = true);

/// Safetensors.
void save_state(const State& state, const std::filesystem::path& path);
/// Safetensors (a file or a folder of shards), or PyTorch's .pt and .bin: zip files of a pickle,
/// of which only tensors in dicts are read and nothing is executed. Names of dicts within dicts are
/// joined by dots. Nested under one name ("model.", …), `under` picks these and cuts it off.
State read_state(const std::filesystem::path& path, std::string_view under = {});
template <Module M>
void save(M& module, const std::filesystem::path& path) {
  save_state(state(module), path);
}
template <Module M>
Difference load(M& module, const std::filesystem::path& path, bool strict = true) {
  return load_state(module, read_state(path), strict);
}

// ---- initial values -----------------------------------------------------------------------------

// Values as PyTorch's torch.nn.init gives them. A weight's inputs are its axis 1 times the kernel,
// its outputs axis 0 times the kernel.

enum class Fan { in, out };
/// What variance a nonlinearity asks for: linear, conv and sigmoid 1, tanh 5/3, relu √2, selu 3/4,
/// leaky_relu √(2 / (1 + slope²)).
double gain(std::string_view nonlinearity, double slope = 0.01);
Tensor uniform(const Dims& shape, double bound, Generator& generator = default_generator());
Tensor normal(const Dims& shape, double mean = 0, double deviation = 1,
              Generator& generator = default_generator());
/// Normal values, none outside least … greatest.
Tensor trunc_normal(const Dims& shape, double mean = 0, double deviation = 1, double least = -2,
                    double greatest = 2, Generator& generator = default_generator());
Tensor xavier_uniform(const Dims& shape, double gain = 1,
                      Generator& generator = default_generator());
Tensor xavier_normal(const Dims& shape, double gain = 1,
                     Generator& generator = default_generator());
Tensor kaiming_uniform(const Dims& shape, Fan fan = Fan::in, double gain = std::sqrt(2.0),
                       Generator& generator = default_generator());
Tensor kaiming_normal(const Dims& shape, Fan fan = Fan::in, double gain = std::sqrt(2.0),
                      Generator& generator = default_generator());
/// Orthonormal rows, or columns where there are more rows; further axes count as columns.
Tensor orthogonal(const Dims& shape, double gain = 1, Generator& generator = default_generator());

/// A leaf with the value, computed: what a module's parameters are made of.
Tensor parameter(const Tensor& value);
/// Gives a parameter other values, while its memory stays.
void set(Tensor parameter, const Tensor& value);

// ---- layers -------------------------------------------------------------------------------------

struct Linear {
  Linear(std::int64_t in, std::int64_t out, bool with_bias = true);
  Tensor operator()(const Tensor& x) const {
    return scaled ? scaled_linear(x, weight, bias, *scaled) : linear(x, weight, bias);
  }
  void visit(Fields& fields);

  Tensor weight;  // [out, in]
  Tensor bias;
  std::optional<ScaledOptions> scaled;  // its products in 8 bits
};

/// Rows of a table. The row `padding` starts as zeros and gets no gradient.
struct Embedding {
  Embedding(std::int64_t count, std::int64_t width, std::optional<std::int64_t> padding = {});
  Tensor operator()(const Tensor& index) const;
  void visit(Fields& fields);

  Tensor weight;  // [count, width]
  std::optional<std::int64_t> padding;
};

/// Convolution over the last `axes` axes.
template <int axes>
struct Conv {
  Conv(std::int64_t in, std::int64_t out, const Spatial& kernel, const ConvOptions& options = {},
       bool with_bias = true);
  Tensor operator()(const Tensor& x) const;
  void visit(Fields& fields);

  Tensor weight;  // [out, in / groups, kernel…]
  Tensor bias;
  ConvOptions options;
};
using Conv1d = Conv<1>;
using Conv2d = Conv<2>;
using Conv3d = Conv<3>;

template <int axes>
struct ConvTranspose {
  ConvTranspose(std::int64_t in, std::int64_t out, const Spatial& kernel,
                const ConvOptions& options = {}, bool with_bias = true);
  Tensor operator()(const Tensor& x) const;
  void visit(Fields& fields);

  Tensor weight;  // [in, out / groups, kernel…]
  Tensor bias;
  ConvOptions options;
};
using ConvTranspose1d = ConvTranspose<1>;
using ConvTranspose2d = ConvTranspose<2>;
using ConvTranspose3d = ConvTranspose<3>;

struct BatchNormOptions {
  double eps = 1e-5;
  double momentum = 0.1;  // share of the new batch in the running statistics
  bool affine = true;
};
/// [batch, channels, …]. In training by the batch's own statistics, which go into the running ones;
/// else by these.
struct BatchNorm {
  explicit BatchNorm(std::int64_t channels, const BatchNormOptions& options = {});
  Tensor operator()(const Tensor& x) const;
  void visit(Fields& fields);

  Tensor weight;
  Tensor bias;
  Tensor running_mean;
  Tensor running_var;
  BatchNormOptions options;
  bool training = true;
};
using BatchNorm1d = BatchNorm;
using BatchNorm2d = BatchNorm;
using BatchNorm3d = BatchNorm;

struct LayerNorm {
  explicit LayerNorm(const Dims& shape, double eps = 1e-5, bool with_bias = true);
  Tensor operator()(const Tensor& x) const { return layer_norm(x, weight, bias, eps); }
  void visit(Fields& fields);

  Tensor weight;
  Tensor bias;
  double eps;
};

struct RMSNorm {
  explicit RMSNorm(const Dims& shape, double eps = 1e-6);
  Tensor operator()(const Tensor& x) const { return rms_norm(x, weight, eps); }
  void visit(Fields& fields);

  Tensor weight;
  double eps;
};

struct GroupNorm {
  GroupNorm(std::int64_t groups, std::int64_t channels, double eps = 1e-5, bool affine = true);
  Tensor operator()(const Tensor& x) const { return group_norm(x, groups, weight, bias, eps); }
  void visit(Fields& fields);

  Tensor weight;
  Tensor bias;
  std::int64_t groups;
  double eps;
};

struct InstanceNorm {
  explicit InstanceNorm(std::int64_t channels, double eps = 1e-5, bool affine = false);
  Tensor operator()(const Tensor& x) const { return instance_norm(x, weight, bias, eps); }
  void visit(Fields& fields);

  Tensor weight;
  Tensor bias;
  double eps;
};

struct Dropout {
  explicit Dropout(double p = 0.5) : p(p) {}
  Tensor operator()(const Tensor& x) const { return training ? dropout(x, p) : x; }
  void visit(Fields& fields) { fields.mode(training); }

  double p;
  bool training = true;
};

/// [batch, length, width]: batch first.
struct MultiheadAttention {
  MultiheadAttention(std::int64_t width, std::int64_t heads, bool with_bias = true);
  Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                    const AttentionOptions& attention = {}) const;
  void visit(Fields& fields);

  Tensor in_proj_weight;  // [3 width, width]: query, key, value
  Tensor in_proj_bias;
  Linear out_proj;
  std::int64_t heads;
};

struct RecurrentOptions {
  int layers = 1;
  bool bias = true;
  double dropout = 0;  // between layers, in training
  bool bidirectional = false;
};
/// What LSTM and GRU share: [batch, length, in], batch first. Parameters weight_ih_l0, …,
/// with "_reverse" for the way back.
struct Recurrent {
  /// One layer and direction.
  struct Cell {
    Tensor weight_ih;  // [gates hidden, in]
    Tensor weight_hh;  // [gates hidden, hidden]
    Tensor bias_ih;
    Tensor bias_hh;
  };
  Recurrent(std::int64_t in, std::int64_t hidden, int gates, const RecurrentOptions& options);
  void visit(Fields& fields);

  std::vector<Cell> cells;  // by layer, then direction
  std::int64_t hidden;
  RecurrentOptions options;
  bool training = true;
};
/// States [layers · directions, batch, hidden]; undefined ones stand for zeros.
struct LSTM : Recurrent {
  struct Result {
    Tensor output;  // [batch, length, directions hidden]
    Tensor hidden;
    Tensor cell;
  };
  LSTM(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options = {});
  Result operator()(const Tensor& x, const Tensor& hidden = {}, const Tensor& cell = {}) const;
};
struct GRU : Recurrent {
  struct Result {
    Tensor output;
    Tensor hidden;
  };
  GRU(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options = {});
  Result operator()(const Tensor& x, const Tensor& hidden = {}) const;
};

/// One after the other: modules and functions of a tensor, named by their places, "0", "1", ….
template <typename... Parts>
struct Sequential {
  explicit Sequential(Parts... given) : parts(std::move(given)...) {}

  Tensor operator()(const Tensor& x) const {
    Tensor y = x;
    std::apply([&](const auto&... part) { ((y = part(y)), ...); }, parts);
    return y;
  }
  void visit(Fields& fields) {
    int place = 0;
    const auto list = [&](auto& part) {
      const std::string name = std::to_string(place++);
      if constexpr (Module<std::remove_reference_t<decltype(part)>>) fields(name, part);
    };
    std::apply([&](auto&... part) { (list(part), ...); }, parts);
  }

  std::tuple<Parts...> parts;
};

}  // namespace brisk::nn
