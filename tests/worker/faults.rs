//! Invalid requests: each gets an error answer, and the worker keeps serving.

use serde_json::{Value, json};

use crate::client::{Worker, base64, short};
use crate::common::silence;
use crate::dsl::Dir;

/// Checks that the worker still serves requests.
#[track_caller]
fn serves(worker: &mut Worker) {
    worker.send(json!({"id": "next", "audio_file": base64(diarist::assets::SAMPLE), "options": {"no_align": true}}));
    let answer = worker.answer();
    assert!(answer["id"] == "next" && answer["result"]["segments"][0]["text"].is_string(), "{}", short(&answer));
}

#[test]
fn options_that_cannot_be_honoured_are_refused_as_on_the_command_line() {
    let dir = Dir::new();
    let mut worker = Worker::start(&dir, "--language en --batch-size 4");
    for (options, parts) in [
        // Options of the worker.
        (json!({"model": "small"}), ["`model` = `small`", "command line of the worker"]),
        (json!({"device": "cpu"}), ["device", "command line of the worker"]),
        (json!({"compute-type": "int8"}), ["compute-type", "command line of the worker"]),
        (json!({"batch_size": 2}), ["batch_size", "command line of the worker"]),
        (json!({"hf_token": "x"}), ["hf_token", "command line of the worker"]),
        (json!({"vad": "none"}), ["vad", "command line of the worker"]),
        (json!({"align_model": "builtin"}), ["align_model", "command line of the worker"]),
        (json!({"diarize_model": "builtin"}), ["diarize_model", "command line of the worker"]),
        (json!({"speakers": "/"}), ["speakers", "command line of the worker"]),
        (json!({"max_duration": 1e9}), ["max_duration", "command line of the worker"]),
        (json!({"max_in_flight": 9}), ["max_in_flight", "command line of the worker"]),
        (json!({"log_level": "debug"}), ["log_level", "command line of the worker"]),
        (json!({"diarize": true}), ["`diarize` = `true`", "start the worker with --diarize"]),
        // Unknown options.
        (json!({"output_dir": "/tmp"}), ["--output-dir", "unexpected"]),
        (json!({"beem_size": 5}), ["--beem-size", "--beam-size"]),
        (json!({"help": true}), ["--help", "unexpected"]),
        (json!({"": 1}), ["``", "is no option"]),
        (json!({"language=de": "x"}), ["`language=de`", "is no option"]),
        (json!({"-": "x"}), ["---", "unexpected"]),
        // Invalid values.
        (json!({"beam_size": "x"}), ["--beam-size", "a number or None"]),
        (json!({"beam_size": 0}), ["beam_size", "1"]),
        (json!({"beam_size": {}}), ["beam_size", "expected a number"]),
        (json!({"language": [[1]]}), ["language", "expected a number"]),
        (json!({"no_align": "yes"}), ["no_align", "expected true or false"]),
        (json!({"language": "Klingon"}), ["language", "Klingon"]),
        (json!({"multilingual": "perhaps"}), ["multilingual", "True or False"]),
        // Options that contradict each other or the worker's.
        (json!({"num_speakers": 2}), ["num_speakers", "without `diarize`"]),
        (json!({"no_align": true, "align_method": "dtw"}), ["option `align_method`: `no_align` asks", "leave one"]),
        (json!({"condition_on_previous_text": true}), ["condition_on_previous_text", "`vad_method` none"]),
    ] {
        worker.send(json!({"id": options.to_string(), "path": "no such file", "options": options}));
        worker.refuses(json!(options.to_string()), "config", &parts);
    }
    serves(&mut worker);
}

