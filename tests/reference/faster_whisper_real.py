"""What faster-whisper writes for real recordings with the published weights of Whisper tiny.en (tests/real/fetch.sh).

    faster_whisper_real.py FOLDER_OF_CTRANSLATE2 [THREADS]              tests/data/real/faster_whisper.json
    faster_whisper_real.py --formats $DIARIST_REAL/formats [THREADS]    tests/data/real/conversions.json

Every case has options of `WhisperModel.transcribe` and recordings. `FOLDER/*` stands for all recordings of a folder, one after another, as one. At
temperature 0, or at one so small that sampling takes the likeliest token, the result is a function of the recording. Cases that the golden
holds already are kept, so a run that was stopped goes on; delete the file to write it anew.
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

# Beam search and times of words: LibriSpeech's hard test set, and everything that is not LibriSpeech.
# Decoders of lossy files differ by up to 4e-3 in a sample (tests/audio/goldens.rs), which tips close decisions between two tokens: their words
# are compared with whisperx's, which are the same, and not their tokens and times.
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
    # All thresholds at their defaults; windows that are refused at temperature 0 have one more chance.
    "fallback, defaults": ({**PLAIN, "temperature": [0.0, 0.001], "best_of": 1}, OTHERS),
    "fallback by log-probability": (
        {**PLAIN, "temperature": [0.0, 0.001], "best_of": 1, "log_prob_threshold": -0.35, "no_speech_threshold": None},
        FEW + JOINED[:2],
    ),
    "fallback by compression": (
        {**PLAIN, "temperature": [0.0, 0.001], "best_of": 1, "compression_ratio_threshold": 1.4, "condition_on_previous_text": True},
        # Not the dialogue: two tokens are so close in it that even this temperature leaves them to chance.
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
# Of each conversion: the type that its weights have.
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
