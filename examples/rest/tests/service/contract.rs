//! What clients are promised: the tutorial's answer, forms, options, and reasons.

use diarist::Engine;
use diarist::assets::SAMPLE;
use diarist::config::Options;
use diarist::diarize::words::WordOptions;
use diarist::output::{self, OutputFormat, SubtitleOptions};
use diarist::pipeline::{Input, SpeakerOptions, WordTimes};
use diarist::types::Transcript;
use diarist::units::Seconds;
use diarist::vad::VadOptions;
use serde_json::json;

use crate::harness::{Rest, begun, body};
use crate::recordings::{call, short};

/// What the engine says without a service in front of it.
fn expected() -> String {
    let engine = Engine::builder().diarizer("builtin").build().unwrap();
    let words = WordOptions { fill_nearest: true, smooth: true, ..WordOptions::default() };
    let options = Options {
        vad: VadOptions { chunk_size: Seconds(5.0), ..VadOptions::default() },
        words: WordTimes::Aligned(Default::default()),
        speakers: Some(SpeakerOptions { words, ..SpeakerOptions::default() }),
        ..Options::default()
    };
    let transcript = engine.transcribe(Input::Bytes(SAMPLE, "sample.flac"), &options).unwrap();
    output::render(OutputFormat::Txt, &transcript, &SubtitleOptions::default()).unwrap()
}

