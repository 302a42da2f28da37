"""What all tests share: the program, its sample, and what the command line makes of that."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).resolve().parent.parent / "assets" / "sample" / "conversation.flac"

# The small models in the program.
MODELS = ["--model", "builtin", "--diarize", "--diarize-model", "builtin"]

# One thread, since there may be two processes at a time on two cores.
OPTIONS = [*MODELS, "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="session")
def diarist() -> str:
    """Path of the program, from the environment."""
    program = os.environ.get("DIARIST")
    assert program, "DIARIST must name the program, for example DIARIST=target/debug/diarist"
    return str(Path(program).resolve())


@pytest.fixture(scope="session")
def expected(diarist: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON the command line writes of the sample."""
    folder = tmp_path_factory.mktemp("expected")
    command = [diarist, "transcribe", str(SAMPLE), *OPTIONS, "-f", "json", "-o", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / "conversation.json").read_text())
