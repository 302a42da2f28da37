"""Agglomerative clustering that knows what neighbouring windows say (src/diarize/contact.rs), by its definition: all pairs of clusters at
each step, everything summed anew from the voices and frames.

Recordings of random turns; windows see them with their speakers in any order, some frames wrong, some speakers split or mixed up.
"""

import numpy as np

import golden

FRAME = 0.1  # s
SATURATION = 5.0  # s


def recording(rng, people, windows, frames, hop):
    """(active [windows, frames, 3], voices [windows, 3, 6]) of turns of random people."""
    truth = np.zeros((windows * hop + frames, people), bool)
    at = 0
    while at < len(truth):
        length = int(rng.integers(6, 30))
        truth[at:at + length, rng.integers(people)] = True
        at += length - int(rng.integers(0, 6)) + int(rng.integers(0, 6))
    centres = rng.normal(size=(people, 6))
    active, voices = np.zeros((windows, frames, 3), bool), np.zeros((windows, 3, 6))
    for w in range(windows):
        part = truth[w * hop:w * hop + frames]
        present = [p for p in rng.permutation(people) if part[:, p].any()][:3]
        for s, p in enumerate(present):
            active[w, :, s] = part[:, p] ^ (rng.random(frames) < 0.03)
            voices[w, s] = centres[p] + 0.6 * rng.normal(size=6)
    return active, np.round(voices, 4)


def clustered(active, hop, members, voices, weight, threshold):
    """The label of each (window, speaker) of `members`."""
    unit = voices / np.linalg.norm(voices, axis=1, keepdims=True)
    count, frames = len(members), active.shape[1]
    together, apart = np.zeros((count, count)), np.zeros((count, count))
    for i, (w, s) in enumerate(members):
        for j, (v, t) in enumerate(members):
            shift = (v - w) * hop
            if i < j and shift < frames:
                one, other = active[w, shift:, s], active[v, :frames - shift, t]
                together[i, j] = together[j, i] = FRAME * (one & other).sum()
                apart[i, j] = apart[j, i] = FRAME * (one ^ other).sum()
    clusters = [[i] for i in range(count)]
    while len(clusters) > 1:
        costs = {}
        for a, p in enumerate(clusters):
            for b, q in enumerate(clusters[:a]):
                v, u = unit[p].sum(0), unit[q].sum(0)
                t, d = together[np.ix_(p, q)].sum(), apart[np.ix_(p, q)].sum()
                costs[b, a] = 1 - v @ u / np.linalg.norm(v) / np.linalg.norm(u) + weight * (d - t) / (d + t + SATURATION)
        (b, a), cost = min(costs.items(), key=lambda item: item[1])
        if cost > threshold:
            break
        clusters[b] += clusters.pop(a)
    clusters.sort(key=min)
    return [next(k for k, cluster in enumerate(clusters) if i in cluster) for i in range(count)]


def cases():
    for seed, (people, windows, frames, hop) in enumerate([(2, 12, 50, 5), (3, 16, 50, 5), (4, 14, 40, 10), (1, 6, 30, 3), (2, 3, 20, 20)]):
        rng = np.random.default_rng(seed)
        active, voices = recording(rng, people, windows, frames, hop)
        members = [(w, s) for w in range(windows) for s in range(3) if active[w, :, s].sum() >= 5]
        chosen = voices[tuple(np.array(members).T)]
        labels = [{"weight": weight, "threshold": threshold, "labels": clustered(active, hop, members, chosen, weight, threshold)}
                  for weight in (0.2, 1.0, 4.0) for threshold in (0.1, 0.3, 0.6, 1.2)]
        yield {"step": hop * FRAME, "frames": frames, "members": members, "voices": chosen.tolist(), "clusters": labels,
               "active": ["".join(str(int(x)) for x in window.ravel()) for window in active]}


if __name__ == "__main__":
    golden.write_json("diarize/contact.json", {**golden.versions("numpy"), "frame": FRAME, "cases": list(cases())})
