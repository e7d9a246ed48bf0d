// A stream beside a GPU's current stream, and events. A device is a GPU's index, or -1 for the CPU, which has no
// streams: its work is done when the call returns, and ordering does nothing.
//
// Functions return NULL or the text of an error, as in shim.h.

#pragma once
#include <stdbool.h>

#ifdef __cplusplus
#include <c10/core/Stream.h>
typedef c10::Stream *RegunStream;
extern "C" {
#else
typedef void *RegunStream;
#endif

// Makes a GPU the current device of this thread.
char *regun_set_device(int device);

// A stream of high priority from libtorch's pool; *handle = its cudaStream_t, NULL for the CPU. It is not the current
// stream of any thread.
char *regun_stream_new(RegunStream *result, void **handle, int device);
void regun_stream_free(RegunStream stream);
// follow: later work on `stream` waits for all work that this thread's current stream holds now. join: the reverse.
char *regun_stream_follow_current(RegunStream stream);
char *regun_stream_join_current(RegunStream stream);

// An event at the present end of `stream`, or of this thread's current stream if `stream` is NULL. Only timed events
// have a time. May be used from any thread.
typedef struct RegunEvent RegunEvent;
char *regun_event_new(RegunEvent **result, int device, RegunStream stream, bool timed);
// Whether the device has reached the event.
char *regun_event_reached(bool *result, RegunEvent *event);
// Waits until the device has reached the event.
char *regun_event_wait(RegunEvent *event);
// Time on the device between two timed events that it has reached.
char *regun_event_seconds_since(double *result, RegunEvent *event, RegunEvent *earlier);
void regun_event_free(RegunEvent *event);

#ifdef __cplusplus
}
#endif
