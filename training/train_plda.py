"""Fits the PLDA by which VBx tells speakers apart to the built-in embedding, in closed form, and writes pyannote's two files of it.

    python train_plda.py --embedding mean.pt --speakers DIR --natural DIR --out assets/diarization/plda [--seconds 5]

The voices are what the pipeline will have: of each speaker of a composed window, the embedding under the mask of where he speaks alone.
A voice is centred, brought to a common length, projected by a linear discriminant analysis, and centred and stretched again; there the
covariances within and between speakers are diagonal. Those are of two-covariance PLDA (Brummer & de Villiers 2010); what few windows of a speaker
add to the covariance between speakers is taken off.
"""

import argparse
import os
import random

import numpy as np
import torch
from scipy.linalg import eigh

import conversations
import train_embedding

# So many speakers of each kind, drawn so often: each is then heard in several windows.
MOST = {"recording": 100, "revoiced": 140, "espeak-ng": 120, "natural": 12}
OFTEN = {"recording": 3, "revoiced": 4, "espeak-ng": 4, "natural": 1}
FEWEST = 0.15  # of a window: a speaker alone for less has no voice there
RIDGE = 0.02  # of the mean variance within speakers, added to each


def voices(model, speakers, seconds, count, rng):
    """(voices [N, D], speakers [N]) of `count` windows."""
    for kind, names in speakers.kinds.items():
        speakers.kinds[kind] = sorted(rng.sample(names, min(MOST[kind], len(names))))
    times = np.arange(int((seconds - 0.025) * 100) + 1) * 0.01 + 0.0125
    found, whose = [], []
    for _ in range(count):
        people = speakers.draw(rng, rng.choices([1, 2, 3], [0.1, 0.5, 0.4])[0], OFTEN)
        sound, turns = conversations.compose(speakers, rng, seconds, people, overlap=0.1, factors=[1.0] * len(people), again=0.1)
        if rng.random() < 0.6:
            sound = conversations.noisy(sound, rng)
        active = conversations.activity(turns, len(people), times)
        alone = active & (active.sum(1, keepdims=True) == 1)
        kept = np.flatnonzero(alone.mean(0) >= FEWEST)
        if len(kept) == 0:
            continue
        with torch.no_grad():
            frames = model.forward_frames(torch.from_numpy(sound.astype(np.float32))[None, None])
            masks = torch.from_numpy(alone[:, kept].T.astype(np.float32))
            found.append(model.forward_embedding(frames.expand(len(kept), -1, -1, -1), weights=masks).numpy())
        whose += [people[k] for k in kept]
    return np.concatenate(found).astype(np.float64), np.array(whose)


def moments(x, whose):
    """(mean of the speakers' means, covariance within, covariance between) of [N, D]."""
    _, index = np.unique(whose, return_inverse=True)
    n = np.bincount(index)
    means = np.stack([np.bincount(index, column) / n for column in x.T], 1)
    rest = x - means[index]
    within = rest.T @ rest / (n - 1).sum()
    centre = means.mean(0)
    between = (means - centre).T @ (means - centre) / (len(n) - 1) - within * (1 / n).mean()
    return centre, within + RIDGE * np.trace(within) / len(within) * np.eye(len(within)), between


def stretched(x):
    """Of the length sqrt(D), as pyannote has them."""
    return x / np.linalg.norm(x, axis=1, keepdims=True) * np.sqrt(x.shape[1])


def fitted(x, whose, size):
    """The arrays of the two files, by name."""
    mean1 = x.mean(0)
    centred = stretched(x - mean1)
    _, within, between = moments(centred, whose)
    lda = eigh(between, within)[1][:, ::-1][:, :size] / np.sqrt(size)
    projected = centred @ lda
    mean2 = projected.mean(0)
    mu, within, between = moments(stretched(projected - mean2), whose)
    psi, axes = eigh(between, within)
    return ({"mean1": mean1, "mean2": mean2, "lda": lda},
            {"mu": mu, "tr": axes[:, ::-1].T, "psi": np.maximum(psi[::-1], 1e-3)})


def main():
    parser = argparse.ArgumentParser()
    for name in ("embedding", "speakers", "natural", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float, default=train_embedding.SECONDS)
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128, help="features of a voice")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = train_embedding.Embedding()
    # As exported: in f16.
    state = torch.load(options.embedding)["model"]
    model.load_state_dict({k: v.half().float() if v.is_floating_point() else v for k, v in state.items()}, strict=False)
    model.eval()
    speakers = conversations.Speakers([options.speakers], options.natural)
    x, whose = voices(model, speakers, options.seconds, options.windows, random.Random(options.seed))
    print(len(x), "voices of", len(set(whose)), "speakers", flush=True)
    os.makedirs(options.out, exist_ok=True)
    for name, arrays in zip(("xvec_transform.npz", "plda.npz"), fitted(x, whose, options.size)):
        np.savez(os.path.join(options.out, name), **{key: np.ascontiguousarray(array, np.float32) for key, array in arrays.items()})


if __name__ == "__main__":
    main()
