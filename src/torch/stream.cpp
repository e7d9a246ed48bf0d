#include "guard.h"
#include "stream.h"

#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

// Through c10's interface that is the same for all devices: no CUDA headers needed. A CPU has no streams, and no need
// of them: what it was given is done.

namespace {

c10::Device device_of(int index) { return {index < 0 ? c10::DeviceType::CPU : c10::DeviceType::CUDA, (c10::DeviceIndex)index}; }

c10::impl::VirtualGuardImpl guard_of(const c10::Device &device) { return c10::impl::VirtualGuardImpl(device.type()); }

void wait_for(const c10::Stream &waiting, const c10::Stream &awaited) {
  if (awaited.device().is_cpu())
    return;
  c10::Event event(awaited.device_type());
  event.record(awaited);
  event.block(waiting);
}

} // namespace

extern "C" {

char *regun_set_device(int device) {
  return guarded([&] { guard_of(device_of(device)).setDevice(device_of(device)); });
}

char *regun_stream_new(RegunStream *result, void **handle, int device) {
  return guarded([&] {
    const c10::Device where = device_of(device);
    const c10::Stream stream = where.is_cpu() ? guard_of(where).getStream(where)
                                              : guard_of(where).getStreamFromGlobalPool(where, /*isHighPriority=*/true);
    *handle = where.is_cpu() ? nullptr : stream.native_handle();
    *result = new c10::Stream(stream);
  });
}

void regun_stream_free(RegunStream stream) { delete stream; }

char *regun_stream_follow_current(RegunStream stream) {
  return guarded([&] { wait_for(*stream, guard_of(stream->device()).getStream(stream->device())); });
}

char *regun_stream_join_current(RegunStream stream) {
  return guarded([&] { wait_for(guard_of(stream->device()).getStream(stream->device()), *stream); });
}

char *regun_mark_new(RegunMark *result, RegunStream stream) {
  return guarded([&] {
    auto mark = std::make_unique<c10::Event>(stream->device_type());
    if (!stream->device().is_cpu())
      mark->record(*stream);
    *result = mark.release();
  });
}

char *regun_mark_reached(bool *result, RegunMark mark) {
  return guarded([&] { *result = mark->device_type() == c10::DeviceType::CPU || mark->query(); });
}

void regun_mark_free(RegunMark mark) { delete mark; }

} // extern "C"
