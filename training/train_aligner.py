"""Trains the built-in aligner.

    python train_aligner.py --corpus DIR --dev DIR --out DIR --minutes 70

The loop, its clock and its options are those of `train.py`.
"""

import os
import random

import numpy as np
import torch

import aligner
import viterbi
import windows
from train import Run, arguments, log, train

SIZES = [(3.0, 10), (5.0, 6), (9.0, 3)]  # seconds per window, windows per batch
GUIDED = 0.08  # part of the run in which the even sharing of frames fades
DRESSED = 0.5  # part of the windows with room, noise or band limits
SILENT = 0.02  # part without speech


class Batches:
    """Endless batches: `audio` [B, samples] and `targets`."""

    def __init__(self, folder, seed):
        self.corpus, self.rng = windows.Corpus(folder), random.Random(seed)

    def __iter__(self):
        rng = self.rng
        while True:
            seconds, size = rng.choices(SIZES, [3, 3, 1])[0]
            seconds = round(seconds * rng.uniform(0.9, 1.1), 2)
            examples = [self._example(seconds) for _ in range(size)]
            said = [[word for part in parts for word in part["words"]] for _, parts in examples]
            audio = np.stack([aligner.normalised(audio) for audio, _ in examples])
            yield {"audio": torch.from_numpy(audio).float(), "words": said}

    def _example(self, seconds):
        rng = self.rng
        if rng.random() < SILENT:
            return windows.noise_only(rng, seconds), []
        audio, said = windows.compose(self.corpus, rng, seconds, noisy=rng.random() < DRESSED)
        return (other_microphone(audio, rng) if rng.random() < 0.5 else audio) * rng.choice([1, -1]), said


def other_microphone(audio, rng):
    """A smooth gain over frequency, up to some 12 dB."""
    spectrum = np.fft.rfft(audio)
    at = np.linspace(0, 1, len(spectrum))
    decibel = rng.uniform(-10, 10) * (at - 0.5)
    for waves in (1, 2, 3, 6):
        decibel = decibel + rng.gauss(0, 2.5) * np.cos(np.pi * waves * at + rng.uniform(0, np.pi))
    return np.fft.irfft(spectrum * 10 ** (decibel / 20), len(audio)).astype(np.float32)


class Aligner(Run):
    def __init__(self, options):
        model = aligner.network(options.seed).train()
        if options.start:
            model.load_state_dict(torch.load(options.start)["model"])
        super().__init__(options, model)

    def batches(self, seed):
        return Batches(self.options.corpus, seed)

    def loss(self, batch):
        logits = self.model(batch["audio"]).logits
        targets = aligner.Targets(batch["words"], logits.shape[1])
        with torch.autocast("cpu", enabled=False):
            loss = targets.loss(logits, max(0.0, 1 - self.progress() / GUIDED))
        return loss, [float(loss.detach())]

    def dev(self):
        return [number for row in dev_errors(self.model, self.options.dev, self.options.dev_windows).values() for number in row]


def dev_errors(model, folder, count):
    """`viterbi.summary` for each synthesiser, on windows of held-out sentences in held-out voices, dressed half of the time."""
    corpus, rng, found = windows.Corpus(folder), random.Random(7), {}
    model.eval()
    for i in range(count):
        engine = ("espeak-ng", "flite")[i % 2]
        audio, said = windows.compose(corpus, rng, rng.uniform(3, 10), noisy=i % 4 < 2, engines={engine: 1})
        words = [word for part in said for word in part["words"]]
        text = " ".join(part["text"] for part in said)
        with torch.no_grad():
            logits = model(torch.from_numpy(aligner.normalised(audio))[None].float()).logits[0]
        times = viterbi.word_times(logits.log_softmax(-1).numpy(), text, len(audio) / aligner.SAMPLE_RATE)
        found.setdefault(engine, []).extend(viterbi.errors(times, words))
    model.train()
    return {engine: viterbi.summary(values) for engine, values in found.items()}


def main():
    parser = arguments()
    parser.add_argument("--start", help="checkpoint with weights to begin with")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    torch.set_num_threads(1)
    run = Aligner(options)
    train(run, log)
    log(run, "dev", run.dev())


if __name__ == "__main__":
    main()
