"""Ways to cluster pieces that `open_diarization.piece_labels` was chosen over, for `open_report.py report --candidates`.

Each is a function (unit vectors, pieces, constants) -> (label of each piece, unit vectors of the clusters).
"""

import dataclasses
import functools

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

import open_diarization
from open_diarization import unit

DIMENSIONS = 128  # of the PLDA


def with_short(cluster):
    """A candidate that clusters the long pieces, each as much as the other; short ones go to the nearest cluster."""

    def labels(vectors, found, constants, **options):
        seconds = np.array([piece.seconds for piece in found])
        long = seconds >= constants.long if (seconds >= constants.long).any() else seconds > 0
        grouped = cluster(vectors[long], seconds[long], **options) if long.sum() > 1 else np.zeros(long.sum(), int)
        grouped = np.unique(grouped, return_inverse=True)[1]
        weights = seconds[long][:, None]
        centroids = unit(np.stack([(vectors[long] * weights)[grouped == k].sum(0) for k in range(grouped.max() + 1)]))
        all_labels = (vectors @ centroids.T).argmax(1)
        all_labels[long] = grouped
        return all_labels, centroids

    return labels


@with_short
def centroid(vectors, seconds, threshold=0.7046, fewest=12):
    """pyannote 3.1: centroid linkage, clusters smaller than `fewest` (or a tenth) go to the nearest large one."""
    labels = fcluster(linkage(vectors, method="centroid", metric="euclidean"), threshold, criterion="distance") - 1
    fewest = min(fewest, max(1, round(0.1 * len(vectors))))
    sizes = np.bincount(labels)
    if (sizes >= fewest).any():
        large = np.flatnonzero(sizes >= fewest)
        means = unit(np.stack([vectors[labels == k].mean(0) for k in large]))
        small = ~np.isin(labels, large)
        labels[small] = large[(vectors[small] @ means.T).argmax(1)]
    return labels


@with_short
def spectral(vectors, seconds, neighbours=0.2, most=12):
    """Eigengap of the normalised Laplacian of the nearest neighbours' graph, then k-means from the farthest points."""
    count = len(vectors)
    keep = max(2, round(neighbours * count))
    likeness = (1 + vectors @ vectors.T) / 2
    floor = np.sort(likeness, 1)[:, -keep][:, None]
    graph = np.where(likeness >= floor, likeness, 0)
    graph = (graph + graph.T) / 2
    degree = 1 / np.sqrt(graph.sum(1))
    values, directions = np.linalg.eigh(np.eye(count) - degree[:, None] * graph * degree)
    gaps = np.diff(values[:min(most, count - 1) + 1])
    clusters = int(np.argmax(gaps)) + 1
    points = unit(directions[:, :clusters] + 1e-12)
    means = points[:1]
    while len(means) < clusters:
        means = np.vstack([means, points[(points @ means.T).max(1).argmin()]])
    for _ in range(50):
        labels = (points @ means.T).argmax(1)
        means = np.stack([points[labels == k].mean(0) if (labels == k).any() else means[k] for k in range(clusters)])
    return labels


def plda(vectors, speakers):
    """Transform [D, DIMENSIONS] that makes the variance within speakers one, and the variance between them in it."""
    names, index = np.unique(speakers, return_inverse=True)
    means = np.stack([vectors[index == k].mean(0) for k in range(len(names))])
    rest = vectors - means[index]
    within = rest.T @ rest / (len(vectors) - len(names)) + 1e-5 * np.eye(vectors.shape[1])
    values, directions = np.linalg.eigh(within)
    whiten = directions / np.sqrt(values)
    between, turn = np.linalg.eigh(whiten.T @ np.cov(means.T) @ whiten)
    best = np.argsort(-between)[:DIMENSIONS]
    return whiten @ turn[:, best], np.maximum(between[best], 1e-6)


def vbx(transform, phi, start=0.64, fa=0.07, fb=0.8):
    """VBx without transitions, as community-1: started from average linkage cut at `start`."""

    @with_short
    def cluster(vectors, seconds):
        labels = fcluster(linkage(vectors, method="average", metric="cosine"), start, criterion="distance") - 1
        features = vectors @ transform
        shares = np.eye(labels.max() + 1)[labels] * 7
        shares = np.exp(shares) / np.exp(shares).sum(1, keepdims=True)
        weights = np.full(shares.shape[1], 1 / shares.shape[1])
        rho, norms = features * np.sqrt(phi), -0.5 * ((features**2).sum(1) + features.shape[1] * np.log(2 * np.pi))
        for _ in range(20):
            inverse = 1 / (1 + fa / fb * shares.sum(0)[:, None] * phi)
            alpha = fa / fb * inverse * (shares.T @ rho)
            likelihood = fa * (rho @ alpha.T - 0.5 * (inverse + alpha**2) @ phi + norms[:, None]) + np.log(weights + 1e-8)
            shares = np.exp(likelihood - likelihood.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
            weights = shares.sum(0) / shares.sum()
        return shares.argmax(1)

    return cluster


def linked(vectors, found, constants, threshold, apart):
    """`piece_labels` with other constants."""
    return open_diarization.piece_labels(vectors, found, dataclasses.replace(constants, threshold=threshold, apart=apart))


CANDIDATES = {f"centroid {t}": functools.partial(centroid, threshold=t) for t in (0.7046, 0.8, 0.9, 1.0)}
CANDIDATES |= {f"centroid {t}, smallest 1": functools.partial(centroid, threshold=t, fewest=1) for t in (0.8, 0.9, 1.0)}
CANDIDATES |= {f"spectral {n}": functools.partial(spectral, neighbours=n) for n in (0.1, 0.2, 0.3)}
CANDIDATES |= {"average linkage, no `apart`": functools.partial(linked, threshold=open_diarization.Constants.threshold, apart=0.0)}
