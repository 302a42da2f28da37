#!/bin/sh
# Builds the emulated CUDA driver: build.sh OUT_DIR [KERNEL_DIR]
#
# Prints the path of the library, OUT_DIR/libcuda.so. KERNEL_DIR (default: the repository's kernels/) holds the .cu files
# to compile in; device.cuh is searched there first. Objects are kept in OUT_DIR and recompiled only if they are older
# than their sources. Several processes may build into one OUT_DIR at the same time.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=$1
kernels=$(cd "${2:-$here/../../kernels}" && pwd)
compiler=${CXX:-g++}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# One builder at a time if flock is available; otherwise each process builds for itself, and the last one wins.
if command -v flock >/dev/null; then
    exec 9>"$out/lock"
    flock 9
fi

# No FMA contraction, so that results follow the source on every machine. The tensor cores' products are exact, so
# contraction is harmless there.
# Stack probes: a frame larger than a page touches each of its pages, so that it cannot jump over the guard page of its
# stack.
flags="-std=c++20 -O2 -g1 -fPIC -fvisibility=hidden -fno-math-errno -fno-trapping-math -ffp-contract=off -fstack-clash-protection -Wall -Wextra"
if echo 'int main() {}' | $compiler -march=native -x c++ - -o /dev/null 2>/dev/null; then
    flags="$flags -march=native"
fi

newer_than() { # file, sources...: whether a source is newer than the file, or the file is not there
    file=$1
    shift
    [ ! -e "$file" ] || [ -n "$(find "$@" -newer "$file" -print)" ]
}

compile() { # object, source, options...
    object=$1
    source=$2
    shift 2
    $compiler $flags "$@" -c "$source" -o "$object.$$"
    mv "$object.$$" "$object"
}

objects=""
for source in "$here"/*.cpp; do
    object=$out/$(basename "$source" .cpp).o
    objects="$objects $object"
    extra=""
    [ "$(basename "$source")" = collectives.cpp ] && extra="-ffp-contract=fast"
    if newer_than "$object" "$source" "$here"/*.h "$here"/*.cuh "$here/build.sh"; then
        compile "$object" "$source" $extra
    fi
done

headers=$(find "$kernels" "$here/../../kernels" -name '*.cuh')
for source in "$kernels"/*.cu; do
    [ -e "$source" ] || continue
    name=$(basename "$source" .cu)
    object=$out/kernel_$name.o
    objects="$objects $object"
    if newer_than "$object" "$source" $headers "$here"/*.cuh "$here/build.sh"; then
        # Each file has its own namespace: equal names of two files do not meet, as they do not on a GPU.
        unit=$out/kernel_$name.$$.cpp
        printf '#include "emulator.cuh"\nnamespace {\n#include "%s"\n}\n' "$source" >"$unit"
        compile "$object" "$unit" -DDIARIST_EMULATOR -I"$kernels" -I"$here/../../kernels" -I"$here" -Wno-unknown-pragmas -Wno-sign-compare \
            -Wno-unused-function -Wno-unused-const-variable
        rm -f "$unit"
    fi
done

library=$out/libcuda.so
# Removes objects of kernels that no longer exist.
echo "$objects" >"$out/objects.$$"
if ! cmp -s "$out/objects.$$" "$out/objects" || newer_than "$library" $objects; then
    # The name under which cudarc looks first: once loaded by its path, the library is found by it.
    $compiler -shared -Wl,-soname,libcuda.so -Wl,-z,defs -o "$library.$$" $objects -ldl -lpthread
    mv "$library.$$" "$library"
    ln -sf libcuda.so "$out/libcuda.so.1"
fi
mv "$out/objects.$$" "$out/objects"

echo "$library"
