// Gradients of many parameters in one call.

#include "guard.h"
#include "shim.h"

#include <ATen/ops/_foreach_add.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/utils/grad_layout_contract.h>

#include <vector>

extern "C" {

char *regun_set_grad(Tensor leaf, Tensor grad) {
  return guarded([&] {
    TORCH_CHECK(leaf->is_leaf() && leaf->requires_grad(), "only a leaf that requires grad has a gradient of its own");
    TORCH_CHECK(leaf->sizes() == grad->sizes(), "gradient of ", grad->sizes(), " for a leaf of ", leaf->sizes());
    TORCH_CHECK(leaf->scalar_type() == grad->scalar_type() && leaf->device() == grad->device(), "gradient of ",
                grad->scalar_type(), " on ", grad->device(), " for a leaf of ", leaf->scalar_type(), " on ",
                leaf->device());
    leaf->mutable_grad() = *grad;
  });
}

char *regun_accumulate_grads(const Tensor *leaves, const Tensor *sums, size_t count) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    std::vector<at::Tensor> to, from;
    for (size_t i = 0; i < count; i++) {
      at::Tensor sum = *sums[i], grad = std::move(leaves[i]->mutable_grad());
      if (!grad.defined())
        continue;
      TORCH_CHECK(sum.sizes() == grad.sizes() && sum.device() == grad.device(), "gradient of ", grad.sizes(), " on ",
                  grad.device(), " for a sum of ", sum.sizes(), " on ", sum.device());
      // _foreach_add_ needs equal strides, or it launches one kernel for each tensor. Strides of dimensions of length 1
      // mean nothing, so they are made equal.
      if (torch::autograd::utils::obeys_layout_contract(grad, sum)) {
        from.push_back(grad.as_strided(sum.sizes(), sum.strides()));
        to.push_back(sum);
      } else {
        sum.add_(grad);
      }
    }
    if (!to.empty())
      at::_foreach_add_(to, from);
  });
}

char *regun_add_one(const Tensor *tensors, size_t count) {
  return guarded([&] {
    std::vector<at::Tensor> to;
    for (size_t i = 0; i < count; i++)
      to.push_back(*tensors[i]);
    at::NoGradGuard no_grad;
    if (!to.empty())
      at::_foreach_add_(to, 1);
  });
}

} // extern "C"
