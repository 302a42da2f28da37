"""Composes windows from the corpus: several utterances with pauses, then room, noise, gain and band limits.

Everything is drawn anew each time, so the same sentence never comes back in the same dress.
"""

import glob
import json
import os

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

import phones

SAMPLE_RATE = 16000


class Corpus:
    """The shards of a folder; `refresh` picks up those written since."""

    def __init__(self, folder):
        self.folder, self.rows, self.samples, self._known = folder, [], {}, set()
        self.by_engine, self.by_speaker = {}, {}
        self.refresh()

    def refresh(self):
        for path in sorted(glob.glob(os.path.join(self.folder, "*.jsonl"))):
            if path in self._known:
                continue
            self._known.add(path)
            data = np.memmap(path.replace(".jsonl", ".i16"), dtype="<i2", mode="r")
            with open(path) as file:
                for line in file:
                    row = json.loads(line)
                    row["data"] = data
                    row["seconds"] = row["samples"] / SAMPLE_RATE
                    self.rows.append(row)
                    self.by_engine.setdefault(row["engine"], []).append(row)
                    self.by_speaker.setdefault(row["speaker"], []).append(row)
        return len(self.rows)

    def draw(self, rng, weights):
        """A random sentence, the engine first: `weights` keeps the rarer natural-sounding voices from drowning."""
        engines = [e for e in weights if e in self.by_engine]
        engine = rng.choices(engines, [weights[e] for e in engines])[0]
        return rng.choice(self.by_engine[engine])


    def spliced(self, row, rng):
        """The beginning of a row and the end of another by the same speaker (or of the row itself), or None.

        What is said then follows no grammar: a decoder that has the sentences by heart has to listen again.
        """
        other = rng.choice(self.by_speaker[row["speaker"]])
        if min(len(row["words"]), len(other["words"])) < 3:
            return None
        kept, begin = rng.randint(1, len(row["words"]) - 1), rng.randint(1, len(other["words"]) - 1)
        return None if other is row and kept == begin else splice(row, kept, other, begin)


ENGINE_WEIGHTS = {"espeak-ng": 7, "flite": 2, "festival": 2, "rhvoice": 5, "pico": 1, "hibari": 3, "revoiced": 7}
FADE = 80  # samples over which one half of a splice gives way to the other


def splice(row, kept, other, begin):
    """A row of the first `kept` words of `row` and those of `other` from word `begin` on."""
    end, start = row["words"][kept - 1][2], other["words"][begin][1]
    first = row["data"][row["offset"]:row["offset"] + round(end * SAMPLE_RATE)].astype(np.float32)
    second = other["data"][other["offset"] + round(start * SAMPLE_RATE):other["offset"] + other["samples"]].astype(np.float32)
    fade = np.linspace(0, 1, FADE, dtype=np.float32)
    first[-FADE:] *= 1 - fade[-len(first):]
    second[:FADE] *= fade[:len(second)]
    by = end - start
    phones = [(p, s, min(e, end)) for p, s, e in row["phones"] if s < end] + [
        (p, max(s, start) + by, e + by) for p, s, e in other["phones"] if e > start]
    text = " ".join(row["text"].split()[:kept] + other["text"].split()[begin:])
    data = np.concatenate([first, second]).astype(np.int16)
    return {**row, "text": text, "words": row["words"][:kept] + [[w, s + by, e + by] for w, s, e in other["words"][begin:]],
            "phones": phones, "data": data, "offset": 0, "samples": len(data), "seconds": len(data) / SAMPLE_RATE}


def utterance(row, rng, vary=True):
    """(samples, words, phones) of a row, with pitch and tempo moved together by up to a sixth."""
    audio = row["data"][row["offset"]:row["offset"] + row["samples"]].astype(np.float32) / 32768
    factor = 1.0
    if vary and rng.random() < 0.7:
        factor = rng.uniform(0.85, 1.18)
        # Linear interpolation: it dulls the top of the band a little, which a microphone does as well.
        audio = np.interp(np.arange(0, len(audio) - 1, 1 / factor), np.arange(len(audio)), audio).astype(np.float32)
    words = [(w, s * factor, e * factor) for w, s, e in row["words"]]
    marks = [(p, s * factor, e * factor) for p, s, e in row["phones"]]
    # Leading and trailing silence of the synthesiser is cut; the composer makes its own.
    first, last = max(0.0, words[0][1] - 0.03), min(len(audio) / SAMPLE_RATE, words[-1][2] + 0.06)
    audio = audio[int(first * SAMPLE_RATE):int(last * SAMPLE_RATE)]
    shift = [(w, s - first, e - first) for w, s, e in words]
    return audio, shift, [(p, s - first, e - first) for p, s, e in marks]


