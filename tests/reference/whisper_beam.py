"""Beam search, greedy search and language detection of CTranslate2, with random checkpoints converted by its own converter."""

import math
import pathlib
import tempfile

import ctranslate2
import numpy as np
import torch

import golden
import search
import seeded
import tokenizer as tok
import whisper_model

CONFIGS = {
    "multilingual-64": ((51865, 80, 64, 1, 2, 2, 100), {"seed": 41, "eot_gain": 2.2, "timestamp_gain": 1.2}),
    "large-v3-128": ((51866, 128, 128, 2, 2, 2, 100), {"seed": 43, "eot_gain": 3.0, "timestamp_gain": 1.1}),
}
BATCH = 3
CANDIDATES = range(400, 412)
NOISE = 1e-3
TRIALS = 2

DEFAULTS = {
    "beam_size": 5, "patience": 1.0, "length_penalty": 1.0, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
    "max_length": 64, "num_hypotheses": 1, "suppress_blank": True, "suppress_tokens": [-1],
    "max_initial_timestamp_index": 50,
}

TEXT = [440, 7177, 6280, 2583, 286, 2897, 337, 8454, 13, 509, 538, 1265]


def cases():
    """Yields (kind of prompt, options that differ from the defaults)."""
    yield from (("text", {"beam_size": b}) for b in (1, 2, 3, 5))
    yield from (("text", {"length_penalty": p}) for p in (0.0, 0.6, 1.5))
    yield from (("text", {"length_penalty": p, "beam_size": 1}) for p in (0.0, 0.6))
    yield "text", {"length_penalty": 0.0, "num_hypotheses": 3}
    yield from (("text", {"patience": p}) for p in (0.5, 1.2, 2.0))
    yield "text", {"patience": 1.2, "beam_size": 2}
    yield "text", {"patience": 1.5, "beam_size": 3}
    yield "text", {"patience": 2.0, "beam_size": 3, "num_hypotheses": 6, "length_penalty": 0.6}
    yield from (("text", {"repetition_penalty": 1.3, "beam_size": b}) for b in (1, 5))
    yield from (("text", {"no_repeat_ngram_size": n, "beam_size": b}) for n in (2, 3) for b in (1, 5))
    yield "text", {"no_repeat_ngram_size": 1, "repetition_penalty": 1.1, "beam_size": 2}
    yield "text", {"suppress_blank": False, "suppress_tokens": []}
    yield "text", {"suppress_blank": False, "suppress_tokens": "emitted"}
    yield "text", {"suppress_tokens": "emitted", "beam_size": 1}
    yield "text", {"suppress_blank": True, "suppress_tokens": [], "beam_size": 1}
    yield "text", {"num_hypotheses": 5, "suppress_blank": False}
    yield "text", {"max_length": 16}
    yield "text", {"max_length": 16, "beam_size": 1}
    yield "text", {"max_length": 160, "no_repeat_ngram_size": 2, "patience": 2.0}
    yield from (("timestamps", {"beam_size": b}) for b in (1, 2, 5))
    yield from (("timestamps", {"beam_size": b, "max_initial_timestamp_index": 0}) for b in (1, 5))
    yield "timestamps", {"patience": 2.0, "length_penalty": 0.6, "max_initial_timestamp_index": 1500}
    yield "timestamps", {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "suppress_tokens": []}
    yield "timestamps", {"max_length": 120, "no_repeat_ngram_size": 2, "beam_size": 3}
    yield from (("previous", {"beam_size": b}) for b in (1, 5))
    yield "previous timestamps", {}
    yield "long previous", {}
    yield "long previous timestamps", {"beam_size": 1}
    yield from (("prefix", {"beam_size": b}) for b in (1, 3, 5))
    yield "prefix", {"no_repeat_ngram_size": 2, "repetition_penalty": 1.2}
    yield "prefix", {"length_penalty": 0.0}
    yield from (("prefix timestamps", {"beam_size": b}) for b in (1, 5))
    yield "prefix", {"max_length": 8}
    yield "prefix", {"max_length": 8, "beam_size": 1}
    yield "sot only", {"max_length": 24}


def prompt_of(kind, ids):
    words = kind.split()
    prompt = []
    if "previous" in words:
        prompt += [ids["sot_prev"], *TEXT[:5]]
    if "long" in words:
        prompt += TEXT * 3
    prompt += [ids["sot"]]
    if words != ["sot", "only"]:
        prompt += [ids["sot"] + 1, ids["transcribe"]]
    if "timestamps" not in words and words != ["sot", "only"]:
        prompt += [ids["no_timestamps"]]
    if "prefix" in words:
        prompt += [ids["timestamp_begin"]] * ("timestamps" in words) + TEXT[6:11]
    return prompt


class Logits:
    """The transformers model as a cached function from tokens to logits, with optional noise."""

    def __init__(self, model, encoded):
        self.model, self.encoded, self.known = model, encoded, {}

    def __call__(self, tokens, trial=None):
        key = tuple(tokens)
        if key not in self.known:
            with torch.no_grad():
                decoded = self.model.model.decoder(input_ids=torch.tensor([tokens]), encoder_hidden_states=self.encoded)
                self.known[key] = self.model.proj_out(decoded.last_hidden_state[0, -1]).numpy()
        logits = self.known[key].copy()
        if trial is not None:
            seed = seeded.fnv1a(" ".join(map(str, tokens))) ^ trial
            noise = np.random.default_rng(seed).random(logits.size, dtype=np.float32)
            logits += (2 * noise - 1) * np.float32(NOISE)
        return logits


