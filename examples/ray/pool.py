"""A pool of Ray actors, each with a `diarist worker` of its own. What a lost worker was at is done again."""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

import diarist_worker
from diarist_worker import RequestError, RequestTimeout, StartError, Worker, WorkerDied

# What the actors need beside Ray; it travels to their machines with the job.
MODULES = [diarist_worker.__file__, __file__]

# After these the process is of no more use: its device has failed, or it is being stopped by somebody else.
FATAL = {"device", "cancelled"}

Outcome = dict[str, Any]


class PoolError(Exception):
    """Why no more files can be transcribed."""


@dataclass(frozen=True)
class Settings:
    """What an actor is, and what it starts."""

    program: str
    args: Sequence[str]
    in_flight: int = 2
    timeout: float | None = None
    cpus: float = 1
    gpus: float = 0


@ray.remote
class Transcriber:
    """An actor that owns one worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: Worker | None = None

    def start(self, pause: float) -> Outcome:
        """Starts the process after `pause` seconds. Until this has been answered, the actor has no use for files."""
        time.sleep(pause)
        try:
            limit = self._settings.in_flight
            self._worker = Worker(*self._settings.args, program=self._settings.program, max_in_flight=limit)
        except StartError as error:
            return {"lost": str(error)}
        return {"pids": [os.getpid(), self._worker.pid]}

    def transcribe(self, path: str) -> Outcome:
        """`result` or `error`, as the results' file has them, or why the process was `lost`."""
        assert self._worker
        try:
            found = self._worker.transcribe(path, timeout=self._settings.timeout)
            return {"result": found.result, **({"warnings": found.warnings} if found.warnings else {})}
        except RequestError as error:
            return {"lost": str(error)} if error.kind in FATAL else _error(error.kind, error.message)
        except RequestTimeout as error:
            return _error("timeout", str(error))
        except WorkerDied as error:
            return {"lost": str(error)}


@dataclass
class _Job:
    index: int
    path: str
    losses: int = 0


@dataclass(eq=False)
class _Seat:
    """A place for an actor; when one is lost, another takes it."""

    actor: Any = None
    up: bool = False
    jobs: list[_Job] = field(default_factory=list)
    failed_starts: int = 0


class Pool:
    """`size` actors; each file is tried again up to `retries` times after its worker was lost."""

    def __init__(self, settings: Settings, size: int, retries: int = 3) -> None:
        self.losses = 0
        # By seat: the numbers of the actor's process and of the worker's.
        self.pids: dict[int, list[int]] = {}
        self._settings = settings
        self._retries = retries
        self._seats = [_Seat() for _ in range(size)]
        self._calls: dict[ray.ObjectRef[Outcome], tuple[_Seat, Any, _Job | None]] = {}
        self._fresh: collections.deque[_Job] = collections.deque()
        self._lost: collections.deque[_Job] = collections.deque()

    def run(self, paths: Sequence[str]) -> Iterator[tuple[int, Outcome]]:
        """The outcome of every path once, with its index, as they are ready."""
        self._fresh.extend(_Job(index, path) for index, path in enumerate(paths))
        left = len(paths)
        try:
            for seat in self._seats:
                self._occupy(seat)
            while left:
                for seat in self._seats:
                    while job := self._next(seat):
                        self._call(seat, seat.actor.transcribe.remote(job.path), job)
                [done], _ = ray.wait(list(self._calls), num_returns=1)
                for result in self._returned(done):
                    left -= 1
                    yield result
        finally:
            for seat in self._seats:
                ray.kill(seat.actor)

    def _occupy(self, seat: _Seat) -> None:
        """Puts a new actor into a seat."""
        settings = self._settings
        seat.up = False
        # One more than files, for `start`.
        options = {"num_cpus": settings.cpus, "num_gpus": settings.gpus, "max_concurrency": settings.in_flight + 1}
        seat.actor = Transcriber.options(**options).remote(settings)
        # A worker whose actor was killed finishes what it is at, and holds its memory that long.
        pause = 2.0**seat.failed_starts if seat.failed_starts else 0.0
        self._call(seat, seat.actor.start.remote(pause), None)

    def _call(self, seat: _Seat, call: ray.ObjectRef[Outcome], job: _Job | None) -> None:
        self._calls[call] = (seat, seat.actor, job)
        if job:
            seat.jobs.append(job)

    def _next(self, seat: _Seat) -> _Job | None:
        if not seat.up:
            return None
        if self._fresh:
            return self._fresh.popleft() if len(seat.jobs) < self._settings.in_flight else None
        # Alone: a file that kills its worker must take no other with it.
        return self._lost.popleft() if self._lost and not seat.jobs else None

    def _returned(self, call: ray.ObjectRef[Outcome]) -> Iterator[tuple[int, Outcome]]:
        seat, actor, job = self._calls.pop(call)
        if job:
            seat.jobs.remove(job)
        try:
            outcome = ray.get(call)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            outcome = {"lost": f"{type(error).__name__}: {error}"}
        if "lost" not in outcome:
            seat.failed_starts = 0
            if job:
                yield job.index, outcome
            else:
                seat.up = True
                self.pids[self._seats.index(seat)] = outcome["pids"]
            return
        self._replace(seat, actor, outcome["lost"], started=job is not None)
        if job:
            job.losses += 1
            if job.losses > self._retries:
                yield job.index, _error("lost", f"its worker was lost {job.losses} times, the last time: {outcome['lost']}")
            else:
                self._lost.append(job)

    def _replace(self, seat: _Seat, actor: Any, why: str, *, started: bool) -> None:
        if not started:
            seat.failed_starts += 1
            # Where none ever started, none will.
            if seat.failed_starts > self._retries or not self.pids:
                raise PoolError(f"no worker: {why}")
        # The other files of the same actor come here, too.
        if seat.actor is actor:
            self.losses += 1
            ray.kill(actor)
            self._occupy(seat)


def _error(kind: str, message: str) -> Outcome:
    return {"error": {"kind": kind, "message": message}}
