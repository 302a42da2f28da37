"""The real client: what `requests` gets from the service is what the command line writes.

    python test_client.py --service target/debug/diarist-rest --program target/debug/diarist

The engine's sample is sent as FLAC, MP3 and Ogg Opus, encoded here. With --shared FOLDER (a folder of recordings), what lies in its
audio/codecs is sent, too.
"""

import argparse
import base64
import json
import os
import pathlib
import subprocess
import tempfile
import time

import requests
import soundfile

TOKEN = "a-token-for-tests"
SAMPLE = pathlib.Path(__file__).resolve().parents[2] / "assets" / "sample" / "conversation.flac"
# What the service does with the models in the program unless it is told otherwise.
USUAL = "--model builtin --diarize --diarize-model builtin --chunk-size 5 --fill-nearest --sentence-speakers --device cpu --verbose False".split()


def encoded(folder):
    """The sample in the formats that people send."""
    sound, rate = soundfile.read(SAMPLE)
    for name, kind in (("sample.flac", {}), ("sample.mp3", {}), ("sample.opus", {"format": "OGG", "subtype": "OPUS"})):
        soundfile.write(folder / name, sound, rate, **kind)
        yield folder / name


class Service:
    """The program, with the built-in models."""

    def __enter__(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DIARIST_")}
        environment |= {"DIARIST_TOKENS": TOKEN, "DIARIST_LOG": "error"}
        line = [ARGS.service, "--address", "127.0.0.1:0", "--device", "cpu", "--model", "builtin", "--diarize-model", "builtin"]
        self.process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        while requests.get(f"{self.url}/ready", timeout=60).status_code != 200:
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(60) == 0, "it did not end as it was told to"

    def post(self, token=TOKEN, **what):
        return requests.post(self.url, headers={"Authorization": f"Bearer {token}"}, timeout=600, **what)


def written(recording, folder, options=()):
    """What the command line writes: text and JSON."""
    line = [ARGS.program, "transcribe", recording, *USUAL, "-f", "txt,json", "-o", folder, *options]
    subprocess.run(line, check=True)
    return [(folder / recording.name).with_suffix(suffix).read_text() for suffix in (".txt", ".json")]


def same(service, recording, folder):
    """The tutorial's request, a form, and the JSON, against the command line's files."""
    text, whole = written(recording, folder)
    audio = {"audio_file": base64.b64encode(recording.read_bytes()).decode()}
    answer = service.post(json=audio)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"transcript": text}, f"{recording.name}:\n{answer.json()}\n{text}"
    with recording.open("rb") as file:
        form = service.post(files={"file": file}, data={"format": "json"})
    assert form.text == whole, f"{recording.name}:\n{form.text}\n{whole}"
    assert service.post(json=audio | {"format": "json"}).json() == json.loads(whole)
    return text


def options(service, recording, folder):
    """Options mean what they mean on the command line."""
    given = {"num_speakers": 2, "language": "en", "beam_size": 1, "whole_segments": True, "no_align": True}
    line = ["--num-speakers", "2", "--language", "en", "--beam-size", "1", "--whole-segments", "--no-align"]
    audio = {"audio_file": base64.b64encode(recording.read_bytes()).decode()}
    text, whole = written(recording, folder, line)
    assert service.post(json=audio | given).json() == {"transcript": text}
    assert service.post(json=audio | given | {"format": "json"}).text == whole


def refusals(service):
    """A client that is refused gets to read why, even if it sends everything first."""
    assert service.post(token="wrong", json={}).status_code == 401
    huge = service.post(data=b"0" * (200 << 20))
    assert huge.status_code == 413 and huge.json()["error"]["kind"] == "too_large", huge.text
    assert service.post(token="wrong", data=b"0" * (200 << 20)).status_code == 401
    assert service.post(json={"audio_file": "%"}).status_code == 400


def main():
    sent = 0
    with tempfile.TemporaryDirectory() as name, Service() as service:
        folder = pathlib.Path(name)
        for recording in encoded(folder):
            text = same(service, recording, folder)
            assert "[SPEAKER_00]: " in text and "[SPEAKER_01]: " in text and "project" in text, text
            sent += 1
        options(service, folder / "sample.flac", folder)
        refusals(service)
        clips = sorted((ARGS.shared / "audio" / "codecs").iterdir()) if ARGS.shared else []
        for clip in clips:
            same(service, clip, folder)
        print(f"{sent} encodings of the sample and {len(clips)} other clips: the same as on the command line")
        if not clips:
            print("skipped: other clips, since there is no --shared")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service", required=True, help="the program diarist-rest")
    parser.add_argument("--program", required=True, help="the program diarist")
    parser.add_argument("--shared", type=pathlib.Path, help="a folder with recordings in audio/codecs")
    ARGS = parser.parse_args()
    main()
