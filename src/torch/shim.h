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

#ifdef __cplusplus
}
#endif
