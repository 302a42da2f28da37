"""Builds a corpus of speakers with several sentences each, for conversations and for speaker embeddings.

    python speakers.py --kind espeak|revoiced|recordings --part train|dev|test --seed 61 --out DIR
        [--variants listed drawn crossed sibling] [--siblings] [--corpus DIR] [--voices DIR]

The shards are those of `corpus.py`. A sentence of `espeak` has the truth of its synthesiser; `revoiced` takes sentences of the
natural-sounding synthesisers in `--corpus` and lets one throat say several of them; `recordings` are utterances of people in
`--voices` (LibriSpeech's layout), whose "words" are stretches of speech found by their energy, without text.

Nobody is in two parts. `dev` and `test` share the held-out variants of espeak-ng, the throats made from flite's rms, and the
speakers of LibriSpeech's test-other, half each.
"""

import argparse
import glob
import json
import os
import random
from collections import defaultdict

import numpy as np

from corpus import write_shard
from espeak import ACCENTS, DRAWN_VOICES, HELD_OUT_ACCENTS, HELD_OUT_VARIANTS, PITCHES, VARIANTS, Espeak
from revoice import Throat, revoice, taken_apart
from sentences import sentence

SAMPLE_RATE = 16000
SENTENCES = 7  # of each synthetic speaker
NATURAL = ("flite", "festival", "rhvoice", "pico")


def half(things, part):
    """Every second one for the development set, the others for the test."""
    return things[0 if part == "dev" else 1::2]


def espeak(seed, part, rng, variants):
    """One speaker for each variant; the rows of `write_shard`.

    `variants`: "listed" are the same with every seed, so that a second seed of them would make two speakers of one; "drawn", "crossed"
    and "sibling", of which two in a row are nearly the same and one "family".
    """
    made = [kind for kind in variants if kind != "listed"] or ["drawn"]
    assert len(made) == 1, "one kind of made voices for each call"
    synthesiser, held_out = Espeak(seed, made[0]), part != "train"
    if held_out:
        voices = [(accent, variant, pitch) for variant in half(HELD_OUT_VARIANTS, part)
                  for accent, pitch in [(rng.choice(ACCENTS), PITCHES[1]), (HELD_OUT_ACCENTS[0], PITCHES[3])]]
    else:
        names = [f"{kind}{i}" for kind in variants if kind != "listed" for i in range(DRAWN_VOICES)]
        voices = [(rng.choice(ACCENTS), variant, rng.choice(PITCHES)) for variant in VARIANTS * ("listed" in variants) + names]
    before = None
    for accent, variant, pitch in voices:
        number = int(variant.removeprefix("sibling")) if variant.startswith("sibling") else None
        if number is not None and number % 2 and rng.random() < 0.7:  # most have the accent and the base pitch in common, too
            accent, pitch = before
        before, rate, said = (accent, pitch), rng.randint(135, 200), 0
        family = {} if number is None else {"family": f"sibling{number // 2}/{seed}"}
        while said < SENTENCES + 5 * held_out:
            text = sentence(rng, held_out)
            result = synthesiser.say(text, accent, variant, pitch, rate + rng.randint(-12, 12))
            if result and result[1]:
                said += 1
                yield (text, *result[:3], result[3] | family)


