"""espeak-ng through its library: sentences to samples with exact word and phone times.

In-process through ctypes: starting a program per sentence costs more than the synthesis.
"""

import ctypes
import math
import os
import random
import re
import shutil
import tempfile

import numpy as np
from scipy.signal import resample_poly

# Voices are asked for by name, and "en" is the name of the British one; there is none called "en-gb".
ACCENTS = ["en-us"] * 3 + ["en"] * 2 + ["en-us-nyc", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan"]
HELD_OUT_ACCENTS = ["en-gb-x-gbcwmd"]
VARIANTS = """Alex Alicia Andy Annie AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Mike Nguyen
RicishayMax RicishayMax2 RicishayMax3 Storm Tweaky adam anika antonio aunty belinda benjamin boris caleb david ed edward
edward2 f1 f2 f4 f5 grandma gustave iven iven2 iven3 iven4 john kaukovalta klatt klatt2 klatt4 klatt5 klatt6 linda m1 m2 m3 m4
m6 m7 m8 max michel miguel norbert pablo paul pedro quincy rob robert sandro steph2 steph3 travis victor zac""".split()
HELD_OUT_VARIANTS = [*"f3 m5 Andrea Michael steph grandpa marcelo shelby klatt3".split(), "Mr serious"]
PITCHES = [30, 45, 60, 75]  # a speaker is an accent, a variant and one of these base pitches
DRAWN_VOICES = 200  # variants made up beside the listed ones; espeak-ng knows at most 350 voices in all
DRAWN_SHARE = 0.75  # part of the sentences spoken by them
DATA = "/usr/lib/x86_64-linux-gnu/espeak-ng-data"

EVENT_WORD, EVENT_PHONEME = 1, 7
RATE, PITCH = 1, 3  # espeak_PARAMETER


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
                ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
                ("user_data", ctypes.c_void_p), ("id", _Id)]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """One synthesiser; the library keeps its state in globals, so there is one of these per process."""

    def __init__(self, seed=0, made="drawn"):
        """`seed` makes other voices, by `drawn_voice`, `crossed_voice` or `sibling_voice` ("drawn", "crossed", "sibling")."""
        self.made = made, seed
        self.lib = ctypes.CDLL("libespeak-ng.so.1")
        self._folder = tempfile.TemporaryDirectory()
        _write_voices(self._folder.name, *self.made)
        # 1 = hand the samples to a callback, 1 = report phoneme events too.
        self.rate_hz = self.lib.espeak_Initialize(1, 0, self._folder.name.encode(), 1)
        self.chunks, self.events = [], []
        self._callback = _CALLBACK(self._collect)  # must outlive every call
        self.lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples, count, events):
        if samples and count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != 0:
            event = events[i]
            name = event.id.string.decode("utf-8", "replace") if event.type == EVENT_PHONEME else ""
            self.events.append((event.type, event.text_position - 1, event.sample, name))
            i += 1
        return 0

    def draw(self, rng, held_out):
        """A random voice of the wanted side: the arguments of `say`."""
        accent, variant = _draw_voice(rng, held_out)
        return accent, variant, rng.choice(PITCHES), rng.randint(125, 215)

    def say(self, text, accent, variant, pitch, rate):
        """(samples, words, phones, about); words and phones are None where the times cannot be told."""
        self._become(accent, variant)
        self.lib.espeak_SetParameter(RATE, rate, 0)
        self.lib.espeak_SetParameter(PITCH, pitch, 0)
        self.chunks, self.events = [], []
        data = text.encode()
        self.lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, 1, None, None)
        self.lib.espeak_Synchronize()
        if not self.chunks:
            return None
        divisor = math.gcd(16000, self.rate_hz)
        audio = resample_poly(np.concatenate(self.chunks).astype(np.float32) / 32768, 16000 // divisor,
                              self.rate_hz // divisor)
        words, phones = _times(text, self.events, self.rate_hz)
        kind, seed = self.made
        speaker = f"{accent}+{variant}{f'/{seed}' if variant.startswith(kind) else ''}@{pitch}"
        return audio, words, phones, {"engine": "espeak-ng", "voice": f"{accent}+{variant}", "speaker": speaker,
                                      "rate": rate}


    def _become(self, accent, variant):
        """Takes on a voice. espeak-ng itself stays with the voice before for an unknown accent, and leaves out an unknown variant."""
        if not os.path.exists(os.path.join(self._folder.name, "espeak-ng-data", "voices", "!v", variant)):
            raise ValueError(f"espeak-ng has no variant {variant}")
        if self.lib.espeak_SetVoiceByName(f"{accent}+{variant}".encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {accent}+{variant}")


def _write_voices(folder, kind, seed):
    """A copy of espeak's data with the drawn voices among its variants, and English alone, to stay below its limit."""
    data = os.path.join(folder, "espeak-ng-data")
    shutil.copytree(DATA, data, ignore=lambda path, names: [
        n for n in names if n.endswith("_dict") and n != "en_dict" or os.path.basename(path) == "gmw" and not n.startswith("en")
        or os.path.basename(path) == "lang" and n != "gmw" or n == "mb"])
    rng, variants = random.Random(f"voices-{seed}" if kind == "drawn" else f"{kind}-{seed}"), os.path.join(data, "voices", "!v")
    listed, lines = [_lines_of(os.path.join(variants, name)) for name in VARIANTS], None
    for i in range(DRAWN_VOICES):
        name = f"{kind}{i}"
        if kind == "sibling":
            lines = sibling_voice(rng, lines if i % 2 else rng.choice([{}, rng.choice(listed), rng.choice(listed)]))
            text = _file_of(name, lines)
        else:
            text = drawn_voice(name, rng) if kind == "drawn" else crossed_voice(name, rng, listed)
        with open(os.path.join(variants, name), "w") as file:
            file.write(text)


def drawn_voice(name, rng):
    """A voice file: the formants of one tract, and how its owner speaks (espeak-ng's docs/voices.md)."""
    tract = rng.uniform(0.84, 1.22)
    low = min(230, max(60, round(100 * tract ** 2 * 2 ** rng.gauss(0, 0.35))))
    lines = ["language variant", f"name {name}", f"gender {'female' if tract > 1.05 else 'male'}",
             f"pitch {low} {round(low * rng.uniform(1.1, 1.7))}"]
    if rng.random() < 0.2:
        lines.append(f"klatt {rng.randint(1, 5)}")
    for formant in range(9):
        frequency = 100 if formant == 0 else round(100 * tract * 2 ** rng.gauss(0, 0.06))
        lines.append(f"formant {formant} {frequency} {rng.randint(65, 130)} {rng.randint(70, 170)}")
    if rng.random() < 0.3:
        tones = [(60, rng.randint(120, 255)), (700, rng.randint(60, 200)), (1300, rng.randint(30, 150)),
                 (2200, rng.randint(20, 150)), (3500, rng.randint(5, 120))]
        lines.append("tone " + " ".join(f"{hertz} {height}" for hertz, height in tones))
    if rng.random() < 0.3:
        lines.append("breath " + " ".join(str(rng.randint(0, 6)) for _ in range(8)))
    lines += [f"voicing {rng.randint(70, 140)}", f"consonants {rng.randint(60, 140)} {rng.randint(60, 140)}",
              f"flutter {rng.randint(0, 8)}", f"roughness {rng.randint(0, 4)}", f"intonation {rng.randint(1, 4)}"]
    return "\n".join(lines) + "\n"


def _lines_of(path):
    """The settings of a voice file: {"formant 3": "97 60 90", "voicing": "70"}."""
    lines = {}
    with open(path) as file:
        for line in file:
            key, _, value = line.partition("//")[0].partition("#")[0].strip().partition(" ")
            if key == "formant":
                number, _, value = value.strip().partition(" ")
                key = f"formant {number}"
            if key and key not in ("language", "name", "gender"):
                lines[key] = value.strip()
    return lines


def _file_of(name, lines):
    """A voice file with the settings of `_lines_of`."""
    return "\n".join(["language variant", f"name {name}", *(f"{key} {value}" for key, value in lines.items())]) + "\n"


def sibling_voice(rng, lines):
    """The settings of a voice that is nearly the one of `lines`: some formants, the pitch or the manner are others.

    The listed variants are like that: many leave the first formants, which make the vowels, as they are in the plain voice.
    """
    lines = dict(lines)
    spread = rng.choice([0.06, 0.1])
    for formant in rng.sample(range(1, 9), rng.randint(3, 7)):
        key = f"formant {formant}"
        numbers = (lines.get(key, "").split() + ["100"] * 3)[:3] + lines.get(key, "").split()[3:]
        spreads = [spread if formant < 4 else 3 * spread, 3 * spread, 3 * spread]
        lines[key] = " ".join([str(max(0, round(int(n) * 2 ** rng.gauss(0, by)))) for n, by in zip(numbers, spreads)] + numbers[3:])
    if rng.random() < 0.5:
        low, high = map(int, lines.get("pitch", "82 118").split()[:2])
        shift = 2 ** rng.gauss(0, 0.2)
        lines["pitch"] = f"{max(50, round(low * shift))} {round(max(50, low * shift) * high / low * 2 ** rng.gauss(0, 0.1))}"
    for key, low, high in [("flutter", 0, 20), ("roughness", 0, 4), ("intonation", 1, 4), ("voicing", 70, 140)]:
        if rng.random() < 0.3:
            lines[key] = str(rng.randint(low, high))
    return lines


def crossed_voice(name, rng, listed):
    """A voice file with the formants of one listed variant, the pitch of another and the manner of a third.

    People who write such files go further than `drawn_voice`: formants twice as strong or silenced, bands a few hertz wide.
    """
    tract, pitch, manner = (rng.choice(listed) for _ in range(3))
    lines = ["language variant", f"name {name}"]
    scale = 2 ** rng.gauss(0, 0.05)
    for key in sorted(k for k in tract if k.startswith("formant")):
        frequency, *rest = tract[key].split()
        if key != "formant 0":
            frequency = round(int(frequency) * scale * 2 ** rng.gauss(0, 0.04))
        lines.append(" ".join([key, str(frequency), *rest]))
    if "pitch" in pitch:
        shift = 2 ** rng.gauss(0, 0.15)
        lines.append("pitch " + " ".join(str(max(50, round(int(hertz) * shift))) for hertz in pitch["pitch"].split()[:2]))
    lines += [f"{key} {value}" for key, value in sorted(manner.items()) if key != "pitch" and not key.startswith("formant")]
    return "\n".join(lines) + "\n"


def _draw_voice(rng, held_out):
    if not held_out:
        drawn = rng.random() < DRAWN_SHARE
        return rng.choice(ACCENTS), f"drawn{rng.randrange(DRAWN_VOICES)}" if drawn else rng.choice(VARIANTS)
    if rng.random() < 0.25:
        return rng.choice(HELD_OUT_ACCENTS), rng.choice(HELD_OUT_VARIANTS)
    return rng.choice(ACCENTS), rng.choice(HELD_OUT_VARIANTS)


def _times(text, events, rate_hz):
    """Words as (index of the written word, start, end) and phones as (symbol, start, end), in seconds.

    espeak says some pairs as one ("of the"): such a run shares one event, and is split by letters.
    """
    spans = [(m.start(), m.end()) for m in re.finditer(r"\S+", text)]
    starts, phones, seen_to = [], [], -1
    for kind, position, sample, name in events:
        time = sample / rate_hz
        if kind == EVENT_WORD and position > seen_to:  # a second event at an older place belongs to a pause
            index = next((i for i, (a, b) in enumerate(spans) if a <= position < b), None)
            if index is not None and (not starts or index > starts[-1][0]):
                starts.append((index, time))
                seen_to = position
        elif kind == EVENT_PHONEME:
            phones.append((name, time))
    last = max([t for _, t in phones] + [0.0])
    phones = [(name, start, phones[i + 1][1] if i + 1 < len(phones) else last) for i, (name, start) in enumerate(phones)]
    speech = [p for p in phones if not is_pause(p[0])]
    words = []
    for i, (index, start) in enumerate(starts):
        next_index, next_start = starts[i + 1] if i + 1 < len(starts) else (len(spans), last + 1)
        inside = [p for p in speech if start - 1e-3 <= p[1] < next_start - 1e-3]
        if not inside:
            return None, None
        words += _split(text, spans[index:next_index], index, start, inside[-1][2])
    return (words, speech) if words and words[0][0] == 0 else (None, None)


def is_pause(symbol):
    """espeak's pause and linking symbols begin with an underscore or are punctuation alone."""
    return not symbol or symbol[0] in "_;:|" or symbol in ("?", "!")


def _split(text, spans, first_index, start, end):
    letters = [sum(c.isalpha() for c in text[a:b]) for a, b in spans]
    words, at = [], start
    for i, count in enumerate(letters):
        to = at + (end - start) * count / sum(letters)
        words.append((first_index + i, at, to))
        at = to
    return words
