"""Turns composed windows into training batches, in a process of its own."""

import random

import numpy as np
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


def batch_of(examples, tokens, rng, masked=True):
    """Padded tensors of (audio, said) pairs of equal length."""
    mels, phone_targets, rows = [], [], []
    for audio, said in examples:
        mel = log_mel(audio)
        mels.append(mask_spectrogram(mel, rng) if masked and rng.random() < 0.7 else mel)
        phone_targets.append(torch.from_numpy(windows.frame_targets(said, mel.shape[1] // 2)))
        rows.append(target_of(said, tokens, rng.random() < 0.5, rng))
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


class Batches(torch.utils.data.IterableDataset):
    """Endless batches of the current stage; `stage` is a shared integer the trainer advances."""

    # (seconds per window, windows per batch): short windows first, since attention learns to align on them for a
    # fraction of the price.
    STAGES = [(3.2, 12), (5.0, 8), (10.0, 5)]

    def __init__(self, folder, tokens_path, stage, seed):
        self.folder, self.tokens_path, self.stage, self.seed = folder, tokens_path, stage, seed

    def __iter__(self):
        from tokenizer import Tokens
        worker = torch.utils.data.get_worker_info()
        torch.set_num_threads(1)
        rng = random.Random(f"{self.seed}-{worker.id if worker else 0}")
        corpus, tokens, count = windows.Corpus(self.folder), Tokens(self.tokens_path), 0
        while True:
            if count % 50 == 0:
                corpus.refresh()
            count += 1
            seconds, size = self.STAGES[self.stage.value]
            yield batch_of([self._example(corpus, rng, seconds) for _ in range(size)], tokens, rng)

    def _example(self, corpus, rng, seconds):
        if rng.random() < 0.03:
            return windows.noise_only(rng, seconds), []
        fill = seconds
        if seconds == 10.0 and rng.random() < 0.35:
            fill = rng.uniform(1.5, 10)
        return windows.compose(corpus, rng, seconds, fill)