def revoiced(folder, part, rng, throats, siblings=False):
    """`throats` new speakers, each made from one natural-sounding voice; with `siblings` every second one is like the one before."""
    by_voice = defaultdict(list)
    for path in sorted(p for e in NATURAL for p in glob.glob(os.path.join(folder, f"{e}-*.jsonl"))):
        data = np.memmap(path.replace(".jsonl", ".i16"), dtype="<i2", mode="r")
        for row in map(json.loads, open(path)):
            by_voice[row["speaker"]].append((row, data))
    for i in range(throats):
        if siblings and i % 2:
            throat = throat.sibling(rng)
        else:
            voice, throat = rng.choice(sorted(by_voice)), Throat(rng)
        speaker = f"{voice}*{rng.getrandbits(32):08x}"
        if not (siblings and i % 2):
            family = speaker
        for row, data in rng.sample(by_voice[voice], SENTENCES + 3 * (part != "train")):
            parts = taken_apart(data[row["offset"]:row["offset"] + row["samples"]] / 32768)
            samples, moved = revoice(parts, throat, rng)
            yield (row["text"], samples, [(i, moved(s), moved(e)) for i, (_, s, e) in enumerate(row["words"])],
                   [(p, moved(s), moved(e)) for p, s, e in row["phones"]],
                   {"engine": "revoiced", "voice": voice, "speaker": speaker, "rate": row["rate"],
                    **({"family": family} if siblings else {})})


def speech_of(audio):
    """Stretches of speech as (start s, end s): above a level between the recording's quiet and its loud frames.

    Pauses below 0.2 s are speech, bursts below 0.1 s are not; the edges are moved out by 40 ms.
    """
    frames = len(audio) // 160
    level = 10 * np.log10(np.mean(audio[:frames * 160].reshape(frames, 160) ** 2, axis=1) + 1e-9)
    level = np.convolve(level, np.ones(5) / 5, "same")
    quiet, loud = np.percentile(level, 8), np.percentile(level, 92)
    active = level > max(quiet + 0.3 * (loud - quiet), loud - 35)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(int), [0]]))).reshape(-1, 2) / 100
    merged = []
    for start, end in edges:
        if merged and start - merged[-1][1] < 0.2:
            merged[-1][1] = end
        else:
            merged.append([start, end])
    return [(max(0.0, s - 0.04), min(frames / 100, e + 0.04)) for s, e in merged if e - s >= 0.1]


def recordings(folder, part, seed):
    """The people of LibriSpeech: train-clean-100 for training, test-other for the rest."""
    import soundfile
    paths = sorted(glob.glob(os.path.join(folder, "*train-clean*" if part == "train" else "*test-other*", "**", "*.flac"),
                             recursive=True))
    people = sorted({os.path.basename(path).split("-")[0] for path in paths})
    people = set(people if part == "train" else half(people, part))
    for path in paths:
        person = os.path.basename(path).split("-")[0]
        if person not in people:
            continue
        audio, rate = soundfile.read(path, dtype="float32")
        assert rate == SAMPLE_RATE, path
        speech = speech_of(audio / np.abs(audio).max())
        # `write_shard` names words after the text's; here they are numbers.
        text = " ".join(map(str, range(len(speech))))
        yield (text, audio, [(i, s, e) for i, (s, e) in enumerate(speech)], [(None, speech[0][0], speech[-1][1])],
               {"engine": "recording", "voice": person, "speaker": f"person {person}", "rate": 1})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=["espeak", "revoiced", "recordings"], required=True)
    parser.add_argument("--part", choices=["train", "dev", "test"], required=True)
    parser.add_argument("--seed", type=int, default=61)
    parser.add_argument("--throats", type=int, default=100)
    parser.add_argument("--siblings", action="store_true", help="of revoiced: every second throat is nearly the one before")
    parser.add_argument("--variants", nargs="+", choices=["listed", "drawn", "crossed", "sibling"], default=["listed", "drawn"], help="of espeak")
    parser.add_argument("--out", required=True)
    parser.add_argument("--corpus", help="for revoiced")
    parser.add_argument("--voices", help="for recordings")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    rng = random.Random(f"speakers-{options.kind}-{options.part}-{options.seed}")
    if options.kind == "espeak":
        rows = espeak(options.seed, options.part, rng, options.variants)
    elif options.kind == "revoiced":
        rows = revoiced(options.corpus, options.part, rng, options.throats, options.siblings)
    else:
        rows = recordings(options.voices, options.part, options.seed)
    write_shard(os.path.join(options.out, f"{options.kind}-{options.seed}"), rows)


if __name__ == "__main__":
    main()
