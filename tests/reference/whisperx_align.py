"""Words, sentences and characters of whisperx.align, with wav2vec2 networks of random weights (`wav2vec2.py`), on seeded
audio (`seeded.audio`) and on real recordings, which are not stored.

NLTK's trained models are not available everywhere, so sentences are split by an untrained PunktSentenceTokenizer, and segments whose
sentences would depend on the training are avoided. A case is kept only if the network in f64 gives the same words and times; its
scores may still differ in the last digit.
"""

import os
import pathlib
import wave

import numpy as np
import torch
import transformers
import whisperx.alignment
from nltk.tokenize.punkt import PunktSentenceTokenizer

import golden
import seeded
import wav2vec2

whisperx.alignment.nltk_load = lambda _: PunktSentenceTokenizer()
SHARED = pathlib.Path(os.environ.get("DIARIST_SHARED", "../shared"))

# Letters by class; "<pad>" (the blank) is inserted at the config's pad_token_id.
LETTERS = {
    "base": ["|"] + list("etaonihsrdlumwcfgypbvkxjqz'") + ["é", "ñ", "<unk>"],
    "large": ["|"] + list("abcdefghijklmnopqrstuvwxyz") + ["ä", "ö", "ü", "ß", "<unk>"],
    "1b": ["|"] + list("ABCDEFGHIJKLMNOPQRSTUVWXYZ") + list("あいうえおかきくけこ你好"),
}
WORDS = (
    "the quick brown fox jumps over a lazy dog while seventeen wizards vexed by judges never quite agreed "
    "it's O'Neill café 42 3.5% $7 Straße señor I we don't know x — & (maybe) «non» e-mail 5G naïve"
).split()


# Added to the bias of the blank, which is then likely in most rows, as in trained networks. Otherwise alignments would run to the end
# too early.
BLANK_BIAS = {"base": 12.0, "large": 19.0, "1b": 9.5}


def biased(model, config):
    with torch.no_grad():
        model.lm_head.bias[config["pad_token_id"]] += config["blank_bias"]
    return model


def vocabulary(name, blank):
    letters = LETTERS[name][:]
    letters.insert(blank, "<pad>")
    return {letter: i for i, letter in enumerate(letters)}


def drawn_text(seed, count):
    """Random words and punctuation; every end of a sentence is followed by a space and a capital."""
    draws = [int(v) for v in seeded.bits(seed, "text", np.arange(2 * count))]
    words, capital = [], True
    for word, mark in zip(draws[:count], draws[count:]):
        word = WORDS[word % len(WORDS)]
        word = word[0].upper() + word[1:] if capital else word
        end = ["", "", "", ",", "", "", ".", "?", "!", ""][mark % 10]
        # Even untrained, punkt takes a letter or number with a full stop for an initial or an enumeration.
        end = "," if end == "." and (len(word) < 4 or not word.isalpha()) else end
        words.append(word + end)
        capital = end in (".", "?", "!")
    return " " + " ".join(words)


