#include "guard.h"
#include "shim.h"

#include <torch/version.h>
#include <ATen/Context.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>

#include <c10/util/env.h>

#include <cstdlib>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

extern "C" {

void regun_free_error(char *error) { free(error); }

char *regun_set_grad(Tensor leaf, Tensor grad) {
  return guarded([&] {
    TORCH_CHECK(leaf->is_leaf() && leaf->requires_grad(), "only a leaf that requires grad has a gradient of its own");
    TORCH_CHECK(leaf->sizes() == grad->sizes() && leaf->strides() == grad->strides(), "gradient of ", grad->sizes(),
                " (strides ", grad->strides(), ") for a leaf of ", leaf->sizes(), " (strides ", leaf->strides(), ")");
    TORCH_CHECK(leaf->scalar_type() == grad->scalar_type() && leaf->device() == grad->device(), "gradient of ",
                grad->scalar_type(), " on ", grad->device(), " for a leaf of ", leaf->scalar_type(), " on ",
                leaf->device());
    leaf->mutable_grad() = *grad;
  });
}

char *regun_fused_sgd(Tensor values, Tensor grads, Tensor momentum_buffer, double lr, double momentum,
                      double weight_decay, bool nesterov) {
  return guarded([&] {
    // Without momentum the kernel wants no buffer at all.
    std::vector<at::Tensor> buffers;
    if (momentum != 0)
      buffers.push_back(*momentum_buffer);
    at::_fused_sgd_({*values}, {*grads}, buffers, weight_decay, momentum, lr, /*dampening=*/0.0, nesterov,
                    /*maximize=*/false, /*is_first_step=*/false);
  });
}

char *regun_fused_adamw(Tensor values, Tensor grads, Tensor exp_avg, Tensor exp_avg_sq, Tensor step, double lr,
                        double beta1, double beta2, double weight_decay, double eps) {
  return guarded([&] {
    at::_fused_adamw_({*values}, {*grads}, {*exp_avg}, {*exp_avg_sq}, /*max_exp_avg_sqs=*/{}, {*step}, lr, beta1, beta2,
                      weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}

char *regun_use_deterministic_algorithms(bool on) {
  return guarded([&] {
    at::globalContext().setDeterministicAlgorithms(on, /*warn_only=*/false);
    // Only reads of memory nobody wrote could tell, and filling it costs a pass over every new tensor.
    at::globalContext().setDeterministicFillUninitializedMemory(false);
    at::globalContext().setDeterministicCuDNN(on);
    at::globalContext().setBenchmarkCuDNN(!on);
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
