// A stand-in for libnccl.so.2 in tests: the functions of nccl.h that regun calls, on host memory, between processes of
// one machine. Ranks meet in a file of $FAKE_NCCL_DIR that is mapped into all of them; the unique id is its name.
//
// As with the real library's blocking=1, start and end return when all ranks have called them. Collectives are complete
// when they return. Sums of 16-bit floats run in float32 in rank order and are rounded once.
//
// Each call is logged in $FAKE_NCCL_DIR/calls.<pid>. $FAKE_NCCL_FAULT chooses a fault:
//   init_hangs:R      rank R never joins
//   async_error:N     an asynchronous error 0.2 s after the N-th collective (counted from 1)
//   stuck:N           the N-th collective never returns
//   call_error:N      the N-th collective returns an error
// -DWITHOUT_FINALIZE leaves a function out, -DVERSION=... changes the version.

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION 22809
#endif

enum { SUCCESS = 0, INTERNAL = 3, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE = 6 };
enum { UINT8 = 1, INT64 = 4, FLOAT16 = 6, FLOAT32 = 7, FLOAT64 = 8, BFLOAT16 = 9 };
enum { MAX_RANKS = 8, SLOT = 1 << 20 };

typedef struct { char name[128]; } UniqueId;
typedef struct { size_t size; unsigned magic, version; int blocking; } Config;

typedef struct {
  atomic_int joined, left, waiting, round;
  char slots[MAX_RANKS][SLOT];
} Shared;

typedef struct {
  Shared *shared;
  int rank, ranks, collectives;
  bool finalized;
} Comm;

static const char *environment(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value ? value : otherwise;
}

// Returns when all ranks have called it.
static void meet(atomic_int *arrived, int ranks) {
  atomic_fetch_add(arrived, 1);
  while (atomic_load(arrived) < ranks)
    sched_yield();
}

static void log_call(const char *call) {
  char path[4096], line[256];
  snprintf(path, sizeof path, "%s/calls.%d", environment("FAKE_NCCL_DIR", "."), (int)getpid());
  int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (file < 0 || write(file, line, snprintf(line, sizeof line, "%s\n", call)) < 0)
    abort();
  close(file);
}

// The number of this fault in $FAKE_NCCL_FAULT; -1 if that holds another fault or none.
static int fault(const char *name) {
  const char *chosen = environment("FAKE_NCCL_FAULT", "");
  size_t length = strlen(name);
  return strncmp(chosen, name, length) == 0 && chosen[length] == ':' ? atoi(chosen + length + 1) : -1;
}

int ncclGetVersion(int *version) {
  *version = VERSION;
  return SUCCESS;
}

int ncclGetUniqueId(UniqueId *id) {
  log_call("ncclGetUniqueId");
  static int count;
  memset(id, 0, sizeof *id);
  snprintf(id->name, sizeof id->name, "nccl.%d.%d", (int)getpid(), count++);
  return SUCCESS;
}

int ncclCommInitRankConfig(Comm **result, int ranks, UniqueId id, int rank, Config *config) {
  log_call("ncclCommInitRankConfig");
  if (config->magic != 0xcafebeef || config->size != sizeof(Config) || config->blocking != 1 || ranks > MAX_RANKS)
    return INVALID_ARGUMENT;
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", environment("FAKE_NCCL_DIR", "."), id.name);
  int file = open(path, O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, sizeof(Shared)) != 0)
    return INTERNAL;
  Comm *comm = calloc(1, sizeof *comm);
  comm->shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  comm->rank = rank;
  comm->ranks = ranks;
  if (fault("init_hangs") == rank)
    pause();
  meet(&comm->shared->joined, ranks);
  *result = comm;
  return SUCCESS;
}

int ncclCommGetAsyncError(Comm *comm, int *state) {
  *state = SUCCESS;
  static struct timespec failed;
  if (fault("async_error") > 0 && comm->collectives >= fault("async_error")) {
    // 0.2 s later, when the failing call has returned.
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (failed.tv_sec == 0)
      failed = now;
    if ((now.tv_sec - failed.tv_sec) * 1000 + (now.tv_nsec - failed.tv_nsec) / 1000000 > 200)
      *state = REMOTE;
  }
  return SUCCESS;
}

#ifndef WITHOUT_FINALIZE
int ncclCommFinalize(Comm *comm) {
  log_call("ncclCommFinalize");
  meet(&comm->shared->left, comm->ranks);
  comm->finalized = true;
  return SUCCESS;
}
#endif

int ncclCommDestroy(Comm *comm) {
  log_call("ncclCommDestroy");
  if (!comm->finalized)
    return INVALID_USAGE;
  munmap(comm->shared, sizeof(Shared));
  free(comm);
  return SUCCESS;
}

const char *ncclGetErrorString(int result) { return result == REMOTE ? "remote process exited" : "some error"; }
const char *ncclGetLastError(Comm *comm) { return comm ? "the fake was told to fail" : ""; }

