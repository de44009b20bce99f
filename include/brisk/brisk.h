// All of brisk: lazy tensors that are computed by kernels compiled for the machine at hand.
#pragma once

#include "brisk/autograd.h"
#include "brisk/create.h"
#include "brisk/dim.h"
#include "brisk/dtype.h"
#include "brisk/error.h"
#include "brisk/functional.h"
#include "brisk/functions.h"
#include "brisk/nn.h"
#include "brisk/onnx.h"
#include "brisk/optim.h"
#include "brisk/precision.h"
#include "brisk/step.h"
#include "brisk/tensor.h"
#include "brisk/train.h"
#include "brisk/version.h"
