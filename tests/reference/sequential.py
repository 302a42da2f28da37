"""faster-whisper's sequential mode: fallback over temperatures, segments and seeking, prompts, and whole transcripts."""

import json
import logging
import math
import pathlib
import sys
import tempfile
import types
import zlib

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper import WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import TranscriptionOptions, get_compression_ratio

import golden
import seeded
import tokenizer as tok
import whisper_model

VOCAB = 51865
IDS = tok.special_ids(VOCAB)
OPTIONS = {
    "beam_size": 5, "best_of": 5, "patience": 1, "length_penalty": 1, "repetition_penalty": 1, "no_repeat_ngram_size": 0,
    "log_prob_threshold": -1.0, "no_speech_threshold": 0.6, "compression_ratio_threshold": 2.4,
    "condition_on_previous_text": True, "prompt_reset_on_temperature": 0.5,
    "temperatures": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0], "initial_prompt": None, "prefix": None, "suppress_blank": True,
    "suppress_tokens": [], "without_timestamps": False, "max_initial_timestamp": 1.0, "word_timestamps": False,
    "prepend_punctuations": "", "append_punctuations": "", "multilingual": False, "max_new_tokens": None,
    "clip_timestamps": [0.0], "hallucination_silence_threshold": None, "hotwords": None,
}


class Script:
    """A mock model that returns predefined results and records its calls."""

    def __init__(self, results):
        self.results, self.calls, self.is_multilingual = list(results), [], True

    def generate(self, encoded, prompts, **options):
        number = len(self.calls)
        self.calls.append({"prompt": prompts[0], **options})
        tokens, score, no_speech = self.results[number]
        return [types.SimpleNamespace(sequences_ids=[tokens], scores=[score], no_speech_prob=no_speech)]


def bare(model, hf_tokenizer):
    """A WhisperModel around a mock model, without loading weights."""
    whisper = WhisperModel.__new__(WhisperModel)
    whisper.logger = logging.getLogger("sequential")
    whisper.model, whisper.hf_tokenizer = model, hf_tokenizer
    whisper.feature_extractor = FeatureExtractor()
    whisper.input_stride, whisper.time_precision, whisper.max_length = 2, 0.02, 448
    whisper.frames_per_second, whisper.tokens_per_second = 100, 50
    whisper.encode = lambda segment: "encoded"
    return whisper


def options_of(changes):
    return TranscriptionOptions(**{**OPTIONS, **changes})


def number(x):
    """A float, or None for nan and infinity, which JSON lacks."""
    x = float(x)
    return x if math.isfinite(x) else None


