"""Outputs of WhisperX's writers for a few transcripts.

Takes the folder of an unpacked WhisperX wheel: writers.py <folder>. The transcript itself is the output of the JSON writer,
`<name>.json`; the others are `<name>.<options>.<extension>`, with the options in cases.json.
"""

import copy
import importlib.util
import pathlib
import sys
import types

import golden


def load(folder, name):
    sys.modules.setdefault("whisperx", types.ModuleType("whisperx"))
    spec = importlib.util.spec_from_file_location(f"whisperx.{name}", folder / "whisperx" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def words(text, start, step=0.25, gap=0.05, speaker=None, joiner=" "):
    """Consecutive words; a word in (parentheses) has no time."""
    out, t = [], start
    for word in text.split() if joiner else text:
        entry = {"word": word.strip("()")}
        if not word.startswith("("):
            entry |= {"start": round(t, 3), "end": round(t + step, 3), "score": round(0.5 + len(word) / 50, 3)}
        t += step + gap
        if speaker:
            entry["speaker"] = speaker
        out.append(entry)
    return out


def segment(text, start, end, timed=None, speaker=None, **options):
    out = {"start": start, "end": end, "text": text}
    if timed is not None:
        out["words"] = words(timed, start, speaker=speaker, **options)
    if speaker:
        out["speaker"] = speaker
    return out


LONG = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
TRANSCRIPTS = {
    "plain": {"language": "en", "segments": [
        segment(" Hello there.", 0.0, 1.28),
        segment(" An arrow --> in the text,\tand a tab.", 1.28, 3.4567),
        segment(" Ünïcödé “quotes” & <i>tags</i>", 59.9996, 61.2345),
        segment(" Late.", 3599.9995, 3723.004),
        segment("   ", 3800.0, 3801.0),
    ]},
    "speakers": {"language": "en", "segments": [
        segment(" Who is there?", 0.5, 1.5, speaker="SPEAKER_00"),
        segment(" Me.", 1.75, 2.0, speaker="SPEAKER_01"),
        segment(" Nobody knows.", 2.5, 3.25),
    ]},
    "empty": {"language": "en", "segments": []},
    "words": {"language": "en", "segments": [
        segment(" " + LONG, 0.31, 9.0, LONG),
        segment(" Thirteen (13) people came --> late.", 13.2, 15.0, "Thirteen ((13)) people came --> late."),
        segment(" Bye.", 15.02, 15.5, "Bye."),
    ]},
    "words speakers": {"language": "en", "segments": [
        segment(" Good morning, how are you today?", 1.0, 3.0, "Good morning, how are you today?", speaker="SPEAKER_01"),
        segment(" Fine, thank you.", 3.1, 4.0, "Fine, thank you.", speaker="SPEAKER_00"),
        segment(" $100", 4.5, 5.0, "($100)"),
        segment(" And after a long pause, more.", 12.0, 14.0, "And after a long pause, more.", speaker="SPEAKER_00"),
    ]},
    "japanese": {"language": "ja", "segments": [
        segment("今日はとても良い天気ですね。", 0.2, 3.1, "今日はとても良い天気ですね。", joiner="", step=0.18, gap=0.02),
        segment("明日も晴れるでしょう。", 3.3, 5.5, "明日も晴れるでしょう。", joiner="", step=0.18, gap=0.02),
    ]},
    "german": {"language": "de", "segments": [
        segment(" Sie kam spät nach Hause, weil der Zug aus München wieder einmal nicht gefahren ist, und niemand wusste warum.", 0.0, 6.5,
                "Sie kam spät nach Hause, weil der Zug aus München wieder einmal nicht gefahren ist, und niemand wusste warum."),
        segment(" Ohne Wortzeiten geht es auch, aber dann wird die Zeit eben nach der Zahl der Wörter geschätzt.", 6.9, 12.0),
    ]},
}

OPTIONS = {
    "default": {"max_line_width": None, "max_line_count": None, "highlight_words": False},
    "width": {"max_line_width": 24, "max_line_count": None, "highlight_words": False},
    "width-count": {"max_line_width": 20, "max_line_count": 2, "highlight_words": False},
    "width-one": {"max_line_width": 42, "max_line_count": 1, "highlight_words": False},
    "highlight": {"max_line_width": None, "max_line_count": None, "highlight_words": True},
    "highlight-width-count": {"max_line_width": 18, "max_line_count": 2, "highlight_words": True},
}


def main():
    folder = pathlib.Path(sys.argv[1])
    utils, _ = load(folder, "utils"), load(folder, "conjunctions")
    processor = load(folder, "SubtitlesProcessor")
    target = golden.DATA / "writers"
    target.mkdir(parents=True, exist_ok=True)
    cases, cues = [], []
    for name, result in TRANSCRIPTS.items():
        stem = name.replace(" ", "-")
        timed = any("words" in s for s in result["segments"])
        if timed:
            result["word_segments"] = [w for s in result["segments"] for w in s.get("words", [])]
        utils.get_writer("json", str(target))(result, f"{stem}.wav", {})
        for extension in ("txt", "vtt", "srt", "tsv", "aud"):
            for label, options in OPTIONS.items():
                if label != "default" and not (timed and all("words" in s for s in result["segments"]) and extension in ("srt", "vtt")):
                    continue
                if extension == "vtt" and label not in ("default", "highlight"):
                    continue
                if name == "german" and extension in ("srt", "vtt"):
                    continue  # words in the first segment only: WhisperX raises KeyError
                utils.get_writer(extension, str(target))(result, f"{stem}.{label}.wav", options)
                cases.append({"transcript": f"{stem}.json", "options": options, "format": extension, "file": f"{stem}.{label}.{extension}"})
        if name not in ("empty", "plain", "speakers"):
            for is_vtt in (False, True):
                # estimates missing word times in place: give it a copy
                maker = processor.SubtitlesProcessor(copy.deepcopy(result["segments"]), result["language"], is_vtt=is_vtt)
                file = f"{stem}.processor.{'vtt' if is_vtt else 'srt'}"
                maker.save(str(target / file), advanced_splitting=True)
                cues.append({"transcript": f"{stem}.json", "language": result["language"], "file": file})
    golden.write_json("writers/cases.json", {
        "meta": {"script": "writers.py", "whisperx": "3.8.6"}, "writers": cases, "subtitles_processor": cues,
    })


if __name__ == "__main__":
    main()
