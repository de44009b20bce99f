// Values for a model's inputs, from files, numbers or at random.
#pragma once

#include "cli/onnx.h"
#include "onnx/session.h"

namespace brisk {

/// One value for each input that the options name, and for all others where they ask for random
/// ones. UserError for a name or file that does not fit.
onnx::NamedValues read_inputs(const onnx::Session& session, const OnnxInputs& options);
/// The same with random values for what is not named.
onnx::NamedValues some_inputs(const onnx::Session& session, OnnxInputs options);

/// Gives the session the bounds of the options.
void set_bounds(onnx::Session& session, const OnnxInputs& options);

}  // namespace brisk
