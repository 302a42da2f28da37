"""What is to be done, and what has been: the files of `diarist transcribe --manifest FILE --jsonl OUT`."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """A recording to transcribe; `id` is whatever the manifest calls it."""

    path: str
    id: Any = None

    @property
    def key(self) -> str:
        """The same for the same line of a manifest and of the results."""
        return json.dumps([self.path, self.id])


class ManifestError(Exception):
    """A file that is not what it should be; says which line."""


def read(manifest: Path) -> list[Entry]:
    """The recordings of a manifest: a path a line, or a JSON object with `path` and, if wanted, `id`."""
    entries: dict[str, Entry] = {}
    for number, line in enumerate(manifest.read_text().splitlines(), 1):
        if not line.strip():
            continue
        entry = _entry(line, f"{manifest}:{number}")
        if entries.setdefault(entry.key, entry) is not entry:
            raise ManifestError(f"{manifest}:{number}: {entry.path} is there twice; ids could tell the two apart")
    return list(entries.values())


def _entry(line: str, where: str) -> Entry:
    if not line.lstrip().startswith("{"):
        return Entry(line.strip())
    try:
        fields = json.loads(line)
        return Entry(fields["path"], fields.get("id"))
    except (KeyError, ValueError) as error:
        raise ManifestError(f"{where}: neither a path nor a JSON object with a path ({error!r})") from error


class Results:
    """The file of results, a line a recording. Opening it finds what is done, and cuts off a line that was half written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ManifestError(f"{path}: another run writes to it") from error
        self.done = self._recover(path)

    def add(self, entry: Entry, outcome: dict[str, Any]) -> None:
        """Writes one line, in full before the next; `outcome` holds `result` or `error`."""
        named = {"path": entry.path} if entry.id is None else {"path": entry.path, "id": entry.id}
        self._file.write(json.dumps({**named, **outcome}, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Makes sure of what was written."""
        os.fsync(self._file.fileno())
        self._file.close()

    def _recover(self, path: Path) -> set[str]:
        self._file.seek(0)
        done, whole = set(), 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                fields = json.loads(line)
                done.add(Entry(fields["path"], fields.get("id")).key)
            except (KeyError, ValueError) as error:
                raise ManifestError(f"{path}:{number}: not a line of results ({error!r})") from error
            whole += len(line)
        self._file.truncate(whole)
        return done
