"""Forced alignment in numpy: the best path of true CTC, its words, and how far their boundaries are off."""

import numpy as np

from aligner import BLANK, DELIMITER, VOCABULARY


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


def errors(found, truth):
    """Absolute errors in s of all starts and ends; `truth`: (word, start s, end s)."""
    return [abs(got - wanted) for pair, (_, *times) in zip(found, truth) if pair for got, wanted in zip(pair, times)]


def summary(values):
    """(count, median, 95th percentile, part within 80 ms), times in ms."""
    values = np.array(values) * 1000
    return len(values), float(np.median(values)), float(np.percentile(values, 95)), float(np.mean(values <= 80))
