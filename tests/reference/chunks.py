"""Speech regions and chunks of WhisperX: hysteresis with min-cut (`Binarize`), then `merge_chunks`.

Takes the folder of an unpacked WhisperX wheel: chunks.py <folder>
"""

import importlib.util
import pathlib
import sys
import types

import numpy as np
from pyannote.core import SlidingWindow, SlidingWindowFeature

import golden
import seeded

# PyanNet's frames: a step of 270 samples, a receptive field of 991
STEP, FIELD = 270 / 16000, 991 / 16000


def load(folder):
    """Loads vads/vad.py and vads/pyannote.py with stubs for the imports that are not needed here."""
    def stub(name, **members):
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module

    class SpeechTurn:
        def __init__(self, start, end, speaker):
            self.start, self.end, self.speaker = start, end, speaker

    stub("pyannote.audio", Model=None)
    stub("pyannote.audio.core")
    stub("pyannote.audio.core.io", AudioFile=object)
    stub("pyannote.audio.pipelines", VoiceActivityDetection=object)
    stub("pyannote.audio.pipelines.utils", PipelineModel=object)
    stub("whisperx")
    stub("whisperx.diarize", Segment=SpeechTurn)
    stub("whisperx.log_utils", get_logger=lambda name: types.SimpleNamespace(warning=print, info=print))
    stub("whisperx.vads")
    for name in ("vad", "pyannote"):
        spec = importlib.util.spec_from_file_location(f"whisperx.vads.{name}", folder / "whisperx/vads" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return sys.modules["whisperx.vads.pyannote"]


def curve(name, frames):
    """Scores that are exact in f32: special cases by name, else a smoothed random walk."""
    noise = (seeded.bits(9, name, np.arange(frames)) >> np.uint64(40)).astype(np.float64) / (1 << 24)
    if name == "silence":
        return np.full(frames, 0.125)
    if name == "all speech":
        return (0.75 + 0.2 * noise).astype(np.float32).astype(np.float64)
    if name == "ends active":
        return np.where(np.arange(frames) > frames - 300, 0.875, 0.125)
    if name == "starts active":
        return np.where(np.arange(frames) < 300, 0.875, 0.125)
    if name == "flat speech":  # all scores are equal, so the cut depends on the tie rule
        return np.full(frames, 0.75)
    if name == "one frame":
        return np.where(np.arange(frames) % 400 == 200, 0.9375, 0.25)
    if name == "speech with dips":
        return np.where(np.arange(frames) % 500 < 20, 0.40625, 0.8125)
    walk = np.cumsum(noise - 0.5) * 0.35
    return (0.5 + 0.5 * np.sin(walk)).astype(np.float32).astype(np.float64)


def main():
    whisperx = load(pathlib.Path(sys.argv[1]))
    meta = {"script": "chunks.py", "whisperx": "3.8.6", **golden.versions("pyannote.core", "numpy"),
            "frame_step": STEP, "frame_field": FIELD}
    cases = []
    specs = [("walk a", 7100), ("walk b", 7100), ("all speech", 4500), ("flat speech", 4000), ("speech with dips", 6000),
             ("ends active", 3000), ("starts active", 3000), ("one frame", 2400), ("silence", 600)]
    curves = {name: curve(name, frames) for name, frames in specs}
    for number, (name, scores) in enumerate(curves.items()):
        feature = SlidingWindowFeature(scores[:, None], SlidingWindow(start=0.0, duration=FIELD, step=STEP))
        for chunk, onset, offset in [(30, 0.5, 0.363), (10, 0.5, 0.363), (5, 0.7, 0.3)]:
            if name in ("silence", "one frame", "starts active", "ends active") and chunk == 5:
                continue
            regions = whisperx.Binarize(max_duration=chunk, onset=onset, offset=offset)(feature).get_timeline()
            merged = whisperx.Pyannote.merge_chunks(feature, chunk, onset, offset)
            cases.append({
                "curve": name, "tensor": str(number), "chunk_size": chunk, "onset": onset, "offset": offset,
                "regions": [[r.start, r.end] for r in regions],
                "chunks": [{"start": c["start"], "end": c["end"], "segments": [list(s) for s in c["segments"]]} for c in merged],
            })
            print(name, chunk, len(regions), len(merged))

    merges = []
    Turn = sys.modules["whisperx.diarize"].Segment
    for name, chunk, spans in [
        ("fits", 30, [(0.5, 4.0), (5.0, 12.0), (13.0, 29.9)]),
        ("exactly", 30, [(0.0, 10.0), (10.5, 30.0), (30.5, 31.0)]),
        ("one over", 30, [(0.0, 10.0), (10.5, 30.25), (31.0, 40.0)]),
        ("longer than a chunk", 30, [(1.0, 45.0), (46.0, 50.0)]),
        ("far apart", 30, [(1.0, 2.0), (100.0, 101.0), (131.0, 131.5)]),
        ("starts at zero, empty first", 30, [(0.0, 0.0), (29.0, 31.0)]),
        ("small", 5, [(0.0, 1.0), (1.5, 2.0), (4.0, 5.5), (5.6, 5.9), (9.0, 12.0)]),
    ]:
        result = sys.modules["whisperx.vads.vad"].Vad.merge_chunks([Turn(a, b, "UNKNOWN") for a, b in spans], chunk, 0.5, 0.363)
        merges.append({"name": name, "chunk_size": chunk, "spans": [list(s) for s in spans],
                       "chunks": [{"start": c["start"], "end": c["end"], "segments": [list(s) for s in c["segments"]]} for c in result]})
    golden.write_tensors("chunks/scores.safetensors", {str(i): c.astype(np.float32) for i, c in enumerate(curves.values())}, meta)
    golden.write_json("chunks/chunks.json", {"meta": meta, "cases": cases, "merges": merges})


if __name__ == "__main__":
    main()
