"""The English recordings of ../shared, in the order of the goldens."""

import os
import pathlib

SHARED = pathlib.Path(os.environ.get("DIARIST_SHARED", "../shared")).resolve()
SUFFIXES = {".wav", ".flac", ".mp3", ".m4a", ".opus", ".webm"}
# Recordings in other languages. The folders audio/broken and audio/found are not listed below: decoders differ on them on purpose, and
# they have their own tests.
FOREIGN = {"audio/languages/test_de.wav", "audio/languages/test_es.wav", "audio/languages/test_fr.wav"}
FOLDERS = ["jfk", "dialogue", "ami", "languages", "alignment", "codecs", "voices/librispeech_test-other", "voices/librispeech_train-clean-100"]


def english() -> list[str]:
    names = []
    for folder in FOLDERS:
        paths = sorted((SHARED / "audio" / folder).rglob("*"))
        names += [path.relative_to(SHARED).as_posix() for path in paths if path.suffix in SUFFIXES]
    return [name for name in names if name not in FOREIGN]


def test_other() -> list[str]:
    """12.8 minutes of LibriSpeech's hard test set: 100 utterances of 10 speakers."""
    return [name for name in english() if "/librispeech_test-other/" in name]
