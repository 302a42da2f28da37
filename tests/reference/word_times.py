"""Word times of openai-whisper's `timing.py`: attention matrices and DTW paths of random models, word splits of various texts, and
`add_word_timestamps` on random times.

The attention of the random models is sharp enough for non-trivial paths. Of a range of feature seeds, those are kept whose path is
stable under noise of a hundred times the rounding error of f32, so that tests may require equal paths.
"""

import copy
import json
import random

import numpy as np
import torch
import whisper.model
from whisper import timing, tokenizer as oracle

import golden
import seeded
import tokenizer as tok
import whisper_model

# vocab, mels, width, heads, encoder layers, decoder layers, context; alignment heads, None for the last half of the layers
MODELS = {
    "multilingual-64": ((51865, 80, 64, 2, 2, 3, 200), {"seed": 71}, [[1, 0], [2, 1], [2, 0]]),
    "large-v3-96": ((51866, 128, 96, 3, 2, 2, 150), {"seed": 72}, [[1, 2], [0, 1]]),
    "english-64": ((51864, 80, 64, 2, 2, 3, 100), {"seed": 73}, None),
}
LANGUAGE_TEXTS = {
    "en": " Good morning, everyone. It costs $4.50 (or more), she said: \"No!\" Well... that's it - isn't it?",
    "de": " Straßenbahnhaltestelle: „Übergänge“ – größtenteils gefährlich, oder? Ja!",
    "fr": " L'été dernier, c'était très agréable; n'est-ce pas ? ¿Qué? Oui.",
    "ja": "こんにちは、世界。今日は「良い」天気ですね!🎉",
    "zh": "你好,世界。我们今天去公园散步吧?好的!",
    "ko": " 안녕하세요, 오늘은 날씨가 좋네요.",
    "th": "สวัสดีครับ วันนี้อากาศดีมาก",
    "ru": " Добрый день! Как дела? Всё хорошо...",
    "hi": " नमस्ते, आप कैसे हैं? मैं ठीक हूँ।",
    "yue": "你食咗飯未呀?我食咗喇。",
}
NOISE = 1e-4


def hf_name(name: str) -> str:
    """The transformers name of an openai-whisper tensor; the seeded weights depend on it."""
    for old, new in [
        ("cross_attn_ln", "encoder_attn_layer_norm"), ("attn_ln", "self_attn_layer_norm"), ("mlp_ln", "final_layer_norm"),
        ("cross_attn.", "encoder_attn."), (".attn.", ".self_attn."), ("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"),
        ("_attn.out.", "_attn.out_proj."), ("mlp.0", "fc1"), ("mlp.2", "fc2"), ("ln_post", "layer_norm"), ("decoder.ln.", "decoder.layer_norm."),
        ("blocks", "layers"), ("token_embedding", "embed_tokens"),
    ]:
        name = name.replace(old, new)
    return "model." + name.replace("positional_embedding", "embed_positions.weight")


def build(config: dict, heads) -> whisper.model.Whisper:
    model = whisper.model.Whisper(whisper.model.ModelDimensions(
        n_mels=config["num_mel_bins"], n_audio_ctx=config["max_source_positions"], n_audio_state=config["d_model"],
        n_audio_head=config["encoder_attention_heads"], n_audio_layer=config["encoder_layers"], n_vocab=config["vocab_size"],
        n_text_ctx=config["max_target_positions"], n_text_state=config["d_model"],
        n_text_head=config["decoder_attention_heads"], n_text_layer=config["decoder_layers"],
    )).eval()
    state = dict(model.state_dict())
    state["encoder.positional_embedding"] = model.encoder.positional_embedding
    for name, value in state.items():
        value.data.copy_(torch.from_numpy(seeded.tensor(hf_name(name), tuple(value.shape), config)))
    if heads is not None:
        mask = torch.zeros(config["decoder_layers"], config["decoder_attention_heads"], dtype=torch.bool)
        for layer, head in heads:
            mask[layer, head] = True
        model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
    return model


def tokenizer_of(vocab: int, language: str, task="transcribe"):
    if vocab == 51864:
        return oracle.get_tokenizer(False)
    return oracle.get_tokenizer(True, num_languages=100 if vocab == 51866 else 99, language=language, task=task)


