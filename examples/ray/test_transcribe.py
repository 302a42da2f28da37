"""The pool on a Ray cluster of this machine: whatever is killed, each recording is in the results once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import ray
import soundfile

import pool
import transcribe
from conftest import SAMPLE
from manifest import Results

FAKE = Path(__file__).parent.parent / "worker_client" / "fake_worker.py"
CLIPS = 60

# Nothing that takes time: what matters here is which recordings have a result, not what it is.
OPTIONS = ["--model", "builtin", "--language", "en", "--beam-size", "1"]

# More than a run takes, in seconds.
LONG = 300


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Address of a cluster with two cores."""
    runtime = {"py_modules": pool.MODULES}
    ray.init(num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False, runtime_env=runtime)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the sample from 60 places; every other file has an id."""
    folder = tmp_path_factory.mktemp("clips")
    samples, rate = soundfile.read(SAMPLE)
    lines = []
    for i in range(CLIPS):
        path, start = folder / f"{i:02}.wav", i * (len(samples) - 2 * rate) // CLIPS
        soundfile.write(path, samples[start : start + 2 * rate], rate)
        lines.append(json.dumps({"path": str(path), "id": f"clip {i}"}) if i % 2 else str(path))
    return write(folder / "manifest", lines)


@pytest.fixture(scope="session")
def undisturbed(diarist: str, manifest: Path) -> list[str]:
    """The lines that the command line's own manifest mode makes."""
    out = manifest.parent / "undisturbed.jsonl"
    subprocess.run(manifest_mode(diarist, manifest, out), check=True, stdout=subprocess.DEVNULL)
    return lines(out)


def manifest_mode(diarist: str, manifest: Path, out: Path) -> list[str]:
    """The command for one machine."""
    return [diarist, "transcribe", "--manifest", str(manifest), "--jsonl", str(out), *OPTIONS, "--device", "cpu"]


def write(path: Path, content: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in content))
    return path


def lines(path: Path) -> list[str]:
    """The results, sorted, written in one way."""
    return sorted(json.dumps(json.loads(line), sort_keys=True) for line in path.read_text().splitlines())


def words(diarist: str, manifest: Path, out: Path) -> list[str]:
    """A command line: two workers of one core each."""
    return [str(manifest), str(out), "--diarist", diarist, "--cpus", "1", "--", *OPTIONS]


class Watched(pool.Pool):
    """Calls `hook` after each outcome, and keeps count."""

    hook: Callable[[pool.Pool, int], None] = staticmethod(lambda *_: None)
    last: "Watched"

    def run(self, paths: Sequence[str]) -> Iterator[tuple[int, pool.Outcome]]:
        Watched.last, self.paths = self, paths
        for number, outcome in enumerate(super().run(paths), 1):
            yield outcome
            Watched.hook(self, number)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    monkeypatch.setattr(transcribe, "Pool", Watched)
    monkeypatch.setattr(Watched, "hook", staticmethod(lambda *_: None))
    return Watched


ACTOR, WORKER = 0, 1


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("victim", [WORKER, ACTOR], ids=["worker", "actor"])
def test_a_loss_in_the_middle_changes_nothing(
    victim: int, diarist: str, manifest: Path, undisturbed: list[str], watched: type[Watched], tmp_path: Path
) -> None:
    def kill(running: pool.Pool, number: int) -> None:
        if number == CLIPS // 4:
            os.kill(next(iter(running.pids.values()))[victim], signal.SIGKILL)

    watched.hook = staticmethod(kill)
    assert transcribe.main(words(diarist, manifest, tmp_path / "out")) == 0
    assert watched.last.losses == 1
    assert lines(tmp_path / "out") == undisturbed


@pytest.mark.usefixtures("cluster")
def test_what_is_done_is_not_done_again(
    diarist: str, manifest: Path, undisturbed: list[str], watched: type[Watched], tmp_path: Path
) -> None:
    whole = (manifest.parent / "undisturbed.jsonl").read_text().splitlines(keepends=True)
    failed = json.dumps({**json.loads(whole[50]), "result": None, "error": {"kind": "io", "message": "unplugged"}})
    out = tmp_path / "out"
    out.write_text("".join(whole[:50]) + failed.replace('"result": null, ', "") + "\n" + whole[51][:100])
    assert transcribe.main(words(diarist, manifest, out)) == 0
    assert len(watched.last.paths) == CLIPS - 51
    assert transcribe.main(["--retry-failed", *words(diarist, manifest, out)]) == 0
    assert len(watched.last.paths) == 1
    assert lines(out) == undisturbed


