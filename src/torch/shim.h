// The parts of libtorch that tch lacks, as plain C functions.
//
// A `Tensor` is the pointer that torch-sys uses: at::Tensor on the C++ side. It is borrowed for the call. Every
// fallible function returns NULL, or the text of a C++ exception: no exception crosses the language border. The caller
// frees that text with regun_free_error.

#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#include <ATen/core/Tensor.h>
typedef at::Tensor *Tensor;
extern "C" {
#else
typedef void *Tensor;
#endif

void regun_free_error(char *error);

// --- gradients ---

// Makes `grad` the gradient of the leaf, as a backward pass would.
char *regun_set_grad(Tensor leaf, Tensor grad);
// Adds the gradients of these leaves to `sums` and clears them. Leaves without a gradient add nothing. On a GPU it
// takes a few kernels for any number of leaves.
char *regun_accumulate_grads(const Tensor *leaves, const Tensor *sums, size_t count);
// Adds 1 to each tensor, in place. No tensor occurs twice. On a GPU it takes a few kernels.
char *regun_add_one(const Tensor *tensors, size_t count);

// --- autograd ---

// A closure of the caller's language. `call` gets a borrowed tensor, which it may change in place. If it returns false,
// the function of libtorch that led to the call throws an exception with the message REGUN_CALLBACK_FAILED. A shim
// function that takes a callback owns it, also if the function fails, and sees to one call of `drop` when no graph can
// call the closure any more. Both pointers may be called from any thread.
typedef struct {
  bool (*call)(void *context, Tensor tensor);
  void (*drop)(void *context);
  void *context;
} RegunCallback;
#define REGUN_CALLBACK_FAILED "regun: a callback failed"

// *result = a dense copy of `input`, changed in place by `map`. `map` is linear and symmetric: backward passes of any
// order send gradients through it too.
char *regun_symmetric_map(Tensor *result, Tensor input, RegunCallback map);

// A closure that computes a backward pass. `call` gets the gradient of an output, and writes a new tensor for each
// input to grads[i]; the shim becomes its owner. Otherwise like RegunCallback.
typedef struct {
  bool (*call)(void *context, Tensor grad, Tensor *grads);
  void (*drop)(void *context);
  void *context;
} RegunBackward;

// Makes `output`, which is in no graph yet, a function of these inputs with the derivative `backward`. A second
// derivative is an error. If no input requires grad, nothing happens.
char *regun_with_backward(Tensor output, const Tensor *inputs, size_t count, RegunBackward backward);

// Calls `hook` with the leaf after each backward pass that has accumulated its gradient. A leaf has at most one hook.
char *regun_set_accumulation_hook(Tensor leaf, RegunCallback hook);
char *regun_clear_accumulation_hook(Tensor leaf);

// Moments of `input` (N, C, ...) per channel: count, C means, C sums of squared distances from the mean; [1 + 2 C] in
// float64. N may be 0. Autograd differentiates them any number of times; the count has no gradient.
char *regun_channel_moments(Tensor *result, Tensor input);
// Derivatives of batch normalisation with constant statistics [C]: new tensors by input, weight and bias.
char *regun_batch_norm_backward(Tensor *by_input, Tensor *by_weight, Tensor *by_bias, Tensor grad, Tensor input,
                                Tensor weight, Tensor mean, Tensor var, double eps);

// --- vmap and autocast ---

// functorch's vmap over dimension 0 of the wrapped tensors: a level, on this thread, from push to pop. `unwrap` moves
// the samples back to dimension 0.
char *regun_vmap_push(int64_t *level, int64_t batch_size);
char *regun_vmap_pop(void);
char *regun_vmap_wrap(Tensor *result, Tensor input, int64_t level);
char *regun_vmap_unwrap(Tensor *result, Tensor input, int64_t level);

// Autocast of this thread, for one type of device: matrix products and convolutions in `dtype` (an at::ScalarType).
// float32 switches it off. Regions nest; *before gets the state to restore.
typedef struct {
  bool cuda;
  bool enabled;
  int dtype;
} RegunAutocastState;
char *regun_enter_autocast(bool cuda, int dtype, RegunAutocastState *before);
char *regun_leave_autocast(RegunAutocastState before);

// --- fused optimizer steps ---

// Optimizer steps in place, each in one pass over a parameter buffer, its gradient and its moments. `lr` is a scalar:
// float64 on the CPU, or float32 on the parameters' device. `skip` is a float32 scalar on that device, or NULL: if it
// is 1, nothing changes. `step` (float32 scalar) counts the updates, this one included.
char *regun_fused_sgd(Tensor values, Tensor grads, Tensor momentum_buffer, Tensor lr, double momentum,
                      double weight_decay, bool nesterov, Tensor skip);
char *regun_fused_adamw(Tensor values, Tensor grads, Tensor exp_avg, Tensor exp_avg_sq, Tensor step, Tensor lr,
                        double beta1, double beta2, double weight_decay, double eps, Tensor skip);

// --- memory and transfer ---

// Whether this is the only handle on the tensor, and its tensor the only one over its memory.
bool regun_is_unshared(Tensor tensor);
// *result = a uint8 tensor over `data`, which must outlive it. drop(context) is called once: when no tensor reads
// `data` any more, or if this function fails.
char *regun_tensor_over(Tensor *result, void *data, const int64_t *size, size_t dimensions, void (*drop)(void *),
                        void *context);
// Free and total bytes of a GPU.
char *regun_cuda_memory(int device, uint64_t *free, uint64_t *total);
// Peak bytes of a GPU in this process: held by tensors, and held by the allocator for them.
char *regun_cuda_peak_memory(int device, uint64_t *allocated, uint64_t *reserved);

// *result = a copy of a host tensor on a CUDA device. The host does not wait: the copy starts from page-locked memory.
char *regun_upload(Tensor *result, Tensor host, int device);

// --- CUDA graphs ---

// Kernels that are captured once and launched again as one piece. `body` is called once, on a stream of its own: the
// work that it enqueues is captured and not run. If it returns false, the error is REGUN_CALLBACK_FAILED. `pool_of`
// (may be NULL) is a graph whose memory pool the new graph uses too: the two are never in flight at once. Needs
// libtorch's CUDA part, loaded.
typedef struct RegunGraph RegunGraph;
bool regun_has_graphs(void);
char *regun_capture_graph(RegunGraph **graph, int device, RegunGraph *pool_of, bool (*body)(void *context),
                          void *context);
char *regun_replay_graph(RegunGraph *graph);
void regun_free_graph(RegunGraph *graph);

// --- the process ---

// Numerical settings of the whole process.
typedef struct {
  bool deterministic; // algorithms that give the same bits each time, or an error
  bool tf32;          // float32 products on GPUs with TF32's 10 bits of mantissa
  bool benchmark;     // cuDNN times its algorithms and takes the fastest
} RegunNumerics;
char *regun_set_numerics(RegunNumerics numerics);
char *regun_get_numerics(RegunNumerics *numerics);
// malloc keeps freed memory instead of returning it to the kernel. Does nothing without glibc.
void regun_keep_freed_memory(void);
// "2.11.0": the version of the headers of this build. Static memory.
const char *regun_torch_version(void);

#ifdef __cplusplus
}
#endif
