//! Combinations of containers and codecs, encoded by ffmpeg from a recording of speech: which decoder reads each, and
//! that its samples match those of ffmpeg.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use diarist::audio::{self, DecodeOptions, DecoderKind};

use crate::common::shared;
use crate::{delay, snr};

/// The decoder that reads a combination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBy {
    /// The built-in reader.
    Builtin,
    /// Only ffmpeg.
    Ffmpeg,
}

use ReadBy::{Builtin, Ffmpeg};

/// Container and codec as in `docs/recordings.md`, the file name extension, ffmpeg's arguments, and the decoder.
pub type Row = (&'static str, &'static str, &'static str, &'static str, ReadBy);

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_s16le", Builtin),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_u8", Builtin),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_s24le -ac 2", Builtin),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_s32le", Builtin),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_f32le", Builtin),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_f64le", Builtin),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_s16le -rf64 always", Builtin),
    ("WAV, RF64, W64", "PCM", "w64", "-c:a pcm_s16le", Builtin),
    ("WAV, RF64, W64", "A-law, mu-law", "wav", "-c:a pcm_alaw -ar 8000", Builtin),
    ("WAV, RF64, W64", "A-law, mu-law", "wav", "-c:a pcm_mulaw -ar 8000", Builtin),
    ("WAV, RF64, W64", "ADPCM", "wav", "-c:a adpcm_ms", Builtin),
    ("WAV, RF64, W64", "ADPCM", "wav", "-c:a adpcm_ima_wav", Builtin),
    ("WAV, RF64, W64", "MP3", "wav", "-c:a libmp3lame", Builtin),
    ("WAV, RF64, W64", "GSM", "wav", "-c:a libgsm_ms -ar 8000", Ffmpeg),
    ("WAV, RF64, W64", "G.722", "wav", "-c:a g722 -ar 16000", Ffmpeg),
    ("WAV, RF64, W64", "WMA", "wav", "-c:a wmav2", Ffmpeg),
    ("WAV, RF64, W64", "AC-3", "wav", "-c:a ac3", Ffmpeg),
    ("AIFF", "PCM", "aiff", "-c:a pcm_s16be", Builtin),
    ("AIFF", "PCM", "aiff", "-c:a pcm_s24be", Builtin),
    ("CAF", "PCM", "caf", "-c:a pcm_s16le", Builtin),
    ("CAF", "ALAC", "caf", "-c:a alac", Builtin),
    ("FLAC", "FLAC", "flac", "-c:a flac -ac 2", Builtin),
    ("Ogg", "FLAC", "oga", "-c:a flac", Builtin),
    ("Ogg", "Vorbis", "ogg", "-c:a libvorbis", Builtin),
    ("Ogg", "Opus", "opus", "-c:a libopus -b:a 24k", Builtin),
    ("Ogg", "Speex", "spx", "-c:a libspeex -ar 16000", Ffmpeg),
    ("MP3", "MP3", "mp3", "-c:a libmp3lame -b:a 64k", Builtin),
    ("MP3", "MP3", "mp3", "-c:a libmp3lame -q:a 5 -ac 2", Builtin),
    ("MP3", "MP3", "mp3", "-c:a libmp3lame -ar 16000 -b:a 24k", Builtin),
    ("MP3", "MP3", "mp3", "-c:a libmp3lame -ar 8000 -write_xing 0", Builtin),
    ("MP3", "MP2", "mp2", "-c:a mp2 -b:a 128k", Builtin),
    ("ADTS", "AAC", "aac", "-c:a aac", Builtin),
    ("ADTS", "AAC", "aac", "-c:a aac -ar 22050", Builtin),
    ("MP4", "AAC", "m4a", "-c:a aac", Builtin),
    ("MP4", "AAC", "mp4", "-c:a aac -movflags frag_keyframe+empty_moov", Builtin),
    ("MP4", "ALAC", "m4a", "-c:a alac", Builtin),
    ("MP4", "MP3", "mp4", "-c:a libmp3lame", Builtin),
    ("MP4", "Opus", "mp4", "-c:a libopus", Builtin),
    ("MP4", "FLAC", "mp4", "-c:a flac -strict -2", Builtin),
    ("MP4", "AC-3", "mp4", "-c:a ac3", Ffmpeg),
    ("MP4", "E-AC-3", "mp4", "-c:a eac3", Ffmpeg),
    ("MOV", "PCM", "mov", "-c:a pcm_s16le", Builtin),
    ("MOV", "PCM", "mov", "-c:a pcm_s16be", Builtin),
    ("MOV", "PCM", "mov", "-c:a pcm_s24le", Builtin),
    ("MOV", "PCM", "mov", "-c:a pcm_f32le", Builtin),
    ("MOV", "AAC", "mov", "-c:a aac", Builtin),
    ("MOV", "A-law, mu-law", "mov", "-c:a pcm_mulaw", Ffmpeg),
    ("MOV", "ADPCM", "mov", "-c:a adpcm_ima_qt", Ffmpeg),
    ("3GP", "AAC", "3gp", "-c:a aac", Builtin),
    ("Matroska, WebM", "PCM", "mka", "-c:a pcm_s16le", Builtin),
    ("Matroska, WebM", "PCM", "mkv", "-c:a pcm_f32le", Builtin),
    ("Matroska, WebM", "FLAC", "mka", "-c:a flac", Builtin),
    ("Matroska, WebM", "MP3", "mkv", "-c:a libmp3lame", Builtin),
    ("Matroska, WebM", "AAC", "mkv", "-c:a aac", Builtin),
    ("Matroska, WebM", "Vorbis", "webm", "-c:a libvorbis", Builtin),
    ("Matroska, WebM", "Opus", "webm", "-c:a libopus", Builtin),
    ("Matroska, WebM", "MP2", "mka", "-c:a mp2 -b:a 128k", Builtin),
    ("Matroska, WebM", "ALAC", "mka", "-c:a alac", Builtin),
    ("Matroska, WebM", "AC-3", "mkv", "-c:a ac3", Ffmpeg),
    ("Matroska, WebM", "E-AC-3", "mkv", "-c:a eac3", Ffmpeg),
    ("Matroska, WebM", "DTS", "mkv", "-c:a dca -strict -2 -ar 48000", Ffmpeg),
    ("Matroska, WebM", "TrueHD", "mkv", "-c:a truehd -strict -2 -ar 48000 -ac 2", Ffmpeg),
    ("Matroska, WebM", "TTA", "mka", "-c:a tta", Ffmpeg),
    ("Matroska, WebM", "WavPack", "mka", "-c:a wavpack", Ffmpeg),
    ("MPEG transport stream", "MP3", "ts", "-c:a libmp3lame", Ffmpeg),
    ("MPEG transport stream", "MP2", "ts", "-c:a mp2", Ffmpeg),
    ("MPEG transport stream", "AAC", "ts", "-c:a aac", Ffmpeg),
    ("MPEG transport stream", "AAC", "m2ts", "-c:a aac -mpegts_m2ts_mode 1", Ffmpeg),
    ("MPEG transport stream", "AC-3", "ts", "-c:a ac3", Ffmpeg),
    ("MPEG transport stream", "Opus", "ts", "-c:a libopus", Ffmpeg),
    ("MPEG program stream", "MP2", "mpg", "-c:a mp2", Ffmpeg),
    ("MPEG program stream", "AC-3", "vob", "-c:a ac3 -ar 48000", Ffmpeg),
    ("AVI", "MP3", "avi", "-c:a libmp3lame", Ffmpeg),
    ("AVI", "PCM", "avi", "-c:a pcm_s16le", Ffmpeg),
    ("AVI", "AC-3", "avi", "-c:a ac3", Ffmpeg),
    ("FLV", "MP3", "flv", "-c:a libmp3lame -ar 44100", Ffmpeg),
    ("FLV", "AAC", "flv", "-c:a aac -ar 44100", Ffmpeg),
    ("FLV", "Speex", "flv", "-c:a libspeex -ar 16000", Ffmpeg),
    ("FLV", "Nellymoser", "flv", "-c:a nellymoser -ar 16000", Ffmpeg),
    ("ASF", "WMA", "wma", "-c:a wmav1", Ffmpeg),
    ("ASF", "WMA", "wma", "-c:a wmav2", Ffmpeg),
    ("ASF", "MP3", "asf", "-c:a libmp3lame", Ffmpeg),
    ("AC-3, E-AC-3, DTS, TrueHD", "as they are", "ac3", "-c:a ac3", Ffmpeg),
    ("AC-3, E-AC-3, DTS, TrueHD", "as they are", "eac3", "-c:a eac3", Ffmpeg),
    ("AC-3, E-AC-3, DTS, TrueHD", "as they are", "dts", "-c:a dca -strict -2 -ar 48000", Ffmpeg),
    ("AC-3, E-AC-3, DTS, TrueHD", "as they are", "thd", "-c:a truehd -strict -2 -ar 48000 -ac 2 -f truehd", Ffmpeg),
    ("AU", "PCM", "au", "-c:a pcm_s16be", Ffmpeg),
    ("AU", "A-law, mu-law", "au", "-c:a pcm_mulaw -ar 8000", Ffmpeg),
    ("VOC", "PCM", "voc", "-c:a pcm_u8", Ffmpeg),
    ("TTA", "TTA", "tta", "-c:a tta", Ffmpeg),
    ("WavPack", "WavPack", "wv", "-c:a wavpack", Ffmpeg),
    ("RealMedia", "RealAudio", "rm", "-c:a real_144 -ar 8000", Ffmpeg),
    ("NUT", "AAC", "nut", "-c:a aac", Ffmpeg),
    ("NUT", "MP3", "nut", "-c:a libmp3lame", Ffmpeg),
    ("SoX", "PCM", "sox", "-c:a pcm_s32le", Ffmpeg),
    ("MXF", "PCM", "mxf", "-f lavfi -i color=s=64x64 -shortest -c:v mpeg2video -c:a pcm_s16le -ar 48000", Ffmpeg),
    ("WTV", "MP2", "wtv", "-c:a mp2", Ffmpeg),
];

