"""Which voices another encoder takes for one another: Resemblyzer's, which knows people and no synthesiser. It is not quite a stranger: the
embedding of people's voices was pulled towards it.

    python alike.py --teacher pretrained.pt --speakers DIR [--people DIR] [--pairs FILE]

For each kind of speaker the pairs nearest to each other: the cosine between their mean voices, and the equal error rate over pieces of 3 s. Two
of one variant of espeak-ng are no pair. `--people`: LibriSpeech's layout; prints how near two people come. `--pairs`: all pairs, as JSON.
"""

import argparse
import glob
import itertools
import json
import os
from collections import defaultdict

import numpy as np
import soundfile
import torch

import conversations
import train_embedding
from windows import SAMPLE_RATE

SECONDS = 3


def voice(teacher, audio):
    vector = teacher(audio).numpy()
    return vector / np.linalg.norm(vector)


def voices(teacher, rows):
    """The voices [N, 256] of a speaker's sentences, of at most 3 s of each."""
    found = []
    for row in rows[:12]:
        audio, begin = conversations.samples_of(row), int(row["words"][0][1] * SAMPLE_RATE)
        audio = audio[begin:min(begin + SECONDS * SAMPLE_RATE, int(row["words"][-1][2] * SAMPLE_RATE))]
        if len(audio) > SAMPLE_RATE:
            found.append(voice(teacher, audio))
    return np.array(found)


def cosine(one, other):
    a, b = one.mean(0), other.mean(0)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def equal_error(one, other):
    """Of the pairs within two speakers against those across."""
    within = np.concatenate([(x @ x.T)[np.triu_indices(len(x), 1)] for x in (one, other)])
    across = (one @ other.T).ravel()
    return min(max((within < t).mean(), (across >= t).mean()) for t in np.concatenate([within, across]))


def between_people(teacher, folder):
    """Cosines between all pairs of people, of the first pieces of at most three recordings each."""
    recordings = defaultdict(list)
    for path in sorted(glob.glob(os.path.join(folder, "**", "*.flac"), recursive=True)):
        recordings[os.path.basename(path).split("-")[0]].append(path)
    found = []
    for paths in recordings.values():
        audio = [soundfile.read(path, dtype="float32")[0] for path in paths[:3]]
        size = SECONDS * SAMPLE_RATE
        pieces = [a[at:at + size] for a in audio for at in range(0, len(a) - size + 1, size)][:15]
        if pieces:
            found.append(np.array([voice(teacher, piece) for piece in pieces]))
    return np.array([cosine(a, b) for a, b in itertools.combinations(found, 2)])


def variant(name):
    """Of espeak-ng's `accent+variant@pitch`."""
    return name.split("+")[-1].split("@")[0]


def main():
    parser = argparse.ArgumentParser()
    for name in ("teacher", "speakers"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--people")
    parser.add_argument("--pairs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    teacher = train_embedding.Teacher(options.teacher).eval()
    if options.people:
        cosines = between_people(teacher, options.people)
        at = [50, 99, 99.9, 100]
        print(len(cosines), "pairs of people, percentiles", dict(zip(at, np.percentile(cosines, at).round(3).tolist())))
    speakers, pairs = conversations.Speakers([options.speakers]), []
    for kind, names in speakers.kinds.items():
        found = {name: voices(teacher, speakers.rows[name]) for name in names}
        of_kind = [(cosine(found[a], found[b]), equal_error(found[a], found[b]), a, b)
                   for a, b in itertools.combinations(names, 2) if kind != "espeak-ng" or variant(a) != variant(b)]
        for likeness, error, a, b in sorted(of_kind, reverse=True)[:8]:
            print(f"{kind}: {a} and {b}: cosine {likeness:.3f}, equal error rate {100 * error:.1f} %")
        pairs += of_kind
    if options.pairs:
        with open(options.pairs, "w") as file:
            json.dump(pairs, file)


if __name__ == "__main__":
    main()
