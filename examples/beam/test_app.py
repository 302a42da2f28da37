"""The app without the cloud: its handler with the real worker, its image as Beam's SDK reads it, and its client."""

import base64
import concurrent.futures
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import invoke
import service
from conftest import OPTIONS, SAMPLE
from diarist_worker import Worker

FAKE = Path(__file__).parent.parent / "worker_client" / "fake_worker.py"
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "open-sesame"

# More than any request here takes, in seconds.
LONG = 120.0


@pytest.fixture(scope="module")
def worker(diarist: str) -> Iterator[Worker]:
    with Worker(*OPTIONS, "--max-duration", "60", program=diarist) as worker:
        yield worker


@pytest.fixture(scope="session")
def transcript(expected: dict[str, Any]) -> str:
    """Speakers and words as the command line gives them."""
    return "".join(f"[{segment['speaker']}]: {segment['text'].strip()}\n" for segment in expected["segments"])


def encoded(recording: bytes) -> dict[str, Any]:
    return {"audio_file": base64.b64encode(recording).decode()}


def test_the_sample_is_heard_as_by_the_command_line(worker: Worker, transcript: str) -> None:
    request = encoded(SAMPLE.read_bytes())
    assert service.transcribe(worker, request, LONG) == (200, {"transcript": transcript})
    unpadded = {"audio_file": request["audio_file"].rstrip("=")}
    assert service.transcribe(worker, unpadded, LONG) == (200, {"transcript": transcript})


def silence(seconds: int) -> bytes:
    """A WAV file of 8-bit samples at 8 kHz."""
    count = 8000 * seconds
    form = b"fmt " + b"".join(
        n.to_bytes(w, "little") for n, w in [(16, 4), (1, 2), (1, 2), (8000, 4), (8000, 4), (1, 2), (8, 2)]
    )
    data = b"data" + count.to_bytes(4, "little") + b"\x80" * count
    return b"RIFF" + (4 + len(form) + len(data)).to_bytes(4, "little") + b"WAVE" + form + data


