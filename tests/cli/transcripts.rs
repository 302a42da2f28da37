//! `diarist transcribe`, `vad` and `demo`: result files, printed text, and errors.

use serde_json::Value;

use crate::dsl::Dir;

const BUILTIN: &str = "--model builtin --beam-size 1 --temperature-increment-on-fallback None";

#[test]
fn every_format_is_written_and_the_text_printed() {
    let dir = Dir::new();
    dir.speech("talk.wav", 4.5);
    let outcome = dir.diarist(&format!("transcribe talk.wav {BUILTIN}")).run();
    outcome.exits(0).without_complaint().prints(&["Transcript: [0.", " --> "]);
    assert_eq!(dir.files(), ["talk.json", "talk.srt", "talk.tsv", "talk.txt", "talk.vtt", "talk.wav"]);
    let json: Value = serde_json::from_str(&dir.read("talk.json")).unwrap();
    let segment = &json["segments"][0];
    for key in ["start", "end", "text", "tokens", "avg_logprob", "no_speech_prob", "compression_ratio", "temperature"] {
        assert!(!segment[key].is_null(), "{key} is not in {segment}");
    }
    assert_eq!(json["language"], "en");
    let text = segment["text"].as_str().unwrap().trim();
    assert!(dir.read("talk.txt").contains(text) && dir.read("talk.srt").contains(text));
    assert!(outcome.stdout.contains(text));
    assert!(dir.read("talk.vtt").starts_with("WEBVTT\n"));
    assert!(dir.read("talk.tsv").starts_with("start\tend\ttext\n"));
}

#[test]
fn whisperx_spelling_one_format_a_new_folder_and_no_output() {
    let dir = Dir::new();
    dir.speech("talk.wav", 3.0);
    let args = "--output_format aud --output_dir a/new/folder --batch_size 2 --verbose False --compute_type float32 \
                --no_align --language English --threads 1";
    let outcome = dir.diarist(&format!("transcribe talk.wav {BUILTIN} {args}")).run();
    assert_eq!(outcome.exits(0).without_complaint().stdout, "");
    assert_eq!(dir.files(), ["a/new/folder/talk.aud", "talk.wav"]);
}

#[test]
fn the_text_depends_neither_on_the_batch_nor_on_the_threads() {
    let dir = Dir::new();
    dir.speech("talk.wav", 20.0);
    for (name, args) in [("a", "--batch-size 1 --threads 1"), ("b", "--batch-size 8 --threads 2")] {
        let args = format!("transcribe talk.wav {BUILTIN} --chunk-size 5 -f json -o {name} {args}");
        dir.diarist(&args).run().exits(0);
    }
    assert_eq!(dir.read("a/talk.json"), dir.read("b/talk.json"));
}

#[test]
fn unreadable_recordings_are_named_and_the_rest_is_done() {
    let dir = Dir::new();
    dir.speech("good.wav", 2.0);
    dir.speech("also good.wav", 2.0);
    dir.write("text.wav", "This is no recording.\n");
    dir.write("empty.wav", "");
    dir.write("cut.flac", &diarist::assets::SAMPLE[..60_000]);
    std::fs::create_dir(dir.path("folder.wav")).unwrap();
    let run = dir.diarist("transcribe text.wav good.wav empty.wav missing.wav folder.wav cut.flac *.mp3 - -f txt");
    let outcome = run.arg("also good.wav").arg("--model=builtin").arg("-o").arg("out").run();
    outcome.exits(1).complains(&["text.wav", "empty.wav: ", "missing.wav: ", "folder.wav: ", "directory", "cut.flac"]);
    outcome.complains(&["*.mp3", "--allow-truncated", "stdin: the pipe is empty"]);
    let written: Vec<String> = dir.files().into_iter().filter(|f| f.starts_with("out/")).collect();
    assert_eq!(written, ["out/also good.txt", "out/good.txt"]);
}

#[test]
fn a_truncated_recording_can_be_accepted() {
    let dir = Dir::new();
    dir.write("cut.flac", &diarist::assets::SAMPLE[..60_000]);
    dir.diarist(&format!("transcribe cut.flac {BUILTIN} -f txt --allow-truncated")).run().exits(0);
}

#[test]
fn an_unwritable_output_folder_is_refused_before_any_work() {
    let dir = Dir::new();
    dir.speech("talk.wav", 2.0);
    dir.write("file", "");
    let outcome = dir.diarist(&format!("transcribe talk.wav {BUILTIN} -o file/sub")).run();
    outcome.exits(1).complains(&["file/sub", "--output-dir"]);
    assert_eq!(outcome.stdout, "");
    let outcome = dir.diarist(&format!("transcribe talk.wav {BUILTIN} -o file")).run();
    outcome.exits(1).complains(&["file: ", "not a directory", "--output-dir"]);
    assert_eq!(dir.read("file"), "");
}

#[test]
fn a_closed_stdout_does_not_stop_the_files_from_being_written() {
    let dir = Dir::new();
    dir.speech("talk.wav", 3.0);
    let run = dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f txt --print-progress True"));
    run.run_into_closed_pipe().exits(0).without_complaint();
    assert!(dir.files().contains(&"talk.txt".to_string()));
    dir.diarist("models").run_into_closed_pipe().exits(0).without_complaint();
    dir.diarist("transcribe --help").run_into_closed_pipe().exits(0).without_complaint();
}

