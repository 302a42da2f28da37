"""Builds the corpus of single sentences: 16 kHz samples and a manifest with the exact truth.

    python corpus.py --engine espeak --count 20000 --seed 1 --out DIR [--held-out] [--aligner DIR]

Each shard is `NAME.i16` (raw samples, little-endian) and `NAME.jsonl`, one line per sentence:
text, words [[written word, start s, end s]], phones [[symbol, start s, end s]], speaker, voice, engine, rate, offset and
samples (where it lies in the .i16 file). A shard appears under its final name only when complete, so that the trainer may
read the folder while it still fills.

rhvoice, pico and hibari keep the times of their words to themselves: `--aligner`, a folder like assets/aligner, finds them, and such a
sentence is one phone without a name.
"""

import argparse
import json
import os
import random

import numpy as np

from sentences import sentence

SHARD = 500  # sentences
TIMELESS = ("rhvoice", "pico", "hibari")  # these do not tell when they say a word


def spoken(engine, rng, count, held_out, seed, aligner):
    """Yields (text, audio, words, phones, about) endlessly enough for `count` sentences."""
    if engine in ("festival", "roger"):
        import festival
        import roger
        voices = [roger.VOICE] if engine == "roger" else festival.VOICES
        while True:
            yield from festival.say_all(rng, [sentence(rng, held_out) for _ in range(min(count, 250))], voices)
    if engine == "espeak":
        from espeak import Espeak
        synthesiser = Espeak(seed)
    elif engine == "rhvoice":
        from rhvoice import Rhvoice
        synthesiser = Rhvoice()
    elif engine == "pico":
        from pico import Pico
        synthesiser = Pico()
    elif engine == "hibari":
        from hibari_voice import Hibari
        synthesiser = Hibari()
    else:
        from flite import Flite
        synthesiser = Flite()
    while True:
        text = sentence(rng, held_out)
        said = synthesiser.say(text, *synthesiser.draw(rng, held_out))
        if said and engine in TIMELESS:
            words = aligner.words(said[0], text)
            said = words and (said[0], words, [(None, words[0][1], words[-1][2])], said[3])
        if said and said[1]:
            yield (text, *said)


def write_shard(path, rows):
    offset = 0
    with open(path + ".i16", "wb") as samples, open(path + ".part", "w") as manifest:
        for text, audio, words, phones, about in rows:
            peak = max(float(np.abs(audio).max()), 1e-4)
            data = np.round(audio * (0.7 / peak) * 32767).astype("<i2")
            samples.write(data.tobytes())
            written = text.split()
            # espeak's next word begins at its stop's closure, which its phones count to the word before.
            starts = [s for _, s, _ in words[1:]] + [float("inf")]
            manifest.write(json.dumps({
                "text": text, **about, "offset": offset, "samples": len(data),
                "words": [[written[i], round(float(s), 3), round(float(min(e, t)), 3)] for (i, s, e), t in zip(words, starts)],
                "phones": [[p, round(float(s), 3), round(float(e), 3)] for p, s, e in phones]}) + "\n")
            offset += len(data)
    os.rename(path + ".part", path + ".jsonl")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=["espeak", "flite", "festival", "roger", *TIMELESS], required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--aligner", help="for rhvoice, pico and hibari")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    rng = random.Random(f"{options.engine}-{options.seed}-{options.held_out}")
    aligner = None
    if options.engine in TIMELESS:
        from viterbi import Finder
        aligner = Finder(options.aligner)
    source = spoken(options.engine, rng, options.count, options.held_out, options.seed, aligner)
    for start in range(0, options.count, SHARD):
        rows = [next(source) for _ in range(min(SHARD, options.count - start))]
        write_shard(os.path.join(options.out, f"{options.engine}-{options.seed}-{start // SHARD:04}"), rows)


if __name__ == "__main__":
    main()
