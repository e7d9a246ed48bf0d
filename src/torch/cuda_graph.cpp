// CUDA graphs.

#include "guard.h"
#include "shim.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <map>
#include <memory>

namespace {

// at::cuda::CUDAGraph, looked up in libtorch's CUDA part if that is loaded. Its header needs CUDA's own headers, and
// linking to it would load a gigabyte into processes without a GPU. The mangled C++ names contain the whole signatures:
// a libtorch that has changed them counts as one without graphs.
struct GraphClass {
  void (*construct)(void *graph, bool keep_graph);
  void (*destruct)(void *graph);
  void (*capture_begin)(void *graph, c10::MempoolId_t pool, int capture_mode);
  void (*capture_end)(void *graph);
  void (*replay)(void *graph);
  c10::MempoolId_t (*pool_handle)();
  bool complete = false;

  static const GraphClass &get() {
    // Repeats the search until it succeeds: the library may be loaded later.
    static GraphClass found;
    if (!found.complete)
      found.find();
    return found;
  }

private:
  template <typename Function> bool symbol(void *library, Function *&function, const char *name) {
    function = reinterpret_cast<Function *>(dlsym(library, name));
    return function != nullptr;
  }

  void find() {
    void *library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
    complete = library && symbol(library, construct, "_ZN2at4cuda9CUDAGraphC1Eb") &&
               symbol(library, destruct, "_ZN2at4cuda9CUDAGraphD1Ev") &&
               symbol(library, capture_begin, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode") &&
               symbol(library, capture_end, "_ZN2at4cuda9CUDAGraph11capture_endEv") &&
               symbol(library, replay, "_ZN2at4cuda9CUDAGraph6replayEv") &&
               symbol(library, pool_handle, "_ZN2at4cuda17graph_pool_handleEv");
  }
};

// cudaStreamCaptureModeThreadLocal: calls of other threads (NCCL's, libtorch's backward pass) do not spoil a capture of
// this thread.
constexpr int THREAD_LOCAL = 1;

// CUDA cannot capture the default stream. All captures of a device use the same stream: cuBLAS keeps a workspace for
// each stream that it ever served.
c10::Stream capture_stream(c10::DeviceIndex index) {
  static std::map<c10::DeviceIndex, c10::Stream> streams;
  auto known = streams.find(index);
  if (known == streams.end()) {
    const c10::impl::VirtualGuardImpl guard(at::kCUDA);
    known = streams.emplace(index, guard.getStreamFromGlobalPool(c10::Device(at::kCUDA, index))).first;
  }
  return known->second;
}

} // namespace

struct RegunGraph {
  explicit RegunGraph(c10::MempoolId_t pool) : pool(pool) { GraphClass::get().construct(object, false); }
  RegunGraph(const RegunGraph &) = delete;
  RegunGraph &operator=(const RegunGraph &) = delete;
  ~RegunGraph() { GraphClass::get().destruct(object); }

  c10::MempoolId_t pool;
  // Storage for the object, which needs some 200 bytes.
  alignas(64) unsigned char object[4096];
};

extern "C" {

bool regun_has_graphs(void) { return GraphClass::get().complete; }

char *regun_capture_graph(RegunGraph **graph, int device, RegunGraph *pool_of, bool (*body)(void *), void *context) {
  return guarded([&] {
    const GraphClass &graphs = GraphClass::get();
    TORCH_CHECK(graphs.complete, "this libtorch has no CUDA graphs, or its CUDA part is not loaded");
    const auto index = static_cast<c10::DeviceIndex>(device);
    const c10::impl::VirtualGuardImpl guard(at::kCUDA);
    // The captured kernels may read results of work that is in flight now. The empty cache leaves them fresh memory.
    guard.synchronizeDevice(index);
    c10::getDeviceAllocator(at::kCUDA)->emptyCache();
    auto created = std::make_unique<RegunGraph>(pool_of ? pool_of->pool : graphs.pool_handle());
    c10::StreamGuard on_stream(capture_stream(index));
    bool done = false;
    try {
      graphs.capture_begin(created->object, created->pool, THREAD_LOCAL);
      done = body(context);
      graphs.capture_end(created->object);
    } catch (...) {
      // The allocator may go on asking this object whether its capture is active, so it is never freed.
      created.release();
      throw;
    }
    TORCH_CHECK(done, REGUN_CALLBACK_FAILED);
    *graph = created.release();
  });
}

char *regun_replay_graph(RegunGraph *graph) {
  return guarded([&] { GraphClass::get().replay(graph->object); });
}

void regun_free_graph(RegunGraph *graph) { delete graph; }

} // extern "C"
