# shellcheck shell=bash
# Part of scripts/setup.sh: finds the libclang with which bindgen reads MPI's headers.

# The folders of the system lie below this one. Tests set it.
SYSTEM_ROOT=${SYSTEM_ROOT:-}

# Whether folder $1 has a libclang that bindgen can load.
has_libclang() { compgen -G "$1/libclang.so*" >/dev/null || compgen -G "$1/libclang-[0-9]*.so*" >/dev/null; }

# Whether the libclang in folder $1 has clang's own headers beside it.
has_own_headers() {
    compgen -G "$1/clang/*/include/stddef.h" >/dev/null || compgen -G "$1/../lib/clang/*/include/stddef.h" >/dev/null
}

# Whether bindgen finds a libclang itself, with its headers. It searches these folders, those of LD_LIBRARY_PATH and
# LIBRARY_PATH, and the one of llvm-config.
bindgen_finds_libclang() {
    local folder pattern folders=()
    IFS=: read -ra folders <<<"${LD_LIBRARY_PATH:-}:${LIBRARY_PATH:-}"
    for pattern in "/usr/local/llvm*/lib*" /usr/local/lib{"*","*/*","*/*/*"} /usr/lib{"*","*/*","*/*/*"}; do
        while read -r folder; do folders+=("$folder"); done < <(compgen -G "$SYSTEM_ROOT$pattern")
    done
    ! have llvm-config || folders+=("$(llvm-config --libdir)")
    for folder in "${folders[@]}"; do
        if [ -n "$folder" ] && has_libclang "$folder" && has_own_headers "$folder"; then return; fi
    done
    return 1
}

# A folder with a libclang that bindgen has to be told of: of conda, of a module, of a Python package.
libclang_elsewhere() {
    local root folder
    for root in "$(configured LIBCLANG_PATH)" "${CONDA_PREFIX:-}" "$(clang_root)" "${EBROOTCLANG:-}" "${EBROOTLLVM:-}" \
        "${LLVM_ROOT:-}" "${LLVM_HOME:-}" "${LLVM_PATH:-}" "${LLVM_DIR:-}" "${CLANG_HOME:-}" "$SYSTEM_ROOT/opt/rocm/llvm"; do
        [ -n "$root" ] || continue
        for folder in "$root" "$root/lib" "$root/lib64"; do
            if has_libclang "$folder"; then echo "$folder" && return; fi
        done
    done
    folder=$(python3 -c 'import importlib.util as u
print(u.find_spec("clang").submodule_search_locations[0])' 2>/dev/null)/native
    has_libclang "$folder" && echo "$folder"
}

# The folder above the bin of the clang in PATH.
clang_root() {
    local clang
    clang=$(command -v clang) && dirname "$(dirname "$(readlink -f "$clang")")"
}

# Fails if there is no libclang. Otherwise prints the folder that bindgen has to be told of, if any.
find_libclang() {
    if [ -n "${LIBCLANG_PATH:-}" ]; then
        case $LIBCLANG_PATH in
        */libclang*.so*) [ -e "$LIBCLANG_PATH" ] ;;
        *) has_libclang "$LIBCLANG_PATH" ;;
        esac || die "LIBCLANG_PATH is set, but there is no libclang.so in '$LIBCLANG_PATH'." \
            "Point it to the folder of libclang.so, or unset it and run this again."
    else
        bindgen_finds_libclang || libclang_elsewhere
    fi
}
