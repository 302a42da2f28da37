//! Matroska files built in memory: default tracks, gaps and start offsets, compressed packets. The tracks contain
//! 16-bit PCM, so that every sample is known.

use std::io::Write;

use diarist::audio::{self, Audio, DecodeOptions, decode_bytes};

/// Samples per packet: 100 ms at 16 kHz.
const PACKET: usize = 1_600;

fn element(id: u32, body: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let mut out = id[id.iter().position(|&byte| byte != 0).expect("an identifier")..].to_vec();
    // A size in eight bytes.
    out.push(1);
    out.extend(&(body.len() as u64).to_be_bytes()[1..]);
    out.extend(body);
    out
}

fn number(id: u32, value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// A track with constant samples.
struct Track {
    value: i16,
    is_default: Option<bool>,
    /// Start times of its packets, in milliseconds.
    times: Vec<i16>,
    /// The bodies of its content encoding elements.
    encodings: Vec<Vec<u8>>,
    /// Encodes a packet according to `encodings`.
    encode: fn(Vec<u8>) -> Vec<u8>,
}

impl Track {
    fn new(value: i16, times: &[i16]) -> Self {
        Track { value, is_default: None, times: times.to_vec(), encodings: Vec::new(), encode: |data| data }
    }

    fn entry(&self, index: usize) -> Vec<u8> {
        let mut body = [number(0xd7, index as u64 + 1), number(0x73c5, index as u64 + 1), number(0x83, 2)].concat();
        body.extend(element(0x86, b"A_PCM/INT/LIT"));
        if let Some(is_default) = self.is_default {
            body.extend(number(0x88, u64::from(is_default)));
        }
        let audio = [element(0xb5, &16_000f64.to_be_bytes()), number(0x9f, 1), number(0x6264, 16)].concat();
        body.extend(element(0xe1, &audio));
        let encodings: Vec<u8> = self.encodings.iter().flat_map(|body| element(0x6240, body)).collect();
        if !encodings.is_empty() {
            body.extend(element(0x6d80, &encodings));
        }
        element(0xae, &body)
    }

    fn blocks(&self, index: usize) -> Vec<(i16, Vec<u8>)> {
        let data = (self.encode)(self.value.to_le_bytes().repeat(PACKET));
        let block = |&time: &i16| {
            let mut body = vec![0x80 | (index as u8 + 1)];
            body.extend(time.to_be_bytes());
            body.push(0x80);
            body.extend(&data);
            (time, element(0xa3, &body))
        };
        self.times.iter().map(block).collect()
    }
}

fn file(tracks: &[Track]) -> Vec<u8> {
    let mut out = element(0x1a45_dfa3, &element(0x4282, b"matroska"));
    let info = [number(0x2a_d7b1, 1_000_000), element(0x4d80, b"made"), element(0x5741, b"made")].concat();
    let entries: Vec<u8> = tracks.iter().enumerate().flat_map(|(index, track)| track.entry(index)).collect();
    let mut blocks: Vec<_> = tracks.iter().enumerate().flat_map(|(index, track)| track.blocks(index)).collect();
    blocks.sort_by_key(|block| block.0);
    let cluster = [number(0xe7, 0), blocks.into_iter().flat_map(|block| block.1).collect()].concat();
    let segment =
        [element(0x1549_a966, &info), element(0x1654_ae6b, &entries), element(0x1f43_b675, &cluster)].concat();
    out.extend(element(0x1853_8067, &segment));
    out
}

#[track_caller]
fn decode(tracks: &[Track], options: &DecodeOptions) -> Audio {
    match decode_bytes(&file(tracks), "made.mkv", options, audio::ignore_progress) {
        Ok(audio) => audio,
        Err(error) => panic!("{error}"),
    }
}

/// Checks the samples against a sequence of constant runs: number of samples and value.
#[track_caller]
fn holds(audio: &Audio, runs: &[(usize, i16)]) {
    let want: Vec<f32> = runs.iter().flat_map(|&(n, value)| vec![f32::from(value) / 32_768.0; n]).collect();
    assert_eq!(audio.samples.len(), want.len());
    let wrong = audio.samples.iter().zip(&want).position(|(got, want)| got != want);
    assert_eq!(wrong, None, "differs at {wrong:?}");
}

#[test]
fn gaps_and_late_starts_become_silence() {
    let usual = DecodeOptions::default();
    let no_sync = DecodeOptions { sync: false, ..usual };
    let gap = [Track::new(8_000, &[0, 100, 10_200, 10_300])];
    holds(&decode(&gap, &usual), &[(2 * PACKET, 8_000), (160_000, 0), (2 * PACKET, 8_000)]);
    holds(&decode(&gap, &no_sync), &[(4 * PACKET, 8_000)]);
    // Time stamps with jitter and overlap.
    holds(&decode(&[Track::new(8_000, &[0, 130, 170, 320])], &usual), &[(4 * PACKET, 8_000)]);
    // The second track starts half a second after the first; a track alone starts at once.
    let mut late = [Track::new(4_000, &[5_000, 5_100]), Track::new(8_000, &[5_500, 5_600])];
    late[0].is_default = Some(false);
    holds(&decode(&late, &usual), &[(8_000, 0), (2 * PACKET, 8_000)]);
    holds(&decode(&late, &no_sync), &[(2 * PACKET, 8_000)]);
    holds(&decode(&late[1..], &usual), &[(2 * PACKET, 8_000)]);
}

#[test]
fn the_default_track_is_decoded_unless_another_is_selected() {
    let mut tracks = [Track::new(4_000, &[0]), Track::new(8_000, &[0])];
    let usual = DecodeOptions::default();
    holds(&decode(&tracks, &usual), &[(PACKET, 4_000)]);
    (tracks[0].is_default, tracks[1].is_default) = (Some(false), Some(true));
    holds(&decode(&tracks, &usual), &[(PACKET, 8_000)]);
    let numbered = |track: usize| DecodeOptions { track: Some(track), ..usual };
    holds(&decode(&tracks, &numbered(1)), &[(PACKET, 4_000)]);
    holds(&decode(&tracks, &numbered(2)), &[(PACKET, 8_000)]);
    for none in [0, 3] {
        let error = decode_bytes(&file(&tracks), "made.mkv", &numbered(none), audio::ignore_progress)
            .expect_err("no such track");
        let text = error.to_string();
        assert!(text.contains("2 audio tracks") && text.contains("1 channel") && text.contains("default"), "{text}");
    }
}

fn zlib(data: Vec<u8>) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&data).expect("memory");
    encoder.finish().expect("memory")
}

