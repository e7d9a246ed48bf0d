//! libtorch's part for GPUs is loaded at run time. The test is a program of its own, because libtorch remembers its
//! first answer about GPUs.

use regun::torch::load_cuda;

#[test]
fn the_gpu_part_loads_at_run_time_or_gives_the_reason() {
    match load_cuda() {
        // Only the loaded part knows the version of cuDNN.
        Ok(()) => assert!(tch::utils::version_cudnn() > 0),
        Err(why) => assert!(why.contains("built for CPUs only"), "{why}"),
    }
}
