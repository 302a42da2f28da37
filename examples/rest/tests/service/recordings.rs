//! Recordings: the one that comes with the engine, a long one made of it, and silence that takes no room.

use diarist::assets::SAMPLE;
use diarist::audio::{self, DecodeOptions};

/// Samples of a block of silence: the most that FLAC allows.
const BLOCK: u32 = 65_535;
/// Hz.
const RATE: u32 = 8000;

/// The sample of the engine, this many times in a row: a WAV of 16 kHz.
pub fn repeated(times: usize) -> Vec<u8> {
    wav(&sample().repeat(times), 1)
}

/// The first two sentences of the sample, as WAV.
pub fn short() -> Vec<u8> {
    wav(&sample()[..4 * 16_000], 1)
}

/// The same with the second sentence on another channel than the first; of `channels` channels the others are silent.
pub fn call(channels: usize) -> Vec<u8> {
    // Anna begins at 2.4 s.
    let at = |(index, sample): (usize, &f32)| {
        let own = usize::from(index > 2 * 16_000);
        (0..channels).map(move |channel| if channel == own { *sample } else { 0.0 }).collect::<Vec<f32>>()
    };
    let frames: Vec<f32> = sample()[..4 * 16_000].iter().enumerate().flat_map(at).collect();
    wav(&frames, channels as u16)
}

fn sample() -> Vec<f32> {
    audio::decode_bytes(SAMPLE, "sample.flac", &DecodeOptions::default(), audio::ignore_progress).unwrap().samples
}

fn wav(samples: &[f32], channels: u16) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|s| ((s * 32767.0) as i16).to_le_bytes()).collect();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    wav.extend(channels.to_le_bytes());
    wav.extend([16_000u32.to_le_bytes(), (32_000 * u32::from(channels)).to_le_bytes()].concat());
    wav.extend((2 * channels).to_le_bytes());
    wav.extend(b"\x10\0data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    wav
}

/// Silence in FLAC, one sample standing for each block of eight seconds: about a kilobyte for ten minutes.
pub fn silence(hours: u32, stated: Stated) -> Vec<u8> {
    let blocks = (hours * 3600 * RATE).div_ceil(BLOCK);
    let samples = match stated {
        Stated::Length => u64::from(blocks) * u64::from(BLOCK),
        Stated::Nothing => 0,
    };
    let mut flac = b"fLaC\x80\0\0\x22".to_vec();
    flac.extend([BLOCK as u16, BLOCK as u16].into_iter().flat_map(u16::to_be_bytes));
    flac.extend([0; 6]); // sizes of frames: not known
    // 20 bits of the rate, 3 of the channels less one, 5 of the bits a sample less one, 36 of the samples.
    flac.extend((u64::from(RATE) << 44 | 15 << 36 | samples).to_be_bytes());
    flac.extend([0; 16]); // checksum: none
    (0..blocks).for_each(|number| flac.extend(silent_frame(number)));
    flac
}

/// Whether the header of a file says how long it is.
#[derive(Clone, Copy, Debug)]
pub enum Stated {
    Length,
    Nothing,
}

fn silent_frame(number: u32) -> Vec<u8> {
    // Blocks of one size, given in 16 bits; 8 kHz; one channel of 16 bits.
    let mut frame = vec![0xff, 0xf8, 0x74, 0x08];
    frame.extend(char::from_u32(number).unwrap().to_string().bytes());
    frame.extend((BLOCK as u16 - 1).to_be_bytes());
    frame.push(crc(&frame, 8, 0x07) as u8);
    frame.extend([0, 0, 0]); // a constant: 0
    let checksum = crc(&frame, 16, 0x8005) as u16;
    frame.extend(checksum.to_be_bytes());
    frame
}

fn crc(bytes: &[u8], width: u32, polynomial: u32) -> u32 {
    let top = 1 << (width - 1);
    let step = |crc: u32| if crc & top == 0 { crc << 1 } else { crc << 1 ^ polynomial };
    let crc = bytes.iter().fold(0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte) << (width - 8), |crc, _| step(crc)));
    crc & ((top << 1) - 1)
}

#[test]
fn silence_is_what_it_claims_to_be() {
    for stated in [Stated::Length, Stated::Nothing] {
        let flac = silence(1, stated);
        assert!(flac.len() < 10_000, "{}", flac.len());
        let sound =
            audio::decode_bytes(&flac, "silence.flac", &DecodeOptions::default(), audio::ignore_progress).unwrap();
        assert!(sound.duration().0 >= 3600.0 && sound.samples.iter().all(|s| *s == 0.0), "{stated:?}");
    }
}
