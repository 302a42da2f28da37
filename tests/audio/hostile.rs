//! Property tests with malformed files: no panic, no hang, no huge allocation, only finite samples.

use std::fs;
use std::ops::ControlFlow;

use diarist::audio::{self, DecodeOptions};
use diarist::units::Seconds;
use proptest::prelude::*;

use crate::common::data;

/// Decodes; both success and an error are accepted.
fn try_decode(bytes: &[u8]) {
    let options = DecodeOptions { allow_truncated: true, max_duration: Some(Seconds(60.0)), ..Default::default() };
    let mut calls = 0;
    let result = audio::decode_bytes(bytes, "", &options, |_| {
        calls += 1;
        if calls < 100_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if let Ok(audio) = result {
        assert!(!audio.samples.is_empty() && audio.samples.iter().all(|s| s.is_finite()));
    }
}

/// One of the committed files.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let mut files: Vec<_> =
        fs::read_dir(data("audio")).expect("the folder").map(|f| f.expect("a file").path()).collect();
    files.sort();
    proptest::sample::select(files).prop_map(|path| fs::read(path).expect("a committed file"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        try_decode(&bytes);
    }

    #[test]
    fn random_bytes_after_a_valid_beginning(mut file in any_file(), keep in 4usize..400, tail in proptest::collection::vec(any::<u8>(), 0..2048)) {
        file.truncate(keep);
        file.extend(tail);
        try_decode(&file);
    }

    #[test]
    fn changed_bytes(mut file in any_file(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24)) {
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        try_decode(&file);
    }

    #[test]
    fn changed_header_bytes(mut file in any_file(), changes in proptest::collection::vec((0usize..160, any::<u8>()), 1..6)) {
        for (at, value) in changes {
            if let Some(byte) = file.get_mut(at) {
                *byte = value;
            }
        }
        try_decode(&file);
    }

    #[test]
    fn cut_anywhere(mut file in any_file(), at in any::<prop::sample::Index>()) {
        file.truncate(at.index(file.len()));
        try_decode(&file);
    }
}
