//! `transcribe --manifest LIST --jsonl OUT`: every recording once, whatever happens in between.

#![allow(clippy::unwrap_used)] // a failure of the harness fails the test

#[allow(dead_code)] // of the harness of the command line, a part
#[path = "cli/dsl.rs"]
mod dsl;
#[allow(dead_code)]
#[path = "cli/sample.rs"]
mod sample;

use std::collections::BTreeMap;
use std::path::Path;

use dsl::Dir;
use serde_json::{Value, json};

const BUILTIN: &str = "--model builtin --beam-size 1 --temperature-increment-on-fallback None";

/// The command that is run again and again.
fn command(out: &str, more: &str) -> String {
    format!("transcribe {BUILTIN} --manifest list --jsonl {out} {more}")
}

/// Whole lines of a file that may be growing.
fn lines(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

/// The lines of OUT by the text of their ids, each of which is there once.
#[track_caller]
fn results(text: &str) -> BTreeMap<String, Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let id = line["id"].to_string();
        assert!(found.insert(id.clone(), line).is_none(), "{id} is there twice");
    }
    found
}

/// Two hundred recordings of half a second to three, one of which is none.
fn two_hundred(dir: &Dir) {
    let mut list = String::new();
    for i in 0..200 {
        let name = format!("sound/{i:03}.wav");
        dir.cut(&name, f64::from(i) * 0.37, 0.5 + f64::from(i % 26) * 0.1);
        list += &if i % 2 == 0 { format!("{name}\n") } else { format!("{}\n", json!({"id": i, "path": name})) };
    }
    dir.write("sound/077.wav", "This is no recording.");
    dir.write("list", list);
}

#[test]
fn killed_twice_in_the_middle_every_recording_is_done_once() {
    let dir = Dir::new();
    two_hundred(&dir);
    let undisturbed = dir.diarist(&command("whole", "--verbose False")).run();
    undisturbed.exits(1).complains(&["sound/077.wav", "not a recording"]);
    assert_eq!(undisturbed.stdout, "");
    let whole = results(&dir.read("whole"));
    assert_eq!(whole.len(), 200);
    assert!(whole.values().filter(|line| line["error"]["kind"] == "audio").count() == 1);
    let words = |line: &Value| line["result"]["segments"].as_array().is_some_and(|segments| !segments.is_empty());
    assert!(whole.values().filter(|line| words(line)).count() > 100, "there is something to lose");

    let out = dir.path("out");
    for (jobs, enough) in [(3, 40), (1, 120)] {
        let mut running = dir.diarist(&command("out", &format!("--jobs {jobs}"))).start();
        running.until("enough lines", || lines(&out) >= enough);
        running.kill();
        assert!(lines(&out) < 200, "it was killed too late to mean anything");
        // What it was killed in the middle of writing.
        let mut text = dir.read("out");
        text += "{\"path\": \"sound/000.wav\", \"id\": \"sound/0";
        dir.write("out", text);
    }
    dir.diarist(&command("out", "")).run().exits(1);
    assert_eq!(results(&dir.read("out")), whole);
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(dir.read("out")), sorted(dir.read("whole")), "to the byte");
    // Nothing is left to do, and nothing is touched.
    let before = dir.read("out");
    dir.diarist(&command("out", "")).run().exits(1).complains(&["out: 1 of its lines", "--retry-failed"]);
    assert_eq!(dir.read("out"), before);
}

