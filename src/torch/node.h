// Shared by our nodes of the autograd graph.

#pragma once
#include <torch/csrc/autograd/functions/utils.h>

// The gradient of the output; an undefined one becomes zeros. The node must process zeros too: its work may be part of
// a collective.
inline at::Tensor defined_gradient(const torch::autograd::Node &node, torch::autograd::variable_list &grads) {
  return grads[0].defined() ? std::move(grads[0]) : node.input_metadata(0).zeros_like();
}
