"""Diarization of `--diarize-model open`: segmentation-3.0, CAM++ and clustering, as src/diarize does it.

Constants and their reasons are in `Constants`; `open_report.py` measures and tunes them. Every function is one step:

`probabilities` -> `pieces` -> `embeddings` -> `clusters` -> `piece_labels` -> `run_labels` -> `decide` -> `turns`
"""

import dataclasses

import numpy as np
import torch
from pyannote.audio import Model

import campplus

RATE = 16000
WINDOW = 160000  # samples
FRAMES = 589  # of a window
FRAME_STEP, FRAME_LENGTH = 270 / RATE, 991 / RATE  # s
SETS = [[], [0], [1], [2], [0, 1], [0, 2], [1, 2]]
SPEAKERS = 3
MEMBER = np.array([[speaker in members for speaker in range(SPEAKERS)] for members in SETS], float)


@dataclasses.dataclass(frozen=True)
class Constants:
    step: float = 5.0  # s from window to window
    speech: float = 0.5  # probability from which somebody speaks
    overlap: float = 0.35  # probability from which two speak
    other: float = 0.5  # weight of the windows that do not own a frame
    gap: float = 0.15  # s: longer pauses end a run
    shortest: float = 0.3  # s: shorter pieces have no embedding
    long: float = 1.0  # s: shorter pieces do not take part in clustering
    threshold: float = 0.64  # cost up to which clusters are merged
    apart: float = 0.5  # what it costs to merge speakers that one window tells apart
    prior: float = 2.0  # s of such evidence at which half of that cost counts
    lean: float = 0.3  # what it costs a short piece to have the label of another speaker of its window
    min_off: float = 0.3  # s: shorter pauses of a speaker are filled


def segmentation_network(path):
    return Model.from_pretrained(path).eval()


def starts(samples, step):
    """First samples of the windows; the last one is padded with zeros where the recording does not end with a window."""
    hop = round(step * RATE)
    whole = (samples - WINDOW) // hop + 1 if samples >= WINDOW else 0
    padded = samples < WINDOW or (samples - WINDOW) % hop > 0
    return [hop * i for i in range(whole + padded)]


@torch.inference_mode()
def probabilities(network, samples, step, batch=16):
    """Log-probabilities of the seven sets of speakers, [windows, frames, 7]."""
    found = []
    first = starts(len(samples), step)
    for i in range(0, len(first), batch):
        windows = [samples[start:start + WINDOW] for start in first[i:i + batch]]
        padded = np.stack([np.pad(window, (0, WINDOW - len(window))) for window in windows])
        found.append(network(torch.from_numpy(padded)[:, None]).numpy())
    return np.concatenate(found)


def middle(frame):
    return frame * FRAME_STEP + FRAME_LENGTH / 2


def first_frames(windows, step):
    """The frame of the recording that is the first of each window."""
    return [int(np.rint(window * step / FRAME_STEP)) for window in range(windows)]


def owned(windows, step):
    """The frames [[first, last)] of each window that no other window has nearer to its middle."""
    bounds = [[0, FRAMES] for _ in range(windows)]
    for window in range(windows - 1):
        border = ((window + window + 1) * step + 10) / 2
        bounds[window][1] = int(np.rint((border - window * step) / FRAME_STEP))
        bounds[window + 1][0] = int(np.rint((border - (window + 1) * step) / FRAME_STEP))
    return bounds


@dataclasses.dataclass
class Run:
    """Stretches in which one speaker of a window is alone: `parts` [[first, last)] of frames, pauses between them left out."""

    window: int
    speaker: int
    parts: list

    @property
    def seconds(self):
        return sum(last - first for first, last in self.parts) * 10 / FRAMES


def hard(scores):
    """The likeliest set as decisions [windows, frames, speakers]."""
    return MEMBER[scores.argmax(-1)] > 0


def runs(active, constants):
    """The runs of all windows, by window, speaker and time."""
    most, found = round(constants.gap / FRAME_STEP), []
    for window, decided in enumerate(active):
        for speaker in range(SPEAKERS):
            others = np.delete(decided, speaker, 1).any(1)
            alone = decided[:, speaker] & ~others
            edges = np.flatnonzero(np.diff(np.concatenate([[0], alone.astype(int), [0]]))).reshape(-1, 2)
            for first, last in edges.tolist():
                end = found[-1].parts[-1][1] if found and (found[-1].window, found[-1].speaker) == (window, speaker) else None
                between = slice(end, first)
                if end is not None and first - end <= most and not (others[between] & ~decided[between, speaker]).any():
                    found[-1].parts.append([first, last])
                else:
                    found.append(Run(window, speaker, [[first, last]]))
    return found


