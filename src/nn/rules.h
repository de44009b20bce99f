// What optimizers compute for one parameter. Input: a rule, the parameter, its gradient and what
// the rule keeps of it; output: their next values, as lazy tensors.
#pragma once

#include <string>
#include <vector>

#include "brisk/optim.h"

namespace brisk::nn {

/// A tensor that a rule keeps of a parameter, zero at first.
struct KeptShape {
  std::string name;
  Dims shape;
};
std::vector<KeptShape> kept_shapes(const Rule& rule, const Dims& parameter);

struct Given {
  Tensor parameter;
  Tensor grad;
  std::vector<Tensor> kept;  // in the order of kept_shapes
  Tensor lr;                 // float32
  Tensor count;              // of steps, this one included: 1, 2, …
};
struct Update {
  Tensor parameter;
  std::vector<Tensor> kept;
};
Update updated(const Rule& rule, const Given& given);

}  // namespace brisk::nn
