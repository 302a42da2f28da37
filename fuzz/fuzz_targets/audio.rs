//! Fuzzes audio decoding: no panic outside third-party code, no hang, no huge allocation, only finite samples.
#![no_main]

use std::ops::ControlFlow;
use std::sync::Once;

use diarist::audio::{DecodeOptions, decode_bytes};
use diarist::units::Seconds;
use libfuzzer_sys::fuzz_target;

static QUIET: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    // libFuzzer's panic hook aborts even if `guard` would catch the panic. Remove the hook; uncaught panics still
    // abort.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    // The input selects whether time stamps are applied.
    let sync = bytes.len().is_multiple_of(2);
    let options = DecodeOptions { allow_truncated: true, max_duration: Some(Seconds(60.0)), sync, ..Default::default() };
    let mut packets = 0;
    let result = decode_bytes(bytes, "", &options, |_| {
        packets += 1;
        if packets < 10_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if let Ok(audio) = result {
        assert!(audio.samples.iter().all(|sample| sample.is_finite()));
    }
});
