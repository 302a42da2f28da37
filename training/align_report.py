"""How far the aligner's word boundaries are off.

    python align_report.py --model DIR --heldout DIR [--recordings DIR]

Absolute errors of the starts and ends of all words, of the windows of the test set each as one utterance and, with
`--recordings`, of the two recordings of people whose words are known: `sg0042.wav` with `sg0042.words.tsv`, and
`acoustic_corpus.wav` with its TextGrid. The Viterbi is that of `viterbi.py`; `--check` compares it with torchaudio's.
"""

import argparse
import csv
import json
import os
import re

import numpy as np
import soundfile
import torch

import aligner
import viterbi


def heldout(folder):
    """(groups, samples, words) of each window."""
    with open(os.path.join(folder, "transcripts.json")) as file:
        for entry in json.load(file)["windows"]:
            audio, _ = soundfile.read(os.path.join(folder, entry["audio"]), dtype="float32")
            words = [word for part in entry["utterances"] for word in part["words"]]
            family = "flite rms" if entry["engine"] == "flite" else entry["engine"]
            yield [family, "noisy" if entry["noisy"] else "clean", "all"], audio, words


def recordings(folder):
    with open(os.path.join(folder, "sg0042.words.tsv")) as file:
        words = [(row["word"], float(row["start"]), float(row["end"])) for row in csv.DictReader(file, delimiter="\t")]
    yield ["sg0042"], _samples(os.path.join(folder, "sg0042.wav")), words
    with open(os.path.join(folder, "acoustic_corpus.TextGrid")) as file:
        tier = file.read().split('"IntervalTier"')[1]
    rows = re.findall(r'^([\d.]+)\n([\d.]+)\n"([^"]*)"$', tier, re.M)
    words = [(word, float(start), float(end)) for start, end, word in rows if re.search("[a-z]", word)]
    yield ["acoustic_corpus"], _samples(os.path.join(folder, "acoustic_corpus.wav")), words


def _samples(path):
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    audio = audio.mean(1)
    return audio if rate == 16000 else _resampled(audio, rate)


def _resampled(audio, rate):
    from scipy.signal import resample_poly
    divisor = int(np.gcd(rate, 16000))
    return resample_poly(audio, 16000 // divisor, rate // divisor).astype(np.float32)


def check(log_probs, text):
    """That torchaudio finds a path no better than ours."""
    from torchaudio.functional import forced_align
    labels, _ = viterbi.labels_of(text)
    path, scores = forced_align(torch.from_numpy(log_probs)[None], torch.tensor([labels]), blank=aligner.BLANK)
    spans = viterbi.best_path(log_probs, labels)
    states = np.full(len(log_probs), aligner.BLANK)
    for label, (first, last) in zip(labels, spans):
        states[first:last] = label
    ours = float(log_probs[np.arange(len(states)), states].sum())
    assert abs(ours - float(scores.sum())) < 1e-2 and np.mean(states == path[0].numpy()) > 0.99, text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--heldout", required=True)
    parser.add_argument("--recordings")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    finder = viterbi.Finder(options.model)
    sources = [*heldout(options.heldout), *(recordings(options.recordings) if options.recordings else [])]
    found = {}
    for groups, audio, words in sources:
        text, log_probs = " ".join(word for word, _, _ in words), finder.heard(audio)
        times = viterbi.word_times(log_probs, text, len(audio) / aligner.SAMPLE_RATE)
        if options.check:
            check(log_probs, text)
        for group in groups:
            found.setdefault(group, []).extend(viterbi.errors(times, words))
        for pair, (word, start, end) in zip(times, words) if options.verbose else []:
            print(f"{groups[0]:10} {word:12} {start:6.2f} {end:6.2f}", *(f"{1000 * d:6.0f}" for d in (pair[0] - start, pair[1] - end)))
    for group, values in found.items():
        count, median, most, part = viterbi.summary(values)
        print(f"{group:16} {count:5} boundaries, median {median:5.1f} ms, 95 % within {most:6.1f} ms, {100 * part:5.1f} % within 80 ms")


if __name__ == "__main__":
    main()
