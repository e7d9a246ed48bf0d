// What runs on a device while the host goes on: autocast regions, uploads, recorded graphs.

#include "guard.h"
#include "shim.h"

#include <ATen/autocast_mode.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <map>
#include <memory>

namespace {

// at::cuda::CUDAGraph, found in libtorch's CUDA part where that is loaded. Its header needs those of CUDA's compiler,
// and linking to it would load a gigabyte into processes without a GPU. The full C++ names stand for the whole
// signatures: a libtorch that has changed them is told apart, and counts as one without graphs.
struct GraphClass {
  void (*construct)(void *graph, bool keep_graph);
  void (*destruct)(void *graph);
  void (*capture_begin)(void *graph, c10::MempoolId_t pool, int capture_mode);
  void (*capture_end)(void *graph);
  void (*replay)(void *graph);
  c10::MempoolId_t (*pool_handle)();
  bool complete = false;

  static const GraphClass &get() {
    // Asked anew until it is there: the library may be loaded later.
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

// cudaStreamCaptureModeThreadLocal: other threads (NCCL's, libtorch's backward pass) may do what would spoil a
// recording of this one.
constexpr int THREAD_LOCAL = 1;

// The default stream cannot be recorded. Always the same one: cuBLAS keeps a workspace for each that it ever met.
c10::Stream recording_stream(c10::DeviceIndex index) {
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
  // The object itself, some 200 bytes.
  alignas(64) unsigned char object[4096];
};

extern "C" {

char *regun_enter_autocast(bool cuda, int dtype, RegunAutocast *before) {
  return guarded([&] {
    const auto type = cuda ? at::kCUDA : at::kCPU;
    const auto wanted = static_cast<at::ScalarType>(dtype);
    *before = {cuda, at::autocast::is_autocast_enabled(type),
               static_cast<int>(at::autocast::get_autocast_dtype(type))};
    at::autocast::set_autocast_enabled(type, wanted != at::kFloat);
    if (wanted != at::kFloat)
      at::autocast::set_autocast_dtype(type, wanted);
    at::autocast::increment_nesting();
  });
}

char *regun_leave_autocast(RegunAutocast before) {
  return guarded([&] {
    const auto type = before.cuda ? at::kCUDA : at::kCPU;
    // Weights change after the outermost region: their casts are of no use any more.
    if (at::autocast::decrement_nesting() == 0)
      at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(type, before.enabled);
    at::autocast::set_autocast_dtype(type, static_cast<at::ScalarType>(before.dtype));
  });
}

char *regun_upload(Tensor *result, Tensor host, int device) {
  return guarded([&] {
    const c10::Device there(at::kCUDA, static_cast<c10::DeviceIndex>(device));
    *result = new at::Tensor(host->pin_memory().to(there, host->scalar_type(), /*non_blocking=*/true));
  });
}

bool regun_has_graphs(void) { return GraphClass::get().complete; }

char *regun_capture_graph(RegunGraph **graph, int device, RegunGraph *shares, bool (*body)(void *), void *context) {
  return guarded([&] {
    const GraphClass &graphs = GraphClass::get();
    TORCH_CHECK(graphs.complete, "this libtorch has no CUDA graphs, or its CUDA part is not loaded");
    const auto index = static_cast<c10::DeviceIndex>(device);
    const c10::impl::VirtualGuardImpl guard(at::kCUDA);
    // What is recorded may read anything that is in flight now, and gets memory that nobody holds.
    guard.synchronizeDevice(index);
    c10::getDeviceAllocator(at::kCUDA)->emptyCache();
    auto made = std::make_unique<RegunGraph>(shares ? shares->pool : graphs.pool_handle());
    c10::StreamGuard on_stream(recording_stream(index));
    bool done = false;
    try {
      graphs.capture_begin(made->object, made->pool, THREAD_LOCAL);
      done = body(context);
      graphs.capture_end(made->object);
    } catch (...) {
      // The allocator may go on asking this object whether it still records: it is never freed.
      made.release();
      throw;
    }
    TORCH_CHECK(done, REGUN_CALLBACK_FAILED);
    *graph = made.release();
  });
}

char *regun_replay_graph(RegunGraph *graph) {
  return guarded([&] { GraphClass::get().replay(graph->object); });
}

void regun_free_graph(RegunGraph *graph) { delete graph; }

} // extern "C"
