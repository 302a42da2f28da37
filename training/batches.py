"""Turns composed windows into training batches."""

import math
import random

import torch

import windows
from features import log_mel

IGNORE = -100
FRAME = 0.02  # s, encoder frame


def target_of(said, tokens, stamped, rng):
    """Token ids of a window, and for each the (start, end) in s it is heard at, or None."""
    ids, spans = [tokens.start], [None]
    if not said and rng.random() < 0.5:
        return ids + [tokens.no_speech, tokens.end], spans + [None, None]
    ids += [tokens.english, tokens.transcribe] + ([] if stamped else [tokens.no_timestamps])
    spans += [None] * (len(ids) - 1)
    for part in said:
        words = part["words"]
        if stamped:
            ids.append(_stamp(words[0][1], tokens))
            spans.append((words[0][1] - 0.05, words[0][1] + 0.1))
        encoded = tokens.encode(" " + part["text"])
        spoken = _word_of_token(part["text"], encoded.offsets)
        ids += encoded.ids
        spans += [(words[i][1], words[i][2]) for i in spoken]
        if stamped:
            ids.append(_stamp(words[-1][2], tokens))
            spans.append((words[-1][2] - 0.1, words[-1][2] + 0.05))
    return ids + [tokens.end], spans + [None]


def _stamp(seconds, tokens):
    return tokens.first_timestamp + min(500, max(0, round(seconds / FRAME)))


def _word_of_token(text, offsets):
    """Index of the written word each token lies in; offsets count the space put before `text`."""
    starts, at = [], 0
    for word in text.split():
        at = text.index(word, at)
        starts.append(at)
        at += len(word)
    return [max(i for i, s in enumerate(starts) if s <= max(0, end - 2)) for _, end in offsets]


def mask_spectrogram(mel, rng):
    """SpecAugment: a few bands and a few moments are levelled to the window's mean."""
    mel, level = mel.clone(), float(mel.mean())
    for _ in range(rng.randint(0, 2)):
        width, low = rng.randint(1, 12), rng.randint(0, 79)
        mel[low:low + width] = level
    for _ in range(rng.randint(0, 3)):
        width, start = rng.randint(1, 14), rng.randint(0, mel.shape[1] - 1)
        mel[:, start:start + width] = level
    return mel


def other_throat(mel, rng):
    """Vocal tract length perturbation (Jaitly & Hinton 2013): frequencies times a factor, the pitch with the formants.

    Cheaper than `revoice.py`, and drawn anew each time.
    """
    bands = mel.shape[0]
    centre = (torch.arange(bands) + 1) * (_mel(8000.0) / (bands + 1))
    hertz = torch.where(centre < 15, centre * 200 / 3, 1000 * torch.exp((centre - 15) * math.log(6.4) / 27))
    source = hertz * rng.uniform(0.84, 1.19)
    source = torch.where(source < 1000, source * 3 / 200, 15 + 27 * torch.log(source / 1000) / math.log(6.4))
    at = (source * (bands + 1) / _mel(8000.0) - 1).clamp(0, bands - 1)
    low = at.floor().long().clamp(max=bands - 2)
    share = (at - low)[:, None]
    return mel[low] * (1 - share) + mel[low + 1] * share


def other_microphone(mel, rng):
    """A smooth gain over frequency, up to some 12 dB: what differs most between recordings of equally clear speech."""
    bands = torch.linspace(0, 1, mel.shape[0])
    decibel = rng.uniform(-10, 10) * (bands - 0.5)
    for waves in (1, 2, 3):
        decibel = decibel + rng.gauss(0, 2.5) * torch.cos(math.pi * waves * bands + rng.uniform(0, math.pi))
    mel = mel + decibel[:, None] / 40  # log_mel is (log10 of the power + 4) / 4
    return torch.maximum(mel, mel.max() - 2)


def _mel(hertz):
    """Slaney's scale above 1 kHz."""
    return 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def batch_of(examples, tokens, rng, masked=True):
    """Padded tensors of (audio, said) pairs of equal length."""
    mels, phone_targets, rows = [], [], []
    for audio, said in examples:
        mel = log_mel(audio)
        if masked and rng.random() < 0.5:
            mel = other_throat(mel, rng)
        if masked and rng.random() < 0.5:
            mel = other_microphone(mel, rng)
        mels.append(mask_spectrogram(mel, rng) if masked and rng.random() < 0.15 else mel)
        phone_targets.append(torch.from_numpy(windows.frame_targets(said, mel.shape[1] // 2)))
        rows.append(target_of(said, tokens, rng.random() < 0.3, rng))
    longest = max(len(ids) for ids, _ in rows)
    inputs = torch.full((len(rows), longest - 1), tokens.end)
    targets = torch.full((len(rows), longest - 1), IGNORE)
    spans = torch.full((len(rows), longest - 1, 2), -1.0)
    for i, (ids, heard) in enumerate(rows):
        inputs[i, :len(ids) - 1], targets[i, :len(ids) - 1] = torch.tensor(ids[:-1]), torch.tensor(ids[1:])
        prompt = 2 if len(ids) > 3 and ids[1] != tokens.no_speech else 0
        # The language is always English and the task always transcription: nothing to learn beyond the first time.
        if prompt and ids[3] == tokens.no_timestamps:
            targets[i, 2] = IGNORE  # whether times are wanted is the caller's choice
        for j, span in enumerate(heard[1:]):
            if span is not None:
                spans[i, j] = torch.tensor(span)
    return {"mel": torch.stack(mels), "phones": torch.stack(phone_targets), "inputs": inputs, "targets": targets,
            "spans": spans}


class Batches:
    """Endless batches; `progress()` is the part of the run that has passed."""

    SHORT, LONG = (5.0, 8), (10.0, 4)  # seconds per window, windows per batch
    DRESSED = 0.35  # part of the windows with room, noise or band limits, once training has got going
    GOING = 0.5  # part of the run from which on that many are
    SPLICES = 0.3  # part of the utterances that are two halves of others

    def __init__(self, folder, tokens, progress, long, seed):
        self.corpus, self.tokens, self.rng = windows.Corpus(folder), tokens, random.Random(seed)
        self.progress, self.long, self.count = progress, long, 0  # long: part of the batches that is

    def __iter__(self):
        while True:
            progress = self.progress()
            seconds, size = self.LONG if self.rng.random() < self.long else self.SHORT
            self.count += 1
            if self.count % 100 == 0:
                self.corpus.refresh()  # the corpus may still be growing
            dressed = self.DRESSED * min(1.0, progress / self.GOING)
            yield batch_of([self._example(seconds, dressed) for _ in range(size)], self.tokens, self.rng)

    def _example(self, seconds, dressed):
        rng = self.rng
        if rng.random() < 0.03:
            return windows.noise_only(rng, seconds), []
        fill = seconds
        if rng.random() < (0.7 if seconds == 10.0 else 0.2):
            fill = rng.uniform(1.5, 5.5)
        return windows.compose(self.corpus, rng, seconds, fill, noisy=rng.random() < dressed, splices=self.SPLICES)
