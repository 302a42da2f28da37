//! Bodies too large, recordings too long, clients too slow, and more of them than there is room for.

use std::io::Write;
use std::time::Duration;

use diarist::assets::SAMPLE;
use serde_json::json;

use crate::harness::{Rest, TOKEN, answer, begun, body, posted};
use crate::recordings::{Stated, repeated, silence};

/// What the tests below must not add to the most memory ever held, in KiB: far less than what they send stands for.
const LITTLE: u64 = 48 * 1024;

/// Sends as much of a body of `length` zeros as the service takes.
fn pour(stream: &mut std::net::TcpStream, length: usize, chunked: bool) {
    let piece = vec![b'0'; 1 << 20];
    for _ in 0..length >> 20 {
        let sent = match chunked {
            true => stream.write_all(&[b"100000\r\n", piece.as_slice(), b"\r\n"].concat()),
            false => stream.write_all(&piece),
        };
        if sent.is_err() {
            return;
        }
    }
    let _ = if chunked { stream.write_all(b"0\r\n\r\n") } else { Ok(()) };
}

#[test]
fn a_body_of_200_mb_is_refused_without_being_held() {
    let rest = Rest::start(&["--max-body-mib", "8"]);
    let before = rest.memory("VmHWM:");
    let length = 200 << 20;
    for (framing, chunked) in
        [(format!("Content-Length: {length}"), false), ("Transfer-Encoding: chunked".into(), true)]
    {
        let mut stream = rest.connect();
        stream.write_all(&begun(&framing)).unwrap();
        pour(&mut stream, length, chunked);
        answer(&mut stream).refuses(413, "too_large", &["8388608"]);
    }
    let grown = rest.memory("VmHWM:") - before;
    assert!(grown < LITTLE, "{grown} KiB");
    // Who asks first is told before anything is sent.
    let mut stream = rest.connect();
    stream.write_all(&begun(&format!("Content-Length: {length}\r\nExpect: 100-continue"))).unwrap();
    answer(&mut stream).refuses(413, "too_large", &[]);
    assert_eq!(rest.metric("diarist_held_bytes"), 0.0);
}

#[test]
fn hours_of_silence_in_a_small_file_are_refused_before_they_are_decoded() {
    let rest = Rest::start(&["--max-duration", "60"]);
    let before = rest.memory("VmHWM:");
    for stated in [Stated::Length, Stated::Nothing] {
        let bomb = silence(30, stated);
        assert!(bomb.len() < 300_000, "{}", bomb.len());
        rest.transcribe(&bomb, json!({})).refuses(413, "too_long", &["60"]);
    }
    let grown = rest.memory("VmHWM:") - before;
    assert!(grown < LITTLE, "{grown} KiB; decoded, it is {} KiB", 30 * 3600 * 64);
    assert_eq!(rest.transcribe(SAMPLE, json!({})).status, 200);
}

#[test]
fn clients_that_dribble_are_sent_away() {
    let rest = Rest::start(&["--read-time", "1.5", "--upload-time", "3"]);
    // Headers that never end: there is no request yet that could be answered.
    let mut headers = rest.connect();
    headers.write_all(b"POST / HTTP/1.1\r\nHost: he").unwrap();
    // A body that stops, and one that comes byte by byte.
    let mut stopped = rest.connect();
    stopped.write_all(&begun("Content-Length: 1000")).unwrap();
    stopped.write_all(b"{").unwrap();
    let mut dribbling = rest.connect();
    dribbling.write_all(&begun("Content-Length: 1000")).unwrap();
    let mut sender = dribbling.try_clone().unwrap();
    let dribble = std::thread::spawn(move || {
        (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            sender.write_all(b" ").is_err()
        })
    });
    answer(&mut stopped).refuses(408, "timeout", &["nothing more", "1.5 s"]);
    answer(&mut dribbling).refuses(408, "timeout", &["within 3 s"]);
    assert!(dribble.join().unwrap(), "it was let go on");
    let mut rest_of_headers = Vec::new();
    let _ = std::io::Read::read_to_end(&mut headers, &mut rest_of_headers);
    assert!(!String::from_utf8_lossy(&rest_of_headers).contains(" 200 "));
    rest.wait_until("empty", || rest.metric("diarist_connections") == 1.0 && rest.metric("diarist_queue") == 0.0);
}

#[test]
fn who_finds_no_place_is_told_to_come_back() {
    let rest = Rest::start(&[
        "--concurrency",
        "1",
        "--queue",
        "1",
        "--max-body-mib",
        "2",
        "--max-held-mib",
        "1",
        "--read-time",
        "60",
    ]);
    // Two that are still sending take both places.
    let mut first = rest.connect();
    let whole = body(SAMPLE, json!({}));
    first.write_all(&begun(&format!("Content-Length: {}", whole.len()))).unwrap();
    let mut second = rest.connect();
    second.write_all(&begun("Content-Length: 2000000")).unwrap();
    rest.wait_until("full", || rest.metric("diarist_queue") == 2.0);
    let refused = rest.transcribe(SAMPLE, json!({}));
    refused.refuses(429, "busy", &[]);
    assert_eq!(refused.header("retry-after"), Some("2"));
    // More bytes than there is room for, each body being allowed.
    second.write_all(&vec![b' '; 2_000_000]).unwrap();
    answer(&mut second).refuses(429, "busy", &["bytes"]);
    first.write_all(&whole).unwrap();
    assert_eq!(answer(&mut first).status, 200);
    assert_eq!(rest.transcribe(SAMPLE, json!({})).status, 200);
}

#[test]
fn work_that_takes_too_long_is_given_up() {
    let rest = Rest::start(&["--request-time", "0.3", "--concurrency", "1"]);
    let long = repeated(20);
    rest.transcribe(&long, json!({})).refuses(408, "timeout", &["0.3"]);
    rest.wait_until("given up", || rest.metric("diarist_in_flight") == 0.0);
    assert_eq!(rest.metric("diarist_request_duration_seconds_count"), 0.0);
}

#[test]
fn a_client_that_goes_away_takes_its_work_with_it() {
    let rest = Rest::start(&["--concurrency", "1", "--queue", "1"]);
    let request = posted(TOKEN, "application/json", &body(&repeated(40), json!({})));
    let mut working = rest.connect();
    working.write_all(&request).unwrap();
    rest.wait_until("at work", || rest.metric("diarist_in_flight") == 1.0);
    let mut waiting = rest.connect();
    waiting.write_all(&request).unwrap();
    rest.wait_until("waiting", || rest.metric("diarist_queue") == 1.0);
    drop((waiting, working));
    rest.wait_until("free", || rest.metric("diarist_in_flight") + rest.metric("diarist_queue") == 0.0);
    assert_eq!(rest.metric("diarist_requests_total{code=\"499\"}"), 2.0);
    assert_eq!(rest.metric("diarist_stage_runs_total{stage=\"asr\"}"), 0.0, "it was not stopped");
    assert_eq!(rest.metric("diarist_held_bytes"), 0.0);
    assert_eq!(rest.transcribe(SAMPLE, json!({})).status, 200);
}
