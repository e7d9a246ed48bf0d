#!/usr/bin/env bash
# Makes a fresh clone buildable: system packages, libtorch, and .cargo/config.toml to tell cargo where libtorch is.
#
# Run by every make target that compiles. Looks at what is really there, never at a stamp: silent and quick when
# nothing is missing, and a half-made .venv is noticed and made again.
#
# Which libtorch, in this order:
#   LIBTORCH_USE_PYTORCH   set: the PyTorch of the python3 in PATH (of `python` inside an active virtual environment)
#   LIBTORCH               set: that folder
#   .cargo/config.toml     the folder that an earlier run wrote there
#   .venv                  otherwise: made here with pip
# pip's own variables are honoured (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, PIP_CACHE_DIR, ...): a mirror,
# or an index of CPU-only wheels, which are far smaller.
# LIBCLANG_PATH, as bindgen reads it, says where libclang is when it is in no usual place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TORCH=2.11.0 # what torch-sys 0.24 is written for
# What our numbers are compared with, by tests and benchmarks: the last release made for that torch.
TORCHVISION=0.26.0
VENV=$PWD/.venv
CARGO_CONFIG=.cargo/config.toml
CONFIG_MARK='# Written by scripts/setup.sh. LIBTORCH in the environment wins over this file.'

say() { printf 'setup: %s\n' "$*" >&2; }

