#!/usr/bin/env python3
"""Time and peak memory of loading a model from folders or files of several formats.

    benches/peers/loading.py --diarist target/release/diarist MODEL...
    benches/peers/loading.py --diarist target/release/diarist target/real/whisper-tiny.en-ct2 target/real/formats/safetensors

Each run transcribes a second of silence: the model is loaded, and nothing is decoded since there is no speech. The models take turns; the
first round, which also fills the page cache, is not counted. The output has the medians of the other five: wall-clock seconds, CPU
seconds, and peak resident memory (`ru_maxrss` of the child). Needs Linux and no packages.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
import wave

TURNS = 5


def silence(path: pathlib.Path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(32000))


def run(diarist: str, model: str, recording: pathlib.Path, threads: int) -> dict:
    command = [diarist, "transcribe", str(recording), "--model", model, "--language", "en", "--no-align"]
    command += ["--vad", "energy", "--device", "cpu", "--threads", str(threads), "-f", "txt", "-o", str(recording.parent)]
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    complaints = child.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\nexit status {child.returncode}\n{complaints}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--diarist", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="every single run, as JSON")
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    runs = {model: [] for model in args.models}
    with tempfile.TemporaryDirectory() as folder:
        recording = pathlib.Path(folder) / "silence.wav"
        silence(recording)
        for turn in range(TURNS + 1):
            for model in args.models:
                found = run(args.diarist, model, recording, args.threads)
                if turn > 0:
                    runs[model].append(found)
    if args.json:
        print(json.dumps({"turns": TURNS, "threads": args.threads, "runs": runs}, indent=1))
        return
    print(f"{'seconds':>8} {'cpu s':>8} {'MiB':>8}  model (medians of {TURNS}, {args.threads} threads)")
    for model, found in runs.items():
        median = {key: statistics.median(run[key] for run in found) for key in found[0]}
        print(f"{median['seconds']:8.3f} {median['cpu_seconds']:8.3f} {median['peak_mib']:8.1f}  {model}")


main()