def heard(model, tokenizer, tokens, mel, frames):
    """(matrix, first frame of each token on the path, probabilities, words) of find_alignment; None if the path is not stable."""
    seen = {}
    dtw = timing.dtw

    def watch(x):
        seen["matrix"] = -x
        seen["path"] = dtw(x)
        return seen["path"]

    timing.dtw = watch
    softmax = torch.Tensor.softmax
    try:
        def keep(self, dim):
            out = softmax(self, dim)
            if self.shape[-1] == tokenizer.eot:
                seen["probabilities"] = out
            return out

        torch.Tensor.softmax = keep
        words = timing.find_alignment(model, tokenizer, tokens, mel, frames)
    finally:
        timing.dtw, torch.Tensor.softmax = dtw, softmax
    text, time = seen["path"]
    starts = [int(time[text == i].min()) for i in range(len(tokens) + 1)]
    probabilities = [float(seen["probabilities"][i, t]) for i, t in enumerate(tokens)]
    rng = np.random.default_rng(5)
    for _ in range(6):
        noisy = seen["matrix"].double().numpy() + rng.uniform(-NOISE, NOISE, seen["matrix"].shape)
        again = timing.dtw_cpu(-noisy)
        steady = again.shape == seen["path"].shape and (again == seen["path"]).all()
        if not steady:
            return None
    return seen["matrix"].numpy(), starts, probabilities, words


def alignment_of(words):
    return [[w.word, len(w.tokens), float(w.start), float(w.end), round(float(w.probability), 6)] for w in words]


@torch.no_grad()
def models():
    tensors, cases, configs = {}, [], {}
    for name, (shape, weights, heads) in MODELS.items():
        vocab, mels, context = shape[0], shape[1], shape[-1]
        config = whisper_model.config_of(*shape, **weights)
        configs[name] = {"config": config, "alignment_heads": heads}
        model = build(config, heads)
        languages = {51864: ["en"], 51865: ["de", "ja", "en"], 51866: ["yue", "fr"]}[vocab]
        for language in languages:
            kept = 0
            tokenizer = tokenizer_of(vocab, language)
            tokens = tokenizer.encode(LANGUAGE_TEXTS[language])
            for seed in range(500, 560):
                frames = 2 * context - (0, 37, 130)[kept] * context // 100
                mel = torch.from_numpy(seeded.features(seed, mels, 2 * context))
                found = heard(model, tokenizer, tokens, mel, frames)
                if found is None:
                    continue
                matrix, starts, probabilities, words = found
                if len(set(starts)) < len(starts) // 3:
                    continue
                key = f"{name}.{language}.{seed}"
                tensors[key] = matrix.astype(np.float32)
                cases.append({
                    "name": key, "model": name, "language": language, "features_seed": seed, "mel_frames": frames,
                    "task": list(tokenizer.sot_sequence), "tokens": tokens, "starts": starts,
                    "probabilities": [round(p, 7) for p in probabilities], "words": alignment_of(words),
                })
                print(key, matrix.shape, "distinct starts", len(set(starts)), "of", len(starts), flush=True)
                kept += 1
                if kept == 2:
                    break
    return tensors, configs, cases


def splits():
    """Word splits of texts: whole, cut at random positions, and of random tokens, except cases in which the reference loses the last
    word."""
    rng = random.Random(3)
    cases = []
    for vocab in (51865, 51864):
        for language, text in LANGUAGE_TEXTS.items():
            if language == "yue":
                continue
            tokenizer = tokenizer_of(vocab, language)
            tokens = tokenizer.encode(text)
            drawn = [rng.randrange(tokenizer.eot) for _ in range(30)]
            bytes_only = [rng.randrange(256) for _ in range(24)]
            cut = sorted(rng.sample(range(len(tokens) + 1), 2)) if len(tokens) > 3 else [0, len(tokens)]
            for some in (tokens, tokens[cut[0] : cut[1]], drawn, bytes_only):
                if not some:
                    continue
                words, groups = tokenizer.split_to_word_tokens(some + [tokenizer.eot])
                if groups[-1] != [tokenizer.eot]:
                    # the whole decodes to other characters than its parts: the reference loses the end
                    assert some is not tokens, (language, words)
                    continue
                cases.append({
                    "vocab": vocab, "language": language if vocab != 51864 else "en", "tokens": some,
                    "words": words[:-1], "counts": [len(g) for g in groups[:-1]],
                })
    return cases


