// Streams and events, through c10's interface for all devices: no CUDA headers needed. A CPU has no streams: its work
// is done when the call returns.

#include "guard.h"
#include "stream.h"

#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <chrono>
#include <memory>

namespace {

c10::Device device_of(int index) {
  const auto type = index < 0 ? c10::DeviceType::CPU : c10::DeviceType::CUDA;
  return {type, static_cast<c10::DeviceIndex>(index)};
}

c10::impl::VirtualGuardImpl guard_of(const c10::Device &device) { return c10::impl::VirtualGuardImpl(device.type()); }

void wait_for(const c10::Stream &waiting, const c10::Stream &awaited) {
  if (awaited.device().is_cpu())
    return;
  c10::Event event(awaited.device_type());
  event.record(awaited);
  event.block(waiting);
}

} // namespace

struct RegunEvent {
  RegunEvent(c10::DeviceType type, bool timed)
      : event(type, timed ? c10::EventFlag::BACKEND_DEFAULT : c10::EventFlag::PYTORCH_DEFAULT) {}

  bool is_on_cpu() const { return event.device_type() == c10::DeviceType::CPU; }

  c10::Event event;
  // The time of the event on a CPU, where all earlier work is done.
  std::chrono::steady_clock::time_point created = std::chrono::steady_clock::now();
};

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

char *regun_event_new(RegunEvent **result, int device, RegunStream stream, bool timed) {
  return guarded([&] {
    const c10::Device where = device_of(device);
    auto event = std::make_unique<RegunEvent>(where.type(), timed);
    if (!where.is_cpu())
      event->event.record(stream ? *stream : guard_of(where).getStream(where));
    *result = event.release();
  });
}

char *regun_event_reached(bool *result, RegunEvent *event) {
  return guarded([&] { *result = event->is_on_cpu() || event->event.query(); });
}

char *regun_event_wait(RegunEvent *event) {
  return guarded([&] {
    if (!event->is_on_cpu())
      event->event.synchronize();
  });
}

char *regun_event_seconds_since(double *result, RegunEvent *event, RegunEvent *earlier) {
  return guarded([&] {
    *result = event->is_on_cpu() ? std::chrono::duration<double>(event->created - earlier->created).count()
                                : earlier->event.elapsedTime(event->event) / 1000;
  });
}

void regun_event_free(RegunEvent *event) { delete event; }

} // extern "C"
