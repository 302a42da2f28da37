//! Messages on stderr: their format, the recording's name, and their number.

use crate::common::call::{call, wav};
use crate::dsl::{Dir, Outcome};

const BUILTIN: &str = "--model builtin --beam-size 1 --temperature-increment-on-fallback None --no-align -f txt";

/// Every line is `diarist: NAME: ...`, without colours, levels, times or paths of crates.
#[track_caller]
fn check(outcome: &Outcome, name: &str, max_lines: usize) {
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(!lines.is_empty() && lines.len() <= max_lines, "{} lines: {}", lines.len(), outcome.stderr);
    for line in &lines {
        assert!(line.starts_with(&format!("diarist: {name}: ")), "{line}");
        for part in ["\u{1b}", "WARN", "ERROR", "symphonia", "diarist::", "2026-", "audio: audio"] {
            assert!(!line.contains(part), "{part:?} in {line}");
        }
    }
}

/// The sample with overwritten frames, which the decoder detects by their checksums.
fn damaged() -> Vec<u8> {
    let mut flac = diarist::assets::SAMPLE.to_vec();
    let size = flac.len();
    for at in (size / 4..size - size / 8).step_by(size / 40) {
        flac[at..at + 32].fill(0x55);
    }
    flac
}

#[test]
fn a_damaged_recording_has_at_most_five_lines() {
    let dir = Dir::new();
    dir.write("bad.flac", damaged());
    for args in ["", "--allow-truncated"] {
        let outcome = dir.diarist(&format!("transcribe bad.flac {BUILTIN} {args}")).run();
        check(&outcome, "bad.flac", 5);
    }
    let outcome = dir.diarist("diarize bad.flac --diarize-model builtin --allow-truncated").run();
    check(&outcome, "bad.flac", 5);
    let more = dir.diarist(&format!("transcribe bad.flac {BUILTIN} --log-level debug")).run();
    assert!(more.stderr.contains("diarist: bad.flac: [symphonia"), "{}", more.stderr);
    assert!(more.stderr.lines().all(|line| line.starts_with("diarist: ")), "{}", more.stderr);
}

/// A message names the recording once, also if its name equals that of a stage.
#[test]
fn no_prefix_is_doubled() {
    let dir = Dir::new();
    for name in ["audio", "vad", "diarist"] {
        dir.write(name, "This is no recording.");
        let outcome = dir.diarist(&format!("transcribe {name} {BUILTIN}")).run();
        check(outcome.exits(1), name, 1);
        assert!(!outcome.stderr.contains(&format!("{name}: {name}")) || name == "diarist", "{}", outcome.stderr);
    }
}

#[test]
fn printed_segments_have_speakers() {
    let dir = Dir::new();
    dir.speech("talk.wav", 6.0);
    let outcome = dir.diarist(&format!("transcribe talk.wav {BUILTIN} --diarize --diarize-model builtin")).run();
    outcome.exits(0).complains(&["each segment gets one speaker"]);
    let lines: Vec<&str> = outcome.stdout.lines().filter(|line| line.starts_with("Transcript: ")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("] [SPEAKER_0")), "{}", outcome.stdout);
    assert!(lines[0].contains("]: "), "{}", lines[0]);
}

#[test]
fn help_of_each_subcommand_has_headings_and_only_options_that_apply() {
    let dir = Dir::new();
    for (command, has, has_not) in [
        ("transcribe", &["Model:", "Computing:", "Audio:", "Decoding:", "Speakers:", "Output:"][..], &[][..]),
        (
            "diarize",
            &["Speakers:", "Computing:", "Output:"],
            &["--cross-cache", "--batch-size", "--beam-size", "--jsonl"],
        ),
        (
            "align",
            &["Word times:", "Computing:", "Output:"],
            &["--cross-cache", "--beam-size", "--diarize-model", "--jsonl"],
        ),
        ("vad", &["Finding speech:", "Audio:"], &["--diarize", "--beam-size"]),
        ("worker", &["Requests:", "Model:"], &["--output-dir"]),
        ("score", &["--uem"], &["--device"]),
        ("demo", &["--device"], &["--model"]),
        ("models", &["--model-dir"], &["--device"]),
    ] {
        let help = dir.diarist(&format!("{command} --help")).run();
        help.exits(0).without_complaint().prints(has);
        for part in has_not {
            assert!(!help.stdout.contains(part), "{part} in {command} --help");
        }
    }
}

/// Undamaged files of common phones give no messages.
#[test]
#[ignore = "needs ../shared"]
fn needs_shared_healthy_recordings_give_no_messages() {
    let shared = crate::common::shared("audio");
    let dir = Dir::new();
    for name in ["jfk/jfk_441khz.m4a", "codecs/format_test.m4a"] {
        let file = shared.join(name);
        assert!(file.exists(), "{} is missing", file.display());
        dir.diarist("vad").arg(&file).run().exits(0).without_complaint();
    }
}

#[test]
fn options_without_effect_and_control_characters_of_names() {
    let dir = Dir::new();
    dir.speech("talk.wav", 1.0);
    let outcome = dir.diarist(&format!("transcribe talk.wav {BUILTIN} --device cpu --gpu-memory-limit 8GiB")).run();
    outcome.exits(0).complains(&["--gpu-memory-limit", "no effect"]);
    let outcome = dir.diarist(&format!("transcribe {BUILTIN}")).arg("a\u{1b}[31m.wav").run();
    outcome.exits(1).complains(&["a\\u{1b}[31m.wav", "no such file"]);
    assert!(!outcome.stderr.contains('\u{1b}'), "{}", outcome.stderr);
}

#[test]
fn channels_in_antiphase_are_reported_unless_one_is_selected() {
    let dir = Dir::new();
    let [voice, _] = call();
    let inverted: Vec<f32> = voice.iter().map(|sample| -sample).collect();
    dir.write("anti.wav", wav(&[&voice, &inverted]));
    let outcome = dir.diarist("vad anti.wav").run();
    outcome.exits(0).complains(&["anti.wav: its channels are in antiphase", "--channel"]);
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    dir.diarist("vad anti.wav --channel 0").run().exits(0).without_complaint();
}
