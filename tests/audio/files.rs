//! Writer of WAV files with arbitrary, also invalid, headers, which the hound crate cannot write.

/// Fields of a WAV file's header, and its data.
pub struct Wav {
    pub format: u16,
    pub channels: u16,
    pub rate: u32,
    pub bits: u16,
    /// Size in the header of the data chunk; the actual size if `None`.
    pub claimed: Option<u32>,
    pub data: Vec<u8>,
}

impl Wav {
    pub const PCM: u16 = 1;
    pub const FLOAT: u16 = 3;

    pub fn pcm16(rate: u32, channels: u16, samples: &[f32]) -> Self {
        let data = samples.iter().flat_map(|s| ((s * 32768.0).round() as i16).to_le_bytes()).collect();
        Wav { format: Self::PCM, channels, rate, bits: 16, claimed: None, data }
    }

    pub fn float(rate: u32, channels: u16, samples: &[f32]) -> Self {
        let data = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        Wav { format: Self::FLOAT, channels, rate, bits: 32, claimed: None, data }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let claimed = self.claimed.unwrap_or(self.data.len() as u32);
        let frame = u32::from(self.channels) * u32::from(self.bits) / 8;
        let mut out = b"RIFF".to_vec();
        out.extend(claimed.saturating_add(36).to_le_bytes());
        out.extend(b"WAVEfmt ");
        out.extend(16u32.to_le_bytes());
        out.extend(self.format.to_le_bytes());
        out.extend(self.channels.to_le_bytes());
        out.extend(self.rate.to_le_bytes());
        out.extend(self.rate.saturating_mul(frame).to_le_bytes());
        out.extend((frame as u16).to_le_bytes());
        out.extend(self.bits.to_le_bytes());
        out.extend(b"data");
        out.extend(claimed.to_le_bytes());
        out.extend(&self.data);
        out
    }
}
