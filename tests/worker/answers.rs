//! Answers of the worker: equal to the results of the command line, with options, warnings and cancellation.

use serde_json::{Value, json};

use crate::client::{BUILTIN, Worker, base64, short};
use crate::common::pipeline;
use crate::dsl::Dir;

/// The text and the JSON that `transcribe` writes for `talk.wav` with these options.
fn command_line_result(dir: &Dir, args: &str) -> (String, Value) {
    dir.diarist(&format!("transcribe talk.wav {BUILTIN} -f txt,json -o out {args}")).run().exits(0);
    (dir.read("out/talk.txt"), serde_json::from_str(&dir.read("out/talk.json")).unwrap())
}

#[track_caller]
fn is(answer: &Value, (text, result): &(String, Value)) {
    assert_eq!(answer["text"].as_str(), Some(text.as_str()), "{}", short(answer));
    assert_eq!(&answer["result"], result);
    assert!(answer.get("error").is_none() && answer.get("warnings").is_none(), "{}", short(answer));
}

#[test]
fn the_sample_gets_the_speakers_and_words_of_the_command_line() {
    let dir = Dir::new();
    dir.write("talk.wav", diarist::assets::SAMPLE);
    let expected = command_line_result(&dir, "--diarize --diarize-model builtin");
    assert!(expected.0.contains("]: Good morning, everyone."), "{}", expected.0);
    let mut worker = Worker::start(&dir, "--diarize --diarize-model builtin --chunk_size 5");
    let ready = json!({"ready": true, "version": env!("CARGO_PKG_VERSION"), "model": "builtin", "device": "cpu"});
    assert_eq!(worker.ready, ready);
    worker.send(json!({"id": "in base64", "audio_file": base64(diarist::assets::SAMPLE)}));
    worker.send(json!({"id": 7, "path": "talk.wav", "options": {}}));
    // null counts as absent, and base64 may lack its padding.
    let unpadded = base64(diarist::assets::SAMPLE).trim_end_matches('=').to_string();
    worker.send(json!({"id": -1, "path": null, "audio_file": unpadded, "options": null}));
    for answer in worker.answers(3).values() {
        is(answer, &expected);
    }
    worker.end();
    assert_eq!(worker.exits(0), [Value::Null; 0]);
}

#[test]
fn options_have_the_names_and_meanings_of_the_command_line() {
    let dir = Dir::new();
    dir.speech("talk.wav", 12.0);
    let mut worker = Worker::start(&dir, "--no_align --initial-prompt Hello.");
    for (options, args) in [
        (json!({}), "--no-align --initial-prompt Hello."),
        // true switches on, false off; null keeps the worker's option; a value may begin with a hyphen.
        (json!({"no_align": false, "suppress_numerals": true}), "--initial-prompt Hello. --suppress-numerals"),
        (json!({"no-align": null, "initial_prompt": false}), "--no-align"),
        (
            json!({"chunk_size": 5, "suppress-tokens": "-1,5"}),
            "--no-align --initial-prompt Hello. --chunk-size 5 --suppress-tokens=-1,5",
        ),
        (
            json!({"suppress_tokens": [-1, 5], "beam_size": "None"}),
            "--no-align --initial-prompt Hello. --suppress-tokens=-1,5 --beam-size None",
        ),
        (
            json!({"without_timestamps": false, "language": "English"}),
            "--no-align --initial-prompt Hello. --without-timestamps False --language English",
        ),
    ] {
        worker.send(json!({"id": args, "path": "talk.wav", "options": options}));
        // `BUILTIN` sets --beam-size already, and the command line refuses an option given twice.
        let args = args.replace("--beam-size None", "");
        is(&worker.answer(), &command_line_result(&dir, &args));
    }
    // Diarization as on the command line, and switched off.
    let mut worker = Worker::start(&dir, "--diarize --diarize-model builtin");
    worker.send(json!({"id": 1, "path": "talk.wav", "options": {"num_speakers": 1, "diarize": true}}));
    is(&worker.answer(), &command_line_result(&dir, "--diarize --diarize-model builtin --num-speakers 1"));
    worker.send(json!({"id": 2, "path": "talk.wav", "options": {"diarize": false}}));
    let answer = worker.answer();
    assert!(
        answer["text"].as_str().is_some_and(|text| !text.is_empty() && !text.contains("SPEAKER")),
        "{}",
        short(&answer)
    );
}

#[test]
fn silence_has_an_empty_text() {
    let dir = Dir::new();
    dir.silence("talk.wav", 3.0);
    let mut worker = Worker::start(&dir, "");
    worker.send(json!({"id": 1, "path": "talk.wav"}));
    let answer = worker.answer();
    is(&answer, &command_line_result(&dir, ""));
    assert_eq!((answer["text"].as_str(), &answer["result"]["segments"]), (Some(""), &json!([])));
}

/// A long and a short recording are started together; then the long one is cancelled.
#[test]
fn answers_come_as_they_are_finished_and_running_requests_can_be_cancelled() {
    let dir = Dir::new();
    dir.speech("long.wav", 1800.0);
    dir.speech("short.wav", 2.0);
    let mut worker = Worker::start(&dir, "--max-in-flight 2");
    worker.send(json!({"id": "long", "path": "long.wav"}));
    worker.send(json!({"id": "short", "path": "short.wav"}));
    assert_eq!(worker.answer()["id"], "short");
    worker.send(json!({"id": "long", "cancel": true}));
    worker.refuses(json!("long"), "cancelled", &["cancelled"]);
    // A late cancellation is ignored, and the id may be reused.
    worker.send(json!({"id": "long", "cancel": true}));
    worker.send(json!({"id": "long", "path": "short.wav"}));
    assert!(worker.answer()["result"]["segments"][0]["text"].is_string());
    worker.end();
    assert_eq!(worker.exits(0).len(), 0);
}

