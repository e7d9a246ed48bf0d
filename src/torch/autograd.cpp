// Operations of our own in the autograd graph, and hooks on parameters.

#include "guard.h"
#include "node.h"
#include "shim.h"

#include <torch/csrc/autograd/function_hook.h>

#include <memory>
#include <stdexcept>
#include <vector>

namespace {

using torch::autograd::collect_next_edges;
using torch::autograd::compute_requires_grad;
using torch::autograd::deleteNode;
using torch::autograd::Node;
using torch::autograd::set_history;
using torch::autograd::variable_list;

// A closure of the other language. Its destructor frees the data that the closure holds.
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

// A closure of the other language that computes the gradients of the inputs from the gradient of the output.
class Backward {
public:
  explicit Backward(RegunBackward raw) : raw_(raw) {}
  Backward(const Backward &) = delete;
  Backward &operator=(const Backward &) = delete;
  ~Backward() { raw_.drop(raw_.context); }

  variable_list operator()(at::Tensor gradient, size_t inputs) const {
    std::vector<Tensor> results(inputs, nullptr);
    const bool done = raw_.call(raw_.context, &gradient, results.data());
    variable_list gradients;
    for (Tensor result : results) {
      const std::unique_ptr<at::Tensor> owned(result);
      gradients.push_back(owned ? *owned : at::Tensor());
    }
    if (!done)
      throw std::runtime_error(REGUN_CALLBACK_FAILED);
    return gradients;
  }

private:
  RegunBackward raw_;
};

struct WithBackward : Node {
  explicit WithBackward(std::shared_ptr<const Backward> backward) : backward(std::move(backward)) {}

  variable_list apply(variable_list &&grads) override {
    // The closure's operations are in no graph: a second derivative would be silently wrong.
    TORCH_CHECK(!at::GradMode::is_enabled(), name(), " has no second derivative");
    TORCH_CHECK(backward, name(), ": its graph is freed; a second backward pass needs retain_graph in the first");
    return (*backward)(defined_gradient(*this, grads), num_outputs());
  }

  std::string name() const override { return "WithBackward"; }
  void release_variables() override { backward.reset(); }

  std::shared_ptr<const Backward> backward;
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

char *regun_with_backward(Tensor output, const Tensor *inputs, size_t count, RegunBackward backward) {
  return guarded([&] {
    auto owned = std::make_shared<const Backward>(backward);
    variable_list edges;
    for (size_t i = 0; i < count; i++)
      edges.push_back(*inputs[i]);
    if (!compute_requires_grad(edges))
      return;
    std::shared_ptr<WithBackward> node(new WithBackward(std::move(owned)), deleteNode);
    node->set_next_edges(collect_next_edges(edges));
    set_history(*output, node);
  });
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