def fallback_cases(hf, tokenizer):
    def encode(text):
        return hf.encode(text, add_special_tokens=False).ids

    good = encode(" The quick brown fox jumps over the lazy dog while nobody is looking.")
    other = encode(" A different sentence that was sampled with some temperature.")
    loop = encode(" so so so so so so so so so so so so so so so so so so so so so so so so so so so so so so so so")
    short = encode(" Yes.")

    def score(mean, tokens, penalty=1.0):
        """The score that gives the avg_logprob `mean`."""
        return mean * (len(tokens) + 1) / len(tokens) ** penalty

    plan = {
        "first is good": ({}, [(good, score(-0.3, good), 0.1)]),
        "low probability, second is good": ({}, [(good, score(-1.2, good), 0.1), (other, score(-0.8, other), 0.1)]),
        "just above the threshold": ({}, [(good, score(-0.9999, good), 0.1)]),
        "just below the threshold": ({}, [(good, score(-1.0001, good), 0.1), (other, score(-0.5, other), 0.1)]),
        "repetitive, third is good": ({}, [(loop, score(-0.1, loop), 0.1), (loop, score(-0.2, loop), 0.1), (good, score(-0.9, good), 0.1)]),
        "silence is exempt": ({}, [(short, score(-1.5, short), 0.7)]),
        "silence, but the probability is high: repetitive": ({}, [(loop, score(-0.5, loop), 0.9), (good, score(-0.5, good), 0.9)]),
        "silence and repetitive and improbable": ({}, [(loop, score(-1.5, loop), 0.9)]),
        "no-speech exactly at the threshold": ({}, [(short, score(-1.5, short), 0.6), (other, score(-0.5, other), 0.1)]),
        "all fail, best of those below the ratio": ({}, [
            (loop, score(-0.1, loop), 0.1), (good, score(-1.6, good), 0.1), (other, score(-1.3, other), 0.1),
            (loop, score(-0.2, loop), 0.1), (good, score(-1.4, good), 0.1), (other, score(-1.9, other), 0.1)]),
        "all fail by ratio, best of all": ({}, [(loop, score(-0.5 - 0.1 * abs(i - 2), loop), 0.1) for i in range(6)]),
        "all fail, equal: the first": ({"temperatures": [0.0, 0.5]}, [(good, score(-1.25, good), 0.1), (good, score(-1.25, good), 0.1)]),
        "one temperature": ({"temperatures": [0.0]}, [(good, score(-3.0, good), 0.1)]),
        "no thresholds": ({"compression_ratio_threshold": None, "log_prob_threshold": None, "no_speech_threshold": None},
                          [(loop, score(-5.0, loop), 0.1)]),
        "no ratio threshold, all fail": ({"compression_ratio_threshold": None, "temperatures": [0.0, 0.2]},
                                         [(loop, score(-1.5, loop), 0.1), (good, score(-1.7, good), 0.1)]),
        "no no-speech threshold": ({"no_speech_threshold": None, "temperatures": [0.0, 1.0]},
                                   [(short, score(-1.5, short), 0.99), (other, score(-0.5, other), 0.99)]),
        "length penalty": ({"length_penalty": 0.6, "temperatures": [0.0, 0.2]},
                           [(good, score(-1.05, good, 0.6), 0.1), (other, score(-0.95, other, 0.6), 0.1)]),
        "nothing was said": ({}, [([], -math.inf, 0.3)]),
        "sampling, one candidate": ({"best_of": 1, "temperatures": [0.4, 0.8]}, [(loop, score(-0.5, loop), 0.1), (other, score(-0.5, other), 0.1)]),
    }
    cases = []
    for name, (changes, results) in plan.items():
        model = Script(results)
        options = options_of(changes)
        result, mean, temperature, ratio = bare(model, hf).generate_with_fallback("encoded", [IDS["sot"]], tokenizer, options)
        attempts = [
            {"temperature": t, "tokens": tokens, "text": tokenizer.decode(tokens), "score": number(value), "no_speech_prob": no_speech}
            for t, (tokens, value, no_speech) in zip(options.temperatures, results)
        ]
        chosen = next(i for i, r in enumerate(results) if r[0] is result.sequences_ids[0] and r[1] == result.scores[0])
        sampling = [{k: call[k] for k in ("beam_size", "patience", "num_hypotheses", "sampling_topk", "sampling_temperature") if k in call} for call in model.calls]
        cases.append({
            "name": name,
            "options": changes,
            "attempts": attempts,
            "calls": sampling,
            "chosen": chosen,
            "avg_logprob": number(mean),
            "temperature": temperature,
            "compression_ratio": ratio,
        })
    return cases


def t(seconds):
    return IDS["timestamp_begin"] + round(seconds * 50)


