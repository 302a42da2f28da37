//! `diarist-bench`: invalid options, and completeness of the report. The values of the times are not checked.

use serde_json::Value;

use crate::dsl::{Dir, Outcome};

fn json(outcome: &Outcome) -> Value {
    let last = outcome.exits(0).stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {last}"))
}

/// Checks that the value at each of these JSON pointers is a number above 0.
#[track_caller]
fn has_numbers(report: &Value, paths: &[&str]) {
    for path in paths {
        let value = report.pointer(path).unwrap_or_else(|| panic!("no {path} in {report:#}"));
        assert!(value.as_f64().is_some_and(|v| v > 0.0), "{path} is {value}");
    }
}

#[test]
fn invalid_options_are_refused() {
    let dir = Dir::new();
    for (args, parts) in [
        ("", ["--model", "--shape"]),
        ("--shape huge", ["huge", "large-v3"]),
        ("--shape micro --model builtin", ["--shape", "--model"]),
        ("--shape micro --batch 0", ["--batch", "1"]),
        ("--shape micro --beam 0", ["--beam", "1"]),
        ("--shape micro --chunks 0", ["--chunks", "1"]),
        ("--shape micro --runs 0", ["--runs", "1"]),
        ("--shape micro --tokens 2", ["--tokens", "3"]),
        ("--shape micro --tokens 81", ["tokens", "80"]),
        ("--shape micro --hours 0", ["--hours", "48"]),
        ("--shape micro --hours nan", ["--hours", "48"]),
        ("--shape micro --hours 1 --chunks 3", ["--hours", "--chunks"]),
        ("--shape micro --stage attention", ["--stage", "decode"]),
        ("--shape micro --profile all", ["--profile", "encode"]),
        ("--shape micro --device gpu", ["gpu", "cuda:N"]),
        ("--shape micro --device cuda:x", ["cuda:x", "cuda:N"]),
        ("--shape micro --cross-cache f64", ["--cross-cache", "absorbed"]),
        ("--shape micro --compute-type bfloat16", ["compute_type", "GPU"]),
        ("--shape micro --align-model wav2vec2-base", ["--shape", "--align-model"]),
        ("--shape micro --segments talk.json", ["--segments", "--shape"]),
        ("--align-model wav2vec2-micro --chunks 3", ["--align-model", "--chunks"]),
    ] {
        let outcome = dir.bench(args).run();
        outcome.exits(2).complains(&parts);
        assert_eq!(outcome.stdout, "", "{args}");
    }
}

#[test]
fn missing_files_are_named() {
    let dir = Dir::new();
    dir.bench("--model nowhere").run().exits(1).complains(&["nowhere", "no such file or folder"]);
    dir.bench("--shape micro --audio talk.wav").run().exits(1).complains(&["talk.wav"]);
    dir.write("talk.wav", b"no recording");
    dir.bench("--shape micro --audio talk.wav").run().exits(1).complains(&["talk.wav"]);
    dir.bench("--align-model nowhere").run().exits(1).complains(&["nowhere", "config.json"]);
    dir.write("talk.json", b"[1]");
    dir.bench("--align-model wav2vec2-micro --segments talk.json").run().exits(1).complains(&["talk.json", "segments"]);
    dir.silence("quiet.wav", 3.0);
    dir.bench("--shape micro --audio quiet.wav").run().exits(2).complains(&["quiet.wav", "nobody speaks"]);
}

#[test]
fn word_times_are_reported_in_full() {
    let dir = Dir::new();
    let report = json(&dir.bench("--align-model wav2vec2-micro --runs 2 --json").run());
    has_numbers(&report, &["/seconds", "/network_seconds", "/viterbi_seconds", "/audio_seconds", "/times_real_time"]);
    has_numbers(&report, &["/peak_rss_bytes", "/load_seconds", "/segments", "/words"]);
    assert_eq!(report["all_seconds"].as_array().unwrap().len(), 2);
    assert_eq!(report["words"], report["aligned_words"]);
    let table = dir.bench("--align-model wav2vec2-micro").run();
    assert!(table.exits(0).stdout.contains("times real time"), "{}", table.stdout);
}

