#!/usr/bin/env bash
# Builds what tests/gpu.sh needs on a machine with a GPU, into one folder: tests/gpu-pack.sh [FOLDER, default target/gpu]
#
# Where nvcc is found (NVCC, CUDA_HOME, PATH, or the one that `.ci/kernels` fetched) the programs carry compiled kernels, for
# the cards in DIARIST_CUDA_ARCHS if that is set: sm_90a alone, for an H100, makes them a good deal smaller. Otherwise the
# machine with the GPU compiles them from the sources in the program. That machine also needs this checkout: the script
# itself, kernels/ and benches/peers/.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/gpu}
mkdir -p "$out"
fetched=${CARGO_TARGET_DIR:-target}/kernels/nvcc-13.0/nvidia/cu13/bin/nvcc
if [[ -z ${NVCC:-} && -x $fetched ]] && ! command -v nvcc >/dev/null; then
    NVCC=$(realpath "$fetched")
    export NVCC
fi
echo "nvcc: ${NVCC:-$(command -v nvcc || echo none, the programs bring sources only)}"
executable() { # test name
    cargo test --release --no-run --message-format=json --test "$1" |
        sed -n "s/.*\"name\":\"$1\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -1
}
cargo build --release --bins
tests=$(executable cuda)
[[ -n $tests ]] || { echo "cargo did not say where the tests are" >&2; exit 1; }
built=${CARGO_TARGET_DIR:-target}/release
for program in "$built/diarist" "$built/diarist-bench" "$tests"; do
    name=$(basename "$program")
    [[ $program == "$tests" ]] && name=cuda-tests
    cp "$program" "$out/$name"
    strip "$out/$name"
done
# A result without a commit cannot be compared with anything.
git rev-parse HEAD >"$out/commit"
git diff --quiet HEAD || echo "note: there are changes that are not committed; the numbers will not be those of a commit" >&2
du -sh "$out"