class Double(torch.nn.Module):
    """The network in f64, with f32 input and output."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, waveform):
        logits = self.model(waveform.double()).logits
        return transformers.modeling_outputs.CausalLMOutput(logits=torch.log_softmax(logits, -1).float())


def plain(value):
    return None if value is None or value != value else float(value)


def result(found):
    def times(item):
        return [plain(item.get("start")), plain(item.get("end")), plain(item.get("score"))]

    segments = []
    for segment in found["segments"]:
        out = {"text": segment["text"], "times": [plain(segment["start"]), plain(segment["end"])]}
        out["words"] = [[word["word"], *times(word)] for word in segment["words"]]
        if segment.get("chars"):
            out["chars"] = [[char["char"], *times(char)] for char in segment["chars"]]
        segments.append(out)
    return segments


def align(model, dictionary, language, audio, segments, chars):
    metadata = {"language": language, "dictionary": {k.lower(): v for k, v in dictionary.items()}, "type": "huggingface"}
    segments = [dict(zip(("start", "end", "text"), segment)) for segment in segments]
    return result(whisperx.alignment.align(segments, model, metadata, audio, "cpu", return_char_alignments=chars))


def same_times(a, b):
    def without_scores(segments):
        return [[[*item[:3]] for item in segment["words"] + segment.get("chars", [])] for segment in segments]

    return without_scores(a) == without_scores(b)


def recording(path):
    with wave.open(str(SHARED / path)) as file:
        assert file.getframerate() == 16000 and file.getnchannels() == 1 and file.getsampwidth() == 2
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768


# The dialogue is aligned as a whole and turn by turn.
DIALOGUE = [
    [6.68, 7.16, " Hello?"], [7.634, 8.155, " Hello?"], [8.436, 8.876, " Oh, hello."],
    [8.916, 9.798, " I didn't know you were there."], [9.838, 10.78, " Neither did I."],
    [10.78, 14.184, " Okay, then I thought you know, I heard a beep. This is Diane in New Jersey."],
    [14.444, 17.769, " And I'm Sheila in Texas, originally from Chicago."],
    [17.789, 21.475, " Oh, I'm originally from Chicago also. I'm in New Jersey now though."],
    [21.935, 28.425, " Well, there isn't that much difference. At least you know, they all call me a Yankee down here, so what can I say?"],
    [28.445, 29.987, " Oh, I don't hear that in New Jersey now."],
]
JFK = " And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
AUSTEN = "and mister john dashwood had then leisure to consider how much there might be prudently in his power to do for them"
REAL = [
    ("jfk/jfk.wav", "en", [[0.0, 11.0, JFK]]),
    ("dialogue/sample.wav", "en", DIALOGUE),
    ("dialogue/sample.wav", "en", [[0.0, 30.0, "".join(text for _, _, text in DIALOGUE)]]),
    ("languages/test.wav", "en", [[0.0, 5.855, "Mister Quilter is the apostle of the middle classes and we are glad to welcome his gospel."]]),
    ("languages/test_de.wav", "de", None),
    ("languages/test_es.wav", "es", None),
    ("languages/test_fr.wav", "fr", None),
    ("alignment/sense_and_sensibility_01_austen_64kb-0870.wav", "en", [[0.235689, 6.76169, AUSTEN]]),
]


def truth(path):
    import json

    for entry in json.loads((SHARED / "audio/languages/truth.json").read_text()):
        if path.endswith("/" + entry["audio_file"]):
            return entry["transcript_with_punctuation"]
    raise KeyError(path)


def drawn_segments(seed, seconds):
    segments, start = [], 0.0
    draws = [int(v) for v in seeded.bits(seed, "segments", np.arange(64))]
    for i, draw in enumerate(draws):
        length = round(0.4 + draw % 5200 / 1000, 3)
        if start + length > seconds:
            break
        segments.append([start, round(start + length, 3), drawn_text(seed * 100 + i, 1 + (draw >> 20) % int(2 + 2.2 * length))])
        start = round(start + length + (draw >> 40) % 700 / 1000, 3)
    return segments


# Cases in which diarist differs from WhisperX on purpose. The results are WhisperX's; a test for each has the result of diarist.
DIFFERENCES = {
    "hyphen_is_blank": ("en", {"-": 0}, [[0.0, 3.0, "well-known e-mail"]]),
    "two_lower_case_characters": ("en", {}, [[0.0, 3.0, "İa bc"]]),
    "end_behind_audio": ("en", {}, [[17.0, 25.0, "the end is near"]]),
    "too_long": ("en", {}, [[1.0, 1.1, "far too many letters for so little sound"], [2.0, 4.0, "but not here"]]),
    "tab": ("en", {}, [[0.0, 2.0, "one\ttwo"]]),
    "bar": ("en", {}, [[0.0, 2.0, "one | two"]]),
    "no_space_after_sentence": ("en", {}, [[0.0, 3.0, "Is it? \"No.\" (It is.)Yes"]]),
}


def main():
    torch.set_num_threads(2)
    meta = {"script": "whisperx_align.py", **golden.versions("whisperx", "transformers", "torch", "numpy", "nltk")}
    cases, differences = [], []
    for number, (name, config) in enumerate(wav2vec2.CONFIGS.items()):
        config = {**wav2vec2.COMMON, **config, "blank_bias": BLANK_BIAS[name]}
        dictionary = vocabulary(name, config["pad_token_id"])
        assert len(dictionary) <= config["vocab_size"], name
        model = biased(wav2vec2.build(config, 300 + number), config)
        twin = Double(biased(wav2vec2.build(config, 300 + number), config).double())

        def add(language, source, segments, chars=False):
            audio = seeded.audio_f32(*source) if isinstance(source, list) else recording("audio/" + source)
            found = align(model, dictionary, language, audio, segments, chars)
            kept = same_times(found, align(twin, dictionary, language, audio, segments, chars))
            print(name, source, language, len(segments), "kept" if kept else "DROPPED")
            if kept:
                cases.append({"network": name, "language": language, "audio": source, "segments": segments, "found": found})

        for seed in range(4):
            source = [500 + seed, 20 * 16000]
            for segment in drawn_segments(10 * number + seed + 1, 20.0):
                add("en", source, [segment], chars=seed == 0)
        add("ja" if name == "1b" else "de", [504, 5 * 16000], [[0.25, 4.5, "あいう え42お" if name == "1b" else "Schöne  Grüße, 3 Äpfel!"]], True)
        for path, language, segments in REAL if name != "1b" else REAL[:2]:
            if segments is None:
                segments = [[0.0, len(recording("audio/" + path)) / 16000, truth(path)]]
            if len(segments) > 1:
                for segment in segments:
                    add(language, path, [segment])
            else:
                add(language, path, segments)
        if name == "1b":
            for label, (language, extra, segments) in DIFFERENCES.items():
                known = {**dictionary, **extra}
                audio = seeded.audio_f32(510, 20 * 16000)
                found = align(model, known, language, audio, segments, False)
                differences.append({"name": label, "language": language, "extra": extra, "audio": [510, 20 * 16000], "segments": segments, "found": found})
        meta.setdefault("networks", {})[name] = {"config": config, "seed": 300 + number, "vocab": dictionary}
    golden.write_json("align/whisperx.json", {"meta": meta, "cases": cases, "differences": differences})


if __name__ == "__main__":
    main()
