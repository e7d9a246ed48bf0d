// Vectorising over samples (functorch's vmap), without Python around it.

#include "guard.h"
#include "shim.h"

#include <ATen/functorch/BatchedFallback.h>
#include <ATen/functorch/BatchedTensorImpl.h>
#include <ATen/functorch/DynamicLayer.h>
#include <ATen/ops/movedim.h>

namespace functorch = at::functorch;

extern "C" {

char *regun_vmap_push(int64_t *level, int64_t batch_size) {
  return guarded([&] {
    // libtorch warns about operations that it runs sample by sample (nll_loss is one). The warning is of no use here.
    functorch::setVmapFallbackWarningEnabled(false);
    *level = functorch::initAndPushDynamicLayer(functorch::TransformType::Vmap, c10::SymInt(batch_size),
                                                functorch::RandomnessType::Error);
  });
}

char *regun_vmap_pop(void) {
  return guarded([&] { functorch::popDynamicLayerAndDeleteMetadata(); });
}

char *regun_vmap_wrap(Tensor *result, Tensor input, int64_t level) {
  return guarded([&] { *result = new at::Tensor(functorch::addBatchDim(*input, 0, level)); });
}

char *regun_vmap_unwrap(Tensor *result, Tensor input, int64_t level) {
  return guarded([&] {
    const auto *batched = functorch::maybeGetBatchedImpl(*input);
    TORCH_CHECK(batched && batched->level() == level, "this tensor is the same for all samples of vmap level ", level);
    *result = new at::Tensor(batched->value().movedim(batched->bdim(), 0));
  });
}

} // extern "C"
