"""Decodes the shared recordings with ffmpeg: tests/data/audio_shared.json.

For the mean of the channels at 16 kHz: number of samples, RMS, and the values at eight positions. ffmpeg 5.1 with
libopus. Its resampler uses a long filter, so that only the last few hertz below 8 kHz differ from ours.
Usage: audio_goldens.py SHARED_FOLDER
"""

import json
import pathlib
import subprocess
import sys

import numpy as np

FILES = [
    "jfk/jfk.flac", "jfk/jfk.mp3", "jfk/jfk.wav", "jfk/jfk_441khz.m4a", "codecs/cold_corpus_32bit_float.wav",
    "codecs/format_test.m4a", "codecs/stereo.mp3", "codecs/stereo.opus", "codecs/test1-8bit.wav", "codecs/test5.webm",
    "codecs/two-channel.opus", "codecs/whatstheweatherlike-mulaw.wav", "broken/empty.wav",
]


def samples(path):
    probe = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", "stream=channels,codec_name", "-of", "json"]
    stream = json.loads(subprocess.run([*probe, path], capture_output=True, check=True).stdout)["streams"][0]
    channels = stream["channels"]
    mean = "pan=mono|c0=" + "+".join(f"{1 / channels}*c{i}" for i in range(channels))
    decoder = ["-c:a", "libopus"] if stream["codec_name"] == "opus" else []
    resample = "aresample=16000:filter_size=600:cutoff=0.987:exact_rational=1"
    command = ["ffmpeg", "-nostdin", "-v", "error", *decoder, "-i", path, "-map", "0:a:0", "-af", f"{mean},{resample}"]
    out = subprocess.run([*command, "-f", "f32le", "-"], capture_output=True, check=True).stdout
    return np.frombuffer(out, np.float32)


def main():
    root = pathlib.Path(sys.argv[1])
    table = {}
    for name in FILES:
        x = samples(str(root / name))
        places = [len(x) * (2 * i + 1) // 16 for i in range(8)]
        table[name] = {
            "samples": len(x),
            "rms": round(float(np.sqrt(np.mean(x.astype(np.float64) ** 2))), 7),
            "at": places,
            "values": [round(float(x[p]), 7) for p in places],
        }
    out = pathlib.Path(__file__).parent.parent / "data" / "audio_shared.json"
    out.write_text(json.dumps(table, indent=1) + "\n")


main()