@pytest.mark.usefixtures("cluster")
def test_the_command_line_goes_on_where_the_cluster_stopped(
    diarist: str, manifest: Path, undisturbed: list[str], tmp_path: Path
) -> None:
    some = write(tmp_path / "manifest", manifest.read_text().splitlines()[:12])
    out = tmp_path / "out"
    assert transcribe.main(words(diarist, some, out)) == 0
    whole = out.read_bytes()
    out.write_bytes(whole[:-20])
    subprocess.run(manifest_mode(diarist, some, out), check=True, stdout=subprocess.DEVNULL)
    assert out.read_bytes().startswith(whole[: whole.rindex(b"\n", 0, -1) + 1])
    assert set(lines(out)) <= set(undisturbed)
    assert len(lines(out)) == 12


def test_a_killed_command_goes_on(cluster: str, diarist: str, manifest: Path, undisturbed: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = [sys.executable, transcribe.__file__, "--address", cluster, *words(diarist, manifest, out)]
    environment = {**os.environ, "PYTHONPATH": str(Path(pool.diarist_worker.__file__).parent)}
    with subprocess.Popen(script, env=environment, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr
        for line in first.stderr:
            if line.startswith(f"{CLIPS // 3} of {CLIPS}"):
                first.kill()
                break
    assert first.wait() == -signal.SIGKILL
    done = len(lines(out))
    assert CLIPS // 3 <= done < CLIPS
    second = subprocess.run(script, env=environment, stderr=subprocess.PIPE, text=True, check=True, timeout=LONG)
    assert f"{CLIPS - done} done, 0 failed, 0 workers lost" in second.stderr
    assert lines(out) == undisturbed


@pytest.mark.usefixtures("cluster")
def test_a_recording_that_kills_its_worker_fails_alone(watched: type[Watched], tmp_path: Path) -> None:
    paths = [f"/recordings/{'poison' if i == 7 else i}.wav" for i in range(20)]
    script = [str(write(tmp_path / "manifest", paths)), str(tmp_path / "out")]
    # One worker: what is lost with the poison is to be tried again by the same one as that.
    script += ["--diarist", str(FAKE), "--cpus", "2", "--retries", "1", "--", "dies of poison"]
    assert transcribe.main(script) == 1
    found = [json.loads(line) for line in lines(tmp_path / "out")]
    assert sorted(line["path"] for line in found) == sorted(paths)
    [failed] = [line for line in found if "error" in line]
    assert failed["path"] == "/recordings/poison.wav"
    assert failed["error"]["kind"] == "lost"
    assert "lost 2 times" in failed["error"]["message"]
    assert watched.last.losses == 2


@pytest.mark.usefixtures("cluster")
def test_a_recording_that_cannot_be_read_is_a_line_of_its_own(diarist: str, tmp_path: Path) -> None:
    manifest = write(tmp_path / "manifest", [str(SAMPLE), "no/such/file.wav"])
    assert transcribe.main(words(diarist, manifest, tmp_path / "out")) == 1
    good, bad = sorted((json.loads(line) for line in lines(tmp_path / "out")), key=lambda line: "error" in line)
    assert good["result"]["segments"]
    assert bad["path"] == "no/such/file.wav"
    assert bad["error"]["kind"] == "audio"


@pytest.mark.usefixtures("cluster")
def test_workers_that_cannot_start(
    manifest: Path, watched: type[Watched], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert transcribe.main(words("no/such/program", manifest, tmp_path / "out")) == 2
    assert "no worker: no/such/program cannot be started" in capsys.readouterr().err
    assert watched.last.losses == 0


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (["a.wav", "", "a.wav"], ": lines 1 and 3 have one id, a.wav"),
        (["a.wav", '{"id": 1}'], ":2: neither a path nor"),
        (['{"path": "a.wav", "id": 1.5}'], "id is neither an integer nor a text"),
        (['{"path": "a.wav", "language": "en"}'], "language means nothing here"),
        (['{"path": '], ":1: neither a path nor"),
        ([" "], "names no recordings"),
    ],
)
def test_a_manifest_with_a_mistake(
    content: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write(tmp_path / "manifest", content)
    assert transcribe.main([str(manifest), str(tmp_path / "out")]) == 2
    assert complaint in capsys.readouterr().err


def test_results_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write(tmp_path / "manifest", ['{"path": "a.wav", "id": 1}'])
    out = write(tmp_path / "out", ['{"path": "b.wav", "id": 1, "result": {}}'])
    assert transcribe.main([str(manifest), str(out)]) == 2
    assert "1 is b.wav here, in the manifest a.wav" in capsys.readouterr().err


def test_two_commands_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write(tmp_path / "manifest", ["a.wav"])
    with contextlib.closing(Results(tmp_path / "out")):
        assert transcribe.main([str(manifest), str(tmp_path / "out")]) == 2
    assert "another run writes to it" in capsys.readouterr().err


def test_results_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write(tmp_path / "manifest", ["a.wav"])
    out = write(tmp_path / "out", ["these are", "my notes"])
    assert transcribe.main([str(manifest), str(out)]) == 2
    assert "out:1: not a line of results" in capsys.readouterr().err
    assert out.read_text() == "these are\nmy notes\n"
