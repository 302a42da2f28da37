"""Agglomerative clustering that knows what neighbouring windows say (src/diarize/contact.rs), by its definition: all pairs of clusters at
each step, everything summed anew from the voices and frames. And the same of speakers that are cut at their pauses
(src/diarize/pieces.rs), by strings and regular expressions.

Recordings of random turns; windows see them with their speakers in any order, some frames wrong, some speakers split or mixed up.
"""

import re

import numpy as np

import golden

FRAME = 0.1  # s
SATURATION = 5.0  # s
PAUSE = 3  # frames at which speakers are cut
SHORTEST = 6  # frames of a piece


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


def cut(active):
    """(active [windows, frames, pieces], the speaker of each piece [windows, pieces]) of active [windows, frames, speakers]."""
    found = []
    for window in active:
        found.append([])
        for speaker, track in enumerate(window.T):
            text = "".join("x" if x else " " for x in track)
            ranges = [m.span() for m in re.finditer(r"x( {0,%d}x)*" % (PAUSE - 1), text)]
            lengths = [end - start for start, end in ranges]
            while len(ranges) > 1 and min(lengths) < SHORTEST:
                at = lengths.index(min(lengths))
                pauses = {k: ranges[k + 1][0] - ranges[k][1] for k in (at - 1, at) if 0 <= k < len(ranges) - 1}
                k = min(pauses, key=lambda k: (pauses[k], k))
                ranges[k:k + 2], lengths[k:k + 2] = [(ranges[k][0], ranges[k + 1][1])], [lengths[k] + lengths[k + 1]]
            found[-1] += [(speaker, start, end) for start, end in ranges]
    most = max(map(len, found))
    pieces, whose = np.zeros((*active.shape[:2], most), bool), np.zeros((len(active), most), int)
    for w, of in enumerate(found):
        for k, (speaker, start, end) in enumerate(of):
            pieces[w, start:end, k], whose[w, k] = active[w, start:end, speaker], speaker
    return pieces, whose


def clustered(active, whole, hop, members, voices, weight, threshold):
    """The label of each (window, piece) of `members`; `whole`: when the speaker of each piece is active, [windows, frames, pieces]."""
    unit = voices / np.linalg.norm(voices, axis=1, keepdims=True)
    count, frames = len(members), active.shape[1]
    together, apart = np.zeros((count, count)), np.zeros((count, count))
    for i, (w, s) in enumerate(members):
        for j, (v, t) in enumerate(members):
            shift = (v - w) * hop
            if i < j and shift < frames:
                one, other = active[w, shift:, s], active[v, :frames - shift, t]
                together[i, j] = together[j, i] = FRAME * (one & other).sum()
                alone = (one & ~whole[v, :frames - shift, t]).sum() + (other & ~whole[w, shift:, s]).sum()
                apart[i, j] = apart[j, i] = FRAME * alone
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
    for seed, (people, windows, frames, hop) in enumerate([(2, 12, 50, 5), (3, 16, 50, 5), (4, 14, 40, 10), (1, 6, 30, 3), (2, 3, 20, 20),
                                                               (3, 8, 150, 15)]):
        rng = np.random.default_rng(seed)
        active, voices = recording(rng, people, windows, frames, hop)
        pieces, whose = cut(active)
        whole = np.take_along_axis(active, whose[:, None, :], 2)
        of_pieces = np.take_along_axis(voices, whose[:, :, None], 1) + np.round(0.3 * rng.normal(size=(*whose.shape, 6)), 4)
        yield {"step": hop * FRAME, "frames": frames, "pause": PAUSE * FRAME,
               "speakers": labelled(active, active, voices, hop), "pieces": labelled(pieces, whole, np.round(of_pieces, 4), hop)}


def labelled(active, whole, voices, hop):
    windows, _, speakers = active.shape
    members = [(w, s) for w in range(windows) for s in range(speakers) if active[w, :, s].sum() >= 5]
    chosen = voices[tuple(np.array(members).T)]
    labels = [{"weight": weight, "threshold": threshold, "labels": clustered(active, whole, hop, members, chosen, weight, threshold)}
              for weight in (0.2, 1.0, 4.0) for threshold in (0.1, 0.3, 0.6, 1.2)]
    return {"count": speakers, "members": members, "voices": chosen.tolist(), "clusters": labels,
            "active": ["".join(str(int(x)) for x in window.ravel()) for window in active]}


if __name__ == "__main__":
    golden.write_json("diarize/contact.json", {**golden.versions("numpy"), "frame": FRAME, "cases": list(cases())})