/// A full disk under stdout is an error, unlike a closed pipe.
#[test]
#[cfg(target_os = "linux")]
fn a_failed_write_to_stdout_is_an_error() {
    let dir = Dir::new();
    dir.speech("talk.wav", 3.0);
    dir.diarist("vad talk.wav").run_onto("/dev/full").exits(1).complains(&["standard output"]);
    let outcome = dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f txt")).run_onto("/dev/full");
    outcome.exits(1).complains(&["standard output"]);
    assert_eq!(outcome.stderr.lines().count(), 1, "told more than once: {}", outcome.stderr);
    assert!(!dir.read("talk.txt").is_empty());
}

#[test]
fn silence_gives_empty_files_and_a_message() {
    let dir = Dir::new();
    dir.silence("hush.wav", 3.0);
    let outcome = dir.diarist(&format!("transcribe hush.wav {BUILTIN}")).run();
    outcome.exits(0).complains(&["hush.wav: no speech was found"]);
    assert_eq!(dir.files(), ["hush.json", "hush.srt", "hush.tsv", "hush.txt", "hush.vtt", "hush.wav"]);
}

/// Without the limit on threads this would take minutes.
#[test]
fn more_threads_than_cores_are_not_started() {
    let dir = Dir::new();
    dir.speech("talk.wav", 3.0);
    dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f txt --threads 100000")).run().exits(0).without_complaint();
}

#[test]
fn ctrl_c_keeps_what_is_finished_and_leaves_nothing_half_written() {
    let dir = Dir::new();
    let names: Vec<String> = (0..60).map(|i| format!("{i:02}.wav")).collect();
    for name in &names {
        dir.speech(name, 12.0);
    }
    let mut running = dir.diarist(&format!("transcribe {BUILTIN} -o out {}", names.join(" "))).start();
    running.until("the first result", || dir.path("out/00.json").exists());
    running.interrupt();
    running.wait().exits(130).complains(&["stopping"]);
    let written: Vec<String> = dir.files().into_iter().filter(|f| f.starts_with("out/")).collect();
    assert!(written.len() < 60 * 5, "it went on to the end");
    assert_eq!(written.len() % 5, 0, "{written:?}");
    for file in written.iter().filter(|f| f.ends_with(".json")) {
        serde_json::from_str::<Value>(&dir.read(file)).unwrap();
    }
}

#[test]
fn ctrl_c_stops_in_the_middle_of_a_recording() {
    let dir = Dir::new();
    dir.speech("long.wav", 900.0);
    let mut running = dir.diarist(&format!("transcribe long.wav {BUILTIN} --batch-size 1 -o out")).start();
    running.until_printed("Transcript: ");
    running.interrupt();
    running.wait().exits(130);
    assert_eq!(dir.files(), ["long.wav"], "it went on to the end");
}

#[test]
fn vad_prints_spans_and_chunks() {
    let dir = Dir::new();
    dir.speech("talk.wav", 20.0);
    let outcome = dir.diarist("vad talk.wav --chunk-size 8").run();
    let json: Value = serde_json::from_str(&outcome.exits(0).without_complaint().stdout).unwrap();
    let spans = |of: &Value| -> Vec<(f64, f64)> {
        of.as_array().unwrap().iter().map(|s| (s["start"].as_f64().unwrap(), s["end"].as_f64().unwrap())).collect()
    };
    let (speech, chunks) = (spans(&json["speech"]), spans(&json["chunks"]));
    assert!(chunks.len() >= 2 && speech.len() >= chunks.len(), "{json}");
    assert!(chunks.iter().all(|(start, end)| end > start && end - start <= 8.0 && *end <= 20.0), "{json}");
    let inside: usize =
        json["chunks"].as_array().unwrap().iter().map(|c| c["segments"].as_array().unwrap().len()).sum();
    assert_eq!(inside, speech.len());
    dir.diarist("vad missing.wav").run().exits(1).complains(&["missing.wav"]);
    dir.diarist("vad talk.wav --vad silero").run().exits(2).complains(&["--vad-model"]);
}

#[test]
fn the_demo_needs_no_files() {
    let outcome = Dir::new().diarist("demo").run();
    outcome.exits(0).without_complaint().prints(&[
        "[0.",
        " --> ",
        "] [SPEAKER_00]: ",
        "[SPEAKER_01]: ",
        "times real time",
        "diarist transcribe",
    ]);
    // 69 words with increasing times.
    let words =
        outcome.stdout.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.contains("diarist"));
    let items: Vec<(f64, &str)> = words.flat_map(|line| line.split("  ")).map(at).collect();
    assert_eq!(items.len(), 69, "{}", outcome.stdout);
    assert!(items.windows(2).all(|pair| pair[0].0 < pair[1].0), "{}", outcome.stdout);
}

/// Parses an item such as `0.35 morning,`.
fn at(item: &str) -> (f64, &str) {
    let (time, word) = item.split_once(' ').unwrap_or_else(|| panic!("{item:?}"));
    (time.parse().unwrap_or_else(|e| panic!("{item:?}: {e}")), word)
}
