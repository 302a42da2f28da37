"""Goldens of diarization and scoring: SciPy's linkage, scikit-learn's KMeans, pyannote.audio's agglomerative clustering,
WhisperX's assign_word_speakers, pyannote.metrics' DER, and meeteval's cpWER and WER.

Takes the folders of an unpacked pyannote.audio wheel and of an unpacked WhisperX wheel: diarize.py <pyannote> <whisperx>
"""

import contextlib
import copy
import importlib.util
import io
import itertools
import pathlib
import sys
import types

import meeteval
import numpy as np
import pandas as pd
from pyannote.core import Annotation, Segment
from pyannote.metrics.diarization import DiarizationErrorRate
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans

import golden


def stub(name, **members):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(members)


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pyannote_clustering(folder):
    class Pipeline:
        pass

    ignored = lambda *_, **__: None
    for name in ("", ".core", ".pipelines", ".utils"):
        stub(f"pyannote.audio{name}")
    stub("pyannote.audio.core.io", AudioFile=object)
    stub("pyannote.audio.core.plda", PLDA=object)
    stub("pyannote.audio.pipelines.utils", oracle_segmentation=None)
    stub("pyannote.audio.utils.permutation", permutate=None)
    stub("pyannote.audio.utils.vbx", cluster_vbx=None)
    stub("pyannote.pipeline", Pipeline=Pipeline)
    stub("pyannote.pipeline.parameter", Categorical=ignored, Integer=ignored, Uniform=ignored)
    return load("clustering", folder / "pyannote/audio/pipelines/clustering.py")


def whisperx_diarize(folder):
    stub("torch", device=object)
    stub("pyannote.audio", Pipeline=object)
    stub("whisperx")
    stub("whisperx.audio", load_audio=None, SAMPLE_RATE=16000)
    stub("whisperx.schema", TranscriptionResult=dict, AlignedTranscriptionResult=dict, ProgressCallback=None)
    stub("whisperx.log_utils", get_logger=lambda name: None)
    return load("whisperx_diarize", folder / "whisperx/diarize.py")


def clouds(rng, sizes, dim, spread):
    """Embeddings around one centre per entry of `sizes`, shuffled, rounded to six digits."""
    centres = rng.normal(size=(len(sizes), dim))
    points = np.concatenate([c + spread * rng.normal(size=(n, dim)) for c, n in zip(centres, sizes)])
    return np.round(points[rng.permutation(len(points))], 6)


def clustering_cases(clustering):
    for seed, (sizes, spread) in enumerate([([30, 20, 10], 0.3), ([25, 25, 3, 1], 0.4), ([8, 6], 0.9), ([40], 1.0), ([1, 1], 0.1),
                                            ([14, 13, 12, 11, 10], 0.6)]):
        rng = np.random.default_rng(seed)
        points = clouds(rng, sizes, 6, spread)
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        tree = linkage(unit, method="centroid", metric="euclidean")
        cuts = [{"threshold": t, "labels": (fcluster(tree, t, criterion="distance") - 1).tolist()} for t in (0.2, 0.5, 0.7, 1.0)]
        ahc = []
        for low, high in [(None, None), (2, 2), (4, 4), (1, 1), (3, None), (None, 2), (4, 6)]:
            for threshold, min_size in [(0.7045654963945799, 12), (0.4, 3)]:
                model = clustering.AgglomerativeClustering()
                model.method, model.threshold, model.min_cluster_size = "centroid", threshold, min_size
                number, least, most = model.set_num_clusters(len(points), min_clusters=low, max_clusters=high)
                with contextlib.redirect_stdout(io.StringIO()):
                    labels = model.cluster(points.copy(), min_clusters=least, max_clusters=most, num_clusters=number)
                ahc.append({"min": int(least), "max": int(most), "threshold": threshold, "min_size": min_size, "labels": labels.tolist()})
        numbers = [k for k in (1, 2, 3, 5) if k <= len(points)]
        kmeans = [{"clusters": k, "labels": KMeans(n_clusters=k, n_init=3, random_state=42).fit_predict(unit.copy()).tolist()} for k in numbers]
        yield {"points": points.tolist(), "merges": tree.tolist(), "cuts": cuts, "ahc": ahc, "kmeans": kmeans}


def random_turns(rng, names, count):
    starts = np.cumsum(rng.exponential(2.0, count))
    return [[round(float(s), 3), round(float(s + 0.1 + rng.exponential(2.0)), 3), str(rng.choice(names))] for s in starts]


