//! How it begins and ends: not ready while it loads, and nothing lost when it is told to stop.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diarist::assets::SAMPLE;
use serde_json::json;

use crate::harness::{PATIENCE, Rest, TOKEN, answer, body, posted, program};
use crate::recordings::{repeated, short};

#[test]
fn while_the_models_are_loaded_it_is_alive_but_not_ready() {
    // A hub that takes its time.
    let hub = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = concat!(env!("CARGO_TARGET_TMPDIR"), "/no-models");
    let mut command = program();
    command.env("HF_ENDPOINT", format!("http://{}", hub.local_addr().unwrap())).env("HF_HOME", home);
    command.env("DIARIST_TOKENS", TOKEN).args(["--model", "somebody/something", "--diarize-model", "none"]);
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    let rest = Rest::run(command);
    let (mut asked, _) = hub.accept().unwrap();
    assert_eq!(rest.get("/health").status, 200);
    rest.get("/ready").refuses(503, "loading", &[]);
    let refused = rest.transcribe(SAMPLE, json!({}));
    refused.refuses(503, "loading", &[]);
    assert_eq!(refused.header("retry-after"), Some("2"));
    // It has not got the model, and says so when it ends.
    asked.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    drop((asked, hub));
    assert_eq!(rest.wait().code(), Some(1));
}

/// How a request ended: with a transcript, told that the service drains, or because nobody listens any more.
#[derive(Debug, PartialEq)]
enum End {
    Done,
    Draining,
    Refused,
}

/// Sends one request on a connection of its own. Anything but these three ends is a loss.
fn request(rest: &Rest, bytes: &[u8]) -> End {
    let Ok(mut stream) = TcpStream::connect(rest.address) else { return End::Refused };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    let answer = answer(&mut stream);
    match answer.status {
        200 => End::Done,
        _ => {
            answer.refuses(503, "draining", &[]);
            assert_eq!(answer.header("connection"), Some("close"));
            End::Draining
        }
    }
}

#[test]
fn sigterm_under_load_loses_nothing_that_was_accepted() {
    let rest = Arc::new(Rest::start(&["--concurrency", "2", "--queue", "30"]));
    let bytes = Arc::new(posted(TOKEN, "application/json", &body(&short(), json!({}))));
    let done = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (rest, bytes, done) = (rest.clone(), bytes.clone(), done.clone());
            std::thread::spawn(move || {
                loop {
                    match request(&rest, &bytes) {
                        End::Done => done.fetch_add(1, Ordering::Relaxed),
                        last => return last,
                    };
                }
            })
        })
        .collect();
    let full = || rest.metric("diarist_in_flight") == 2.0 && rest.metric("diarist_queue") >= 5.0;
    rest.wait_until("under load", || done.load(Ordering::Relaxed) >= 2 && full());
    let before = done.load(Ordering::Relaxed);
    rest.signal("TERM");
    for client in clients {
        // A panic in a client is a request that was lost.
        assert_ne!(client.join().unwrap(), End::Done);
    }
    let after = done.load(Ordering::Relaxed);
    assert!(after >= before + 4, "{} of those that waited were answered", after - before);
    let rest = Arc::into_inner(rest).unwrap();
    assert_eq!(rest.wait().code(), Some(0));
}

#[test]
fn while_it_drains_it_is_alive_but_not_ready() {
    let rest = Rest::start(&["--drain-delay", "600"]);
    rest.signal("TERM");
    rest.wait_until("draining", || rest.get("/ready").status == 503);
    rest.get("/ready").refuses(503, "draining", &[]);
    rest.transcribe(SAMPLE, json!({})).refuses(503, "draining", &[]);
    assert_eq!(rest.get("/health").status, 200);
}

#[test]
fn what_does_not_end_in_time_is_told_so() {
    let rest = Rest::start(&["--drain-time", "0.2"]);
    let mut working = rest.connect();
    working.write_all(&posted(TOKEN, "application/json", &body(&repeated(40), json!({})))).unwrap();
    rest.wait_until("at work", || rest.metric("diarist_in_flight") == 1.0);
    // An idle connection is no reason to wait.
    let mut idle = rest.connect();
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    idle.read_exact(&mut [0; 15]).unwrap();
    rest.signal("TERM");
    answer(&mut working).refuses(503, "draining", &[]);
    assert_eq!(rest.wait().code(), Some(1));
}
