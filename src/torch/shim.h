// What tch does not offer, as plain C functions.
//
// A `Tensor` is the pointer that torch-sys hands out: at::Tensor on the C++ side. It is borrowed for the call.
// Every fallible function returns NULL, or the text of the C++ exception it met: no exception crosses the language
// border. The caller frees that text with regun_free_error.

#pragma once
#include <stdbool.h>

#ifdef __cplusplus
#include <ATen/core/Tensor.h>
typedef at::Tensor *Tensor;
extern "C" {
#else
typedef void *Tensor;
#endif

void regun_free_error(char *error);

// Autograd: makes `grad` the tensor that backward accumulates the leaf's gradient into, in place.
char *regun_set_grad(Tensor leaf, Tensor grad);

// A closure of the caller's language. `call` gets a tensor, borrowed, which it may change in place; false means that it
// failed, and comes out of whatever libtorch was doing as the message REGUN_CALLBACK_FAILED. Who is handed a callback
// calls `drop` once, when no graph can call it any more: also where that function fails. Both may be called from any
// thread.
typedef struct {
  bool (*call)(void *context, Tensor tensor);
  void (*drop)(void *context);
  void *context;
} RegunCallback;
#define REGUN_CALLBACK_FAILED "regun: a callback failed"

// Autograd: *result = the dense copy of `input` that `map` has changed in place. `map` is linear and symmetric: backward
// of any order sends gradients through it too.
char *regun_symmetric_map(Tensor *result, Tensor input, RegunCallback map);

// Autograd: moments of (N, C, ...) per channel: count, C means, C sums of squared distances from the mean; [1 + 2 C] in
// float64. N may be 0. The count has no gradient.
char *regun_channel_moments(Tensor *result, Tensor input);

// Calls `hook` with the leaf after each backward pass that has accumulated its gradient. A leaf has one hook at most.
char *regun_set_accumulation_hook(Tensor leaf, RegunCallback hook);
char *regun_clear_accumulation_hook(Tensor leaf);

// Fused optimizer steps, in place: one pass over a parameter buffer, its gradient and its moments.
// `step` (float32 scalar) counts the updates, this one included.
char *regun_fused_sgd(Tensor values, Tensor grads, Tensor momentum_buffer, double lr, double momentum,
                      double weight_decay, bool nesterov);
char *regun_fused_adamw(Tensor values, Tensor grads, Tensor exp_avg, Tensor exp_avg_sq, Tensor step, double lr,
                        double beta1, double beta2, double weight_decay, double eps);

// Settings of the whole process.
char *regun_use_deterministic_algorithms(bool on);
void regun_keep_freed_memory(void);
// "2.11.0": of the headers that this file was compiled with. Static memory.
const char *regun_torch_version(void);
// An environment variable for libraries that are loaded later; one that is set stays.
char *regun_default_environment(const char *name, const char *value);

#ifdef __cplusplus
}
#endif
