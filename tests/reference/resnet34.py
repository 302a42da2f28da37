"""Embeddings of pyannote.audio's WeSpeaker ResNet34 with random weights and various masks, and Kaldi features.

Random weights are a function of (seed, name, index), like those of the Whisper goldens (README.md). Centers and scales are
in `scale_of` here and in `tests/common/resnet34.rs`. Needs whisperx, which installs pyannote.audio and torchaudio:
pip install whisperx==3.8.6 safetensors
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio.compliance.kaldi as kaldi
from pyannote.audio.core.task import Problem, Resolution, Specifications
from pyannote.audio.models.embedding import WeSpeakerResNet34
from pyannote.audio.models.embedding.wespeaker.resnet import BasicBlock, ResNet

import golden
import seeded

CASES = {
    # Three windows overlap, the second not aligned with the frames of the first; the last ends after the recording.
    "narrow": {"seed": 600, "planes": 16, "blocks": [2, 2, 2, 2], "size": 64, "window": 160000, "frames": 589,
               "audio_seed": 610, "samples": 300000, "starts": [0, 16345, 24000, 150240]},
    # Another window length, and other numbers of blocks.
    "short": {"seed": 601, "planes": 16, "blocks": [1, 3, 2, 1], "size": 16, "window": 80000, "frames": 293,
              "audio_seed": 611, "samples": 96000, "starts": [0, 8000, 40000]},
    # WeSpeaker's own sizes.
    "true": {"seed": 602, "planes": 32, "blocks": [3, 4, 6, 3], "size": 256, "window": 160000, "frames": 589,
             "audio_seed": 612, "samples": 170000, "starts": [0, 16000]},
}
# Source and target frames of nearest-neighbour resizing of masks.
STRETCHES = [(589, 125), (293, 63), (767, 125), (100, 125), (1, 5), (125, 125), (589, 13), (1000, 3), (735, 245),
             (7, 1), (3, 997), (250, 1000), (1178, 250), (999, 111)]


def scale_of(name, shape):
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith(("bn1.weight", "bn2.weight", "shortcut.1.weight")):
        return 0.7, 0.3
    if len(shape) == 1:
        return 0.0, 0.2
    gain = 0.3 if name == "resnet.conv1.weight" else 1.0
    return 0.0, gain * math.sqrt(3.0 / math.prod(shape[1:]))


def build(case):
    model = WeSpeakerResNet34()
    model.resnet = ResNet(BasicBlock, case["blocks"], m_channels=case["planes"], feat_dim=80, embed_dim=case["size"],
                          pooling_func="TSTP", two_emb_layer=False)
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        values = seeded.values(case["seed"], name, np.arange(tensor.numel()), *scale_of(name, tensor.shape))
        state[name] = torch.from_numpy(values.reshape(tensor.shape))
    model.load_state_dict(state)
    return model.eval()


def masks_of(frames):
    """Spans of frames in which each speaker of a window speaks: all, some, few, none."""
    third = frames // 3
    return [
        [[[0, frames]], [[third, 2 * third]], [[frames - 2, frames]], []],
        [[[0, 5], [50, 60], [third, third + 100]], [], [[i, i + 3] for i in range(0, frames, 17)], [[third, third + 6]]],
        [[], [], [], []],
        [[[0, third]], [[third, frames]], [[0, 1]], [[frames // 2, frames]]],
    ]


def voices(model, case, windows, spans):
    masks = torch.zeros(len(windows), 4, case["frames"])
    for n, window in enumerate(spans):
        for s, speaker in enumerate(window):
            for start, end in speaker:
                masks[n, s, start:end] = 1.0
    with torch.no_grad():
        return model(windows, weights=masks.to(windows.dtype)), masks


def random_weights(tensors, meta):
    for name, case in CASES.items():
        model, window = build(case), case["window"]
        audio = seeded.audio_f32(case["audio_seed"], case["samples"])
        padded = np.concatenate([audio, np.zeros(window, dtype=np.float32)])
        windows = torch.from_numpy(np.stack([padded[start : start + window] for start in case["starts"]]))[:, None]
        spans = masks_of(case["frames"])[: len(windows)]
        found, masks = voices(model, case, windows, spans)
        # One speaker at a time, as in the pipeline.
        with torch.no_grad():
            alone = torch.stack([model(windows, weights=masks[:, s]) for s in range(4)], dim=1)
            largest = max(float(x.abs().max()) for x in [model.resnet.forward_frames(model.compute_fbank(windows))])
        exact, _ = voices(model.double(), case, windows.double(), spans)
        error = float(1 - F.cosine_similarity(found.double(), exact, dim=-1).min())
        others = F.cosine_similarity(found[0, 0], found[1, 0], dim=0)
        print(name, "1 - cosine to f64", error, "one by one", float((alone - found).abs().max()), "of two", float(others),
              "largest", largest, "spread", float(found.std()), "frames", model.float().num_frames(window))
        tensors[name] = found.numpy()
        meta["cases"].append({"name": name, **case, "masks": spans, "f32_error": error})


def features(tensors, meta):
    audio = torch.from_numpy(seeded.audio_f32(620, 16000))[None] * (1 << 15)
    for name, bins, options in [("hamming 80", 80, {"window_type": "hamming"}), ("povey 23", 23, {})]:
        tensors[name] = kaldi.fbank(audio, num_mel_bins=bins, dither=0.0, **options).numpy()
        print(name, tensors[name].shape, tensors[name].min(), tensors[name].max())
    silence = torch.zeros(1, 720)
    tensors["silence"] = kaldi.fbank(silence, num_mel_bins=80, window_type="hamming").numpy()
    meta["features"] = {"audio_seed": 620, "samples": 16000}


def stretches(tensors, meta):
    found = []
    for source, target in STRETCHES:
        index = F.interpolate(torch.arange(source, dtype=torch.float32)[None, None], size=target, mode="nearest")
        found.append(index.flatten().numpy().astype(np.int32))
    tensors["stretches"] = np.concatenate(found)
    meta["stretches"] = STRETCHES


def checkpoint():
    """A checkpoint like pyannote's, without most of its tensors."""
    model = build(CASES["short"])
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(("resnet.conv1", "resnet.bn1"))}
    specifications = Specifications(problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0, classes=None)
    content = {
        "state_dict": state,
        "hyper_parameters": {**model.hparams},
        "pyannote.audio": {"versions": {"pyannote.audio": "3.0"}, "specifications": specifications,
                           "architecture": {"module": type(model).__module__, "class": type(model).__name__}},
    }
    target = golden.DATA / "resnet34/beginning.bin"
    torch.save(content, target)
    target.chmod(0o644)
    print(target.name, target.stat().st_size, "bytes")


def main():
    torch.set_num_threads(1)
    meta = {"script": "resnet34.py", **golden.versions("whisperx", "pyannote.audio", "torch", "torchaudio", "numpy"), "cases": []}
    tensors = {}
    (golden.DATA / "resnet34").mkdir(exist_ok=True)
    checkpoint()
    features(tensors, meta)
    stretches(tensors, meta)
    random_weights(tensors, meta)
    golden.write_tensors("resnet34/voices.safetensors", tensors, meta)


if __name__ == "__main__":
    main()
