//! Recordings with common faults, derived from the committed files: joined files, changing parameters, lost packets,
//! edit lists. All audio must be decoded, at the right time.

use std::fs;

use diarist::audio::{self, Audio, Channel, DecodeOptions, decode_bytes};

use crate::common::data;
use crate::{chirp, delay, sampled, snr};

fn file(name: &str) -> Vec<u8> {
    fs::read(data("audio").join(name)).expect("a committed file")
}

#[track_caller]
fn decode(bytes: &[u8], options: &DecodeOptions) -> Audio {
    match decode_bytes(bytes, "made", options, audio::ignore_progress) {
        Ok(audio) => audio,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn refusal(bytes: &[u8], options: &DecodeOptions) -> String {
    decode_bytes(bytes, "made", options, audio::ignore_progress).expect_err("a refusal").to_string()
}

/// Checks that the chirp begins at a time, in seconds, plus at most 0.1 s of encoder delay.
#[track_caller]
fn chirp_at(audio: &Audio, seconds: f64) {
    let want = sampled(chirp, 16_000, 7_000);
    let start = (seconds * 16_000.0) as usize;
    let got = &audio.samples[start..];
    let late = delay(got, &want, 1_600);
    assert!((0..=1_600).contains(&late), "late by {late} samples");
    let ratio = snr(&got[late as usize..], &want);
    assert!(ratio > 12.0, "SNR {ratio:.1} dB at {seconds} s");
}

#[track_caller]
fn lasts(audio: &Audio, seconds: f64) {
    let got = audio.duration().0;
    assert!((got - seconds).abs() < 0.002, "{got} seconds, expected {seconds}");
}

/// Layer 3 frames of 576 samples at 22.05 kHz with empty granules; `mode` is 0xc0 for mono and 0 for stereo. In mono,
/// the `scalefac_compress` field would require bits, as in silence encoded by LAME.
fn silent_frames(mode: u8, count: usize) -> Vec<u8> {
    let mut frame = [0; 104];
    frame[..4].copy_from_slice(&[0xff, 0xf3, 0x40, mode]);
    if mode == 0xc0 {
        // The nine bits after `part2_3_length`, `big_values` and `global_gain`.
        frame[8] = 0x03;
        frame[9] = 0xfe;
    }
    frame.repeat(count)
}

const FRAME: f64 = 576.0 / 22_050.0;

/// Tags between joined files: an ID3v1 tag, an APE tag, and an ID3v2 tag whose content looks like frame headers.
fn tags() -> Vec<u8> {
    let mut out = b"TAG".to_vec();
    out.resize(128, 0);
    out.extend(b"APETAGEX\xd0\x07\0\0");
    out.extend([32, 0, 0, 0]);
    out.resize(128 + 32 + 32, 0);
    out.extend(b"ID3\x04\0\0\0\0\x10\0");
    out.extend([0xff, 0xf3, 0x40, 0xc4].repeat(512));
    out
}

#[test]
fn joined_mp3_files_are_decoded_completely() {
    let (tagged, plain) = (file("lame.mp3"), file("untagged.mp3"));
    let one = decode(&plain, &DecodeOptions::default()).duration().0;
    let junk = vec![0x55; 3_000];
    let joined = [&tagged[..], &tags(), &plain, &junk, &plain].concat();
    let audio = decode(&joined, &DecodeOptions::default());
    // As in ffmpeg, the padding at the end of the first file is not trimmed, since other frames follow.
    let first = 0.5 + 0.0246;
    lasts(&audio, first + 2.0 * one);
    for at in [0.0, first, first + one] {
        chirp_at(&audio, at);
    }
    // The frame with the second file's tag decodes to silence.
    let audio = decode(&[&tagged[..], &tags(), &tagged].concat(), &DecodeOptions::default());
    assert!((1.0..1.2).contains(&audio.duration().0), "{:?}", audio.duration());
    chirp_at(&audio, 0.55);
}

#[test]
fn channels_and_rates_may_change_from_frame_to_frame() {
    let plain = file("untagged.mp3");
    let one = decode(&plain, &DecodeOptions::default()).duration().0;
    let bytes = [&plain[..], &silent_frames(0, 20), &plain].concat();
    let audio = decode(&bytes, &DecodeOptions::default());
    lasts(&audio, 2.0 * one + 20.0 * FRAME);
    chirp_at(&audio, one + 20.0 * FRAME);
    // ADTS: the same frames with 24 kHz in the header, which uses the same scale factor bands.
    let adts = file("adts.aac");
    let one = decode(&adts, &DecodeOptions::default()).duration().0;
    let mut fast = adts.clone();
    let mut at = 0;
    while at + 7 < fast.len() {
        let len = usize::from(fast[at + 3] & 3) << 11 | usize::from(fast[at + 4]) << 3 | usize::from(fast[at + 5] >> 5);
        fast[at + 2] = fast[at + 2] & !0x3c | 6 << 2;
        at += len;
    }
    let audio = decode(&[&adts[..], &fast, &adts].concat(), &DecodeOptions::default());
    let share = 22_050.0 / 24_000.0;
    lasts(&audio, (2.0 + share) * one);
    chirp_at(&audio, (1.0 + share) * one);
}

#[test]
fn frames_of_silence_keep_their_time() {
    let bytes = [silent_frames(0xc0, 100), file("untagged.mp3")].concat();
    let audio = decode(&bytes, &DecodeOptions::default());
    assert!(audio.samples[..(100.0 * FRAME * 16_000.0) as usize - 1_200].iter().all(|&s| s.abs() < 1e-3));
    chirp_at(&audio, 100.0 * FRAME);
}

/// ADTS frames with an invalid payload.
fn damaged_frames(count: usize) -> Vec<u8> {
    let mut frame = [0; 64];
    // The last bit is reserved and must be 0.
    frame[..9].copy_from_slice(&[0xff, 0xf1, 0x5c, 0x40, 0x08, 0x1f, 0xfc, 0, 1]);
    frame.repeat(count)
}

#[test]
fn lost_packets_become_silence_and_too_many_are_an_error() {
    let adts = file("adts.aac");
    let frame = 1024.0 / 22_050.0;
    let allowed = DecodeOptions { allow_truncated: true, ..Default::default() };
    let audio = decode(&[&damaged_frames(5)[..], &adts].concat(), &allowed);
    chirp_at(&audio, 5.0 * frame);
    assert!(audio.samples[..(4.0 * frame * 16_000.0) as usize].iter().all(|&s| s.abs() < 1e-3));
    let reason = refusal(&[&damaged_frames(5)[..], &adts].concat(), &DecodeOptions::default());
    assert!(reason.contains("5 of its") && reason.contains("`allow_truncated`"), "{reason}");
    // A small share of lost packets is accepted.
    let bytes = [&adts.repeat(5)[..], &damaged_frames(2), &adts].concat();
    chirp_at(&decode(&bytes, &DecodeOptions::default()), 0.0);
}

#[test]
fn an_estimated_length_neither_trims_nor_rejects() {
    // The first frame has four times the bit rate of the others, so that the length estimated from it is too short.
    let mut loud = silent_frames(0xc0, 3);
    let mut frame = loud.split_off(208);
    frame[2] = 0xe0;
    frame.resize(417 + 105, 0);
    let bytes = [&frame[..], &file("untagged.mp3").repeat(3)].concat();
    let one = decode(&file("untagged.mp3"), &DecodeOptions::default()).duration().0;
    assert!(decode(&bytes, &DecodeOptions::default()).duration().0 > 3.0 * one - 0.1);
}

#[test]
fn surround_aac_is_decoded() {
    let bytes = file("surround.aac");
    for channel in [Channel::Mix, Channel::Pick(0)] {
        let audio = decode(&bytes, &DecodeOptions { channel, ..Default::default() });
        assert_eq!(audio.source.channels, 6);
        if channel == Channel::Pick(0) {
            // The centre comes first in AAC.
            chirp_at(&audio, 0.0);
        }
    }
    // Damaged frames are detected and replaced.
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 200].fill(0xa5);
    let allowed = DecodeOptions { allow_truncated: true, ..Default::default() };
    assert!(decode(&damaged, &allowed).duration().0 > 0.3);
}

/// `aac.m4a` with another edit list: duration in milliseconds and start in samples of each entry. Possible because its
/// `moov` box follows the data, so that no offsets change.
fn with_edits(edits: &[(u32, i32)]) -> Vec<u8> {
    let mut bytes = file("aac.m4a");
    let find = |bytes: &[u8], name: &[u8]| bytes.windows(4).rposition(|w| w == name).expect("a box") - 4;
    let (moov, trak, edts, elst) =
        (find(&bytes, b"moov"), find(&bytes, b"trak"), find(&bytes, b"edts"), find(&bytes, b"elst"));
    let mut entries = vec![0, 0, 0, 0];
    entries.extend((edits.len() as u32).to_be_bytes());
    for (length, start) in edits {
        entries.extend(length.to_be_bytes());
        entries.extend(start.to_be_bytes());
        entries.extend([0, 1, 0, 0]);
    }
    let more = entries.len() as i64 - 20;
    bytes.splice(elst + 8..elst + 28, entries);
    for at in [moov, trak, edts, elst] {
        let size = i64::from(u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))) + more;
        bytes[at..at + 4].copy_from_slice(&(size as u32).to_be_bytes());
    }
    bytes
}