#[test]
fn invalid_request_lines_get_an_error() {
    let dir = Dir::new();
    let mut worker = Worker::start(&dir, "");
    for (line, id, part) in [
        ("garbage", Value::Null, "no JSON object"),
        ("[1, 2]", Value::Null, "no JSON object"),
        ("{\"id\": 1, \"path\": \"a\"} {}", Value::Null, "no JSON object"),
        ("{\"id\": 1, \"path\": \"a", Value::Null, "no JSON object"),
        ("{\"path\": \"a.wav\"}", Value::Null, "`id` is missing"),
        ("{\"id\": 1.5, \"path\": \"a.wav\"}", Value::Null, "`id` is no"),
        ("{\"id\": null, \"path\": \"a.wav\"}", Value::Null, "`id` is no"),
        ("{\"id\": 1}", json!(1), "no recording"),
        ("{\"id\": 1, \"path\": \"a\", \"audio_file\": \"\"}", json!(1), "both"),
        ("{\"id\": 1, \"path\": 5}", json!(1), "`path` is no text"),
        ("{\"id\": 1, \"path\": \"a\", \"option\": {}}", json!(1), "`option`"),
        ("{\"id\": 1, \"path\": \"a\", \"options\": []}", json!(1), "`options`"),
        ("{\"id\": 1, \"cancel\": false}", json!(1), "`cancel`"),
        ("{\"id\": 1, \"cancel\": true, \"path\": \"a\"}", json!(1), "`cancel`"),
        ("{\"id\": \"b\", \"audio_file\": \"no base64!\"}", json!("b"), "not base64"),
        ("{\"id\": 2, \"audio_file\": \"AAA\u{e9}\"}", json!(2), "not base64"),
    ] {
        worker.write(format!("{line}\n"));
        worker.refuses(id, "request", &[part]);
    }
    worker.write(b"\xff\xfe\n");
    worker.refuses(Value::Null, "request", &["no JSON object"]);
    worker.write(format!("{}\n", "[".repeat(100_000)));
    worker.refuses(Value::Null, "request", &["no JSON object"]);
    // Blank lines are ignored.
    worker.write("\n  \r\n\n");
    serves(&mut worker);
    // The last line may lack its newline.
    worker.write("{\"id\": 9}");
    worker.end();
    assert_eq!(worker.exits(0)[0]["id"], 9);
}

#[test]
fn invalid_recordings_get_an_error() {
    let dir = Dir::new();
    let mut worker = Worker::start(&dir, "");
    worker.send(json!({"id": 1, "audio_file": base64(b"This is no recording.")}));
    worker.refuses(json!(1), "audio", &["audio_file", "not a recording"]);
    worker.send(json!({"id": 2, "audio_file": ""}));
    worker.refuses(json!(2), "audio", &["audio_file", "empty"]);
    worker.send(json!({"id": 3, "path": "missing.wav"}));
    worker.refuses(json!(3), "audio", &["missing.wav", "no such file"]);
    worker.send(json!({"id": 4, "audio_file": base64(&diarist::assets::SAMPLE[..60_000])}));
    worker.refuses(json!(4), "audio", &["`allow_truncated`"]);
    worker.send(json!({"id": 5, "audio_file": base64(&diarist::assets::SAMPLE[..60_000]), "options": {"allow_truncated": true}}));
    assert!(worker.answer()["result"]["segments"][0]["text"].is_string());
}

/// Memory stays within the limit while the line is skipped.
#[test]
fn a_line_of_a_hundred_megabytes_is_skipped() {
    let dir = Dir::new();
    let mut worker = Worker::start(&dir, "--max-request-bytes 1MB");
    let before = peak(&worker);
    worker.write("{\"id\": 1, \"audio_file\": \"");
    let megabyte = vec![b'A'; 1 << 20];
    (0..100).for_each(|_| worker.write(&megabyte));
    worker.write("\"}\n");
    worker.refuses(Value::Null, "too_large", &["1000000 bytes", "--max-request-bytes"]);
    assert!(peak(&worker) < before + 16, "{} after {before} MiB", peak(&worker));
    serves(&mut worker);
    // At the end of stdin, too.
    (0..2).for_each(|_| worker.write(&megabyte));
    worker.end();
    assert_eq!(worker.exits(0)[0]["error"]["kind"], "too_large");
}

/// 19 kB of base64 that decode to an hour of silence (230 MB).
#[test]
fn long_recordings_in_small_requests_are_refused_before_they_take_memory() {
    let dir = Dir::new();
    let mut worker = Worker::start(&dir, "--max-duration 60");
    let before = peak(&worker);
    for says_its_length in [true, false] {
        worker.send(json!({"id": 1, "audio_file": base64(&silence::flac(3600, says_its_length))}));
        worker.refuses(json!(1), "too_long", &["audio_file", "60 seconds", "`max_duration`"]);
    }
    assert!(peak(&worker) < before + 32, "{} after {before} MiB", peak(&worker));
    serves(&mut worker);
}

#[cfg(target_os = "linux")]
fn peak(worker: &Worker) -> u64 {
    worker.peak_mib()
}

#[cfg(not(target_os = "linux"))]
fn peak(_: &Worker) -> u64 {
    0
}

#[test]
fn a_duplicate_id_is_refused_and_the_first_request_continues() {
    let dir = Dir::new();
    dir.speech("long.wav", 60.0);
    let mut worker = Worker::start(&dir, "--max-in-flight 1");
    // The first request runs, the second waits.
    for id in [json!(1), json!("1")] {
        worker.send(json!({"id": id, "path": "long.wav"}));
        worker.send(json!({"id": id, "path": "missing.wav"}));
        worker.refuses(id, "duplicate_id", &["in flight"]);
    }
    let answers = worker.answers(2);
    assert!(answers.values().all(|answer| answer["result"]["duration"] == 60.0), "{answers:?}");
}
