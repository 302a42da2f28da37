"""Talks to `diarist worker`: one process that holds the models, JSON lines on its pipes, any number of callers.

    with Worker("--model", "small", "--diarize") as worker:
        print(worker.transcribe("talk.mp3", language="en").text)

Every method may be called from any thread. Nothing but the standard library is needed.
"""

from __future__ import annotations

import base64
import collections
import concurrent.futures
import contextlib
import functools
import itertools
import json
import logging
import os
import queue
import signal
import subprocess
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Union

log = logging.getLogger(__name__)

Audio = Union[str, "os.PathLike[str]", bytes]

# What a process gets to end by itself, in seconds, once there is nothing left for it to do.
GRACE = 5.0


@dataclass(frozen=True)
class Transcript:
    """What a recording says: `text` to read, a turn a line; `result` as in the program's JSON files; what it lacks."""

    text: str
    result: dict[str, Any]
    warnings: tuple[str, ...] = ()


class WorkerError(Exception):
    """Why there is no transcript."""


class RequestError(WorkerError):
    """The worker's answer to one request; it goes on with the others. `kind` is the word of the protocol."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind, self.message = kind, message

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class RequestTimeout(WorkerError, TimeoutError):
    """A request took longer than its caller wanted to wait; it is cancelled."""


class WorkerDied(WorkerError):
    """The process ended, or was no longer understood, before it answered."""


class StartError(WorkerDied):
    """The process never became ready."""


class _Process:
    """One run of the program: its pipes, and the requests it owes an answer."""

    def __init__(self, command: list[str], max_in_flight: int) -> None:
        self.command = command
        self.max_in_flight = max_in_flight
        self.ready: Future[dict[str, Any]] = Future()
        self.over: str | None = None
        self._pending: dict[int, Future[Transcript]] = {}
        self._changed = threading.Condition()
        # Lines for the program; None closes its input. One thread writes, so that no caller is stuck in a full pipe.
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._last_words: collections.deque[str] = collections.deque(maxlen=8)
        pipe = subprocess.PIPE
        try:
            self.child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise StartError(f"{command[0]} cannot be started: {error}") from error
        self._listener = self._thread(self._listen)
        self._reader = self._thread(self._read)
        self._thread(self._write)

    def send(self, identity: int, line: bytes, timeout: float | None) -> Future[Transcript]:
        """Queues a request once fewer than `max_in_flight` run."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._pending) < self.max_in_flight, timeout):
                raise RequestTimeout(f"{self.max_in_flight} other requests still run")
            if self.over:
                raise WorkerDied(self.over)
            future: Future[Transcript] = Future()
            self._pending[identity] = future
            self._lines.put(line)
        future.add_done_callback(functools.partial(self._pass_on_cancel, identity))
        return future

    def stop(self, timeout: float) -> int:
        """Closes the input and waits; what runs after `timeout` seconds is cancelled. Gives the exit status."""
        self._lines.put(None)
        # The first SIGTERM asks to finish, the second to cancel; at once they could count as one.
        for patience, urge in ((timeout, None), (0.5, signal.SIGTERM), (GRACE, signal.SIGTERM), (None, signal.SIGKILL)):
            if urge:
                self.child.send_signal(urge)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(patience)
                break
        self._reader.join()
        return self.child.returncode

    @staticmethod
    def _thread(target: Any) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"diarist-worker{target.__name__}", daemon=True)
        thread.start()
        return thread

    def _pass_on_cancel(self, identity: int, future: Future[Transcript]) -> None:
        if future.cancelled():
            self._lines.put(_line({"id": identity, "cancel": True}))

    def _write(self) -> None:
        assert self.child.stdin
        # Of a broken pipe the reader learns, too, and says why.
        with contextlib.suppress(OSError), self.child.stdin as stdin:
            for line in iter(self._lines.get, None):
                stdin.write(line)
                stdin.flush()

    def _listen(self) -> None:
        assert self.child.stderr
        for line in self.child.stderr:
            text = line.decode(errors="replace").rstrip()
            self._last_words.append(text)
            log.info("%s", text)

    def _read(self) -> None:
        assert self.child.stdout
        reason = None
        try:
            for line in self.child.stdout:
                self._take(json.loads(line))
        except Exception as error:  # Whatever it is, those who wait must hear of it.
            reason = f"said what is no answer ({error!r})"
            self.child.kill()
        self._end(reason)

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("ready"):
            self.ready.set_result(message)
            return
        if message["id"] is None:
            raise ValueError(message["error"])
        if error := message.get("error"):
            outcome: Transcript | WorkerError = RequestError(error["kind"], error["message"])
        else:
            outcome = Transcript(message["text"], message["result"], tuple(message.get("warnings", ())))
        with self._changed:
            future = self._pending.pop(message["id"])
            self._changed.notify_all()
        _settle(future, outcome)

    def _end(self, reason: str | None) -> None:
        """Tells everybody who still waits that no answer comes."""
        self._lines.put(None)
        try:
            status = self.child.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            status = self.child.wait()
        self._listener.join(GRACE)
        how = reason or (f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}")
        words = f": {' | '.join(self._last_words)}" if self._last_words else ""
        with self._changed:
            self.over = f"{self.command[0]} worker {how}{words}"
            owed = list(self._pending.values())
            self._pending.clear()
            self._changed.notify_all()
        for future in owed:
            _settle(future, WorkerDied(self.over))
        if not self.ready.done():
            self.ready.set_exception(StartError(self.over))


