// Tensors over foreign memory; memory of GPUs.

#include "guard.h"
#include "shim.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <memory>

extern "C" {

bool regun_is_unshared(Tensor tensor) {
  return tensor->use_count() == 1 && tensor->has_storage() && tensor->storage().use_count() == 1;
}

char *regun_tensor_over(Tensor *result, void *data, const int64_t *size, size_t dimensions, void (*drop)(void *),
                        void *context) {
  return guarded([&] {
    // The last copy of `owner` calls drop once, also after an exception.
    std::shared_ptr<void> owner(context, drop);
    *result = new at::Tensor(at::from_blob(data, at::IntArrayRef(size, dimensions), [owner](void *) {}, at::kByte));
  });
}

char *regun_cuda_memory(int device, uint64_t *free, uint64_t *total) {
  return guarded([&] {
    const auto [bytes_free, bytes_total] =
        at::getDeviceAllocator(at::kCUDA)->getMemoryInfo(static_cast<c10::DeviceIndex>(device));
    *free = bytes_free;
    *total = bytes_total;
  });
}

char *regun_cuda_peak_memory(int device, uint64_t *allocated, uint64_t *reserved) {
  return guarded([&] {
    const auto stats = at::getDeviceAllocator(at::kCUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(device));
    constexpr auto ALL = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *allocated = static_cast<uint64_t>(stats.allocated_bytes[ALL].peak);
    *reserved = static_cast<uint64_t>(stats.reserved_bytes[ALL].peak);
  });
}

} // extern "C"
