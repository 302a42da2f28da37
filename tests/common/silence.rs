//! Decompression bombs: small FLAC files that decode to long silence.

/// Samples of the longest FLAC frame.
const FRAME: usize = 65_535;

/// A FLAC file of silence, 16 kHz mono, of `seconds` seconds rounded up to whole frames of 4.1 s; 14 KB per hour. Its
/// header states the length, or 0 (unknown) as in a stream.
pub fn flac(seconds: usize, states_length: bool) -> Vec<u8> {
    let frames = (seconds * 16_000).div_ceil(FRAME);
    let stated = if states_length { (frames * FRAME) as u64 } else { 0 };
    let mut out = b"fLaC\x80\x00\x00\x22".to_vec();
    out.extend((FRAME as u16).to_be_bytes().repeat(2));
    out.extend([0; 6]);
    // 20 bits of sample rate, 3 of channels minus one, 5 of bits per sample minus one, 36 of the number of samples.
    out.extend((16_000u64 << 44 | 15 << 36 | stated).to_be_bytes());
    out.extend([0; 16]);
    for number in 0..frames {
        // Frame header: fixed block size, stored in 16 bits; 16 kHz; mono; 16 bits.
        let mut frame = vec![0xff, 0xf8, 0x75, 0x08];
        frame.extend(utf8(number as u32));
        frame.extend((FRAME as u16 - 1).to_be_bytes());
        frame.push(crc(&frame, 8, 0x07) as u8);
        // A constant subframe with the value 0.
        frame.extend([0, 0, 0]);
        frame.extend(crc(&frame, 16, 0x8005).to_be_bytes());
        out.extend(frame);
    }
    out
}

/// Frame numbers are encoded like UTF-8 characters.
fn utf8(number: u32) -> Vec<u8> {
    char::from_u32(number).expect("less than an hour of surrogates").to_string().into_bytes()
}

fn crc(bytes: &[u8], bits: u32, polynomial: u32) -> u16 {
    let top = 1u32 << (bits - 1);
    let step = |crc: u32| if crc & top != 0 { crc << 1 ^ polynomial } else { crc << 1 };
    let of_byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte) << (bits - 8), |crc, _| step(crc));
    (bytes.iter().fold(0, of_byte) & ((1 << bits) - 1)) as u16
}
