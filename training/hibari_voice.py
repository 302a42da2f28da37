"""hibari: a small network that speaks like one voice of Kokoro-82M (PyPI's hibari-tts, its voice in the package)."""

import numpy as np
from hibari import dsp, tts
from scipy.signal import resample_poly

VOICE = "heart"


class Hibari(tts.Hibari):
    def draw(self, rng, held_out):
        """How to speak: the arguments of `say`. The voice is not held out."""
        assert not held_out
        return rng.uniform(0.8, 1.45), rng.uniform(0.75, 1.15), rng.getrandbits(32)

    def say(self, text, speed, pitch, seed):
        """(samples, None, None, about): its words are left to the aligner."""
        pieces, breath = [], np.random.default_rng(seed)
        for phonemes in self.phonemize(text):
            inputs = {"ids": np.asarray([self.ids(phonemes)], np.int64), "speed": np.asarray([speed], np.float32)}
            *shape, f0 = (output[0] for output in self.sess.run(None, inputs))
            pieces.append(dsp.synth(*shape, f0 * np.float32(pitch), breath))
        if not pieces:
            return None
        audio = resample_poly(np.concatenate(pieces), 2, 3).astype(np.float32)
        return audio, None, None, {"engine": "hibari", "voice": VOICE, "speaker": f"kokoro {VOICE}", "rate": round(speed, 3)}
