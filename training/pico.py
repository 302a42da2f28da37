"""SVOX Pico through pico2wave, for want of a library: two voices (Debian's libttspico-utils)."""

import os
import subprocess
import tempfile

import soundfile

VOICES = ["en-US", "en-GB"]


class Pico:
    def __init__(self):
        self._folder = tempfile.TemporaryDirectory()

    def draw(self, rng, held_out):
        """A random voice: the arguments of `say`. None of its voices is held out."""
        assert not held_out
        return rng.choice(VOICES), rng.randint(75, 130), rng.randint(80, 125)

    def say(self, text, name, speed, pitch):
        """(samples, None, None, about): its words are left to the aligner."""
        path = os.path.join(self._folder.name, "said.wav")
        marked = f'<pitch level="{pitch}"><speed level="{speed}">{text}</speed></pitch>'
        subprocess.run(["pico2wave", "-l", name, "-w", path, marked], check=True)
        audio, rate_hz = soundfile.read(path, dtype="float32")
        assert rate_hz == 16000
        return audio, None, None, {"engine": "pico", "voice": name, "speaker": f"pico {name}", "rate": speed}
