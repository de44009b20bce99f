// Functions of neural networks: activations, convolutions, pooling, resizing, norms, losses,
// attention. Layouts are PyTorch's: [batch, channels, spatial…], weights [out, in / groups,
// kernel…]. Narrow floats are computed in float32 and rounded once.
#pragma once

#include "brisk/create.h"
#include "brisk/tensor.h"

namespace brisk {

// ---- activations --------------------------------------------------------------------------------

enum class Gelu { erf, tanh };
Tensor gelu(const Tensor& x, Gelu form = Gelu::erf);  // Hendrycks, Gimpel, arXiv:1606.08415
Tensor silu(const Tensor& x);
Tensor softplus(const Tensor& x, double beta = 1, double threshold = 20);
Tensor elu(const Tensor& x, double alpha = 1);
Tensor selu(const Tensor& x);  // arXiv:1706.02515
Tensor celu(const Tensor& x, double alpha = 1);
Tensor leaky_relu(const Tensor& x, double slope = 0.01);
Tensor prelu(const Tensor& x, const Tensor& slope);  // one slope, or one a channel (axis 1)
Tensor relu6(const Tensor& x);
Tensor hardtanh(const Tensor& x, double least = -1, double greatest = 1);
Tensor hardsigmoid(const Tensor& x);
Tensor hardswish(const Tensor& x);  // arXiv:1905.02244
Tensor mish(const Tensor& x);       // arXiv:1908.08681
Tensor softsign(const Tensor& x);
Tensor logsigmoid(const Tensor& x);
Tensor glu(const Tensor& x, int axis = -1);

// ---- linear maps and convolutions ---------------------------------------------------------------

/// x weightᵀ + bias; weight [out, in].
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

struct ConvOptions {
  Spatial stride = 1;
  Spatial padding = 0;
  Spatial dilation = 1;
  std::int64_t groups = 1;
  Spatial output_padding = 0;  // conv_transpose only: below stride or dilation
};
/// With or without a batch axis. Transposed weights are [in, out / groups, kernel…].
Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const ConvOptions& options = {});
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const ConvOptions& options = {});
Tensor conv3d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const ConvOptions& options = {});
Tensor conv_transpose1d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvOptions& options = {});
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvOptions& options = {});
Tensor conv_transpose3d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                        const ConvOptions& options = {});

// ---- pooling over the last 1, 2 or 3 axes -------------------------------------------------------

struct PoolOptions {
  std::optional<Spatial> stride;  // default: the kernel
  Spatial padding = 0;            // at most half the kernel
  Spatial dilation = 1;           // max_pool only
  bool ceil_mode = false;
  bool count_include_pad = true;                 // avg_pool only
  std::optional<std::int64_t> divisor_override;  // avg_pool only
};
Tensor max_pool1d(const Tensor& x, const Spatial& kernel, const PoolOptions& options = {});
Tensor max_pool2d(const Tensor& x, const Spatial& kernel, const PoolOptions& options = {});
Tensor max_pool3d(const Tensor& x, const Spatial& kernel, const PoolOptions& options = {});
Tensor avg_pool1d(const Tensor& x, const Spatial& kernel, const PoolOptions& options = {});
Tensor avg_pool2d(const Tensor& x, const Spatial& kernel, const PoolOptions& options = {});
Tensor avg_pool3d(const Tensor& x, const Spatial& kernel, const PoolOptions& options = {});
/// (sum of x^p over the window)^(1/p).
Tensor lp_pool1d(const Tensor& x, double p, const Spatial& kernel, const PoolOptions& options = {});
Tensor lp_pool2d(const Tensor& x, double p, const Spatial& kernel, const PoolOptions& options = {});
/// Window i of n covers floor(i·in/n) … ceil((i+1)·in/n) - 1. A size of -1 stays as it is.
Tensor adaptive_avg_pool1d(const Tensor& x, const Spatial& size);
Tensor adaptive_avg_pool2d(const Tensor& x, const Spatial& size);
Tensor adaptive_avg_pool3d(const Tensor& x, const Spatial& size);
Tensor adaptive_max_pool1d(const Tensor& x, const Spatial& size);
Tensor adaptive_max_pool2d(const Tensor& x, const Spatial& size);

