//! The recordings in `../shared/audio/found`, and files encoded by ffmpeg, compared with ffmpeg's decoder.

use std::path::{Path, PathBuf};
use std::process::Command;

use diarist::audio::{self, Audio, DecodeOptions};

use crate::common::shared;
use crate::{decoded, refused, snr};

#[track_caller]
fn found(name: &str) -> PathBuf {
    shared(&format!("audio/found/{name}"))
}

/// The file decoded by ffmpeg to 16 kHz mono. Channels are mixed by their mean, as in this crate.
fn ffmpeg(path: &Path, channels: usize) -> Vec<f32> {
    let weights = vec![format!("{}*c{{}}", 1.0 / channels as f64); channels];
    let sum: Vec<String> = weights.iter().enumerate().map(|(i, weight)| weight.replace("{}", &i.to_string())).collect();
    let pan = format!("pan=mono|c0={}", sum.join("+"));
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "quiet", "-i"]).arg(path);
    command.args(["-vn", "-af", &pan, "-ar", "16000", "-f", "f32le", "-"]);
    let bytes = command.output().expect("ffmpeg").stdout;
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn rms(samples: &[f32]) -> f64 {
    (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}

/// The samples between two times.
fn between(audio: &Audio, from: f64, until: f64) -> &[f32] {
    &audio.samples[(from * 16_000.0) as usize..(until * 16_000.0) as usize]
}

/// File, seconds, and minimum SNR in dB against ffmpeg's samples, if they are comparable.
const FILES: &[(&str, f64, Option<f64>)] = &[
    ("vbr_no_xing.mp3", 13.104, Some(40.0)),
    ("two_joined.mp3", 6.375, None),
    ("mono_then_stereo.mp3", 7.308, None),
    ("silent_frames_first.mp3", 8.124, Some(40.0)),
    ("sox_pipe.wav", 3.0, Some(40.0)),
    ("aac51.m4a", 3.136, Some(40.0)),
    // Opus decoders differ in delay by about a sample for speech at low bit rates.
    ("default_is_second.mkv", 3.1, Some(8.0)),
    ("trim_end.m4a", 7.616, Some(40.0)),
    ("gap.webm", 21.0, None),
];

#[test]
#[ignore = "needs ../shared and ffmpeg"]
fn needs_shared_needs_ffmpeg_faulty_recordings_match_ffmpeg() {
    for &(name, seconds, least) in FILES {
        let path = found(name);
        let audio = decoded(&path);
        let got = audio.duration().0;
        assert!((got - seconds).abs() < 0.025, "{name}: {got} seconds, not {seconds}");
        if let Some(least) = least {
            let want = ffmpeg(&path, audio.source.channels);
            let same = audio.samples.len().min(want.len()) - 1_000;
            let ratio = snr(&audio.samples[..same], &want[..same]);
            assert!(ratio > least, "{name}: SNR {ratio:.1} dB");
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_speech_and_silence_are_at_the_right_times() {
    let silent = decoded(&found("silent_frames_first.mp3"));
    assert!(rms(between(&silent, 0.0, 4.9)) < 1e-4 && rms(between(&silent, 5.0, 8.0)) > 0.02);
    let gap = decoded(&found("gap.webm"));
    assert!(rms(between(&gap, 6.0, 15.0)) < 1e-6 && rms(between(&gap, 15.6, 21.0)) > 0.02);
    let joined = decoded(&found("two_joined.mp3"));
    assert!(rms(between(&joined, 0.2, 3.0)) > 0.02 && rms(between(&joined, 3.4, 6.2)) > 0.02);
    let stereo = decoded(&found("mono_then_stereo.mp3"));
    assert!(rms(between(&stereo, 0.0, 3.5)) > 0.02 && rms(between(&stereo, 5.0, 7.0)) > 0.02);
    let first = DecodeOptions { track: Some(1), ..Default::default() };
    let path = found("default_is_second.mkv");
    let other = audio::decode(&path, &first, audio::ignore_progress).expect("the first track");
    assert!(snr(&other.samples[..40_000], &decoded(&path).samples[..40_000]) < 10.0);
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_transport_streams_are_not_taken_for_mp3() {
    for name in ["video_mp3.ts", "video_aac.ts"] {
        assert!(refused(&found(name), &DecodeOptions::default()).contains("MPEG transport stream"));
    }
}

/// File names and ffmpeg options; each file is encoded from about four seconds of a two-channel chirp.
#[rustfmt::skip]
const MADE: &[(&str, &str)] = &[
    ("8.mp3", "-ac 1 -ar 8000"), ("11.mp3", "-ac 1 -ar 11025"), ("12.mp3", "-ar 12000"), ("16.mp3", "-ac 1 -ar 16000"),
    ("22.mp3", "-ar 22050"), ("24.mp3", "-ac 1 -ar 24000"), ("32.mp3", "-ar 32000"), ("44.mp3", "-ar 44100"),
    ("48.mp3", "-ac 1 -ar 48000"), ("vbr.mp3", "-q:a 4"), ("vbr_bare.mp3", "-q:a 4 -write_xing 0"),
    ("cbr_bare.mp3", "-b:a 64k -write_xing 0"), ("id3.mp3", "-id3v2_version 3 -write_id3v1 1 -metadata title=a"),
    ("a.mp2", "-b:a 64k"), ("a.aac", ""), ("mono.aac", "-ac 1"), ("51.aac", "-ac 6"),
    ("71.aac", "-af pan=7.1|c0=c0|c1=c1|c2=c0|c3=c1|c4=c0|c5=c0|c6=c1|c7=c0"),
    ("30.m4a", "-af pan=3.0|c0=c0|c1=c1|c2=c0"), ("71.m4a", "-af pan=7.1|c0=c0|c1=c1|c2=c0|c3=c1|c4=c0|c5=c0|c6=c1|c7=c0"),
    ("a.m4a", ""), ("alac.m4a", "-c:a alac"), ("mp3.mp4", "-c:a libmp3lame"), ("opus.mp4", "-c:a libopus"),
    ("frag.mp4", "-c:a aac -movflags frag_keyframe+empty_moov -frag_duration 500000"),
    ("dash.mp4", "-c:a aac -movflags dash -frag_duration 500000"), ("pcm.mov", "-c:a pcm_s16le"),
    ("vorbis.mkv", "-c:a libvorbis"), ("aac.mkv", "-c:a aac"), ("mp3.mkv", "-c:a libmp3lame"), ("flac.mkv", "-c:a flac"),
    ("pcm.mkv", "-c:a pcm_s16le"), ("opus.webm", "-c:a libopus"), ("a.opus", "-ar 48000"), ("a.ogg", "-c:a libvorbis"),
    ("a.oga", "-c:a flac"), ("a.aiff", ""), ("a.caf", ""), ("a.wav", ""), ("a.w64", ""), ("rf64.wav", "-rf64 always"),
];

#[test]
#[ignore = "needs ffmpeg"]
fn needs_ffmpeg_files_encoded_by_ffmpeg_match_its_decoder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chirp = "aevalsrc=0.5*sin(2*PI*(200*t+300*t*t))|0.25*sin(2*PI*440*t):s=44100:d=4.1";
    for (name, options) in MADE {
        let path = folder.path().join(name);
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", chirp]);
        let made = command.args(options.split_whitespace()).arg(&path).status().expect("ffmpeg");
        assert!(made.success(), "{name}");
        let audio = decoded(&path);
        let want = ffmpeg(&path, audio.source.channels);
        let (got, length) = (audio.duration().0, want.len() as f64 / 16_000.0);
        assert!((got - length).abs() < 0.05, "{name}: {got} seconds, ffmpeg has {length}");
        let same = 48_000.min(want.len()).min(audio.samples.len());
        let ratio = snr(&audio.samples[..same], &want[..same]);
        assert!(ratio > 20.0, "{name}: SNR {ratio:.1} dB");
    }
}