def compose(corpus, rng, seconds, fill=None, noisy=True, engines=None, splices=0.0):
    """One window: samples and its utterances, each with text, words, phones (times in s from the window's start).

    `fill` bounds the part of the window that may carry speech; what follows is silence, as in a zero-padded window.
    `splices` is the part of the utterances that is put together of two halves.
    """
    fill = seconds if fill is None else fill
    window = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    said, at = [], rng.uniform(0.0, 0.4)
    for _ in range(40):
        row = corpus.draw(rng, engines or ENGINE_WEIGHTS)
        if splices and rng.random() < splices:
            row = corpus.spliced(row, rng) or row
        if at + row["seconds"] * 1.18 > fill:
            if said or rng.random() < 0.05:
                break
            at = 0.0
            continue
        audio, words, marks = utterance(row, rng)
        begin = int(at * SAMPLE_RATE)
        audio = audio[:len(window) - begin] * 10 ** (rng.uniform(-8, 0) / 20)
        window[begin:begin + len(audio)] += audio
        at = begin / SAMPLE_RATE
        said.append({"text": row["text"], "speaker": row["speaker"], "engine": row["engine"],
                     "voice": row["voice"],
                     "words": [(w, s + at, e + at) for w, s, e in words],
                     "phones": [(p, s + at, e + at) for p, s, e in marks]})
        at += len(audio) / SAMPLE_RATE + rng.uniform(0.15, 1.2)
    if noisy:
        window = dress(window, rng, spoken=fill if said else 0)
    return window, said


def noise_only(rng, seconds):
    """A window in which nobody speaks: silence, noise or hum at any level."""
    window = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    if rng.random() < 0.8:
        window += noise(rng, len(window)) * 10 ** (rng.uniform(-70, -15) / 20)
    return window


def dress(window, rng, spoken):
    """Room, microphone, noise and level."""
    if rng.random() < 0.3:
        window = fftconvolve(window, _room(rng))[:len(window)].astype(np.float32)
    if rng.random() < 0.5:
        tilt = rng.uniform(-0.5, 0.5)
        window[1:] += tilt * window[:-1]
    if rng.random() < 0.15:
        cutoff = rng.uniform(3300, 7000)
        window = sosfilt(butter(4, cutoff, fs=SAMPLE_RATE, output="sos"), window).astype(np.float32)
    if rng.random() < 0.15:
        window = sosfilt(butter(2, rng.uniform(60, 300), "high", fs=SAMPLE_RATE, output="sos"), window).astype(np.float32)
    level = float(np.sqrt(np.mean(window ** 2) + 1e-12))
    if rng.random() < 0.65:
        length = len(window)
        if rng.random() < 0.4:  # what is padded with zeros carries no noise either
            length = min(length, int((spoken + 0.3) * SAMPLE_RATE))
        window[:length] += noise(rng, length) * (level * 10 ** (-rng.uniform(12, 45) / 20))
    peak = float(np.abs(window).max()) + 1e-6
    return window * (10 ** (rng.uniform(-25, -0.5) / 20) / peak)


def noise(rng, length):
    """Unit-power noise between white and brown, sometimes with mains hum: a random cut from a bank made once."""
    if not _bank:
        draw = np.random.default_rng(0)
        frequency = np.maximum(np.fft.rfftfreq(_BANK_SAMPLES, 1 / SAMPLE_RATE), 30)
        for slope in (0, 0.25, 0.5, 0.75, 1.0):
            spectrum = np.fft.rfft(draw.standard_normal(_BANK_SAMPLES))
            shaped = np.fft.irfft(spectrum * frequency ** -slope, _BANK_SAMPLES)
            _bank.append((shaped / shaped.std()).astype(np.float32))
    start = rng.randrange(_BANK_SAMPLES - length)
    cut = rng.choice(_bank)[start:start + length]
    if rng.random() < 0.1:
        time = np.arange(length, dtype=np.float32) / SAMPLE_RATE
        cut = cut + rng.uniform(0.3, 2) * sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3))
    return cut / (cut.std() + 1e-9)


_BANK_SAMPLES = 60 * SAMPLE_RATE
_bank = []


def _room(rng):
    """A direct path and an exponentially decaying tail of noise."""
    decay = rng.uniform(0.08, 0.4)
    length = int(decay * SAMPLE_RATE)
    draw = np.random.default_rng(rng.getrandbits(32))
    tail = draw.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    tail *= rng.uniform(0.1, 0.6) / np.sqrt(np.sum(tail ** 2))
    tail[0] = 1.0
    return tail.astype(np.float32)


def frame_targets(said, frames):
    """Phone class of every 20 ms encoder frame; -100 where a phone without a name says that nobody knows."""
    target = np.zeros(frames, np.int64)
    for part in said:
        for symbol, start, end in part["phones"]:
            index = -100 if symbol is None else phones.index(symbol)
            target[int(start * 50 + 0.5):max(int(end * 50 + 0.5), int(start * 50 + 0.5) + 1)] = index
    return target
