"""Many clients at once against one at a time, as JSON: throughput, latency, errors, and the memory of the service.

    DIARIST_TOKENS=secret target/release/diarist-rest --model builtin --diarize-model builtin --device cpu &
    DIARIST_TOKENS=secret python load.py http://127.0.0.1:8000 recording.flac

On a machine that does something else as well, --pid of the service gives what each request took of the processor, too.

One client works before and after the many, so that a machine that becomes slower meanwhile does not decide the comparison. Needs
nothing but Python.
"""

import argparse
import base64
import collections
import http.client
import json
import os
import pathlib
import statistics
import threading
import time
import urllib.parse


class Run:
    """What some clients have seen, for as long as they were told to go on."""

    def __init__(self, clients, seconds):
        self.codes, self.latencies, self.failures = collections.Counter(), [], collections.Counter()
        self.lock = threading.Lock()
        self.memory = []
        start, used = time.monotonic(), processor()
        self.end = start + seconds
        threads = [threading.Thread(target=self.client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        # Every second; the last one when nobody is left.
        while any(thread.is_alive() for thread in threads):
            self.memory.append((time.monotonic() - start, metric("diarist_resident_memory_bytes")))
            time.sleep(1)
        self.seconds, self.processor = time.monotonic() - start, processor() - used

    def client(self):
        connection = connect()
        while time.monotonic() < self.end:
            begun = time.monotonic()
            try:
                connection.request("POST", "/", BODY, HEADERS)
                response = connection.getresponse()
                response.read()
                code = response.status
            except OSError as error:
                with self.lock:
                    self.failures[type(error).__name__] += 1
                connection = connect()
                continue
            took = time.monotonic() - begun
            with self.lock:
                self.codes[code] += 1
                if code == 200:
                    self.latencies.append(took)
            if code == 429:
                time.sleep(float(response.headers["Retry-After"]))

    def report(self):
        latencies = sorted(self.latencies)
        at = lambda share: round(latencies[min(len(latencies) - 1, int(share * len(latencies)))], 3)
        return {
            "seconds": round(self.seconds, 1),
            "answers": dict(self.codes),
            "failures": dict(self.failures),
            "requests_per_second": round(self.codes[200] / self.seconds, 3),
            "processor_seconds_per_request": round(self.processor / max(1, self.codes[200]), 3),
            "latency_s": {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99)},
        }

    def resident(self, begin, end):
        """Bytes on average between two moments: from one second to the next they differ by a tenth, as requests come and go."""
        return statistics.mean(size for moment, size in self.memory if begin <= moment <= end)


def processor():
    """Seconds of all cores that the service has used; 0 where its --pid is not given."""
    if ARGS.pid is None:
        return 0.0
    fields = pathlib.Path(f"/proc/{ARGS.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect():
    return http.client.HTTPConnection(URL.hostname, URL.port, timeout=600)


def metric(name):
    connection = connect()
    connection.request("GET", "/metrics", headers=HEADERS)
    lines = connection.getresponse().read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def main():
    one_before = Run(1, ARGS.seconds / 4)
    audio, began = metric("diarist_audio_seconds_total"), time.monotonic()
    many = Run(ARGS.clients, ARGS.seconds)
    heard = (metric("diarist_audio_seconds_total") - audio) / (time.monotonic() - began)
    one_after = Run(1, ARGS.seconds / 4)
    one, other, all_of_them = one_before.report(), one_after.report(), many.report()
    alone = (one["requests_per_second"] + other["requests_per_second"]) / 2
    # While all clients are still at it: a sixth of the time after the first half, and the last sixth.
    half, sixth = ARGS.seconds / 2, ARGS.seconds / 6
    first, last = many.resident(half, half + sixth), many.resident(ARGS.seconds - sixth, ARGS.seconds)
    report = {
        "one_client_before": one,
        f"{ARGS.clients}_clients": all_of_them,
        "one_client_after": other,
        "throughput_ratio": round(all_of_them["requests_per_second"] / alone, 3),
        "audio_seconds_per_second": round(heard, 1),
        "resident_bytes": {"half_way": round(first), "end": round(last), "change": round(last / first - 1, 4)},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", type=urllib.parse.urlsplit)
    parser.add_argument("recording", type=pathlib.Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--pid", type=int)
    ARGS = parser.parse_args()
    URL = ARGS.url
    HEADERS = {"Authorization": "Bearer " + os.environ.get("DIARIST_TOKENS", ""), "Content-Type": "application/json"}
    BODY = json.dumps({"audio_file": base64.b64encode(ARGS.recording.read_bytes()).decode()})
    main()
