"""Log-probabilities of transformers' Wav2Vec2ForCTC, f32, eager attention, one clip at a time; random weights in narrow
copies of base, large (XLS-R 300m) and the 1B network.

Weights are a function of (seed, name, index), like those of the Whisper goldens (README.md). Centers and scales are in
`scale_of` here and in `tests/common/wav2vec2.rs`.
"""

import math

import numpy as np
import torch
import transformers

import golden
import seeded

GAINS = [
    ("conv.weight", 2.0),
    ("q_proj.weight", 1.5),
    ("k_proj.weight", 1.5),
    ("out_proj.weight", 3.0),
    ("output_dense.weight", 3.0),
    ("lm_head.weight", 6.0),
    (".weight", 1.0),
    (".original1", 1.0),
]
COMMON = {
    "model_type": "wav2vec2",
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "num_conv_pos_embeddings": 128,
}
CONFIGS = {
    "base": {
        "vocab_size": 32, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
        "conv_dim": [32] * 7, "num_conv_pos_embedding_groups": 4, "feat_extract_norm": "group", "conv_bias": False,
        "do_stable_layer_norm": False, "pad_token_id": 0,
    },
    "large": {
        "vocab_size": 33, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128,
        "conv_dim": [32] * 7, "num_conv_pos_embedding_groups": 16, "feat_extract_norm": "layer", "conv_bias": True,
        "do_stable_layer_norm": True, "pad_token_id": 32,
    },
    "1b": {
        "vocab_size": 40, "hidden_size": 160, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 640,
        "conv_dim": [64] * 7, "num_conv_pos_embedding_groups": 16, "feat_extract_norm": "layer", "conv_bias": True,
        "do_stable_layer_norm": True, "pad_token_id": 7,
    },
}
# Samples of each clip: one second, an odd number, the minimum (one frame), and exactly 74 frames.
CLIPS = [16000, 8123, 400, 23760]


def scale_of(name, shape):
    if name.endswith("norm.weight"):
        return 1.0, 0.1
    if name.endswith(".bias"):
        return 0.0, 0.05
    if name.endswith(".original0"):
        return 2.0, 0.5
    gain = next(gain for suffix, gain in GAINS if name.endswith(suffix))
    return 0.0, gain * math.sqrt(3.0 / math.prod(shape[1:]))


def build(config, seed):
    model = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**config, attn_implementation="eager")).eval()
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("masked_spec_embed"):
            continue
        values = seeded.values(seed, name, np.arange(tensor.numel()), *scale_of(name, tensor.shape))
        state[name] = torch.from_numpy(values.reshape(tensor.shape))
    model.load_state_dict(state)
    return model


def main():
    torch.set_num_threads(2)
    meta = {"script": "wav2vec2.py", **golden.versions("transformers", "torch", "numpy"), "clips": CLIPS, "cases": []}
    tensors = {}
    for number, (name, config) in enumerate(CONFIGS.items()):
        config = {**COMMON, **config}
        model, normalise = build(config, 300 + number), name != "base"
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
        error = 0.0
        for i, samples in enumerate(CLIPS):
            audio = seeded.audio_f32(400 + i, samples)
            values = torch.from_numpy(extractor(audio, sampling_rate=16000).input_values[0])[None]
            with torch.no_grad():
                found = torch.log_softmax(model(values).logits[0], -1)
                exact = torch.log_softmax(model.double()(values.double()).logits[0], -1)
                model.float()
            error = max(error, float((found - exact).abs().max()))
            tensors[f"{name}.{i}"] = found.numpy()
        top = np.concatenate([tensors[f"{name}.{i}"] for i in range(len(CLIPS))])
        print(name, "f32 error", error, "mean best", np.exp(top.max(1)).mean(), "classes heard", len(set(top.argmax(1))))
        meta["cases"].append({"name": name, "config": config, "seed": 300 + number, "normalise": normalise, "f32_error": error})
    golden.write_tensors("wav2vec2/emissions.safetensors", tensors, meta)


if __name__ == "__main__":
    main()
