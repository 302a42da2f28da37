"""Embeddings of 3D-Speaker's CAM++: with random weights, and with the published ones (`campplus.py real`).

Random weights are a function of (seed, name, index), like those of the Whisper goldens (README.md). Centers and scales are
in `scale_of` here and in `tests/common/campplus.rs`. Needs torch, torchaudio and scipy, and a checkout of 3D-Speaker
(github.com/modelscope/3D-Speaker) in $SPEAKERLAB. The published weights (tests/real/fetch.sh) are in $DIARIST_REAL,
the recordings in $DIARIST_SHARED.
"""

import math
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torchaudio.compliance.kaldi as kaldi

import golden
import seeded

sys.path.insert(0, os.environ["SPEAKERLAB"])
from speakerlab.models.campplus.DTDNN import CAMPPlus  # noqa: E402

REVISION = "3D-Speaker 09e7806"
# `spans` are the samples of each embedding: 0.5 to 10 s, also odd numbers of samples.
CASES = {
    "small": {"seed": 700, "sizes": {"feat_dim": 16, "embedding_size": 24, "growth_rate": 16, "bn_size": 2, "init_channels": 32},
              "audio_seed": 710, "samples": 80000,
              "spans": [[[0, 8000]], [[3200, 40001]], [[16000, 16720]], [[1600, 34000]], [[160, 79999]]]},
    "common": {"seed": 701, "sizes": {"feat_dim": 80, "embedding_size": 192}, "audio_seed": 711, "samples": 160000,
               "spans": [[[0, 8000]], [[0, 160000]], [[8000, 40000]], [[32000, 56123]]]},
    "voxceleb": {"seed": 702, "sizes": {"feat_dim": 80, "embedding_size": 512}, "audio_seed": 712, "samples": 48000,
                 "spans": [[[0, 24000]]]},
}
# Index of a recording in ../shared/audio/ami (sorted by name), start and end in seconds.
REAL = [[0, 0.0, 0.5], [0, 3.0, 4.0], [1, 8.0, 9.5], [1, 0.0, 10.0], [2, 5.0, 8.3], [2, 20.0, 22.5], [3, 1.5, 7.77], [3, 12.0, 20.0],
        [4, 2.0, 2.73], [4, 10.0, 12.0], [5, 0.0, 9.99], [5, 17.0, 20.0]]


def scale_of(name, shape):
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith(("batchnorm.weight", "bn1.weight", "bn2.weight", "shortcut.1.weight")):
        return 0.7, 0.3
    if len(shape) == 1:
        return 0.0, 0.2
    # Embeddings of different clips are nearly equal with random weights; the last layer amplifies the difference.
    gain = 20.0 if name == "xvector.dense.linear.weight" else 1.0
    return 0.0, gain * math.sqrt(6.0 / math.prod(shape[1:]))


def build(case):
    model = CAMPPlus(**case["sizes"])
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        values = seeded.values(case["seed"], name, np.arange(tensor.numel()), *scale_of(name, tensor.shape))
        state[name] = torch.from_numpy(values.reshape(tensor.shape))
    model.load_state_dict(state)
    return model.eval()


def features(audio, bands):
    """`speakerlab/process/processor.py::FBank` with `mean_nor`."""
    found = kaldi.fbank(torch.from_numpy(np.ascontiguousarray(audio))[None], num_mel_bins=bands, sample_frequency=16000, dither=0)
    return found - found.mean(0, keepdim=True)


def embed(model, clips, bands):
    """Embeddings of the clips one at a time, and their largest difference from f64."""
    with torch.no_grad():
        found = [model(features(clip, bands)[None])[0] for clip in clips]
        model.double()
        exact = [model(features(clip, bands).double()[None])[0] for clip in clips]
        model.float()
    return [v.numpy() for v in found], max(float((a - b).abs().max()) for a, b in zip(found, exact))


def random_weights():
    meta = {"script": "campplus.py", "reference": REVISION, **golden.versions("torch", "torchaudio", "numpy"), "cases": []}
    tensors = {}
    for name, case in CASES.items():
        model = build(case)
        audio = seeded.audio_f32(case["audio_seed"], case["samples"])
        clips = [np.concatenate([audio[a:b] for a, b in spans]) for spans in case["spans"]]
        found, error = embed(model, clips, case["sizes"]["feat_dim"])
        tensors[name] = np.stack(found)
        print(name, tensors[name].shape, "to f64", error, "largest", np.abs(tensors[name]).max(), "spread", tensors[name].std(0).mean())
        meta["cases"].append({"name": name, **case, "f32_error": error})
    (golden.DATA / "campplus").mkdir(exist_ok=True)
    golden.write_tensors("campplus/embeddings.safetensors", tensors, meta)


def real():
    from scipy.io import wavfile

    model = CAMPPlus(80, 192)
    weights = Path(os.environ["DIARIST_REAL"]) / "campplus/campplus_cn_en_common.pt"
    model.load_state_dict(torch.load(weights, weights_only=True))
    model.eval()
    recordings = sorted((Path(os.environ["DIARIST_SHARED"]) / "audio/ami").glob("*.wav"))
    clips = []
    for recording, start, end in REAL:
        rate, audio = wavfile.read(recordings[recording])
        assert rate == 16000 and audio.dtype == np.float32
        clips.append(audio[round(16000 * start) : round(16000 * end)])
    found, error = embed(model, clips, 80)
    print("to f64", error, "largest", max(np.abs(v).max() for v in found))
    out = {"script": "campplus.py real", "reference": REVISION, **golden.versions("torch", "torchaudio", "numpy"), "f32_error": error,
           "clips": [{"recording": recordings[r].name, "start": s, "end": e, "embedding": [round(float(x), 7) for x in v]}
                     for (r, s, e), v in zip(REAL, found)]}
    golden.write_json("real/campplus.json", out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    real() if sys.argv[1:] == ["real"] else random_weights()
