"""Scores of pyannote.audio's PyanNet, and speech regions of WhisperX with its own checkpoint.

Random weights are a function of (seed, name, index), like those of the Whisper goldens (README.md). Centers and scales are
in `scale_of` here and in `tests/common/pyannet.rs`. Needs whisperx, which installs pyannote.audio:
pip install whisperx==3.8.6 safetensors
"""

import math
import os
import pathlib

import numpy as np
import soundfile
import torch
from pyannote.audio import Model
from pyannote.audio.core.task import Problem, Resolution, Specifications
from pyannote.audio.models.segmentation import PyanNet
from whisperx.vads.pyannote import Binarize, Pyannote

import golden
import seeded

SHARED = pathlib.Path(os.environ.get("DIARIST_SHARED", "../shared"))
SPEAKERS = ["speaker#1", "speaker#2", "speaker#3"]
CASES = {
    "multilabel": {"seed": 500, "duration": 5.0, "powerset_max_classes": None, "layers": 4},
    "powerset": {"seed": 501, "duration": 10.0, "powerset_max_classes": 2, "layers": 2},
}
# Recordings whose regions are compared, and their seconds; None is the whole recording.
RECORDINGS = [(f"ami/{name}.wav", None) for name in ["dev00", "trn01", "trn02", "trn03", "trn04", "tst00"]]
RECORDINGS += [(f"languages/{name}.wav", None) for name in ["test", "test_de", "test_es", "test_fr"]]
RECORDINGS += [("dialogue/sample.wav", None), ("dialogue/falcon.wav", None), ("alignment/acoustic_corpus.wav", None)]
RECORDINGS += [("jfk/jfk.wav", seconds) for seconds in [None, 4, 5, 0.9]]
OPTIONS = [(30, 0.5, 0.363), (5, 0.6, 0.3)]


def scale_of(name, shape):
    if name.endswith("low_hz_"):
        return 3000.0, 2900.0
    if name.endswith("band_hz_"):
        return 600.0, 550.0
    if "norm1d" in name and name.endswith("weight"):
        return 1.0, 0.1
    if "bias" in name:
        return 0.0, 0.05
    gain = 4.0 if name == "classifier.weight" else 2.0
    return 0.0, gain * math.sqrt(3.0 / math.prod(shape[1:]))


def build(case):
    model = PyanNet(lstm={"num_layers": case["layers"]})
    powerset = case["powerset_max_classes"]
    model.specifications = Specifications(
        problem=Problem.MULTI_LABEL_CLASSIFICATION if powerset is None else Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME, duration=case["duration"], classes=SPEAKERS, powerset_max_classes=powerset,
        permutation_invariant=True)
    model.build()
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith(("window_", ".n_")):
            continue
        values = seeded.values(case["seed"], name, np.arange(tensor.numel()), *scale_of(name, tensor.shape))
        state[name] = torch.from_numpy(values.reshape(tensor.shape))
    model.load_state_dict(state)
    return model.eval()


def exact(model, windows):
    """The scores in f64, filters included. The difference to f32 is the tolerance for other implementations."""
    with torch.no_grad():
        found = model.double()(windows.double())
        model.float()
    return found


class Command:
    """A pickle payload that runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, ("echo executed > executed-by-a-pickle",)


def specification_file(case):
    """A checkpoint like pyannote's, without most tensors, and with a malicious pickle payload in its metadata."""
    model = build(case)
    content = {
        "state_dict": {"classifier.bias": torch.zeros(7)},
        "hyper_parameters": {**model.hparams, "sincnet": {"stride": 10, "sample_rate": 16000}, "trap": Command()},
        "pyannote.audio": {"versions": {"pyannote.audio": "3.0"}, "trap": Command(), "specifications": model.specifications},
    }
    target = golden.DATA / "pyannet/specification.bin"
    torch.save(content, target)
    target.chmod(0o644)
    print(target.name, target.stat().st_size, "bytes")


def random_weights(tensors, meta):
    for number, (name, case) in enumerate(CASES.items()):
        model, samples = build(case), int(case["duration"] * 16000)
        audio = seeded.audio_f32(510 + number, samples + 16000)
        windows = torch.from_numpy(np.stack([audio[:samples], audio[16000:]]))[:, None]
        with torch.no_grad():
            found = model(windows)
        error = float((found - exact(model, windows)).abs().max())
        print(name, "f32 error", error, "spread", float(found.std()), "of frames", float(found.std(1).mean()))
        tensors[name] = found.numpy()
        meta["cases"].append({"name": name, **case, "audio_seed": 510 + number, "step": 16000, "f32_error": error})


def real_weights(path, tensors, meta):
    torch.load = lambda *args, load=torch.load, **kwargs: load(*args, **{**kwargs, "weights_only": False})
    model = Model.from_pretrained(path).eval()
    audio, _ = soundfile.read(SHARED / "audio/jfk/jfk.wav", dtype="float32")
    windows = torch.from_numpy(np.stack([audio[start : start + 80000] for start in (0, 48000)]))[:, None]
    with torch.no_grad():
        tensors["jfk"] = model(windows).numpy()
    print("jfk f32 error", float((torch.from_numpy(tensors["jfk"]) - exact(model, windows)).abs().max()))
    vad = Pyannote(torch.device("cpu"), model_fp=str(path), vad_onset=0.5)
    recordings = []
    for file, seconds in RECORDINGS:
        audio, rate = soundfile.read(SHARED / "audio" / file, dtype="float32")
        assert rate == 16000 and audio.ndim == 1
        audio = audio[: int(seconds * rate) if seconds else None]
        scores = vad({"waveform": Pyannote.preprocess_audio(audio), "sample_rate": rate})
        if file == "jfk/jfk.wav" and seconds != 5:
            tensors[f"scores of {len(audio)}"] = scores.data[:, 0].astype(np.float32)
        for chunk, onset, offset in OPTIONS:
            regions = Binarize(max_duration=chunk, onset=onset, offset=offset)(scores).get_timeline()
            recordings.append({"file": file, "samples": len(audio), "frames": len(scores.data), "chunk_size": chunk,
                               "onset": onset, "offset": offset, "regions": [[r.start, r.end] for r in regions]})
            print(file, len(audio) / rate, chunk, len(regions), "regions")
    golden.write_json("pyannet/regions.json", {"meta": {k: v for k, v in meta.items() if k != "cases"}, "recordings": recordings})


def main():
    torch.set_num_threads(1)
    meta = {"script": "pyannet.py", **golden.versions("whisperx", "pyannote.audio", "torch", "numpy"), "cases": []}
    tensors = {}
    (golden.DATA / "pyannet").mkdir(exist_ok=True)
    specification_file(CASES["powerset"])
    random_weights(tensors, meta)
    real_weights(SHARED / "models/whisperx-vad/pytorch_model.bin", tensors, meta)
    golden.write_tensors("pyannet/scores.safetensors", tensors, meta)


if __name__ == "__main__":
    main()