#[test]
fn edit_lists_trim_delay_cut_and_repeat() {
    let usual = DecodeOptions::default();
    let packet = 1024.0 / 22_050.0;
    // The last packet is played to its end.
    let audio = decode(&with_edits(&[(200, 1024)]), &usual);
    assert!((0.2..0.2 + packet).contains(&audio.duration().0), "{:?}", audio.duration());
    chirp_at(&decode(&with_edits(&[(500, 1024)]), &usual), 0.0);
    // An empty edit of two seconds.
    let delayed = with_edits(&[(2000, -1), (500, 1024)]);
    let audio = decode(&delayed, &usual);
    assert!(audio.samples[..31_000].iter().all(|&s| s.abs() < 1e-3));
    chirp_at(&audio, 2.0);
    chirp_at(&decode(&delayed, &DecodeOptions { sync: false, ..usual }), 0.0);
    // 100 ms are cut out of the middle.
    let audio = decode(&with_edits(&[(200, 1024), (200, 1024 + 6615)]), &usual);
    let want = sampled(|t| chirp(if t < 0.2 { t } else { t + 0.1 }), 16_000, 6_000);
    assert!(snr(&audio.samples, &want) > 12.0, "{}", snr(&audio.samples, &want));
    // The same part twice, which requires seeking back.
    let audio = decode(&with_edits(&[(300, 1024), (300, 1024)]), &usual);
    let want = sampled(|t| chirp(if t < 0.3 { t } else { t - 0.3 }), 16_000, 9_000);
    assert!(snr(&audio.samples, &want) > 10.0, "{}", snr(&audio.samples, &want));
}
