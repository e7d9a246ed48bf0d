//! Compiles the C++ shim against the headers of the libtorch that torch-sys links, and writes that library's folder
//! into the binaries, so that they start without any environment variable.

use std::path::PathBuf;
use std::process::exit;

/// The C++ files of the shim.
const SOURCES: [&str; 11] = [
    "autocast",
    "autograd",
    "batch_norm",
    "cuda_graph",
    "fused_optimizer",
    "grads",
    "memory",
    "process",
    "stream",
    "transfer",
    "vmap",
];

fn main() {
    let headers = ["guard.h", "node.h", "shim.h", "stream.h"].map(String::from);
    for file in SOURCES.map(|name| format!("{name}.cpp")).into_iter().chain(headers).chain(["build.rs".into()]) {
        println!("cargo:rerun-if-changed=src/torch/{file}");
    }
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");

    let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
        eprintln!("torch-sys did not say where libtorch is (DEP_TCH_LIBTORCH_LIB is not set)");
        eprintln!(
            "hint: set LIBTORCH to the folder that holds libtorch's lib/ and include/, then run `cargo clean -p torch-sys`"
        );
        exit(1);
    };
    let include = lib.join("../include");
    if !include.join("ATen/ATen.h").is_file() {
        eprintln!("no libtorch headers: {} does not hold ATen/ATen.h", include.display());
        eprintln!("hint: point LIBTORCH at a complete libtorch (the Python wheel's torch/ folder is one)");
        exit(1);
    }

    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // As system headers: the compiler is silent about warnings in torch's own code.
        .flag("-isystem")
        .flag(&include)
        .flag("-isystem")
        .flag(include.join("torch/csrc/api/include"))
        .files(SOURCES.map(|name| format!("src/torch/{name}.cpp")))
        .compile("regun_shim");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
