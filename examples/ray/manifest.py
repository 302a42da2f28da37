"""What is to be done and what has been: the files of `diarist transcribe --manifest LIST --jsonl OUT`, as they are there."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

Id = int | str

# Of every line of results: what begins otherwise is no half of one.
BEGINNING = b'{"path": "'


@dataclass(frozen=True)
class Entry:
    """A recording; `id` is what its line of the results is called: unless the manifest says otherwise, its path."""

    path: str
    id: Id


class ManifestError(Exception):
    """A file that is not what it should be; says which line."""


def read(manifest: Path) -> list[Entry]:
    """The recordings of a manifest: a path a line, or a JSON object with `path` and, if wanted, `id`."""
    lines: dict[Id, tuple[int, Entry]] = {}
    for number, line in enumerate(manifest.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = _entry(line.removesuffix("\r"))
        except (TypeError, ValueError) as error:
            raise ManifestError(f"{manifest}:{number}: neither a path nor a JSON object with path and id ({error})") from error
        other, _ = lines.setdefault(entry.id, (number, entry))
        if other != number:
            raise ManifestError(f"{manifest}: lines {other} and {number} have one id, {entry.id}; give each its own")
    if not lines:
        raise ManifestError(f"{manifest} names no recordings")
    return [entry for _, entry in lines.values()]


def _entry(line: str) -> Entry:
    if not line.lstrip().startswith("{"):
        return Entry(line, line)
    fields = json.loads(line)
    unknown = fields.keys() - {"path", "id"}
    if unknown:
        raise ValueError(f"{min(unknown)} means nothing here")
    return _checked(fields)


def _checked(fields: dict[str, Any]) -> Entry:
    path, name = fields.get("path"), fields.get("id")
    if not isinstance(path, str):
        raise TypeError("path is no text")
    if name is None:
        name = path
    if isinstance(name, bool) or not isinstance(name, (int, str)):
        raise TypeError("id is neither an integer nor a text")
    return Entry(path, name)


class Results:
    """The file of results, a line a recording. Opening it finds what is done, and cuts off a line that was half written.

    With `retry_failed`, lines with an error are taken out.
    """

    def __init__(self, path: Path, retry_failed: bool = False) -> None:
        self._path = path
        self._file = _locked(path)
        self._done = self._recover()
        if retry_failed:
            self._leave_out_errors()

    def missing(self, entries: list[Entry]) -> list[Entry]:
        """Those of the recordings that are not done."""
        for entry in entries:
            if self._done.get(entry.id, entry.path) != entry.path:
                raise ManifestError(f"{self._path}: {entry.id} is {self._done[entry.id]} here, in the manifest {entry.path}")
        return [entry for entry in entries if entry.id not in self._done]

    def add(self, entry: Entry, outcome: dict[str, Any]) -> None:
        """Writes one line, to the disk; `outcome` holds `result` or `error`."""
        line = json.dumps({"path": entry.path, "id": entry.id, **outcome}, ensure_ascii=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Lets others write to the file."""
        self._file.close()

    def _recover(self) -> dict[Id, str]:
        done, whole = {}, 0
        self._file.seek(0)
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n") and line[: len(BEGINNING)] == BEGINNING[: len(line)]:
                break
            try:
                fields = json.loads(line)
                if ("result" in fields) == ("error" in fields):
                    raise ValueError("neither a result nor an error")
                entry = _checked(fields)
            except (AttributeError, TypeError, ValueError) as error:
                raise ManifestError(f"{self._path}:{number}: not a line of results ({error})") from error
            done[entry.id] = entry.path
            whole += len(line)
        self._file.truncate(whole)
        return done

    def _leave_out_errors(self) -> None:
        temporary = self._path.with_name(f".{self._path.name}-{os.getpid()}.part")
        new = _locked(temporary)
        self._file.seek(0)
        new.writelines(line for line in self._file if "error" not in json.loads(line))
        new.flush()
        os.fsync(new.fileno())
        temporary.replace(self._path)
        self._file.close()
        self._file = new
        self._done = self._recover()


def _locked(path: Path) -> BinaryIO:
    file = path.open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise ManifestError(f"{path}: another run writes to it") from error
    return file
