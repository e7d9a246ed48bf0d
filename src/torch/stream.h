// A second queue of work beside a GPU's current stream, and points in it. A device is a GPU's index, or -1 for the CPU,
// which has no streams: there everything is done at once, and ordering does nothing.
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
// The stream's next work waits for all that this thread's current stream was given so far; and the other way round.
char *regun_stream_follow_current(RegunStream stream);
char *regun_stream_join_current(RegunStream stream);

// A point in a device's work: what is now the end of `stream`, or of this thread's current stream where that is NULL.
// Only between timed ones can time be taken. May be used from any thread.
typedef struct RegunEvent RegunEvent;
char *regun_event_new(RegunEvent **result, int device, RegunStream stream, bool timed);
// Whether the device has come there; waits until it has; the time that it took from one to the other, both reached.
char *regun_event_reached(bool *result, RegunEvent *event);
char *regun_event_wait(RegunEvent *event);
char *regun_event_seconds_since(double *result, RegunEvent *event, RegunEvent *earlier);
void regun_event_free(RegunEvent *event);

#ifdef __cplusplus
}
#endif
