//! Containers and codecs, made by ffmpeg from a recording of speech: which decoder reads them, and that it reads what ffmpeg reads.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use diarist::audio::{self, DecodeOptions, DecoderKind};

use crate::common::shared;
use crate::{delay, snr};

/// Who reads a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The built-in reader.
    Us,
    /// Only ffmpeg.
    Ffmpeg,
}

use By::{Ffmpeg, Us};

/// Container and codec as `docs/recordings.md` calls them, the file's ending, ffmpeg's arguments, and who reads it.
pub type Row = (&'static str, &'static str, &'static str, &'static str, By);

#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_s16le", Us),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_u8", Us),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_s24le -ac 2", Us),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_s32le", Us),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_f32le", Us),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_f64le", Us),
    ("WAV, RF64, W64", "PCM", "wav", "-c:a pcm_s16le -rf64 always", Us),
    ("WAV, RF64, W64", "PCM", "w64", "-c:a pcm_s16le", Us),
    ("WAV, RF64, W64", "A-law, mu-law", "wav", "-c:a pcm_alaw -ar 8000", Us),
    ("WAV, RF64, W64", "A-law, mu-law", "wav", "-c:a pcm_mulaw -ar 8000", Us),
    ("WAV, RF64, W64", "ADPCM", "wav", "-c:a adpcm_ms", Us),
    ("WAV, RF64, W64", "ADPCM", "wav", "-c:a adpcm_ima_wav", Us),
    ("WAV, RF64, W64", "MP3", "wav", "-c:a libmp3lame", Us),
    ("WAV, RF64, W64", "GSM", "wav", "-c:a libgsm_ms -ar 8000", Ffmpeg),
    ("WAV, RF64, W64", "G.722", "wav", "-c:a g722 -ar 16000", Ffmpeg),
    ("WAV, RF64, W64", "WMA", "wav", "-c:a wmav2", Ffmpeg),
    ("WAV, RF64, W64", "AC-3", "wav", "-c:a ac3", Ffmpeg),
    ("AIFF", "PCM", "aiff", "-c:a pcm_s16be", Us),
    ("AIFF", "PCM", "aiff", "-c:a pcm_s24be", Us),
    ("CAF", "PCM", "caf", "-c:a pcm_s16le", Us),
    ("CAF", "ALAC", "caf", "-c:a alac", Us),
    ("FLAC", "FLAC", "flac", "-c:a flac -ac 2", Us),
    ("Ogg", "FLAC", "oga", "-c:a flac", Us),
    ("Ogg", "Vorbis", "ogg", "-c:a libvorbis", Us),
    ("Ogg", "Opus", "opus", "-c:a libopus -b:a 24k", Us),
    ("Ogg", "Speex", "spx", "-c:a libspeex -ar 16000", Ffmpeg),
    ("MP3", "MP3", "mp3", "-c:a libmp3lame -b:a 64k", Us),
    ("MP3", "MP3", "mp3", "-c:a libmp3lame -q:a 5 -ac 2", Us),
    ("MP3", "MP3", "mp3", "-c:a libmp3lame -ar 16000 -b:a 24k", Us),
    ("MP3", "MP3", "mp3", "-c:a libmp3lame -ar 8000 -write_xing 0", Us),
    ("MP3", "MP2", "mp2", "-c:a mp2 -b:a 128k", Us),
    ("ADTS", "AAC", "aac", "-c:a aac", Us),
    ("ADTS", "AAC", "aac", "-c:a aac -ar 22050", Us),
    ("MP4", "AAC", "m4a", "-c:a aac", Us),
    ("MP4", "AAC", "mp4", "-c:a aac -movflags frag_keyframe+empty_moov", Us),
    ("MP4", "ALAC", "m4a", "-c:a alac", Us),
    ("MP4", "MP3", "mp4", "-c:a libmp3lame", Us),
    ("MP4", "Opus", "mp4", "-c:a libopus", Us),
    ("MP4", "FLAC", "mp4", "-c:a flac -strict -2", Us),
    ("MP4", "AC-3", "mp4", "-c:a ac3", Ffmpeg),
    ("MP4", "E-AC-3", "mp4", "-c:a eac3", Ffmpeg),
    ("MOV", "PCM", "mov", "-c:a pcm_s16le", Us),
    ("MOV", "PCM", "mov", "-c:a pcm_s16be", Us),
    ("MOV", "PCM", "mov", "-c:a pcm_s24le", Us),
    ("MOV", "PCM", "mov", "-c:a pcm_f32le", Us),
    ("MOV", "AAC", "mov", "-c:a aac", Us),
    ("MOV", "A-law, mu-law", "mov", "-c:a pcm_mulaw", Ffmpeg),
    ("MOV", "ADPCM", "mov", "-c:a adpcm_ima_qt", Ffmpeg),
    ("3GP", "AAC", "3gp", "-c:a aac", Us),
    ("Matroska, WebM", "PCM", "mka", "-c:a pcm_s16le", Us),
    ("Matroska, WebM", "PCM", "mkv", "-c:a pcm_f32le", Us),
    ("Matroska, WebM", "FLAC", "mka", "-c:a flac", Us),
    ("Matroska, WebM", "MP3", "mkv", "-c:a libmp3lame", Us),
    ("Matroska, WebM", "AAC", "mkv", "-c:a aac", Us),
    ("Matroska, WebM", "Vorbis", "webm", "-c:a libvorbis", Us),
    ("Matroska, WebM", "Opus", "webm", "-c:a libopus", Us),
    ("Matroska, WebM", "MP2", "mka", "-c:a mp2 -b:a 128k", Us),
    ("Matroska, WebM", "ALAC", "mka", "-c:a alac", Us),
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

