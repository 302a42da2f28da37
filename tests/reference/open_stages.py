"""Intermediate results of the pipeline `open` on real recordings, by tuning/open_diarization.py: pieces, embeddings, labels, turns.

    python open_stages.py [FOLDER]     writes tests/data/real/open.json; the scores of the segmentation go to FOLDER as .npz

The published weights (tests/real/fetch.sh) are in $DIARIST_REAL, the recordings in $DIARIST_SHARED. Needs pyannote.audio, torchaudio and
soundfile.
"""

import dataclasses
import os
import pathlib
import sys

import numpy as np
import soundfile
import torch

import golden

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tuning"))
import campplus  # noqa: E402
import open_diarization as steps  # noqa: E402

SHARED = pathlib.Path(os.environ.get("DIARIST_SHARED", "../shared"))
REAL = pathlib.Path(os.environ["DIARIST_REAL"])


def stages(networks, samples, constants):
    """(golden of a recording, scores, embeddings)."""
    ready = steps.prepare(networks, samples, constants)
    vectors = steps.unit(ready.embeddings.astype(float)) if ready.pieces else np.zeros((0, 192))
    labels, centroids = steps.piece_labels(vectors, ready.pieces, constants) if ready.pieces else ([], vectors)
    pieces = [[piece.window, piece.speaker, piece.parts, int(label), [round(float(x), 4) for x in vector[:6]]]
              for piece, label, vector in zip(ready.pieces, labels, vectors)]
    turns = [[round(start, 6), round(end, 6), cluster] for start, end, cluster in steps.finish(ready, constants)]
    found = {"windows": len(ready.scores), "clusters": len(centroids), "pieces": pieces, "turns": turns}
    return found, ready.scores, ready.embeddings


def main():
    torch.set_num_threads(1)
    constants = steps.Constants()
    networks = (steps.segmentation_network(REAL / "segmentation-3.0" / "pytorch_model.bin"),
                campplus.load(REAL / "campplus" / "campplus_cn_en_common.pt"))
    recordings = {}
    for path in sorted((SHARED / "audio/ami").glob("*.wav")) + sorted((SHARED / "audio/dialogue").glob("*.wav")):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        assert rate == steps.RATE, path
        recordings[path.stem], scores, embeddings = stages(networks, samples.mean(1), constants)
        if len(sys.argv) > 1:
            os.makedirs(sys.argv[1], exist_ok=True)
            np.savez(os.path.join(sys.argv[1], f"{path.stem}.npz"), scores=scores, embeddings=embeddings)
    golden.write_json("real/open.json", {
        "script": "open_stages.py", "versions": golden.versions("pyannote.audio", "torch", "torchaudio"),
        "constants": dataclasses.asdict(constants),
        "piece": "window, speaker, parts [[first frame, frame behind the last]], label, first six numbers of the unit embedding",
        "turn": "start s, end s, cluster", "recordings": recordings})


if __name__ == "__main__":
    main()
