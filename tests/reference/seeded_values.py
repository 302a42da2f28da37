"""Samples of every kind of seeded value, to verify the Rust implementation of seeded.py."""

import golden
import seeded
import tokenizer as tok


def main():
    weights = {"seed": 7, "eot_gain": 2.0, "timestamp_gain": 1.5}
    ids = tok.special_ids(51865)
    config = {
        "d_model": 64,
        "encoder_ffn_dim": 256,
        "num_mel_bins": 80,
        "max_source_positions": 1500,
        "vocab_size": 51865,
        "eos_token_id": ids["eot"],
        "timestamp_begin": ids["timestamp_begin"],
        "weights": weights,
    }
    shapes = {
        "model.encoder.conv1.weight": [64, 80, 3],
        "model.encoder.conv1.bias": [64],
        "model.encoder.embed_positions.weight": [1500, 64],
        "model.encoder.layers.0.self_attn.q_proj.weight": [64, 64],
        "model.encoder.layers.1.self_attn.out_proj.weight": [64, 64],
        "model.encoder.layers.1.fc1.weight": [256, 64],
        "model.encoder.layers.1.fc2.weight": [64, 256],
        "model.encoder.layer_norm.weight": [64],
        "model.decoder.embed_tokens.weight": [51865, 64],
        "model.decoder.embed_positions.weight": [448, 64],
        "model.decoder.layers.0.encoder_attn.k_proj.weight": [64, 64],
        "model.decoder.layers.0.encoder_attn.out_proj.weight": [64, 64],
        "model.decoder.layers.0.self_attn_layer_norm.weight": [64],
    }
    tensors = []
    for name, shape in shapes.items():
        flat = seeded.tensor(name, shape, config).reshape(-1)
        picks = sorted({0, 1, 2, 63, flat.size // 3, flat.size - 1} & set(range(flat.size)))
        if name.endswith("embed_tokens.weight"):
            picks += [ids["eot"] * 64 - 1, ids["eot"] * 64, ids["eot"] * 64 + 1, ids["timestamp_begin"] * 64 - 1, ids["timestamp_begin"] * 64]
        tensors.append({"name": name, "shape": shape, "index": picks, "value": [float(flat[i]) for i in picks]})

    bits = [
        {"seed": seed, "name": name, "index": i, "fnv1a": str(seeded.fnv1a(name)), "bits": str(int(seeded.bits(seed, name, [i])[0]))}
        for seed, name, i in [(0, "", 0), (0, "a", 0), (1, "audio", 5), (7, "model.encoder.conv1.bias", 63), (2**63 + 11, "ü", 2**32)]
    ]
    features = [
        {"seed": seed, "mels": mels, "frames": frames, "at": [m, t], "value": float(seeded.features(seed, mels, frames)[m, t])}
        for seed, mels, frames, m, t in [(1, 80, 3000, 0, 0), (1, 80, 3000, 0, 8), (1, 80, 3000, 79, 2999), (2, 128, 200, 5, 100), (3, 80, 30, 1, 29)]
    ]
    audio = seeded.audio(3, 16000 * 12)
    picks = [0, 1, 2, 100, 3199, 3200, 3201, 50000, 100000, 191999]
    golden.write_json("seeded.json", {
        "meta": {"script": "seeded_values.py", **golden.versions("numpy")},
        "bits": bits,
        "config": config,
        "tensors": tensors,
        "features": features,
        "audio": {
            "seed": 3,
            "samples": 192000,
            "index": picks,
            "value": [int(audio[i]) for i in picks],
            "sum": int(audio.astype("int64").sum()),
            "sum_of_squares": int((audio.astype("int64") ** 2).sum()),
        },
    })


if __name__ == "__main__":
    main()
