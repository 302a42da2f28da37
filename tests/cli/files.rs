//! Input and output files: inputs are never overwritten, and written files are reported.

use crate::dsl::Dir;

const BUILTIN: &str = "--model builtin --beam-size 1 --temperature-increment-on-fallback None";

/// Each of these commands would overwrite one of its inputs, and is refused.
#[test]
fn inputs_are_not_written_over() {
    let dir = Dir::new();
    dir.speech("song.srt", 2.0);
    dir.speech("talk.wav", 2.0);
    dir.write("talk.txt", "Good morning.");
    dir.write("list", "song.srt\ntalk.wav\n");
    dir.write("subs/other.txt", "Good morning.");
    std::fs::hard_link(dir.path("subs/other.txt"), dir.path("subs/talk.srt")).unwrap();
    let before = dir.files();
    let contents = || before.iter().map(|name| std::fs::read(dir.path(name)).unwrap()).collect::<Vec<_>>();
    let then = contents();
    for (args, parts) in [
        (format!("transcribe song.srt {BUILTIN}"), ["song.srt: is an input", "the output song.srt"]),
        (format!("transcribe ./song.srt talk.wav {BUILTIN} -f srt -o ."), ["song.srt: is an input", "--output-dir"]),
        (format!("transcribe --manifest list --jsonl talk.wav {BUILTIN}"), ["talk.wav: is an input", "--jsonl"]),
        (format!("transcribe --manifest list --jsonl list {BUILTIN}"), ["list: is an input", "the output list"]),
        ("align talk.wav talk.txt --align-model builtin".into(), ["talk.txt: is an input", "the output talk.txt"]),
        ("align talk.wav subs/other.txt --align-model builtin -o subs".into(), ["subs/other.txt", "subs/talk.srt"]),
    ] {
        let outcome = dir.diarist(&args).run();
        outcome.exits(2).complains(&parts);
        assert_eq!((outcome.stdout.as_str(), dir.files()), ("", before.clone()), "{args}");
    }
    assert!(contents() == then, "an input has changed");
}

#[test]
#[cfg(unix)]
fn symbolic_links_are_followed() {
    let dir = Dir::new();
    dir.speech("talk.wav", 2.0);
    dir.write("texts/script", "Good morning.");
    std::os::unix::fs::symlink(dir.path("texts/script"), dir.path("talk.txt")).unwrap();
    for script in ["texts/script", "talk.txt", "./talk.txt"] {
        let outcome = dir.diarist(&format!("align talk.wav {script} --align-model builtin -f txt")).run();
        outcome.exits(2).complains(&["the output talk.txt would replace it"]);
    }
    assert_eq!(dir.read("texts/script"), "Good morning.");
}

/// Other existing files are overwritten, as in WhisperX. A file of the same name in another folder is not an input.
#[test]
fn other_files_are_replaced() {
    let dir = Dir::new();
    dir.speech("talk.wav", 2.0);
    dir.write("talk.txt", "Good morning.");
    dir.write("out/talk.txt", "old");
    let outcome = dir.diarist("align talk.wav talk.txt --align-model builtin -f txt,json -o out").run();
    outcome.exits(0).without_complaint();
    assert_eq!(outcome.stdout.lines().last(), Some("wrote out/talk.txt, out/talk.json"));
    assert_eq!((dir.read("out/talk.txt").trim(), dir.read("talk.txt").as_str()), ("Good morning.", "Good morning."));
}

#[test]
fn the_last_line_says_what_was_written() {
    let dir = Dir::new();
    dir.speech("one.wav", 2.0);
    dir.speech("two.wav", 2.0);
    let run = |args: &str| dir.diarist(&format!("transcribe {args} {BUILTIN} --no-align")).run();
    let last = |outcome: &crate::dsl::Outcome| outcome.stdout.lines().last().unwrap_or_default().to_string();
    let outcome = run("one.wav -f srt,txt");
    assert_eq!(last(outcome.exits(0).without_complaint()), "wrote one.srt, one.txt");
    let outcome = run("one.wav two.wav -o out");
    assert_eq!(
        last(outcome.exits(0).prints(&["wrote out/one.txt, out/one.vtt"])),
        "wrote 10 files of 2 recordings to out"
    );
    assert_eq!(run("one.wav --verbose False").exits(0).stdout, "");
}

/// File names on Unix are bytes; the names of results keep those of the recording.
#[test]
#[cfg(unix)]
fn names_that_are_not_utf8_keep_their_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::new();
    let name = |end: &[u8]| [b"caf\xe9", end].concat();
    let speech = std::fs::read(dir.speech("talk.wav", 2.0)).unwrap();
    std::fs::write(dir.path("").join(OsStr::from_bytes(&name(b".wav"))), speech).unwrap();
    dir.write("script", "Good morning.");
    let recording = name(b".wav");
    for (command, ending) in [
        (format!("transcribe {BUILTIN} --no-align -f txt -o out"), &b".txt"[..]),
        ("diarize --diarize-model builtin -o out".into(), b".rttm"),
        ("diarize --diarize-model builtin -f json -o out".into(), b".speakers.json"),
    ] {
        dir.diarist(&command).arg(OsStr::from_bytes(&recording)).run().exits(0);
        let path = dir.path("out").join(OsStr::from_bytes(&name(ending)));
        assert!(path.exists(), "{path:?} of {command}");
    }
    let run = dir.diarist("align --align-model builtin -f srt -o out").arg(OsStr::from_bytes(&recording)).arg("script");
    run.run().exits(0);
    assert!(dir.path("out").join(OsStr::from_bytes(&name(b".srt"))).exists());
}
