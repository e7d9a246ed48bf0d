//! `scripts/setup.sh` on machines that lack something. The tools of each machine are small scripts in a folder, which is
//! the whole `PATH` but for a few tools of the system.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const PROJECT: &str = env!("CARGO_MANIFEST_DIR");
/// Tools that are the system's own.
const TOOLS: [&str; 17] = [
    "bash", "cat", "chmod", "dirname", "env", "flock", "grep", "head", "id", "mkdir", "mv", "readlink", "rm", "sed",
    "sort", "tail", "uname",
];
const RUSTC: &str = "echo 'rustc 1.97.0 (8a1f 2026-01-01)'";
const CARGO: &str = "echo 'cargo 1.97.0 (8a1f 2026-01-01)'";
/// Answers for the macros `__GNUC__` and `__clang_major__`, and for the folder of headers.
const GCC_12: &str = "case $1 in -print*) echo /gcc/include ;; *) echo '12 __clang_major__' ;; esac";
/// A Python that has no packages.
const PYTHON: &str = "case $2 in *platform*) echo 3.11.4 ;; *) echo ;; esac";

/// A machine with all that is needed: a clone of the scripts, libtorch and libclang, and the tools.
struct Machine {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Machine {
    fn new() -> Self {
        let machine = Machine { folder: tempfile::tempdir().unwrap(), variables: Vec::new() };
        for file in ["Cargo.toml", "scripts/setup.sh", "scripts/setup/versions.sh", "scripts/setup/libclang.sh"] {
            machine.write(&format!("clone/{file}"), &fs::read(Path::new(PROJECT).join(file)).unwrap());
        }
        machine.write("libtorch/lib/libtorch_cpu.so", b"");
        machine.write("libtorch/include/torch/headeronly/version.h", b"#define TORCH_VERSION \\\n  \"2.11.0\"\n");
        machine.write("usr/lib/llvm-14/lib/libclang.so", b"");
        machine.write("usr/lib/llvm-14/lib/clang/14.0.6/include/stddef.h", b"");
        for tool in TOOLS {
            let path = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
            let found = path.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no {tool} here"));
            fs::create_dir_all(machine.path("tools")).unwrap();
            symlink(found, machine.path("tools").join(tool)).unwrap();
        }
        for (name, script) in [("rustc", RUSTC), ("cargo", CARGO), ("c++", GCC_12), ("python3", PYTHON)] {
            machine.tool(name, script);
        }
        for name in ["pkg-config", "cmake", "nasm", "mpicc", "mpirun"] {
            machine.tool(name, "exit 1");
        }
        let libtorch = machine.path("libtorch").display().to_string();
        machine.with("LIBTORCH", &libtorch)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, below: &str, content: &[u8]) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes a tool of a line for the shell.
    fn tool(&self, name: &str, script: &str) {
        let below = format!("tools/{name}");
        self.write(&below, format!("#!/bin/bash\n{script}\n").as_bytes());
        fs::set_permissions(self.path(&below), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &'static str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self
    }

    /// Runs the script: its exit code and its messages.
    fn set_up(&self) -> (Option<i32>, String) {
        let mut command = Command::new("/bin/bash");
        command.arg(self.path("clone/scripts/setup.sh")).env_clear();
        command.env("PATH", self.path("tools")).env("SYSTEM_ROOT", self.folder.path());
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    /// Runs the script, which must fail before it downloads anything.
    #[track_caller]
    fn fails(&self, parts: &[&str]) {
        let (code, text) = self.set_up();
        assert_eq!(code, Some(1), "{text}");
        for part in parts {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!self.path("clone/.venv").exists() && !text.contains("installing"), "{text}");
    }

    /// Runs the script, which must succeed: the configuration of cargo that it wrote.
    #[track_caller]
    fn succeeds(&self) -> String {
        let (code, text) = self.set_up();
        assert_eq!(code, Some(0), "{text}");
        fs::read_to_string(self.path("clone/.cargo/config.toml")).unwrap()
    }
}

#[test]
fn a_machine_that_has_everything_is_configured_once_and_told_the_costs() {
    let machine = Machine::new();
    let (code, text) = machine.set_up();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the first build") && text.contains("GB of memory"), "{text}");
    assert!(text.contains("names libtorch 2.11.0"), "{text}");
    machine.write("clone/target/release/build/torch-sys-1/output", b"");
    assert_eq!(machine.set_up(), (Some(0), String::new()), "the second time");
    assert!(!machine.succeeds().contains("LIBCLANG_PATH"), "bindgen finds that libclang itself");
}

#[test]
fn an_old_rust_is_named_with_its_version() {
    for (tool, script, parts) in [
        (
            "rustc",
            "echo 'rustc 1.63.0 (Debian)'",
            ["tools/rustc is version 1.63.0", "Rust 1.9", "rustup update stable"],
        ),
        ("cargo", "echo 'cargo 1.85.1'", ["tools/cargo is version 1.85.1", "Rust 1.9", "rustup.rs"]),
        (
            "rustc",
            "echo 'error: rustup could not choose a version of rustc to run' >&2; exit 1",
            ["tools/rustc --version fails", "could not choose", "rustup default stable"],
        ),
    ] {
        let machine = Machine::new();
        machine.tool(tool, script);
        machine.fails(&parts);
    }
    let machine = Machine::new();
    fs::remove_file(machine.path("tools/cargo")).unwrap();
    machine.fails(&["cargo is not in PATH", "https://rustup.rs"]);
    machine.tool("cargo", "echo 'cargo 1.98.0-nightly (8a1f 2026-01-01)'");
    machine.succeeds();
}

#[test]
fn a_compiler_that_libtorch_does_not_accept_is_named_with_its_version() {
    for (script, parts) in [
        ("echo '8 __clang_major__'", ["tools/c++ is GCC 8;", "GCC 9 or Clang 9", "export CXX="]),
        ("echo '4 7'", ["tools/c++ is Clang 7;", "GCC 9 or Clang 9", "export CXX="]),
        (
            "echo 'unrecognized option -std=c++17' >&2; exit 1",
            ["tools/c++ does not know C++17", "GCC 9", "export CXX="],
        ),
    ] {
        let machine = Machine::new();
        machine.tool("c++", script);
        machine.fails(&parts);
        // CXX names another compiler, with arguments.
        let machine = machine.with("CXX", "g++-13 -m64");
        machine.tool("g++-13", "echo '13 __clang_major__'");
        machine.succeeds();
    }
    let machine = Machine::new();
    machine.tool("c++", "echo '4 17'");
    machine.succeeds();
}

#[test]
fn a_python_without_torch_is_named() {
    let machine = Machine::new().without("LIBTORCH").with("LIBTORCH_USE_PYTORCH", "1");
    machine.fails(&["tools/python3 (Python 3.11.4) has no torch", "-m pip install torch==2.11.0"]);
    // In a virtual environment torch-sys asks `python`.
    let machine = machine.with("VIRTUAL_ENV", "/env");
    machine.fails(&["there is no python in PATH"]);
    machine.tool("python", "case $2 in *platform*) echo 3.12.1 ;; *) echo /old/torch ;; esac");
    machine.fails(&["LIBTORCH_USE_PYTORCH is set, and leads to '/old/torch'", "no libtorch there"]);
    let torch = machine.path("libtorch").display().to_string();
    machine.tool("python", &format!("case $2 in *platform*) echo 3.12.1 ;; *) echo '{torch}' ;; esac"));
    assert!(machine.succeeds().contains(&format!("LIBTORCH = \"{torch}\"")));
}

#[test]
fn a_libclang_of_conda_or_a_module_is_found() {
    for (variable, library, folder) in [
        ("CONDA_PREFIX", "conda/lib/libclang.so.13", "conda/lib"),
        ("EBROOTCLANG", "conda/lib64/libclang-17.so", "conda/lib64"),
        ("LLVM_ROOT", "conda/lib/libclang.so", "conda/lib"),
    ] {
        let machine = Machine::new();
        fs::remove_dir_all(machine.path("usr")).unwrap();
        machine.write(library, b"");
        let prefix = machine.path("conda").display().to_string();
        let machine = machine.with(variable, &prefix);
        let found = machine.path(folder).display().to_string();
        let config = machine.succeeds();
        assert!(config.contains(&format!("LIBCLANG_PATH = \"{found}\"")), "{config}");
        assert!(config.contains("BINDGEN_EXTRA_CLANG_ARGS = \"-isystem /gcc/include\""), "no headers: {config}");
        // Found once, it stays configured where the module is not loaded.
        let machine = machine.without(variable);
        assert_eq!(machine.succeeds(), config);

        machine.write(&format!("{folder}/clang/17/include/stddef.h"), b"");
        let config = machine.succeeds();
        assert!(config.contains("LIBCLANG_PATH") && !config.contains("BINDGEN_EXTRA_CLANG_ARGS"), "{config}");
    }
    // The clang of a module in PATH, and the package of pip.
    let machine = Machine::new();
    fs::remove_dir_all(machine.path("usr")).unwrap();
    let package = machine.path("site-packages/clang").display().to_string();
    machine.tool("python3", &format!("echo '{package}'"));
    machine.write("site-packages/clang/native/libclang.so", b"");
    assert!(machine.succeeds().contains(&format!("LIBCLANG_PATH = \"{package}/native\"")));
    machine.write("llvm/bin/clang", b"");
    fs::set_permissions(machine.path("llvm/bin/clang"), fs::Permissions::from_mode(0o755)).unwrap();
    machine.write("llvm/lib/libclang.so", b"");
    symlink(machine.path("llvm/bin/clang"), machine.path("tools/clang")).unwrap();
    fs::remove_dir_all(machine.path("clone/.cargo")).unwrap();
    assert!(machine.succeeds().contains("llvm/lib\""));
}

#[test]
fn a_missing_libclang_is_asked_for() {
    let machine = Machine::new();
    fs::remove_dir_all(machine.path("usr")).unwrap();
    machine.fails(&["missing: libclang-dev", "no apt-get", "conda install", "export LIBCLANG_PATH="]);
    // C++'s interface alone is of no use to bindgen.
    machine.write("usr/lib/libclang-cpp.so.14", b"");
    machine.fails(&["missing: libclang-dev"]);
    let machine = machine.with("LIBCLANG_PATH", "/nowhere");
    machine.fails(&["LIBCLANG_PATH is set, but there is no libclang.so in '/nowhere'"]);
    machine.write("llvm/libclang.so.17", b"");
    let folder = machine.path("llvm").display().to_string();
    let machine = machine.with("LIBCLANG_PATH", &folder);
    assert!(!machine.succeeds().contains("LIBCLANG_PATH"), "the variable tells bindgen");
}

#[test]
fn a_configuration_of_the_users_own_is_not_replaced() {
    let machine = Machine::new();
    machine.write("clone/.cargo/config.toml", b"[build]\njobs = 2\n");
    machine.fails(&[".cargo/config.toml was not written by this script", "[env]", "LIBTORCH = \""]);
    let libtorch = machine.path("libtorch").display().to_string();
    let own = format!("[build]\njobs = 2\n[env]\nLIBTORCH = \"{libtorch}\"\n");
    machine.write("clone/.cargo/config.toml", own.as_bytes());
    assert_eq!(machine.succeeds(), own);
}