static void barrier(Comm *comm) {
  int round = atomic_load(&comm->shared->round);
  if (atomic_fetch_add(&comm->shared->waiting, 1) + 1 == comm->ranks) {
    atomic_store(&comm->shared->waiting, 0);
    atomic_fetch_add(&comm->shared->round, 1);
  } else {
    while (atomic_load(&comm->shared->round) == round)
      sched_yield();
  }
}

static size_t bytes_of(int dtype) {
  switch (dtype) {
  case UINT8: return 1;
  case FLOAT16: case BFLOAT16: return 2;
  case FLOAT32: return 4;
  default: return 8;
  }
}

static float widened(int dtype, const void *from) {
  if (dtype == FLOAT16)
    return (float)*(const _Float16 *)from;
  uint32_t bits = (uint32_t)*(const uint16_t *)from << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static void narrowed(int dtype, float value, void *to) {
  if (dtype == FLOAT16) {
    *(_Float16 *)to = (_Float16)value;
    return;
  }
  uint32_t bits;
  memcpy(&bits, &value, 4);
  bits += 0x7fff + (bits >> 16 & 1); // to the nearest, ties to even
  *(uint16_t *)to = bits >> 16;
}

#define SUM(type)                                                                                                      \
  for (size_t i = 0; i < count; i++) {                                                                                 \
    type sum = ((type *)comm->shared->slots[0])[i];                                                                    \
    for (int rank = 1; rank < comm->ranks; rank++)                                                                     \
      sum += ((type *)comm->shared->slots[rank])[i];                                                                   \
    ((type *)to)[i] = sum;                                                                                             \
  }

static void sum_slots(Comm *comm, int dtype, void *to, size_t count) {
  switch (dtype) {
  case INT64: SUM(int64_t) break;
  case FLOAT32: SUM(float) break;
  case FLOAT64: SUM(double) break;
  default:
    for (size_t i = 0; i < count; i++) {
      float sum = 0;
      for (int rank = 0; rank < comm->ranks; rank++)
        sum += widened(dtype, comm->shared->slots[rank] + 2 * i);
      narrowed(dtype, sum, (char *)to + 2 * i);
    }
  }
}

static int collective(Comm *comm, const char *name) {
  log_call(name);
  if (comm->finalized)
    return INVALID_USAGE;
  comm->collectives++;
  if (fault("stuck") == comm->collectives)
    pause();
  return fault("call_error") == comm->collectives ? INTERNAL : SUCCESS;
}

// All ranks copy a chunk of their data into their slots, then read the slots.
#define IN_PIECES(size, STEPS)                                                                                         \
  for (size_t done = 0, piece; done < (size); done += piece) {                                                         \
    piece = (size) - done < SLOT ? (size) - done : SLOT;                                                               \
    memcpy(comm->shared->slots[comm->rank], (const char *)from + done, piece);                                         \
    barrier(comm);                                                                                                     \
    STEPS;                                                                                                             \
    barrier(comm);                                                                                                     \
  }

int ncclAllReduce(const void *from, void *to, size_t count, int dtype, int op, Comm *comm, void *stream) {
  int result = collective(comm, "ncclAllReduce");
  if (op != 0 || stream != NULL)
    return INVALID_ARGUMENT;
  if (result == SUCCESS)
    IN_PIECES(count * bytes_of(dtype), sum_slots(comm, dtype, (char *)to + done, piece / bytes_of(dtype)))
  return result;
}

int ncclReduce(const void *from, void *to, size_t count, int dtype, int op, int root, Comm *comm, void *stream) {
  int result = collective(comm, "ncclReduce");
  if (op != 0 || stream != NULL)
    return INVALID_ARGUMENT;
  if (result == SUCCESS)
    IN_PIECES(count * bytes_of(dtype), if (comm->rank == root)
                                           sum_slots(comm, dtype, (char *)to + done, piece / bytes_of(dtype)))
  return result;
}

int ncclBroadcast(const void *from, void *to, size_t count, int dtype, int root, Comm *comm, void *stream) {
  int result = collective(comm, "ncclBroadcast");
  if (stream != NULL)
    return INVALID_ARGUMENT;
  if (result == SUCCESS)
    IN_PIECES(count * bytes_of(dtype), memcpy((char *)to + done, comm->shared->slots[root], piece))
  return result;
}

int ncclAllGather(const void *from, void *to, size_t count, int dtype, Comm *comm, void *stream) {
  int result = collective(comm, "ncclAllGather");
  if (stream != NULL)
    return INVALID_ARGUMENT;
  size_t size = count * bytes_of(dtype);
  if (result == SUCCESS)
    IN_PIECES(size, for (int rank = 0; rank < comm->ranks; rank++)
                        memcpy((char *)to + rank * size + done, comm->shared->slots[rank], piece))
  return result;
}
