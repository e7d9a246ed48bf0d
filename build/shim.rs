//! Compiles the C++ shim against the headers of the libtorch that torch-sys links, and writes that library's folder
//! into the binaries, so that they start without any environment variable.

use std::path::{Path, PathBuf};
use std::process::exit;
use std::{env, fs};

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

/// The header files of the shim.
const HEADERS: [&str; 5] = ["guard.h", "node.h", "shim.h", "stream.h", "stand_ins/nlohmann/json.hpp"];

/// Variables that choose the compiler and its options.
const VARIABLES: [&str; 3] = ["CXX", "CXXFLAGS", "OPT_LEVEL"];

/// Compiles the shim, unless it is there already from the same files with the same compiler, and links it.
pub fn compile() {
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    for variable in VARIABLES {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let lib = libtorch();
    let include = lib.join("../include");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let (library, inputs_file) = (out.join("libregun_shim.a"), out.join("regun_shim.inputs"));
    let inputs = inputs(&include);
    if !library.exists() || fs::read(&inputs_file).ok().as_ref() != Some(&inputs) {
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            .include("src/torch/stand_ins")
            .cargo_metadata(false)
            // As system headers: the compiler is silent about warnings in torch's own code.
            .flag("-isystem")
            .flag(&include)
            .flag("-isystem")
            .flag(include.join("torch/csrc/api/include"))
            .files(SOURCES.map(|name| format!("src/torch/{name}.cpp")))
            .compile("regun_shim");
        fs::write(&inputs_file, &inputs).expect("OUT_DIR is writable");
    }
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=regun_shim");
    println!("cargo:rustc-link-lib=stdc++");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
}

/// The folder with the libraries of libtorch. Ends the build if there is none.
fn libtorch() -> PathBuf {
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else {
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
    lib
}

/// All that the compiled shim depends on: this file, the C++ files, libtorch's folder and version, the compiler.
fn inputs(include: &Path) -> Vec<u8> {
    let files = SOURCES.map(|name| format!("src/torch/{name}.cpp"));
    let headers = HEADERS.map(|name| format!("src/torch/{name}"));
    let version = include.join("torch/version.h");
    let ours = ["build/shim.rs".into()].into_iter().chain(files).chain(headers).map(PathBuf::from);
    let mut inputs = include.as_os_str().as_encoded_bytes().to_vec();
    for path in ours.chain([version]) {
        inputs.extend(fs::read(&path).unwrap_or_default());
    }
    for variable in VARIABLES {
        inputs.extend(env::var_os(variable).unwrap_or_default().as_encoded_bytes());
    }
    inputs
}
