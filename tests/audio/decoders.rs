//! Selection of the decoder (built-in or ffmpeg), errors about unsupported formats, and named pipes.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use diarist::Error;
use diarist::audio::{self, DecodeOptions, DecoderKind, decode_bytes};

use crate::common::data;
use crate::{decoded, refused};

fn with(decoder: DecoderKind) -> DecodeOptions {
    DecodeOptions { decoder, ..Default::default() }
}

/// Packets of a transport stream whose payload is an MP3 file.
fn mp3_in_transport_stream() -> Vec<u8> {
    let mp3 = fs::read(data("audio/lame.mp3")).expect("a committed file");
    let packets = mp3.chunks_exact(184).enumerate();
    packets.flat_map(|(i, bytes)| [&[0x47, 0x41, 0, 0x10 | (i & 15) as u8][..], bytes].concat()).collect()
}

#[test]
fn the_library_starts_no_program_unless_asked_to() {
    assert_eq!(DecodeOptions::default().decoder, DecoderKind::Builtin);
    let kinds = ["auto", "builtin", "ffmpeg"].map(|name| name.parse::<DecoderKind>());
    assert_eq!(kinds, [DecoderKind::Auto, DecoderKind::Builtin, DecoderKind::Ffmpeg].map(Ok));
    assert!("sox".parse::<DecoderKind>().is_err());
}

/// MPEG audio within other containers must not be taken for an MP3 file.
#[test]
fn unsupported_containers_are_named_with_the_cure() {
    let mp3 = fs::read(data("audio/lame.mp3")).expect("a committed file");
    let after = |head: &[u8]| [head, &mp3].concat();
    for (bytes, name) in [
        (mp3_in_transport_stream(), "MPEG transport stream"),
        (after(b"\x00\x00\x01\xba\x44\x00\x04\x00\x04\x01\x00\x00"), "MPEG program stream"),
        (after(b"RIFF\xff\xff\x00\x00AVI LIST"), "AVI"),
        (after(b"FLV\x01\x04\x00\x00\x00\x09"), "FLV"),
        (after(b"nut/multimedia container\x00"), "NUT"),
        (after(b".RMF\x00\x00\x00\x12"), "RealMedia"),
    ] {
        let error =
            decode_bytes(&bytes, "talk.mp3", &with(DecoderKind::Builtin), audio::ignore_progress).expect_err(name);
        let text = error.to_string();
        assert_eq!(error.kind(), "audio");
        for part in ["talk.mp3", name, "`decoder` auto", "convert"] {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }
}

/// Text must not reach ffmpeg, which would open the files listed in a playlist.
#[test]
fn other_file_types_are_not_passed_to_ffmpeg() {
    for decoder in [DecoderKind::Auto, DecoderKind::Ffmpeg, DecoderKind::Builtin] {
        for (bytes, name) in [
            (&b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"[..], "playlist"),
            (b"ffconcat version 1.0\nfile talk.wav\n", "playlist"),
            (b"<!doctype html><title>404</title>", "web page"),
            (b"%PDF-1.4\n1 0 obj", "PDF"),
            (b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", "PNG"),
        ] {
            let error =
                decode_bytes(bytes, "talk.mp3", &with(decoder), audio::ignore_progress).expect_err(name).to_string();
            assert!(error.contains(name) && error.contains("not a recording"), "{error}");
        }
    }
}

#[test]
fn a_damaged_recording_of_a_supported_format_is_not_retried_with_ffmpeg() {
    let whole = fs::read(data("audio/stereo.flac")).expect("a committed file");
    let cut = &whole[..whole.len() / 2];
    let [auto, alone] = [DecoderKind::Auto, DecoderKind::Builtin].map(|decoder| {
        decode_bytes(cut, "cut.flac", &with(decoder), audio::ignore_progress).expect_err("cut off").to_string()
    });
    assert_eq!(auto, alone);
}

#[cfg(unix)]
fn pipe(folder: &Path) -> std::path::PathBuf {
    let pipe = folder.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    pipe
}

#[cfg(unix)]
#[test]
fn named_pipes_are_read_to_their_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = pipe(folder.path());
    for name in ["stereo.flac", "alac.m4a", "lame.mp3", "vorbis.ogg"] {
        let (path, bytes) = (data("audio").join(name), fs::read(data("audio").join(name)).expect("a committed file"));
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                let mut pipe = fs::File::options().write(true).open(pipe).expect("the pipe");
                for piece in bytes.chunks(3000) {
                    pipe.write_all(piece).expect("a reader");
                }
            }
        });
        assert_eq!(decoded(&pipe).samples, decoded(&path).samples, "{name}");
        writer.join().expect("the writer");
    }
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || drop(fs::File::options().write(true).open(pipe))
    });
    assert!(refused(&pipe, &DecodeOptions::default()).contains("empty"));
    writer.join().expect("the writer");
}

/// An endless text is not copied forever.
#[cfg(unix)]
#[test]
fn a_pipe_with_another_file_type_is_rejected_early() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = pipe(folder.path());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut pipe = fs::File::options().write(true).open(pipe).expect("the pipe");
            while pipe.write_all(&b"y\n".repeat(1000)).is_ok() {}
        }
    });
    assert!(refused(&pipe, &DecodeOptions::default()).contains("is a text"));
    writer.join().expect("the writer sees a closed pipe");
}

#[cfg(unix)]
#[test]
fn waiting_for_a_pipe_can_be_cancelled() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = pipe(folder.path());
    let (begun, mut asked) = (Instant::now(), 0);
    let result = audio::decode(&pipe, &DecodeOptions::default(), |_| {
        asked += 1;
        if asked < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    assert!(begun.elapsed() < Duration::from_secs(20));
    // Open the pipe for writing, so that the abandoned thread ends.
    drop(fs::File::options().write(true).open(&pipe).expect("the pipe"));
}
