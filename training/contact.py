"""pyannote's VBx clustering with another start, one that knows what neighbouring windows say, and of speakers that are cut at their pauses
(src/diarize/contact.rs and pieces.rs have the definitions).

For `params.clustering` with a `contact`, the weight of what they say, and a `pause` in s; the rest of the clustering is pyannote's.
"""

from unittest import mock

import numpy as np
from pyannote.audio.pipelines import clustering
from pyannote.pipeline.parameter import Uniform

SATURATION = 5.0  # s
SHORTEST = 0.6  # s: a shorter piece goes to the nearer of its neighbours


def ranges(track, pause, step):
    """Where the pieces of a speaker begin and end, [[frame, frame, frames of talk]], cut at pauses of `pause` s or more."""
    found = []
    for start, end in np.flatnonzero(np.diff(np.concatenate([[0], track, [0]]))).reshape(-1, 2):
        if found and (start - found[-1][1]) * step < pause:
            found[-1] = [found[-1][0], end, found[-1][2] + end - found[-1][1]]
        else:
            found.append([start, end, end - start])
    while len(found) > 1:
        at = min(range(len(found)), key=lambda k: found[k][2])
        if found[at][2] * step >= SHORTEST:
            break
        neighbours = [k for k in (at - 1, at) if 0 <= k < len(found) - 1]
        k = min(neighbours, key=lambda k: found[k + 1][0] - found[k][1])
        found[k:k + 2] = [[found[k][0], found[k + 1][1], found[k][2] + found[k + 1][2]]]
    return found


def cut(active, pause, step):
    """(pieces [windows, frames, P], the speaker that each of them is of [windows, P]) of active [windows, frames, speakers]."""
    found = [[(speaker, start, end) for speaker in range(window.shape[1])
              for start, end, _ in ranges(window[:, speaker].astype(int), pause, step)] for window in active]
    most = max(1, max(map(len, found)))
    pieces, whose = np.zeros((*active.shape[:2], most), np.float32), np.zeros((len(active), most), int)
    for window, of in enumerate(found):
        for k, (speaker, start, end) in enumerate(of):
            pieces[window, start:end, k], whose[window, k] = active[window, start:end, speaker], speaker
    return pieces, whose


def contacts(active, whose, times, step):
    """Seconds [N, N] in which two pieces are active, and in which one is and the speaker of the other is not, of the frames that both
    of their windows see.

    `active`: [windows, frames, pieces]; `whose`: the speakers [windows, pieces]; `times`: the first frame of each window; `step`: from
    frame to frame in s.
    """
    whole = np.einsum("wfp,wpq->wfq", active.astype(float), whose[:, :, None] == whose[:, None, :]) > 0
    windows, frames, speakers = active.shape
    together, apart = np.zeros((2, windows, speakers, windows, speakers))
    for a in range(windows):
        for b in range(a, windows):
            shift = times[b] - times[a]
            if shift >= frames:
                break
            one, other = active[a, shift:].astype(float), active[b, :frames - shift].astype(float)
            both = one.T @ other
            only = one.T @ ~whole[b, :frames - shift] + (other.T @ ~whole[a, shift:]).T
            together[a, :, b], together[b, :, a] = both * step, both.T * step
            apart[a, :, b], apart[b, :, a] = only * step, only.T * step
    return together.reshape(windows * speakers, -1), apart.reshape(windows * speakers, -1)


def start_labels(voices, together, apart, weight, threshold):
    """The cluster of each of the centred voices [N, D]."""
    sums = voices / np.linalg.norm(voices, axis=1, keepdims=True)
    together, apart, labels = together.copy(), apart.copy(), np.arange(len(voices))

    def costs(one):
        likeness = sums @ sums[one] / np.linalg.norm(sums, axis=1) / np.linalg.norm(sums[one])
        return 1 - likeness + weight * (apart[one] - together[one]) / (apart[one] + together[one] + SATURATION)

    matrix = np.stack([costs(one) for one in range(len(voices))])
    np.fill_diagonal(matrix, np.inf)
    gone = np.zeros(len(voices), bool)
    while matrix.min() <= threshold:
        one, other = sorted(divmod(int(matrix.argmin()), len(voices)))
        sums[one] += sums[other]
        for seconds in (together, apart):
            seconds[one] += seconds[other]
            seconds[:, one] += seconds[:, other]
        labels[labels == other] = one
        gone[other] = True
        matrix[other] = matrix[:, other] = np.inf
        matrix[one] = np.where(gone, np.inf, costs(one))
        matrix[one, one] = np.inf
        matrix[:, one] = matrix[one]
    return np.unique(labels, return_inverse=True)[1]


class Clustering(clustering.VBxClustering):
    """`mean`: the mean voice of the PLDA; `step`: from frame to frame in s. `whose` the pieces are, where speakers are cut."""

    def __init__(self, plda, mean, step):
        super().__init__(plda)
        self.contact, self.pause = Uniform(0.0, 10.0), Uniform(0.0, 10.0)
        self.whose = None
        self._mean, self._step = mean, step

    def __call__(self, embeddings, segmentations=None, **bounds):
        self.constrained_assignment = self.whose is None
        voices, windows, speakers = self.filter_embeddings(embeddings, segmentations=segmentations)
        if len(voices) < 2 or not self.contact:
            return super().__call__(embeddings, segmentations=segmentations, **bounds)
        active = segmentations.data > 0
        times = [round(segmentations.sliding_window.step * window / self._step) for window in range(len(active))]
        chosen = windows * active.shape[2] + speakers
        whose = np.tile(np.arange(active.shape[2]), (len(active), 1)) if self.whose is None else self.whose
        together, apart = (seconds[np.ix_(chosen, chosen)] for seconds in contacts(active, whose, times, self._step))
        labels = start_labels(voices - self._mean, together, apart, self.contact, self.threshold)
        with mock.patch.object(clustering, "linkage"), mock.patch.object(clustering, "fcluster", return_value=labels + 1):
            return super().__call__(embeddings, segmentations=segmentations, **bounds)