def split_cases(hf, tokenizer):
    a, b, c = [440, 7177], [293, 1265, 13], [1057]
    plan = {
        "one segment, closed": [t(0), *a, t(2.5)],
        "one segment, open": [t(0.4), *a, *b],
        "no timestamps": [*a, *b],
        "two segments, single ending": [t(0), *a, t(2), t(2), *b, t(5.5)],
        "two segments, double ending": [t(0), *a, t(2), t(2.2), *b, t(5.5), t(5.5)],
        "closed and a start": [t(0), *a, t(2), t(2.6)],
        "third is cut off": [t(0.1), *a, t(2), t(2.6), *b, t(7.1), t(7.3), *c],
        "only one timestamp": [t(1.0)],
        "only the first timestamp": [t(0)],
        "text before any timestamp": [*a, t(3), t(3), *b, t(4)],
        "lone timestamp in the middle": [t(0), *a, t(4.2), *b],
        "nothing": [],
        "ends at 30 s": [t(0), *a, t(30)],
        "double at 30 s": [t(0), *a, t(29.98), t(30), *b, t(30)],
        "empty segment": [t(0), t(0.5), t(0.5), *a, t(2)],
    }
    cases = []
    for name, tokens in plan.items():
        for seek, size in [(0, 3000), (4321, 1777)]:
            segments, after, single = bare(None, hf)._split_segments_by_timestamps(
                tokenizer=tokenizer, tokens=tokens, time_offset=seek * 0.01, segment_size=size, segment_duration=size * 0.01, seek=seek)
            cases.append({"name": name, "tokens": tokens, "seek": seek, "segment_size": size, "seek_after": after,
                          "single_timestamp_ending": single, "segments": [{k: s[k] for k in ("start", "end", "tokens")} for s in segments]})
    return cases


def window_cases(hf, tokenizer):
    """generate_segments with predefined results: (frames of audio, option changes, results per attempt)"""
    a, b, c = hf.encode(" One two three.").ids, hf.encode(" Four five six seven.").ids, hf.encode(" Eight.").ids
    first = [t(0), *a, t(2), t(2.2), *b, t(20), t(20)]
    closed = [t(0.5), *c, t(9)]
    plan = {
        "two windows by double ending": (4000, {}, [(first, -0.3, 0.1), (closed, -0.2, 0.1)]),
        "single ending skips the window": (4000, {}, [([t(0), *a, t(5)], -0.3, 0.1), (closed, -0.2, 0.1)]),
        "silence is skipped": (7000, {}, [(closed, -1.2, 0.7), ([t(0), *a, t(5)], -0.3, 0.1), (closed, -0.2, 0.1)]),
        "silence, but probable": (3500, {}, [(closed, -0.4, 0.9), ([t(0), *a, t(5)], -0.3, 0.1)]),
        "silence without log-prob threshold": (3500, {"log_prob_threshold": None}, [(closed, -0.4, 0.9), (closed, -0.3, 0.1)]),
        "no conditioning": (7000, {"condition_on_previous_text": False}, [(first, -0.3, 0.1), (closed, -0.2, 0.1), (closed, -0.2, 0.1)]),
        "prompt is reset after a hot window": (9000, {"temperatures": [0.0, 0.6]}, [
            ([t(0), *a, t(5)], -0.3, 0.1), (closed, -2.0, 0.1), (closed, -0.5, 0.1), ([t(0), *b, t(5)], -0.3, 0.1)]),
        "prompt is kept at 0.5": (9000, {"temperatures": [0.0, 0.5]}, [
            ([t(0), *a, t(5)], -0.3, 0.1), (closed, -2.0, 0.1), (closed, -0.5, 0.1), ([t(0), *b, t(5)], -0.3, 0.1)]),
        "initial prompt as text": (6000, {"initial_prompt": "  Glossary: diarist, mel.  "}, [([t(0), *a, t(5)], -0.3, 0.1), (closed, -0.2, 0.1)]),
        "initial prompt as tokens": (6000, {"initial_prompt": [400, 11, 1770], "condition_on_previous_text": False},
                                     [([t(0), *a, t(5)], -0.3, 0.1), (closed, -0.2, 0.1)]),
        "hotwords in every window": (6000, {"hotwords": " diarist CUDA "}, [([t(0), *a, t(5)], -0.3, 0.1), (closed, -0.2, 0.1)]),
        "prefix in the first window": (6000, {"prefix": " Hello", "hotwords": "ignored"}, [([t(0), *a, t(5)], -0.3, 0.1), (closed, -0.2, 0.1)]),
        "without timestamps": (4500, {"without_timestamps": True}, [(a + b, -0.3, 0.1), (c, -0.2, 0.1)]),
        "clips": (9000, {"clip_timestamps": [1.0, 5.0, 8.0, 12.5, 60.0]}, [
            ([t(0), *a, t(3)], -0.3, 0.1), ([t(0), *b, t(2), t(2), *c, t(4), t(4)], -0.3, 0.1), (closed, -0.3, 0.1), (closed, -0.3, 0.1)]),
        "empty and zero-length segments are dropped": (3000, {}, [([t(0), *a, t(2), t(2), t(2.5), t(3), *b, t(4)], -0.3, 0.1)]),
        "only spaces": (3000, {}, [([t(0), 220, t(2)], -0.3, 0.1)]),
        "less than a window": (731, {}, [([t(0), *a, *b], -0.3, 0.1)]),
    }
    cases = []
    for name, (frames, changes, results) in plan.items():
        # converts a mean log-probability to the score that the model would return
        model = Script([(tokens, mean * (len(tokens) + 1) / len(tokens), no_speech) for tokens, mean, no_speech in results])
        whisper = bare(model, hf)
        segments = list(whisper.generate_segments(np.zeros((80, frames + 1), np.float32), tokenizer, options_of(changes), False))
        assert len(model.calls) == len(model.results), (name, len(model.calls))
        cases.append({
            "name": name,
            "content_frames": frames,
            "options": changes,
            "results": [{"tokens": tokens, "score": s, "no_speech_prob": p} for tokens, s, p in model.results],
            "prompts": [call["prompt"] for call in model.calls],
            "segments": [
                {"id": s.id, "seek": s.seek, "start": s.start, "end": s.end, "text": s.text, "tokens": s.tokens, "temperature": s.temperature,
                 "avg_logprob": s.avg_logprob, "compression_ratio": s.compression_ratio, "no_speech_prob": s.no_speech_prob}
                for s in segments
            ],
        })
    return cases