#[test]
fn waiting_requests_are_cancelled_while_others_run() {
    let dir = Dir::new();
    dir.speech("long.wav", 1800.0);
    let mut worker = Worker::start(&dir, "--max-in-flight 1");
    worker.send(json!({"id": 1, "path": "long.wav"}));
    worker.send(json!({"id": 2, "path": "no such file"}));
    worker.send(json!({"id": 2, "cancel": true}));
    worker.refuses(json!(2), "cancelled", &[]);
    worker.send(json!({"id": 1, "cancel": true}));
    worker.refuses(json!(1), "cancelled", &[]);
    worker.end();
    assert_eq!(worker.exits(0).len(), 0);
}

/// The model is not called `builtin`, so its default aligner is on the hub, which cannot be reached.
#[test]
fn missing_parts_of_a_result_are_warnings() {
    let dir = Dir::new();
    dir.model("mine");
    dir.speech("talk.wav", 3.0);
    let mut worker = Worker::start_with(&dir, "--model ./mine");
    worker.send(json!({"id": 1, "path": "talk.wav"}));
    let answer = worker.answer();
    assert!(!answer["text"].as_str().unwrap().is_empty());
    let warnings: Vec<&str> = answer["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("no alignment of `en`"), "{warnings:?}");
}

#[test]
fn a_request_can_ask_for_channel_speakers() {
    let dir = Dir::new();
    let [first, second] = crate::common::call::call();
    dir.write("talk.wav", crate::common::call::wav(&[&first, &second]));
    dir.write("dual.wav", crate::common::call::wav(&[&first, &first]));
    let mut worker = Worker::start(&dir, "");
    let options = json!({"channel_speakers": true, "channel_names": "Agent,Customer"});
    worker.send(json!({"id": 1, "path": "talk.wav", "options": options}));
    let expected = command_line_result(&dir, "--channel-speakers --channel-names Agent,Customer");
    assert!(expected.0.contains("[Agent]: ") && expected.0.contains("[Customer]: "), "{}", expected.0);
    is(&worker.answer(), &expected);
    let mut worker = Worker::start(&dir, "--diarize --diarize-model builtin");
    worker.send(json!({"id": 2, "path": "dual.wav", "options": {"diarize": false, "channel-speakers": true}}));
    let answer = worker.answer();
    assert!(answer["text"].as_str().unwrap().starts_with("[CHANNEL_00]: "), "{}", short(&answer));
    let warning = answer["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("CHANNEL_01 holds the same sound"), "{}", short(&answer));
    worker.send(json!({"id": 3, "path": "talk.wav", "options": {"channel_speakers": true}}));
    let answer = worker.answer();
    assert_eq!(answer["error"]["kind"], "config");
    assert!(answer["error"]["message"].as_str().unwrap().contains("`diarize`"), "{}", short(&answer));
}

#[test]
fn if_only_diarization_fails_the_answer_has_the_text() {
    let dir = Dir::new();
    pipeline::write_mute(&dir.path("model"));
    dir.speech("talk.wav", 6.0);
    let mut worker = Worker::start(&dir, "--diarize --diarize-model model");
    worker.send(json!({"id": 1, "path": "talk.wav"}));
    let answer = worker.answer();
    assert!(!answer["text"].as_str().unwrap().is_empty() && !answer["text"].as_str().unwrap().contains("SPEAKER"));
    let warning = answer["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("speakers cannot be told apart") && warning.contains("zero"), "{}", short(&answer));
}

#[test]
fn a_number_of_speakers_that_cannot_be_met_is_a_warning_with_the_recording() {
    let dir = Dir::new();
    pipeline::write(&dir.path("model"), pipeline::CENTROID, &pipeline::segmentation(4.0, true));
    dir.speech("talk.wav", 6.0);
    let mut worker = Worker::start(&dir, "--diarize --diarize-model model --no-align");
    let sound = base64(&std::fs::read(dir.path("talk.wav")).unwrap());
    worker.send(json!({"id": "path", "path": "talk.wav", "options": {"num_speakers": 400}}));
    worker.send(json!({"id": "bytes", "audio_file": sound, "options": {"min_speakers": 300}}));
    worker.send(json!({"id": "met", "path": "talk.wav"}));
    let answers = worker.answers(3);
    for (id, told) in [("path", "talk.wav: `num_speakers` 400"), ("bytes", "audio_file: `min_speakers` 300")] {
        let answer = answers.values().find(|answer| answer["id"] == id).unwrap();
        let warnings = answer["warnings"].as_array().unwrap();
        assert!(warnings.len() == 1 && warnings[0].as_str().unwrap().starts_with(told), "{warnings:?}");
        assert_eq!(answer["result"]["diarization"], json!({"pipeline": "model"}));
    }
    let met = answers.values().find(|answer| answer["id"] == "met").unwrap();
    assert!(met.get("warnings").is_none(), "{}", short(met));
}
