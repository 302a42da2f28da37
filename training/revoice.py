"""New speakers out of old ones: an utterance is taken apart into pitch, spectral envelope and breathiness (WORLD, Morise et al.
2016) and put together again by another throat.

    python revoice.py --corpus DIR --seed 1 --each 2

reads the shards of the natural-sounding synthesisers in DIR and writes each of their sentences `--each` times more, as engine
`revoiced`. There are five natural voices, one of which is kept for the test: without this a recogniser learns four throats.
What is drawn anew for each utterance: mean and range of the pitch, length of the vocal tract (with some unevenness along it,
since tracts differ in proportion too), sharpness and tilt of the spectrum, breathiness, and the tempo from moment to moment.
The truth follows: word and phone times are carried through the same change of time.
"""

import argparse
import glob
import json
import os
import random

import numpy as np
import pyworld

from corpus import write_shard

SAMPLE_RATE = 16000
FRAME = 0.005  # s, WORLD's default
ENGINES = ("flite", "festival", "rhvoice", "pico", "hibari", "roger")


class Throat:
    """What makes one speaker differ from another, drawn at random."""

    def __init__(self, rng):
        self.tract = rng.uniform(0.80, 1.25)  # formants times this
        self.proportions = [rng.gauss(0, 0.04) for _ in range(5)]  # log deviation at the knots of `warp`
        self.pitch = 105 * self.tract ** 1.2 * 2 ** rng.gauss(0, 0.42)  # Hz; long tracts mostly go with low voices
        self.pitch = min(300.0, max(65.0, self.pitch * (1.5 if self.tract > 1.08 else 1.0)))
        self.range = rng.uniform(0.4, 1.6)  # of the intonation
        self.sharpness = rng.uniform(0.8, 1.2)  # of the formants: exponent of the envelope
        self.tilt = rng.uniform(-16, 16)  # dB from 0 to 8 kHz
        self.colour = [rng.gauss(0, 3) for _ in range(8)]  # dB, microphone and timbre
        self.breath = rng.uniform(0.35, 1.6)  # exponent of the aperiodicity: below one is breathier
        self.tempo = rng.uniform(0.7, 1.2)
        self.unevenness = rng.uniform(0.0, 0.2)

    def sibling(self, rng):
        """Another throat, nearly as long and as high: what else there is has to tell the two apart."""
        other = Throat(rng)
        other.tract = self.tract * 2 ** rng.gauss(0, 0.03)
        other.pitch = self.pitch * 2 ** rng.gauss(0, 0.08)
        return other

    def warp(self, bins):
        """Where each output bin of the envelope reads from."""
        at = np.linspace(0, 1, bins)
        knots = np.exp(np.interp(at, np.linspace(0, 1, 5), self.proportions))
        return np.clip(at / (self.tract * knots), 0, 1) * (bins - 1)

    def gain(self, bins):
        """Power gain of each bin."""
        at = np.linspace(0, 1, bins)
        decibel = self.tilt * (at - 0.5) + np.interp(at, np.linspace(0, 1, len(self.colour)) ** 1.5, self.colour)
        return 10 ** (decibel / 10)


def taken_apart(audio):
    """Pitch [frames] in Hz (0 where unvoiced), log of the power envelope and aperiodicity [frames, bins]."""
    audio = audio.astype(np.float64)
    f0, times = pyworld.dio(audio, SAMPLE_RATE)
    f0 = pyworld.stonemask(audio, f0, times, SAMPLE_RATE)
    return f0, np.log(pyworld.cheaptrick(audio, f0, times, SAMPLE_RATE)), pyworld.d4c(audio, f0, times, SAMPLE_RATE)


def revoice(parts, throat, rng):
    """(samples, map of times): the same words by another throat; the map takes seconds of the old to seconds of the new."""
    f0, log_envelope, aperiodicity = parts
    f0, voiced = f0.copy(), f0 > 0
    if voiced.any():
        mean = np.exp(np.log(f0[voiced]).mean())
        f0[voiced] = np.clip(throat.pitch * (f0[voiced] / mean) ** throat.range, 50, 450)

    bins = log_envelope.shape[1]
    source = throat.warp(bins)
    low = np.minimum(source.astype(int), bins - 2)
    share = source - low
    log_envelope = log_envelope[:, low] * (1 - share) + log_envelope[:, low + 1] * share
    middle = log_envelope.mean(axis=1, keepdims=True)
    envelope = np.exp(middle + (log_envelope - middle) * throat.sharpness) * throat.gain(bins)
    aperiodicity = aperiodicity[:, low] * (1 - share) + aperiodicity[:, low + 1] * share
    aperiodicity = np.clip(aperiodicity ** throat.breath, 1e-6, 1 - 1e-6)

    # Tempo: new frames read the old ones at places whose spacing wanders around the mean tempo.
    knots = max(2, len(f0) // 50)
    pace = np.exp(np.interp(np.linspace(0, 1, len(f0)), np.linspace(0, 1, knots),
                            [rng.gauss(0, throat.unevenness) for _ in range(knots)])) / throat.tempo
    new_time = np.concatenate([[0.0], np.cumsum(pace)])  # of each old frame, in new frames
    frames = np.interp(np.arange(int(new_time[-1])), new_time, np.arange(len(new_time)))
    at = np.clip(np.round(frames).astype(int), 0, len(f0) - 1)
    out = pyworld.synthesize(np.ascontiguousarray(f0[at]), np.ascontiguousarray(envelope[at]),
                             np.ascontiguousarray(aperiodicity[at]), SAMPLE_RATE, FRAME * 1000)

    def moved(seconds):
        return float(np.interp(seconds / FRAME, np.arange(len(new_time)), new_time)) * FRAME

    return out.astype(np.float32), moved


def revoiced(row, parts, rng):
    """One row for `write_shard`."""
    samples, moved = revoice(parts, Throat(rng), rng)
    words = [(i, moved(start), moved(end)) for i, (_, start, end) in enumerate(row["words"])]
    phones = [(symbol, moved(start), moved(end)) for symbol, start, end in row["phones"]]
    speaker = f"{row['speaker']}*{rng.getrandbits(32):08x}"
    return row["text"], samples, words, phones, {
        "engine": "revoiced", "voice": row["voice"], "speaker": speaker, "rate": row["rate"]}


def rows_of(path, each, rng):
    data = np.memmap(path.replace(".jsonl", ".i16"), dtype="<i2", mode="r")
    with open(path) as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        parts = taken_apart(data[row["offset"]:row["offset"] + row["samples"]] / 32768)
        for _ in range(each):
            yield revoiced(row, parts, rng)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=2, help="new voices for every sentence")
    options = parser.parse_args()
    for path in sorted(p for e in ENGINES for p in glob.glob(os.path.join(options.corpus, f"{e}-*.jsonl"))):
        stem = os.path.basename(path).removesuffix(".jsonl")
        rng = random.Random(f"revoiced-{options.seed}-{stem}")
        target = os.path.join(options.corpus, f"revoiced-{options.seed}-{stem}")
        if os.path.exists(target + ".jsonl"):
            continue  # done by an earlier call; the corpus may be growing
        write_shard(target, rows_of(path, options.each, rng))


if __name__ == "__main__":
    main()
