"""Word error rate, counted on lower-case words without punctuation."""

import random

import torch

import windows
from features import log_mel
from sentences import words_of


def edits(reference, hypothesis):
    """Levenshtein distance between two word lists."""
    row = list(range(len(hypothesis) + 1))
    for i, wanted in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, got in enumerate(hypothesis, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (wanted != got))
    return row[-1]


def decode(model, tokens, audios, batch=10):
    """Greedy transcripts of windows, each zero-padded to ten seconds, as an engine sees them."""
    texts = []
    prompt = [tokens.start, tokens.english, tokens.transcribe, tokens.no_timestamps]
    for i in range(0, len(audios), batch):
        padded = [torch.nn.functional.pad(torch.as_tensor(a), (0, 160000 - len(a))) for a in audios[i:i + batch]]
        mel = torch.stack([log_mel(a) for a in padded])
        texts += [tokens.decode(ids) for ids in model.transcribe(mel, prompt, tokens.end)]
    return texts


def dev_error(model, tokens, folder, count):
    """(errors, words) on windows composed from held-out sentences in held-out voices, clean half of the time."""
    corpus, rng = windows.Corpus(folder), random.Random(7)
    audios, references = [], []
    for i in range(count):
        seconds = rng.uniform(3, 10)
        audio, said = windows.compose(corpus, rng, seconds, noisy=i % 2 == 0)
        audios.append(audio)
        references.append(" ".join(part["text"] for part in said))
    model.eval()
    got = decode(model, tokens, audios)
    model.train()
    for reference, text in list(zip(references, got))[:4]:
        print(f"  said: {reference}\n  got:  {text.strip()}", flush=True)
    errors = sum(edits(words_of(r), words_of(g)) for r, g in zip(references, got))
    return errors, sum(len(words_of(r)) for r in references)
