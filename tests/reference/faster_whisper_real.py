"""Transcripts of faster-whisper for real recordings, with the published weights of Whisper tiny.en (tests/real/fetch.sh).

    faster_whisper_real.py FOLDER_OF_CTRANSLATE2 [THREADS]              tests/data/real/faster_whisper.json
    faster_whisper_real.py --formats $DIARIST_REAL/formats [THREADS]    tests/data/real/conversions.json

Every case has options of `WhisperModel.transcribe` and recordings. `FOLDER/*` is the concatenation of all recordings of a folder. At
temperature 0, or at one so small that sampling always takes the likeliest token, the result is deterministic. Cases that the golden
already has are kept, so that an interrupted run can be resumed; delete the file to regenerate it.
"""

import json
import os
import pathlib
import sys

conversions = sys.argv[1] == "--formats"
arguments = sys.argv[2:] if conversions else sys.argv[1:]
os.environ.setdefault("OMP_NUM_THREADS", arguments[1] if len(arguments) > 1 else "1")

import numpy as np
from faster_whisper import WhisperModel, decode_audio

import golden
import recordings

# Lossy files are excluded here: decoders differ by up to 4e-3 in a sample (tests/audio/goldens.rs), which can flip a close decision between
# two tokens. Only their words are compared, with those of whisperx. Beam search with word times also runs on LibriSpeech's test-other.
OTHERS = [name for name in recordings.english() if "/voices/" not in name and name.endswith((".wav", ".flac"))]
JOINED = [f"audio/voices/librispeech_test-other/{speaker}/*" for speaker in ("1688", "2033", "2414", "3080", "367")]
FEW = [
    "audio/jfk/jfk.wav",
    "audio/dialogue/sample.wav",
    "audio/ami/dev00.wav",
    "audio/alignment/acoustic_corpus.wav",
    "audio/languages/test.wav",
]
PLAIN = {"beam_size": 5, "temperature": [0.0], "condition_on_previous_text": False}
CASES = {
    "greedy": ({**PLAIN, "beam_size": 1}, OTHERS),
    "greedy without timestamps": ({**PLAIN, "beam_size": 1, "without_timestamps": True}, OTHERS),
    "beam and times of words": ({**PLAIN, "word_timestamps": True}, OTHERS + recordings.test_other()),
    "windows with previous text": ({**PLAIN, "condition_on_previous_text": True}, JOINED),
    "windows with previous text, greedy, times of words": (
        {"beam_size": 1, "temperature": [0.0], "condition_on_previous_text": True, "word_timestamps": True},
        JOINED,
    ),
    # All thresholds at their defaults; windows that fail at temperature 0 are tried once more.
    "fallback, defaults": ({**PLAIN, "temperature": [0.0, 0.001], "best_of": 1}, OTHERS),
    "fallback by log-probability": (
        {**PLAIN, "temperature": [0.0, 0.001], "best_of": 1, "log_prob_threshold": -0.35, "no_speech_threshold": None},
        FEW + JOINED[:2],
    ),
    "fallback by compression": (
        {**PLAIN, "temperature": [0.0, 0.001], "best_of": 1, "compression_ratio_threshold": 1.4, "condition_on_previous_text": True},
        # Without the dialogue: two of its tokens are so close that sampling is random even at this temperature.
        [name for name in FEW if "dialogue" not in name] + JOINED[:2],
    ),
    "no speech": ({**PLAIN, "log_prob_threshold": -0.3, "no_speech_threshold": 0.02}, OTHERS),
    "initial prompt": (
        {**PLAIN, "initial_prompt": "MINUTES, VERBATIM, WITHOUT PUNCTUATION: SO THE CHAIR OPENED THE MEETING"},
        FEW + JOINED[:1],
    ),
    "hotwords": ({**PLAIN, "hotwords": "colour, neighbour, Mr Fitzwilliam, AMI"}, FEW + JOINED[:1]),
    "prefix": ({**PLAIN, "prefix": "Well, you know,"}, FEW),
    "prompt and hotwords and previous text": (
        {**PLAIN, "condition_on_previous_text": True, "initial_prompt": "A reading of old letters.", "hotwords": "Eliza, Valentin"},
        JOINED[:3],
    ),
}
# Weight types of the conversions.
TYPES = ["int8", "int8_float16", "int16", "bfloat16"]


def samples(name: str) -> np.ndarray:
    if not name.endswith("/*"):
        return decode_audio(str(recordings.SHARED / name))
    paths = sorted((recordings.SHARED / name[:-2]).glob("*.flac"))
    return np.concatenate([decode_audio(str(path)) for path in paths])


def segment(s):
    row = [s.start, s.end, s.text, s.tokens, s.avg_logprob, s.no_speech_prob, s.compression_ratio, s.temperature]
    row[4:7] = [round(float(value), 6) for value in row[4:7]]
    row[:2] = [round(float(value), 3) for value in row[:2]]
    if s.words is not None:
        row.append([[w.word, round(float(w.start), 3), round(float(w.end), 3), round(float(w.probability), 4)] for w in s.words])
    return row


def run(model: WhisperModel, options: dict, names: list[str]) -> dict:
    found = {}
    for name in names:
        segments, _ = model.transcribe(samples(name), language="en", **options)
        found[name] = [segment(s) for s in segments]
        print(".", end="", flush=True)
    return found


def write(path: str, meta: dict, cases: dict, open_model):
    target = golden.DATA / path
    content = json.loads(target.read_text()) if target.exists() else {"meta": meta, "cases": {}}
    assert content["meta"] == meta, "the golden was made by other versions: delete it first"
    for name, (options, names) in cases.items():
        if name in content["cases"]:
            continue
        model, told = open_model(name)
        content["cases"][name] = {"options": options, **told, "recordings": run(model, options, names)}
        print(name, flush=True)
        golden.write_json(path, content)


def main():
    threads = int(os.environ["OMP_NUM_THREADS"])
    meta = {
        "versions": golden.versions("faster-whisper", "ctranslate2", "av", "tokenizers", "numpy"),
        "model": "Systran/faster-whisper-tiny.en",
        "segment": "start end text tokens avg_logprob no_speech_prob compression_ratio temperature words".split(),
        "word": ["word", "start", "end", "probability"],
    }
    if conversions:
        folder = pathlib.Path(arguments[0])

        def open_conversion(name):
            model = WhisperModel(str(folder / f"ct2-{name}"), device="cpu", cpu_threads=threads)
            return model, {"compute_type": model.model.compute_type}

        cases = {name: ({**PLAIN, "beam_size": 1}, recordings.test_other()) for name in TYPES}
        write("real/conversions.json", meta, cases, open_conversion)
    else:
        model = WhisperModel(arguments[0], device="cpu", compute_type="float32", cpu_threads=threads)
        write("real/faster_whisper.json", {**meta, "compute_type": "float32"}, CASES, lambda _: (model, {}))


main()
