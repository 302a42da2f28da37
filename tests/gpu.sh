#!/usr/bin/env bash
# Everything that only a real GPU can tell, with prebuilt programs: no cargo, no network, under ten minutes.
#
#     tests/gpu.sh [FOLDER]     the folder that tests/gpu-pack.sh filled, default target/gpu
#
# Results go to $OUT (default: FOLDER/results); a short table comes last. Steps whose program is not there are listed as skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=$(cd "${1:-target/gpu}" && pwd)
out=${OUT:-$bin/results}
mkdir -p "$out"
export DIARIST_TEST_GPU=1 RUST_BACKTRACE=1
failed=0
summary=()

note() { summary+=("$(printf '%-28s %s' "$1" "$2")"); }

# step NAME SECONDS COMMAND...: runs it, keeps its output, notes how it went.
step() {
    local name=$1 limit=$2 start=$SECONDS
    shift 2
    if timeout "$limit" "$@" >"$out/$name.log" 2>&1; then
        note "$name" "ok, $((SECONDS - start)) s"
    else
        note "$name" "FAILED ($?), $((SECONDS - start)) s: $(tail -n 1 "$out/$name.log" | cut -c1-100)"
        failed=1
    fi
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader >"$out/card.txt" 2>&1
cat "$out/card.txt"

# Programs built without nvcc bring sources only: compile them here, for this card, if there is a compiler.
if ! "$bin/diarist" demo --device cuda >"$out/demo-cuda.txt" 2>"$out/demo-cuda.err" && command -v nvcc >/dev/null; then
    for kernel in kernels/*.cu; do echo "#include \"$PWD/$kernel\""; done >"$out/unity.cu"
    if nvcc -fatbin -arch=native -std=c++17 -O3 -lineinfo -o "$out/kernels.fatbin" "$out/unity.cu" >"$out/nvcc.log" 2>&1; then
        export DIARIST_CUDA_MODULE=$out/kernels.fatbin
    fi
fi

step demo-cuda 60 bash -c "'$bin/diarist' demo --device cuda >'$out/demo-cuda.txt'"
step demo-cpu 60 bash -c "'$bin/diarist' demo --device cpu >'$out/demo-cpu.txt'"
if cmp -s "$out/demo-cuda.txt" "$out/demo-cpu.txt"; then note "demo: GPU = CPU" ok; else note "demo: GPU = CPU" "DIFFERS"; failed=1; fi

step tests 150 "$bin/cuda-tests" --test-threads 1
for tool in memcheck racecheck; do
    if command -v compute-sanitizer >/dev/null; then
        step "$tool" 120 compute-sanitizer --tool "$tool" --error-exitcode 9 \
            "$bin/cuda-tests" --test-threads 1 networks:: steps:: search::
    else
        note "$tool" "skipped: no compute-sanitizer"
    fi
done

# The ranges of stages and ops on a profiler's time line, which only a real profiler can judge.
if command -v nsys >/dev/null; then
    step nsys 120 nsys profile --trace cuda,nvtx --capture-range cudaProfilerApi --force-overwrite true --output "$out/decode" \
        "$bin/diarist-bench" --shape tiny --device cuda --batch 8 --profile decode
else
    note nsys "skipped: no nsys"
fi

for shape in large-v2 turbo tiny; do
    for batch in 1 32; do
        step "bench-$shape-$batch" 60 bash -c "'$bin/diarist-bench' --shape $shape --device cuda --batch $batch --stages --json \
            >'$out/bench-$shape-$batch.json'"
    done
done
step bench-large-v2-int8-32 60 bash -c "'$bin/diarist-bench' --shape large-v2 --device cuda --batch 32 --stages --json \
    --cross-cache int8 >'$out/bench-large-v2-int8-32.json'"
step bench-hour 60 bash -c "'$bin/diarist-bench' --shape large-v2 --device cuda --hours 1 --batch 32 --json >'$out/bench-hour.json'"

if python3 -c 'import torch, transformers' 2>/dev/null; then
    step peers 180 python3 benches/peers/whisper_torch.py --shape large-v2 --no-compile --diarist "$bin/diarist-bench" --out "$out"
    tail -n 4 "$out/peers.log"
else
    note peers "skipped: no torch and transformers"
fi

for file in "$out"/bench-*.json; do
    [[ -s $file ]] || continue
    python3 - "$file" <<'PY' 2>/dev/null
import json, os, sys
r = json.load(open(sys.argv[1]))
stages = ", ".join(f"{s['name']} {s['ms']:.3f} ms ({100 * s['floor_share']:.0f} % of floor)" for s in r["stages"])
print(f"{os.path.basename(sys.argv[1])[6:-5]:24} {r['times_real_time']:8.0f} x real time  {stages}")
PY
done
printf '%s\n' "${summary[@]}" | tee "$out/summary.txt"
exit $failed