def prompt_cases(hf):
    whisper = bare(None, hf)
    long = [1000 + i for i in range(300)]
    many = "word " * 400
    plan = [
        ("en", "transcribe", [], {}),
        ("en", "transcribe", [], {"without_timestamps": True}),
        ("de", "translate", [50, 51, 52], {}),
        ("ja", "transcribe", [50, 51, 52], {"without_timestamps": True, "prefix": " Guten Tag"}),
        ("en", "transcribe", [], {"prefix": "Hello there"}),
        ("en", "transcribe", [], {"prefix": many}),
        ("en", "transcribe", [], {"hotwords": "  diarist, CUDA "}),
        ("en", "transcribe", [7, 8], {"hotwords": "diarist"}),
        ("en", "transcribe", [7, 8], {"hotwords": "diarist", "prefix": "So"}),
        ("en", "transcribe", [], {"hotwords": "diarist", "prefix": "So"}),
        ("en", "transcribe", long, {}),
        ("en", "transcribe", long, {"hotwords": many}),
        ("en", "transcribe", [], {"hotwords": ""}),
    ]
    cases = []
    for language, task, previous, options in plan:
        prompt = whisper.get_prompt(Tokenizer(hf, True, task=task, language=language), previous, **options)
        cases.append({"language": language, "task": task, "previous_tokens": previous, "options": options, "prompt": prompt})
    return cases


def ratios():
    texts = ["", "a", "Yes.", "The quick brown fox jumps over the lazy dog.", "so " * 40, "ha" * 200, "今日はとても良い天気ですね。" * 3,
             "Thank you. Thank you. Thank you. Thank you. Thank you. Thank you. Thank you.", "".join(chr(33 + i * 7 % 90) for i in range(400))]
    return [{"text": text, "bytes": len(text.encode()), "compressed": len(zlib.compress(text.encode())), "ratio": get_compression_ratio(text)} for text in texts]


