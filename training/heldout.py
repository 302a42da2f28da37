"""Writes the held-out test set: sentences and voices that training never met, as FLAC windows with their transcripts.

    python heldout.py --corpus DIR --out DIR

DIR is a corpus made with `corpus.py --held-out`. Every window holds one engine's voices, so that errors can be counted per
engine; every second window is dressed with room, noise and band limits as in training, the others are clean.
"""

import argparse
import json
import os
import random
import re

import numpy as np
import soundfile

import windows

WINDOWS = {("espeak-ng", 5.0): 32, ("flite", 5.0): 24, ("espeak-ng", 10.0): 6, ("flite", 10.0): 6}  # by engine and length in s
PEAK = 0.06  # quiet, so that FLAC needs fewer bits; log-mel is relative to the loudest bin anyway


def main():
    parser = argparse.ArgumentParser()
    for name in ("corpus", "out"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    corpus, rng, entries, used = windows.Corpus(options.corpus), random.Random(2024), [], set()
    for (engine, seconds), count in WINDOWS.items():
        wanted = len(entries) + count
        while len(entries) < wanted:
            noisy = len(entries) % 2 == 1
            audio, said = windows.compose(corpus, rng, seconds, fill=seconds - 0.3, noisy=noisy, engines={engine: 1})
            texts = {part["text"] for part in said}
            if not said or texts & used:
                continue
            used |= texts
            audio = audio[:int(min(seconds, said[-1]["words"][-1][2] + 0.3) * windows.SAMPLE_RATE)]
            name = f"{len(entries):02}.flac"
            soundfile.write(os.path.join(options.out, name), audio * (PEAK / np.abs(audio).max()), windows.SAMPLE_RATE,
                            subtype="PCM_16")
            entries.append({
                "audio": name, "engine": engine, "noisy": noisy, "limit": seconds, "seconds": round(len(audio) / windows.SAMPLE_RATE, 3),
                "text": " ".join(part["text"] for part in said),
                "utterances": [{"speaker": p["speaker"], "text": p["text"], "start": round(p["words"][0][1], 3),
                                "end": round(p["words"][-1][2], 3),
                                "words": [[word, round(start, 3), round(end, 3)] for word, start, end in p["words"]]}
                               for p in said]})
    with open(os.path.join(options.out, "transcripts.json"), "w") as file:
        text = json.dumps({"sample_rate": windows.SAMPLE_RATE, "windows": entries}, indent=1)
        file.write(re.sub(r'\[\s+("[^"]*"),\s+([\d.]+),\s+([\d.]+)\s+\]', r"[\1, \2, \3]", text) + "\n")  # a word, a line


if __name__ == "__main__":
    main()
