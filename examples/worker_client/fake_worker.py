#!/usr/bin/env python3
"""Speaks the protocol of `diarist worker`, up to a fault that the real one does not have: the last argument says which."""

import json
import signal
import sys
import time
from typing import Any


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def request() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def answer(to: dict[str, Any]) -> None:
    say({"id": to["id"], "text": to["path"], "result": {"options": to["options"]}, "warnings": ["not real"]})


def main(fault: str) -> None:
    if fault == "never ready":
        print("loading", file=sys.stderr, flush=True)
        request()
    say({"ready": True, "version": "0", "model": "fake", "device": "cpu"})
    if fault == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pause()
    while True:
        first = request()
        if fault == "dies":
            print("out of luck", file=sys.stderr, flush=True)
            sys.exit(3)
        elif fault == "dies of poison" and "poison" not in first["path"]:
            answer(first)
        elif fault == "dies of poison":
            # Slowly, with whatever has come by then.
            time.sleep(1.0)
            sys.exit(1)
        elif fault == "babbles":
            print("good morning", flush=True)
        elif fault == "forgets the id":
            say({"id": None, "error": {"kind": "request", "message": "what was that?"}})
        elif fault == "only cancels" and "cancel" in first:
            say({"id": first["id"], "error": {"kind": "cancelled", "message": "as you wish"}})
        elif fault == "backwards":
            for one in reversed([first, request(), request()]):
                answer(one)


if __name__ == "__main__":
    main(sys.argv[-1])
