"""The client: with the real worker, and with one that has the faults the real one cannot be made to show."""

import concurrent.futures
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import diarist_worker
from conftest import OPTIONS, SAMPLE
from diarist_worker import RequestError, RequestTimeout, StartError, Transcript, Worker, WorkerDied, WorkerError

FAKE = Path(__file__).parent / "fake_worker.py"

# Longer than anything here takes; a test that waits this long has failed.
LONG = 120.0


def faulty(fault: str, **settings: Any) -> Worker:
    return Worker(fault, program=str(FAKE), **settings)


def test_answers_find_their_request_whatever_their_order() -> None:
    with faulty("backwards") as worker, concurrent.futures.ThreadPoolExecutor(3) as callers:
        asked = {f"{i}.wav": callers.submit(worker.transcribe, f"{i}.wav", timeout=LONG, seed=i) for i in range(3)}
        for i, (path, found) in enumerate(asked.items()):
            assert found.result() == Transcript(path, {"options": {"seed": i}}, ("not real",))


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(StartError, match="no/such/program cannot be started"):
        Worker(program="no/such/program")


def test_a_process_that_is_never_ready() -> None:
    with pytest.raises(StartError, match=r"not ready after 0\.5 s"):
        faulty("never ready", start_timeout=0.5)


def test_a_refused_command_line_is_quoted(diarist: str) -> None:
    with pytest.raises(StartError, match="no-such-option"):
        Worker("--no-such-option", program=diarist)


def test_death_reaches_everyone_who_waits() -> None:
    worker = faulty("dies")
    asked = [worker.submit("a.wav"), worker.submit("b.wav")]
    for future in asked:
        with pytest.raises(WorkerDied, match="ended with status 3: out of luck"):
            future.result(LONG)
    with pytest.raises(WorkerDied, match="status 3"):
        worker.submit("c.wav")
    assert worker.close() == 3


def test_death_reaches_those_who_wait_for_room() -> None:
    worker = faulty("deaf", max_in_flight=1)
    worker.submit("a.wav")
    with concurrent.futures.ThreadPoolExecutor(1) as callers:
        late = callers.submit(worker.submit, "b.wav")
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="SIGKILL"):
            # Whether it was let in or not when the process died, there is no answer.
            late.result(LONG).result(LONG)


@pytest.mark.parametrize(
    ("fault", "words"), [("babbles", "what is no answer"), ("forgets the id", "what was that"), ("dies", "out of luck")]
)
def test_a_faulty_process_is_ended_and_another_started(fault: str, words: str) -> None:
    with faulty(fault, restart=True) as worker:
        pids = set()
        for _ in range(2):
            with pytest.raises(WorkerDied, match=words):
                worker.transcribe("a.wav", timeout=LONG)
            pids.add(worker.pid)
        assert len(pids) == 2


def test_no_caller_is_stuck_in_a_full_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diarist_worker, "GRACE", 0.1)
    worker = faulty("deaf", max_in_flight=2)
    megabytes = bytes(4 << 20)
    for _ in range(2):
        with pytest.raises(RequestTimeout, match=r"no transcript after 0\.2 s"):
            worker.transcribe(megabytes, timeout=0.2)
    with pytest.raises(RequestTimeout, match="2 other requests still run"):
        worker.transcribe(megabytes, timeout=0.2)
    assert worker.close(timeout=0.1) == -signal.SIGKILL


def test_giving_up_makes_room() -> None:
    with faulty("only cancels", max_in_flight=1) as worker:
        for _ in range(3):
            with pytest.raises(RequestTimeout, match="no transcript"):
                worker.transcribe("a.wav", timeout=1.0)


def test_what_cannot_be_sent_is_refused_at_once() -> None:
    with faulty("backwards", max_request_bytes=1000) as worker:
        with pytest.raises(RequestError, match="at most 1000 are taken") as refusal:
            worker.submit(bytes(1000))
        assert refusal.value.kind == "too_large"
        with pytest.raises(UnicodeEncodeError):
            worker.submit(b"\xff.wav".decode(errors="surrogateescape"))
        with pytest.raises(ValueError, match="not JSON compliant"):
            worker.submit("a.wav", temperature=float("nan"))


@pytest.fixture(scope="module")
def real(diarist: str) -> Any:
    with Worker(*OPTIONS, program=diarist, max_in_flight=2) as worker:
        yield worker


def test_the_command_lines_transcript_from_several_threads(real: Worker, expected: dict[str, Any]) -> None:
    inputs = [SAMPLE, SAMPLE.read_bytes(), str(SAMPLE)]
    with concurrent.futures.ThreadPoolExecutor(3) as callers:
        found = list(callers.map(lambda audio: real.transcribe(audio, timeout=LONG), inputs))
    for transcript in found:
        assert transcript.result == expected
        assert transcript.text == "".join(f"[{s['speaker']}]: {s['text'].strip()}\n" for s in expected["segments"])
    assert real.ready["model"] == "builtin"


def test_options_of_one_request(real: Worker, expected: dict[str, Any]) -> None:
    plain = real.transcribe(SAMPLE, timeout=LONG, diarize=False)
    assert "SPEAKER" not in plain.text
    assert [w["word"] for w in plain.result["word_segments"]] == [w["word"] for w in expected["word_segments"]]


@pytest.mark.parametrize(
    ("audio", "options", "kind"),
    [
        (b"no recording", {}, "audio"),
        ("no/such/file.wav", {}, "audio"),
        (SAMPLE, {"beam_size": "many"}, "config"),
        (SAMPLE, {"device": "cuda"}, "config"),
    ],
)
def test_a_refusal_is_the_requests_own(real: Worker, audio: Any, options: dict[str, Any], kind: str) -> None:
    with pytest.raises(RequestError) as refusal:
        real.transcribe(audio, timeout=LONG, **options)
    assert refusal.value.kind == kind


def test_what_is_cancelled_disturbs_nobody(real: Worker, expected: dict[str, Any]) -> None:
    given_up, kept = real.submit(SAMPLE), real.submit(SAMPLE)
    assert given_up.cancel()
    assert kept.result(LONG).result == expected
    assert real.transcribe(SAMPLE, timeout=LONG).result == expected


def test_a_killed_worker_is_started_again(diarist: str) -> None:
    with Worker(*OPTIONS, program=diarist, restart=True) as worker:
        lost, victim = worker.submit(SAMPLE), worker.pid
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="SIGKILL"):
            lost.result(LONG)
        assert worker.transcribe(SAMPLE, timeout=LONG).text
        assert worker.pid != victim


def test_closing_lets_what_runs_finish(diarist: str) -> None:
    worker = Worker(*OPTIONS, program=diarist)
    running = worker.submit(SAMPLE)
    assert worker.close(LONG) == 0
    assert running.done()
    assert running.result().text
    with pytest.raises(WorkerError, match="closed"):
        worker.submit(SAMPLE)


def test_closing_in_a_hurry_cancels(diarist: str) -> None:
    worker = Worker(*OPTIONS, program=diarist)
    running = worker.submit(SAMPLE)
    assert worker.close(0.0) in (0, 130)
    with pytest.raises((RequestError, WorkerDied)):
        running.result(0)
