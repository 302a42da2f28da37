//! Who may ask, and who may not.

use crate::harness::{Answer, PATIENCE, Rest, TOKEN, body, posted, program};
use diarist::assets::SAMPLE;
use serde_json::json;

fn asks(rest: &Rest, authorization: &str) -> Answer {
    rest.raw(
        format!("POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 2\r\n{authorization}\r\n{{}}")
            .as_bytes(),
    )
}

#[test]
fn without_a_known_token_nothing_is_read() {
    let rest = Rest::start(&[]);
    for authorization in [
        String::new(),
        "Authorization: Bearer wrong\r\n".into(),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        format!("Authorization: Bearer {}\r\n", "x".repeat(20_000)),
    ] {
        let answer = asks(&rest, &authorization);
        answer.refuses(401, "unauthorized", &["Bearer"]);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    // The same request with the token gets as far as its body.
    asks(&rest, &format!("Authorization: Bearer {TOKEN}\r\n")).refuses(400, "request", &["audio_file"]);
    assert_eq!(rest.metric("diarist_requests_total{code=\"401\"}"), 7.0);
}

#[test]
fn a_token_longer_than_any_header_is_refused_by_its_size() {
    let rest = Rest::start(&[]);
    let before = rest.memory("VmHWM:");
    let answer = asks(&rest, &format!("Authorization: Bearer {}\r\n", "x".repeat(1_000_000)));
    assert_eq!(answer.status, 431, "{answer:?}");
    assert!(rest.memory("VmHWM:") < before + 16 * 1024);
    assert_eq!(rest.get("/health").status, 200);
}

#[test]
fn metrics_need_a_token_and_probes_need_none() {
    let rest = Rest::start(&[]);
    for (path, status) in [("/health", 200), ("/ready", 200), ("/metrics", 401)] {
        let answer = rest.raw(format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").as_bytes());
        assert_eq!(answer.status, status, "{path}");
    }
}

#[test]
fn tokens_can_be_exchanged_while_both_are_known() {
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/tokens");
    std::fs::write(file, "the-old-one\n\nthe-new-one\n").unwrap();
    let mut command = program();
    command.arg("--token-file").arg(file).env("DIARIST_TOKENS", " first , second");
    let rest = Rest::run(command);
    rest.wait_until("ready", || rest.get("/ready").status == 200);
    for token in ["the-old-one", "the-new-one", "first", "second"] {
        asks(&rest, &format!("Authorization: Bearer {token}\r\n")).refuses(400, "request", &["audio_file"]);
    }
    asks(&rest, &format!("Authorization: Bearer {TOKEN}\r\n")).refuses(401, "unauthorized", &[]);
}

#[test]
fn without_a_token_it_starts_only_if_told_to() {
    for (tokens, flags, part) in [
        (None, &[][..], "--insecure-no-token"),
        (Some(" , "), &[][..], "--insecure-no-token"),
        (Some(TOKEN), &["--insecure-no-token"][..], "leave one"),
        (Some("two words"), &[][..], "visible ASCII"),
        (Some(TOKEN), &["--token-file", "/nowhere"][..], "/nowhere"),
        (Some(TOKEN), &["--chunk-size", "0"][..], "chunk_size"),
    ] {
        let mut command = program();
        tokens.map(|tokens| command.env("DIARIST_TOKENS", tokens));
        let ended = command.args(flags).output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{tokens:?} {flags:?}: {told}");
        assert!(told.contains(part), "{told}");
    }
    let mut command = program();
    command.arg("--insecure-no-token");
    let rest = Rest::run(command);
    rest.wait_until("ready", || rest.get("/ready").status == 200);
    let request = posted("anything", "application/json", &body(SAMPLE, json!({})));
    assert!(rest.raw(&request).transcript().contains("[SPEAKER_00]: "), "within {PATIENCE:?}");
}
