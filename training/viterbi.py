"""Forced alignment in numpy: the best path of true CTC, its words, and how far their boundaries are off."""

import numpy as np
import torch
from transformers import Wav2Vec2ForCTC

from aligner import BLANK, DELIMITER, SAMPLE_RATE, VOCABULARY, normalised


def labels_of(text):
    """(classes, [(first, last) label of each word]): lower case, a delimiter between words, what has no class left out."""
    classes, words = [], []
    for word in text.lower().split():
        letters = [VOCABULARY[c] for c in word if c in VOCABULARY and c != "|"]
        if classes and letters:
            classes.append(DELIMITER)
        words.append((len(classes), len(classes) + len(letters)))
        classes += letters
    return classes, words


def best_path(log_probs, labels):
    """[first, last) frame of each label on the best path through `log_probs` [frames, classes], or None without one."""
    frames, count = len(log_probs), len(labels)
    states = np.full(2 * count + 1, BLANK)
    states[1::2] = labels
    skips = np.zeros(len(states), bool)  # a blank may be left out, but for between two that are alike
    skips[3::2] = states[3::2] != states[1:-2:2]
    score = np.full(len(states), -np.inf)
    score[:2] = log_probs[0, states[:2]]
    moves = np.zeros((frames, len(states)), np.int8)
    for t in range(1, frames):
        reach = np.stack([score, np.r_[-np.inf, score[:-1]], np.where(skips, np.r_[-np.inf, -np.inf, score[:-2]], -np.inf)])
        moves[t] = reach.argmax(0)
        score = reach.max(0) + log_probs[t, states]
    state = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    if score[state] == -np.inf:
        return None
    spans = [[frames, 0] for _ in labels]
    for t in range(frames - 1, -1, -1):
        if state % 2:
            span = spans[state // 2]
            span[0], span[1] = t, max(span[1], t + 1)
        state -= int(moves[t, state])
    return spans


def word_times(log_probs, text, duration):
    """[(start s, end s)] of the words of `text`, None for one without letters; frames share the duration evenly, as in WhisperX."""
    labels, words = labels_of(text)
    spans = best_path(log_probs, labels) if labels else None
    frame = duration / len(log_probs)
    return [None if spans is None or first == last else (spans[first][0] * frame, spans[last - 1][1] * frame)
            for first, last in words]


class Finder:
    """An exported aligner that finds the words of sentences."""

    def __init__(self, folder):
        self.model = Wav2Vec2ForCTC.from_pretrained(folder, dtype=torch.float32).eval()

    def heard(self, audio):
        """Log-probabilities [frames, classes]."""
        with torch.no_grad():
            logits = self.model(torch.from_numpy(normalised(audio))[None].float()).logits[0]
        return logits.log_softmax(-1).numpy()

    def words(self, audio, text):
        """(index, start s, end s) of every word, or None if one of them has no time or an unlikely one."""
        times = word_times(self.heard(audio), text, len(audio) / SAMPLE_RATE)
        if any(pair is None or not 0.03 <= pair[1] - pair[0] <= 1.5 for pair in times):
            return None
        return [(i, *pair) for i, pair in enumerate(times)]


def errors(found, truth):
    """Absolute errors in s of all starts and ends; `truth`: (word, start s, end s)."""
    return [abs(got - wanted) for pair, (_, *times) in zip(found, truth) if pair for got, wanted in zip(pair, times)]


def summary(values):
    """(count, median, 95th percentile, part within 80 ms), times in ms."""
    values = np.array(values) * 1000
    return len(values), float(np.median(values)), float(np.percentile(values, 95)), float(np.mean(values <= 80))