// ---- resizing of [batch, channels, spatial…] ----------------------------------------------------

enum class Interpolation { nearest, linear, bilinear, bicubic, trilinear, area };
/// To `size`; bicubic with a = -0.75.
Tensor interpolate(const Tensor& x, const Spatial& size,
                   Interpolation mode = Interpolation::nearest, bool align_corners = false);
/// By `scale`, one for every axis or one each; positions are computed from the scale itself.
Tensor interpolate_by(const Tensor& x, const std::vector<double>& scale,
                      Interpolation mode = Interpolation::nearest, bool align_corners = false);

// ---- norms --------------------------------------------------------------------------------------

/// Over the last axes, as many as `weight` has (`shape` has, where no weight is given).
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
                  double eps = 1e-5);
Tensor layer_norm(const Tensor& x, const Dims& shape, double eps = 1e-5);
Tensor rms_norm(const Tensor& x, const Tensor& weight = {},
                double eps = 1e-6);  // last axis, or weight's
/// x [batch, channels, …].
Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight = {},
                  const Tensor& bias = {}, double eps = 1e-5);
Tensor instance_norm(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {},
                     double eps = 1e-5);
/// With given mean and variance of each channel.
Tensor batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance,
                  const Tensor& weight = {}, const Tensor& bias = {}, double eps = 1e-5);
struct BatchNorm {
  Tensor output;
  Tensor mean;
  Tensor variance;  // without correction; running averages use count / (count - 1) of it
};
/// With the batch's own mean and variance.
BatchNorm batch_norm_train(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {},
                           double eps = 1e-5);
/// x / max(‖x‖p, eps) along an axis.
Tensor normalize(const Tensor& x, double p = 2, int axis = 1, double eps = 1e-12);

// ---- losses -------------------------------------------------------------------------------------

enum class Reduction { none, mean, sum };
struct ClassOptions {
  Tensor weight;  // one a class
  std::int64_t ignore_index = -100;
  double label_smoothing = 0;  // cross_entropy only
  Reduction reduction = Reduction::mean;
};
/// Scores [batch, classes, …], target class numbers [batch, …] or probabilities of the scores'
/// shape; scores [classes] with a single target too.
Tensor cross_entropy(const Tensor& scores, const Tensor& target, const ClassOptions& options = {});
Tensor nll_loss(const Tensor& log_probabilities, const Tensor& target,
                const ClassOptions& options = {});
Tensor binary_cross_entropy(const Tensor& probability, const Tensor& target,
                            Reduction reduction = Reduction::mean);
Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& target,
                                        const Tensor& weight = {}, const Tensor& pos_weight = {},
                                        Reduction reduction = Reduction::mean);
Tensor mse_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::mean);
Tensor l1_loss(const Tensor& x, const Tensor& target, Reduction reduction = Reduction::mean);
Tensor smooth_l1_loss(const Tensor& x, const Tensor& target, double beta = 1,
                      Reduction reduction = Reduction::mean);
Tensor huber_loss(const Tensor& x, const Tensor& target, double delta = 1,
                  Reduction reduction = Reduction::mean);
/// target·(log target - x); x and, where `log_target`, the target are logarithms. Mean: over all
/// elements.
Tensor kl_div(const Tensor& x, const Tensor& target, bool log_target = false,
              Reduction reduction = Reduction::mean);

// ---- attention ----------------------------------------------------------------------------------

struct AttentionOptions {
  Tensor mask;  // broadcast to [..., queries, keys]: bool (false: not seen) or added to the scores
  bool causal = false;          // query i sees keys 0 … i (+ keys - queries where `causal_end`)
  bool causal_end = false;      // the last query sees every key: queries that continue a cache
  std::optional<double> scale;  // default: 1 / sqrt(width)
  double softcap = 0;           // scores become softcap·tanh(score / softcap); 0: not
};
/// softmax(query keyᵀ·scale + mask) value; query [..., heads, queries, width], key and value
/// [..., key heads, keys, width], where key heads divide heads (grouped heads).
Tensor scaled_dot_product_attention(const Tensor& query, const Tensor& key, const Tensor& value,
                                    const AttentionOptions& options = {});

}  // namespace brisk