#[test]
fn a_result_is_the_json_of_the_command_line() {
    let dir = Dir::new();
    dir.speech("talk.wav", 6.0);
    dir.write("list", "\u{feff}talk.wav\r\n\n{\"path\": \"./talk.wav\", \"id\": 18446744073709551615}\n");
    dir.diarist(&format!("transcribe talk.wav {BUILTIN} --diarize --diarize-model builtin -f json --verbose False"))
        .run()
        .exits(0);
    let outcome = dir.diarist(&command("out", "--diarize --diarize-model builtin")).run();
    outcome.exits(0).without_complaint().prints(&["talk.wav: 6.0 s, "]);
    let told = dir.diarist(&command("told", "--diarize --diarize-model builtin --num-speakers 400")).run();
    told.exits(0).complains(&["talk.wav: --num-speakers 400 cannot be met"]);
    for line in results(&dir.read("told")).values() {
        let warning = line["warnings"][0].as_str().unwrap_or_default();
        assert!(warning.contains("talk.wav: `num_speakers` 400 cannot be met"), "{line}");
    }
    let (found, expected) = (results(&dir.read("out")), dir.read("talk.json"));
    assert_eq!(found.len(), 2);
    let line = format!("{{\"path\": \"talk.wav\", \"id\": \"talk.wav\", \"result\": {}}}", expected.trim_end());
    assert!(dir.read("out").lines().any(|other| other == line), "{}", dir.read("out"));
    assert_eq!(found["18446744073709551615"]["path"], "./talk.wav");
}

#[test]
fn what_failed_is_tried_again_only_when_asked_for() {
    let dir = Dir::new();
    dir.speech("good.wav", 2.0);
    dir.write("bad.wav", "no recording");
    dir.write("list", "good.wav\nbad.wav\nmissing.wav\n");
    dir.diarist(&command("out", "")).run().exits(1).complains(&["bad.wav", "missing.wav"]);
    let first = results(&dir.read("out"));
    assert!(first["\"missing.wav\""]["error"]["message"].as_str().unwrap().contains("no such file"));
    dir.speech("bad.wav", 2.0);
    // Only new recordings are done.
    dir.write("list", "good.wav\nbad.wav\nmissing.wav\n{\"path\": \"good.wav\", \"id\": \"again\"}\n");
    dir.diarist(&command("out", "")).run().exits(1).complains(&["out: 2 of its lines"]);
    let second = results(&dir.read("out"));
    assert_eq!((second.len(), &second["\"bad.wav\""]), (4, &first["\"bad.wav\""]));
    let outcome = dir.diarist(&command("out", "--retry-failed")).run();
    outcome.exits(1).complains(&["missing.wav"]);
    assert!(!outcome.stderr.contains("bad.wav"), "{}", outcome.stderr);
    let third = results(&dir.read("out"));
    assert_eq!((third.len(), &third["\"good.wav\""]), (4, &first["\"good.wav\""]));
    assert!(third["\"bad.wav\""].get("error").is_none(), "{third:?}");
    dir.speech("missing.wav", 2.0);
    dir.diarist(&command("out", "--retry-failed")).run().exits(0).without_complaint();
    assert!(results(&dir.read("out")).values().all(|line| line.get("error").is_none()));
    assert_eq!(dir.files(), ["bad.wav", "good.wav", "list", "missing.wav", "out"]);
}

#[test]
fn recordings_that_are_too_long_are_recorded_as_such() {
    let dir = Dir::new();
    dir.speech("long.wav", 8.0);
    dir.write("list", "long.wav");
    dir.diarist(&command("out", "--max-duration 5")).run().exits(1).complains(&["long.wav", "5 seconds"]);
    assert_eq!(results(&dir.read("out"))["\"long.wav\""]["error"]["kind"], "too_long");
}

#[test]
fn ctrl_c_records_nothing_that_is_not_done() {
    let dir = Dir::new();
    dir.speech("short.wav", 2.0);
    dir.speech("long.wav", 900.0);
    dir.write("list", "short.wav\nlong.wav\n");
    let mut running = dir.diarist(&command("out", "")).start();
    let out = dir.path("out");
    running.until("the first line", || lines(&out) == 1);
    running.interrupt();
    running.wait().exits(130).complains(&["stopping"]);
    assert_eq!(results(&dir.read("out")).into_keys().collect::<Vec<_>>(), ["\"short.wav\""]);
}

