#!/usr/bin/env bash
# Makes a fresh clone buildable: system packages, libtorch, and .cargo/config.toml to tell cargo where libtorch is.
#
# Every make target that compiles runs this. It checks the installed files themselves and keeps no stamp file. It is
# silent and quick if nothing is missing, and makes an incomplete .venv again.
#
# The libtorch is, in this order:
#   LIBTORCH_USE_PYTORCH   set: the PyTorch of the python3 in PATH (of `python` inside an active virtual environment)
#   LIBTORCH               set: that folder
#   .cargo/config.toml     the folder that an earlier run wrote there
#   .venv                  otherwise: made here with pip
# pip's own variables apply (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, PIP_CACHE_DIR, ...). They can name a
# mirror, or an index of CPU-only wheels, which are far smaller.
# CXX names the C++ compiler if it is not c++. LIBCLANG_PATH, a variable of bindgen, names the folder of libclang if it
# is in no usual place.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TORCH=2.11.0 # the version that torch-sys 0.24 needs
# Tests and benchmarks compare with torchvision. This is the last release for that torch.
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

# Runs a command. If it fails, the last line of the error is the command to try by hand.
run() {
    local status=0
    "$@" || status=$?
    [ "$status" -eq 0 ] ||
        die "this command failed with exit code $status (its output is above):" "$(printf '%q ' "$@")"
}

# shellcheck source=scripts/setup/versions.sh
source scripts/setup/versions.sh
# shellcheck source=scripts/setup/libclang.sh
source scripts/setup/libclang.sh

have() { command -v "$1" >/dev/null; }

# --- libtorch ---------------------------------------------------------------------------------------------------------

# Version of the libtorch in folder $1, empty if there is none. A header of wheels and of zip files has it (the second
# name is that of older versions).
libtorch_version() {
    local header
    [ -e "$1/lib/libtorch_cpu.so" ] || return 0
    for header in "$1"/include/torch/{headeronly,csrc/api/include/torch}/version.h; do
        [ ! -e "$header" ] || sed -n 's/^ *"\([0-9.]*\)" *$/\1/p' "$header"
    done | head -n 1
}

# Ends the script unless folder $1, the value of the variable $2, holds the right libtorch.
require_libtorch() {
    local found
    found=$(libtorch_version "$1")
    [ "$found" = "$TORCH" ] && return
    [ -z "$found" ] || found="version $found"
    die "$2 is set, and leads to '$1': ${found:-no libtorch there}, where libtorch $TORCH is needed." \
        "Point it to one, or unset it and run this again: then one is installed in .venv."
}

