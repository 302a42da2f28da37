"""Turns of pyannote.audio's pipelines 3.1 and community-1, from samples, with random weights.

The weights are a function of (seed, name, index). `tests/common/pyannet.rs` and `tests/common/resnet34.rs` build the same networks from
the cases `SEGMENTATION` and `EMBEDDING`. Needs whisperx, which installs pyannote.audio:
pip install whisperx==3.8.6 safetensors
"""

import json
import os
import pathlib

import numpy as np
import pyannote.audio
import torch
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines import SpeakerDiarization

import pyannet
import resnet34
import seeded

SHARED = pathlib.Path(os.environ.get("DIARIST_SHARED", "../shared"))
SEGMENTATION = {
    "powerset": {"seed": 501, "duration": 4.0, "powerset_max_classes": 2, "layers": 1},
    "multilabel": {"seed": 501, "duration": 5.0, "powerset_max_classes": None, "layers": 1},
}
EMBEDDING = {"seed": 700, "planes": 16, "blocks": [1, 1, 1, 1], "size": 256}
SECONDS = 40
# Few speakers: with many, ties between votes are frequent, and the result depends on the order of ties in NumPy's argsort.
CASES = [
    {"segmentation": "powerset", "clustering": "centroid", "threshold": 0.05, "min_cluster_size": 2, "num_speakers": 2},
    {"segmentation": "multilabel", "clustering": "centroid", "threshold": 0.05, "min_cluster_size": 2,
     "min_duration_off": 0.3, "segmentation_threshold": 0.6},
    {"segmentation": "powerset", "clustering": "vbx", "threshold": 0.05, "max_speakers": 3},
    {"segmentation": "powerset", "clustering": "centroid", "threshold": 0.05, "min_cluster_size": 2,
     "num_speakers": 3, "exclude_overlap": False},
]


def audio():
    """The same as `audio` in tests/diarize_stage.rs: seeded audio with varying gain."""
    samples = seeded.audio_f32(900, SECONDS * 16000)
    gains = np.array([1.0, 0.25, 0.5, 0.0625], dtype=np.float32)
    return samples * gains[np.arange(len(samples)) // 24000 % 4]


def pipeline(case, plda):
    vbx = case["clustering"] == "vbx"
    made = SpeakerDiarization(
        segmentation=pyannet.build(SEGMENTATION[case["segmentation"]]), embedding=resnet34.build(EMBEDDING), plda=plda,
        clustering="VBxClustering" if vbx else "AgglomerativeClustering",
        embedding_batch_size=32, segmentation_batch_size=8, embedding_exclude_overlap=case.get("exclude_overlap", True))
    segmentation = {"min_duration_off": case.get("min_duration_off", 0.0)}
    if case["segmentation"] == "multilabel":
        segmentation["threshold"] = case.get("segmentation_threshold", 0.5)
    clustering = {"threshold": case["threshold"]}
    clustering |= {"Fa": 0.07, "Fb": 0.8} if vbx else {"method": "centroid", "min_cluster_size": case["min_cluster_size"]}
    return made.instantiate({"segmentation": segmentation, "clustering": clustering})


def turns(annotation):
    return [[round(turn.start, 6), round(turn.end, 6), label] for turn, _, label in annotation.itertracks(yield_label=True)]


def main():
    torch.use_deterministic_algorithms(True)
    plda = PLDA.from_pretrained(SHARED / "models/plda")
    file = {"waveform": torch.from_numpy(audio())[None], "sample_rate": 16000}
    for case in CASES:
        bounds = {name: case[name] for name in ["num_speakers", "min_speakers", "max_speakers"] if name in case}
        found = pipeline(case, plda).apply(dict(file), **bounds)
        case["turns"] = turns(found.speaker_diarization)
        case["exclusive"] = turns(found.exclusive_speaker_diarization)
        # Speakers without embeddings have a mean of NaN.
        case["voices"] = [
            None if np.isnan(voice).any() else [round(float(x), 5) for x in voice[:16]] for voice in found.speaker_embeddings]
        print(case["segmentation"], case["clustering"], len(case["turns"]), "turns of", len(case["voices"]))
    result = {"script": "diarize_stage.py", "pyannote.audio": pyannote.audio.__version__, "seconds": SECONDS,
              "segmentation": SEGMENTATION, "embedding": EMBEDDING, "cases": CASES}
    out = pathlib.Path(__file__).parent.parent / "data/diarize/stage.json"
    out.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
