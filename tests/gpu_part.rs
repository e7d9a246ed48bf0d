//! libtorch's part for GPUs is loaded at run time. The test is a program of its own, because libtorch remembers its
//! first answer about GPUs.

use regun::torch::{CudaGraph, libtorch_folder, load_cuda};

#[test]
fn the_gpu_part_loads_at_run_time_or_gives_the_reason() {
    assert!(!CudaGraph::is_available(), "the part is loaded at the start");
    let has_gpu_part = libtorch_folder().unwrap().join("libtorch_cuda.so").exists();
    match load_cuda() {
        Ok(()) => {
            // Only the loaded part knows the version of cuDNN.
            assert!(has_gpu_part && tch::utils::version_cudnn() > 0);
            // The mangled names in src/torch/cuda_graph.cpp are those of this libtorch. No GPU is needed to see that.
            assert!(CudaGraph::is_available(), "this libtorch has other names for CUDA graphs");
        }
        Err(why) => assert!(!has_gpu_part && why.contains("built for CPUs only"), "{why}"),
    }
}
