"""Benchmark of Whisper in faster-whisper (CTranslate2), openai-whisper and diarist: same weights, same features, one run.

Weights are random, in the published shapes, from tests/reference/seeded.py. The speed does not depend on their values as long as
every contender generates the same number of tokens, so <|endoftext|> is suppressed and the length is fixed. Each contender has
its own process, whose peak memory is measured, and does one run per round, in rotating order. See README.md.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests/reference"))

CHUNK_SECONDS = 30
VOCAB, MELS, CONTEXT, SEED = 51865, 80, 1500, 2024
SHAPES = {"tiny": (384, 6, 4), "base": (512, 8, 6), "small": (768, 12, 12)}  # width, heads, layers


# ------------------------------------------------------------------------------------------ checkpoint


def prepare(name, folder):
    """Writes `folder`/hf and `folder`/ct2, unless they exist."""
    import ctranslate2

    import whisper_model

    width, heads, layers = SHAPES[name]
    source, target = folder / "hf", folder / "ct2"
    if not (source / "done").exists():
        config = whisper_model.config_of(VOCAB, MELS, width, heads, layers, layers, CONTEXT, seed=SEED)
        whisper_model.save(config, source)
        (source / "done").touch()
    if not (target / "model.bin").exists():
        ctranslate2.converters.TransformersConverter(str(source)).convert(str(target), quantization="float32", force=True)


def features(chunks):
    import numpy as np

    import seeded

    return np.stack([seeded.features(SEED + i, MELS, 2 * CONTEXT) for i in range(chunks)])


# ------------------------------------------------------------------------- contenders, one process each


def ct2_contender(args):
    import ctranslate2

    import tokenizer as tok

    ids = tok.special_ids(VOCAB)
    model = ctranslate2.models.Whisper(str(args.folder / "ct2"), device="cpu", compute_type=args.compute_type,
                                       intra_threads=args.threads, inter_threads=1)
    mel = ctranslate2.StorageView.from_array(features(args.chunks))
    prompts = [[ids["sot"], ids["sot"] + 1, ids["transcribe"], ids["no_timestamps"]]] * args.chunks

    def run():
        # CTranslate2 limits new tokens to half of max_length
        results = model.generate(mel, prompts, beam_size=args.beam, max_length=2 * args.tokens, suppress_blank=False,
                                 suppress_tokens=[ids["eot"]])
        return [r.sequences_ids[0] for r in results]

    return run


def openai_names(name):
    """Renames a weight from transformers' name to openai-whisper's."""
    for old, new in [
        ("model.", ""), ("layers.", "blocks."), ("encoder.layer_norm", "encoder.ln_post"), ("decoder.layer_norm", "decoder.ln"),
        ("self_attn_layer_norm", "attn_ln"), ("encoder_attn_layer_norm", "cross_attn_ln"), ("final_layer_norm", "mlp_ln"),
        ("self_attn", "attn"), ("encoder_attn", "cross_attn"), ("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"),
        ("out_proj", "out"), ("fc1", "mlp.0"), ("fc2", "mlp.2"), ("embed_tokens", "token_embedding"),
        ("embed_positions.weight", "positional_embedding"),
    ]:
        name = name.replace(old, new)
    return name


def openai_contender(args):
    import torch
    import whisper
    from safetensors.torch import load_file

    import tokenizer as tok

    torch.set_num_threads(args.threads)
    width, heads, layers = SHAPES[args.model]
    model = whisper.model.Whisper(whisper.model.ModelDimensions(MELS, CONTEXT, width, heads, layers, VOCAB, 448, width, heads, layers))
    weights = load_file(str(args.folder / "hf/model.safetensors"))
    missing, unknown = model.load_state_dict({openai_names(k): v for k, v in weights.items() if k != "proj_out.weight"}, strict=False)
    assert set(missing) <= {"decoder.mask"} and not unknown, (missing, unknown)
    del weights
    model.eval()
    mel = torch.from_numpy(features(args.chunks))
    options = whisper.DecodingOptions(language="en", without_timestamps=True, fp16=False, sample_len=args.tokens,
                                      beam_size=args.beam if args.beam > 1 else None, suppress_blank=False,
                                      suppress_tokens=[tok.special_ids(VOCAB)["eot"]])

    def run():
        return [r.tokens for r in whisper.decode(model, mel, options)]

    return run


def worker(args):
    """Performs one run for every line on standard input."""
    run = {"ct2": ct2_contender, "openai": openai_contender}[args.worker](args)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        tokens = run()
        seconds = time.perf_counter() - start
        assert all(len(t) == args.tokens for t in tokens), [len(t) for t in tokens]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_rss_bytes": peak, "first": tokens[0]}), flush=True)


# ---------------------------------------------------------------------------------------------- the run


class Peer:
    """A worker process of this script."""

    def __init__(self, label, args, kind, chunks, beam, **options):
        self.label, self.beam, self.scale, self.runs = label, beam, args.chunks / chunks, []
        command = [sys.executable, __file__, "--worker", kind, "--model", args.model, "--work", str(args.work), "--chunks", str(chunks),
                   "--beam", str(beam), "--tokens", str(args.tokens), "--threads", str(args.threads)]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", value]
        environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.label} (beam {self.beam}) died")
        return json.loads(line)

    def run(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.runs.append(self.answer())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Ours:
    """diarist-bench: one process per run. It measures its own time, without loading."""

    def __init__(self, label, args, beam, extra=()):
        self.label, self.beam, self.scale, self.runs = label, beam, 1.0, []
        self.command = [*shlex.split(args.diarist), "--model", str(args.folder / "hf"), "--chunks", str(args.chunks), "--tokens", str(args.tokens),
                        "--beam", str(beam), "--threads", str(args.threads), "--json", *extra]

    def run(self):
        done = subprocess.run(self.command, stdout=subprocess.PIPE, text=True, check=True)
        self.runs.append(json.loads(done.stdout.strip().splitlines()[-1]))

    def close(self):
        pass


def contenders(args):
    for beam in args.beams:
        if args.diarist:
            yield Ours("diarist", args, beam)
            if args.diarist_int8:
                yield Ours("diarist int8", args, beam, shlex.split(args.diarist_int8))
        yield Peer("CTranslate2 float32", args, "ct2", args.chunks, beam, compute_type="float32")
        yield Peer("CTranslate2 int8", args, "ct2", args.chunks, beam, compute_type="int8")
        if not args.no_openai:
            yield Peer("openai-whisper", args, "openai", 1, beam)


def measure(args):
    args.folder = args.work / args.model
    prepare_command = [sys.executable, __file__, "--worker", "prepare", "--model", args.model, "--work", str(args.work)]
    subprocess.run(prepare_command, check=True)
    running = list(contenders(args))
    for peer in running:
        peer.run()  # warm-up
        peer.runs.clear()
    for turn in range(args.repeats):
        for peer in running[turn % len(running) :] + running[: turn % len(running)]:
            peer.run()
            print(f"  {args.model} round {turn + 1}: {peer.label} beam {peer.beam}: {peer.runs[-1]['seconds'] * peer.scale:.2f} s", file=sys.stderr)
    rows = []
    for peer in running:
        peer.close()
        seconds = [run["seconds"] * peer.scale for run in peer.runs]
        rows.append({
            "model": args.model,
            "contender": peer.label,
            "beam": peer.beam,
            "seconds": seconds,
            "median": statistics.median(seconds),
            "scaled_from_chunks": round(args.chunks / peer.scale),
            "peak_rss_bytes": max(run["peak_rss_bytes"] for run in peer.runs),
            "first_tokens": peer.runs[0].get("first"),
        })
    return rows


def table(rows, audio_seconds):
    lines = ["| model | beam | contender | median s | min..max s | x real time | time / CTranslate2 float32 | peak MiB |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        base = next(r["median"] for r in rows if (r["model"], r["beam"], r["contender"]) == (row["model"], row["beam"], "CTranslate2 float32"))
        note = f" ({row['scaled_from_chunks']} chunk, scaled)" if row["contender"] == "openai-whisper" else ""
        lines.append(
            f"| {row['model']} | {row['beam']} | {row['contender']}{note} | {row['median']:.2f} | {min(row['seconds']):.2f}..{max(row['seconds']):.2f} "
            f"| {audio_seconds / row['median']:.1f} | {row['median'] / base:.2f} | {row['peak_rss_bytes'] / 2**20:.0f} |"
        )
    return "\n".join(lines)


def cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=SHAPES, action="append", help="measure this model only (repeatable)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds after one warm-up")
    parser.add_argument("--small-repeats", type=int, help="rounds for the model small")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--chunks", type=int, default=8, help="30 s chunks per batch")
    parser.add_argument("--tokens", type=int, default=120, help="new tokens per chunk")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--diarist", help="the command that starts diarist-bench")
    parser.add_argument("--diarist-int8", help="options that make diarist-bench use int8 weights")
    parser.add_argument("--no-openai", action="store_true")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "target/peers", help="folder of the checkpoints")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benches/results")
    parser.add_argument("--worker", choices=["prepare", "ct2", "openai"], help=argparse.SUPPRESS)
    parser.add_argument("--model", choices=SHAPES, help=argparse.SUPPRESS)
    parser.add_argument("--beam", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--compute-type", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        args.folder = args.work / args.model
        return prepare(args.model, args.folder) if args.worker == "prepare" else worker(args)

    if args.diarist and not shutil.which(shlex.split(args.diarist)[0]):
        print(f"{args.diarist}: not there, left out", file=sys.stderr)
        args.diarist = None
    rows, load, repeats = [], os.getloadavg()[0], args.repeats
    for args.model in args.only or SHAPES:
        args.repeats = args.small_repeats or repeats if args.model == "small" else repeats
        rows += measure(args)
    audio_seconds = args.chunks * CHUNK_SECONDS
    print(f"{args.chunks} chunks = {audio_seconds} s of audio, {args.tokens} tokens each, {args.threads} threads, {cpu()}, load before {load:.1f}\n")
    print(table(rows, audio_seconds))
    for model in dict.fromkeys(row["model"] for row in rows):
        for beam in args.beams:
            firsts = {r["contender"]: r["first_tokens"] for r in rows if r["model"] == model and r["beam"] == beam and r["first_tokens"]}
            exact = [v for k, v in firsts.items() if "int8" not in k]
            same = "agree" if all(v == exact[0] for v in exact) else "DIFFER"
            print(f"\n{model}, beam {beam}: tokens of the first chunk {same} ({', '.join(k for k in firsts if 'int8' not in k)})")
    args.out.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M")
    names = ("ctranslate2", "openai-whisper", "torch", "numpy")
    content = {
        "benchmark": "asr peers", "date": stamp, "cpu": cpu(), "cores": os.cpu_count(), "load_before": load,
        "chunks": args.chunks, "tokens": args.tokens, "threads": args.threads,
        "versions": {name: importlib.metadata.version(name) for name in names}, "rows": rows,
    }
    path = args.out / f"asr-peers-{stamp}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\n{path}")


if __name__ == "__main__":
    main()
