// What our nodes of the autograd graph have in common.

#pragma once
#include <torch/csrc/autograd/functions/utils.h>

// An undefined gradient is zero. The node must work on it all the same: it may be part of a collective.
inline at::Tensor defined_gradient(const torch::autograd::Node &node, torch::autograd::variable_list &grads) {
  return grads[0].defined() ? std::move(grads[0]) : node.input_metadata(0).zeros_like();
}
