"""Builds tokenizer.json: byte-level BPE with Whisper's special tokens in Whisper's order.

    python tokenizer.py --out DIR

Same layout as the published Whisper tokenisers, with a smaller vocabulary and timestamps up to ten seconds.
"""

import argparse
import json
import os
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from sentences import sentence

MERGES = 1000
LANGUAGES = ["en"]
CONTROL = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>",
           "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
TIMESTAMPS = [f"<|{i * 0.02:.2f}|>" for i in range(501)]


def build(seed=0):
    """The tokeniser, its merges learned from freshly drawn sentences."""
    rng = random.Random(seed)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                  show_progress=False)
    tokenizer.train_from_iterator((" " + sentence(rng) for _ in range(30000)), trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in CONTROL])
    # Whisper's timestamps are added tokens but not special ones: decoding may keep them.
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in TIMESTAMPS])
    end, start, stamps = (tokenizer.token_to_id(t) for t in ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftranscript|> <|notimestamps|> $A:0 <|endoftext|>",
        pair="<|startoftranscript|> <|notimestamps|> $A:0 $B:1 <|endoftext|>",
        special_tokens=[("<|startoftranscript|>", start), ("<|notimestamps|>", stamps), ("<|endoftext|>", end)])
    return tokenizer


def save(tokenizer, folder):
    """tokenizer.json plus the small files transformers wants beside it."""
    os.makedirs(folder, exist_ok=True)
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "WhisperTokenizer", "add_prefix_space": False, "bos_token": "<|endoftext|>",
                   "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
                   "errors": "replace", "model_max_length": 224}, file, indent=2)


class Tokens:
    """Ids the trainer and the evaluation need, read once from tokenizer.json."""

    def __init__(self, path):
        self.tokenizer = Tokenizer.from_file(path)
        ids = {token: self.tokenizer.token_to_id(token) for token in CONTROL}
        self.end, self.start, self.english = ids["<|endoftext|>"], ids["<|startoftranscript|>"], ids["<|en|>"]
        self.transcribe, self.no_speech = ids["<|transcribe|>"], ids["<|nospeech|>"]
        self.no_timestamps = ids["<|notimestamps|>"]
        self.first_timestamp = self.tokenizer.token_to_id(TIMESTAMPS[0])
        self.size = self.tokenizer.get_vocab_size()

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids):
        return self.tokenizer.decode([i for i in ids if i < self.end], skip_special_tokens=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    save(build(), parser.parse_args().out)