/// The table of `docs/recordings.md`, from the rows.
pub fn table() -> String {
    let mut containers: Vec<&str> = ROWS.iter().map(|row| row.0).collect();
    containers.dedup();
    let mut text = String::from("| | read by the built-in reader | by ffmpeg only |\n|---|---|---|\n");
    for container in containers {
        let codecs = |by: By| {
            let mut codecs: Vec<&str> =
                ROWS.iter().filter(|row| row.0 == container && row.4 == by).map(|row| row.1).collect();
            codecs.dedup();
            codecs.join(", ")
        };
        writeln!(text, "| {container} | {} | {} |", codecs(Us), codecs(Ffmpeg)).expect("a text");
    }
    text
}

#[test]
fn the_page_on_recordings_says_which_formats_are_read_by_which_decoder() {
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

/// Seven seconds of speech, 44.1 kHz.
pub fn excerpt(folder: &Path) -> PathBuf {
    let source = shared("audio/jfk/jfk.flac");
    let excerpt = folder.join("excerpt.wav");
    let source = source.to_str().expect("a path in UTF-8");
    let status = ffmpeg(&["-i", source], "-ac 1 -ar 44100").arg(&excerpt).status();
    assert!(status.expect("ffmpeg on PATH").success());
    excerpt
}

/// Makes the file of a row; nothing if this ffmpeg lacks the encoder.
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

/// What ffmpeg itself decodes a file to: 16 kHz mono.
pub fn golden(file: &Path) -> Vec<f32> {
    let output =
        ffmpeg(&["-i", file.to_str().expect("a path in UTF-8")], "-vn -ac 1 -ar 16000 -f f32le pipe:1").output();
    let bytes = output.expect("ffmpeg").stdout;
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Correlation of two recordings, the one shifted by at most a twentieth of a second.
fn correlation(got: &[f32], want: &[f32]) -> f64 {
    let late = delay(got, want, 800);
    let (got, want) = (&got[late.max(0) as usize..], &want[(-late).max(0) as usize..]);
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    let common = got.len().min(want.len());
    let (got, want) = (&got[..common], &want[..common]);
    dot(got, want) / (dot(got, got) * dot(want, want)).sqrt()
}

/// Compares with ffmpeg's own decode; the reason why it is not the same, if it is not.
fn compared(got: &[f32], want: &[f32]) -> Result<String, String> {
    let longer = (got.len() as f64 - want.len() as f64) / 16_000.0;
    let alike = correlation(got, want);
    let text = format!("{longer:+.3} s, correlation {alike:.4}, SNR {:.0} dB", snr(got, want));
    // Written so that NaN fails.
    if longer.abs() <= 0.05 && alike > 0.9 { Ok(text) } else { Err(text) }
}

#[test]
#[ignore = "needs ../shared and ffmpeg"]
fn needs_shared_needs_ffmpeg_every_combination_is_read_as_ffmpeg_reads_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let excerpt = excerpt(folder.path());
    let decode = |file: &Path, decoder: DecoderKind| {
        let options = DecodeOptions { decoder, ..Default::default() };
        audio::decode(file, &options, audio::unwatched).map_err(|error| error.to_string())
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
                (Ok(audio), Us) => compared(&audio.samples, &want),
                (Err(reason), Us) => Err(reason),
                // It may know more one day; what it reads must be right, and the table brought up to date.
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

/// Words of which a refusal has one: the codec's, or the container's where that is what is not known.
fn names<'a>(container: &'a str, codec: &'a str) -> Vec<&'a str> {
    let mut names: Vec<&str> = container.split(", ").filter(|_| !is_ours(container)).collect();
    names.extend(codec.split(", "));
    names
}

/// Whether the built-in reader knows the container.
fn is_ours(container: &str) -> bool {
    ROWS.iter().any(|row| row.0 == container && row.4 == Us)
}
