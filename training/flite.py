"""flite through its library: sentences to samples with the times of its own segment relation."""

import ctypes

import numpy as np
from scipy.signal import resample_poly

VOICES = ["kal", "kal16", "awb", "slt"]
HELD_OUT_VOICES = ["rms"]
_WEIGHTS = [1, 1, 2, 3]  # kal is one speaker at two sampling rates
_F0_HZ = {"kal": (85, 125), "kal16": (85, 125), "awb": (95, 150), "slt": (140, 210), "rms": (80, 120)}


class _Wave(ctypes.Structure):
    _fields_ = [("type", ctypes.c_char_p), ("sample_rate", ctypes.c_int), ("num_samples", ctypes.c_int),
                ("num_channels", ctypes.c_int), ("samples", ctypes.POINTER(ctypes.c_short))]


class _Voice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


class Flite:
    """The five English voices of Debian's libflite."""

    def __init__(self):
        self.lib = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        for name in ("usenglish", "cmulex"):
            ctypes.CDLL(f"libflite_{name}.so.1", mode=ctypes.RTLD_GLOBAL)
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
        for name, result, arguments in [
                ("flite_synth_text", pointer, [text, pointer]), ("utt_wave", pointer, [pointer]),
                ("utt_relation", pointer, [pointer, text]), ("relation_head", pointer, [pointer]),
                ("item_next", pointer, [pointer]), ("ffeature_string", text, [pointer, text]),
                ("ffeature_float", number, [pointer, text]), ("path_to_item", pointer, [pointer, text]),
                ("delete_utterance", None, [pointer]), ("feat_set_float", None, [pointer, text, number])]:
            function = getattr(self.lib, name)
            function.restype, function.argtypes = result, arguments
        self.lib.flite_init()
        self.voices = {}
        for name in VOICES + HELD_OUT_VOICES:
            register = getattr(ctypes.CDLL(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
            register.restype, register.argtypes = pointer, [text]
            self.voices[name] = register(None)

    def draw(self, rng, held_out):
        """A random voice of the wanted side: the arguments of `say`."""
        name = rng.choice(HELD_OUT_VOICES) if held_out else rng.choices(VOICES, _WEIGHTS)[0]
        return name, rng.uniform(0.8, 1.3), rng.uniform(*_F0_HZ[name])

    def say(self, text, name, stretch, f0_hz):
        """(samples, words, phones, about), or None where the times cannot be told."""
        voice = self.voices[name]
        features = ctypes.cast(voice, ctypes.POINTER(_Voice)).contents.features
        self.lib.feat_set_float(features, b"duration_stretch", stretch)
        self.lib.feat_set_float(features, b"int_f0_target_mean", f0_hz)
        utterance = self.lib.flite_synth_text(text.encode(), voice)
        wave = ctypes.cast(self.lib.utt_wave(utterance), ctypes.POINTER(_Wave)).contents
        audio = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(np.float32) / 32768
        if wave.sample_rate != 16000:
            audio = resample_poly(audio, 16000 // wave.sample_rate, 1)
        words, phones = self._times(utterance)
        self.lib.delete_utterance(utterance)
        if len(words) != len(text.split()):
            return None
        return audio, words, phones, {"engine": "flite", "voice": name, "speaker": name.replace("16", ""),
                                      "rate": round(stretch, 3)}

    def _times(self, utterance):
        words, phones, start, last_token = [], [], 0.0, None
        item = self.lib.relation_head(self.lib.utt_relation(utterance, b"Segment"))
        while item:
            name, end = self.lib.ffeature_string(item, b"name").decode(), self.lib.ffeature_float(item, b"end")
            token = self.lib.path_to_item(item, b"R:SylStructure.parent.parent.R:Token.parent")
            if name != "pau" and token:
                phones.append((name, start, end))
                if token == last_token:
                    words[-1] = (words[-1][0], words[-1][1], end)
                else:
                    words.append((len(words), start, end))
                last_token = token
            start = end
            item = self.lib.item_next(item)
        return words, phones
