#!/usr/bin/env bash
# Packs the GPU check into one archive: the programs, Open MPI, and the PyTorch scripts of the benchmark.
#
#   scripts/gpu-check/bundle.sh TARGET_DIR [IMAGES]
#
# The machine of the check needs an NVIDIA GPU and a python3 with torch 2.11, but no compiler, no MPI and no network.
# IMAGES is a .tar.gz of train/<class>/* and test/<class>/* with images, for example CIFAR-10 as JPEG files. Without it
# the check trains on no real images. `make gpu-check` calls this script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=$1
images=${2:-}
bundle=$target/gpu-check
rm -rf "$bundle" "$bundle.tar.gz"
mkdir -p "$bundle"/{bin,lib/spare,benches,mpi/bin,mpi/share}

# --- our programs -----------------------------------------------------------------------------------------------------

# The newest executable of a test or a benchmark. cargo names it NAME-<hash>.
built() {
    find "$target/release/deps" -maxdepth 1 -name "$1-*" -executable -type f -printf '%T@ %p\n' | sort -n | tail -n 1 |
        cut -d' ' -f2
}
strip -o "$bundle/bin/regun" "$target/release/regun"
strip -o "$bundle/bin/gpu-tests" "$(built gpu)"
strip -o "$bundle/bin/throughput" "$(built throughput)"
cp benches/*.py "$bundle/benches/"
cp scripts/gpu-check/*.py "$bundle/"

# --- Open MPI, which OPAL_PREFIX makes relocatable --------------------------------------------------------------------

plugins=$(ompi_info --parsable --path pkglibdir | cut -d: -f3)
prefix=$(ompi_info --parsable --path prefix | cut -d: -f3)
moved=$bundle/mpi/${plugins#"$prefix"/}
mkdir -p "$moved"
cp -L "$(command -v mpirun)" "$bundle/mpi/bin/mpirun"
cp -L "$(command -v orted)" "$bundle/mpi/bin/orted"
cp -r "$(ompi_info --parsable --path pkgdatadir | cut -d: -f3)" "$bundle/mpi/share/"
for plugin in "$plugins"/*.so; do
    case ${plugin##*/} in
    # Fast networks and file systems. One machine needs none of them, and their libraries are large.
    *ucx* | *ofi* | *psm* | *openib* | *usnic* | *monitoring* | *portals* | *scoll* | *spml* | *sshmem* | *memheap*) ;;
    mca_atomic_* | mca_fs_* | mca_fbtl_* | mca_fcoll_* | mca_io_* | mca_sharedfp_*) ;;
    *) cp -L "$plugin" "$moved/" ;;
    esac
done
# PMIx finds its own plugins below PMIX_INSTALL_PREFIX.
pmix=$(ldconfig -p | sed -n 's|.*=> \(.*/libpmix\.so\.2\)$|\1|p' | head -n 1)
if [ -n "$pmix" ]; then
    home=$(dirname "$(readlink -f "$pmix")")
    mkdir -p "$bundle/mpi/pmix/lib"
    cp -rL "$home"/pmix "$bundle/mpi/pmix/lib/" 2>/dev/null || true
    cp -rL "${home%/lib}/share" "$bundle/mpi/pmix/" 2>/dev/null || true
fi

# --- libraries of both: all but the C library's and PyTorch's own -----------------------------------------------------

find "$bundle/bin" "$bundle/mpi" -type f \( -perm -u+x -o -name '*.so' \) -exec ldd {} \; 2>/dev/null |
    sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | sort -u |
    grep -vE '/(libc|libm|libdl|librt|libpthread|libutil|libgcc_s|libstdc\+\+|ld-linux[^/]*)\.so' |
    grep -vE '/(torch|nvidia)/' |
    xargs -r cp -L -t "$bundle/lib"
# Nearly every Linux has these. check.py uses the copies only if one is missing.
for name in libz libudev; do
    find "$bundle/lib" -maxdepth 1 -name "$name.so*" -exec mv -t "$bundle/lib/spare" {} +
done

# --- images -----------------------------------------------------------------------------------------------------------

[ -z "$images" ] || cp -L "$images" "$bundle/images.tar.gz"
tar -C "$target" -czf "$bundle.tar.gz" gpu-check
echo "$bundle.tar.gz: $(du -h "$bundle.tar.gz" | cut -f1)"
echo "there: tar xzf gpu-check.tar.gz && python3 gpu-check/check.py"
