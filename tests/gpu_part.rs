//! libtorch's part for GPUs is loaded at run time. A program of its own: libtorch remembers what it was asked before.

use regun::torch::load_cuda;

#[test]
fn the_gpu_part_loads_at_run_time_or_says_why_not() {
    match load_cuda() {
        // Its parts have registered themselves: nobody else knows that number.
        Ok(()) => assert!(tch::utils::version_cudnn() > 0),
        Err(why) => assert!(why.contains("built for CPUs only"), "{why}"),
    }
}