class Worker:
    """A `diarist worker` with its models loaded. Blocks until it is ready.

    `args` are options of the command line, for example `"--model", "small"`: defaults for all requests. With `restart`, the
    request after a death starts a new process; those that were running fail all the same, since one of them may be why.
    """

    def __init__(
        self,
        *args: str,
        program: str = "diarist",
        max_in_flight: int = 4,
        max_request_bytes: int = 64 << 20,
        start_timeout: float = 600.0,
        restart: bool = False,
    ) -> None:
        limits = ["--max-in-flight", str(max_in_flight), "--max-request-bytes", str(max_request_bytes)]
        self._command = [program, "worker", *limits, *args]
        self._max_in_flight = max_in_flight
        self._max_request_bytes = max_request_bytes
        self._start_timeout = start_timeout
        self._restart = restart
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._closed = False
        self._process = self._start()

    @property
    def ready(self) -> dict[str, Any]:
        """What the process said of itself: `version`, `model`, `device`."""
        return self._process.ready.result()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.child.pid

    def submit(self, audio: Audio, *, timeout: float | None = None, **options: Any) -> Future[Transcript]:
        """Asks for the transcript of a file, or of a file's bytes; blocks while `max_in_flight` others run.

        `options` are the command line's, with underscores: `language="en"`, `diarize=True`. The future ends in a transcript,
        a `RequestError` or a `WorkerDied`; its `cancel()` stops the work.
        """
        identity = next(self._ids)
        source = {"audio_file": base64.b64encode(audio).decode()} if isinstance(audio, bytes) else {"path": os.fspath(audio)}
        line = _line({"id": identity, **source, "options": options})
        # The worker skips a longer line without reading its id, so it could not say whose it was.
        if len(line) - 1 > self._max_request_bytes:
            raise RequestError("too_large", f"the request has {len(line)} bytes; at most {self._max_request_bytes} are taken")
        return self._living().send(identity, line, timeout)

    def transcribe(self, audio: Audio, *, timeout: float | None = None, **options: Any) -> Transcript:
        """The transcript itself; see `submit`. After `timeout` seconds the request is cancelled."""
        began = time.monotonic()
        future = self.submit(audio, timeout=timeout, **options)
        try:
            return future.result(None if timeout is None else max(0.0, began + timeout - time.monotonic()))
        except concurrent.futures.TimeoutError:
            if not future.cancel():
                return future.result()
            raise RequestTimeout(f"no transcript after {timeout:g} s") from None
        except BaseException:
            future.cancel()
            raise

    def close(self, timeout: float = 60.0) -> int:
        """Takes no more requests, lets those that run finish, cancels them after `timeout` seconds. Gives the exit status."""
        with self._lock:
            self._closed = True
        return self._process.stop(timeout)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(60.0 if kind is None else 0.0)

    def _start(self) -> _Process:
        process = _Process(self._command, self._max_in_flight)
        try:
            process.ready.result(self._start_timeout)
        except concurrent.futures.TimeoutError:
            process.stop(0.0)
            raise StartError(f"{self._command[0]} worker is not ready after {self._start_timeout:g} s") from None
        return process

    def _living(self) -> _Process:
        with self._lock:
            if self._closed:
                raise WorkerError("the worker is closed")
            if self._process.over and self._restart:
                log.warning("%s; starting another", self._process.over)
                self._process = self._start()
            return self._process


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _settle(future: Future[Transcript], outcome: Transcript | WorkerError) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if isinstance(outcome, Transcript):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)
