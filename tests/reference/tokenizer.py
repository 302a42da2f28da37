"""Builds Whisper's tokenizer.json from the published tiktoken ranks (../shared/tokenizer)."""

import base64
import json
import os
import pathlib

LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue"
).split()


def shared() -> pathlib.Path:
    return pathlib.Path(os.environ.get("DIARIST_SHARED", "../shared"))


def languages(vocab: int) -> list[str]:
    """51864 (.en) and 51865: 99 languages; 51866 (large-v3): 100."""
    return LANGUAGES if vocab == 51866 else LANGUAGES[:99]


def special_tokens(vocab: int) -> list[str]:
    """Special tokens in the order of their ids, which follow the text tokens; the 1501 timestamps come last."""
    names = ["<|endoftext|>", "<|startoftranscript|>"]
    names += [f"<|{code}|>" for code in languages(vocab)]
    names += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    names += ["<|nospeech|>" if vocab == 51866 else "<|nocaptions|>", "<|notimestamps|>"]
    return names + [f"<|{i * 0.02:.2f}|>" for i in range(1501)]


def special_ids(vocab: int) -> dict[str, int]:
    eot = 50256 if vocab == 51864 else 50257
    count = len(languages(vocab))
    return {
        "eot": eot,
        "sot": eot + 1,
        "translate": eot + 2 + count,
        "transcribe": eot + 3 + count,
        "sot_lm": eot + 4 + count,
        "sot_prev": eot + 5 + count,
        "no_speech": eot + 6 + count,
        "no_timestamps": eot + 7 + count,
        "timestamp_begin": eot + 8 + count,
    }


def byte_symbols() -> dict[int, str]:
    """GPT-2's printable character for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in printable}
    for n, b in enumerate(b for b in range(256) if b not in table):
        table[b] = chr(256 + n)
    return table


def merges_of(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """BPE merges from ranks: each token is encoded with the lower ranks only, which leaves the pair that it was merged from."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) == 1:
            continue
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            pairs = [ranks.get(a + b, rank) for a, b in zip(parts, parts[1:])]
            best = min(range(len(pairs)), key=pairs.__getitem__)
            if pairs[best] >= rank:
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges


def tokenizer_json(vocab: int) -> dict:
    name = "gpt2.tiktoken" if vocab == 51864 else "multilingual.tiktoken"
    ranks = {}
    for line in (shared() / "tokenizer" / name).read_text().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    table = byte_symbols()

    def text(token: bytes) -> str:
        return "".join(table[b] for b in token)

    specials = special_tokens(vocab)
    first = special_ids(vocab)["eot"]
    assert len(ranks) <= first and first + len(specials) == vocab
    added = [
        {"id": first + i, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": i < len(specials) - 1501}
        for i, content in enumerate(specials)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {text(token): rank for token, rank in ranks.items()},
            "merges": [f"{text(a)} {text(b)}" for a, b in merges_of(ranks)],
        },
    }


def save(vocab: int, folder: pathlib.Path) -> None:
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(vocab), ensure_ascii=False), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "WhisperTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "add_prefix_space": False,
        "model_max_length": 1024,
    }, indent=2))
