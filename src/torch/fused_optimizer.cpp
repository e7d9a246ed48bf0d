// Fused optimizer steps.

#include "guard.h"
#include "shim.h"

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>

#include <optional>
#include <vector>

namespace {

void check_scalar(const at::Tensor &scalar) {
  TORCH_CHECK(scalar.numel() == 1, "a fused step with a scalar of shape ", scalar.sizes());
}

// Calls `step` with the learning rate in a form that the kernels take: a number for a host tensor, otherwise the tensor
// itself, which the kernels read on the device.
template <typename Step> void with_rate(const at::Tensor &lr, Step step) {
  check_scalar(lr);
  if (lr.is_cpu())
    step(lr.item<double>());
  else
    step(lr);
}

// The kernels walk through the memory of all buffers side by side, and check neither shapes nor strides.
void check_buffer(const at::Tensor &values, const at::Tensor &buffer) {
  TORCH_CHECK(values.is_non_overlapping_and_dense() && buffer.sizes() == values.sizes() &&
                  buffer.strides() == values.strides() && buffer.scalar_type() == values.scalar_type() &&
                  buffer.device() == values.device(),
              "a fused step of values ", values.sizes(), " ", values.scalar_type(), " on ", values.device(),
              " with a buffer ", buffer.sizes(), " ", buffer.scalar_type(), " on ", buffer.device());
}

std::optional<at::Tensor> optional(Tensor tensor) {
  if (!tensor)
    return std::nullopt;
  check_scalar(*tensor);
  return *tensor;
}

} // namespace

extern "C" {

char *regun_fused_sgd(Tensor values, Tensor grads, Tensor momentum_buffer, Tensor lr, double momentum,
                      double weight_decay, bool nesterov, Tensor skip) {
  return guarded([&] {
    check_buffer(*values, *grads);
    check_buffer(*values, *momentum_buffer);
    // Without momentum the kernel takes no buffer.
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
    for (const Tensor buffer : {grads, exp_avg, exp_avg_sq})
      check_buffer(*values, *buffer);
    check_scalar(*step);
    with_rate(*lr, [&](const auto &rate) {
      at::_fused_adamw_({*values}, {*grads}, {*exp_avg}, {*exp_avg_sq}, /*max_exp_avg_sqs=*/{}, {*step}, rate, beta1,
                        beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false, /*grad_scale=*/{},
                        optional(skip));
    });
  });
}

} // extern "C"
