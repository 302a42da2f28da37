"""Composes conversations out of the speakers of `speakers.py`: turns of all lengths, pauses, overlap, rooms, noise and levels.

`Speakers` holds the corpus, `compose` makes a stretch of talk and its truth. Everything is drawn anew each time.
"""

import glob
import json
import os

import numpy as np
from scipy.signal import fftconvolve

from windows import SAMPLE_RATE, _room, dress

JOIN = 0.2  # s: shorter pauses between a speaker's words are speech
KINDS = {"recording": 4, "revoiced": 3, "espeak-ng": 2, "natural": 2}  # how often a kind of speaker is drawn

# What a name says that voices may have in common: the voice a throat was made of, the pitch espeak-ng speaks at.
TRAITS = {"revoiced": lambda name: name.partition("*")[0] if "*" in name else None,
          "espeak-ng": lambda name: name.partition("@")[2] or None}
IN_FAMILY = 0.5  # how often voices that are to be alike are those of one family, where there is one


class Speakers:
    """Sentences by speaker, and speakers by kind. `natural` are the synthesisers' own voices, with many sentences each."""

    def __init__(self, folders, natural=None):
        self.rows, self.kinds, self.shared = {}, {kind: [] for kind in KINDS}, {}
        for folder in folders:
            for path in sorted(glob.glob(os.path.join(folder, "*.jsonl"))):
                self._read(path, lambda row: True)
        if natural:
            for engine in ("flite", "festival", "rhvoice", "pico"):
                for path in sorted(glob.glob(os.path.join(natural, f"{engine}-*.jsonl"))):
                    self._read(path, lambda row: True)
        for speaker, rows in sorted(self.rows.items()):
            engine = rows[0]["engine"]
            self.kinds[engine if engine in KINDS else "natural"].append(speaker)

    def _read(self, path, wanted):
        data = np.memmap(path.replace(".jsonl", ".i16"), dtype="<i2", mode="r")
        with open(path) as file:
            for row in filter(wanted, map(json.loads, file)):
                row["data"] = data
                self.rows.setdefault(row["speaker"], []).append(row)

    def draw(self, rng, count, kinds=None, alike=0.0):
        """`count` speakers; in most conversations of one kind, so that kinds do not give them away.

        `alike`: how often the synthetic ones among them have a trait in common, so that it does not either.
        """
        weights = {kind: weight for kind, weight in (kinds or KINDS).items() if self.kinds[kind]}
        one = rng.choices(list(weights), list(weights.values()))[0] if rng.random() < 0.6 else None
        chosen, voices, similar = [], set(), rng.random() < alike if alike else False
        while len(chosen) < count:
            kind = one or rng.choices(list(weights), list(weights.values()))[0]
            speaker = rng.choice(self.kinds[kind])
            if similar and chosen and kind in TRAITS and TRAITS[kind](chosen[0]):
                family = self._sharing("family", self._family(chosen[0])) if rng.random() < IN_FAMILY else []
                speaker = rng.choice([s for s in family if s not in chosen] or self._sharing(kind, TRAITS[kind](chosen[0])) or [speaker])
            # Of one variant of espeak-ng there is one speaker at most; throats of one voice differ enough.
            voice = self.rows[speaker][0]["voice"].split("+")[-1] if kind == "espeak-ng" else speaker
            if voice in voices:
                one = one if rng.random() < 0.8 else None
                continue
            voices.add(voice)
            chosen.append(speaker)
        return chosen

    def _family(self, speaker):
        return self.rows[speaker][0].get("family")

    def _sharing(self, kind, trait):
        """The speakers of a kind that have a trait; of kind "family" those of one, nobody without."""
        if kind not in self.shared:
            self.shared[kind], trait_of = {}, TRAITS.get(kind, self._family)
            for speaker in self.kinds.get(kind, self.rows):
                self.shared[kind].setdefault(trait_of(speaker), []).append(speaker)
        return self.shared[kind].get(trait, []) if trait else []


def samples_of(row):
    return row["data"][row["offset"]:row["offset"] + row["samples"]].astype(np.float32) / 32768


def resampled(audio, factor):
    """Lower and slower by `factor`, as a longer tract and a calmer speaker would be."""
    if factor == 1:
        return audio
    return np.interp(np.arange(0, len(audio) - 1, 1 / factor), np.arange(len(audio)), audio).astype(np.float32)


