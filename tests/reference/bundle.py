"""Log-probabilities of torchaudio's Wav2Vec2Model, f32, and its checkpoints as written by torch.save.

Random weights in narrow copies of the two layouts of its bundles (group norm, layer norm). The head of the first has the unused rows
that its bundles drop (`_remove_aux_axes`). The second gets the layer norm on the waveform that bundles with `_normalize_waveform` have.
"""

import torch
import torchaudio
from torchaudio.models import wav2vec2_model
from torchaudio.pipelines._wav2vec2 import utils

import golden
import seeded

CONV = [(12, 10, 5), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 2, 2), (12, 2, 2)]
UNUSED = [1, 2, 3, 7]
CLASSES = 9
CLIPS = [8000, 5231, 400]


def build(order: str, rows: int) -> torch.nn.Module:
    layered = order == "layer_norm"
    torch.manual_seed(7 + layered)
    model = wav2vec2_model(order, CONV, layered, 32, 0.0, 16, 4, 2, 4, 0.0, 48, 0.0, 0.0, layered, 0.0, rows)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "norm" in name and tensor.dim() == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
            elif name.endswith("bias"):
                tensor.normal_(0, 0.05)
            elif name.startswith("aux") or "q_proj" in name or "k_proj" in name:
                tensor.mul_(6.0)
    return model.eval()


def main():
    torch.set_num_threads(1)
    meta = {"script": "bundle.py", **golden.versions("torchaudio", "torch"), "clips": CLIPS, "unused": UNUSED, "cases": []}
    tensors = {}
    for order, unused in (("group_norm", UNUSED), ("layer_norm", [])):
        stored = build(order, CLASSES + len(unused))
        file = golden.DATA / "wav2vec2" / f"bundle-{order}.pth"
        torch.save(stored.state_dict(), file)
        state = torch.load(file)
        if unused:
            utils._remove_aux_axes(state, unused)
        model = build(order, CLASSES)
        model.load_state_dict(state)
        if order == "layer_norm":
            model = utils._extend_model(model, normalize_waveform=True)
        for i, samples in enumerate(CLIPS):
            # A quiet recording, so that the epsilon of the layer norm matters.
            audio = torch.from_numpy(seeded.audio_f32(500 + i, samples)) * (0.01 if order == "layer_norm" else 1.0)
            with torch.no_grad():
                emissions, _ = model(audio[None])
            tensors[f"{order}.{i}"] = torch.log_softmax(emissions[0], -1).numpy()
        best = tensors[f"{order}.0"].argmax(1)
        print(order, file.stat().st_size, "bytes,", len(set(best)), "classes heard", tensors[f"{order}.0"].shape)
        meta["cases"].append(order)
    golden.write_tensors("wav2vec2/bundle.safetensors", tensors, meta)


if __name__ == "__main__":
    main()
