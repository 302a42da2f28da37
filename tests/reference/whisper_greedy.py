"""Greedy tokens of transformers' `generate`, with and without timestamps.

This is `GenerationMixin.generate`: Whisper's own override also does the seeking, which faster-whisper's goldens cover.

Of a range of feature seeds, those with the largest margins are kept. The margin is the least difference over all steps between the
best and the second best token, and between the sum of the timestamps' probabilities and the best text token. Any f32 implementation
must then give equal tokens.
"""

import math

import torch
from transformers import GenerationConfig, GenerationMixin
from transformers.generation.logits_process import (
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)
from transformers.modeling_outputs import BaseModelOutput

import golden
import seeded
import tokenizer as tok
import whisper_model

CONFIGS = {
    "multilingual-64": ((51865, 80, 64, 1, 2, 2, 200), {"seed": 31, "eot_gain": 2.0, "timestamp_gain": 1.1}),
    "large-v3-128": ((51866, 128, 128, 2, 3, 2, 100), {"seed": 32, "eot_gain": 1.5, "timestamp_gain": 1.0}),
    "english-64": ((51864, 80, 64, 2, 2, 3, 100), {"seed": 33, "eot_gain": 2.0, "timestamp_gain": 1.2}),
}
NEW_TOKENS = 56
KEEP_LONG, KEEP_ENDED = 2, 1
CANDIDATES = range(300, 310)


def search(model, encoded, prompt, fields):
    """Greedy decoding with transformers' own logit processors. Returns the tokens and the least margin."""
    settings = GenerationConfig.from_dict(fields)
    begin = len(prompt)
    processors = []
    if fields.get("suppress_tokens"):
        processors.append(SuppressTokensLogitsProcessor(fields["suppress_tokens"]))
    if fields.get("begin_suppress_tokens"):
        processors.append(SuppressTokensAtBeginLogitsProcessor(fields["begin_suppress_tokens"], begin))
    timestamps = fields["return_timestamps"]
    first = fields["no_timestamps_token_id"] + 1
    tokens, margin = list(prompt), math.inf
    for _ in range(NEW_TOKENS):
        ids = torch.tensor([tokens])
        decoded = model.model.decoder(input_ids=ids, encoder_hidden_states=encoded).last_hidden_state[:, -1]
        scores = model.proj_out(decoded)
        for processor in processors:
            scores = processor(ids, scores)
        if timestamps:
            # first without the comparison of timestamp and text probabilities, to measure its margin
            settings._detect_timestamp_from_logprob = False
            masked = WhisperTimeStampLogitsProcessor(settings, begin_index=begin)(ids, scores)
            if torch.isfinite(masked[0, first:]).any() and torch.isfinite(masked[0, :first]).any():
                margin = min(margin, abs(float(torch.logsumexp(masked[0, first:], -1) - masked[0, :first].max())))
            settings._detect_timestamp_from_logprob = True
            scores = WhisperTimeStampLogitsProcessor(settings, begin_index=begin)(ids, scores)
        top = torch.topk(scores[0], 2)
        margin = min(margin, float(top.values[0] - top.values[1]))
        tokens.append(int(top.indices[0]))
        if tokens[-1] == fields["eos_token_id"]:
            break
    return tokens[begin:], margin


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    meta = {"script": "whisper_greedy.py", **golden.versions("transformers", "torch", "numpy")}
    cases, configs = [], {}
    for name, (shape, weights) in CONFIGS.items():
        vocab, mels, context = shape[0], shape[1], shape[-1]
        config = configs[name] = whisper_model.config_of(*shape, **weights)
        model = whisper_model.build(config)
        ids = tok.special_ids(vocab)
        encoded = {}
        for seed in CANDIDATES:
            features = torch.from_numpy(seeded.features(seed, mels, 2 * context))[None]
            encoded[seed] = model.model.encoder(features).last_hidden_state
        emitted = []  # tokens of the plain runs, suppressed in the others
        plain = {**whisper_model.generation_config(vocab), "suppress_tokens": None, "begin_suppress_tokens": None}
        lists = whisper_model.generation_config(vocab)
        for option in ("plain", "suppress", "timestamps"):
            fields = dict(plain if option == "plain" else lists, return_timestamps=option == "timestamps")
            if emitted:
                fields["suppress_tokens"] = sorted({*lists["suppress_tokens"], *emitted[2::7]})
                fields["begin_suppress_tokens"] = [*lists["begin_suppress_tokens"], emitted[0]]
            task = [ids["sot"] + 1 + 3, ids["transcribe"]] if vocab >= 51865 else []
            prompt = [ids["sot"], *task] + ([] if fields["return_timestamps"] else [ids["no_timestamps"]])
            tried = []
            for seed in CANDIDATES:
                tokens, margin = search(model, encoded[seed], prompt, fields)
                tried.append((margin, seed, tokens))
            tried.sort(reverse=True)
            if option == "plain":
                unrestricted = {seed: tokens for _, seed, tokens in tried}
            elif option == "suppress":  # only cases in which the lists make a difference
                tried = [t for t in tried if t[2] != unrestricted[t[1]]]
            long = [t for t in tried if len(t[2]) == NEW_TOKENS and len(set(t[2])) >= 12]
            ended = [t for t in tried if 3 <= len(t[2]) < NEW_TOKENS]
            if option == "plain":
                emitted = [token for t in tried for token in t[2][:20] if token < ids["eot"]]
            for margin, seed, tokens in long[:KEEP_LONG] + ended[:KEEP_ENDED]:
                output = GenerationMixin.generate(
                    model,
                    encoder_outputs=BaseModelOutput(encoded[seed]),
                    decoder_input_ids=torch.tensor([prompt]),
                    generation_config=GenerationConfig(
                        max_new_tokens=NEW_TOKENS, do_sample=False, num_beams=1, eos_token_id=ids["eot"],
                        pad_token_id=ids["eot"], decoder_start_token_id=ids["sot"],
                        suppress_tokens=fields["suppress_tokens"], begin_suppress_tokens=fields["begin_suppress_tokens"],
                    ),
                    logits_processor=[WhisperTimeStampLogitsProcessor(GenerationConfig.from_dict(fields), len(prompt))]
                    if fields["return_timestamps"] else [],
                )[0].tolist()
                assert output == prompt + tokens, (name, option, seed, output, tokens)
                cases.append({
                    "config": name,
                    "option": option,
                    "features_seed": seed,
                    "prompt": prompt,
                    "suppress_tokens": fields["suppress_tokens"] or [],
                    "begin_suppress_tokens": fields["begin_suppress_tokens"] or [],
                    "max_initial_timestamp_index": fields["max_initial_timestamp_index"],
                    "timestamps": fields["return_timestamps"],
                    "max_new_tokens": NEW_TOKENS,
                    "tokens": tokens,
                    "least_margin": round(margin, 5),
                })
                stamps = sum(t >= ids["timestamp_begin"] for t in tokens)
                print(f"{name} {option} {seed}: {len(tokens)} tokens, {len(set(tokens))} distinct, {stamps} timestamps, margin {margin:.4f}", flush=True)
    golden.write_json("whisper/greedy.json", {"meta": meta, "configs": configs, "cases": cases})


if __name__ == "__main__":
    main()