CONFIG = (51865, 80, 64, 1, 2, 2, 1500)
WEIGHTS = {"seed": 51, "eot_gain": 2.0, "timestamp_gain": 1.3}
TRANSCRIPTS = {
    "beam 5": {"beam_size": 5},
    "greedy, no conditioning": {"beam_size": 1, "condition_on_previous_text": False},
    "beam 2, prompt and penalties": {"beam_size": 2, "initial_prompt": "Glossary: diarist.", "repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
}
SAMPLES = 16000 * 47 + 123


def transcripts():
    config = whisper_model.config_of(*CONFIG, **WEIGHTS)
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "hf"), pathlib.Path(folder, "ct2")
        whisper_model.save(config, source)
        ctranslate2.converters.TransformersConverter(str(source), copy_files=["tokenizer.json", "preprocessor_config.json"]).convert(str(target))
        model = WhisperModel(str(target), device="cpu", compute_type="float32", cpu_threads=1)
    cases = []
    for name, changes in TRANSCRIPTS.items():
        for seed in range(60, 90):
            audio = seeded.audio_f32(seed, SAMPLES)
            runs = []
            for trial in range(3):
                # keep only results that are stable under an error of 1e-4 in the features
                def noisy(waveform, *args, trial=trial, **kwargs):
                    out = FeatureExtractor.__call__(model.feature_extractor, waveform, *args, **kwargs)
                    return out + np.random.default_rng(trial).uniform(-1e-4, 1e-4, out.shape).astype(np.float32) * (trial > 0)

                class Noisy(FeatureExtractor):
                    __call__ = staticmethod(noisy)

                extractor, model.feature_extractor = model.feature_extractor, Noisy()
                segments, info = model.transcribe(audio, language="en", temperature=[0.0], log_prob_threshold=-3.0, **changes)
                segments = list(segments)
                model.feature_extractor = extractor
                runs.append((segments, info))
                if [s.tokens for s in segments] != [s.tokens for s in runs[0][0]] or not segments:
                    break
            windows = sorted({s.seek for s in segments})
            if len(runs) == 3 and segments and [s.tokens for s in segments] == [s.tokens for s in runs[0][0]] and len(windows) > 1:
                break
            print(name, seed, "rejected", len(runs), len(segments), windows, flush=True)
        segments, info = runs[0]
        options = info.transcription_options
        print(name, seed, [(s.seek, s.start, s.end, len(s.tokens)) for s in segments], flush=True)
        cases.append({
            "name": name,
            "config": config,
            "audio": {"seed": seed, "samples": SAMPLES},
            "options": {"language": "en", "task": "transcribe", "temperatures": [0.0], "log_prob_threshold": -3.0, **changes,
                        "suppress_tokens": list(options.suppress_tokens), "max_initial_timestamp": options.max_initial_timestamp},
            "segments": [
                {"id": s.id, "seek": s.seek, "start": s.start, "end": s.end, "text": s.text, "tokens": s.tokens, "temperature": s.temperature,
                 "avg_logprob": s.avg_logprob, "compression_ratio": s.compression_ratio, "no_speech_prob": s.no_speech_prob}
                for s in segments
            ],
        })
    return cases


def main():
    meta = {"script": "sequential.py", **golden.versions("faster-whisper", "ctranslate2", "tokenizers", "numpy"), "zlib": zlib.ZLIB_RUNTIME_VERSION}
    hf = tokenizers.Tokenizer.from_str(json.dumps(tok.tokenizer_json(VOCAB)))
    tokenizer = Tokenizer(hf, True, task="transcribe", language="en")
    for name, make in {
        "fallback": lambda: fallback_cases(hf, tokenizer),
        "split": lambda: split_cases(hf, tokenizer),
        "windows": lambda: window_cases(hf, tokenizer),
        "prompts": lambda: prompt_cases(hf),
        "compression": ratios,
        "transcripts": transcripts,
    }.items():
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            golden.write_json(f"sequential/{name}.json", {"meta": meta, "cases": make()})


if __name__ == "__main__":
    main()
