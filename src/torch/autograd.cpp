#include "guard.h"
#include "shim.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/batch_norm_update_stats.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

namespace {

using torch::autograd::collect_next_edges;
using torch::autograd::compute_requires_grad;
using torch::autograd::deleteNode;
using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::set_history;
using torch::autograd::variable_list;

// A closure of the other language, and the only owner of what it captured.
class Callback {
public:
  explicit Callback(RegunCallback raw) : raw_(raw) {}
  Callback(const Callback &) = delete;
  Callback &operator=(const Callback &) = delete;
  ~Callback() { raw_.drop(raw_.context); }

  void operator()(at::Tensor tensor) const {
    if (!raw_.call(raw_.context, &tensor))
      throw std::runtime_error(REGUN_CALLBACK_FAILED);
  }

private:
  RegunCallback raw_;
};

// An undefined gradient is zero. The node must work on it all the same: it may be part of a collective.
at::Tensor defined_gradient(const Node &node, variable_list &grads) {
  return grads[0].defined() ? std::move(grads[0]) : node.input_metadata(0).zeros_like();
}

// y = A x with A = A^T: the gradient goes through the same map, and so do gradients of gradients.
struct SymmetricMap : Node {
  explicit SymmetricMap(std::shared_ptr<const Callback> map) : map(std::move(map)) {}

  static at::Tensor of(const at::Tensor &input, const std::shared_ptr<const Callback> &map) {
    at::Tensor output;
    {
      at::NoGradGuard no_grad;
      output = input.detach().clone(at::MemoryFormat::Contiguous);
      (*map)(output);
    }
    if (compute_requires_grad(input)) {
      std::shared_ptr<SymmetricMap> node(new SymmetricMap(map), deleteNode);
      node->set_next_edges(collect_next_edges(input));
      set_history(output, node);
    }
    return output;
  }

  variable_list apply(variable_list &&grads) override { return {of(defined_gradient(*this, grads), map)}; }
  std::string name() const override { return "SymmetricMap"; }

  std::shared_ptr<const Callback> map;
};

// Values of which the statistics are computed in one go: in float64 they stay in a core's own cache.
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
    // A kernel for graphics cards is accurate in float32 already (Welford), one for processors is not.
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

  // One pass over x: a native affine map per channel, g_m2' (x - centre) + shift, which can itself be differentiated,
  // also where there is no sample at all. The constant `centre` only keeps the numbers small; `shift` corrects for it.
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

struct AccumulationHook : torch::autograd::PostAccumulateGradHook {
  explicit AccumulationHook(std::shared_ptr<const Callback> callback) : callback(std::move(callback)) {}
  void operator()(const at::Tensor &leaf) override { (*callback)(leaf); }

  std::shared_ptr<const Callback> callback;
};

} // namespace

extern "C" {

char *regun_symmetric_map(Tensor *result, Tensor input, RegunCallback map) {
  return guarded([&] {
    auto owned = std::make_shared<const Callback>(map);
    *result = new at::Tensor(SymmetricMap::of(*input, owned));
  });
}

char *regun_channel_moments(Tensor *result, Tensor input) {
  return guarded([&] { *result = new at::Tensor(ChannelMoments::of(*input)); });
}

char *regun_set_accumulation_hook(Tensor leaf, RegunCallback hook) {
  return guarded([&] {
    auto owned = std::make_shared<const Callback>(hook);
    TORCH_CHECK(leaf->is_leaf() && leaf->requires_grad(), "only a leaf that requires grad accumulates a gradient");
    torch::autograd::impl::set_post_acc_grad_hooks(*leaf, std::make_unique<AccumulationHook>(std::move(owned)));
  });
}

char *regun_clear_accumulation_hook(Tensor leaf) {
  return guarded([&] { torch::autograd::impl::set_post_acc_grad_hooks(*leaf, nullptr); });
}

} // extern "C"
