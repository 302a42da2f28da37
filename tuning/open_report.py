"""Measures and tunes the clustering of `open` (see `open_diarization.py`).

    python open_report.py report --networks DIR SET...     error rates with the constants as they are
    python open_report.py tune --networks DIR SET...          each constant varied around its value
    python open_report.py leave --networks DIR SET OTHER...   constants chosen without the recording they are tested on

DIR holds `segmentation-3.0/pytorch_model.bin` and `campplus/campplus_cn_en_common.pt`. A SET is a folder with recordings and RTTM files.
`--cache DIR` keeps what the networks say. Error rates: pyannote.metrics, collar of 0.25 s on both sides, overlaps count.
"""

import argparse
import dataclasses
import glob
import itertools
import json
import os
import pickle

import numpy as np
import soundfile
import torch
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

import campplus
import open_candidates
import open_diarization
from open_diarization import Constants

GRID = {"threshold": [0.5, 0.54, 0.58, 0.6, 0.62, 0.64, 0.66, 0.68, 0.72, 0.76, 0.8], "long": [0.8, 1.0, 1.2, 1.5, 2.0], "apart": [0.0, 0.25, 0.5, 1.0],
        "prior": [1.0, 2.0, 4.0], "lean": [0.0, 0.1, 0.3, 0.6, 1.0], "speech": [0.3, 0.4, 0.45, 0.5, 0.55, 0.6],
        "overlap": [0.2, 0.25, 0.3, 0.35, 0.4, 0.5], "other": [0.0, 0.25, 0.5, 0.75, 1.0], "min_off": [0.0, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0]}
LEFT_OUT = {"threshold": [0.56, 0.6, 0.62, 0.64, 0.66, 0.68, 0.72], "speech": [0.4, 0.5, 0.6], "overlap": [0.25, 0.35, 0.5]}


def networks(folder):
    segmentation = open_diarization.segmentation_network(os.path.join(folder, "segmentation-3.0", "pytorch_model.bin"))
    return segmentation, campplus.load(os.path.join(folder, "campplus", "campplus_cn_en_common.pt"))


def annotation(turns):
    found = Annotation()
    for i, (start, end, speaker) in enumerate(turns):
        found[Segment(start, end), i] = str(speaker)
    return found


def read(folder):
    """[(name, samples, reference)] of a set."""
    turns = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.rttm"))):
        for line in open(path, encoding="utf-8"):
            fields = line.split()
            turns.setdefault(fields[1], []).append((float(fields[3]), float(fields[3]) + float(fields[4]), fields[7]))
    recordings = []
    for path in sorted(glob.glob(os.path.join(folder, "*.wav"))):
        name = os.path.splitext(os.path.basename(path))[0]
        if name in turns:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            assert rate == open_diarization.RATE, path
            recordings.append((name, samples.mean(1), annotation(turns[name])))
    return recordings


def prepare(pair, folder, cache):
    """[(name, prepared, reference)] of a set."""
    found, constants = [], Constants()
    for name, samples, reference in read(folder):
        path = cache and os.path.join(cache, f"{os.path.basename(os.path.normpath(folder))}-{name}-{constants.step}.pickle")
        if path and os.path.exists(path):
            with open(path, "rb") as file:
                ready = pickle.load(file)
        else:
            ready = open_diarization.prepare(pair, samples, constants)
            if path:
                os.makedirs(cache, exist_ok=True)
                with open(path, "wb") as file:
                    pickle.dump(ready, file)
        found.append((name, ready, reference))
    return found


class Errors:
    """Error rates of recordings, pooled."""

    def __init__(self):
        self.metric, self.plain, self.right, self.details = DiarizationErrorRate(collar=0.5), DiarizationErrorRate(), 0, {}

    def add(self, name, reference, turns, seconds):
        found, scored = annotation(turns), Timeline([Segment(0, seconds)])
        self.plain(reference, found, uem=scored)
        one = self.metric(reference, found, uem=scored, detailed=True)
        speakers = len(reference.labels()), len(found.labels())
        self.right += speakers[0] == speakers[1]
        self.details[name] = (round(100 * one["diarization error rate"], 2), *speakers)

    def parts(self):
        sums = self.metric[:]
        return [100 * sums[name] / sums["total"] for name in ("missed detection", "false alarm", "confusion")]

    def __str__(self):
        missed, false, confused = self.parts()
        rates = f"{missed + false + confused:.2f} % (missed {missed:.1f}, false {false:.1f}, confused {confused:.1f}; no collar {100 * abs(self.plain):.1f})"
        return f"{rates}, speakers right {self.right} of {len(self.details)}"

    def short(self):
        return f"{sum(self.parts()):.2f}/{self.right}"


def measured(recordings, constants=Constants(), cluster=open_diarization.piece_labels):
    errors = Errors()
    for name, ready, reference in recordings:
        errors.add(name, reference, open_diarization.finish(ready, constants, cluster), ready.seconds)
    return errors


def report(sets, candidates):
    for folder, recordings in sets.items():
        errors = measured(recordings)
        print(f"{folder}: {errors}\n  {json.dumps(errors.details)}", flush=True)
        for name, cluster in open_candidates.CANDIDATES.items() if candidates else ():
            print(f"  {name}: {measured(recordings, cluster=cluster)}", flush=True)


def tune(sets):
    for name, values in GRID.items():
        for value in values:
            constants = dataclasses.replace(Constants(), **{name: value})
            print(f"{name} {value}: " + "  ".join(f"{os.path.basename(folder)} {measured(recordings, constants).short()}"
                                                   for folder, recordings in sets.items()), flush=True)


def leave_one_out(folder, sets):
    """Each recording of the first set with the constants that are best on the others and, in equal parts, on the other sets."""
    rows = [dict(zip(LEFT_OUT, values)) for values in itertools.product(*LEFT_OUT.values())]
    total, apart = [], []
    for row in rows:
        constants = dataclasses.replace(Constants(), **row)
        apart.append([measured([recording], constants) for recording in sets[folder]])
        total.append([sum(measured(recordings, constants).parts()) for name, recordings in sets.items() if name != folder])
    seconds = [[one.metric[:]["total"] for one in row] for row in apart]
    wrong = [[one.metric[:]["total"] * sum(one.parts()) for one in row] for row in apart]
    all_wrong = all_seconds = 0
    for left in range(len(sets[folder])):
        rest = [i for i in range(len(sets[folder])) if i != left]
        cost = [sum(w[i] for i in rest) / sum(s[i] for i in rest) + sum(others) for w, s, others in zip(wrong, seconds, total)]
        best = int(np.argmin(cost))
        print(f"without {sets[folder][left][0]}: {rows[best]}, {apart[best][left]}", flush=True)
        all_wrong, all_seconds = all_wrong + wrong[best][left], all_seconds + seconds[best][left]
    print(f"left out, pooled: {all_wrong / all_seconds:.2f} %")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["report", "tune", "leave"])
    parser.add_argument("--networks", required=True)
    parser.add_argument("--cache")
    parser.add_argument("--candidates", action="store_true", help="report: other ways to cluster, too")
    parser.add_argument("sets", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    pair = networks(options.networks)
    sets = {folder: prepare(pair, folder, options.cache) for folder in options.sets}
    if options.what == "report":
        report(sets, options.candidates)
    elif options.what == "tune":
        tune(sets)
    else:
        leave_one_out(options.sets[0], sets)


if __name__ == "__main__":
    main()
