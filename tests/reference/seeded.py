"""Seeded pseudo-random checkpoints, features and audio: a pure function of (seed, name, index).

The values are not committed, since the Rust tests compute the same values. README.md ("Seeded numbers") is the specification;
this file and the Rust tests implement it.
"""

import math

import numpy as np

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def fnv1a(name: str) -> int:
    """FNV-1a, 64 bit, of the UTF-8 bytes of `name`."""
    h = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def bits(seed: int, name: str, indices) -> np.ndarray:
    """64 pseudo-random bits per index: the output function of splitmix64 over a counter."""
    base = np.uint64((fnv1a(name) ^ seed) & MASK)
    z = base + (np.asarray(indices, dtype=np.uint64) + np.uint64(1)) * np.uint64(GOLDEN_GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def values(seed: int, name: str, indices, center: float, scale) -> np.ndarray:
    """`center + scale * u`, `u` uniform in [-1, 1), rounded to f16, as f32. `scale` may be per index."""
    u = (bits(seed, name, indices) >> np.uint64(40)).astype(np.float32)
    u = u / np.float32(1 << 24) * np.float32(2) - np.float32(1)
    value = np.float32(center) + np.asarray(scale, dtype=np.float32) * u
    return value.astype(np.float16).astype(np.float32)


# ---------------------------------------------------------------------------------------- checkpoints

# Gain of a layer for unit-variance input; the first matching suffix wins.
GAINS = [
    ("conv1.weight", 4.0),
    ("conv2.weight", 4.0),
    ("encoder_attn.q_proj.weight", 3.0),
    ("encoder_attn.k_proj.weight", 3.0),
    ("encoder_attn.out_proj.weight", 6.0),
    ("q_proj.weight", 1.5),
    ("k_proj.weight", 1.5),
    ("out_proj.weight", 3.0),
    ("fc2.weight", 4.0),
    (".weight", 1.0),
]

# May be overridden per checkpoint ("weights" in its JSON).
DEFAULTS = {
    "logit_std": 6.0,  # standard deviation of the logits of ordinary tokens
    "eot_gain": 1.0,  # standard deviation of the <|endoftext|> logit, relative to ordinary tokens
    "timestamp_gain": 1.0,  # the same for timestamp tokens
    "position_scale": 1.0,  # scale of the learned decoder positions
}


def sinusoids(length: int, channels: int) -> np.ndarray:
    """Whisper's encoder positions, computed in f64 and rounded to f32 once. [length, channels]"""
    half = channels // 2
    step = math.log(10000.0) / (half - 1)
    inverse = np.exp(-step * np.arange(half, dtype=np.float64))
    angle = np.arange(length, dtype=np.float64)[:, None] * inverse[None, :]
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def scale_of(name: str, shape, config: dict) -> tuple[float, float | np.ndarray]:
    """(center, scale) of a tensor of a Whisper checkpoint; scales are computed in f64."""
    weights = {**DEFAULTS, **config["weights"]}
    if name.endswith("layer_norm.weight"):
        return 1.0, 0.1
    if name.endswith(".bias"):
        return 0.0, 0.05
    if name.endswith("decoder.embed_positions.weight"):
        return 0.0, weights["position_scale"]
    if name.endswith("embed_tokens.weight"):
        scale = weights["logit_std"] * math.sqrt(3.0 / shape[1])
        rows = np.full(shape[0], scale)
        rows[config["eos_token_id"]] = scale * weights["eot_gain"]
        rows[config["timestamp_begin"] :] = scale * weights["timestamp_gain"]
        return 0.0, np.repeat(rows, shape[1])
    gain = next(gain for suffix, gain in GAINS if name.endswith(suffix))
    return 0.0, gain * math.sqrt(3.0 / math.prod(shape[1:]))


def tensor(name: str, shape, config: dict) -> np.ndarray:
    """One tensor of the checkpoint described by `config`: f32 values that are exact in f16."""
    if name.endswith("encoder.embed_positions.weight"):
        return sinusoids(*shape)
    center, scale = scale_of(name, shape, config)
    count = math.prod(shape)
    return values(config["weights"]["seed"], name, np.arange(count), center, scale).reshape(shape)


# ----------------------------------------------------------------------------------- features, audio


def features(seed: int, mels: int, frames: int) -> np.ndarray:
    """A synthetic log-mel spectrogram, constant over 8 frames (80 ms). [mels, frames]"""
    blocks = -(-frames // 8)
    grid = values(seed, "features", np.arange(mels * blocks), 0.0, 1.0).reshape(mels, blocks)
    return np.repeat(grid, 8, axis=1)[:, :frames]


def audio(seed: int, samples: int) -> np.ndarray:
    """Gliding triangle waves and noise in integer arithmetic; i16, 16 kHz. [samples]"""
    block, rate = 3200, 16000
    blocks = -(-samples // block)
    draw = bits(seed, "audio", np.arange(4 * blocks)).reshape(blocks, 4)
    out = np.zeros(blocks * block, dtype=np.int64)
    j = np.arange(block, dtype=np.uint64)
    gate = (draw[:, 3] >> np.uint64(8)) & np.uint64(3)
    for voice in range(3):
        q = draw[:, voice]
        start = np.uint64(80) + (q & np.uint64(0xFFF)) % np.uint64(1500)
        end = np.uint64(80) + ((q >> np.uint64(12)) & np.uint64(0xFFF)) % np.uint64(1500)
        amplitude = ((q >> np.uint64(24)) & np.uint64(0xFF)).astype(np.int64) * 32
        amplitude = np.where(gate == 0, amplitude >> 6, amplitude)
        hertz = start[:, None] * (np.uint64(block) - j) + end[:, None] * j  # times 3200
        increment = (hertz << np.uint64(32)) // np.uint64(rate * block)
        phase = np.cumsum(increment.reshape(-1), dtype=np.uint64) & np.uint64(0xFFFFFFFF)
        p = (phase >> np.uint64(16)).astype(np.int64)
        triangle = np.where(p < 32768, p, 65535 - p) * 2 - 32767
        out += (np.repeat(amplitude, block) * triangle) >> 15
    noise = (bits(seed, "noise", np.arange(out.size)) >> np.uint64(48)).astype(np.int64) - 32768
    level = (draw[:, 3] & np.uint64(0xFF)).astype(np.int64) * 4
    out += (noise * np.repeat(level, block)) >> 15
    return np.clip(out[:samples], -32768, 32767).astype(np.int16)


def audio_f32(seed: int, samples: int) -> np.ndarray:
    return audio(seed, samples).astype(np.float32) / np.float32(32768)