/// A form with these parts: name, file name, value.
fn form(parts: &[(&str, Option<&str>, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, file, value) in parts {
        let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
        form.extend(format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").bytes());
        form.extend([value, &b"\r\n"[..]].concat());
    }
    form.extend(b"--edge--\r\n");
    form
}

const FORM: &str = "multipart/form-data; boundary=edge";

#[test]
fn a_recording_comes_back_as_who_said_what() {
    let (rest, expected) = (Rest::start(&[]), expected());
    assert!(expected.contains("[SPEAKER_00]: ") && expected.contains("[SPEAKER_01]: "), "{expected}");
    assert_eq!(rest.transcribe(SAMPLE, json!({})).transcript(), expected);
    // Clients that do not say that it is JSON, and encoders that write `/` as `\/`.
    let escaped = String::from_utf8(body(SAMPLE, json!({}))).unwrap().replace('/', "\\/");
    assert_eq!(rest.post("application/x-www-form-urlencoded", escaped.as_bytes()).transcript(), expected);
    let upload = form(&[("file", Some("talk.flac"), SAMPLE)]);
    assert_eq!(rest.post(FORM, &upload).transcript(), expected);
    let chunked = [begun("Transfer-Encoding: chunked"), chunks(&body(SAMPLE, json!({})))].concat();
    assert_eq!(rest.raw(&chunked).transcript(), expected);
    assert_eq!(rest.metric("diarist_requests_total{code=\"200\"}"), 4.0 + 1.0, "with /ready");
    assert!(rest.metric("diarist_audio_seconds_total") > 4.0 * 20.0);
    assert_eq!(rest.metric("diarist_request_duration_seconds_count"), 4.0);
    for stage in ["audio", "vad", "asr", "align", "diarize"] {
        assert_eq!(rest.metric(&format!("diarist_stage_runs_total{{stage=\"{stage}\"}}")), 4.0, "{stage}");
        assert!(rest.metric(&format!("diarist_stage_seconds_total{{stage=\"{stage}\"}}")) > 0.0, "{stage}");
    }
    assert!(rest.metric("diarist_resident_memory_bytes") > 1e6);
    assert_eq!((rest.metric("diarist_held_bytes"), rest.metric("diarist_queue")), (0.0, 0.0));
}

fn chunks(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in body.chunks(10_000) {
        out.extend([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    }
    out.extend(b"0\r\n\r\n");
    out
}

#[test]
fn options_have_the_names_of_the_command_line() {
    let rest = Rest::start(&[]);
    let answer = rest.transcribe(SAMPLE, json!({"format": "json", "speaker_embeddings": true, "max-speakers": 2}));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let transcript: Transcript = serde_json::from_str(&answer.body).unwrap();
    assert!(transcript.word_segments.iter().all(|word| word.speaker.is_some() && word.start.is_some()));
    assert!(transcript.speaker_embeddings.is_some_and(|voices| voices.len() == 2));
    assert_eq!(transcript.diarization.map(|version| version.pipeline).as_deref(), Some("builtin"));
    let unmet: serde_json::Value =
        serde_json::from_str(&rest.transcribe(SAMPLE, json!({"num_speakers": 400})).body).unwrap();
    let warning = unmet["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.starts_with("audio_file: `num_speakers` 400 cannot be met"), "{unmet}");
    let plain = rest.transcribe(SAMPLE, json!({"diarize": false, "no_align": true})).transcript();
    assert!(!plain.contains("SPEAKER") && plain.contains("project"), "{plain}");
    let upload = form(&[("diarize", None, b"False"), ("file", None, SAMPLE), ("format", None, b"json")]);
    let transcript: Transcript = serde_json::from_str(&rest.post(FORM, &upload).body).unwrap();
    assert!(transcript.turns.is_empty() && !transcript.segments.is_empty());
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    let rest = Rest::start(&[]);
    let json = |text: &str| rest.post("application/json", text.as_bytes());
    json("").refuses(400, "request", &["JSON"]);
    json("{\"audio_file\": \"AAAA").refuses(400, "request", &["JSON"]);
    json("{}").refuses(400, "request", &["audio_file"]);
    json("{\"audio_file\": \"not base64!\"}").refuses(400, "request", &["base64"]);
    json("{\"audio_file\": \"\"}").refuses(415, "audio", &["audio_file"]);
    rest.transcribe(b"a text, and no sound", json!({})).refuses(415, "audio", &["audio_file"]);
    rest.transcribe(&SAMPLE[..200], json!({})).refuses(415, "audio", &["audio_file"]);
    rest.transcribe(SAMPLE, json!({"lang": "en", "x": 1})).refuses(422, "config", &["`lang`, `x`", "`language`"]);
    rest.transcribe(SAMPLE, json!({"language": "klingon"})).refuses(422, "config", &["klingon"]);
    rest.transcribe(SAMPLE, json!({"channel": 7})).refuses(415, "audio", &["channel 7"]);
    rest.post(FORM, b"--edge\r\n").refuses(400, "request", &["form"]);
    rest.post(FORM, &form(&[("language", None, b"en")])).refuses(400, "request", &["`file`"]);
    rest.post(FORM, &form(&[("file", None, SAMPLE), ("file", None, SAMPLE)])).refuses(400, "request", &["two"]);
    rest.post(FORM, &form(&[("prefix", None, &[b'x'; 20_000])])).refuses(422, "config", &["prefix"]);
    rest.post("multipart/form-data", b"").refuses(400, "request", &["boundary"]);
    rest.get("/nowhere").refuses(404, "not_found", &["POST /"]);
    rest.get("/transcribe").refuses(405, "method", &[]);
    assert_eq!(rest.transcribe(SAMPLE, json!({})).status, 200);
}

#[test]
fn each_channel_is_a_speaker_where_that_is_asked_for() {
    let rest = Rest::start(&[]);
    let options = json!({"channel_speakers": true, "channel_names": "Anna,Victor"});
    let transcript = rest.transcribe(&call(2), options).transcript();
    assert!(transcript.starts_with("[Anna]: ") && transcript.contains("\n[Victor]: "), "{transcript}");
    assert_eq!(rest.metric("diarist_stage_runs_total{stage=\"asr\"}"), 1.0);
    // More channels than the service allows are refused before they are decoded.
    let options = || json!({"channel_speakers": true});
    rest.transcribe(&call(3), options()).refuses(415, "audio", &["3 channels", "2 at most"]);
    rest.transcribe(&short(), options()).refuses(422, "config", &["one channel", "`diarize`"]);
    let rest = Rest::start(&["--max-channels", "3"]);
    assert!(rest.transcribe(&call(3), options()).transcript().contains("[CHANNEL_01]: "));
}
