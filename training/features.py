"""Log-mel exactly as Whisper computes it, over windows of any length."""

import numpy as np
import torch

SAMPLE_RATE, N_FFT, HOP, N_MELS = 16000, 400, 160, 80


def mel_filters():
    """Slaney-scale, Slaney-normalised triangles, 0 to 8 kHz: [80, 201]."""
    def hz_to_mel(hz):
        return np.where(hz < 1000, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1e-9) / 1000) / (np.log(6.4) / 27))

    def mel_to_hz(mel):
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((np.log(6.4) / 27) * (mel - 15)))

    points = mel_to_hz(np.linspace(hz_to_mel(np.float64(0)), hz_to_mel(np.float64(8000)), N_MELS + 2))
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    widths = np.diff(points)
    ramps = points[:, None] - bins[None]
    triangles = np.maximum(0, np.minimum(-ramps[:-2] / widths[:-1, None], ramps[2:] / widths[1:, None]))
    return (triangles * (2 / (points[2:] - points[:-2]))[:, None]).astype(np.float32)


_FILTERS = torch.from_numpy(mel_filters())
_WINDOW = torch.hann_window(N_FFT)


def log_mel(audio):
    """[samples] -> [80, samples / 160]; the floor is relative to the loudest bin of this very window."""
    spectrum = torch.stft(torch.as_tensor(audio, dtype=torch.float32), N_FFT, HOP, window=_WINDOW, return_complex=True)
    power = spectrum[:, :-1].abs() ** 2
    log_power = (_FILTERS @ power).clamp(min=1e-10).log10()
    return (torch.maximum(log_power, log_power.max() - 8) + 4) / 4
