"""The app for Beam: `beam deploy app.py:transcribe`.

The models are loaded once, when a container starts; their files stay on a volume, so that only the first container fetches
them. Beam checks the bearer token.
"""

import os
from pathlib import Path
from typing import Any

from beam import Image, Volume, endpoint
from fastapi.responses import JSONResponse

import service
from diarist_worker import Worker

MODEL = "large-v3-turbo"
MODELS = "./models"

# Of one recording, in seconds: how long it may be, and how long it may take.
MAX_DURATION = 2 * 3600
TIMEOUT = 600

HERE = Path(__file__).resolve().parent

# Built from this checkout, so that the program, its kernels and its client are of one version.
image = Image.from_dockerfile(
    str(HERE / "Dockerfile"), context_dir=str(HERE.parent.parent), build_args={"DIARIST_CUDA_ARCHS": "sm_86"}
)


def load() -> Worker:
    """Starts the program; it is ready when the models are loaded."""
    options = os.environ.get("DIARIST_OPTIONS", f"--model {MODEL} --diarize --diarize-model open --device cuda").split()
    limits = ["--model-dir", MODELS, "--max-duration", str(MAX_DURATION)]
    return Worker(*options, *limits, program=os.environ.get("DIARIST", "diarist"), restart=True)


@endpoint(
    name="diarist",
    image=image,
    gpu="A10G",
    cpu=4,
    memory="16Gi",
    on_start=load,
    volumes=[Volume(name="diarist-models", mount_path=MODELS)],
    # The handler gives up first, and says why.
    timeout=TIMEOUT + 30,
    keep_warm_seconds=120,
)
def transcribe(context: Any, **inputs: Any) -> JSONResponse:
    """The endpoint."""
    status, answer = service.transcribe(context.on_start_value, inputs, TIMEOUT)
    return JSONResponse(answer, status)
