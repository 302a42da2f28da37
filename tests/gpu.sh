#!/usr/bin/env bash
# Everything that only a real GPU can tell, with prebuilt programs: no cargo, no network, under ten minutes.
#
#     tests/gpu.sh [--part check|sanitizer|bench|peers]... [--emulator] [FOLDER]
#
# FOLDER (default target/gpu) is what tests/gpu-pack.sh filled. Without --part everything is run that fits into $LIMIT seconds
# (570); a step that no longer fits has failed. Outputs and full JSON go to $OUT (default FOLDER/results), all of a card's
# numbers in one file GPU-NAME.json, to be committed in benches/results/. A short table comes last; the exit status is 0
# only if nothing failed.
#
# --emulator tries the script itself out, on the emulated driver, with few and small steps: it needs a C++ compiler.
set -uo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
emulated=no
parts=()
folder=target/gpu
while (($#)); do
    case $1 in
        --emulator) emulated=yes ;;
        --part)
            case ${2:-} in
                check | sanitizer | bench | peers) parts+=("$2") ;;
                *) echo "--part check, sanitizer, bench or peers" >&2; exit 2 ;;
            esac
            shift
            ;;
        -*) echo "unknown option $1; see the top of $0" >&2; exit 2 ;;
        *) folder=$1 ;;
    esac
    shift
