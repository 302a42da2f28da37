"""Word error rate, counted on lower-case words without punctuation.

    python evaluate.py --model DIR --heldout DIR [--sample DIR] [--beam N]

reads an exported model folder, decodes every window greedily, or with `--beam` by transformers' beam search, and prints words, errors
and WER per engine and condition.
"""

import argparse
import json
import os
import random

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file

import tokenizer as bpe
import windows
from features import log_mel
from model import Config, Model, deepen
from sentences import words_of

WINDOW = 160000  # samples


def edits(reference, hypothesis):
    """Levenshtein distance between two word lists."""
    row = list(range(len(hypothesis) + 1))
    for i, wanted in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, got in enumerate(hypothesis, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (wanted != got))
    return row[-1]


def decode(model, tokens, audios, batch=10):
    """Greedy transcripts of windows, each zero-padded to ten seconds, as an engine sees them."""
    texts = []
    prompt = [tokens.start, tokens.english, tokens.transcribe, tokens.no_timestamps]
    for i in range(0, len(audios), batch):
        padded = [torch.nn.functional.pad(torch.as_tensor(a), (0, WINDOW - len(a))) for a in audios[i:i + batch]]
        mel = torch.stack([log_mel(a) for a in padded])
        texts += [tokens.decode(ids).strip() for ids in model.transcribe(mel, prompt, tokens.end)]
    return texts


def beam_search(folder, tokens, audios, beams):
    """The same by transformers, one window at a time. The prompt is given, so nothing of its Whisper front end takes part."""
    from transformers import GenerationMixin, WhisperForConditionalGeneration
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    prompt, texts = torch.tensor([[tokens.start, tokens.english, tokens.transcribe, tokens.no_timestamps]]), []
    for audio in audios:
        mel = log_mel(torch.nn.functional.pad(torch.as_tensor(audio), (0, WINDOW - len(audio))))[None]
        ids = GenerationMixin.generate(model, input_features=mel, decoder_input_ids=prompt, num_beams=beams, do_sample=False,
                                       max_length=64 + prompt.shape[1], eos_token_id=tokens.end, pad_token_id=tokens.end)[0]
        texts.append(tokens.decode([i for i in ids.tolist() if i < tokens.end]).strip())
    return texts


def dev_error(model, tokens, folder, count):
    """(errors, words) on windows composed from held-out sentences in held-out voices, clean half of the time."""
    corpus, rng = windows.Corpus(folder), random.Random(7)
    audios, references = [], []
    for i in range(count):
        audio, said = windows.compose(corpus, rng, rng.uniform(3, 10), noisy=i % 2 == 0)
        audios.append(audio)
        references.append(" ".join(part["text"] for part in said))
    got = decode(model, tokens, audios)
    for reference, text in list(zip(references, got))[:4]:
        print(f"  said: {reference}\n  got:  {text}", flush=True)
    errors = sum(edits(words_of(r), words_of(g)) for r, g in zip(references, got))
    return errors, sum(len(words_of(r)) for r in references)


def read_model(folder, encoder_layers=None):
    """An exported folder as our own module, f32; with more encoder layers than it has, the others do nothing yet."""
    with open(os.path.join(folder, "config.json")) as file:
        c = json.load(file)
    model = Model(Config(c["vocab_size"], c["d_model"], c["encoder_attention_heads"],
                         encoder_layers or c["encoder_layers"], c["decoder_layers"], c["max_source_positions"],
                         c["max_target_positions"]))
    deepen(model, c["encoder_layers"])
    state = {k.removeprefix("model."): v.float() for k, v in load_file(os.path.join(folder, "model.safetensors")).items()}
    model.load_state_dict(state, strict=False)  # the phone head is not exported
    return model.eval(), bpe.Tokens(os.path.join(folder, "tokenizer.json"))


def cut_at_pauses(audio, rate=16000, frame=320, limit=5):
    """Chunks of at most `limit` seconds where pauses allow, each ending in the last pause that fits: what an energy VAD would hand over."""
    power = np.array([np.mean(audio[i:i + frame] ** 2) for i in range(0, len(audio) - frame, frame)])
    quiet = np.convolve(power < power.max() * 1e-4, np.ones(13) / 13, "same") > 0.99  # a quarter of a second of silence
    chunks, start = [], 0
    while len(audio) - start > limit * rate:
        first, last = start // frame + 40, (start + limit * rate) // frame
        pauses = [i for i in range(first, last) if quiet[i]] or [int(np.argmin(power[first:last])) + first]
        end = pauses[-1] * frame
        chunks.append(audio[start:end])
        start = end
    return [*chunks, audio[start:]]


def report(name, pairs):
    errors = sum(edits(words_of(r), words_of(g)) for r, g in pairs)
    words = sum(len(words_of(r)) for r, _ in pairs)
    print(f"{name:24} {len(pairs):4} windows {words:5} words {errors:4} errors  WER {100 * errors / words:6.2f} %")


def heldout(transcripts, folder, verbose):
    with open(os.path.join(folder, "transcripts.json")) as file:
        entries = json.load(file)["windows"]
    got = transcripts([soundfile.read(os.path.join(folder, e["audio"]), dtype="float32")[0] for e in entries])
    pairs = [(e["text"], g) for e, g in zip(entries, got)]
    for pair in pairs if verbose else []:
        print(f"said: {pair[0]}\ngot:  {pair[1]}")
    for limit in sorted({e["limit"] for e in entries}):
        some = [(p, e) for p, e in zip(pairs, entries) if e["limit"] == limit]
        for key, values in (("engine", ("espeak-ng", "flite")), ("noisy", (False, True))):
            for value in values:
                report(f"{limit:.0f} s, {key} {value}", [p for p, e in some if e[key] == value])
        report(f"{limit:.0f} s, all", [p for p, _ in some])


def sample(transcripts, folder):
    with open(os.path.join(folder, "conversation.json")) as file:
        wanted = " ".join(turn["text"] for turn in json.load(file)["turns"])
    chunks = cut_at_pauses(soundfile.read(os.path.join(folder, "conversation.flac"), dtype="float32")[0])
    got = " ".join(transcripts(chunks))
    print(f"said: {wanted}\ngot:  {got}")
    report("sample conversation", [(wanted, got)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--heldout")
    parser.add_argument("--sample")
    parser.add_argument("--beam", type=int)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    model, tokens = read_model(options.model)

    def transcripts(audios):
        return beam_search(options.model, tokens, audios, options.beam) if options.beam else decode(model, tokens, audios)

    if options.heldout:
        heldout(transcripts, options.heldout, options.verbose)
    if options.sample:
        sample(transcripts, options.sample)


if __name__ == "__main__":
    main()
