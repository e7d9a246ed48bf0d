# shellcheck shell=bash
# Part of scripts/setup.sh: checks the versions of Rust and of the C++ compiler. libtorch is downloaded afterwards.

RUST=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
COMPILER=9 # the first version of GCC, and of Clang, that libtorch's headers accept (c10/util/C++17.h)
read -ra cxx <<<"${CXX:-c++}"

# Whether version $1 is $2 or later.
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Ends the script unless cargo and rustc are new enough. They are checked before the download of libtorch.
require_rust() {
    local tool path found version
    for tool in "${CARGO:-cargo}" "${RUSTC:-rustc}"; do
        path=$(command -v "$tool") || die "$tool is not in PATH; Rust $RUST or later is needed." \
            "Install it (https://rustup.rs), or load your cluster's module, then run this again."
        found=$("$path" --version 2>&1) || die "$path --version fails: $found" \
            "With rustup, this installs a toolchain: rustup default stable"
        version=$(printf '%s\n' "$found" | sed -n 's/^[a-z]* \([0-9.]*\).*/\1/p' | head -n 1)
        at_least "${version:-0}" "$RUST" || die "$path is version ${version:-unknown}; Rust $RUST or later is needed." \
            "With rustup: rustup update stable. Otherwise install rustup (https://rustup.rs), or load a newer module."
    done
}

# Ends the script if there is a C++ compiler and it cannot compile libtorch's headers.
require_compiler() {
    local path found kind version
    path=$(command -v "${cxx[0]}") || return 0
    found=$("${cxx[@]}" -std=c++17 -E -P -x c++ - <<<'__GNUC__ __clang_major__' 2>/dev/null) ||
        found="0 __clang_major__"
    case $(printf '%s\n' "$found" | tail -n 1) in
    *__clang_major__) kind=GCC version=${found%% *} ;;
    *) kind=Clang version=${found##* } ;;
    esac
    [ "$version" != 0 ] || die "$path does not know C++17; libtorch $TORCH needs GCC $COMPILER or Clang $COMPILER." \
        "Install or load a newer compiler, and name it if it is not c++: export CXX=g++-12 CC=gcc-12"
    at_least "$version" "$COMPILER" ||
        die "$path is $kind $version; libtorch $TORCH needs GCC $COMPILER or Clang $COMPILER, or later." \
            "Install or load a newer compiler, and name it if it is not c++: export CXX=g++-12 CC=gcc-12"
}
