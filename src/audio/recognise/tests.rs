use std::io::Cursor;
use std::path::Path;

use super::*;

fn of(bytes: &[u8]) -> Content {
    let mut source = Cursor::new(bytes);
    let content = recognise(&mut source).unwrap();
    assert_eq!(source.position(), 0);
    content
}

/// Packets of a transport stream with `before` leading bytes; `size` is the size of a packet including them.
fn transport_stream(before: usize, size: usize) -> Vec<u8> {
    let packet = |i: u8| {
        let mut packet = vec![0; before];
        packet.extend([0x47, 0x40, i, 0x10 | i & 0xf]);
        packet.extend((packet.len()..size).map(|at| (at as u8).wrapping_mul(37).wrapping_add(i)));
        packet
    };
    (0..40).flat_map(packet).collect()
}

/// Frames of MPEG-1 layer III, 128 kbit/s at 44.1 kHz: 417 bytes each.
fn mp3(frames: usize, payload: u8) -> Vec<u8> {
    let frame = || [0xff, 0xfb, 0x90, 0x00].into_iter().chain(std::iter::repeat_n(payload, 413));
    (0..frames).flat_map(|_| frame()).collect()
}

#[test]
fn transport_streams_are_recognised_by_packet_size() {
    let expected = FfmpegOnly("an MPEG transport stream");
    for (before, size) in [(0, 188), (4, 192), (0, 204)] {
        let stream = transport_stream(before, size);
        assert_eq!(of(&stream), expected, "{size}");
        assert_eq!(of(&stream[..4 * size]), expected, "{size}, four packets");
        assert_eq!(of(&stream[77..]), expected, "{size}, from the middle of a packet");
    }
    // The payload contains MP3 frames.
    let mut stream = transport_stream(0, 188);
    for (packet, bytes) in stream.chunks_exact_mut(188).zip(mp3(20, 3).chunks_exact(184)) {
        packet[4..].copy_from_slice(bytes);
    }
    assert_eq!(of(&stream), expected);
}

#[test]
fn mpeg_audio_with_sync_bytes_of_transport_streams_is_mpeg_audio() {
    assert_eq!(of(&mp3(20, 0x47)), Builtin);
    let mut every_188 = mp3(40, 0x11);
    (100..every_188.len()).step_by(188).for_each(|at| every_188[at] = 0x47);
    // Restore frame headers that a sync byte has overwritten.
    for frame in every_188.chunks_exact_mut(417) {
        frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
    }
    assert_eq!(of(&every_188), Builtin);
}

#[test]
fn mpeg_audio_is_found_after_tags_zeros_and_junk() {
    let frames = mp3(10, 0x55);
    assert_eq!(of(&frames[..417]), Builtin, "a single frame");
    assert_eq!(of(&[vec![0; 1000], frames.clone()].concat()), Builtin);
    assert_eq!(of(&[b"ICY 200 OK\r\n\r\n\x01\x02".to_vec(), frames.clone()].concat()), Builtin);
    // A tag with a cover picture of 100 kB, and a second tag.
    let tag = |size: usize| {
        [
            b"ID3\x04\0\0\0".to_vec(),
            vec![(size >> 14) as u8, (size >> 7 & 127) as u8, (size & 127) as u8],
            vec![7; size],
        ]
        .concat()
    };
    assert_eq!(of(&[tag(100_000), tag(5), frames.clone()].concat()), Builtin);
    assert_eq!(of(&[tag(100_000), b"fLaC".to_vec()].concat()), Builtin);
    assert_eq!(of(&[tag(10), transport_stream(0, 188)].concat()), FfmpegOnly("an MPEG transport stream"));
    // A few frames within other data are not enough.
    assert_eq!(of(&[vec![1; 500], frames[..3 * 417].to_vec(), vec![2; 900]].concat()), Unknown);
}

#[test]
fn committed_recordings_are_for_the_built_in_reader() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/audio");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(of(&bytes), Builtin, "{}", path.display());
        // A file cut off within its header must not be recognised as another type.
        for end in [12, 16, 40, 100, 200] {
            let content = of(&bytes[..end.min(bytes.len())]);
            assert!(matches!(content, Builtin | Unknown), "{}, {end} bytes: {content:?}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 20);
}

#[test]
fn formats_for_ffmpeg_are_named() {
    let cases: [(&[u8], &str); 15] = [
        (b"RIFF\x10\0\0\0AVI LIST", "AVI"),
        (b"FLV\x01\x05\0\0\0\x09", "FLV"),
        (b"\x00\x00\x01\xba\x44\x00", "MPEG program stream"),
        (ASF, "Windows Media"),
        (b"\x0b\x77\x12\x34\x14\x40\x2f", "AC-3"),
        (b"\x0b\x77\x12\x34\x14\x80\x2f", "E-AC-3"),
        (b"\x7f\xfe\x80\x01\xfc", "DTS"),
        (b".snd\0\0\0\x18", "AU"),
        (b"Creative Voice File\x1a\x1a\0", "VOC"),
        (b"TTA1\x01\0", "TTA"),
        (b"wvpk\x10\0", "WavPack"),
        (b"#!AMR\n\x3c", "AMR"),
        (b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x50Speex   1.2", "Speex"),
        (b".RMF\0\0\0\x12", "RealMedia"),
        (b"\x00\x1c\x0a\x62\xf8\x72\x6f\xba", "TrueHD"),
    ];
    for (bytes, name) in cases {
        match of(bytes) {
            FfmpegOnly(what) => assert!(what.contains(name), "{name}: {what}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn other_file_types_are_named() {
    let cases: [(&[u8], &str); 17] = [
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"PK\x03\x04\x14\0", "ZIP"),
        (b"\x89PNG\r\n\x1a\n\0\0", "PNG"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "JPEG"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "WebP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIF"),
        (b"\n  <!DOCTYPE html>\n<html>", "a web page"),
        (b"\xef\xbb\xbf{\"error\": 404}", "JSON"),
        (b"<?xml version=\"1.0\"?><a/>", "XML"),
        (b"#EXTM3U\nhttp://example.org/a.ts\n", "playlist"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "playlist"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "SDP"),
        (b"1\r\n00:00:01,000 --> 00:00:02,000\r\nHello\r\n", "subtitles"),
        ("Gr\u{fc}\u{df} Gott, das ist ein Text.".as_bytes(), "a text"),
        (b"Gr\xfc\xdf Gott, das ist ein Text in Latin-1, der weiter geht.", "a text"),
        (b"\xff\xfeD\0e\0a\0r\0 \0d\0i\0a\0r\0y\0", "a text"),
        (b"MThd\0\0\0\x06", "MIDI"),
    ];
    for (bytes, name) in cases {
        match of(bytes) {
            NotAudio(what) => assert!(what.contains(name), "{name}: {what}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    for nothing in [&[0; 4096][..], b"\x01\x02\x03", &[0xff; 4096]] {
        assert_eq!(of(nothing), Unknown, "{:?}", &nothing[..3]);
    }
}

#[test]
fn truncated_files_cause_no_panic() {
    for (at, magic, _) in MAGIC {
        let mut head = vec![0; *at];
        head.extend(*magic);
        for end in 0..=head.len() {
            of(&head[..end]);
        }
    }
    let stream = transport_stream(4, 192);
    for end in (0..stream.len()).step_by(61) {
        of(&stream[..end]);
    }
}
