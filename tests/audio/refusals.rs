//! Files that cannot be decoded: the error message names the file, the reason and the cure.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use diarist::Error;
use diarist::audio::{self, DecodeOptions, decode_bytes};
use diarist::units::Seconds;
use tempfile::TempDir;

use crate::common::{data, silence};
use crate::files::Wav;
use crate::{chirp, decoded, refused, sampled};

/// Writes a file into a temporary folder; returns both.
fn file(name: &str, bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a temporary file");
    (folder, path)
}

/// Checks that the file is rejected with a message that starts with its path and contains `words`.
#[track_caller]
fn rejects(name: &str, bytes: &[u8], words: &[&str]) {
    let (_folder, path) = file(name, bytes);
    let text = refused(&path, &DecodeOptions::default());
    assert!(text.starts_with(&path.display().to_string()), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

fn second(rate: u32) -> Vec<f32> {
    sampled(|t| chirp(t / 4.0), rate, rate as usize)
}

/// Found by fuzzing: a block size of 63 487 bytes, whose number of bits overflows 16 bits.
#[test]
fn a_wav_with_absurd_frames() {
    let wav = b"RIFF\x26\0\0\0WAVEfmt \x12\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\xff\xf7\x10\0\0\0data\0\0\0\0";
    rejects("absurd.wav", wav, &["the samples are not"]);
    // The stated bits per sample are used instead.
    let with_samples = [&wav[..], &[7; 2000]].concat();
    let audio = decode_bytes(&with_samples, "absurd.wav", &DecodeOptions::default(), audio::ignore_progress);
    assert_eq!(audio.expect("16 bits").samples.len(), 1000);
}

#[test]
fn paths_that_are_no_recordings() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = DecodeOptions::default();
    assert!(refused(&folder.path().join("none.wav"), &options).contains("no such file"));
    assert!(refused(folder.path(), &options).contains("folder"));
    rejects("empty.mp3", b"", &["empty"]);
    rejects(
        "notes.wav",
        b"Dear diary, today I learnt that a text is not a recording. ".repeat(50).as_slice(),
        &["is a text, not a recording"],
    );
    rejects("zeros.wav", &[0; 4096], &["known format", "ffmpeg"]);
}

#[cfg(unix)]
#[test]
fn a_device_is_rejected() {
    let text = refused("/dev/zero".as_ref(), &DecodeOptions::default());
    assert!(text.contains("device"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_file_without_read_permission() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = file("secret.wav", &Wav::pcm16(16_000, 1, &second(16_000)).bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("permissions");
    if fs::File::open(&path).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    assert!(refused(&path, &DecodeOptions::default()).contains("permission"));
}

#[test]
fn invalid_headers() {
    let wav = |change: &dyn Fn(&mut Wav)| {
        let mut wav = Wav::pcm16(16_000, 1, &second(16_000));
        change(&mut wav);
        wav.bytes()
    };
    rejects("many.wav", &wav(&|w| w.channels = 300), &["300 channels"]);
    rejects("none.wav", &wav(&|w| w.channels = 0), &["no channels"]);
    rejects("fast.wav", &wav(&|w| w.rate = 1_092_676), &["1092676", "768000"]);
    rejects("slow.wav", &wav(&|w| w.rate = 0), &["damaged"]);
    rejects("tag.wav", &wav(&|w| w.format = 0x31), &["0x0031"]);
    rejects("bits.wav", &wav(&|w| w.bits = 40), &["ffmpeg"]);
    rejects("bare.wav", &wav(&|w| w.data.clear()), &["no audio"]);
    let whole = wav(&|_| {});
    rejects("half-header.wav", &whole[..30], &["damaged", "only 10 follow"]);
    rejects("no-data.wav", &whole[..36], &["cut off"]);
    let mut long = whole;
    long[16..20].copy_from_slice(&0x6666_6666u32.to_le_bytes());
    rejects("long-chunk.wav", &long, &["fmt ", "damaged"]);
}

#[test]
fn samples_that_are_not_finite() {
    for (name, value) in [("nan.wav", f32::NAN), ("inf.wav", f32::INFINITY), ("huge.wav", 1e30)] {
        let mut samples = second(48_000);
        samples[36_000] = value;
        rejects(name, &Wav::float(48_000, 1, &samples).bytes(), &["0.750 seconds", &value.to_string()]);
    }
    // An invalid sample in one channel makes the mix fail, but not the other channel.
    let mut samples: Vec<f32> = second(16_000).iter().flat_map(|&s| [s, s]).collect();
    samples[101] = f32::NAN;
    let bytes = Wav::float(16_000, 2, &samples).bytes();
    rejects("stereo.wav", &bytes, &["NaN"]);
    let left = DecodeOptions { channel: audio::Channel::Pick(0), ..Default::default() };
    assert!(decode_bytes(&bytes, "a.wav", &left, audio::ignore_progress).is_ok());
}

#[test]
fn silence_and_loud_floats_are_fine() {
    let silence = decode_bytes(
        &Wav::float(48_000, 1, &[0.0; 48_000]).bytes(),
        "a.wav",
        &DecodeOptions::default(),
        audio::ignore_progress,
    );
    assert!(silence.expect("silence").samples.iter().all(|&s| s == 0.0));
    let loud = Wav::float(16_000, 1, &[32_768.0, -40_000.0]).bytes();
    let samples =
        decode_bytes(&loud, "a.wav", &DecodeOptions::default(), audio::ignore_progress).expect("loud").samples;
    assert_eq!(samples, [0.8192, -1.0]);
    // A click is clipped and does not scale the recording.
    let mut click = second(16_000);
    click[8_000] = 1e6;
    let bytes = Wav::float(16_000, 1, &click).bytes();
    let samples =
        decode_bytes(&bytes, "a.wav", &DecodeOptions::default(), audio::ignore_progress).expect("a click").samples;
    assert_eq!((samples[8_000], &samples[..8_000]), (1.0, &click[..8_000]));
    // A moderate overshoot is not changed.
    let over = Wav::float(16_000, 1, &[2.0, -1.5]).bytes();
    let samples =
        decode_bytes(&over, "a.wav", &DecodeOptions::default(), audio::ignore_progress).expect("over").samples;
    assert_eq!(samples, [2.0, -1.5]);
}

/// Files whose header states their length.
const CUT: &[&str] = &["stereo.flac", "lame.mp3", "alac.m4a", "stereo.aiff", "mono.caf", "alaw.wav", "adpcm_ms.wav"];

#[test]
fn a_truncated_file_is_rejected_unless_allowed() {
    for name in CUT {
        let whole = fs::read(data("audio").join(name)).expect("a committed file");
        // These cannot be read at all: ffmpeg writes the index of an MP4 at the end, and symphonia requires all chunks
        // of AIFF and CAF.
        if let Some(word) =
            [(".m4a", "moov"), (".aiff", "cut off"), (".caf", "cut off")].iter().find(|w| name.ends_with(w.0))
        {
            rejects(name, &whole[..whole.len() / 2], &[word.1, "ffmpeg"]);
            continue;
        }
        let cut = &whole[..whole.len() * 6 / 10];
        rejects(name, cut, &["0.5 seconds", "`allow_truncated`"]);
        let options = DecodeOptions { allow_truncated: true, ..Default::default() };
        let audio = decode_bytes(cut, name, &options, audio::ignore_progress).expect("what is there");
        let (full, seconds) = (decoded(&data("audio").join(name)), audio.duration().0);
        assert!((0.15..0.42).contains(&seconds), "{name}: {seconds} seconds");
        // The samples are those at the start of the whole file, except for the last packet and the resampler's edge.
        let same = audio.samples.len().saturating_sub(1_200);
        assert!(crate::snr(&audio.samples[..same], &full.samples[..same]) > 60.0, "{name}");
    }
}

#[test]
fn files_without_a_stated_length_are_never_truncated() {
    for name in ["untagged.mp3", "adts.aac", "mono.opus"] {
        let whole = fs::read(data("audio").join(name)).expect("a committed file");
        let cut = decode_bytes(&whole[..whole.len() * 9 / 10], name, &DecodeOptions::default(), audio::ignore_progress);
        assert!(cut.is_ok(), "{name}: {}", cut.expect_err("an error"));
        let mut junk = whole.clone();
        junk.extend([0x55; 5_000]);
        let (with, without) = (
            decode_bytes(&junk, name, &DecodeOptions::default(), audio::ignore_progress),
            decoded(&data("audio").join(name)),
        );
        assert_eq!(with.expect(name).samples.len(), without.samples.len(), "{name} with junk at its end");
    }
}

#[test]
fn a_wav_whose_size_was_never_filled_in_is_read_to_its_end() {
    let whole = decode_bytes(
        &Wav::pcm16(16_000, 1, &second(16_000)).bytes(),
        "a.wav",
        &DecodeOptions::default(),
        audio::ignore_progress,
    );
    let sizes = [0, 0x7fff_0000, 0x7fff_f000, 0x7fff_ffdb, 0x7fff_ffff, 0x8000_0000, u32::MAX - 36, u32::MAX];
    for claimed in sizes {
        let wav = Wav { claimed: Some(claimed), ..Wav::pcm16(16_000, 1, &second(16_000)) };
        let audio =
            decode_bytes(&wav.bytes(), "a.wav", &DecodeOptions::default(), audio::ignore_progress).expect("a stream");
        assert_eq!(audio.samples, whole.as_ref().expect("a plain file").samples);
    }
}

#[test]
fn a_caf_without_a_size_is_read_to_its_end() {
    let mut bytes = fs::read(data("audio/mono.caf")).expect("a committed file");
    let whole = decode_bytes(&bytes, "a.caf", &DecodeOptions::default(), audio::ignore_progress).expect("a plain file");
    let at = bytes.windows(4).position(|w| w == b"data").expect("the data chunk") + 4;
    bytes[at..at + 8].fill(0xff);
    let audio = decode_bytes(&bytes, "a.caf", &DecodeOptions::default(), audio::ignore_progress).expect("a stream");
    assert_eq!(audio.samples, whole.samples);
}

#[test]
fn a_wrong_stated_length_reserves_no_memory() {
    let wav = Wav { claimed: Some(3_200_000_000), ..Wav::pcm16(16_000, 1, &second(16_000)) };
    rejects("lie.wav", &wav.bytes(), &["100000.0 seconds", "only 1.0"]);
    let options = DecodeOptions { allow_truncated: true, ..Default::default() };
    let audio = decode_bytes(&wav.bytes(), "lie.wav", &options, audio::ignore_progress).expect("what is there");
    assert_eq!(audio.samples.len(), 16_000);
    assert!(audio.samples.capacity() < 3_000_000, "{} samples reserved", audio.samples.capacity());
}

#[test]
fn a_video_without_an_audio_track_is_rejected() {
    assert!(refused(&data("audio/video_only.mp4"), &DecodeOptions::default()).contains("video only"));
}

#[test]
fn damaged_packets_do_not_prevent_decoding() {
    for name in ["untagged.mp3", "mono.opus", "adts.aac", "stereo.webm"] {
        let path = data("audio").join(name);
        let mut bytes = fs::read(&path).expect("a committed file");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 60].fill(0xa5);
        let Ok(audio) = decode_bytes(
            &bytes,
            name,
            &DecodeOptions { allow_truncated: true, ..Default::default() },
            audio::ignore_progress,
        ) else {
            panic!("{name}: a damaged packet must not spoil the file")
        };
        let whole = decoded(&path);
        assert!(audio.samples.iter().all(|s| s.is_finite()));
        println!("{name}: {} of {} samples", audio.samples.len(), whole.samples.len());
        assert!(audio.samples.len() * 10 > whole.samples.len() * 4, "{name}: {} samples", audio.samples.len());
    }
}

#[test]
fn a_recording_without_valid_packets_is_an_error() {
    let mut bytes = fs::read(data("audio/mono.opus")).expect("a committed file");
    let body = bytes.windows(8).position(|w| w == b"OpusTags").expect("tags") + 200;
    bytes[body..].fill(0);
    let error =
        decode_bytes(&bytes, "a.opus", &DecodeOptions::default(), audio::ignore_progress).expect_err("no packets");
    assert!(matches!(error, Error::Audio { .. }), "{error}");
}

#[test]
fn a_recording_longer_than_the_limit_is_rejected() {
    let options = DecodeOptions { max_duration: Some(Seconds(0.25)), ..Default::default() };
    assert!(refused(&data("audio/stereo.flac"), &options).contains("0.25 seconds"));
    for enough in [Some(Seconds(0.5)), None] {
        let options = DecodeOptions { max_duration: enough, ..Default::default() };
        assert!(audio::decode(&data("audio/stereo.flac"), &options, audio::ignore_progress).is_ok());
    }
}

/// A decompression bomb: 14 kB of FLAC that decode to an hour of silence.
#[test]
fn the_duration_limit_bounds_memory() {
    let options = DecodeOptions { max_duration: Some(Seconds(60.0)), ..Default::default() };
    for states_length in [true, false] {
        let bytes = silence::flac(3600, states_length);
        assert!(bytes.len() < 20_000, "{}", bytes.len());
        let mut longest = 0.0;
        let result = decode_bytes(&bytes, "bomb.flac", &options, |progress| {
            longest = progress.decoded.0.max(longest);
            ControlFlow::Continue(())
        });
        let error = result.expect_err("an hour");
        assert!(matches!(&error, Error::TooLong { limit, .. } if limit.0 == 60.0), "{error}");
        assert_eq!(error.kind(), "too_long");
        for part in ["bomb.flac", "60 seconds", "`max_duration`"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // A file that states its length is rejected before it is decoded.
        assert!(if states_length { longest == 0.0 } else { longest > 50.0 && longest <= 60.0 }, "{longest}");
    }
    let audio =
        decode_bytes(&silence::flac(50, false), "fine.flac", &options, audio::ignore_progress).expect("under a minute");
    assert!((50.0..55.0).contains(&audio.duration().0));
    // The reserved memory stays within the limit.
    assert!(audio.samples.capacity() <= 60 * 16_000 + 65_535, "{}", audio.samples.capacity());
}

/// With `allow_truncated` the stated length is not checked against the limit.
#[test]
fn the_duration_limit_ignores_the_stated_length_if_truncation_is_allowed() {
    let whole = Wav { claimed: Some(32_000 * 100), ..Wav::pcm16(16_000, 1, &second(16_000)) };
    let options = DecodeOptions { max_duration: Some(Seconds(60.0)), ..Default::default() };
    let error =
        decode_bytes(&whole.bytes(), "a.wav", &options, audio::ignore_progress).expect_err("it says 100 seconds");
    assert_eq!(error.kind(), "too_long");
    let options = DecodeOptions { allow_truncated: true, ..options };
    assert!(decode_bytes(&whole.bytes(), "a.wav", &options, audio::ignore_progress).is_ok());
}
