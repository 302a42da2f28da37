"""Makes conversations of voices and sentences that training never met, with their truth.

    python heldout_conversations.py --speakers DIR --out DIR [--count 8] [--seed 2025] [--recordings]

Two to four speakers take turns for some twenty-five seconds; a tenth of the turns begins before the one before has ended. The first half is
clean, the second has a room, noise or band limits. `conversations.json` has who said what and when, `conversations.rttm` who
spoke when (pauses below 0.2 s are speech), `conversations.stm` the text. With `--recordings` people speak too, without text.
"""

import argparse
import json
import os
import random
import re

import numpy as np
import soundfile

import conversations
from windows import SAMPLE_RATE

PEOPLE = [2, 3, 4, 2, 3, 4, 2, 3]
SECONDS = 26.0
PEAK = 0.06  # quiet, so that FLAC needs fewer bits
FEWEST = 3.0  # s that each participant says


def conversation(speakers, rng, count, noisy, whole, kinds):
    """(samples, people, turns): redrawn until everybody has said something, twice."""
    while True:
        people = speakers.draw(rng, count, kinds)
        sound, turns = conversations.compose(speakers, rng, SECONDS, people, overlap=0.1, before=0.0, factors=[1.0] * count,
                                             again=0.1, whole=whole)
        said = [sum(e - s for who, words in turns if who == i for s, e in conversations.stretches(words)) for i in range(count)]
        often = [sum(who == i for who, _ in turns) for i in range(count)]
        if min(said) < FEWEST or min(often) < 2:
            continue
        sound = sound[:int((max(words[-1][2] for _, words in turns) + 0.4) * SAMPLE_RATE)]
        if noisy:
            sound = conversations.noisy(sound, rng)
        return sound, people, turns


def rttm(name, turns):
    lines = sorted((start, f"SPEAKER {name} 1 {start:.3f} {end - start:.3f} <NA> <NA> {'ABCD'[who]} <NA> <NA>")
                   for who, words in turns for start, end in conversations.stretches(words))
    return [line for _, line in lines]


def main():
    parser = argparse.ArgumentParser()
    for name in ("speakers", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--seed", type=int, default=2025)
    parser.add_argument("--recordings", action="store_true")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    speakers, rng = conversations.Speakers([options.speakers]), random.Random(options.seed)
    kinds = {"recording": 1} if options.recordings else {"revoiced": 1, "espeak-ng": 1}
    entries, times, texts = [], [], []
    for i in range(options.count):
        noisy = i >= options.count // 2
        sound, people, turns = conversation(speakers, rng, PEOPLE[i % 8], noisy, not options.recordings, kinds)
        name = f"{i:02}"
        soundfile.write(os.path.join(options.out, name + ".flac"), sound * (PEAK / np.abs(sound).max()), SAMPLE_RATE, subtype="PCM_16")
        times += rttm(name, turns)
        turns = [{"speaker": "ABCD"[who], "start": round(words[0][1], 3), "end": round(words[-1][2], 3),
                  "words": [[w, round(s, 3), round(e, 3)] for w, s, e in words]} for who, words in turns]
        if not options.recordings:
            for turn in turns:
                turn["text"] = " ".join(w for w, _, _ in turn["words"])
                texts.append(f"{name} 1 {turn['speaker']} {turn['start']:.3f} {turn['end']:.3f} {turn['text']}")
        entries.append({"audio": name + ".flac", "noisy": noisy, "seconds": round(len(sound) / SAMPLE_RATE, 3),
                        "speakers": {"ABCD"[k]: person for k, person in enumerate(people)}, "turns": turns})
    with open(os.path.join(options.out, "conversations.json"), "w") as file:
        text = json.dumps({"sample_rate": SAMPLE_RATE, "conversations": entries}, indent=1)
        file.write(re.sub(r'\[\s+("[^"]*"|null),\s+([\d.]+),\s+([\d.]+)\s+\]', r"[\1, \2, \3]", text) + "\n")  # a word, a line
    for name, lines in [("conversations.rttm", times), ("conversations.stm", texts)]:
        if lines:
            with open(os.path.join(options.out, name), "w") as file:
                file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