die() {
    printf 'setup: error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}

# Runs a command; where it fails, the last line is the command to try by hand.
run() {
    local status=0
    "$@" || status=$?
    [ "$status" -eq 0 ] || die "this command failed with exit code $status (its output is above):" "$(printf '%q ' "$@")"
}

# --- libtorch ---------------------------------------------------------------------------------------------------------

# Version of the libtorch in folder $1, empty where there is none. A header says it in wheels and in zip files alike
# (the second name is that of older versions).
libtorch_version() {
    local header
    [ -e "$1/lib/libtorch_cpu.so" ] || return 0
    for header in "$1"/include/torch/{headeronly,csrc/api/include/torch}/version.h; do
        [ ! -e "$header" ] || sed -n 's/^ *"\([0-9.]*\)" *$/\1/p' "$header"
    done | head -n 1
}

# Ends the script unless folder $1, which the variable $2 named, holds the right libtorch.
require_libtorch() {
    local found
    found=$(libtorch_version "$1")
    [ "$found" = "$TORCH" ] && return
    [ -z "$found" ] || found="version $found"
    die "$2 is set, and leads to '$1': ${found:-no libtorch there}, where libtorch $TORCH is needed." \
        "Point it to one, or unset it and run this again: then one is installed in .venv."
}

# The folder of the PyTorch that torch-sys would ask for one. Reads the file system: importing torch takes seconds.
pytorch_folder() {
    local python=python3
    [ -z "${VIRTUAL_ENV:-}" ] || python=python
    "$python" -c 'import importlib.util as u
torch = u.find_spec("torch")
print(torch.submodule_search_locations[0] if torch else "")'
}

configured_libtorch() {
    [ -e "$CARGO_CONFIG" ] && sed -n 's/^LIBTORCH = "\(.*\)"$/\1/p' "$CARGO_CONFIG" | head -n 1 | sed 's/\\\(["\]\)/\1/g'
}

venv_site_packages() { compgen -G "$VENV/lib/python3.*/site-packages" | head -n 1; }

# The NumPy for .venv, by its Python: 2.3 and later need Python 3.11.
venv_numpy() {
    case $(venv_site_packages) in
    */python3.10/*) echo 2.2.6 ;;
    *) echo 2.4.6 ;;
    esac
}

# The torch folder of .venv, where .venv is complete. pip writes INSTALLER only after all files of a package.
venv_libtorch() {
    local site
    site=$(venv_site_packages)
    [ -x "$VENV/bin/python" ] &&
        [ "$(libtorch_version "$site/torch")" = "$TORCH" ] &&
        compgen -G "$site/torch-$TORCH*.dist-info/INSTALLER" >/dev/null &&
        compgen -G "$site/torchvision-$TORCHVISION*.dist-info/INSTALLER" >/dev/null &&
        [ -e "$site/numpy-$(venv_numpy).dist-info/INSTALLER" ] &&
        echo "$site/torch"
}

# A Python that PyTorch has wheels for and that can make virtual environments, outside .venv.
find_python() {
    local name path
    for name in python3 /usr/bin/python3 python3.{14,13,12,11,10}; do
        path=$(command -v "$name") || continue
        case $path in "$VENV"/*) continue ;; esac
        if "$path" -I -c 'import ensurepip, sys, venv
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            echo "$path"
            return
        fi
    done
    return 1
}

make_venv() {
    local python
    python=$(find_python) || die "no Python 3.10 to 3.14 with the modules venv and ensurepip was found." \
        "Install one, or set LIBTORCH to a folder with libtorch $TORCH."
    if [ -e "$VENV" ] || [ -L "$VENV" ]; then
        say "removing .venv: it is incomplete"
        run rm -rf "$VENV"
    fi
    say "making .venv with $python"
    run "$python" -I -m venv "$VENV"
    say "installing PyTorch $TORCH in .venv: with its CUDA libraries a download of about 3 GB, once"
    # PIP_USER is set on some clusters, and fails inside a virtual environment.
    run env PIP_USER=0 "$VENV/bin/python" -I -m pip install "torch==$TORCH" "torchvision==$TORCHVISION" "numpy==$(venv_numpy)"
    venv_libtorch >/dev/null || die "pip reported success, but .venv does not hold libtorch $TORCH." \
        "Is this platform one that PyTorch has wheels for? Otherwise set LIBTORCH to a folder with libtorch $TORCH."
}

write_cargo_config() {
    local folder=$1 escaped
    [ "$(configured_libtorch)" != "$folder" ] || return 0
    if [ -e "$CARGO_CONFIG" ] && ! grep -qxF "$CONFIG_MARK" "$CARGO_CONFIG"; then
        die "$CARGO_CONFIG is not of this script's making and does not name the libtorch to use." \
            "Add to it:" "[env]" "LIBTORCH = \"$folder\""
    fi
    escaped=${folder//\\/\\\\}
    mkdir -p "$(dirname "$CARGO_CONFIG")"
    printf '%s\n[env]\nLIBTORCH = "%s"\n' "$CONFIG_MARK" "${escaped//\"/\\\"}" >"$CARGO_CONFIG"
    say "$CARGO_CONFIG names libtorch $TORCH in $folder"
}

# --- system packages --------------------------------------------------------------------------------------------------

have() { command -v "$1" >/dev/null; }

have_header() { printf '#if !__has_include(<%s>)\n#error\n#endif\n' "$1" | c++ -std=c++17 -E -x c++ - >/dev/null 2>&1; }

# Where clang-sys looks. Only development packages have the plain .so, and bindgen needs the headers that come with it.
have_libclang() {
    local pattern
    [ -z "${LIBCLANG_PATH:-}" ] || return 0
    for pattern in "/usr/lib/llvm-*/lib" "/usr/lib64" "/usr/lib64/llvm*/lib" "/usr/lib" "/usr/local/lib"; do
        if compgen -G "$pattern/libclang.so" >/dev/null; then return; fi
    done
    have llvm-config && [ -e "$(llvm-config --libdir)/libclang.so" ]
}

# Debian's names of what is missing, one per line. $1 = yes where .venv has to be made.
missing_packages() {
    have c++ || echo g++
    have pkg-config || echo pkg-config
    # libjpeg-turbo is compiled from source: without nasm it has no vector code.
    have cmake || echo cmake
    have nasm || echo nasm
    have mpicc || echo libopenmpi-dev
    have mpirun || have srun || echo openmpi-bin
    have_libclang || echo libclang-dev
    have_header nlohmann/json.hpp || echo nlohmann-json3-dev
    if [ "$1" = yes ] && ! find_python >/dev/null; then
        echo python3
        echo python3-venv
    fi
}

install_packages() {
    local packages=("$@") as_root=()
    local by_hand="apt-get update && apt-get install ${packages[*]}"
    have apt-get || die "missing: ${packages[*]} (Debian's names), and there is no apt-get here." \
        "Install or load (environment modules, conda) their counterparts, then run this again."
    if [ "$(id -u)" -ne 0 ]; then
        if have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            as_root=(sudo)
        else
            die "missing packages: ${packages[*]}" "They need root, and there is no sudo that works here. As root, run:" \
                "$by_hand" "and then this again."
        fi
    fi
    say "installing with apt-get: ${packages[*]}"
    # One broken third-party source must not stop us: what counts is whether the install works.
    "${as_root[@]}" apt-get update -qq </dev/null || say "apt-get update failed; trying with the package lists at hand"
    run "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y -qq --no-install-recommends "${packages[@]}" </dev/null
}

# --- main -------------------------------------------------------------------------------------------------------------

have cargo || die "cargo is not in PATH: install Rust (rustup, or your cluster's module), then run this again."

libtorch=
if [ -n "${LIBTORCH_USE_PYTORCH+set}" ]; then
    libtorch=$(pytorch_folder) || die "LIBTORCH_USE_PYTORCH is set, but no python3 runs here."
    require_libtorch "$libtorch" LIBTORCH_USE_PYTORCH
elif [ -n "${LIBTORCH+set}" ]; then
    require_libtorch "$LIBTORCH" LIBTORCH
    libtorch=$(cd "$LIBTORCH" && pwd)
else
    configured=$(configured_libtorch) || configured=
    case $configured in
    "" | "$VENV"/*) libtorch=$(venv_libtorch) || libtorch= ;;
    *)
        if [ "$(libtorch_version "$configured")" = "$TORCH" ]; then
            libtorch=$configured
        else
            say "$CARGO_CONFIG names '$configured', where there is no libtorch $TORCH: using .venv instead"
            libtorch=$(venv_libtorch) || libtorch=
        fi
        ;;
    esac
fi

needs_venv=no
[ -n "$libtorch" ] || needs_venv=yes
mapfile -t missing < <(missing_packages "$needs_venv")
[ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"

if [ "$needs_venv" = yes ]; then
    # Two setups at once: the second waits, then finds the work done. The lock ends with this process.
    # (Some network file systems have no locks for folders: there it goes on without.)
    exec 9<.
    flock 9 2>/dev/null || true
    venv_libtorch >/dev/null || make_venv
    libtorch=$(venv_libtorch)
fi
write_cargo_config "$libtorch"
