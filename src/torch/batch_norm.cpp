// The parts of batch normalisation that SyncBatchNorm computes on each rank.

#include "guard.h"
#include "node.h"
#include "shim.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/batch_norm_update_stats.h>
#include <ATen/ops/native_batch_norm_backward.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <memory>

namespace {

using torch::autograd::collect_next_edges;
using torch::autograd::compute_requires_grad;
using torch::autograd::deleteNode;
using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::set_history;
using torch::autograd::variable_list;

// Number of values per pass of the statistics: in float64 they fit a core's own cache.
constexpr int64_t VALUES_PER_PART = 1 << 17;

// [1 + 2 C] in float64: number of values per channel, their means, their sums of squared distances from the mean (M2).
// Parts are combined by Chan, Golub and LeVeque 1979.
at::Tensor moments_of(const at::Tensor &x) {
  at::NoGradGuard no_grad;
  const int64_t samples = x.size(0), channels = x.size(1);
  at::Tensor moments = at::zeros({1 + 2 * channels}, x.options().dtype(at::kDouble));
  if (x.numel() == 0)
    return moments;
  at::Tensor mean = moments.narrow(0, 1, channels), m2 = moments.narrow(0, 1 + channels, channels);
  const int64_t sample_values = x.numel() / samples;
  const bool in_parts = x.is_cpu();
  const int64_t step = in_parts ? std::max<int64_t>(1, VALUES_PER_PART / sample_values) : samples;
  double count = 0;
  for (int64_t start = 0; start < samples; start += step) {
    const int64_t length = std::min(step, samples - start);
    at::Tensor part = x.detach().narrow(0, start, length);
    // The GPU kernel is accurate in float32 (Welford), the CPU kernel is not.
    auto [part_mean, part_var] = at::batch_norm_update_stats(in_parts ? part.to(at::kDouble) : part, {}, {}, 0.0);
    const double n = static_cast<double>(length * sample_values / channels), total = count + n;
    at::Tensor delta = part_mean.to(at::kDouble) - mean;
    mean.add_(delta, n / total);
    m2.add_(part_var.to(at::kDouble), n).addcmul_(delta, delta, count * n / total);
    count = total;
  }
  moments.narrow(0, 0, 1).fill_(count);
  return moments;
}

// The moments of an activation, with the derivatives d mean / dx = 1 / n and d M2 / dx = 2 (x - mean).
struct ChannelMoments : Node {
  static at::Tensor of(const at::Tensor &x) {
    at::Tensor moments = moments_of(x);
    if (compute_requires_grad(x)) {
      std::shared_ptr<ChannelMoments> node(new ChannelMoments, deleteNode);
      node->set_next_edges(collect_next_edges(x));
      node->input = SavedVariable(x, /*is_output=*/false);
      node->moments = moments.clone();
      set_history(moments, node);
    }
    return moments;
  }

  // One pass over x: a native affine map per channel, g_m2' (x - centre) + shift. Autograd differentiates it, also for
  // an empty batch. The constant `centre` only keeps the numbers small; `shift` corrects for it.
  variable_list apply(variable_list &&grads) override {
    const at::Tensor x = input.unpack(), g = defined_gradient(*this, grads);
    const int64_t channels = x.size(1);
    const double n = std::max<double>(1, static_cast<double>(x.numel() / std::max<int64_t>(1, channels)));
    const auto dtype = at::promote_types(x.scalar_type(), at::kFloat);
    const at::Tensor known = at::GradMode::is_enabled() ? of(x) : moments;
    const at::Tensor mean = known.narrow(0, 1, channels);
    const at::Tensor centre = moments.narrow(0, 1, channels).to(dtype);
    const at::Tensor scale = 2 * g.narrow(0, 1 + channels, channels);
    const at::Tensor shift = g.narrow(0, 1, channels) / n - scale * (mean - centre.to(at::kDouble));
    return {at::batch_norm(x, scale.to(dtype), shift.to(dtype), centre, at::ones_like(centre), /*training=*/false,
                           /*momentum=*/0, /*eps=*/0, /*cudnn_enabled=*/false)};
  }

  std::string name() const override { return "ChannelMoments"; }

  void release_variables() override {
    input.reset_data();
    moments.reset();
  }

  SavedVariable input;
  at::Tensor moments;
};

} // namespace

extern "C" {

char *regun_channel_moments(Tensor *result, Tensor input) {
  return guarded([&] {
    TORCH_CHECK(input->dim() >= 2, "the moments of an input of shape ", input->sizes(), " have no channels");
    *result = new at::Tensor(ChannelMoments::of(*input));
  });
}

char *regun_batch_norm_backward(Tensor *by_input, Tensor *by_weight, Tensor *by_bias, Tensor grad, Tensor input,
                                Tensor weight, Tensor mean, Tensor var, double eps) {
  return guarded([&] {
    // The kernel checks no shapes.
    TORCH_CHECK(input->dim() >= 2 && grad->sizes() == input->sizes(), "the gradient of batch normalisation is ",
                grad->sizes(), " for an input of ", input->sizes());
    for (const Tensor constant : {weight, mean, var})
      TORCH_CHECK(constant->dim() == 1 && constant->size(0) == input->size(1), "a constant of shape ",
                  constant->sizes(), " for the channels of ", input->sizes());
    const auto [dx, dw, db] = at::native_batch_norm_backward(*grad, *input, *weight, *mean, *var, {}, {},
                                                             /*train=*/false, eps, {true, true, true});
    *by_input = new at::Tensor(dx);
    *by_weight = new at::Tensor(dw);
    *by_bias = new at::Tensor(db);
  });
}

} // extern "C"
