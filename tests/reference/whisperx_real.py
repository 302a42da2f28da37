"""Transcripts of whisperx for the English recordings of ../shared, with the published weights of Whisper tiny.en (tests/real/fetch.sh).

    whisperx_real.py FOLDER_OF_CTRANSLATE2 [THREADS]

whisperx's defaults on the CPU: its own VAD (pyannote), float32, beam 5, chunks of at most 30 s, no timestamps. Recordings that the
golden already has are kept, so that an interrupted run can be resumed; delete the file to regenerate it.
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("OMP_NUM_THREADS", sys.argv[2] if len(sys.argv) > 2 else "1")

import torch
import whisperx

import golden
import recordings

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
PATH = "real/whisperx.json"


def main(model: str):
    meta = {
        "versions": golden.versions("whisperx", "faster-whisper", "ctranslate2", "pyannote-audio", "torch"),
        "model": "Systran/faster-whisper-tiny.en",
        "options": {"compute_type": "float32", "vad_method": "pyannote", "beam_size": 5, "chunk_size": 30},
        "segment": ["start", "end", "text", "avg_logprob"],
    }
    target = golden.DATA / PATH
    content = json.loads(target.read_text()) if target.exists() else {"meta": meta, "recordings": {}}
    assert content["meta"] == meta, "the golden was made by other versions: delete it first"
    engine = whisperx.load_model(
        model, "cpu", compute_type="float32", language="en", threads=int(os.environ["OMP_NUM_THREADS"])
    )
    names = recordings.english()
    for i, name in enumerate(names):
        if name in content["recordings"]:
            continue
        segments = engine.transcribe(whisperx.load_audio(str(recordings.SHARED / name)), batch_size=8)["segments"]
        content["recordings"][name] = [
            [s["start"], s["end"], s["text"], round(float(s["avg_logprob"]), 5)] for s in segments
        ]
        print(f"{i + 1}/{len(names)} {name}", flush=True)
        if i % 10 == 9 or i + 1 == len(names):
            content["recordings"] = {name: content["recordings"][name] for name in names if name in content["recordings"]}
            golden.write_json(PATH, content)
    golden.write_json(PATH, content)


main(sys.argv[1])
