"""pyannote's VBx clustering with another start: one that knows what neighbouring windows say (src/diarize/contact.rs has the definition).

For `params.clustering` with a `contact`, the weight of what they say; the rest of the clustering is pyannote's.
"""

from unittest import mock

import numpy as np
from pyannote.audio.pipelines import clustering
from pyannote.pipeline.parameter import Uniform

SATURATION = 5.0  # s


def contacts(active, times, step):
    """Seconds [N, N] in which both, and only one, of two speakers are active, of the frames that both of their windows see.

    `active`: [windows, frames, speakers]; `times`: the first frame of each window; `step`: from frame to frame in s.
    """
    windows, frames, speakers = active.shape
    together, apart = np.zeros((2, windows, speakers, windows, speakers))
    for a in range(windows):
        for b in range(a, windows):
            shift = times[b] - times[a]
            if shift >= frames:
                break
            one, other = active[a, shift:].astype(float), active[b, :frames - shift].astype(float)
            both = one.T @ other
            only = one.sum(0)[:, None] + other.sum(0) - 2 * both
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
    """`mean`: the mean voice of the PLDA; `step`: from frame to frame in s."""

    def __init__(self, plda, mean, step):
        super().__init__(plda)
        self.contact = Uniform(0.0, 10.0)
        self._mean, self._step = mean, step

    def __call__(self, embeddings, segmentations=None, **bounds):
        voices, windows, speakers = self.filter_embeddings(embeddings, segmentations=segmentations)
        if len(voices) < 2 or not self.contact:
            return super().__call__(embeddings, segmentations=segmentations, **bounds)
        active = segmentations.data > 0
        times = [round(segmentations.sliding_window.step * window / self._step) for window in range(len(active))]
        chosen = windows * active.shape[2] + speakers
        together, apart = (seconds[np.ix_(chosen, chosen)] for seconds in contacts(active, times, self._step))
        labels = start_labels(voices - self._mean, together, apart, self.contact, self.threshold)
        with mock.patch.object(clustering, "linkage"), mock.patch.object(clustering, "fcluster", return_value=labels + 1):
            return super().__call__(embeddings, segmentations=segmentations, **bounds)