#[test]
fn two_processes_do_not_write_to_one_file() {
    let dir = Dir::new();
    dir.speech("short.wav", 2.0);
    dir.speech("long.wav", 900.0);
    dir.write("list", "short.wav\nlong.wav\n");
    let mut running = dir.diarist(&command("out", "")).start();
    let out = dir.path("out");
    running.until("the first line", || lines(&out) == 1);
    // In another folder, so that the harness keeps their outputs apart.
    let other = Dir::new();
    let [list, out] = ["list", "out"].map(|name| dir.path(name).display().to_string());
    let outcome = other.diarist(&format!("transcribe {BUILTIN} --manifest {list} --jsonl {out}")).run();
    outcome.exits(2).complains(&["jsonl", "another process"]);
    running.kill();
    assert_eq!(lines(&dir.path("out")), 1);
}

#[test]
fn lists_that_cannot_be_are_refused_before_anything_is_done() {
    let dir = Dir::new();
    for (list, parts) in [
        ("a.wav\nb.wav\n\na.wav\n", ["lines 1 and 4", "\"a.wav\""]),
        ("{\"path\": \"a.wav\", \"id\": 1}\n{\"path\": \"b.wav\", \"id\": 1}\n", ["lines 1 and 2", "one id, 1"]),
        ("a.wav\n{\"file\": \"b.wav\"}\n", ["line 2", "`file`"]),
        ("{\"path\": \"a.wav\", \"id\": 1.5}\n", ["line 1", "Id"]),
        (" \n", ["manifest", "names no recordings"]),
    ] {
        dir.write("list", list);
        let outcome = dir.diarist(&command("out", "")).run();
        assert_eq!(outcome.exits(2).complains(&parts).stdout, "", "{list}");
    }
    assert_eq!(dir.files(), ["list"]);
    dir.diarist(&command("out", "--manifest missing").replace("--manifest list", ""))
        .run()
        .exits(1)
        .complains(&["missing"]);
}

/// It may be a mistake, and somebody's file.
#[test]
fn what_is_no_file_of_results_is_left_alone() {
    let dir = Dir::new();
    dir.write("list", "a.wav");
    let line = "{\"path\": \"b.wav\", \"id\": \"a.wav\", \"error\": {\"kind\": \"audio\", \"message\": \"\"}}\n";
    for (text, parts) in [
        ("My thesis, in one line without an end", ["line 1", "no result of this program"]),
        ("a,b\n1,2\n", ["line 1", "move the file away"]),
        ("{\"path\": \"a.wav\", \"id\": 1}\n", ["line 1", "no result"]),
        (&format!("{line}[]\n{line}"), ["line 2", "no result"]),
        (line, ["`b.wav` under the id \"a.wav\"", "another --jsonl"]),
    ] {
        dir.write("out", text);
        dir.diarist(&command("out", "")).run().exits(2).complains(&parts);
        assert_eq!(dir.read("out"), text);
    }
    dir.diarist(&command("./list", "")).run().exits(2).complains(&["list: is an input", "--jsonl"]);
    assert_eq!(dir.read("list"), "a.wav");
    dir.diarist(&command("no/such/folder/out", "")).run().exits(1).complains(&["no/such/folder/out"]);
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let dir = Dir::new();
    dir.write("list", "a.wav");
    for (args, parts) in [
        ("a.wav --manifest list --jsonl out", ["--manifest", "[FILE]"]),
        ("--manifest list", ["--jsonl", "required"]),
        ("--jsonl out", ["FILE", "required"]),
        ("a.wav --jsonl out", ["--jsonl: ", "--manifest"]),
        ("a.wav --jobs 3", ["--jobs: ", "--manifest"]),
        ("a.wav --retry-failed", ["--retry-failed: ", "--manifest"]),
        ("--manifest list --jsonl out --jobs 0", ["--jobs", "1..=256"]),
        ("--manifest list --jsonl out -o folder", ["--manifest", "--output-dir"]),
        ("--manifest list --jsonl out -f srt", ["--manifest", "--output-format"]),
        ("--manifest list --jsonl out --print-progress True", ["--manifest", "--print-progress"]),
        ("--manifest list --jsonl out --highlight-words True", ["--manifest", "--highlight-words"]),
    ] {
        let outcome = dir.diarist(&format!("transcribe --model builtin {args}")).run();
        assert_eq!(outcome.exits(2).complains(&parts).stdout, "", "{args}");
    }
    assert_eq!(dir.files(), ["list"]);
}
