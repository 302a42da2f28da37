"""References and results of two recordings in every format that `diarist score` reads, with their scores by pyannote.metrics
(DER, also with a UEM) and meeteval (WER, cpWER)."""

import json

import meeteval
import numpy as np
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

import golden

FOLDER = golden.DATA / "score"
NAMES = {"right": ["ann", "bob", "cid"], "heard": ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"]}


def conversation(rng, count):
    """Reference and hypothesis as lists of (speaker, start, end, words)."""
    said, heard, time = [], [], 0.5
    for _ in range(count):
        speaker, words = int(rng.integers(3)), [str(w) for w in rng.choice(list("abcdefgh"), rng.integers(2, 9))]
        end = round(time + 0.3 * len(words), 3)
        said.append((speaker, round(time, 3), end, words))
        if rng.random() < 0.93:
            other = int(rng.integers(3)) if rng.random() < 0.15 else (speaker + 1) % 3
            kept = [str(rng.choice(list("abcdefgh"))) if rng.random() < 0.1 else w for w in words if rng.random() < 0.92] or ["a"]
            start, stop = max(0.0, time + rng.normal() * 0.15), end + rng.normal() * 0.15
            heard.append((other, round(start, 3), round(max(stop, start + 0.1), 3), kept))
        time = round(end + rng.normal() * 0.6, 3) if end > 1.5 else end
    return sorted(said, key=lambda u: u[1]), sorted(heard, key=lambda u: u[1])


def annotation(utterances):
    out = Annotation()
    for number, (speaker, start, end, _) in enumerate(utterances):
        out[Segment(start, end), number] = str(speaker)
    # Merges overlapping turns of one speaker, which pyannote.metrics would count twice.
    return out.support()


def der(pairs, uem):
    out = {}
    for place, collar in enumerate((0.0, 0.25)):
        metric = DiarizationErrorRate(collar=2 * collar)
        for name, (said, heard) in pairs.items():
            spans = Timeline([Segment(*span) for span in uem[name]]) if uem else None
            out.setdefault(name, []).append(metric(annotation(said), annotation(heard), uem=spans, detailed=True))
        total = {key: metric[key] for key in ("total", "missed detection", "false alarm", "confusion")}
        out.setdefault("all", []).append(total | {"diarization error rate": abs(metric)})
    name = {"total": "total", "missed detection": "missed", "false alarm": "false_alarm", "confusion": "confused",
            "diarization error rate": "rate"}
    return {key: [{"collar": collar} | {name[k]: v for k, v in parts.items() if k in name} for collar, parts in zip((0.0, 0.25), both)]
            for key, both in out.items()}


def words(pairs):
    out, total = {}, {"words": 0, "errors": 0, "cp_errors": 0}
    for name, sides in pairs.items():
        flat = [" ".join(w for u in side for w in u[3]) for side in sides]
        lists = [{str(s): " ".join(w for u in side if u[0] == s for w in u[3]) for s in {u[0] for u in side}} for side in sides]
        cp, single = meeteval.wer.cp_word_error_rate(*lists), meeteval.wer.wer.siso.siso_word_error_rate(*flat)
        out[name] = {"words": cp.length, "errors": single.errors, "cp_errors": cp.errors}
        total = {key: total[key] + out[name][key] for key in total}
    return out | {"all": total}


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    pairs = {name: conversation(np.random.default_rng(seed), 24) for name, seed in (("one", 41), ("two", 42))}
    uem = {"one": [(2.0, 9.5), (15.0, 24.25)], "two": [(0.0, 20.0)]}
    for side, key in enumerate(("right", "heard")):
        rows = [(name, NAMES[key][s], start, end, w) for name, both in pairs.items() for s, start, end, w in both[side]]
        write = lambda ending, lines: (FOLDER / f"{key}.{ending}").write_text("\n".join(lines) + "\n")
        write("rttm", [f"SPEAKER {n} 1 {a:.3f} {b - a:.3f} <NA> <NA> {s} <NA> <NA>" for n, s, a, b, _ in rows])
        write("stm", [";; recording channel speaker start end words"] + [f"{n} 1 {s} {a} {b} {' '.join(w).capitalize()}." for n, s, a, b, w in rows])
        seglst = [{"session_id": n, "speaker": s, "words": " ".join(w), "start_time": a, "end_time": b} for n, s, a, b, w in rows]
        write("json", ["[" + ",\n ".join(map(json.dumps, seglst)) + "]"])
    (FOLDER / "some.uem").write_text("".join(f"{n} 1 {a} {b}\n" for n, spans in uem.items() for a, b in spans))
    meta = golden.versions("numpy", "pyannote.metrics", "pyannote.core", "meeteval")
    golden.write_json("score/scores.json", {"meta": meta, "der": der(pairs, None), "der_uem": der(pairs, uem), "words": words(pairs)})


main()
