"""Turns of pyannote.audio's pipeline with segmentation-3.0 and CAM++ on the recordings of ../shared: centroid clustering, not tuned.

    python open_pyannote.py            writes tests/data/real/pyannote_campplus.json

The published weights (tests/real/fetch.sh) are in $DIARIST_REAL, the recordings in $DIARIST_SHARED. CAM++ is wrapped in the interface of
pyannote.audio's embeddings: a mask is resized to the feature frames of the whole window, as for its WeSpeaker in ONNX; the mean of the
features is subtracted over the frames that remain. Needs pyannote.audio, torchaudio and soundfile.
"""

import os
import pathlib
import sys
from unittest import mock

import numpy as np
import soundfile
import torch
import torchaudio.compliance.kaldi as kaldi
from pyannote.audio import Model
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines import SpeakerDiarization
from torch.nn import functional as F

import golden

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tuning"))
import campplus  # noqa: E402

SHARED = pathlib.Path(os.environ.get("DIARIST_SHARED", "../shared"))
REAL = pathlib.Path(os.environ["DIARIST_REAL"])
CASES = [
    {"threshold": 0.7, "min_cluster_size": 12},
    {"threshold": 0.7045654963945799, "min_cluster_size": 12, "min_duration_off": 0.5},
    {"threshold": 0.7, "min_cluster_size": 12, "num_speakers": 2},
    {"threshold": 0.7, "min_cluster_size": 2, "exclude_overlap": False},
]


class CamPlus:
    """CAM++ with the interface of pyannote.audio's embeddings."""

    sample_rate, metric, dimension = 16000, "cosine", 192
    min_num_samples = campplus.FRAME + (campplus.FEWEST - 1) * campplus.SHIFT

    def __init__(self):
        self.network = campplus.load(REAL / "campplus" / "campplus_cn_en_common.pt")

    def __call__(self, waveforms, masks=None):
        return np.stack([self.one(waveform, mask) for waveform, mask in zip(waveforms, masks)])

    @torch.inference_mode()
    def one(self, waveform, mask):
        features = kaldi.fbank(waveform, num_mel_bins=80, dither=0.0, sample_frequency=16000, window_type="povey")
        features = features[F.interpolate(mask[None, None], size=len(features), mode="nearest")[0, 0] > 0.5]
        if len(features) < campplus.FEWEST:
            return np.full(self.dimension, np.nan)
        return self.network((features - features.mean(0))[None])[0].numpy()


def pipeline(case):
    with mock.patch("pyannote.audio.pipelines.speaker_diarization.PretrainedSpeakerEmbedding", return_value=CamPlus()):
        made = SpeakerDiarization(
            segmentation=Model.from_pretrained(REAL / "segmentation-3.0" / "pytorch_model.bin"),
            embedding="campplus", plda=PLDA.from_pretrained(SHARED / "models/plda"), clustering="AgglomerativeClustering",
            embedding_batch_size=1, segmentation_batch_size=16, embedding_exclude_overlap=case.get("exclude_overlap", True))
    clustering = {"method": "centroid", "threshold": case["threshold"], "min_cluster_size": case["min_cluster_size"]}
    return made.instantiate({"segmentation": {"min_duration_off": case.get("min_duration_off", 0.0)}, "clustering": clustering})


def turns(annotation):
    return [[round(turn.start, 6), round(turn.end, 6), label] for turn, _, label in annotation.itertracks(yield_label=True)]


class Kept:
    """Caches the outputs of the networks for each recording, which are the same in all cases."""

    def __init__(self):
        self.said = {}

    def into(self, made):
        for name in ("get_segmentations", "get_embeddings"):
            setattr(made, name, self.once(name, getattr(made, name)))
        return made

    def once(self, name, function):
        def said(file, *arguments, **options):
            key = name, file["uri"], options.get("exclude_overlap")
            if key not in self.said:
                self.said[key] = function(file, *arguments, **options)
            return self.said[key]

        return said


def main():
    torch.set_num_threads(1)
    files = sorted((SHARED / "audio/ami").glob("*.wav")) + sorted((SHARED / "audio/dialogue").glob("*.wav"))
    kept, cases = Kept(), []
    for case in CASES:
        made, found = kept.into(pipeline(case)), {}
        for path in files:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            file = {"waveform": torch.from_numpy(samples.T.copy()), "sample_rate": rate, "uri": path.stem}
            output = made(file, **{name: case[name] for name in ("num_speakers",) if name in case})
            found[path.stem] = turns(getattr(output, "speaker_diarization", output))
            print(case, path.stem, len(found[path.stem]), flush=True)
        cases.append({**case, "turns": found})
    meta = {"script": "open_pyannote.py", "versions": golden.versions("pyannote.audio", "torch", "torchaudio")}
    golden.write_json("real/pyannote_campplus.json", {**meta, "cases": cases})


if __name__ == "__main__":
    main()