/// The table of `docs/recordings.md`, generated from [`ROWS`].
pub fn table() -> String {
    let mut containers: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
    containers.dedup();
    let mut text = String::from("| | read by the built-in reader | by ffmpeg only |\n|---|---|---|\n");
    for container in containers {
        let codecs = |by: ReadBy| {
            let mut codecs: Vec<&str> =
                ROWS.iter().filter(|row| row.0 == container && row.4 == by).map(|row| row.1).collect();
            codecs.dedup();
            codecs.join(", ")
        };
        writeln!(text, "| {container} | {} | {} |", codecs(Builtin), codecs(Ffmpeg)).expect("a text");
    }
    text
}

#[test]
fn the_page_on_recordings_has_the_table_of_formats() {
    let page = include_str!("../../docs/recordings.md");
    assert!(ROWS.len() >= 60, "{} rows", ROWS.len());
    assert!(page.contains(&table()), "docs/recordings.md should have this table:\n{}", table());
}

fn ffmpeg(args: &[&str], then: &str) -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]).args(args).args(then.split_whitespace());
    command.stdin(Stdio::null());
    command
}

/// A WAV file with speech, 44.1 kHz mono.
pub fn excerpt(folder: &Path) -> PathBuf {
    let source = shared("audio/jfk/jfk.flac");
    let excerpt = folder.join("excerpt.wav");
    let source = source.to_str().expect("a path in UTF-8");
    let status = ffmpeg(&["-i", source], "-ac 1 -ar 44100").arg(&excerpt).status();
    assert!(status.expect("ffmpeg on PATH").success());
    excerpt
}

