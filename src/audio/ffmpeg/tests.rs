//! Handling of an ffmpeg that fails, hangs or writes garbage. Shell scripts take the place of ffmpeg.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::audio::input::Place;

/// Serialises the tests: executing a script fails (ETXTBSY) while a process forked by another thread still holds it
/// open for writing.
static WRITING: Mutex<()> = Mutex::new(());

/// Prints an AU header: 16 kHz mono.
const HEADER: &str = r"printf '.snd\0\0\0\040\377\377\377\377\0\0\0\006\0\0\076\200\0\0\0\001\0\0\0\0\0\0\0\0'";
/// Prints 0.1 s of silence.
const TENTH: &str = "head -c 6400 /dev/zero";

/// A temporary folder with a fake ffmpeg.
struct Program(tempfile::TempDir);

impl Program {
    /// `script` is run by sh, after writing its process id to a file.
    fn new(script: &str) -> Self {
        let program = Program(tempfile::tempdir().unwrap());
        let text = format!("#!/bin/sh\necho $$ > '{}'\n{script}\n", program.0.path().join("pid").display());
        fs::write(program.path(), text).unwrap();
        fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ffmpeg")
    }

    /// Decodes with this program; returns the number of samples.
    fn run(&self, options: &DecodeOptions, limits: Limits, watch: Watch) -> Result<usize> {
        let name = self.0.path().join("talk.ts");
        fs::write(&name, "bytes").unwrap();
        let recording = Recording { name, place: Place::Named };
        let started = Ffmpeg::start(&self.path(), &recording, options, limits, watch);
        let mut samples = 0;
        let mut ffmpeg = started?;
        while let Some(block) = ffmpeg.next_block()? {
            samples += plane_len(block);
        }
        Ok(samples)
    }

    /// Whether the process exists, running or as a zombie.
    fn exists(&self) -> bool {
        let pid = fs::read_to_string(self.0.path().join("pid")).unwrap();
        Command::new("sh").args(["-c", "kill -0 \"$1\" 2>&1", "sh", pid.trim()]).output().unwrap().status.success()
    }
}

fn quick() -> Limits {
    Limits { idle: Duration::from_millis(400), behind: Duration::from_secs(60) }
}

fn run_with(script: &str, options: &DecodeOptions, limits: Limits) -> Result<usize, String> {
    let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let program = Program::new(script);
    let result = program.run(options, limits, &mut crate::audio::ignore_progress).map_err(|error| error.to_string());
    assert!(!program.exists(), "{script}");
    result
}

fn run(script: &str) -> Result<usize, String> {
    run_with(script, &DecodeOptions::default(), quick())
}