def piece(row, rng, factor, longest):
    """(samples, words [[word, start, end]]) of a sentence, or of a run of its words or of a cut of a recording.

    `words` of a recording are its stretches of speech, with None for a word. `longest` None: whole sentences only.
    """
    audio = resampled(samples_of(row), factor)
    words = [[w, s * factor, e * factor] for w, s, e in row["words"]]
    if row["engine"] == "recording":
        seconds = min(longest or 8, rng.choice([rng.uniform(0.5, 2), rng.uniform(1, 8)]))
        first = rng.uniform(0, max(0.0, len(audio) / SAMPLE_RATE - seconds))
        last = first + seconds
        words = [[None, max(s, first), min(e, last)] for _, s, e in words if e > first + 0.02 and s < last - 0.02]
    else:
        if longest and len(words) > 2 and (words[-1][2] - words[0][1] > longest or rng.random() < 0.2):
            begin = rng.randrange(len(words))
            words = words[begin:begin + rng.randint(1, len(words))]
        first, last = words[0][1] - 0.02, words[-1][2] + 0.04
    if not words:
        return None
    begin, end = max(0, int(first * SAMPLE_RATE)), min(len(audio), int(last * SAMPLE_RATE))
    cut = audio[begin:end].copy()
    fade = min(80, len(cut) // 2)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    cut[:fade] *= ramp
    cut[len(cut) - fade:] *= ramp[::-1]
    at = begin / SAMPLE_RATE
    return cut, [[w, s - at, min(e - at, len(cut) / SAMPLE_RATE)] for w, s, e in words]


def stretches(words):
    """Activity [[start, end]] of a turn's words."""
    merged = []
    for _, start, end in words:
        if merged and start - merged[-1][1] < JOIN:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    return merged


class _Voice:
    """One participant: where it sits and how it is recorded in this conversation."""

    def __init__(self, rows, rng, rooms, factor):
        self.rows, self.factor = rows, factor
        self.gain = 10 ** (rng.uniform(-9, 0) / 20)
        self.room = _room(rng) if rooms else None

    def say(self, rng, longest):
        row = rng.choice(self.rows)
        if longest is None:
            self.rows.remove(row)
        said = piece(row, rng, self.factor, longest)
        if said is None or not np.abs(said[0]).max() > 0.01:
            return None
        audio = said[0] / np.abs(said[0]).max() * self.gain * 10 ** (rng.uniform(-3, 0) / 20)
        if self.room is not None:
            audio = fftconvolve(audio, self.room)[:len(audio)].astype(np.float32)
        return audio, said[1]


def _next_start(rng, overlap, last):
    """When the next turn would begin, where the talk so far ends at `last`."""
    chance = rng.random()
    if chance < overlap:
        return last - rng.choice([rng.uniform(0.05, 0.6), rng.uniform(0.3, 2.5)])
    if chance < 0.85:
        return last + rng.choice([rng.uniform(0.0, 0.4), rng.uniform(0.1, 1.2)])
    return last + rng.uniform(0.8, 3.5)


def compose(speakers, rng, seconds, people, overlap=0.3, before=3.0, factors=None, again=0.25, whole=False):
    """(samples, turns): each turn is (index of the speaker in `people`, words [[word, start s, end s]]).

    `before`: how long before the window the talk may have begun; what lies outside is cut off.
    `again`: how often the same speaker goes on. `factors`: the speed of each voice, drawn where there are none.
    `whole`: only whole sentences, the last of which ends before the window does, and none twice.
    """
    window = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    rooms = rng.random() < 0.25
    factors = factors or [rng.uniform(0.9, 1.12) for _ in people]
    voices = [_Voice(speakers.rows[name], rng, rooms, factor) for name, factor in zip(people, factors)]
    if whole:
        for voice in voices:
            voice.rows = list(voice.rows)
    turns, previous, ends = [], None, [-before - 10.0] * len(voices)
    start = rng.uniform(-before, 1.0)
    while voices and start < seconds - 0.2:
        chosen = rng.randrange(len(voices))
        if previous is not None and len(voices) > 1 and rng.random() > again:
            chosen = rng.choice([i for i in range(len(voices)) if i != previous])
        # Nobody talks over himself, and never are there three at once.
        others = sorted(end for i, end in enumerate(ends) if i != chosen)
        start = max([start, ends[chosen] + 0.1] + others[:-1])
        said = voices[chosen].say(rng, None if whole else rng.choice([3, 6, 12]))
        if said is None:
            continue
        audio, words = said
        if whole and start + len(audio) / SAMPLE_RATE > seconds:
            break
        at = int(start * SAMPLE_RATE)
        part = audio[max(0, -at):max(0, len(window) - at)]
        window[max(0, at):max(0, at) + len(part)] += part
        inside = [[w, max(0.0, s + start), min(seconds, e + start)] for w, s, e in words if e + start > 0 and s + start < seconds]
        if inside:
            turns.append((chosen, inside))
        ends[chosen], previous = start + len(audio) / SAMPLE_RATE, chosen
        start = _next_start(rng, overlap, max(ends))
    return window, turns


def noisy(window, rng):
    """Common room, microphone, noise and level."""
    return dress(window, rng, spoken=len(window) / SAMPLE_RATE)


def activity(turns, count, times):
    """Who speaks at each time: bool [len(times), count]."""
    active = np.zeros((len(times), count), bool)
    for index, words in turns:
        for start, end in stretches(words):
            active[(times >= start) & (times < end), index] = True
    return active