def pieces(all_runs, bounds, constants):
    """The runs, clipped to the frames their window owns, that are long enough for an embedding."""
    found = []
    for run in all_runs:
        low, high = bounds[run.window]
        parts = [[max(first, low), min(last, high)] for first, last in run.parts]
        found.append(Run(run.window, run.speaker, [part for part in parts if part[0] < part[1]]))
    return [piece for piece in found if piece.parts and piece.seconds >= constants.shortest]


def piece_spans(piece, step):
    """The samples [(first, last)] of the recording in the frames of a piece, one stretch for each of its parts."""
    start = round(piece.window * step * RATE)
    return [tuple(start - (-frame * WINDOW // FRAMES) for frame in part) for part in piece.parts]


def embeddings(network, samples, found, step):
    """[pieces, 192]; NaN for pieces with too few frames of features."""
    spoken = [[samples[first:last] for first, last in piece_spans(piece, step)] for piece in found]
    return np.array([campplus.embed(network, spans) for spans in spoken]).reshape(len(found), 192)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def clusters(vectors, found, constants):
    """The cluster of each of some pieces: average linkage of unit vectors, weighted by seconds, with `apart`.

    Clusters are numbered by their first pieces.
    """
    seconds = np.array([piece.seconds for piece in found])
    window, speaker = (np.array([getattr(piece, name) for piece in found]) for name in ("window", "speaker"))
    one_window = (window[:, None] == window) * np.minimum.outer(seconds, seconds)
    other = speaker[:, None] != speaker
    apart, same = one_window * other, one_window * ~other
    sums, weights, into = vectors * seconds[:, None], seconds.copy(), np.arange(len(found))
    alive = np.ones(len(found), bool)

    def costs(one):
        cost = 1 - sums @ sums[one] / (weights * weights[one])
        cost += constants.apart * apart[one] / (apart[one] + same[one] + constants.prior)
        cost[~alive], cost[one] = np.inf, np.inf
        return cost

    matrix = np.stack([costs(one) for one in range(len(found))])
    while matrix.min() <= constants.threshold:
        one, gone = sorted(divmod(int(matrix.argmin()), len(found)))
        sums[one], weights[one], alive[gone] = sums[one] + sums[gone], weights[one] + weights[gone], False
        for evidence in (apart, same):
            evidence[one] += evidence[gone]
            evidence[:, one] += evidence[:, gone]
        into[into == gone] = one
        matrix[gone], matrix[:, gone] = np.inf, np.inf
        matrix[one] = costs(one)
        matrix[:, one] = matrix[one]
    return np.unique(into, return_inverse=True)[1]


def piece_labels(vectors, found, constants):
    """(the cluster of each piece, the clusters' unit vectors): long pieces are clustered, short ones go to the nearest."""
    long = np.array([piece.seconds >= constants.long for piece in found])
    if not long.any():
        long[:] = True
    chosen = np.flatnonzero(long)
    grouped = clusters(vectors[chosen], [found[i] for i in chosen], constants)
    count = grouped.max() + 1
    weights = np.array([found[i].seconds for i in chosen])
    centroids = unit(np.stack([(vectors[chosen] * weights[:, None])[grouped == k].sum(0) for k in range(count)]))
    labels = np.zeros(len(found), int)
    labels[chosen] = grouped
    for i in np.flatnonzero(~long):
        against = np.zeros(count)
        for j in chosen:
            if found[j].window == found[i].window and found[j].speaker != found[i].speaker:
                against[labels[j]] += found[j].seconds
        labels[i] = np.argmax(vectors[i] @ centroids.T - constants.lean * against / (against.sum() + 1))
    return labels, centroids


def spread(shape, labelled):
    """[windows, frames, speakers]: the label of the nearest of the speaker's labelled runs, -1 where there is none."""
    labels, frames, by_track = np.full(shape, -1), np.arange(FRAMES), {}
    for run, label in labelled:
        by_track.setdefault((run.window, run.speaker), []).append((run.parts[0][0], run.parts[-1][1], label))
    for (window, speaker), track in by_track.items():
        away = np.stack([np.maximum(np.maximum(first - frames, frames - last + 1), 0) for first, last, _ in track])
        labels[window, :, speaker] = np.array([label for *_, label in track])[away.argmin(0)]
    return labels


def run_labels(activity, all_runs, found, labels, count, bounds, first):
    """The label of each speaker in each frame of each window, [windows, frames, speakers], -1 for none.

    In the frames that a window owns those of its pieces; runs elsewhere get the one that is active at the same time there.
    """
    own = spread(activity.shape, zip(found, labels))
    known = np.zeros((first[-1] + FRAMES, count))
    for window, (low, high) in enumerate(bounds):
        for speaker in range(SPEAKERS):
            frames = np.arange(low, high)[own[window, low:high, speaker] >= 0]
            at = first[window] + frames, own[window, frames, speaker]
            known[at] = np.maximum(known[at], activity[window, frames, speaker])
    labelled = []
    for run in all_runs:
        votes = np.zeros(count)
        for begin, end in run.parts:
            there = known[first[run.window] + begin:first[run.window] + end]
            votes += activity[run.window, begin:end, run.speaker] @ there
        if votes.max() > 0:
            labelled.append((run, int(votes.argmax())))
    voted = spread(activity.shape, labelled)
    for window, (low, high) in enumerate(bounds):
        owned_labels = own[window, low:high]
        voted[window, low:high] = np.where(owned_labels >= 0, owned_labels, voted[window, low:high])
    return voted


def decide(scores, labels, count, bounds, first, constants):
    """Who speaks in each frame of the recording, [frames, clusters]."""
    chances, total = np.exp(scores.astype(float)), first[-1] + FRAMES
    activity = chances @ MEMBER
    speech, overlap, weights, votes = np.zeros(total), np.zeros(total), np.zeros(total), np.zeros((total, count))
    for window, (low, high) in enumerate(bounds):
        weight = np.full(FRAMES, constants.other)
        weight[low:high] = 1
        here = slice(first[window], first[window] + FRAMES)
        speech[here] += weight * (1 - chances[window, :, 0])
        overlap[here] += weight * chances[window, :, 4:].sum(1)
        weights[here] += weight
        most = np.zeros((FRAMES, count))
        for speaker in range(SPEAKERS):
            frames = np.flatnonzero(labels[window, :, speaker] >= 0)
            at = frames, labels[window, frames, speaker]
            most[at] = np.maximum(most[at], activity[window, frames, speaker])
        votes[here] += weight[:, None] * most
    together = (speech > constants.speech * weights) * (1 + (overlap > constants.overlap * weights))
    order = np.argsort(-votes, axis=1, kind="stable")
    active = np.zeros((total, count), bool)
    for place in range(min(2, count)):
        frames = np.flatnonzero((together > place) & (votes[np.arange(total), order[:, place]] > 0))
        active[frames, order[frames, place]] = True
    return active


def turns(active, seconds, min_off):
    """[(start s, end s, cluster)] by start, end and cluster."""
    active = active & (middle(np.arange(len(active))) <= seconds)[:, None]
    found = []
    for cluster in range(active.shape[1]):
        own = []
        for begin, end in np.flatnonzero(np.diff(np.concatenate([[0], active[:, cluster].astype(int), [0]]))).reshape(-1, 2):
            begin, end = float(middle(begin)), float(min(middle(end), seconds))
            if own and begin - own[-1][1] < min_off:
                own[-1][1] = end
            else:
                own.append([begin, end])
        found += [(begin, end, cluster) for begin, end in own]
    return sorted(found)


@dataclasses.dataclass
class Prepared:
    """What the networks say of a recording; everything else follows from it and the constants."""

    seconds: float
    scores: np.ndarray
    pieces: list
    embeddings: np.ndarray


def prepare(networks, samples, constants=Constants()):
    segmentation, embedding = networks
    scores = probabilities(segmentation, samples, constants.step)
    found = pieces(runs(hard(scores), constants), owned(len(scores), constants.step), constants)
    vectors = embeddings(embedding, samples, found, constants.step)
    finite = np.isfinite(vectors).all(1)
    return Prepared(len(samples) / RATE, scores, [piece for piece, is_finite in zip(found, finite) if is_finite], vectors[finite])


def finish(prepared, constants=Constants(), cluster=piece_labels):
    """The turns of a recording. `cluster` replaces the clustering."""
    if not prepared.pieces:
        return []
    bounds, first = (f(len(prepared.scores), constants.step) for f in (owned, first_frames))
    labels, centroids = cluster(unit(prepared.embeddings.astype(float)), prepared.pieces, constants)
    activity = np.exp(prepared.scores.astype(float)) @ MEMBER
    all_runs = runs(hard(prepared.scores), constants)
    labelled = run_labels(activity, all_runs, prepared.pieces, labels, len(centroids), bounds, first)
    return turns(decide(prepared.scores, labelled, len(centroids), bounds, first, constants), prepared.seconds, constants.min_off)
