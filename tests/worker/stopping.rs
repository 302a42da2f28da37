//! Shutdown of the worker: every accepted request is answered.

use serde_json::{Value, json};

use crate::client::{BUILTIN, Worker};
use crate::dsl::Dir;

#[test]
fn at_the_end_of_stdin_everything_is_answered() {
    let dir = Dir::new();
    dir.speech("talk.wav", 5.0);
    let mut worker = Worker::start(&dir, "--max-in-flight 2");
    (0..12).for_each(|id| worker.send(json!({"id": id, "path": "talk.wav"})));
    worker.end();
    let answers = worker.answers(12);
    assert!(answers.values().all(|answer| answer["text"] == answers["0"]["text"]), "{answers:?}");
    assert_eq!(worker.exits(0).len(), 0);
}

/// Requests are read in order, so they have been accepted once a line after them is answered.
#[test]
fn sigterm_under_load_loses_no_accepted_request() {
    let dir = Dir::new();
    dir.speech("talk.wav", 30.0);
    let mut worker = Worker::start(&dir, "--max-in-flight 4");
    (0..7).for_each(|id| worker.send(json!({"id": id, "path": "talk.wav"})));
    worker.write("a line behind them\n");
    let mut answers: Vec<Value> =
        std::iter::repeat_with(|| worker.answer()).take_while(|a| !a["id"].is_null()).collect();
    worker.signal("TERM");
    worker.until_told("no more requests are taken");
    // The worker may have ended already; otherwise it must ignore this request.
    worker.write_if_there("{\"id\": 100, \"path\": \"talk.wav\"}\n");
    answers.extend(worker.exits(0));
    let mut ids: Vec<u64> = answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6]);
    assert!(answers.iter().all(|answer| answer["result"]["duration"] == 30.0), "{answers:?}");
}

#[test]
fn a_second_signal_cancels_running_and_waiting_requests() {
    let dir = Dir::new();
    dir.speech("long.wav", 1800.0);
    let mut worker = Worker::start(&dir, "--max-in-flight 2");
    (0..3).for_each(|id| worker.send(json!({"id": id, "path": "long.wav"})));
    worker.write("a line behind them\n");
    assert_eq!(worker.answer()["id"], Value::Null);
    worker.signal("TERM");
    worker.until_told("no more requests are taken");
    worker.signal("INT");
    let answers = worker.exits(130);
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(answers.iter().all(|answer| answer["error"]["kind"] == "cancelled"), "{answers:?}");
}

#[test]
fn an_idle_worker_ends_at_sigterm_although_stdin_is_open() {
    let dir = Dir::new();
    let worker = Worker::start(&dir, "");
    worker.signal("TERM");
    assert_eq!(worker.exits(0).len(), 0);
}

/// An answer cannot be written; then the other request is cancelled.
#[test]
fn work_stops_if_the_client_has_closed_stdout() {
    let dir = Dir::new();
    dir.speech("long.wav", 1800.0);
    dir.speech("short.wav", 2.0);
    let mut worker = Worker::start_deaf(&dir, "--max-in-flight 2 --no-align --log-level info");
    worker.send(json!({"id": 1, "path": "long.wav"}));
    worker.send(json!({"id": 2, "path": "short.wav"}));
    worker.until_told("the reader of the answers has gone");
    let err = worker.err.clone();
    assert_eq!(worker.exits(1).len(), 0);
    // The recogniser finished only one recording.
    let told = std::fs::read_to_string(err).unwrap();
    assert_eq!(told.matches("done (stage asr").count(), 1, "{told}");
}

#[test]
fn startup_errors_are_reported_before_the_ready_line() {
    let dir = Dir::new();
    for (args, code, parts) in [
        ("--model nowhere-to-be-found", 2, ["nowhere-to-be-found", "large-v3"]),
        ("--max-in-flight 0", 2, ["--max-in-flight", "1..=1024"]),
        ("--max-duration 0", 2, ["--max-duration", "0.001"]),
        ("talk.wav", 2, ["unexpected argument", "talk.wav"]),
        ("--num-speakers 2", 2, ["--num-speakers", "--diarize"]),
        ("--model ./nothing", 1, ["nothing", "config.json"]),
    ] {
        let args = if args.contains("--model") { args.to_string() } else { format!("{BUILTIN} {args}") };
        let outcome = dir.diarist(&format!("worker {args}")).run();
        assert_eq!(outcome.exits(code).complains(&parts).stdout, "", "{args}");
    }
}
