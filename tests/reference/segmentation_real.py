"""Scores of pyannote.audio with the published segmentation-3.0, for the meetings of ../shared.

Every STEP-th frame of consecutive windows of ten seconds; the last window is padded with zeros. Needs pyannote.audio and scipy.
The weights (tests/real/fetch.sh) are in $DIARIST_REAL, the recordings in $DIARIST_SHARED.
"""

import os
from pathlib import Path

import numpy as np
import torch
from pyannote.audio import Model
from scipy.io import wavfile

import golden

STEP = 4
WINDOW = 160000


def main():
    torch.set_num_threads(1)
    weights = Path(os.environ["DIARIST_REAL"]) / "segmentation-3.0/pytorch_model.bin"
    model = Model.from_pretrained(weights).eval()
    meta = {"script": "segmentation_real.py", **golden.versions("pyannote.audio", "torch", "numpy"), "step": STEP, "recordings": []}
    tensors, error = {}, 0.0
    for path in sorted((Path(os.environ["DIARIST_SHARED"]) / "audio/ami").glob("*.wav")):
        rate, audio = wavfile.read(path)
        assert rate == 16000 and audio.dtype == np.float32
        audio = np.pad(audio, (0, -len(audio) % WINDOW))
        windows = torch.from_numpy(audio.reshape(-1, 1, WINDOW))
        with torch.inference_mode():
            found = model(windows)
            exact = model.double()(windows.double())
            model.float()
        error = max(error, float((found - exact).abs().max()))
        tensors[path.name] = found[:, ::STEP].numpy()
        meta["recordings"].append(path.name)
    meta["f32_error"] = error
    print("to f64", error)
    golden.write_tensors("real/segmentation.safetensors", tensors, meta)


if __name__ == "__main__":
    main()