@pytest.mark.parametrize(
    ("inputs", "status", "kind", "words"),
    [
        ({}, 400, "request", "audio_file is missing"),
        ({"audio": "AAAA"}, 400, "request", "audio_file is missing"),
        ({"audio_file": 7}, 400, "request", "audio_file is missing"),
        ({"audio_file": "no base64!"}, 400, "request", "not base64"),
        ({"audio_file": "Ümläut"}, 400, "request", "not base64"),
        ({"audio_file": "A"}, 400, "request", "not base64"),
        (encoded(b"no recording"), 415, "audio", ""),
        (encoded(b""), 415, "audio", ""),
        (encoded(silence(90)), 413, "too_long", "60"),
        ({"audio_file": "A" * (service.MAX_AUDIO_BYTES // 3 * 4 + 100)}, 413, "too_large", "more than 32 MiB"),
    ],
)
def test_what_is_wrong_with_a_request(worker: Worker, inputs: dict[str, Any], status: int, kind: str, words: str) -> None:
    found, answer = service.transcribe(worker, inputs, LONG)
    assert (found, answer["error"]["kind"]) == (status, kind)
    assert words in answer["error"]["message"]


def test_a_request_that_takes_too_long(worker: Worker) -> None:
    status, answer = service.transcribe(worker, encoded(SAMPLE.read_bytes()), 0.05)
    assert (status, answer["error"]["kind"]) == (408, "timeout")


def test_a_worker_that_died_is_not_quoted() -> None:
    with Worker("dies", program=str(FAKE)) as worker:
        status, answer = service.transcribe(worker, encoded(b"sound"), LONG)
    assert (status, answer["error"]["kind"]) == (503, "worker")
    assert "luck" not in answer["error"]["message"]


@pytest.fixture(scope="module")
def app(diarist: str) -> Iterator[Any]:
    """The app's module, as `beam deploy` imports it, with nothing to connect to."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in [("BEAM_TOKEN", "none"), ("GATEWAY_HOST", "127.0.0.1"), ("GATEWAY_PORT", "9")]:
            patch.setenv(name, value)
        patch.setenv("DIARIST", diarist)
        patch.setenv("DIARIST_OPTIONS", " ".join(OPTIONS))
        import app

        yield app


def test_the_endpoint_answers_with_what_on_start_made(app: Any, transcript: str) -> None:
    with app.load() as worker:
        context = SimpleNamespace(on_start_value=worker)
        good = app.transcribe.local(context=context, **encoded(SAMPLE.read_bytes()))
        bad = app.transcribe.local(context=context, audio="AAAA")
    assert (good.status_code, json.loads(good.body)) == (200, {"transcript": transcript})
    assert bad.status_code == 400


def test_the_image_has_what_its_build_needs(app: Any, tmp_path: Path) -> None:
    from beta9.abstractions.image import dockerignore_patterns
    from beta9.sync import FileSyncer
    from beta9.vendor.pathspec import PathSpec

    image = app.image
    assert 'ARG DIARIST_CUDA_ARCHS="sm_86"' in image.dockerfile
    ignored = dockerignore_patterns(image.dockerfile_path, image.dockerfile_context_dir)
    sent = FileSyncer(None, image.dockerfile_context_dir, prune_ignored_directories=False, use_project_ignore=False)
    sent.ignore_patterns, sent.include_patterns = ignored, []
    sent._ignore_spec = PathSpec.from_lines("gitwildmatch", ignored)
    files = {Path(file).relative_to(ROOT) for file in sent._collect_files()}
    assert not {file.parts[0] for file in files} & {".git", "target", "tests", "training"}
    copies = [line.split()[1:-1] for line in image.dockerfile.splitlines() if line.startswith("COPY") and "--from" not in line]
    copied = {Path(source) for sources in copies for source in sources}
    for file in files:
        assert copied & {file, *file.parents}, f"{file} is sent and not used"
    for source in copied:
        assert any(source in (file, *file.parents) for file in files), f"{source} is used and not sent"
    for file in files:
        target = tmp_path / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(ROOT / file)
    # Cargo refuses a manifest whose targets are not there.
    cargo = ["cargo", "metadata", "--no-deps", "--format-version=1"]
    subprocess.run(cargo, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)


class Service(BaseHTTPRequestHandler):
    """The contract over HTTP, with paths for what can go wrong."""

    worker: Worker
    patience = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/slow":
            self.patience.wait(LONG)
        elif self.path == "/moved":
            self.answer(302, b"", Location="http://127.0.0.1:9/elsewhere")
        elif self.path == "/page":
            self.answer(200, b"<html>Welcome</html>")
        elif self.path == "/beam":
            self.answer(500, b'{"error": "Traceback: boom"}')
        elif self.path == "/large":
            self.answer(413, b"")
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer(401, b'{"error": {"kind": "unauthorized", "message": "a known token is needed"}}')
        else:
            status, answer = service.transcribe(self.worker, json.loads(body), LONG)
            self.answer(status, json.dumps(answer).encode())

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url(worker: Worker) -> Iterator[str]:
    Service.worker = worker
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server, concurrent.futures.ThreadPoolExecutor(1) as thread:
        thread.submit(server.serve_forever)
        yield f"http://127.0.0.1:{server.server_port}"
        Service.patience.set()
        server.shutdown()


def test_the_client_prints_the_transcript(url: str, transcript: str) -> None:
    script = [sys.executable, invoke.__file__, str(SAMPLE)]
    environment = {"DIARIST_URL": url, "DIARIST_TOKEN": TOKEN}
    found = subprocess.run(script, env=environment, capture_output=True, text=True, check=True, timeout=LONG)
    assert (found.stdout, found.stderr) == (transcript, "")


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("/", ["--token", "guessed"], "401 Unauthorized; a known token is needed; the token is missing or wrong"),
        ("/large", [], "413 Request Entity Too Large; the recording is too large"),
        ("/slow", ["--timeout", "0.2"], "no answer after 0.2 s"),
        ("/moved", [], "302 Found; it has moved to http://127.0.0.1:9/elsewhere"),
        ("/page", [], "the answer is no transcript: <html>"),
        ("/beam", [], "500 Internal Server Error; Traceback: boom"),
    ],
)
def test_the_client_says_what_went_wrong(
    url: str, path: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke.main([str(SAMPLE), "--url", url + path, *options]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err


def test_what_the_client_refuses_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = tmp_path / "noise.wav"
    recording.write_bytes(b"noise")
    assert invoke.main([str(recording), "--url", "http://127.0.0.1:9"]) == 1
    assert invoke.main([str(recording), "--url", "nonsense"]) == 1
    assert invoke.main([str(tmp_path / "none.wav"), "--url", "http://127.0.0.1:9"]) == 1
    err = capsys.readouterr().err
    assert "refused" in err
    assert "nonsense" in err
    assert "none.wav" in err


def test_the_client_works_with_the_rest_service(capsys: pytest.CaptureFixture[str]) -> None:
    program = os.environ.get("DIARIST_REST")
    if not program:
        pytest.skip("DIARIST_REST does not name examples/rest's program")
    environment = {**os.environ, "DIARIST_TOKENS": TOKEN, "DIARIST_DEVICE": "cpu", "DIARIST_ADDRESS": "127.0.0.1:0"}
    with subprocess.Popen([program], env=environment, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout
            url = service.stdout.readline().strip()
            # The models are loaded while it listens already.
            for answer in iter(lambda: invoke.main([str(SAMPLE), "--url", url, "--token", TOKEN]), 0):
                assert answer == 1
                assert "503" in capsys.readouterr().err
            said = capsys.readouterr().out
            assert invoke.main([str(SAMPLE), "--url", url, "--token", "guessed"]) == 1
            assert "401" in capsys.readouterr().err
        finally:
            service.terminate()
    assert said.count("[SPEAKER_") > 10
    assert "The budget is almost ready." in said
