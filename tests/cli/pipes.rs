//! Recordings from the standard input, from named pipes, and decoded by ffmpeg (replaced by a shell script).

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::dsl::{Dir, Run};

const BUILTIN: &str = "--model builtin --beam-size 1 --temperature-increment-on-fallback None --no-align";

impl Dir {
    /// The run with a file on its standard input, through a pipe.
    fn piped(&self, args: &str, file: &str) -> Run {
        let mut cat = Command::new("cat").arg(self.path(file)).stdout(Stdio::piped()).spawn().unwrap();
        let out = cat.stdout.take().unwrap();
        // `cat` ends when its reader does.
        std::thread::spawn(move || cat.wait());
        self.diarist(args).stdin(out)
    }

    /// The run with a PATH that has only this script as ffmpeg.
    fn with_ffmpeg(&self, args: &str, script: &str) -> Run {
        use std::os::unix::fs::PermissionsExt;
        let text = format!("#!/bin/sh\nPATH=/usr/bin:/bin\necho $$ > '{}'\n{script}\n", self.path("pid").display());
        let program = self.write("bin/ffmpeg", text);
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.diarist(args).env("PATH", self.path("bin"))
    }

    /// Writes a file that begins like an MPEG transport stream.
    fn transport_stream(&self, name: &str) {
        let packet =
            |i: u8| [vec![0x47, 0x40, i, 0x10], (4..188).map(|at| (at as u8).wrapping_mul(37) ^ i).collect()].concat();
        self.write(name, (0..40).flat_map(packet).collect::<Vec<u8>>());
    }
}

/// The AU header of 16 kHz mono float32, the output format requested from ffmpeg.
const HEADER: &str = r"printf '.snd\0\0\0\040\377\377\377\377\0\0\0\006\0\0\076\200\0\0\0\001\0\0\0\0\0\0\0\0'";

#[test]
fn a_hyphen_reads_the_standard_input() {
    let dir = Dir::new();
    dir.speech("talk.wav", 4.5);
    let of_file = dir.diarist("vad talk.wav").run();
    let of_pipe = dir.piped("vad -", "talk.wav").run();
    of_pipe.exits(0).without_complaint().prints(&["\"start\""]);
    assert_eq!(of_pipe.stdout, of_file.stdout);
    // stdin redirected from a file, instead of a pipe.
    let redirected = dir.diarist("vad -").stdin(File::open(dir.path("talk.wav")).unwrap()).run();
    assert_eq!(redirected.exits(0).stdout, of_file.stdout);
    dir.piped(&format!("transcribe - -f srt,txt {BUILTIN}"), "talk.wav").run().exits(0).without_complaint();
    assert_eq!(dir.files(), ["stdin.srt", "stdin.txt", "talk.wav"]);
    let turns = dir.piped("diarize - --diarize-model builtin", "talk.wav").run();
    turns.exits(0).prints(&["SPEAKER stdin 1 "]);
}

#[test]
fn a_standard_input_without_a_recording_is_refused() {
    let dir = Dir::new();
    dir.write("text", "This is no recording.");
    dir.piped("vad -", "text").run().exits(1).complains(&["stdin", "is a text"]);
    dir.diarist("vad -").run().exits(1).complains(&["stdin", "empty"]);
    dir.diarist(&format!("transcribe - - {BUILTIN}")).run().exits(2).complains(&["only once"]);
    dir.diarist(&format!("transcribe - stdin.wav {BUILTIN}")).run().exits(2).complains(&["same files"]);
}

#[test]
fn a_named_pipe_is_read_and_waiting_for_it_can_be_interrupted() {
    let dir = Dir::new();
    dir.speech("talk.wav", 3.0);
    assert!(Command::new("mkfifo").arg(dir.path("pipe.wav")).status().unwrap().success());
    let running = dir.diarist("vad pipe.wav").start();
    let bytes = std::fs::read(dir.path("talk.wav")).unwrap();
    File::options().write(true).open(dir.path("pipe.wav")).unwrap().write_all(&bytes).unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.exits(0).stdout, dir.diarist("vad talk.wav").run().stdout);
    let running = dir.diarist("vad pipe.wav").start();
    // Before the handler is installed, Ctrl-C ends the process without the message.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    running.interrupt();
    running.wait().exits(130).complains(&["stopping"]);
}

#[test]
fn without_ffmpeg_the_error_names_the_format_and_the_remedy() {
    let dir = Dir::new();
    dir.transport_stream("talk.mp3");
    let none = || dir.diarist("vad talk.mp3").env("PATH", dir.path("nothing"));
    none().run().exits(1).complains(&["talk.mp3", "MPEG transport stream", "install ffmpeg", "PATH"]);
    // An ffmpeg in the working directory is never used, whatever PATH contains.
    for path in ["", ".", ":bin"] {
        let run = dir.with_ffmpeg("vad talk.mp3", "exit 0").env("PATH", path);
        run.run().exits(1).complains(&["MPEG transport stream", "install ffmpeg"]);
    }
    none().arg("--decoder=ffmpeg").run().exits(1).complains(&["ffmpeg was asked for", "PATH"]);
    none().arg("--decoder=builtin").run().exits(1).complains(&["MPEG transport stream", "--decoder auto"]);
    none().arg("--decoder=sox").run().exits(2).complains(&["builtin"]);
    assert!(!dir.files().contains(&"pid".to_string()));
}

#[test]
fn odd_names_are_passed_to_ffmpeg_as_file_names() {
    let dir = Dir::new();
    let script = format!(
        "for last; do echo \"$last\"; done > '{}'\n{HEADER}; head -c 64000 /dev/zero",
        dir.path("arguments").display()
    );
    for name in ["-i.ts", "http:x.ts", "a 'b\" $(c).ts", "n\u{e4}\n.ts", "%d.ts", "concat:a|b"] {
        dir.transport_stream(name);
        dir.with_ffmpeg("vad --", &script).arg(name).run().exits(0).without_complaint();
        let given = dir.read("arguments");
        assert!(given.contains(&format!("-i\nfile:{name}\n")), "{given}");
        assert!(given.contains("-protocol_whitelist\nfile,pipe\n"), "{given}");
    }
}

#[test]
fn an_interrupted_run_leaves_no_ffmpeg_behind() {
    let dir = Dir::new();
    dir.transport_stream("talk.ts");
    let mut running = dir.with_ffmpeg("vad talk.ts", &format!("{HEADER}; exec sleep 1000")).start();
    let pid = dir.path("pid");
    running.until("ffmpeg", || std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n')));
    running.interrupt();
    running.wait().exits(130);
    let pid = dir.read("pid");
    assert!(!Command::new("sh").args(["-c", "kill -0 $0 2>/dev/null", pid.trim()]).status().unwrap().success());
}

/// The worker's stdin carries requests, so paths that name it are refused.
#[test]
fn the_worker_reads_no_recording_from_stdin() {
    let dir = Dir::new();
    dir.write("requests", "{\"id\": 1, \"path\": \"/dev/stdin\"}\n{\"id\": 2, \"path\": \"-\"}\n");
    let outcome = dir.piped("worker --model builtin", "requests").run();
    outcome.exits(0).prints(&["reads recordings from files only", "no such file"]);
}
