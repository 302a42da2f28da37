"""Benchmark of alignment in WhisperX and diarist: the same random wav2vec2-base, audio and texts, in one run.

Contenders take turns, one run per round in alternating order, after one warm-up; each has its own process. Two times are measured: the
whole alignment without loading, and the path search alone (WhisperX's get_trellis and backtrack, diarist's Viterbi). See README.md.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import resource
import shlex
import statistics
import subprocess
import sys
import time
import wave

import asr

ROOT = asr.ROOT
LETTERS = "etaonihsrdlumwcfgypbvkxjqz'"
CONFIG = {
    "model_type": "wav2vec2", "vocab_size": 29, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "conv_dim": [512] * 7, "conv_stride": [5, 2, 2, 2, 2, 2, 2], "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16, "feat_extract_norm": "group", "conv_bias": False,
    "do_stable_layer_norm": False, "pad_token_id": 0,
}
WORDS = "and so my fellow americans ask not what your country can do for you but of all the things that we have ever heard".split()
LETTERS_A_SECOND = 14


def prepare(args):
    """Writes the checkpoint, the audio and the segments, unless they exist."""
    import numpy as np
    import torch

    import seeded
    import wav2vec2

    if (args.work / "done").exists():
        return
    args.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    wav2vec2.build(CONFIG, 800).save_pretrained(args.work / "model")
    vocabulary = {"<pad>": 0, "|": 1, **{letter: 2 + i for i, letter in enumerate(LETTERS)}}
    (args.work / "model/vocab.json").write_text(json.dumps(vocabulary))
    (args.work / "model/preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    # One minute of audio, repeated: the speed does not depend on it.
    minute = (seeded.audio_f32(801, 60 * 16000) * 32768).astype(np.int16)
    with wave.open(str(args.work / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.tile(minute, args.minutes).tobytes())
    length, segments = 60.0 * args.minutes / args.segments, []
    for i in range(args.segments):
        text, word = "", 7 * i
        while len(text) < LETTERS_A_SECOND * length:
            text += " " + WORDS[word % len(WORDS)]
            word += 1 + i % 3
        segments.append({"start": round(i * length, 3), "end": round((i + 1) * length, 3), "text": text + "."})
    (args.work / "segments.json").write_text(json.dumps(segments))
    (args.work / "done").touch()


def whisperx_contender(args):
    import numpy as np
    import torch
    import transformers
    import whisperx.alignment
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    torch.set_num_threads(args.threads)
    whisperx.alignment.nltk_load = lambda _: PunktSentenceTokenizer()
    search = [0.0]

    def timed(function):
        def run(*arguments):
            start = time.perf_counter()
            out = function(*arguments)
            search[0] += time.perf_counter() - start
            return out

        return run

    for name in ("get_trellis", "backtrack"):
        setattr(whisperx.alignment, name, timed(getattr(whisperx.alignment, name)))
    model = transformers.Wav2Vec2ForCTC.from_pretrained(args.work / "model").eval()
    metadata = {"language": "en", "dictionary": json.loads((args.work / "model/vocab.json").read_text()), "type": "huggingface"}
    with wave.open(str(args.work / "sound.wav")) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    segments = json.loads((args.work / "segments.json").read_text())

    def run():
        search[0] = 0.0
        found = whisperx.alignment.align(segments, model, metadata, sound, "cpu")
        assert all("start" in word for word in found["word_segments"])
        return search[0], len(found["word_segments"])

    return run


def worker(args):
    """Performs one run for every line on standard input."""
    run = whisperx_contender(args)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        search, words = run()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "viterbi_seconds": search, "words": words, "peak_rss_bytes": peak}), flush=True)


class WhisperX(asr.Peer):
    """A worker process of this script."""

    def __init__(self, args):
        self.label, self.beam, self.runs = "whisperx.align", None, []
        command = [sys.executable, __file__, "--worker", "whisperx", "--work", str(args.work), "--threads", str(args.threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.answer()


class Ours(asr.Ours):
    """diarist-bench: one process per run. It measures its own time, without loading."""

    def __init__(self, args):
        self.label, self.runs = "diarist", []
        self.command = [*shlex.split(args.diarist), "--align-model", str(args.work / "model"), "--audio", str(args.work / "sound.wav"),
                        "--segments", str(args.work / "segments.json"), "--threads", str(args.threads), "--json"]


def table(rows, seconds):
    base = rows[0]
    lines = ["| contender | median s | min..max s | x real time | times as fast | search alone, s | times as fast | peak MiB |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['contender']} | {row['median']:.2f} | {min(row['seconds']):.2f}..{max(row['seconds']):.2f} | {seconds / row['median']:.1f} "
            f"| {base['median'] / row['median']:.2f} | {row['viterbi_median']:.4f} | {base['viterbi_median'] / row['viterbi_median']:.0f} "
            f"| {row['peak_rss_bytes'] / 2**20:.0f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--diarist", default=str(ROOT / "target/release/diarist-bench"), help="the command that starts diarist-bench")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds after one warm-up")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--segments", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, help="folder of the checkpoint and the audio")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benches/results")
    parser.add_argument("--worker", choices=["prepare", "whisperx"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.work = args.work or ROOT / f"target/peers/align-{args.minutes}-{args.segments}"
    if args.worker:
        return prepare(args) if args.worker == "prepare" else worker(args)

    subprocess.run([sys.executable, __file__, "--worker", "prepare", "--work", str(args.work), "--minutes", str(args.minutes),
                    "--segments", str(args.segments)], check=True)
    load, running = os.getloadavg()[0], [WhisperX(args), Ours(args)]
    for peer in running:
        peer.run()  # warm-up
        peer.runs.clear()
    for turn in range(args.repeats):
        for peer in running if turn % 2 == 0 else running[::-1]:
            peer.run()
            run = peer.runs[-1]
            print(f"  round {turn + 1}: {peer.label}: {run['seconds']:.2f} s, search {run['viterbi_seconds']:.4f} s", file=sys.stderr)
    rows = []
    for peer in running:
        peer.close()
        seconds, search = [run["seconds"] for run in peer.runs], [run["viterbi_seconds"] for run in peer.runs]
        rows.append({
            "contender": peer.label, "seconds": seconds, "median": statistics.median(seconds), "viterbi_seconds": search,
            "viterbi_median": statistics.median(search), "peak_rss_bytes": max(run["peak_rss_bytes"] for run in peer.runs),
        })
    print(f"{args.minutes} min of audio, {args.segments} segments, {args.threads} threads, {asr.cpu()}, load before {load:.1f}\n")
    print(table(rows, 60 * args.minutes))
    args.out.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M")
    content = {
        "benchmark": "align peers", "date": stamp, "cpu": asr.cpu(), "cores": os.cpu_count(), "load_before": load,
        "minutes": args.minutes, "segments": args.segments, "threads": args.threads,
        "versions": {name: importlib.metadata.version(name) for name in ("whisperx", "transformers", "torch", "numpy")}, "rows": rows,
    }
    path = args.out / f"align-peers-{stamp}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\n{path}")


if __name__ == "__main__":
    main()