/// Checks that the output is rejected with all of `words` in the message, and accepted with `allow_truncated`.
#[track_caller]
fn damaged(script: &str, words: &[&str]) {
    let error = run(script).unwrap_err();
    for word in words.iter().chain(&["`allow_truncated`", "talk.ts"]) {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    let options = DecodeOptions { allow_truncated: true, ..Default::default() };
    assert_eq!(run_with(script, &options, quick()), Ok(1600), "{script}");
}

#[test]
fn samples_arrive() {
    assert_eq!(run(&format!("{HEADER}; {TENTH}")), Ok(1600));
    // Written in pieces that split the header and the frames.
    assert_eq!(
        run(&format!(
            "{HEADER} | head -c 10; sleep 0.2; {HEADER} | tail -c 22; head -c 3201 /dev/zero; sleep 0.2; head -c 3199 /dev/zero"
        )),
        Ok(1600)
    );
}

#[test]
fn a_failure_is_reported_with_its_reason() {
    damaged(&format!("{HEADER}; {TENTH}; echo '[mov @ 0x1] [error] boom' >&2; exit 3"), &["boom", "after 0.1 seconds"]);
    damaged(&format!("{HEADER}; {TENTH}; kill -9 $$"), &["ffmpeg failed"]);
    let error = run("echo '[error] file:talk.ts: Invalid data found when processing input' >&2; exit 1").unwrap_err();
    assert!(error.contains("Invalid data found") && error.contains("talk.ts"), "{error}");
    let error = run("echo '[error] Output file #0 does not contain any stream' >&2; exit 1").unwrap_err();
    assert!(error.contains("no audio track"), "{error}");
    let error = run(HEADER).unwrap_err();
    assert!(error.contains("not a single sample"), "{error}");
    let error = run("echo 'Hello, this is no AU file'").unwrap_err();
    assert!(error.contains("something else"), "{error}");
}

#[test]
fn damage_is_detected_although_ffmpeg_succeeds() {
    damaged(
        &format!("{HEADER}; {TENTH}; echo '[mov @ 0x1] [error] stream 0, offset 0x30: partial file' >&2"),
        &["cut off"],
    );
    let lost = "[error] Error while decoding stream #0:0: Invalid data found";
    damaged(&format!("{HEADER}; {TENTH}; echo '{lost}' >&2; echo '{lost}' >&2"), &["2 of its packets", "Invalid data"]);
    // One lost packet per second is tolerated.
    assert_eq!(run(&format!("{HEADER}; head -c 64000 /dev/zero; echo '{lost}' >&2")), Ok(16_000));
    let stated = "[info]   Duration: 00:00:03.00, start: 0.0\\n[info]   Stream #0:0: Audio: ac3, 16000 Hz";
    damaged(
        &format!("printf '{stated}\\n' >&2; sleep 0.1; {HEADER}; {TENTH}"),
        &["promises 3.0 seconds, but only 0.1"],
    );
}

#[test]
fn endless_output_ends_at_the_duration_limit() {
    let options = DecodeOptions { max_duration: Some(Seconds(2.0)), ..Default::default() };
    let error = run_with(&format!("{HEADER}; exec cat /dev/zero"), &options, quick()).unwrap_err();
    assert!(error.contains("2 seconds allowed"), "{error}");
}

#[test]
fn a_stalled_or_slow_ffmpeg_is_stopped() {
    for script in ["exec sleep 1000".into(), format!("{HEADER}; {TENTH}; exec sleep 1000")] {
        let error = run(&script).unwrap_err();
        assert!(error.contains("decoded nothing for 0.4 seconds"), "{error}");
    }
    let slow = Limits { behind: Duration::from_millis(700), ..quick() };
    let script = format!("{HEADER}; while true; do head -c 40 /dev/zero; sleep 0.05; done");
    let error = run_with(&script, &DecodeOptions::default(), slow).unwrap_err();
    assert!(error.contains("0.0 seconds of sound in 1"), "{error}");
}

#[test]
fn a_flood_of_messages_blocks_nothing() {
    let script = format!("yes '[ac3 @ 0x1] [error] something is odd' | head -c 3000000 >&2; {HEADER}; {TENTH}");
    assert_eq!(run(&script), Ok(1600));
    let error = run("yes 'no line of ffmpeg' | tr -d '\\n' | head -c 3000000 >&2; exit 1").unwrap_err();
    assert!(error.len() < 1000, "{} bytes", error.len());
}

#[test]
fn cancellation_leaves_no_process_behind() {
    let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let program = Program::new("exec sleep 1000");
    let mut asked = 0;
    let result = program.run(&DecodeOptions::default(), Limits::default(), &mut |_| {
        asked += 1;
        if asked < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    assert!(!program.exists());
}

#[test]
fn a_decoder_that_is_dropped_stops_its_ffmpeg() {
    let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let program = Program::new(&format!("{HEADER}; exec cat /dev/zero"));
    let name = program.0.path().join("talk.ts");
    let recording = Recording { name, place: Place::Named };
    let options = DecodeOptions::default();
    let ffmpeg =
        Ffmpeg::start(&program.path(), &recording, &options, quick(), &mut crate::audio::ignore_progress).unwrap();
    assert!(program.exists());
    drop(ffmpeg);
    assert!(!program.exists());
}

/// The fake ffmpeg copies the second half of its input before the first, which requires seeking.
#[test]
fn recordings_in_memory_are_passed_as_a_seekable_file() {
    let _guard = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let program = Program::new(&format!("{HEADER}; tail -c 6400 /dev/stdin; head -c 6400 /dev/stdin"));
    let bytes: Vec<u8> = [0.25f32, -0.5].iter().flat_map(|value| value.to_be_bytes().repeat(1600)).collect();
    let options = DecodeOptions::default();
    let mut copy = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut copy, &bytes).unwrap();
    for place in [Place::Memory(&bytes), Place::Temporary(copy)] {
        let recording = Recording { name: "memory".into(), place };
        let mut ffmpeg =
            Ffmpeg::start(&program.path(), &recording, &options, quick(), &mut crate::audio::ignore_progress).unwrap();
        let mut samples = Vec::new();
        while let Some(block) = ffmpeg.next_block().unwrap() {
            samples.extend(block.iter().flatten().copied());
        }
        assert_eq!(samples.len(), 3200);
        assert!(samples[..1600].iter().all(|s| *s == -0.5) && samples[1600..].iter().all(|s| *s == 0.25));
        assert_eq!((ffmpeg.source().rate, ffmpeg.source().channels), (16_000, 1));
    }
}