# The folder of the PyTorch that torch-sys would use. Finds it without importing torch, which takes seconds.
pytorch_folder() {
    local name=python3 python version folder
    [ -z "${VIRTUAL_ENV:-}" ] || name=python
    python=$(command -v "$name") || die "LIBTORCH_USE_PYTORCH is set, but there is no $name in PATH."
    version=$("$python" -c 'import platform; print(platform.python_version())') ||
        die "LIBTORCH_USE_PYTORCH is set, but $python does not run."
    folder=$("$python" -c 'import importlib.util as u
torch = u.find_spec("torch")
print(torch.submodule_search_locations[0] if torch else "")')
    [ -n "$folder" ] || die "LIBTORCH_USE_PYTORCH is set, and $python (Python $version) has no torch." \
        "Activate the environment that has torch $TORCH, or install it: $python -m pip install torch==$TORCH" \
        "Or unset LIBTORCH_USE_PYTORCH and run this again: then it is installed in .venv."
    echo "$folder"
}

# The value of variable $1 in cargo's configuration.
configured() {
    [ -e "$CARGO_CONFIG" ] && sed -n "s/^$1 = \"\(.*\)\"\$/\1/p" "$CARGO_CONFIG" | head -n 1 | sed 's/\\\(["\]\)/\1/g'
}

venv_site_packages() { compgen -G "$VENV/lib/python3.*/site-packages" | head -n 1; }

# The version of NumPy for the Python of .venv: NumPy 2.3 and later need Python 3.11.
venv_numpy() {
    case $(venv_site_packages) in
    */python3.10/*) echo 2.2.6 ;;
    *) echo 2.4.6 ;;
    esac
}

# The torch folder of .venv, if .venv is complete. pip writes INSTALLER after all other files of a package.
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

# A Python outside .venv that can make virtual environments and has wheels of PyTorch.
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
    run env PIP_USER=0 "$VENV/bin/python" -I -m pip install \
        "torch==$TORCH" "torchvision==$TORCHVISION" "numpy==$(venv_numpy)"
    venv_libtorch >/dev/null || die "pip reported success, but .venv does not hold libtorch $TORCH." \
        "Is this platform one that PyTorch has wheels for? Otherwise set LIBTORCH to a folder with libtorch $TORCH."
}

# A line NAME = "value" of cargo's configuration.
entry() {
    local escaped=${2//\\/\\\\}
    printf '%s = "%s"\n' "$1" "${escaped//\"/\\\"}"
}

# Tells cargo where libtorch is (folder $1), and libclang if bindgen does not find it itself (folder $2 or nothing).
write_cargo_config() {
    local entries text
    entries=$(entry LIBTORCH "$1")
    if [ -n "$2" ]; then
        entries+=$'\n'$(entry LIBCLANG_PATH "$2")
        # A libclang without clang's own headers takes stddef.h and the like from the C++ compiler.
        has_own_headers "$2" ||
            entries+=$'\n'$(entry BINDGEN_EXTRA_CLANG_ARGS "-isystem $("${cxx[@]}" -print-file-name=include)")
    fi
    text=$CONFIG_MARK$'\n[env]\n'$entries
    if [ -e "$CARGO_CONFIG" ] && ! grep -qxF "$CONFIG_MARK" "$CARGO_CONFIG"; then
        # Somebody's own file: it stays as it is.
        local line missing=()
        while read -r line; do grep -qxF "$line" "$CARGO_CONFIG" || missing+=("$line"); done <<<"$entries"
        [ ${#missing[@]} -eq 0 ] || die "$CARGO_CONFIG was not written by this script and lacks lines." \
            "Add to it:" "[env]" "${missing[@]}"
        return 0
    fi
    [ ! -e "$CARGO_CONFIG" ] || [ "$(cat "$CARGO_CONFIG")" != "$text" ] || return 0
    mkdir -p "$(dirname "$CARGO_CONFIG")"
    printf '%s\n' "$text" >"$CARGO_CONFIG"
    say "$CARGO_CONFIG names libtorch $TORCH in $1${2:+ and libclang in $2}"
}

# --- system packages --------------------------------------------------------------------------------------------------

# Debian's names of the missing packages, one per line. $1 is yes if .venv has to be made, $2 if there is a libclang.
missing_packages() {
    have "${cxx[0]}" || echo g++
    have pkg-config || echo pkg-config
    # libjpeg-turbo is compiled from source: without nasm it has no vector code.
    have cmake || echo cmake
    have nasm || echo nasm
    have mpicc || echo libopenmpi-dev
    have mpirun || have srun || echo openmpi-bin
    [ "$2" = yes ] || echo libclang-dev
    if [ "$1" = yes ] && ! find_python >/dev/null; then
        echo python3
        echo python3-venv
    fi
}

install_packages() {
    local packages=("$@") as_root=()
    local by_hand="apt-get update && apt-get install ${packages[*]}"
    local elsewhere=()
    case " ${packages[*]} " in
    *" libclang-dev "*)
        elsewhere=("libclang: load a module with LLVM or Clang, or conda install -c conda-forge libclang, or" \
            "pip install libclang. If this script does not find it then: export LIBCLANG_PATH=FOLDER_OF_libclang.so")
        ;;
    esac
    have apt-get || die "missing: ${packages[*]} (Debian's names), and there is no apt-get here." \
        "Install or load (environment modules, conda) their counterparts, then run this again." "${elsewhere[@]}"
    if [ "$(id -u)" -ne 0 ]; then
        if have sudo && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
            as_root=(sudo)
        else
            die "missing packages: ${packages[*]}" \
                "They need root, and there is no sudo that works here. As root, run:" \
                "$by_hand" "and then this again." "${elsewhere[@]}"
        fi
    fi
    say "installing with apt-get: ${packages[*]}"
    # A broken third-party source must not stop the script: only the install has to work.
    "${as_root[@]}" apt-get update -qq </dev/null || say "apt-get update failed; trying with the package lists at hand"
    run "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y -qq --no-install-recommends "${packages[@]}" </dev/null
}

# --- costs of the first build -----------------------------------------------------------------------------------------

is_first_build() { ! compgen -G "${CARGO_TARGET_DIR:-target}/release/build/torch-sys-*" >/dev/null; }

# Says what the first build takes. README has the same numbers. $1 is yes if .venv has to be made.
say_costs() {
    [ "$1" = no ] || say "the first build downloads libtorch: 3 GB, which take 5 GB of disk in .venv"
    say "the first build takes about twelve minutes of processor time, 2.5 GB of memory for a compiler that runs"
    say "(CARGO_BUILD_JOBS limits how many do), and 2 GB of disk in ${CARGO_TARGET_DIR:-target}, with the tests 7 GB"
}

# --- main -------------------------------------------------------------------------------------------------------------

require_rust
require_compiler

libtorch=
if [ -n "${LIBTORCH_USE_PYTORCH+set}" ]; then
    libtorch=$(pytorch_folder) || exit
    require_libtorch "$libtorch" LIBTORCH_USE_PYTORCH
elif [ -n "${LIBTORCH+set}" ]; then
    require_libtorch "$LIBTORCH" LIBTORCH
    libtorch=$(cd "$LIBTORCH" && pwd)
else
    configured=$(configured LIBTORCH) || configured=
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
has_clang=yes
libclang=$(find_libclang) || has_clang=no
[ "$has_clang" = yes ] || [ -z "${LIBCLANG_PATH:-}" ] || exit 1
mapfile -t missing < <(missing_packages "$needs_venv" "$has_clang")
is_first_build && say_costs "$needs_venv"
if [ "${#missing[@]}" -gt 0 ]; then
    install_packages "${missing[@]}"
    require_compiler
    libclang=$(find_libclang) || libclang=
fi

if [ "$needs_venv" = yes ]; then
    # With two setups at once the second waits and then finds .venv complete. The lock ends with this process. Some
    # network file systems have no locks for folders; there the script goes on without one.
    exec 9<.
    flock 9 2>/dev/null || true
    venv_libtorch >/dev/null || make_venv
    libtorch=$(venv_libtorch)
fi
write_cargo_config "$libtorch" "$libclang"
