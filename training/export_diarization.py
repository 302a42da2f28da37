"""Writes the two diarization networks in pyannote's pipeline layout: config.yaml, segmentation/ and embedding/, f16.

    python export_diarization.py --segmentation mean.pt --embedding mean.pt --out assets/diarization [--seconds 5] [--params FILE]

`--seconds`: how long the windows are that the pipeline slides over a recording. Fewer people speak in a shorter one, and the network then
confuses them less; the embeddings, made of less speech each, have more to put together. `--params`: constants of the clustering as JSON, such as
`diarization_report.py --tune` finds. The clustering is VBx; its PLDA is put beside the networks by `train_plda.py`.
"""

import argparse
import json
import os

import torch
from safetensors.torch import save_file

import train_segmentation

# What the network computes from its layout alone; they stay f32, for f16 would change them.
BUFFERS = ("window_", "n_")
CONFIG = """version: 4.0.0

pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: VBxClustering
    embedding: $model/embedding
    embedding_batch_size: 32
    embedding_exclude_overlap: true
    plda: $model/plda
    segmentation: $model/segmentation
    segmentation_batch_size: 32

params:
  clustering:
    Fa: {Fa}
    Fb: {Fb}
    contact: {contact}
    pause: {pause}
    threshold: {threshold}
  segmentation:
    min_duration_off: 0.0
"""
# Those of community-1, but for a `pause` (it has neither that nor `contact`; see contact.py; pyannote's own reader knows none of the two).
PARAMS = {"threshold": 0.6, "contact": 0.0, "pause": 0.1, "Fa": 0.07, "Fb": 0.8}


def write(state, path, about):
    tensors = {}
    for key, tensor in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        kept = key.split(".")[-1] in BUFFERS
        tensors[key] = (tensor.float() if kept else tensor.half()).contiguous()
        assert torch.isfinite(tensors[key]).all(), key
    os.makedirs(os.path.dirname(path), exist_ok=True)
    save_file(tensors, path, metadata=about)
    print(path, os.path.getsize(path), "bytes", sum(t.numel() for t in tensors.values()), "values")


def main():
    parser = argparse.ArgumentParser()
    for name in ("segmentation", "embedding", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--params")
    parser.add_argument("--seconds", type=float, default=train_segmentation.SECONDS)
    options = parser.parse_args()
    said = {"duration": options.seconds, "classes": train_segmentation.CLASSES, "powerset_max_classes": 2,
            "warm_up": [0.0, 0.0]}
    write(torch.load(options.segmentation), os.path.join(options.out, "segmentation", "model.safetensors"),
          {"pyannet": json.dumps(said)})
    write(torch.load(options.embedding)["model"], os.path.join(options.out, "embedding", "model.safetensors"), {"format": "pt"})
    params = PARAMS
    if options.params:
        with open(options.params) as file:
            params = json.load(file)
    with open(os.path.join(options.out, "config.yaml"), "w") as file:
        file.write(CONFIG.format(**params))


if __name__ == "__main__":
    main()
