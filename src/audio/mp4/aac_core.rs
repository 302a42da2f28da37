//! Extracts the AAC-LC core of HE-AAC, which symphonia can decode.

/// Converts the AudioSpecificConfig of HE-AAC (ISO 14496-3) to that of its AAC-LC core; `None` if there is no such
/// core. The core is the lower half of the spectrum at half the sample rate. At 44.1 and 48 kHz it covers more than the
/// 8 kHz that speech recognition uses. The config of plain AAC-LC is returned without extensions.
pub(in crate::audio) fn aac_core(config: &[u8]) -> Option<Box<[u8]>> {
    const LC: u32 = 2;
    const SBR: u32 = 5;
    const PARAMETRIC_STEREO: u32 = 29;
    /// Frequency index that means: an explicit sample rate of 24 bits follows.
    const EXPLICIT_RATE: u32 = 15;
    let mut at = 0;
    let mut bits = |count: usize| -> Option<u32> {
        (0..count).try_fold(0, |value, _| {
            let byte = config.get(at / 8)?;
            let bit = byte >> (7 - at % 8) & 1;
            at += 1;
            Some(value << 1 | u32::from(bit))
        })
    };
    let mut object = bits(5)?;
    let (rate, channels) = (bits(4)?, bits(4)?);
    if rate == EXPLICIT_RATE {
        return None;
    }
    if matches!(object, SBR | PARAMETRIC_STEREO) {
        if bits(4)? == EXPLICIT_RATE {
            bits(24)?;
        }
        object = bits(5)?;
    }
    if object != LC {
        return None;
    }
    let frame = bits(3)?;
    let core = (object << 11 | rate << 7 | channels << 3 | frame) as u16;
    Some(Box::new(core.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn he_aac_is_described_by_its_core() {
        // AAC-LC, 22.05 kHz, mono, as AAC-LC encoders write it.
        let core = [0x13, 0x88];
        assert_eq!(aac_core(&core).as_deref(), Some(&core[..]));
        // The same with SBR to 44.1 kHz and with parametric stereo: object type, 22.05 kHz, mono, 44.1 kHz, LC, 000.
        assert_eq!(aac_core(&[0x2b, 0x8a, 0x08, 0x00]).as_deref(), Some(&core[..]));
        assert_eq!(aac_core(&[0xeb, 0x8a, 0x08, 0x00]).as_deref(), Some(&core[..]));
        // AAC Main, and an empty config.
        assert_eq!(aac_core(&[0x0b, 0x88]), None);
        assert_eq!(aac_core(&[]), None);
    }
}