def drawn_alignment(rng):
    """Segments of words with increasing times; some words are far too long."""
    vocabulary = [" the", " budget", " is", " Anna", " ready", "n't", " \"", " (", "(", ".", ",", "?", "。", "!", "...", ")", "\"", " -", " Mr", " ", "ß", "、"]
    time, words, counts = 0.0, [], []
    for _ in range(rng.randrange(1, 5)):
        count = 0
        for _ in range(rng.randrange(0, 7)):
            time = round(time + rng.choice([0, 0, 0, 0.02, 0.3, 1.5]), 2)
            length = rng.choice([0, 0.02, 0.06, 0.1, 0.2, 0.3, 0.44, 0.9, 1.74, 3.0])
            size = rng.randrange(1, 4)
            end = round(time + length, 2)  # few digits: any parser reads them exactly
            words.append(timing.WordTiming(rng.choice(vocabulary), [7] * size, time, end, round(rng.random(), 4)))
            time = end
            count += size
        counts.append(count)
    return words, counts


def heuristics():
    """add_word_timestamps on random alignments; find_alignment is mocked."""
    rng, cases = random.Random(11), []
    tokenizer = tokenizer_of(51864, "en")
    original = timing.find_alignment
    while len(cases) < 300:
        words, counts = drawn_alignment(rng)
        if not any(counts):
            continue
        seek = rng.choice([0, 1234, 3000])
        offset, at, segments = seek / 100, 0, []
        for count in counts:
            inside, taken = [], 0
            while at < len(words) and taken < count:
                taken += len(words[at].tokens)
                inside.append(words[at])
                at += 1
            start = inside[0].start if inside else 0.0
            end = inside[-1].end if inside else 0.0
            shift = lambda: rng.choice([0, 0, -1.2, -0.3, 0.3, 0.7, 1.4])
            start, end = round(max(0.0, start + shift()), 2), round(max(0.0, end + shift()), 2)
            segments.append({"seek": seek, "start": round(offset + start, 2), "end": round(offset + max(start, end), 2), "tokens": [7] * count + [50300]})
        last = rng.choice([0.0, max(0.0, round(offset - 0.5, 2)), offset])
        before = copy.deepcopy(segments)
        alignment = alignment_of(words)
        timing.find_alignment = lambda *a, **k: words
        timing.add_word_timestamps(segments=segments, model=None, tokenizer=tokenizer, mel=None, num_frames=0, last_speech_timestamp=last)
        cases.append({
            "offset": offset, "last_speech": last, "alignment": alignment, "counts": counts,
            "before": [[s["start"], s["end"]] for s in before],
            "after": [[float(s["start"]), float(s["end"])] for s in segments],
            "words": [[[w["word"], float(w["start"]), float(w["end"]), float(w["probability"])] for w in s["words"]] for s in segments],
        })
    timing.find_alignment = original
    return cases


def warps():
    """Paths of the reference's dynamic time warping through random matrices, with ties."""
    rng, cases = np.random.default_rng(17), []
    for _ in range(60):
        rows, columns = int(rng.integers(1, 14)), int(rng.integers(1, 24))
        matrix = rng.integers(-4, 5, (rows, columns)) / 4
        text, time = timing.dtw_cpu(-matrix.astype(np.float64))
        cases.append({"matrix": matrix.tolist(), "starts": [int(time[text == i].min()) for i in range(rows)]})
    return cases


def main():
    torch.set_num_threads(1)
    meta = {"script": "word_times.py", **golden.versions("openai-whisper", "torch", "numpy")}
    tensors, configs, cases = models()
    golden.write_tensors("word_times/matrices.safetensors", tensors, meta)
    golden.write_json("word_times/models.json", {"meta": meta, "models": configs, "cases": cases})
    golden.write_json("word_times/words.json", {"meta": meta, "splits": splits(), "warps": warps(), "heuristics": heuristics()})


if __name__ == "__main__":
    main()
