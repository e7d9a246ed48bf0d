// What tch does not offer, as plain C functions.
//
// A `Tensor` is the pointer that torch-sys hands out: at::Tensor on the C++ side. It is borrowed for the call.
// Every fallible function returns NULL, or the text of the C++ exception it met: no exception crosses the language
// border. The caller frees that text with regun_free_error.

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

// Autograd: leaves `grad` at the leaf, as a backward pass would.
char *regun_set_grad(Tensor leaf, Tensor grad);
// Adds the gradients that backward has left at these leaves to `sums`, and takes them away. Leaves without one are
// left out. On a GPU a few kernels, however many leaves there are.
char *regun_accumulate_grads(const Tensor *leaves, const Tensor *sums, size_t count);

// Adds 1 to each of these, in place; each tensor is there once. On a GPU a few kernels.
char *regun_add_one(const Tensor *tensors, size_t count);

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

// Autograd: *result = the dense copy of `input` that `map` has changed in place. `map` is linear and symmetric:
// backward of any order sends gradients through it too.
char *regun_symmetric_map(Tensor *result, Tensor input, RegunCallback map);

// The same for a backward pass: `call` gets the gradient of an output, and leaves at grads[i] a new tensor, which
// becomes the shim's, for each input.
typedef struct {
  bool (*call)(void *context, Tensor grad, Tensor *grads);
  void (*drop)(void *context);
  void *context;
} RegunBackward;

// Autograd: `output`, which no graph knows yet, is a function of these inputs, and `backward` is its derivative. It has
// no second one: asking for that is an error. Where no input requires grad, nothing happens.
char *regun_with_backward(Tensor output, const Tensor *inputs, size_t count, RegunBackward backward);

// Autograd: moments of (N, C, ...) per channel: count, C means, C sums of squared distances from the mean; [1 + 2 C] in
// float64. N may be 0. The count has no gradient.
char *regun_channel_moments(Tensor *result, Tensor input);

// Derivatives of batch normalisation with constant statistics [C]: new tensors by input, weight and bias.
char *regun_batch_norm_backward(Tensor *by_input, Tensor *by_weight, Tensor *by_bias, Tensor grad, Tensor input,
                                Tensor weight, Tensor mean, Tensor var, double eps);

// Calls `hook` with the leaf after each backward pass that has accumulated its gradient. A leaf has one hook at most.
char *regun_set_accumulation_hook(Tensor leaf, RegunCallback hook);
char *regun_clear_accumulation_hook(Tensor leaf);

// functorch's vmap over dimension 0 of what is wrapped: a level, on this thread, from push to pop. `unwrap` moves the
// samples back to dimension 0.
char *regun_vmap_push(int64_t *level, int64_t batch_size);
char *regun_vmap_pop(void);
char *regun_vmap_wrap(Tensor *result, Tensor input, int64_t level);
char *regun_vmap_unwrap(Tensor *result, Tensor input, int64_t level);

// Fused optimizer steps, in place: one pass over a parameter buffer, its gradient and its moments. `lr` is a scalar:
// float64 on the CPU, or float32 on the parameters' device. `skip` is a float32 scalar there, or NULL: where it is 1,
// nothing changes. `step` (float32 scalar) counts the updates, this one included.
char *regun_fused_sgd(Tensor values, Tensor grads, Tensor momentum_buffer, Tensor lr, double momentum,
                      double weight_decay, bool nesterov, Tensor skip);
char *regun_fused_adamw(Tensor values, Tensor grads, Tensor exp_avg, Tensor exp_avg_sq, Tensor step, Tensor lr,
                        double beta1, double beta2, double weight_decay, double eps, Tensor skip);

// *result = a uint8 tensor over `data`, which must outlive it: drop(context) is called once, when no tensor reads
// `data` any more, or where this function fails.
char *regun_tensor_over(Tensor *result, void *data, const int64_t *size, size_t dimensions, void (*drop)(void *),
                        void *context);
// Bytes of a GPU: free, and in all.
char *regun_cuda_memory(int device, uint64_t *free, uint64_t *total);
// The most bytes that this process's tensors ever held of a GPU, and that its allocator took for them.
char *regun_cuda_peak_memory(int device, uint64_t *allocated, uint64_t *reserved);

// Autocast of this thread, for one type of device: matrix products and convolutions in `dtype` (an at::ScalarType).
// float32 switches it off. Regions nest; *before gets what to restore.
typedef struct {
  bool cuda;
  bool enabled;
  int dtype;
} RegunAutocast;
char *regun_enter_autocast(bool cuda, int dtype, RegunAutocast *before);
char *regun_leave_autocast(RegunAutocast before);

// *result = a copy of a host tensor on a CUDA device. The host does not wait: the copy starts from page-locked memory.
char *regun_upload(Tensor *result, Tensor host, int device);

// Kernels recorded once and launched again as one piece. `body` is called once, on a stream of its own: what it
// enqueues is recorded and not run; false means that it failed, and comes out as REGUN_CALLBACK_FAILED. `shares` (may
// be NULL) is a graph whose memory the new one uses too: the two are never in flight at once. Needs libtorch's CUDA
// part, loaded.
typedef struct RegunGraph RegunGraph;
bool regun_has_graphs(void);
char *regun_capture_graph(RegunGraph **graph, int device, RegunGraph *shares, bool (*body)(void *context),
                         void *context);
char *regun_replay_graph(RegunGraph *graph);
void regun_free_graph(RegunGraph *graph);

// How the whole process computes.
typedef struct {
  bool deterministic;    // algorithms that give the same bits each time, or an error
  bool tf32;             // float32 products on GPUs with TF32's 10 bits of mantissa
  bool benchmark;        // cuDNN times its algorithms and takes the fastest
} RegunNumerics;
char *regun_set_numerics(RegunNumerics numerics);
char *regun_get_numerics(RegunNumerics *numerics);
void regun_keep_freed_memory(void);
// "2.11.0": of the headers that this file was compiled with. Static memory.
const char *regun_torch_version(void);
// An environment variable for libraries that are loaded later; one that is set stays.
char *regun_default_environment(const char *name, const char *value);

#ifdef __cplusplus
}
#endif
