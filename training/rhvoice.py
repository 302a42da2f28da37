"""RHVoice through its library: statistical voices of people (Debian's rhvoice-english, in non-free for want of their training data).

Its voices evgeniy-eng and lyubov may not be derived from and are not used.
"""

import ctypes
import math

import numpy as np
from scipy.signal import resample_poly

VOICES = ["alan", "bdl", "clb", "slt"]
_WEIGHTS = [3, 3, 3, 1]  # slt is known from flite and festival
_RATE, _SAMPLES = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p), ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_uint, ctypes.c_void_p)


class _Callbacks(ctypes.Structure):
    _fields_ = [("set_sample_rate", _RATE), ("play_speech", _SAMPLES)] + [
        (name, ctypes.c_void_p) for name in ("process_mark", "word_starts", "word_ends", "sentence_starts",
                                             "sentence_ends", "play_audio", "done")]


class _Init(ctypes.Structure):
    _fields_ = [("data_path", ctypes.c_char_p), ("config_path", ctypes.c_char_p), ("resource_paths", ctypes.c_void_p),
                ("callbacks", _Callbacks), ("options", ctypes.c_uint)]


class _Synth(ctypes.Structure):
    _fields_ = [("voice_profile", ctypes.c_char_p)] + [
        (name, ctypes.c_double) for name in ("absolute_rate", "absolute_pitch", "absolute_volume", "relative_rate",
                                             "relative_pitch", "relative_volume")] + [
        ("punctuation_mode", ctypes.c_int), ("punctuation_list", ctypes.c_char_p), ("capitals_mode", ctypes.c_int),
        ("flags", ctypes.c_int)]


class Rhvoice:
    def __init__(self):
        self.lib = ctypes.CDLL("libRHVoice.so.5")
        self.lib.RHVoice_new_tts_engine.restype = ctypes.c_void_p
        self.lib.RHVoice_new_message.restype = ctypes.c_void_p
        self.lib.RHVoice_new_message.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_int,
                                                 ctypes.POINTER(_Synth), ctypes.c_void_p]
        for name in ("RHVoice_speak", "RHVoice_delete_message"):
            getattr(self.lib, name).argtypes = [ctypes.c_void_p]
        self.rate_hz, self.chunks = 24000, []
        self._kept = _RATE(self._set_rate), _SAMPLES(self._collect)  # must outlive every call
        init = _Init(b"/usr/share/RHVoice", b"/etc/RHVoice", None, _Callbacks(*self._kept), 0)
        self.engine = self.lib.RHVoice_new_tts_engine(ctypes.byref(init))

    def _set_rate(self, rate_hz, _):
        self.rate_hz = rate_hz
        return 1

    def _collect(self, samples, count, _):
        self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 1

    def draw(self, rng, held_out):
        """A random voice: the arguments of `say`. None of its voices is held out."""
        assert not held_out
        return rng.choices(VOICES, _WEIGHTS)[0], rng.uniform(0.8, 1.35), rng.uniform(0.85, 1.18)

    def say(self, text, name, rate, pitch):
        """(samples, None, None, about): its words are left to the aligner."""
        settings = _Synth(name.capitalize().encode(), 0, 0, 0, rate, pitch, 1, 0, None, 0, 0)
        self.chunks = []
        message = self.lib.RHVoice_new_message(self.engine, text.encode(), len(text.encode()), 0, ctypes.byref(settings), None)
        self.lib.RHVoice_speak(message)
        self.lib.RHVoice_delete_message(message)
        if not self.chunks:
            return None
        audio, divisor = np.concatenate(self.chunks).astype(np.float32) / 32768, math.gcd(16000, self.rate_hz)
        audio = resample_poly(audio, 16000 // divisor, self.rate_hz // divisor).astype(np.float32)
        return audio, None, None, {"engine": "rhvoice", "voice": name, "speaker": name, "rate": round(rate, 3)}
