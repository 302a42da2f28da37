"""Benchmark of the diarization networks in pyannote.audio's pipeline and diarist: same random weights, same audio, one run.

Contenders take turns, one run per round in alternating order, after one warm-up; each has its own process. Segmentation and
embeddings are timed, without loading and without clustering. See README.md.
"""

import argparse
import datetime
import importlib.metadata
import json
import math
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
SPEAKERS = ["speaker#1", "speaker#2", "speaker#3"]
SEED = 900


def networks():
    """PyanNet (segmentation-3.0's layout) and ResNet34, with seeded weights scaled so that activations do not vanish."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import WeSpeakerResNet34
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(SEED)
    segmentation = PyanNet(lstm={"num_layers": 4})
    segmentation.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION, resolution=Resolution.FRAME, duration=10.0, classes=SPEAKERS,
        powerset_max_classes=2, permutation_invariant=True)
    segmentation.build()
    with torch.no_grad():
        for name, tensor in segmentation.named_parameters():
            if "weight" in name and tensor.dim() > 1 and "sincnet.norm" not in name:
                gain = 4.0 if name == "classifier.weight" else 2.0
                tensor.uniform_(-1, 1).mul_(gain * math.sqrt(3.0 / math.prod(tensor.shape[1:])))
        # Speech in every frame: diarist skips windows without speech, pyannote.audio does not.
        segmentation.classifier.bias[0] = -99.0
    embedding = WeSpeakerResNet34()
    embedding.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0, classes=["a", "b"])
    with torch.no_grad():
        for module in embedding.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return segmentation.eval(), embedding.eval()


def prepare(args):
    """Writes the networks and the audio, unless they exist."""
    import numpy as np
    from safetensors.torch import save_file

    import seeded

    if (args.work / "done").exists():
        return
    segmentation, embedding = networks()
    said = {"duration": 10.0, "classes": SPEAKERS, "powerset_max_classes": 2, "stride": 10}
    for name, network in (("segmentation", segmentation), ("embedding", embedding)):
        folder = args.work / "model" / name
        folder.mkdir(parents=True, exist_ok=True)
        metadata = {"pyannet": json.dumps(said)} if name == "segmentation" else None
        state = {key: value.contiguous() for key, value in network.state_dict().items() if "num_batches" not in key}
        save_file(state, str(folder / "model.safetensors"), metadata)
    # Half a minute of sound, again and again: speed does not depend on it.
    piece = (seeded.audio_f32(901, 30 * 16000) * 32768).astype(np.int16)
    with wave.open(str(args.work / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(np.tile(piece, 2 * args.minutes).tobytes())
    (args.work / "done").touch()


def pyannote_contender(args):
    import numpy as np
    import torch
    from pyannote.audio.pipelines.speaker_diarization import SpeakerDiarization

    torch.set_num_threads(args.threads)
    segmentation, embedding = networks()
    # Clustering is not run, so the PLDA that the constructor would download is not needed.
    import pyannote.audio.pipelines.speaker_diarization as module

    module.get_plda = lambda *_, **__: None
    pipeline = SpeakerDiarization(segmentation=segmentation, embedding=embedding, clustering="AgglomerativeClustering",
                                  embedding_exclude_overlap=True, embedding_batch_size=32, segmentation_batch_size=32)
    with wave.open(str(args.work / "sound.wav")) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    file = {"waveform": torch.from_numpy(sound)[None], "sample_rate": 16000}

    def run():
        start = time.perf_counter()
        decisions = pipeline.get_segmentations(file)
        middle = time.perf_counter()
        voices = pipeline.get_embeddings(file, decisions, exclude_overlap=True)
        end = time.perf_counter()
        return {"segmentation_seconds": middle - start, "embedding_seconds": end - middle, "seconds": end - start,
                "windows": len(voices), "voice": first}

    # Masks of three speakers who take turns twice within the window, for the comparison of embeddings: the masks of diarist-bench. The
    # time does not depend on the masks.
    turn = torch.arange(589) * 6 // 589 % 3
    masks = torch.stack([(turn == speaker).float() for speaker in range(3)])
    window = torch.from_numpy(sound[: 10 * 16000])[None, None].expand(3, 1, -1)
    first = pipeline._embedding(window, masks=masks).tolist()
    return run


def worker(args):
    """Performs one run for every line on standard input."""
    run = pyannote_contender(args)
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        found = run()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({**found, "peak_rss_bytes": peak}), flush=True)


class Pyannote(asr.Peer):
    """A worker process of this script."""

    def __init__(self, args):
        self.label, self.beam, self.runs = "pyannote.audio", None, []
        command = [sys.executable, __file__, "--worker", "pyannote", "--work", str(args.work), "--threads", str(args.threads)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "MKL_NUM_THREADS": str(args.threads)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.answer()


class Ours(asr.Ours):
    """diarist-bench: one process per run. It measures its own time, without loading."""

    def __init__(self, args):
        self.label, self.runs = "diarist", []
        self.command = [*shlex.split(args.diarist), "--diarize-model", str(args.work / "model"), "--audio", str(args.work / "sound.wav"),
                        "--threads", str(args.threads), "--runs", "1", "--json"]


def check(peers):
    """Asserts that the embeddings of the three speakers of the first window agree."""
    import numpy as np

    theirs, ours = (peer.runs[-1] for peer in peers)
    assert theirs["windows"] == ours["windows"], (theirs["windows"], ours["windows"])
    for speaker in range(3):
        a, b = (np.asarray(run["voice"][speaker]) for run in (theirs, ours))
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        assert cosine > 0.9999, f"speaker {speaker} of the first window: cosine {cosine}"


def table(rows, seconds):
    base = rows[0]
    lines = ["| contender | median s | min..max s | x real time | times as fast | segmentation s | embeddings s | peak MiB |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['contender']} | {row['median']:.2f} | {min(row['seconds']):.2f}..{max(row['seconds']):.2f} | {seconds / row['median']:.1f} "
            f"| {base['median'] / row['median']:.2f} | {row['segmentation_median']:.2f} | {row['embedding_median']:.2f} "
            f"| {row['peak_rss_bytes'] / 2**20:.0f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--diarist", default=str(ROOT / "target/release/diarist-bench"), help="the command that starts diarist-bench")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds after one warm-up")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, help="folder of the weights and the audio")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benches/results")
    parser.add_argument("--worker", choices=["prepare", "pyannote"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.work = args.work or ROOT / f"target/peers/diarize-{args.minutes}"
    if args.worker:
        return prepare(args) if args.worker == "prepare" else worker(args)

    subprocess.run([sys.executable, __file__, "--worker", "prepare", "--work", str(args.work), "--minutes", str(args.minutes)], check=True)
    load, running = os.getloadavg()[0], [Pyannote(args), Ours(args)]
    for peer in running:
        peer.run()  # warm-up
    check(running)
    for peer in running:
        peer.runs.clear()
    for turn in range(args.repeats):
        for peer in running if turn % 2 == 0 else running[::-1]:
            peer.run()
            run = peer.runs[-1]
            parts = f"{run['segmentation_seconds']:.2f} + {run['embedding_seconds']:.2f}"
            print(f"  round {turn + 1}: {peer.label}: {run['seconds']:.2f} s ({parts})", file=sys.stderr)
    rows = []
    for peer in running:
        peer.close()
        row = {"contender": peer.label, "peak_rss_bytes": max(run["peak_rss_bytes"] for run in peer.runs)}
        for key, name in (("seconds", "median"), ("segmentation_seconds", "segmentation_median"), ("embedding_seconds", "embedding_median")):
            row[key] = [run[key] for run in peer.runs]
            row[name] = statistics.median(row[key])
        rows.append(row)
    print(f"{args.minutes} min of audio, {args.threads} threads, {asr.cpu()}, load before {load:.1f}\n")
    print(table(rows, 60 * args.minutes))
    args.out.mkdir(parents=True, exist_ok=True)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%d-%H%M")
    content = {
        "benchmark": "diarize peers", "date": stamp, "cpu": asr.cpu(), "cores": os.cpu_count(), "load_before": load,
        "minutes": args.minutes, "threads": args.threads,
        "versions": {name: importlib.metadata.version(name) for name in ("pyannote.audio", "torch", "torchaudio", "numpy")}, "rows": rows,
    }
    path = args.out / f"diarize-peers-{stamp}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"\n{path}")


if __name__ == "__main__":
    main()
