"""Diarization error rates of a pair of networks by pyannote.audio's own pipeline (but for the start of its clustering, see
`contact.py`) and pyannote.metrics.

    python diarization_report.py --model assets/diarization SET...

A SET is a folder with recordings and RTTM files whose names are the recordings'. With `--tune FILE` the constants of the
clustering are chosen on the sets and written as JSON; otherwise those of config.yaml are used. "Collar 0.25" leaves
out a quarter of a second on both sides of each boundary; overlapped speech counts.
"""

import argparse
import glob
import itertools
import json
import os

import numpy as np
import soundfile
import torch
import yaml
from pyannote.audio.core.model import Model
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.core import Annotation, Segment, SlidingWindowFeature, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate
from safetensors import safe_open
from safetensors.torch import load_file

import contact
import train_embedding
import train_segmentation

# What is tried of each constant.
GRID = {"threshold": [0.6, 0.65, 0.7], "contact": [0.35, 0.5, 0.65, 0.8], "pause": [0.1], "Fa": [0.02, 0.03, 0.04], "Fb": [0.15, 0.2, 0.25]}


class Shared(train_embedding.Embedding):
    """The same numbers; a window that comes once for each of its speakers passes the trunk once."""

    def forward(self, waveforms, weights=None):
        new = [i == 0 or not torch.equal(waveforms[i], waveforms[i - 1]) for i in range(len(waveforms))]
        frames = self.forward_frames(waveforms[torch.tensor(new)])
        return self.forward_embedding(frames[torch.tensor(new).long().cumsum(0) - 1], weights=weights)


def networks(folder):
    """The two networks of a folder in pyannote's layout, weights widened to f32."""
    with safe_open(os.path.join(folder, "segmentation", "model.safetensors"), "pt") as file:
        said = json.loads(file.metadata()["pyannet"])
    pair = train_segmentation.network(seconds=said["duration"]), Shared()
    for model, name in zip(pair, ("segmentation", "embedding")):
        state = load_file(os.path.join(folder, name, "model.safetensors"))
        missing = model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False).missing_keys
        assert all(key.endswith("num_batches_tracked") for key in missing), missing
        model.eval()
    return pair


class Cached(SpeakerDiarization):
    """pyannote's pipeline, which cuts speakers at their pauses and keeps what the networks said of a recording."""

    def __init__(self, segmentation, embedding, **params):
        super().__init__(segmentation=segmentation, embedding=embedding, **params)
        self._kept = {}

    def get_segmentations(self, file, hook=None):
        key = file["uri"], "segmentation"
        if key not in self._kept:
            self._kept[key] = super().get_segmentations(file, hook=hook)
        heard, pause = self._kept[key], self.clustering.pause
        if not pause:
            self.clustering.whose = None
            return heard
        pieces, self.clustering.whose = contact.cut(heard.data > 0, pause, self._segmentation.model.receptive_field.step)
        return SlidingWindowFeature(pieces, heard.sliding_window)

    def get_embeddings(self, file, binary_segmentations, exclude_overlap=False, hook=None):
        key = file["uri"], self.clustering.pause
        if key not in self._kept:
            self._kept[key] = super().get_embeddings(file, binary_segmentations, exclude_overlap=exclude_overlap, hook=hook)
        return self._kept[key]


def pipeline_of(folder):
    with open(os.path.join(folder, "config.yaml")) as file:
        config = yaml.safe_load(file)
    params = {k: v for k, v in config["pipeline"]["params"].items() if k not in ("segmentation", "embedding", "plda")}
    pipeline = Cached(*networks(folder), plda=os.path.join(folder, "plda"), **params)
    mean = np.load(os.path.join(folder, "plda", "xvec_transform.npz"))["mean1"]
    pipeline.clustering = contact.Clustering(pipeline._plda, mean, pipeline._segmentation.model.receptive_field.step)
    for ours in ("contact", "pause"):
        config["params"]["clustering"].setdefault(ours, 0.0)
    pipeline.instantiate(config["params"])
    return pipeline, config["params"]


def read(folder):
    """[(file, reference, scored timeline)] of a set."""
    turns, scored, found = {}, {}, []
    for path in sorted(glob.glob(os.path.join(folder, "*.rttm"))):
        for line in open(path):
            fields = line.split()
            turns.setdefault(fields[1], Annotation())[Segment(float(fields[3]), float(fields[3]) + float(fields[4])), len(
                turns[fields[1]]) if fields[1] in turns else 0] = fields[7]
    for path in sorted(p for e in ("flac", "wav") for p in glob.glob(os.path.join(folder, f"*.{e}"))):
        name = os.path.splitext(os.path.basename(path))[0]
        if name in turns:
            audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
            sound = torch.from_numpy(audio.mean(axis=1))[None]
            uri = os.path.join(folder, name)
            scored = Timeline([Segment(0, sound.shape[1] / rate)])
            found.append(({"waveform": sound, "sample_rate": rate, "uri": uri}, turns[name], scored))
    return found


def errors(pipeline, files):
    """(DER with collar 0.25, DER without, recordings with the right number of speakers, details by recording)."""
    collared, plain, right, details = DiarizationErrorRate(collar=0.5), DiarizationErrorRate(), 0, {}
    for file, reference, scored in files:
        output = pipeline(dict(file))
        found = getattr(output, "speaker_diarization", output)
        one = collared(reference, found, uem=scored)
        plain(reference, found, uem=scored)
        right += len(found.labels()) == len(reference.labels())
        details[os.path.basename(file["uri"])] = (round(100 * one, 1), len(reference.labels()), len(found.labels()))
    return abs(collared), abs(plain), right, details


def tuned(pipeline, params, sets):
    """The constants with the smallest mean error of the sets."""
    best = None
    for values in itertools.product(*GRID.values()):
        chosen = dict(zip(GRID, values))
        pipeline.instantiate({**params, "clustering": chosen})
        rates = [errors(pipeline, files)[0] for files in sets]
        mean = sum(rates) / len(rates)
        print(chosen, [round(100 * r, 2) for r in rates], flush=True)
        if best is None or mean < best[0]:
            best = mean, chosen
    return best[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tune", help="where the constants go")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("sets", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipeline, params = pipeline_of(options.model)
    sets = [read(folder) for folder in options.sets]
    if options.tune:
        chosen = tuned(pipeline, params, sets)
        pipeline.instantiate({**params, "clustering": chosen})
        with open(options.tune, "w") as file:
            json.dump(chosen, file)
    for folder, files in zip(options.sets, sets):
        collared, plain, right, details = errors(pipeline, files)
        print(f"{folder}: DER {100 * collared:.1f} % (collar 0.25), {100 * plain:.1f} % (none), speakers right in {right} of {len(files)}")
        print("  " + json.dumps(details))


if __name__ == "__main__":
    main()
