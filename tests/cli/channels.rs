//! `transcribe --channel-speakers`: each channel is a speaker.

use serde_json::Value;

use crate::common::call::{call, wav};
use crate::dsl::Dir;

const BUILTIN: &str =
    "--model builtin --beam-size 1 --temperature-increment-on-fallback None --chunk-size 5 --channel-speakers";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The distinct speakers of all words, sorted.
fn speakers(found: &Value) -> Vec<String> {
    let words = found["word_segments"].as_array().unwrap();
    let mut all: Vec<String> = words.iter().map(|word| word["speaker"].as_str().unwrap().into()).collect();
    all.sort();
    all.dedup();
    all
}

impl Dir {
    /// Writes a call of two speakers, one per channel.
    fn call(&self, name: &str) {
        let [first, second] = call();
        self.write(name, wav(&[&first, &second]));
    }
}

#[test]
fn every_format_has_the_speakers() {
    let dir = Dir::new();
    dir.call("call.wav");
    let args = format!("transcribe call.wav {BUILTIN} --channel-names Agent,Customer");
    let outcome = dir.diarist(&format!("{args} -f all,aud,rttm")).run();
    outcome.exits(0).without_complaint().prints(&["] [Agent]: ", "] [Customer]: "]);
    let found = json(&dir.read("call.json"));
    assert_eq!(speakers(&found), ["Agent", "Customer"]);
    for segment in found["segments"].as_array().unwrap() {
        assert!(segment["words"].as_array().unwrap().iter().all(|word| word["speaker"] == segment["speaker"]));
    }
    let first = found["segments"][0]["text"].as_str().unwrap().trim();
    let first = format!("[{}]: {first}", found["segments"][0]["speaker"].as_str().unwrap());
    for file in ["call.txt", "call.srt", "call.vtt"] {
        assert!(dir.read(file).contains(&first), "{}", dir.read(file));
    }
    assert!(dir.read("call.aud").contains("[[Customer]]"));
    assert!(dir.read("call.rttm").contains("SPEAKER call 1 ") && dir.read("call.rttm").contains(" Agent "));
    // Through a pipe, with underscores in the option, without word times and without names.
    let pipe = std::fs::File::open(dir.path("call.wav")).unwrap();
    let args = BUILTIN.replace("--channel-speakers", "--channel_speakers");
    dir.diarist(&format!("transcribe - {args} --no-align -f json -o b")).stdin(pipe).run().exits(0).without_complaint();
    let found = json(&dir.read("b/stdin.json"));
    let named = |name: &str| found["segments"].as_array().unwrap().iter().any(|segment| segment["speaker"] == name);
    assert!(named("CHANNEL_00") && named("CHANNEL_01") && found["word_segments"].is_null());
}

#[test]
fn unsuitable_channels_are_reported() {
    let dir = Dir::new();
    let [first, second] = call();
    let short = |samples: &[f32]| samples[..100_000].to_vec();
    let (first, second) = (short(&first), short(&second));
    dir.write("mono.wav", wav(&[&first]));
    dir.write("dual.wav", wav(&[&second, &second]));
    dir.write("half.wav", wav(&[&vec![0.0; 100_000], &first]));
    let run = dir.diarist(&format!("transcribe mono.wav {BUILTIN}")).run();
    run.exits(1).complains(&["mono.wav: --channel-speakers: it has one channel", "use --diarize"]);
    let run = dir.diarist(&format!("transcribe dual.wav {BUILTIN} --channel-names A,B,C")).run();
    run.exits(1).complains(&["dual.wav: --channel-names A,B,C: 3 names for 2 channels"]);
    let run = dir.diarist(&format!("transcribe dual.wav half.wav {BUILTIN} -f json")).run();
    run.exits(0).complains(&["dual.wav: CHANNEL_01 holds the same sound as CHANNEL_00", "--diarize"]);
    assert!(!run.stderr.contains("half.wav"), "{}", run.stderr);
    assert_eq!(speakers(&json(&dir.read("dual.json"))), ["CHANNEL_00"]);
    assert_eq!(speakers(&json(&dir.read("half.json"))), ["CHANNEL_01"]);
    // With --manifest, warnings are part of the line.
    dir.write("list.txt", "dual.wav\nmono.wav\n");
    dir.diarist(&format!("transcribe --manifest list.txt --jsonl out.jsonl --jobs 1 {BUILTIN}")).run().exits(1);
    let lines: Vec<Value> = dir.read("out.jsonl").lines().map(json).collect();
    assert!(lines[0]["warnings"][0].as_str().unwrap().contains("CHANNEL_01") && lines[0]["result"].is_object());
    assert_eq!(lines[1]["error"]["kind"], "config");
}

#[test]
fn options_that_contradict_it_are_refused_before_anything_is_done() {
    let dir = Dir::new();
    for (args, parts) in [
        ("--channel-speakers --diarize", ["--channel-speakers", "--diarize would tell apart again"]),
        ("--channel-speakers --channel 0", ["--channel-speakers", "--channel takes one"]),
        ("--channel-speakers --channel-names A,,B", ["--channel-names A,,B", "empty"]),
        ("--channel-speakers --channel-names A,A", ["--channel-names A,A", "given twice"]),
        ("--channel-speakers --num-speakers 2", ["--num-speakers", "--diarize"]),
        ("--channel-names A,B", ["--channel-names", "--channel-speakers"]),
    ] {
        dir.diarist(&format!("transcribe a.wav --model builtin {args}")).run().exits(2).complains(&parts);
    }
    assert!(dir.files().is_empty());
}

#[test]
#[ignore = "needs ffmpeg"]
fn needs_ffmpeg_it_gives_the_same_channels() {
    let dir = Dir::new();
    dir.call("call.wav");
    let args = ["-v", "error", "-i", "call.wav", "-c:a", "pcm_f32be", "call.au"];
    let status = std::process::Command::new("ffmpeg").args(args).current_dir(dir.path(".")).status().unwrap();
    assert!(status.success());
    dir.diarist(&format!("transcribe call.wav {BUILTIN} -f json -o a")).run().exits(0);
    dir.diarist(&format!("transcribe call.au {BUILTIN} -f json -o b")).run().exits(0).without_complaint();
    assert_eq!(dir.read("a/call.json"), dir.read("b/call.json"));
}
