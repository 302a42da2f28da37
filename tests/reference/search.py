"""Reimplementation of CTranslate2's decoding, as described in README.md, over any function that returns logits.

whisper_beam.py asserts that it agrees with CTranslate2, and uses it to select results that are stable under an error of 1e-3 in every
logit. For these, another implementation must give equal tokens.
"""

import math

import numpy as np

LOWEST = np.float32(np.finfo(np.float32).min)


def log_softmax(x):
    top = x.max(-1, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))


def logsumexp(x):
    top = x.max()
    return top + np.log(np.exp(x - top).sum())


class Rules:
    """The logit rules of one request, in CTranslate2's order. Modifies the logits in place."""

    def __init__(self, ids, options, timestamps, prefix_length):
        self.ids, self.options, self.timestamps, self.begin = ids, options, timestamps, prefix_length

    def apply(self, logits, generated):
        options, step = self.options, len(generated)
        penalty = options["repetition_penalty"]
        if penalty != 1 and generated:
            seen = sorted(set(generated))
            old = logits[seen]
            logits[seen] = np.where(old < 0, old * np.float32(penalty), old / np.float32(penalty))
        size = options["no_repeat_ngram_size"]
        if size and step >= size:
            tail = generated[step - size + 1 :]
            for i in range(step - size + 1):
                if generated[i : i + size - 1] == tail:
                    logits[generated[i + size - 1]] = LOWEST
        logits[options["suppress_tokens"]] = LOWEST
        if step == self.begin:
            logits[options["begin_suppress_tokens"]] = LOWEST
        if self.timestamps:
            self.apply_timestamps(logits, generated)

    def apply_timestamps(self, logits, generated):
        first, eot, step = self.ids["timestamp_begin"], self.ids["eot"], len(generated)
        logits[first - 1] = LOWEST
        if step == 0 and self.begin == 0:
            logits[:first] = LOWEST
            logits[first + self.options["max_initial_timestamp_index"] + 1 :] = LOWEST
        if step <= self.begin:
            return
        last = generated[-1]
        if last >= first:
            if step - 1 == self.begin or generated[-2] >= first:
                logits[first:] = LOWEST
                return
            logits[:eot] = LOWEST
            logits[first:last] = LOWEST
        else:
            latest = [t for t in generated[self.begin :] if t >= first]
            if latest:
                logits[first : latest[-1] + 1] = LOWEST
        log_probs = log_softmax(logits)
        if logsumexp(log_probs[first:]) > log_probs[:first].max():
            logits[:first] = LOWEST


def split(prompt, ids):
    """Splits a prompt into the part up to the last task token, and the forced prefix."""
    end = prompt.index(ids["sot"])
    while end < len(prompt) and ids["sot"] <= prompt[end] <= ids["no_timestamps"]:
        end += 1
    return prompt[:end], prompt[end:]


def generate(logits_of, prompt, ids, options):
    """Returns [(tokens, score)], best first. `logits_of(tokens)` returns the logits after `tokens` as a new f32 array."""
    context, prefix = split(prompt, ids)
    limit = min(options["max_length"] // 2, options["max_length"] - (len(context) - 1))
    rules = Rules(ids, options, context[-1] != ids["no_timestamps"], len(prefix))
    penalty, beam, eot = options["length_penalty"], options["beam_size"], ids["eot"]

    def normalised(total, tokens):
        length = len(tokens) ** penalty
        return total / length if length else math.copysign(math.inf, total)

    def log_probs(generated):
        logits = logits_of(context + generated)
        rules.apply(logits, generated)
        return log_softmax(logits)

    if beam == 1:
        generated, total = [], np.float32(0)
        while len(generated) < limit:
            step = len(generated)
            scores = log_probs(generated)
            token = prefix[step] if step < len(prefix) else int(scores.argmax())
            total += 0 if step < len(prefix) else scores[token]
            if token == eot and step >= len(prefix):
                break
            generated.append(token)
        return [(generated, float(normalised(total, generated)))]

    beams, done, top_ended = [([], np.float32(0))], [], False
    wanted = int(math.floor(beam * options["patience"] + 0.5))
    for step in range(limit):
        rows = [total + log_probs(tokens) for tokens, total in beams]
        flat = np.concatenate(rows)
        likely = np.flatnonzero(flat >= np.partition(flat, -2 * beam)[-2 * beam])
        best = likely[np.argsort(-flat[likely], kind="stable")][: 2 * beam]
        candidates = [(beams[i // rows[0].size][0], int(i % rows[0].size), flat[i]) for i in best]
        if step < len(prefix):
            candidates = [(beams[0][0], prefix[step], np.float32(0 if k == 0 else -1e10)) for k in range(2 * beam)]
        elif prefix and step == len(prefix):
            candidates = [(beams[0][0], 0, np.float32(-1e10)) if k and c[1] == eot else c for k, c in enumerate(candidates)]
        beams, spare = [], beam
        for k in range(beam):
            tokens, token, total = candidates[k]
            ends = (token == eot and step >= len(prefix)) or step + 1 == limit
            if ends:
                top_ended |= k == 0
                done.append((tokens if token == eot else tokens + [token], total))
                while spare < 2 * beam and candidates[spare][1] == eot:
                    spare += 1
                if spare < 2 * beam:
                    tokens, token, total = candidates[spare]
                    spare += 1
            beams.append((tokens + [token], total))
        if penalty == 0:
            finished = top_ended and len(done) >= options["num_hypotheses"]
        else:
            finished = len(done) >= wanted
        if finished:
            break
    ranked = sorted(((tokens, float(normalised(total, tokens))) for tokens, total in done), key=lambda h: -h[1])
    return ranked[: options["num_hypotheses"]]
