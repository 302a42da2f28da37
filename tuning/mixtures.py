"""Conversations composed of LibriSpeech utterances: the recordings that the constants of `open` are chosen on, and those they are tested on.

    python mixtures.py train VOICES DIR      from the 251 single-utterance speakers: recordings and RTTM files into DIR
    python mixtures.py test VOICES LIST      from the ten test-other speakers: the list of parts as JSON
    python mixtures.py render VOICES LIST DIR

VOICES is the folder with `librispeech_train-clean-100` and `librispeech_test-other`. A recording is the sum of parts: samples
[first, last) of a file times a gain, from sample `at` on. Parts are cut at pauses. The reference turns are the stretches of speech of the
parts by energy, joined across pauses shorter than 0.3 s.
"""

import argparse
import glob
import json
import os
import random

import numpy as np
import soundfile

RATE = 16000
BLOCK = 160  # samples over which energy is measured
JOIN = 0.3  # s: shorter pauses between words belong to the turn
LEVEL = 0.06  # root mean square of speech before the gain of a speaker
COUNTS = (2, 3, 4, 6, 8)


def read(path):
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE and samples.ndim == 1, path
    return samples


def speech(samples):
    """Whether each block of 10 ms is speech: louder than the noise floor by 8 dB, and at most 32 dB below loud speech."""
    blocks = len(samples) // BLOCK
    power = np.mean(samples[: blocks * BLOCK].reshape(blocks, BLOCK).astype(np.float64) ** 2, axis=1)
    level = 10 * np.log10(power + 1e-10)
    return level > max(np.percentile(level, 10) + 8, np.percentile(level, 95) - 32)


def runs(active, join):
    """Stretches [[first, last)] of true values, joined across shorter gaps than `join` s; those under 50 ms are left out."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(int), [0]]))).reshape(-1, 2)
    found = []
    for first, last in edges.tolist():
        if found and (first - found[-1][1]) * BLOCK / RATE < join:
            found[-1][1] = last
        else:
            found.append([first, last])
    return [run for run in found if (run[1] - run[0]) * BLOCK / RATE >= 0.05]


class Utterance:
    """A file, its stretches of speech and its level."""

    def __init__(self, root, path):
        samples = read(path)
        self.file = os.path.relpath(path, root)
        self.total = len(samples)
        active = speech(samples)
        self.speech = runs(active, JOIN)
        self.words = runs(active, 0.12)
        blocks = len(active)
        loud = np.repeat(active, BLOCK)
        self.level = float(np.sqrt(np.mean(samples[: blocks * BLOCK][loud] ** 2))) if loud.any() else 0.0

    def cuts(self, rng, shortest, longest):
        """The utterance in pieces (first, last) of samples that begin and end in the middle of a pause."""
        middles = [0] + [(a[1] + b[0]) // 2 * BLOCK for a, b in zip(self.words, self.words[1:])] + [self.total]
        pieces, first = [], 0
        wanted = rng.uniform(shortest, longest)
        for middle in middles[1:]:
            if (middle - first) / RATE >= wanted or middle == self.total:
                pieces.append((first, middle))
                first, wanted = middle, rng.uniform(shortest, longest)
        if len(pieces) > 1 and (pieces[-1][1] - pieces[-1][0]) / RATE < shortest:
            last = pieces.pop()
            pieces[-1] = (pieces[-1][0], last[1])
        return pieces

    def turns(self, first, last):
        """Stretches of speech in a piece, in seconds from its beginning."""
        clipped = ((max(a * BLOCK, first), min(b * BLOCK, last)) for a, b in self.speech)
        return [((a - first) / RATE, (b - first) / RATE) for a, b in clipped if b - a > 0.05 * RATE]


def utterances(root, paths):
    return [Utterance(root, path) for path in paths]


def stock(rng, speakers, whole):
    """What each speaker has to say: [(utterance, first, last)] in random order.

    `whole`: turns are whole utterances in two of three cases, otherwise they are cut at pauses.
    """
    said = {}
    for name, spoken in speakers.items():
        pieces = []
        for one in spoken:
            if whole and rng.random() < 0.67:
                pieces.append((one, 0, one.total))
            else:
                pieces += [(one, *piece) for piece in one.cuts(rng, 1.5, 7.0)]
        rng.shuffle(pieces)
        said[name] = pieces
    return said


def short_piece(said, rng):
    """Takes the shortest of a speaker's pieces down to one that takes 0.3 to 1.2 s: a backchannel; None where there is none."""
    candidates = [(a, b, i) for i, (one, first, last) in enumerate(said) for a, b in one.words
                  if first <= a * BLOCK and b * BLOCK <= last and 0.3 <= (b - a) * BLOCK / RATE <= 1.2]
    if not candidates:
        return None
    a, b, i = rng.choice(candidates)
    one, first, last = said[i]
    # The rest of that piece is not said any more, so that nothing is said twice.
    said[i] = (one, b * BLOCK, last) if last - b * BLOCK > a * BLOCK - first else (one, first, a * BLOCK)
    return one, a * BLOCK, b * BLOCK