#[test]
fn windows_of_features_are_reported_in_full() {
    let dir = Dir::new();
    let outcome = dir
        .bench("--shape micro --chunks 3 --batch 2 --tokens 9 --beam 2 --runs 3 --stage all --scale 4000 --json")
        .run();
    let report = json(&outcome);
    has_numbers(&report, &["/seconds", "/audio_seconds", "/times_real_time", "/peak_rss_bytes", "/load_seconds"]);
    has_numbers(&report, &["/ceilings/flops", "/ceilings/bytes_per_second"]);
    has_numbers(
        &report,
        &["/features_ms", "/encoder_ms", "/cross_ms", "/step_ms", "/checked/tokens", "/checked/equal_tokens"],
    );
    assert_eq!((&report["chunks"], &report["batch"], &report["tokens"]), (&3.into(), &2.into(), &9.into()));
    assert_eq!(report["all_seconds"].as_array().unwrap().len(), 3);
    let first = report["first"].as_array().unwrap();
    assert_eq!(first.len(), 9);
    assert!(first.iter().any(|token| token != &first[0]), "tokens that never change test nothing: {first:?}");
    assert_eq!(report["checked"]["logits_error"], 0.0, "the processor differs from itself");
    let stages = report["stages"].as_array().unwrap();
    assert_eq!(
        stages.iter().map(|s| s["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["features", "encode", "cross", "decode step"]
    );
    for stage in stages {
        has_numbers(stage, &["/ms", "/floor_ms", "/floor_share", "/bytes"]);
        // The absorbed cache is a copy, without operations.
        if stage["name"] != "cross" {
            has_numbers(stage, &["/flops"]);
        }
    }
    let table = dir.bench("--shape micro --chunks 1 --tokens 3 --stage decode --scale 4000").run();
    table.exits(0).prints(&["ceilings", "decode step", "% of the floor", "times real time"]);
    assert!(!table.stdout.contains("encode ("), "{}", table.stdout);
}

/// Audio from a file, and the sample repeated: every stage has a time, and every chunk has its tokens.
#[test]
fn audio_is_timed_from_end_to_end() {
    let dir = Dir::new();
    dir.speech("talk.wav", 7.0);
    let report = json(&dir.bench("--shape micro --audio talk.wav --tokens 5 --json").run());
    let of = |report: &Value, name: &str| report["end_to_end"][name].as_u64().unwrap();
    assert_eq!(of(&report, "tokens"), 5 * of(&report, "chunks"));
    assert!((report["audio_seconds"].as_f64().unwrap() - 7.0).abs() < 0.01, "{report:#}");
    let stages = report["end_to_end"]["stages"].as_array().unwrap();
    assert_eq!(stages.iter().map(|s| s["name"].as_str().unwrap()).collect::<Vec<_>>(), ["audio", "vad", "asr"]);
    stages.iter().for_each(|stage| has_numbers(stage, &["/seconds"]));

    let report = json(&dir.bench("--shape micro --hours 0.02 --tokens 3 --json").run());
    let seconds = report["audio_seconds"].as_f64().unwrap();
    assert!((50.0..90.0).contains(&seconds), "two repetitions of the sample are {seconds} s");
}

/// The text of a real model, and a model in a folder.
#[test]
fn a_checkpoint_transcribes_speech() {
    let dir = Dir::new();
    dir.speech("talk.wav", 5.0);
    let report = json(&dir.bench("--model builtin --audio talk.wav --json").run());
    let text = report["end_to_end"]["text"].as_str().unwrap();
    assert!(text.contains("Good morning"), "{text}");
    dir.model("mine");
    let report = json(&dir.bench("--model mine --chunks 2 --tokens 4 --json").run());
    has_numbers(&report, &["/seconds", "/times_real_time"]);
}

#[test]
fn a_profile_is_one_stage_alone() {
    let dir = Dir::new();
    for stage in ["features", "encode", "decode"] {
        let outcome = dir.bench(&format!("--shape micro --chunks 1 --tokens 5 --profile {stage}")).run();
        assert_eq!(outcome.exits(0).stdout, "");
    }
}

// ---- on the emulated CUDA driver ----

#[test]
#[ignore = "needs a C++ compiler"]
fn needs_cxx_kernels_are_listed_on_a_gpu() {
    let dir = Dir::new();
    let outcome = dir.on_the_emulator(
        dir.bench("--device cuda --shape micro --chunks 2 --tokens 4 --stage all --scale 4000 --json"),
    );
    let report = json(&outcome.run());
    has_numbers(&report, &["/peak_device_bytes", "/ceilings/flops", "/checked/logits_error"]);
    for stage in report["stages"].as_array().unwrap() {
        has_numbers(stage, &["/launches"]);
        let kernels = stage["kernels"].as_array().unwrap();
        assert!(!kernels.is_empty(), "{stage:#}");
        for kernel in kernels {
            has_numbers(kernel, &["/launches", "/ms", "/bytes", "/gb_per_second", "/floor_share"]);
        }
    }
}
