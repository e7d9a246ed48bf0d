// Settings of the process; libtorch's version.

#include "guard.h"
#include "shim.h"

#include <ATen/Context.h>
#include <torch/version.h>

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

extern "C" {

void regun_free_error(char *error) { free(error); }

char *regun_set_numerics(RegunNumerics numerics) {
  return guarded([&] {
    at::Context &context = at::globalContext();
    context.setDeterministicAlgorithms(numerics.deterministic, /*warn_only=*/false);
    // Filling changes only reads of unwritten memory, and costs a pass over every new tensor.
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
    numerics->deterministic = context.deterministicAlgorithms() && context.deterministicCuDNN();
    numerics->tf32 = context.allowTF32CuBLAS() && context.allowTF32CuDNN();
    numerics->benchmark = context.benchmarkCuDNN();
  });
}

const char *regun_torch_version(void) { return TORCH_VERSION; }

void regun_keep_freed_memory(void) {
#ifdef __GLIBC__
  mallopt(M_ARENA_MAX, 1);       // one pool for all threads
  mallopt(M_MMAP_MAX, 0);        // large blocks come from it too
  mallopt(M_TRIM_THRESHOLD, -1); // the pool never shrinks
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

} // extern "C"
