"""Makes the sample conversation: three voices read `sample_script.json`, the truth is written beside the sound.

    python sample.py --out DIR
"""

import argparse
import json
import os

import numpy as np
import soundfile

from flite import Flite

SAMPLE_RATE = 16000
VOICES = {"A": ("slt", 1.0, 175.0), "B": ("awb", 1.0, 120.0), "C": ("kal16", 0.95, 105.0)}  # voice, stretch, F0 in Hz
PAUSES = [0.6, 0.5, 0.55, 0.7, 0.55, 0.6, 0.5, 0.65, 0.6, 0.5, 0.7, 0.55, 0.6]  # s, between turns
FULL_SCALE = 0.25


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample_script.json")) as file:
        turns = json.load(file)["turns"]
    synthesiser, pieces, truth, at = Flite(), [np.zeros(int(0.3 * SAMPLE_RATE), np.float32)], [], 0.3
    for turn, pause in zip(turns, PAUSES + [0.4]):
        audio, words, _, _ = synthesiser.say(turn["text"], *VOICES[turn["speaker"]])
        first, last = words[0][1] - 0.03, min(words[-1][2] + 0.06, len(audio) / SAMPLE_RATE)
        audio = audio[int(first * SAMPLE_RATE):int(last * SAMPLE_RATE)]
        audio = audio * (FULL_SCALE / np.abs(audio).max())
        written = turn["text"].split()
        moved = [{"word": written[i], "start": round(at + s - first, 3), "end": round(at + e - first, 3)}
                 for i, s, e in words]
        truth.append({"speaker": turn["speaker"], "start": moved[0]["start"], "end": moved[-1]["end"],
                      "text": turn["text"], "words": moved})
        pieces += [audio, np.zeros(int(pause * SAMPLE_RATE), np.float32)]
        at += len(pieces[-2]) / SAMPLE_RATE + len(pieces[-1]) / SAMPLE_RATE
    # A little room noise, so that silence is not digital zero.
    audio = np.concatenate(pieces)
    audio += np.random.default_rng(1).standard_normal(len(audio)).astype(np.float32) * 2e-4
    os.makedirs(options.out, exist_ok=True)
    soundfile.write(os.path.join(options.out, "conversation.flac"), audio, SAMPLE_RATE, subtype="PCM_16")
    with open(os.path.join(options.out, "conversation.json"), "w") as file:
        json.dump({"audio": "conversation.flac", "sample_rate": SAMPLE_RATE, "seconds": round(len(audio) / SAMPLE_RATE, 3),
                   "speakers": {k: f"flite cmu_us_{v[0]}" for k, v in VOICES.items()}, "turns": truth}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