/// Encodes the file of a row; `None` if this ffmpeg lacks the encoder.
pub fn made(folder: &Path, excerpt: &Path, index: usize) -> Option<PathBuf> {
    let (_, _, ending, args, _) = ROWS[index];
    let file = folder.join(format!("{index:02}.{ending}"));
    let output = ffmpeg(&["-i", excerpt.to_str().expect("a path in UTF-8")], args).arg(&file).output().expect("ffmpeg");
    if output.status.success() {
        return Some(file);
    }
    let reason = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(reason.contains("Unknown encoder"), "{args}: {reason}");
    println!("not made: {args}: {reason}");
    None
}

/// The file decoded by ffmpeg: 16 kHz mono.
pub fn golden(file: &Path) -> Vec<f32> {
    let output =
        ffmpeg(&["-i", file.to_str().expect("a path in UTF-8")], "-vn -ac 1 -ar 16000 -f f32le pipe:1").output();
    let bytes = output.expect("ffmpeg").stdout;
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Normalised correlation of two recordings, after aligning them by at most 50 ms.
fn correlation(got: &[f32], want: &[f32]) -> f64 {
    let late = delay(got, want, 800);
    let (got, want) = (&got[late.max(0) as usize..], &want[(-late).max(0) as usize..]);
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    let common = got.len().min(want.len());
    let (got, want) = (&got[..common], &want[..common]);
    dot(got, want) / (dot(got, got) * dot(want, want)).sqrt()
}

/// Compares samples with those of ffmpeg; returns the measures, as an error if they differ too much.
fn compared(got: &[f32], want: &[f32]) -> Result<String, String> {
    let longer = (got.len() as f64 - want.len() as f64) / 16_000.0;
    let alike = correlation(got, want);
    let text = format!("{longer:+.3} s, correlation {alike:.4}, SNR {:.0} dB", snr(got, want));
    // NaN fails these comparisons, too.
    if longer.abs() <= 0.05 && alike > 0.9 { Ok(text) } else { Err(text) }
}

#[test]
#[ignore = "needs ../shared and ffmpeg"]
fn needs_shared_needs_ffmpeg_every_combination_is_read_as_ffmpeg_reads_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let excerpt = excerpt(folder.path());
    let decode = |file: &Path, decoder: DecoderKind| {
        let options = DecodeOptions { decoder, ..Default::default() };
        audio::decode(file, &options, audio::ignore_progress).map_err(|error| error.to_string())
    };
    let (mut faults, mut read) = (Vec::new(), 0);
    for (index, (container, codec, ending, args, by)) in ROWS.iter().enumerate() {
        let Some(file) = made(folder.path(), &excerpt, index) else { continue };
        let want = golden(&file);
        let mut check = |who: &str, result: Result<String, String>| match result {
            Ok(text) => println!("{container:26} {codec:14} {ending:5} {who:8} {text}"),
            Err(text) => {
                println!("{container:26} {codec:14} {ending:5} {who:8} FAULT {text}");
                faults.push(format!("{args} .{ending}, {who}: {text}"));
            }
        };
        for decoder in [DecoderKind::Auto, DecoderKind::Ffmpeg] {
            let same = decode(&file, decoder).and_then(|audio| compared(&audio.samples, &want));
            check(if decoder == DecoderKind::Auto { "auto" } else { "ffmpeg" }, same);
        }
        let alone = decode(&file, DecoderKind::Builtin);
        check(
            "builtin",
            match (alone, by) {
                (Ok(audio), Builtin) => compared(&audio.samples, &want),
                (Err(reason), Builtin) => Err(reason),
                // If the built-in reader gains support for a format, the table must be updated.
                (Ok(audio), Ffmpeg) => Err(format!("read: {:?}", compared(&audio.samples, &want))),
                (Err(reason), Ffmpeg) => match names(container, codec).iter().any(|name| reason.contains(name)) {
                    true => Ok(reason.split("; ").next().unwrap_or_default().replace(&file.display().to_string(), "")),
                    false => Err(format!("refused without its name: {reason}")),
                },
            },
        );
        read += 1;
    }
    println!("{read} combinations");
    assert!(read >= 60, "only {read} combinations could be made");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Names of which the error message must contain one: the codec, or the container if it is not supported.
fn names<'a>(container: &'a str, codec: &'a str) -> Vec<&'a str> {
    let mut names: Vec<&str> = container.split(", ").filter(|_| !is_supported(container)).collect();
    names.extend(codec.split(", "));
    names
}

/// Whether the built-in reader supports the container.
fn is_supported(container: &str) -> bool {
    ROWS.iter().any(|row| row.0 == container && row.4 == Builtin)
}