def annotation(turns):
    out = Annotation()
    for number, (start, end, name) in enumerate(turns):
        out[Segment(start, end), number] = name
    return out


def joined(turns):
    """Merges overlapping turns of one speaker, which pyannote.metrics would count twice."""
    return [[s.start, s.end, name] for s, _, name in annotation(turns).support().itertracks(yield_label=True)]


def time_cases():
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        reference = joined(random_turns(rng, ["a", "b", "c"], 25))
        swap = {"a": "y", "b": "x", "c": "z"}
        hypothesis = [[round(s + rng.normal() * 0.15, 3), round(e + 0.3 + rng.normal() * 0.15, 3), swap[n] if rng.random() < 0.8 else "w"]
                      for s, e, n in reference if rng.random() < 0.9]
        hypothesis = joined([[max(0.0, s), e, n] for s, e, n in hypothesis if e > s])
        rates = []
        for collar in (0.0, 0.25):
            parts = DiarizationErrorRate(collar=2 * collar)(annotation(reference), annotation(hypothesis), detailed=True)
            rates.append({"collar": collar, "total": parts["total"], "missed": parts["missed detection"],
                          "false_alarm": parts["false alarm"], "confused": parts["confusion"]})
        yield {"reference": reference, "hypothesis": hypothesis, "errors": rates}


def word_cases():
    for seed in range(12):
        rng = np.random.default_rng(200 + seed)
        reference = {name: [str(w) for w in rng.choice(list("abcdef"), rng.integers(1, 30))] for name in "ABC"[: rng.integers(1, 4)]}
        heard = {name: [] for name in "XYZW"[: rng.integers(1, 5)]}
        names = list(heard)
        for own, words in enumerate(reference.values()):
            for word in words:
                if rng.random() < 0.1:
                    continue
                place = own if rng.random() < 0.85 else int(rng.integers(len(names)))
                heard[names[place % len(names)]].append(str(rng.choice(list("abcdef"))) if rng.random() < 0.1 else word)
        join = lambda lists: {name: " ".join(words) for name, words in lists.items()}
        flat = lambda lists: " ".join(itertools.chain.from_iterable(lists.values()))
        cp = meeteval.wer.cp_word_error_rate(join(reference), join(heard))
        single = meeteval.wer.wer.siso.siso_word_error_rate(flat(reference), flat(heard))
        yield {"reference": reference, "hypothesis": heard, "cp_errors": cp.errors, "words": cp.length, "errors": single.errors}


def speaker_cases(whisperx):
    for seed in range(8):
        rng = np.random.default_rng(300 + seed)
        turns = random_turns(rng, ["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"], 12)
        segments, time = [], 0.0
        for _ in range(8):
            words = []
            for number in range(int(rng.integers(1, 8))):
                start, time = time, round(time + float(rng.exponential(0.4)) + 0.01, 3)
                word = {"word": f"w{number}"}
                if rng.random() < 0.85:
                    word |= {"start": round(start, 3), "end": time}
                words.append(word)
                time = round(time + float(rng.exponential(0.2)), 3)
            timed = [w for w in words if "start" in w]
            segments.append({"start": timed[0]["start"] if timed else round(time - 0.1, 3), "end": time, "text": "", "words": words})
        frame = pd.DataFrame(turns, columns=["start", "end", "speaker"])
        results = [{"fill_nearest": fill, "segments": whisperx.assign_word_speakers(
            frame, {"segments": copy.deepcopy(segments)}, fill_nearest=fill)["segments"]} for fill in (False, True)]
        yield {"turns": turns, "segments": segments, "results": results}


def main():
    pyannote, whisperx = map(pathlib.Path, sys.argv[1:])
    meta = golden.versions("scipy", "scikit-learn", "numpy", "pyannote.metrics", "pyannote.core", "meeteval")
    meta |= {"pyannote.audio": "4.0.4", "whisperx": "3.8.6"}
    golden.write_json("diarize/clustering.json", {"meta": meta, "cases": list(clustering_cases(pyannote_clustering(pyannote)))})
    golden.write_json("diarize/der.json", {"meta": meta, "cases": list(time_cases())})
    golden.write_json("diarize/cpwer.json", {"meta": meta, "cases": list(word_cases())})
    golden.write_json("diarize/speakers.json", {"meta": meta, "cases": list(speaker_cases(whisperx_diarize(whisperx)))})


main()
