"""Log-mel spectrograms and filterbanks of openai-whisper."""

import numpy as np
import torch
import whisper.audio

import golden
import seeded


def main():
    meta = {"script": "mel.py", **golden.versions("openai-whisper", "torch", "numpy")}
    torch.set_num_threads(1)
    tensors, cases = {}, []
    for mels in (80, 128):
        tensors[f"filters.{mels}"] = whisper.audio.mel_filters("cpu", mels).numpy()
        # (seed, samples, frame stride): odd lengths lose the last partial hop; 30 s as the pipeline pads it
        for seed, samples, padded, stride in [(11, 16000, 0, 1), (12, 8037, 0, 1), (13, 48000, 432000, 53), (14, 480000, 0, 101)]:
            audio = torch.from_numpy(seeded.audio_f32(seed, samples))
            value = whisper.audio.log_mel_spectrogram(audio, mels, padding=padded).numpy()
            name = f"log_mel.{mels}.{seed}"
            tensors[name] = value[:, ::stride]
            cases.append({"tensor": name, "mels": mels, "seed": seed, "samples": samples, "zeros_after": padded,
                          "frames": value.shape[1], "frame_stride": stride})
        silence = whisper.audio.log_mel_spectrogram(torch.zeros(16000), mels).numpy()
        assert np.all(silence == silence[0, 0])
        cases.append({"silence": 16000, "mels": mels, "frames": silence.shape[1], "value": float(silence[0, 0])})
    golden.write_tensors("mel/log_mel.safetensors", tensors, {**meta, "cases": cases})


if __name__ == "__main__":
    main()
