//! File type recognition by magic numbers, never by the file's name.
//!
//! The built-in reader searches for MPEG audio frames anywhere in a file, and would take an MPEG transport stream for
//! the MP3 inside it. Therefore it gets only files that are recognised here as its own. For other files the error names
//! the type, or ffmpeg decodes them.

mod frames;
mod text;

use std::io::{self, Read, Seek, SeekFrom};

use super::mpeg::id3_len;

/// Type of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A container or elementary stream that the built-in reader opens. Its codec may still be unsupported.
    Builtin,
    /// A recording for ffmpeg only; its type with an article, such as "an MPEG transport stream".
    FfmpegOnly(&'static str),
    /// Not a recording; its type with an article, such as "a PDF document".
    NotAudio(&'static str),
    /// Not recognised.
    Unknown,
}

use Content::{Builtin, FfmpegOnly, NotAudio, Unknown};

/// Number of bytes examined, after leading ID3 tags.
const HEAD: u64 = 65_536;

/// Largest number of leading ID3 tags that are skipped.
const MAX_TAGS: usize = 4;

/// Recognises the type of a file, and rewinds it.
///
/// # Errors
/// I/O errors.
pub(super) fn recognise(source: &mut (impl Read + Seek)) -> io::Result<Content> {
    let mut start = 0;
    let mut head = Vec::new();
    for _ in 0..=MAX_TAGS {
        source.seek(SeekFrom::Start(start))?;
        head.clear();
        source.by_ref().take(HEAD).read_to_end(&mut head)?;
        match id3_len(&head) {
            Some(len) => start += len,
            None => break,
        }
    }
    source.seek(SeekFrom::Start(0))?;
    let found = of_head(&head, (head.len() as u64) < HEAD);
    // After an ID3 tag the verdict "not a recording" is unreliable, for example if the file was cut off within the
    // tag's cover picture.
    Ok(if start > 0 && matches!(found, NotAudio(_)) { Unknown } else { found })
}

/// Recognises the type of a file by its first bytes. `whole`: `head` is the whole file.
pub(super) fn of_head(head: &[u8], whole: bool) -> Content {
    let by_magic = || MAGIC.iter().find(|(at, magic, _)| has(head, *at, magic)).map(|(_, _, content)| *content);
    of_riff(head)
        .or_else(|| of_ogg(head))
        .or_else(|| of_mp4(head))
        .or_else(by_magic)
        .or_else(|| of_form(head))
        .or_else(|| of_ac3(head))
        .or_else(|| frames::transport_stream(head).then_some(FfmpegOnly("an MPEG transport stream")))
        .or_else(|| frames::audio_frames(head, whole).then_some(Builtin))
        .or_else(|| frames::loas_frames(head).then_some(FfmpegOnly("AAC in LOAS frames")))
        .or_else(|| text::kind(head).map(NotAudio))
        .unwrap_or(Unknown)
}

fn has(head: &[u8], at: usize, magic: &[u8]) -> bool {
    head.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

/// RIFF files; the form type follows the size.
fn of_riff(head: &[u8]) -> Option<Content> {
    if !matches!(head.get(..4)?, b"RIFF" | b"RIFX" | b"RF64" | b"BW64") {
        return None;
    }
    Some(match head.get(8..12)? {
        b"WAVE" if head.starts_with(b"RIFX") => FfmpegOnly("a big-endian WAV file (RIFX)"),
        b"WAVE" => Builtin,
        b"AVI " => FfmpegOnly("an AVI file"),
        b"XWMA" => FfmpegOnly("an xWMA file"),
        b"CDXA" => FfmpegOnly("a Video CD file"),
        b"WEBP" => NotAudio("a picture (WebP)"),
        b"RMID" => NotAudio("a MIDI file: notes, but no sound"),
        _ => Unknown,
    })
}

/// Ogg files; the first packet identifies the codec.
fn of_ogg(head: &[u8]) -> Option<Content> {
    if !head.starts_with(b"OggS") {
        return None;
    }
    let packet = head.get(27 + usize::from(*head.get(26)?)..)?;
    let speex = packet.starts_with(b"Speex   ");
    Some(if speex { FfmpegOnly("Speex in Ogg") } else { Builtin })
}

/// MP4 files; they begin with a box, usually `ftyp`, which contains the brand.
fn of_mp4(head: &[u8]) -> Option<Content> {
    match head.get(4..8)? {
        b"ftyp" => Some(match head.get(8..12)? {
            b"heic" | b"heix" | b"mif1" | b"msf1" | b"avif" => NotAudio("a picture (HEIF)"),
            _ => Builtin,
        }),
        b"moov" | b"mdat" | b"wide" | b"pnot" | b"styp" | b"moof" | b"skip" | b"free" => Some(Builtin),
        _ => None,
    }
}

/// IFF files (AIFF, 8SVX); the form type follows the size, as in RIFF.
fn of_form(head: &[u8]) -> Option<Content> {
    if !head.starts_with(b"FORM") {
        return None;
    }
    Some(match head.get(8..12)? {
        b"AIFF" | b"AIFC" => Builtin,
        b"8SVX" | b"16SV" => FfmpegOnly("an IFF 8SVX file"),
        _ => Unknown,
    })
}

/// AC-3 and E-AC-3 streams, which share a sync word and differ in the bit stream version (`bsid`).
fn of_ac3(head: &[u8]) -> Option<Content> {
    let version = match head.get(..2)? {
        [0x0b, 0x77] => head.get(5)? >> 3,
        [0x77, 0x0b] => head.get(4)? >> 3,
        _ => return None,
    };
    match version {
        0..=10 => Some(FfmpegOnly("AC-3")),
        11..=16 => Some(FfmpegOnly("E-AC-3")),
        _ => None,
    }
}

const ASF: &[u8] = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c";
const W64: &[u8] = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00";

/// Magic numbers: offset, bytes, type. The first match wins.
const MAGIC: &[(usize, &[u8], Content)] = &[
    (0, b"fLaC", Builtin),
    (0, b"\x1a\x45\xdf\xa3", Builtin),
    (0, b"caff", Builtin),
    (0, W64, Builtin),
    (0, ASF, FfmpegOnly("an ASF file (Windows Media)")),
    (0, b"\x00\x00\x01\xba", FfmpegOnly("an MPEG program stream")),
    (0, b"\x00\x00\x01\xb3", FfmpegOnly("an MPEG video stream")),
    (0, b"FLV\x01", FfmpegOnly("an FLV file")),
    (0, b".snd", FfmpegOnly("an AU file")),
    (0, b"dns.", FfmpegOnly("an AU file")),
    (0, b"Creative Voice File", FfmpegOnly("a VOC file")),
    (0, b"TTA1", FfmpegOnly("a True Audio file (TTA)")),
    (0, b"TTA2", FfmpegOnly("a True Audio file (TTA)")),
    (0, b"wvpk", FfmpegOnly("a WavPack file")),
    (0, b"#!AMR-WB", FfmpegOnly("AMR wideband speech")),
    (0, b"#!AMR", FfmpegOnly("AMR speech")),
    (0, b"#!iLBC", FfmpegOnly("iLBC speech")),
    (0, b"#!SILK", FfmpegOnly("SILK speech")),
    (1, b"#!SILK", FfmpegOnly("SILK speech")),
    (0, b"\x7f\xfe\x80\x01", FfmpegOnly("DTS")),
    (0, b"\xfe\x7f\x01\x80", FfmpegOnly("DTS")),
    (0, b"\x1f\xff\xe8\x00", FfmpegOnly("DTS")),
    (0, b"\xff\x1f\x00\xe8", FfmpegOnly("DTS")),
    (0, b"DTSHDHDR", FfmpegOnly("DTS-HD")),
    (4, b"\xf8\x72\x6f\xba", FfmpegOnly("TrueHD")),
    (4, b"\xf8\x72\x6f\xbb", FfmpegOnly("MLP")),
    (0, b"MAC ", FfmpegOnly("a Monkey's Audio file (APE)")),
    (0, b"MP+", FfmpegOnly("a Musepack file")),
    (0, b"MPCK", FfmpegOnly("a Musepack file")),
    (0, b"tBaK", FfmpegOnly("a TAK file")),
    (0, b"OFR ", FfmpegOnly("an OptimFROG file")),
    (0, b".RMF", FfmpegOnly("a RealMedia file")),
    (0, b".ra\xfd", FfmpegOnly("a RealAudio file")),
    (0, b"nut/multimedia container", FfmpegOnly("a NUT file")),
    (0, b"NIST_1A", FfmpegOnly("a NIST SPHERE file")),
    (0, b".SoX", FfmpegOnly("a SoX file")),
    (0, b"XoS.", FfmpegOnly("a SoX file")),
    (0, b"DSD ", FfmpegOnly("a DSF file (DSD)")),
    (0, b"FRM8", FfmpegOnly("a DSDIFF file (DSD)")),
    (0, b"ADIF", FfmpegOnly("AAC in ADIF")),
    (0, b"DKIF", FfmpegOnly("an IVF file")),
    (0, b"ea3\x03", FfmpegOnly("an OpenMG file")),
    (0, b"EA3\x01", FfmpegOnly("an OpenMG file")),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01", FfmpegOnly("an MXF file")),
    (0, b"\xb7\xd8\x00\x20\x37\x49\xda\x11", FfmpegOnly("a WTV file")),
    (0, b"\x1f\x07\x00", FfmpegOnly("a DV file")),
    (0, b"%PDF", NotAudio("a PDF document")),
    (0, b"PK\x03\x04", NotAudio("a ZIP archive or an office document; unpack it")),
    (0, b"\x1f\x8b\x08", NotAudio("a gzip archive; unpack it")),
    (0, b"\xfd7zXZ\x00", NotAudio("an xz archive; unpack it")),
    (0, b"\x28\xb5\x2f\xfd", NotAudio("a Zstandard archive; unpack it")),
    (0, b"BZh", NotAudio("a bzip2 archive; unpack it")),
    (0, b"7z\xbc\xaf\x27\x1c", NotAudio("a 7-Zip archive; unpack it")),
    (0, b"Rar!\x1a", NotAudio("a RAR archive; unpack it")),
    (257, b"ustar", NotAudio("a tar archive; unpack it")),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", NotAudio("a Microsoft Office document")),
    (0, b"\x89PNG\r\n\x1a\n", NotAudio("a picture (PNG)")),
    (0, b"\xff\xd8\xff", NotAudio("a picture (JPEG)")),
    (0, b"GIF8", NotAudio("a picture (GIF)")),
    (0, b"II*\x00", NotAudio("a picture (TIFF)")),
    (0, b"MM\x00*", NotAudio("a picture (TIFF)")),
    (6, b"\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00", NotAudio("a picture (BMP)")),
    (0, b"MThd", NotAudio("a MIDI file: notes, but no sound")),
    (0, b"\x7fELF", NotAudio("a program")),
    (0, b"SQLite format 3", NotAudio("a database (SQLite)")),
    (0, b"GGUF", NotAudio("a model's weights (GGUF)")),
];

#[cfg(test)]
mod tests;
