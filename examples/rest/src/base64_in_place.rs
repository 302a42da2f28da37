//! Base64 to bytes within the same buffer, so that a body is held once.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Digits decoded at once: a multiple of four, each of which makes three bytes.
const BLOCK: usize = 4096;

const WITHIN: GeneralPurpose = engine(DecodePaddingMode::RequireNone);
/// Some encoders leave the padding out.
const LAST: GeneralPurpose = engine(DecodePaddingMode::Indifferent);

const fn engine(padding: DecodePaddingMode) -> GeneralPurpose {
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(padding))
}

/// Leaves in `buffer` the bytes that its `digits` stand for.
///
/// # Errors
/// What is wrong with them, and where.
pub fn decode(buffer: &mut Vec<u8>, digits: Range<usize>) -> Result<(), String> {
    let (mut block, mut bytes) = ([0; BLOCK], [0; BLOCK]);
    let mut written = 0;
    for from in digits.clone().step_by(BLOCK) {
        let length = BLOCK.min(digits.end - from);
        block[..length].copy_from_slice(&buffer[from..from + length]);
        let engine = if from + length == digits.end { &LAST } else { &WITHIN };
        let count = engine.decode_slice(&block[..length], &mut bytes).map_err(|error| {
            format!("audio_file is not base64: {error}, counted from its character {}", from - digits.start)
        })?;
        // Three bytes take the place of four digits: what is written is behind what is read.
        buffer[written..written + count].copy_from_slice(&bytes[..count]);
        written += count;
    }
    buffer.truncate(written);
    buffer.shrink_to_fit();
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

    use super::*;

    fn decoded(before: &str, digits: &str, after: &str) -> Result<Vec<u8>, String> {
        let mut buffer = format!("{before}{digits}{after}").into_bytes();
        decode(&mut buffer, before.len()..before.len() + digits.len()).map(|()| buffer)
    }

    #[test]
    fn bytes_of_every_length_come_back() {
        for length in (0..20).chain([3 * BLOCK / 4 - 1, 3 * BLOCK / 4, 3 * BLOCK / 4 + 1, 50_000]) {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 7 + i / 251) as u8).collect();
            for digits in [STANDARD.encode(&bytes), STANDARD_NO_PAD.encode(&bytes)] {
                assert_eq!(decoded("{\"audio_file\": \"", &digits, "\"}").as_ref(), Ok(&bytes), "{length}");
            }
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        let long = format!("{}*{}", "A".repeat(5000), "A".repeat(4000));
        let padded_within = format!("{}AA=={}", "A".repeat(BLOCK - 4), "A".repeat(BLOCK));
        for bad in ["*", "A", "AAAAA", "AAAA AAAA", "A===", "data:audio/mpeg;base64,AAAA", &long, &padded_within] {
            assert!(decoded("", bad, "").is_err(), "{:.40}", bad);
        }
        assert!(decoded("", &long, "").unwrap_err().contains("character 4096"));
    }
}
