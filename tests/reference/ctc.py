"""CTC alignments of torchaudio's `forced_align` and of WhisperX's trellis.

Takes the folder of an unpacked WhisperX wheel: ctc.py <folder>

Log-probabilities and labels are not stored, but a function of the case. Case `c` draws 64-bit numbers q[i] = bits(SEED, "ctc<c>", i):
rows 1 + q[0] % 40, classes 2 + q[1] % 8, labels 1 + q[2] % (rows / 2 + 2), blank q[3] % classes. Label i is
q[100 + i] % (classes - 1), plus one from the blank on. The log-probability at index k, row-major, is -12 (a b) in f32, with
a and b the upper 24 bits of q[10000 + 2 k] and q[10001 + 2 k], divided by 2^24. Of the last LONG cases rows are
700 + q[0] % 800, classes 32, labels 200 + q[2] % 200.

A path is a string with one character per row: `.` for the blank, else the letter chr(97 + class).
"""

import ast
import dataclasses
import pathlib
import sys

import numpy as np
import torch

import golden
import seeded

# Skips torchaudio's check that it was built for torch's CUDA version, which does not matter on the CPU.
torch.version.cuda = None
import torchaudio.functional

SEED, CASES, LONG, TRELLISES = 9, 3000, 8, 400
# The classic test case of CTC: five rows of six probabilities, with blank 5 (also in torchaudio's tests).
TABLE = [
    [0.633766, 0.221185, 0.0917319, 0.0129757, 0.0142857, 0.0260553],
    [0.111121, 0.588392, 0.278779, 0.0055756, 0.00569609, 0.010436],
    [0.0357786, 0.633813, 0.321418, 0.00249248, 0.00272882, 0.0037688],
    [0.0663296, 0.643849, 0.280111, 0.00283995, 0.0035545, 0.00331533],
    [0.458235, 0.396634, 0.123377, 0.00648837, 0.00903441, 0.00623107],
]


def case(c):
    def draw(first, count):
        return seeded.bits(SEED, f"ctc{c}", np.arange(first, first + count))

    q = [int(v) for v in draw(0, 4)]
    if c < CASES:
        rows, classes = 1 + q[0] % 40, 2 + q[1] % 8
        count = 1 + q[2] % (rows // 2 + 2)
    else:
        rows, classes, count = 700 + q[0] % 800, 32, 200 + q[2] % 200
    blank = q[3] % classes
    labels = [int(v) % (classes - 1) for v in draw(100, count)]
    labels = [label + (label >= blank) for label in labels]
    pairs = (draw(10000, 2 * rows * classes) >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    log_probs = -(pairs[0::2] * pairs[1::2] * np.float32(12))
    return torch.from_numpy(log_probs.reshape(rows, classes)), labels, blank


def align(log_probs, labels, blank):
    """torchaudio's path; None if it refuses the case."""
    try:
        path, scores = torchaudio.functional.forced_align(log_probs[None], torch.tensor([labels], dtype=torch.int32), blank=blank)
    except RuntimeError as error:
        assert "targets length is too long for CTC" in str(error), error
        return None
    path = path[0].tolist()
    assert torch.equal(scores[0], log_probs[torch.arange(len(path)), path])
    return "".join("." if label == blank else chr(97 + label) for label in path)


def trellis_of(folder):
    """Loads get_trellis, backtrack and merge_repeats of whisperx/alignment.py without that file's imports."""
    source = (pathlib.Path(folder) / "whisperx" / "alignment.py").read_text()
    wanted = {"get_trellis", "backtrack", "merge_repeats", "Point", "Segment"}
    parts = [node for node in ast.parse(source).body if getattr(node, "name", None) in wanted]
    assert len(parts) == len(wanted)
    names = {"torch": torch, "dataclass": dataclasses.dataclass}
    exec(compile(ast.Module(parts, []), "alignment.py", "exec"), names)

    def align(log_probs, labels, blank):
        trellis = names["get_trellis"](log_probs, labels, blank)
        path = names["backtrack"](trellis, log_probs, labels, blank)
        if path is None:
            return None
        segments = names["merge_repeats"](path, labels)
        assert [s.label for s in segments] == labels and all(a.end == b.start for a, b in zip(segments, segments[1:]))
        return {"starts": [s.start for s in segments], "end": segments[-1].end, "scores": [round(s.score, 6) for s in segments]}

    return align


def main():
    meta = {"script": "ctc.py", "seed": SEED, **golden.versions("torch", "torchaudio")}
    cases = [align(*case(c)) for c in range(CASES + LONG)]
    table = torch.log(torch.tensor(TABLE))
    tables = [{"labels": labels, "path": align(table, labels, 5)} for labels in ([0, 1, 2, 1, 0], [0, 1, 1, 0], [2], [1, 1, 1], [1, 1, 1, 1])]
    golden.write_json("ctc/paths.json", {"meta": {**meta, "cases": CASES, "long": LONG}, "table": TABLE, "tables": tables, "paths": cases})
    whisperx = trellis_of(sys.argv[1])
    numbers = [*range(TRELLISES), *range(CASES, CASES + LONG)]
    spans = [{"case": c, "spans": whisperx(*case(c))} for c in numbers]
    golden.write_json("ctc/trellis.json", {"meta": {**meta, "whisperx": "3.8.6"}, "cases": spans})
    print("refused by torchaudio:", sum(path is None for path in cases), "by whisperx:", sum(s["spans"] is None for s in spans))


if __name__ == "__main__":
    main()
