"""What the endpoint does, without Beam: a request's JSON in, a status and the answer's JSON out."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from diarist_worker import RequestError, RequestTimeout, Worker, WorkerError

# What the recording of a request may have. In base64 it is a third more, and must fit into a line of the worker's.
MAX_AUDIO_BYTES = 32 << 20

# The reasons that a client may know of, as examples/rest answers them. What else goes wrong is the server's business.
STATUS = {
    "request": HTTPStatus.BAD_REQUEST,
    "timeout": HTTPStatus.REQUEST_TIMEOUT,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too_long": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "audio": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "out_of_memory": HTTPStatus.SERVICE_UNAVAILABLE,
}

Answer = tuple[int, dict[str, Any]]

log = logging.getLogger(__name__)


def transcribe(worker: Worker, inputs: Mapping[str, Any], timeout: float) -> Answer:
    """`{"transcript": "[SPEAKER_00]: ...\\n"}` of `{"audio_file": "<base64>"}`, or `{"error": {"kind", "message"}}`."""
    try:
        return HTTPStatus.OK, {"transcript": worker.transcribe(_audio(inputs), timeout=timeout).text}
    except RequestError as error:
        if error.kind in STATUS:
            return _error(STATUS[error.kind], error.kind, error.message)
        log.error("a request failed: %s", error)
        return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "internal error; the server's log says more")
    except RequestTimeout as error:
        return _error(STATUS["timeout"], "timeout", f"{error}; send a shorter recording")
    except WorkerError as error:
        log.error("%s", error)
        return _error(HTTPStatus.SERVICE_UNAVAILABLE, "worker", "the engine has stopped, and is started again; try again")


def _audio(inputs: Mapping[str, Any]) -> bytes:
    text = inputs.get("audio_file")
    if not isinstance(text, str):
        raise RequestError("request", "audio_file is missing: the recording's file in base64")
    if len(text) > MAX_AUDIO_BYTES * 4 // 3 + 4:
        raise RequestError("too_large", f"audio_file has more than {MAX_AUDIO_BYTES >> 20} MiB; send a compressed format")
    try:
        # Some encoders leave the padding out.
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise RequestError("request", f"audio_file is not base64: {error}") from error


def _error(status: HTTPStatus, kind: str, message: str) -> Answer:
    return status, {"error": {"kind": kind, "message": message}}