def compose(rng, speakers, seconds, whole=False, overlap=0.15, backchannels=0.15):
    """(parts, turns, seconds) of a conversation of about `seconds` or as long as there is something to say."""
    said = stock(rng, speakers, whole)
    gains = {name: 10 ** (rng.uniform(-8, 0) / 20) for name in speakers}
    parts, turns = [], []

    def say(name, piece, at):
        one, first, last = piece
        gain = round(gains[name] * LEVEL / max(one.level, 1e-4), 4)
        parts.append({"file": one.file, "first": first, "last": last, "at": at, "gain": gain})
        turns.extend((round(at / RATE + a, 3), round(at / RATE + b, 3), name) for a, b in one.turns(first, last))
        return at + last - first

    names = list(speakers)
    rng.shuffle(names)
    waiting = list(names)  # everybody speaks once before the order is free
    end, previous = int(rng.uniform(0.2, 1.0) * RATE), None
    own_end = {name: 0 for name in names}
    while end < seconds * RATE:
        able = [name for name in names if said[name] and name != previous] or [name for name in names if said[name]]
        if not able:
            break
        first_time = [name for name in waiting if name in able]
        name = first_time[0] if first_time and rng.random() < 0.6 else rng.choice(able)
        if name in waiting:
            waiting.remove(name)
        if previous is not None and rng.random() < overlap:
            start = end - int(rng.uniform(0.1, 1.5) * RATE)
        else:
            start = end + int(rng.choice([rng.uniform(0.0, 0.4), rng.uniform(0.2, 1.2), rng.uniform(0.5, 2.5)]) * RATE)
        start = max(0, start, own_end[name] + RATE // 10)
        piece = said[name].pop()
        own_end[name] = new_end = say(name, piece, start)
        others = [other for other in names if other != name and said[other] and own_end[other] < start]
        if others and new_end - start > 4 * RATE and rng.random() < backchannels:
            other = rng.choice(others)
            word = short_piece(said[other], rng)
            if word is not None:
                at = start + int(rng.uniform(1.0, (new_end - start) / RATE - 1.5) * RATE)
                own_end[other] = say(other, word, at)
        previous, end = name, max(end, new_end)
    total = max(part["at"] + part["last"] - part["first"] for part in parts) + RATE // 2
    return parts, sorted(turns), round(total / RATE, 3)


def train_list(voices, per_count, seed):
    """Mixtures of the 251: every speaker has one utterance, of which nothing is used twice in a mixture."""
    rng = random.Random(seed)
    root = os.path.join(voices, "librispeech_train-clean-100")
    paths = sorted(glob.glob(os.path.join(root, "**", "*.flac"), recursive=True))
    by_speaker = {}
    for path in paths:
        by_speaker.setdefault(os.path.basename(path).split("-")[0], []).append(path)
    names, found = sorted(by_speaker), []
    for count in COUNTS:
        for i in range(per_count):
            chosen = rng.sample(names, count)
            speakers = {name: utterances(voices, by_speaker[name]) for name in chosen}
            parts, turns, seconds = compose(rng, speakers, 240)
            found.append({"name": f"train{count}{chr(97 + i)}", "speakers": count, "seconds": seconds, "parts": parts, "turns": turns})
    return found


def test_list(voices, seed=7):
    """24 mixtures of the ten test-other speakers, 1 to 4 minutes; none of their sentences is twice in a mixture."""
    rng = random.Random(seed)
    root = os.path.join(voices, "librispeech_test-other")
    spoken = {}
    for path in sorted(glob.glob(os.path.join(root, "**", "*.flac"), recursive=True)):
        spoken.setdefault(os.path.basename(path).split("-")[0], []).append(Utterance(voices, path))
    names, found = sorted(spoken), []
    for count, times in zip(COUNTS, (5, 5, 5, 5, 4)):
        for i in range(times):
            chosen = rng.sample(names, count)
            wanted = rng.uniform(max(66, 18 * count), 110 if count == 2 else 180 if count == 3 else 235)
            parts, turns, seconds = compose(rng, {name: spoken[name] for name in chosen}, wanted - 8, whole=True)
            assert {turn[2] for turn in turns} == set(chosen) and 60 <= seconds <= 240, (count, seconds)
            found.append({"name": f"mix{count}{chr(97 + i)}", "speakers": count, "seconds": seconds, "parts": parts, "turns": turns})
    return found


def render(voices, mixture):
    """The samples of a mixture."""
    out = np.zeros(round(mixture["seconds"] * RATE), np.float32)
    for part in mixture["parts"]:
        piece = read(os.path.join(voices, part["file"]))[part["first"]:part["last"]]
        out[part["at"]:part["at"] + len(piece)] += np.float32(part["gain"]) * piece
    return out


def write(voices, mixtures, folder):
    os.makedirs(folder, exist_ok=True)
    for mixture in mixtures:
        name = mixture["name"]
        soundfile.write(os.path.join(folder, f"{name}.wav"), np.clip(render(voices, mixture), -1, 1), RATE, "PCM_16")
        with open(os.path.join(folder, f"{name}.rttm"), "w") as file:
            for start, end, speaker in mixture["turns"]:
                file.write(f"SPEAKER {name} 1 {start:.3f} {end - start:.3f} <NA> <NA> {speaker} <NA> <NA>\n")


def save(path, mixtures):
    """One line for each part and each turn."""
    with open(path, "w") as file:
        file.write("[\n")
        for i, mixture in enumerate(mixtures):
            head = {key: mixture[key] for key in ("name", "speakers", "seconds")}
            file.write(json.dumps(head)[:-1])
            for key in ("parts", "turns"):
                file.write(f', "{key}": [\n' + ",\n".join(json.dumps(item) for item in mixture[key]) + "\n]")
            file.write("}" + ("," if i + 1 < len(mixtures) else "") + "\n")
        file.write("]\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["train", "test", "render"])
    parser.add_argument("voices")
    parser.add_argument("out", nargs="+")
    parser.add_argument("--per-count", type=int, default=6, help="train: mixtures of each number of speakers")
    parser.add_argument("--seed", type=int, default=1, help="train: of the random numbers")
    options = parser.parse_args()
    if options.what == "train":
        write(options.voices, train_list(options.voices, options.per_count, options.seed), options.out[0])
    elif options.what == "test":
        save(options.out[0], test_list(options.voices))
    else:
        with open(options.out[0]) as file:
            write(options.voices, json.load(file), options.out[1])


if __name__ == "__main__":
    main()
