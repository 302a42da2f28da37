"""Sends a recording to a service, and prints who said what.

    export DIARIST_URL=https://... DIARIST_TOKEN=...
    python invoke.py talk.mp3

The service is examples/rest, the app for Beam, or another one that takes {"audio_file": "<base64>"}.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

# What is worth adding to a refusal.
HINTS = {
    HTTPStatus.UNAUTHORIZED: "the token is missing or wrong; set DIARIST_TOKEN",
    HTTPStatus.FORBIDDEN: "the token may not use this service",
    HTTPStatus.NOT_FOUND: "there is no such service; check DIARIST_URL",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the recording is too large or too long; compress it, or cut it",
    HTTPStatus.TOO_MANY_REQUESTS: "the service is busy; try again later",
    HTTPStatus.SERVICE_UNAVAILABLE: "the service is not ready or too busy; try again later",
}

CONNECT_TIMEOUT = 10.0


class InvokeError(Exception):
    """Why there is no transcript."""


def transcribe(url: str, token: str | None, recording: bytes, timeout: float) -> str:
    """The transcript, one line a turn."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    payload = {"audio_file": base64.b64encode(recording).decode()}
    try:
        # A redirect would turn the POST into a GET, and hand the token to wherever it leads.
        response = requests.post(url, json=payload, headers=headers, timeout=(CONNECT_TIMEOUT, timeout), allow_redirects=False)
    except requests.ReadTimeout as error:
        raise InvokeError(f"{url}: no answer after {timeout:g} s; see --timeout") from error
    except requests.RequestException as error:
        raise InvokeError(f"{url}: {error}") from error
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.status_code != HTTPStatus.OK:
        raise InvokeError(_refusal(url, response, answer))
    if not isinstance(answer, dict) or not isinstance(answer.get("transcript"), str):
        raise InvokeError(f"{url}: the answer is no transcript: {response.text[:200]}")
    return answer["transcript"]


def _refusal(url: str, response: requests.Response, answer: Any) -> str:
    reason = answer.get("error", answer.get("message")) if isinstance(answer, dict) else None
    if isinstance(reason, dict):
        reason = reason.get("message")
    if response.is_redirect:
        reason = f"it has moved to {response.headers['Location']}"
    words = [f"{url}: {response.status_code} {response.reason}", reason, HINTS.get(HTTPStatus(response.status_code))]
    return "; ".join(str(word) for word in words if word)


def main(words: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, help="any audio or video file")
    parser.add_argument("--url", default=os.environ.get("DIARIST_URL"), help="the service [default: $DIARIST_URL]")
    parser.add_argument("--token", default=os.environ.get("DIARIST_TOKEN"), help="bearer token [default: $DIARIST_TOKEN]")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds to wait for the answer [default: 600]")
    args = parser.parse_args(words)
    if not args.url:
        parser.error("which service? give --url, or set DIARIST_URL")
    try:
        print(transcribe(args.url, args.token, args.recording.read_bytes(), args.timeout), end="")
    except (InvokeError, OSError) as error:
        print(f"invoke.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
