"""Silero VAD: probabilities by onnxruntime, speech spans by the functions of faster-whisper and silero-vad.

The probabilities are committed, so that the spans can be tested without the recordings and the network.
"""

import functools

import faster_whisper.vad
import numpy as np
import onnxruntime
import silero_vad.utils_vad
import soundfile
import torch

import golden
import seeded
import tokenizer as tok

WINDOW, CONTEXT = 512, 64


def probabilities(session, audio):
    """One per 512 samples (the last window zero-padded); each window is preceded by the last 64 samples before it."""
    windows = np.pad(audio, (0, -len(audio) % WINDOW)).reshape(-1, WINDOW)
    state, context, out = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32), []
    for window in windows:
        x = np.concatenate([context, window[None]], axis=1)
        value, state = session.run(None, {"input": x, "state": state, "sr": np.array(16000, np.int64)})
        context = x[:, -CONTEXT:]
        out.append(value[0, 0])
    return np.array(out, np.float32)


def scripted(name):
    """Synthetic probability curves that reach rare branches."""
    noise = (seeded.bits(5, name, np.arange(4000)) >> np.uint64(40)).astype(np.float64) / (1 << 24)
    if name == "walk":  # wanders through both thresholds
        level = np.cumsum(noise - 0.5) * 0.25
        return (0.5 + 0.5 * np.sin(level)).astype(np.float32)
    if name == "long with short pauses":  # speech beyond 30 s, with pauses around 98 and 100 ms
        curve = np.full(2500, 0.9)
        for start in range(70, 2500, 190):
            curve[start : start + 2 + start % 5] = 0.1
        return (curve - 0.05 * noise[:2500]).astype(np.float32)
    if name == "long without pause":
        return (0.8 + 0.1 * noise[:2300]).astype(np.float32)
    assert name == "pulses"  # 0.4 lies between the two thresholds
    return np.repeat(np.array([0.1, 0.4, 0.9, 0.5, 0.36, 0.34])[(noise[:900] * 6).astype(int)], 3).astype(np.float32)


class Curve:
    """A mock network that returns the probabilities of a curve one by one."""

    def __init__(self, values):
        self.values, self.position = values, 0

    def reset_states(self):
        self.position = 0

    def __call__(self, chunk, sampling_rate):
        self.position += 1
        return torch.tensor([[self.values[self.position - 1]]])


HUB = [
    {"threshold": 0.5, "max_speech_duration_s": 30},  # as WhisperX calls it
    {"threshold": 0.5, "max_speech_duration_s": 5},
    {"threshold": 0.35, "max_speech_duration_s": 8, "min_speech_duration_ms": 100, "min_silence_duration_ms": 500, "speech_pad_ms": 100},
    {"threshold": 0.5, "max_speech_duration_s": 5, "use_max_poss_sil_at_max_speech": False, "min_silence_duration_ms": 2000},
]
FASTER = [
    {},
    {"min_silence_duration_ms": 160, "max_speech_duration_s": 30},
    {"threshold": 0.6, "neg_threshold": 0.2, "min_speech_duration_ms": 250, "max_speech_duration_s": 6, "speech_pad_ms": 50},
]


def main():
    torch.set_num_threads(1)
    meta = {"script": "silero.py", **golden.versions("onnxruntime", "faster-whisper", "silero-vad", "numpy")}
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(tok.shared() / "models/silero/silero_vad.onnx", options, providers=["CPUExecutionProvider"])
    curves, sources = {}, {}
    for name, seconds in [("dialogue/sample.wav", None), ("jfk/jfk.wav", None), ("ami/dev00.wav", 10)]:
        audio, rate = soundfile.read(tok.shared() / "audio" / name, dtype="float32")
        assert rate == 16000 and audio.ndim == 1
        audio = audio[: seconds * rate if seconds else None]
        curves[name] = probabilities(session, audio)
        sources[name] = {"file": name, "samples": len(audio)}
    audio = seeded.audio_f32(17, 16000 * 6 + 100)
    curves["seeded"] = probabilities(session, audio)
    sources["seeded"] = {"audio_seed": 17, "samples": len(audio)}
    for name in ("walk", "long with short pauses", "long without pause", "pulses"):
        curves[name] = scripted(name)
        sources[name] = {"scripted": True, "samples": len(curves[name]) * WINDOW - 200}

    cases = []
    for name, curve in curves.items():
        samples = sources[name]["samples"]
        for kwargs in HUB:
            spans = silero_vad.utils_vad.get_speech_timestamps(torch.zeros(samples), Curve(curve), **kwargs)
            cases.append({"curve": name, "samples": samples, "function": "silero", "options": kwargs,
                          "spans": [[s["start"], s["end"]] for s in spans]})
        for kwargs in FASTER:
            assert samples % WINDOW  # otherwise faster-whisper pads one window more than silero-vad
            faster_whisper.vad.get_vad_model = functools.partial(lambda c: lambda audio: c, curve)
            spans = faster_whisper.vad.get_speech_timestamps(np.zeros(samples, np.float32), faster_whisper.vad.VadOptions(**kwargs))
            cases.append({"curve": name, "samples": samples, "function": "faster-whisper", "options": kwargs,
                          "spans": [[int(s["start"]), int(s["end"])] for s in spans]})
    order = list(curves)
    golden.write_tensors("silero/probabilities.safetensors", {f"{i}": curves[n] for i, n in enumerate(order)}, {**meta, "order": order})
    golden.write_json("silero/spans.json", {"meta": meta, "curves": [{"name": n, "tensor": str(i), **sources[n]} for i, n in enumerate(order)], "cases": cases})
    for case in cases:
        print(case["curve"], case["function"], len(case["spans"]))


if __name__ == "__main__":
    main()