def run(model, features, prompt, options):
    keys = ("suppress_blank", "suppress_tokens", "beam_size", "patience", "length_penalty", "repetition_penalty",
            "no_repeat_ngram_size", "max_length", "num_hypotheses", "max_initial_timestamp_index")
    storage = ctranslate2.StorageView.from_array(features)
    return model.generate(storage, [prompt] * len(features), return_scores=True, return_no_speech_prob=True,
                          **{key: options[key] for key in keys})


def main():
    torch.set_num_threads(1)
    meta = {"script": "whisper_beam.py", "logit_noise_survived": NOISE,
            **golden.versions("ctranslate2", "transformers", "torch", "numpy")}
    configs, goldens, languages = {}, [], []
    for name, (shape, weights) in CONFIGS.items():
        vocab, mels, context = shape[0], shape[1], shape[-1]
        ids = tok.special_ids(vocab)
        config = configs[name] = whisper_model.config_of(*shape, **weights)
        with tempfile.TemporaryDirectory() as folder:
            source, target = pathlib.Path(folder, "hf"), pathlib.Path(folder, "ct2")
            reference = whisper_model.save(config, source)
            ctranslate2.converters.TransformersConverter(str(source)).convert(str(target), quantization="float32")
            model = ctranslate2.models.Whisper(str(target), device="cpu", compute_type="float32", intra_threads=1)
        lists = whisper_model.generation_config(vocab)
        features = {s: seeded.features(s, mels, 2 * context) for s in CANDIDATES}
        logits = {}
        for s in CANDIDATES:
            with torch.no_grad():
                logits[s] = Logits(reference, reference.model.encoder(torch.from_numpy(features[s])[None]).last_hidden_state)

        previous_kind, emitted = None, []
        # the second checkpoint tests its vocabulary, so every third case suffices
        for number, (kind, changes) in enumerate(list(cases())[:: 1 if not goldens else 3]):
            if kind != previous_kind:
                for s in CANDIDATES:
                    logits[s].known.clear()
            previous_kind = kind
            options = {**DEFAULTS, **changes}
            if options["suppress_tokens"] == "emitted":
                options["suppress_tokens"] = [-1, *emitted]
            prompt = prompt_of(kind, ids)
            spelled = dict(options)
            spelled["suppress_tokens"] = [
                t for token in options["suppress_tokens"] for t in (lists["suppress_tokens"] if token == -1 else [token])
            ]
            spelled["begin_suppress_tokens"] = lists["begin_suppress_tokens"] if options["suppress_blank"] else []
            kept, fragile, exact = [], 0, {}
            for i in range(len(CANDIDATES)):
                s = CANDIDATES[(number + i) % len(CANDIDATES)]
                exact[s] = search.generate(logits[s], prompt, ids, spelled)
                noisy = (
                    search.generate(lambda t, trial=trial: logits[s](t, trial), prompt, ids, spelled) for trial in range(TRIALS)
                )
                if all([h[0] for h in exact[s]] == [h[0] for h in n] for n in noisy):
                    kept.append(s)
                else:
                    fragile += 1
                if len(kept) == BATCH:
                    break
            results = run(model, np.stack([features[s] for s in kept]), prompt, options)
            outputs = []
            for s, result in zip(kept, results):
                expected = exact[s]
                assert result.sequences_ids == [h[0] for h in expected], (name, kind, changes, s, result.sequences_ids, expected)
                # the score of an empty hypothesis is -inf, written as null
                assert np.allclose(result.scores, [h[1] for h in expected], atol=1e-4), (kind, changes, result.scores, expected)
                raw = search.log_softmax(logits[s](prompt[: prompt.index(ids["sot"]) + 1]))[ids["no_speech"]]
                assert abs(np.log(result.no_speech_prob) - raw) < 1e-3
                outputs.append({"features_seed": s, "sequences": result.sequences_ids, "scores": [x if math.isfinite(x) else None for x in result.scores],
                                "no_speech_prob": result.no_speech_prob})
            if not emitted:  # tokens of the first case, suppressed in later cases
                emitted = sorted({t for o in outputs for t in o["sequences"][0][::3]})
            lengths = [len(sequence) for o in outputs for sequence in o["sequences"]]
            print(f"{name} | {kind} | {changes}: fragile {fragile}, lengths {lengths}", flush=True)
            goldens.append({
                "config": name,
                "kind": kind,
                "prompt": prompt,
                "options": {k: v for k, v in spelled.items() if k != "suppress_blank"},
                "results": outputs,
            })

        seeds = list(CANDIDATES)[:BATCH]
        for s, probabilities in zip(seeds, model.detect_language(ctranslate2.StorageView.from_array(np.stack([features[s] for s in seeds])))):
            languages.append({"config": name, "features_seed": s, "languages": len(probabilities),
                              "best": [[token[2:-2], p] for token, p in probabilities[:12]]})
    golden.write_json("whisper/beam.json", {"meta": meta, "configs": configs, "cases": goldens, "languages": languages})


if __name__ == "__main__":
    main()