done
((${#parts[@]})) || parts=(check sanitizer bench peers)
bin=$(cd "$folder" && pwd) || exit 2
out=${OUT:-$bin/results}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
# The emulator runs wherever there is a processor, however busy.
slowness=1 limit=${LIMIT:-570}
[[ $emulated == no ]] || slowness=10 limit=${LIMIT:-3600}
export DIARIST_TEST_GPU=1 RUST_BACKTRACE=1
# An earlier run's numbers must not pass for this one's.
rm -f "$out"/bench-*.json "$out"/whisper-torch.json "$out"/align-torch.json "$out"/diarize-torch.json "$out"/demo-*.txt "$out"/*.log
failed=0
summary=()

note() { summary+=("$(printf '%-28s %s' "$1" "$2")"); }
fail() { note "$1" "FAILED: $2"; failed=1; }
wanted() { [[ " ${parts[*]} " == *" $1 "* ]]; }

# step NAME SECONDS COMMAND...: runs it, keeps its output, notes how it went.
step() {
    local name=$1 most=$(($2 * slowness)) begun=$SECONDS code
    shift 2
    local left=$((limit - (SECONDS - start)))
    if ((left < 5)); then
        fail "$name" "no time left of $limit s; run it by itself with --part"
        return 1
    fi
    timeout "$((most < left ? most : left))" "$@" >"$out/$name.log" 2>&1
    code=$?
    if ((code == 0)); then
        note "$name" "ok, $((SECONDS - begun)) s"
    else
        fail "$name" "exit status $code, $((SECONDS - begun)) s: $(grep -v '^ *$' "$out/$name.log" | tail -n 1 | cut -c1-120)"
    fi
    return "$code"
}

# measure NAME SECONDS ARGUMENTS...: diarist-bench, its JSON in bench-NAME.json if it ended well.
measure() {
    local name=bench-$1 most=$2
    shift 2
    step "$name" "$most" bash -c '"$@" >"$0.part" && mv "$0.part" "$0"' "$out/$name.json" "$bin/diarist-bench" "$@" --device "cuda" --json
}

# ---- the card, and what the programs need ----

if [[ $emulated == yes ]]; then
    tests/cuda-emulator/build.sh "$bin/emulator" >"$out/emulator.log" 2>&1 || { cat "$out/emulator.log" >&2; exit 2; }
    export LD_LIBRARY_PATH=$bin/emulator DIARIST_CUDA_MODULE=$PWD/Cargo.toml
    card="CUDA emulator"
else
    card=$(nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv,noheader | head -n 1)
    [[ -n $card ]] || { echo "nvidia-smi shows no GPU" >&2; exit 2; }
    # NVRTC as PyTorch's packages bring it, where it is not on the library path already.
    libraries=$(python3 - <<'PY' 2>/dev/null
import pathlib, sys
found = []
for base in map(pathlib.Path, sys.path):
    for pattern in ("nvidia/*/lib/libnvrtc.so*",):
        found += [str(file.parent) for file in base.glob(pattern)]
print(":".join(dict.fromkeys(found)))
PY
    )
    export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${libraries}${libraries:+:}/usr/local/cuda/lib64
fi
echo "$card" | tee "$out/card.txt"
commit=$(cat "$bin/commit" 2>/dev/null || git rev-parse HEAD 2>/dev/null || echo unknown)

# Programs built without nvcc bring sources only: compile them here, for this card, if there is a compiler.
if [[ $emulated == no ]] && ! "$bin/diarist" demo --device cuda >/dev/null 2>"$out/first.log"; then
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
    [[ $arch == 90 ]] && arch=90a
    if command -v nvcc >/dev/null; then
        for kernel in kernels/*.cu; do echo "#include \"$PWD/$kernel\""; done >"$out/unity.cu"
        step nvcc 240 nvcc -fatbin -gencode "arch=compute_$arch,code=sm_$arch" -std=c++17 -O3 -lineinfo \
            -o "$out/kernels.fatbin" "$out/unity.cu" && export DIARIST_CUDA_MODULE=$out/kernels.fatbin
    else
        note "kernels" "the program's own cannot be used and there is no nvcc: $(tail -n 1 "$out/first.log" | cut -c1-100)"
    fi
fi

# ---- the steps ----

if wanted check; then
    step demo-cuda 60 bash -c '"$0" demo --device cuda >"$1"' "$bin/diarist" "$out/demo-cuda.txt"
    step demo-cpu 60 bash -c '"$0" demo --device cpu >"$1"' "$bin/diarist" "$out/demo-cpu.txt"
    # the transcript's lines, without those that tell the time it took
    if diff <(grep '^\[' "$out/demo-cuda.txt") <(grep '^\[' "$out/demo-cpu.txt") >"$out/demo.diff" && [[ -s $out/demo-cuda.txt ]]; then
        note "demo: GPU = CPU" "ok"
    else
        fail "demo: GPU = CPU" "$(head -n 2 "$out/demo.diff" | tail -n 1)"
    fi
    if [[ $emulated == yes ]]; then
        step tests 60 "$bin/cuda-tests" --include-ignored --test-threads 1 networks::layer_norm networks::linear_over \
            residual::statistics
    else
        skip=()
        if [[ ! -d ${DIARIST_SHARED:-../shared}/fixtures/diarization ]]; then
            skip=(--skip needs_shared)
            note "needs_shared" "not run: no recordings"
        fi
        step tests 200 "$bin/cuda-tests" --include-ignored --test-threads 1 "${skip[@]}"
    fi
fi

if wanted sanitizer; then
    for tool in memcheck racecheck; do
        if [[ $emulated == yes ]]; then
            note "$tool" "skipped: the emulator looks for these mistakes itself"
        elif command -v compute-sanitizer >/dev/null; then
            step "$tool" 150 compute-sanitizer --tool "$tool" --error-exitcode 9 \
                "$bin/cuda-tests" --include-ignored --test-threads 1 networks:: steps:: search:: residual:: recurrent::
        else
            fail "$tool" "compute-sanitizer is not there"
        fi
    done
fi

if wanted bench; then
    if [[ $emulated == yes ]]; then
        measure micro 60 --shape micro --chunks 2 --tokens 4 --stage all --scale 4000
        measure micro-hour 60 --shape micro --hours 0.005 --tokens 3 --batch 8
        measure micro-align 60 --align-model wav2vec2-micro --hours 0.01
        measure micro-diarize 60 --diarize-model pyannote-micro --hours 0.0005
    else
        for batch in 32 1; do
            for shape in large-v2 turbo; do
                measure "$shape-$batch" 90 --shape "$shape" --batch "$batch" --stage all --runs 5
            done
        done
        measure large-v2-int8-32 60 --shape large-v2 --batch 32 --stage decode --runs 5 --cross-cache int8
        measure large-v2-beam5-16 60 --shape large-v2 --batch 16 --beam 5 --stage decode --runs 5
        measure large-v2-hour 120 --shape large-v2 --hours 1 --batch 32 --runs 3
        measure turbo-hour 60 --shape turbo --hours 1 --batch 32 --runs 3
        measure tiny-1 30 --shape tiny --batch 1 --stage all --runs 5
        measure align-base-hour 60 --align-model wav2vec2-base --hours 1 --runs 3
        measure align-large-hour 60 --align-model wav2vec2-large --hours 1 --runs 3
        measure diarize-hour 60 --diarize-model pyannote --hours 1 --runs 3
    fi
fi

if wanted peers; then
    device=cuda shapes=(--shape large-v2 --shape turbo) sizes=(--batches 32 1 --tokens 64 --repeats 5) most=300
    align=(--shape base --segments 120 --seconds 30) diarize=(--shape pyannote --hours 1)
    if [[ $emulated == yes ]]; then
        device=cpu shapes=(--shape micro) sizes=(--batches 1 2 --tokens 4 --repeats 1) most=120
        align=(--shape micro --segments 2 --seconds 4) diarize=(--shape pyannote-micro --hours 0.0005)
    fi
    if python3 -c 'import torch, transformers' 2>/dev/null; then
        step peers "$most" python3 benches/peers/whisper_torch.py "${shapes[@]}" "${sizes[@]}" --device "$device" \
            --diarist "$bin/diarist-bench" --out "$out"
        grep '^|' "$out/peers.log"
        step align-peers 200 python3 benches/peers/align_torch.py "${align[@]}" --device "$device" --out "$out"
        grep '^|' "$out/align-peers.log"
        step diarize-peers 200 python3 benches/peers/diarize_torch.py "${diarize[@]}" --device "$device" --out "$out"
        grep '^|' "$out/diarize-peers.log"
    elif [[ $emulated == yes ]]; then
        note peers "skipped: no torch and transformers"
    else
        fail peers "no torch and transformers"
    fi
fi

# The ranges of stages and ops on a profiler's time line, which only a real profiler can judge.
if wanted bench && [[ $emulated == no ]]; then
    if command -v nsys >/dev/null; then
        step nsys 120 nsys profile --trace cuda,nvtx --capture-range cudaProfilerApi --force-overwrite true --output "$out/decode" \
            "$bin/diarist-bench" --shape tiny --device cuda --batch 8 --profile decode
    else
        note nsys "skipped: no nsys"
    fi
fi

# ---- one file of numbers, and the table ----

command="tests/gpu.sh --part ${parts[*]}"
if command -v python3 >/dev/null; then
    python3 - "$out" "$card" "$commit" "$command" <<'PY' || fail results "the numbers could not be put together"
import json, pathlib, sys

out, card, commit, command = pathlib.Path(sys.argv[1]), *sys.argv[2:]
runs = {file.stem[6:]: json.loads(file.read_text()) for file in sorted(out.glob("bench-*.json"))}
read = lambda name: json.loads((out / name).read_text()) if (out / name).exists() else None
diarize = read("diarize-torch.json")
result = {"card": card, "commit": commit, "command": command, "runs": runs, "peers": read("whisper-torch.json"),
          "align_peers": read("align-torch.json"), "diarize_peers": diarize}
name = card.split(",")[0].replace(" ", "-")
(out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
for name, run in runs.items():
    if "viterbi_seconds" in run:
        print(f"{name:22} {run['times_real_time']:8.0f} x real time  network {run['network_seconds']:.3f} s, Viterbi {run['viterbi_seconds']:.3f} s")
        continue
    if "embedding_seconds" in run:
        parts = run["segmentation_seconds"], run["embedding_seconds"]
        print(f"{name:22} {run['times_real_time']:8.0f} x real time  {run['windows']} windows: segmentation {1e3 * parts[0]:.1f} ms, voices {1e3 * parts[1]:.1f} ms")
        if diarize and diarize["windows"] == run["windows"]:
            peer = diarize["segmentation_seconds"] + diarize["embedding_seconds"]
            print(f"{'':22} {peer / sum(parts):8.1f} x the loop in torch (at least 25 are wanted; of the segmentation, 60 ms at most)")
        for kernel in sorted(run["kernels"], key=lambda kernel: -kernel["seconds"])[:12]:
            rate = lambda what: kernel[what] / max(kernel["seconds"], 1e-9)
            print(f"{'':22} {kernel['name']:24} {1e3 * kernel['seconds']:8.2f} ms  {rate('flops') / 1e12:6.1f} TFLOP/s  {rate('bytes') / 1e9:6.0f} GB/s")
        continue
    stages = ", ".join(f"{s['name']} {s['ms']:.3f} ms ({100 * s['floor_share']:.0f} % of floor)" for s in run["stages"])
    print(f"{name:22} {run['times_real_time']:8.0f} x real time  {stages}")
PY
else
    note results "no python3 to put them together"
fi
note "time" "$((SECONDS - start)) s of $limit"
printf '%s\n' "${summary[@]}" | tee "$out/summary.txt"
exit $failed
