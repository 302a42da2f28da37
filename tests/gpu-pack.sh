#!/usr/bin/env bash
# Builds what tests/gpu.sh needs on a machine with a GPU, into one folder: tests/gpu-pack.sh [FOLDER, default target/gpu]
#
# Where nvcc is found (NVCC, CUDA_HOME or PATH; `.ci/kernels` fetches one) the programs carry compiled kernels; otherwise the
# machine with the GPU compiles them from the sources in the program.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-target/gpu}
mkdir -p "$out"
cargo build --release --bins
executable() { # test name
    cargo test --release --no-run --message-format=json --test "$1" |
        sed -n "s/.*\"name\":\"$1\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | tail -1
}
cp "$(executable cuda)" "$out/cuda-tests"
cp target/release/diarist target/release/diarist-bench "$out/"
strip "$out"/*
git rev-parse HEAD >"$out/commit" 2>/dev/null || true
du -sh "$out"