/// The body of a content encoding element with this order and algorithm, for packets.
fn compression(order: u64, algorithm: u64, settings: &[u8]) -> Vec<u8> {
    let body = [number(0x4254, algorithm), element(0x4255, settings)].concat();
    [number(0x5031, order), number(0x5032, 1), number(0x5033, 0), element(0x5034, &body)].concat()
}

#[test]
fn compressed_packets_are_restored() {
    let usual = DecodeOptions::default();
    let with = |encodings: Vec<Vec<u8>>, encode: fn(Vec<u8>) -> Vec<u8>| {
        [Track { encodings, encode, ..Track::new(8_000, &[0, 100]) }]
    };
    let head = [8_000i16.to_le_bytes(), 8_000i16.to_le_bytes()].concat();
    let want = [(2 * PACKET, 8_000)];
    holds(&decode(&with(vec![compression(0, 3, &head)], |data| data[4..].to_vec()), &usual), &want);
    holds(&decode(&with(vec![compression(0, 0, &[])], zlib), &usual), &want);
    // Header stripping, then zlib.
    let both = with(vec![compression(0, 3, &head), compression(1, 0, &[])], |data| zlib(data[4..].to_vec()));
    holds(&decode(&both, &usual), &want);
    for (algorithm, name) in [(1, "bzip2"), (2, "LZO")] {
        let made = file(&with(vec![compression(0, algorithm, &[])], |data| data));
        let text = decode_bytes(&made, "made.mkv", &usual, audio::ignore_progress).expect_err(name).to_string();
        assert!(text.contains(name), "{text}");
    }
    // A decompression bomb.
    let bomb = with(vec![compression(0, 0, &[])], |_| zlib(vec![0; 64 << 20]));
    assert!(decode_bytes(&file(&bomb), "made.mkv", &usual, audio::ignore_progress).is_err());
}
