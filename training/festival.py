"""festival, many sentences per process: samples, segments and words of each are read back from files."""

import os
import re
import subprocess
import tempfile

import numpy as np
import soundfile
from scipy.signal import resample_poly

import roger

VOICES = ["kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts"]
SPEAKERS = {"kal_diphone": "kal", "ked_diphone": "ked", "cmu_us_slt_arctic_hts": "slt", roger.VOICE: "rab"}


def say_all(rng, texts, voices=VOICES):
    """Yields (text, audio, words, phones, about) for every text, each in a random voice; failures are left out."""
    with tempfile.TemporaryDirectory() as folder:
        choices = [(rng.choice(voices), round(rng.uniform(0.8, 1.3), 3)) for _ in texts]
        lines = [f'(load "{roger.prologue(folder)}")'] if roger.VOICE in voices else []
        # By voice: switching voices costs more than a sentence.
        for i in sorted(range(len(texts)), key=lambda i: choices[i][0]):
            stem = os.path.join(folder, str(i))
            lines += [f"(voice_{choices[i][0]})", f"(Parameter.set 'Duration_Stretch {choices[i][1]})",
                      f'(set! u (utt.synth (eval (list \'Utterance \'Text "{texts[i]}"))))',
                      f"(utt.save.wave u \"{stem}.wav\" 'riff)", f'(utt.save.segs u "{stem}.seg")',
                      f'(utt.save.words u "{stem}.wrd")']
        script = os.path.join(folder, "say.scm")
        with open(script, "w") as file:
            file.write("\n".join(lines))
        subprocess.run(["festival", "-b", script], check=False, capture_output=True)
        for i, text in enumerate(texts):
            stem = os.path.join(folder, str(i))
            if not os.path.exists(stem + ".wrd"):
                continue
            audio, rate_hz = soundfile.read(stem + ".wav", dtype="float32")
            if rate_hz != 16000:
                audio = resample_poly(audio, 1, rate_hz // 16000)
            words, phones = _times(text, _labels(stem + ".seg"), _labels(stem + ".wrd"))
            if words:
                voice = choices[i][0]
                if voice == roger.VOICE:  # some of his symbols name another phone in the set of the others
                    phones = [(roger.AMERICAN[name], start, end) for name, start, end in phones]
                yield text, audio.astype(np.float32), words, phones, {
                    "engine": "festival", "voice": voice, "speaker": SPEAKERS[voice], "rate": choices[i][1]}


def _labels(path):
    """(label, end time) of a Xwaves label file."""
    with open(path) as file:
        rows = [line.split() for line in file.read().split("#\n", 1)[1].splitlines()]
    return [(row[2], float(row[0])) for row in rows if len(row) == 3]


def _times(text, segments, spoken):
    """A written word may be several spoken ones ("twenty-five"): letters are matched to tell which."""
    phones, start = [], 0.0
    for name, end in segments:
        if name not in ("pau", "#"):
            phones.append((name, start, end))
        start = end
    words, at, phone_at = [], 0, 0
    for index, written in enumerate(text.split()):
        wanted, got, end = re.sub("[^a-z]", "", written.lower()), "", None
        while len(got) < len(wanted) and at < len(spoken):
            got += re.sub("[^a-z]", "", spoken[at][0].lower())
            end = spoken[at][1]
            at += 1
        inside = [p for p in phones[phone_at:] if end is not None and p[2] <= end + 1e-3]
        if got != wanted or not inside:
            return None, None
        phone_at += len(inside)
        words.append((index, inside[0][1], inside[-1][2]))
    return words, phones
