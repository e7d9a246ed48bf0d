//! Compiles the C++ shim and records the git commit.
//!
//! The script runs again whenever a source of the program has changed, which builds the program again anyway.

mod commit;
mod shim;

/// Files and folders that the program is made of.
const SOURCES: [&str; 5] = ["build", "conf", "src", "Cargo.toml", "Cargo.lock"];

fn main() {
    for path in SOURCES {
        println!("cargo:rerun-if-changed={path}");
    }
    commit::record(&SOURCES);
    shim::compile();
}
