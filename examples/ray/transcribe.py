"""Transcribes the recordings of a manifest on all machines of a Ray cluster; each result is a line of a JSONL file.

    python transcribe.py FILES.txt RESULTS.jsonl -- --model large-v3-turbo --diarize

What follows `--` are options of `diarist worker`. The manifest and the results are those of `diarist transcribe --manifest
--jsonl`. Stopped for whatever reason, the same command goes on where it was. Exit status: 0 all done, 1 some recordings
failed and the others are done, 2 nothing more can be done.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

import ray

from manifest import Entry, ManifestError, Results, read
from pool import MODULES, Pool, PoolError, Settings


def arguments(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What is asked for, and what is asked of the workers."""
    own, options = words, []
    if "--" in words:
        at = words.index("--")
        own, options = words[:at], words[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="a path a line, or JSON lines with path and, if wanted, id")
    parser.add_argument("results", type=Path, help="JSON lines; those that are there are not done again")
    parser.add_argument("--address", help="the cluster, for example auto [default: a cluster of this machine alone]")
    parser.add_argument("--diarist", default="diarist", help="the program, as the machines of the cluster find it")
    parser.add_argument("--cpus", type=int, default=2, help="cores of each worker [default: 2]")
    parser.add_argument("--in-flight", type=int, default=2, help="recordings each worker is at, side by side [default: 2]")
    parser.add_argument("--retries", type=int, default=3, help="times a recording is tried again after its worker was lost")
    parser.add_argument("--retry-failed", action="store_true", help="try again what has an error in the results")
    parser.add_argument("--timeout", type=float, help="most seconds for one recording [default: any number]")
    return parser.parse_args(own), options


def places(cpus: int) -> tuple[int, int]:
    """How many workers the cluster has room for, and how many GPUs each of them gets: one, or none if there are none."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(any(machine.get("GPU", 0) >= 1 for machine in machines))
    rooms = (min(machine.get("CPU", 0) // cpus, machine.get("GPU", 0) if gpus else sys.maxsize) for machine in machines)
    return int(sum(rooms)), gpus


def run(entries: list[Entry], results: Results, args: argparse.Namespace, options: list[str]) -> int:
    """Transcribes the recordings; the number of those that failed."""
    size, gpus = places(args.cpus)
    if not size:
        raise PoolError(f"no machine of the cluster has {args.cpus} cores; see --cpus")
    device = ["--device", "cuda"] if gpus else ["--device", "cpu", "--threads", str(args.cpus)]
    settings = Settings(args.diarist, [*device, *options], args.in_flight, args.timeout, args.cpus, gpus)
    pool, failed = Pool(settings, min(size, len(entries)), args.retries), 0
    paths = [str(Path(entry.path).absolute()) for entry in entries]
    for done, (index, outcome) in enumerate(pool.run(paths), 1):
        results.add(entries[index], outcome)
        failed += "error" in outcome
        print(f"{done} of {len(entries)}: {entries[index].path}", file=sys.stderr)
    print(f"{len(entries) - failed} done, {failed} failed, {pool.losses} workers lost", file=sys.stderr)
    return failed


def main(words: list[str]) -> int:
    """The command."""
    args, options = arguments(words)
    try:
        entries = read(args.manifest)
        with contextlib.closing(Results(args.results, args.retry_failed)) as results:
            todo = results.missing(entries)
            if not todo:
                return 0
            if not ray.is_initialized():
                ray.init(args.address, runtime_env={"py_modules": MODULES}, log_to_driver=False)
            return 1 if run(todo, results, args, options) else 0
    except (ManifestError, PoolError, OSError) as error:
        print(f"transcribe.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
