#include "guard.h"
#include "shim.h"

#include <ATen/Context.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <c10/core/GradMode.h>
#include <c10/util/env.h>
#include <torch/csrc/autograd/utils/grad_layout_contract.h>
#include <torch/version.h>

#include <cstdlib>
#include <optional>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace {

// Calls `step` with the rate as the kernels want it: a number that the host knows, or a tensor that they read
// themselves.
template <typename Step> void with_rate(const at::Tensor &lr, Step step) {
  if (lr.is_cpu())
    step(lr.item<double>());
  else
    step(lr);
}

std::optional<at::Tensor> optional(Tensor tensor) {
  return tensor ? std::optional<at::Tensor>(*tensor) : std::nullopt;
}

} // namespace

extern "C" {

void regun_free_error(char *error) { free(error); }

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
      // Strides of dimensions of length 1 mean nothing; different ones anywhere would make it one kernel for each
      // tensor.
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

char *regun_fused_sgd(Tensor values, Tensor grads, Tensor momentum_buffer, Tensor lr, double momentum,
                      double weight_decay, bool nesterov, Tensor skip) {
  return guarded([&] {
    // Without momentum the kernel wants no buffer at all.
    std::vector<at::Tensor> buffers;
    if (momentum != 0)
      buffers.push_back(*momentum_buffer);
    with_rate(*lr, [&](const auto &rate) {
      at::_fused_sgd_({*values}, {*grads}, buffers, weight_decay, momentum, rate, /*dampening=*/0.0, nesterov,
                      /*maximize=*/false, /*is_first_step=*/false, /*grad_scale=*/{}, optional(skip));
    });
  });
}

char *regun_fused_adamw(Tensor values, Tensor grads, Tensor exp_avg, Tensor exp_avg_sq, Tensor step, Tensor lr,
                        double beta1, double beta2, double weight_decay, double eps, Tensor skip) {
  return guarded([&] {
    with_rate(*lr, [&](const auto &rate) {
      at::_fused_adamw_({*values}, {*grads}, {*exp_avg}, {*exp_avg_sq}, /*max_exp_avg_sqs=*/{}, {*step}, rate, beta1,
                        beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/{},
                        optional(skip));
    });
  });
}

char *regun_set_numerics(RegunNumerics numerics) {
  return guarded([&] {
    at::Context &context = at::globalContext();
    // cuBLAS is deterministic in a workspace of fixed size, and reads this when it starts.
    if (numerics.deterministic)
      c10::utils::set_env("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/false);
    context.setDeterministicAlgorithms(numerics.deterministic, /*warn_only=*/false);
    // Only reads of memory nobody wrote could tell, and filling it costs a pass over every new tensor.
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(numerics.deterministic);
    context.setBenchmarkCuDNN(numerics.benchmark);
    context.setAllowTF32CuBLAS(numerics.tf32);
    context.setAllowTF32CuDNN(numerics.tf32);
  });
}

char *regun_get_numerics(RegunNumerics *numerics) {
  return guarded([&] {
    const at::Context &context = at::globalContext();
    numerics->deterministic = context.deterministicAlgorithms() && context.deterministicCuDNN() &&
                              c10::utils::has_env("CUBLAS_WORKSPACE_CONFIG");
    numerics->tf32 = context.allowTF32CuBLAS() && context.allowTF32CuDNN();
    numerics->benchmark = context.benchmarkCuDNN();
  });
}

const char *regun_torch_version(void) { return TORCH_VERSION; }

char *regun_default_environment(const char *name, const char *value) {
  return guarded([&] { c10::utils::set_env(name, value, /*overwrite=*/false); });
}

void regun_keep_freed_memory(void) {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);       // one pool for all threads
  mallopt(M_MMAP_MAX, 0);        // large blocks come from it too
  mallopt(M_TRIM_THRESHOLD, -1); // and it never shrinks
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

} // extern "C"
