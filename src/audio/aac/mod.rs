//! AAC decoder for more than two channels, or for a channel layout described in the stream.
//!
//! Symphonia decodes one or two channels. A frame with more channels is a sequence of elements, each with one or two
//! channels, which can be decoded independently (ISO 14496-3, section 4.4.2.1). `elements.rs` finds them. Each element
//! is passed to a decoder of its own as a mono or stereo frame.

mod elements;
mod tables;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::audio::{AsGenericAudioBufferRef, AudioBuffer, AudioMut, AudioSpec, Channels};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions, FinalizeResult};
use symphonia::core::errors::{Error, Result, decode_error, unsupported_error};
use symphonia::core::packet::PacketRef;

use self::elements::Element;
use super::mix::MAX_CHANNELS;
use super::opus;

/// The audio object type of AAC-LC.
const LOW_COMPLEXITY: u8 = 2;
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// Samples per channel in a frame.
const FRAME: usize = 1024;

/// Builds the AudioSpecificConfig (ISO 14496-3, section 1.6.2.1) of AAC without SBR. `object` is the audio object type,
/// `channels` the channel configuration.
pub(super) fn config(object: u8, rate: u32, channels: u8) -> Box<[u8]> {
    let index = RATES.iter().position(|&known| known == rate).unwrap_or(RATES.len()) as u16;
    let bits = u16::from(object) << 11 | index << 7 | u16::from(channels) << 3;
    Box::new(bits.to_be_bytes())
}

/// Whether the track needs [`Surround`]: the channel configuration has more than two channels, or is 0 (described in
/// the stream).
pub(super) fn is_surround(params: &AudioCodecParameters) -> bool {
    let config = params.extra_data.as_deref().and_then(Config::parse);
    params.codec == CODEC_ID_AAC && config.is_some_and(|config| !matches!(config.channels, 1 | 2))
}

/// The first fields of an AudioSpecificConfig.
struct Config {
    object: u8,
    rate_index: u8,
    channels: u8,
}

impl Config {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let core = super::mp4::aac_core(bytes)?;
        let bits = u16::from_be_bytes([*core.first()?, *core.get(1)?]);
        let config =
            Config { object: (bits >> 11) as u8, rate_index: (bits >> 7 & 15) as u8, channels: (bits >> 3 & 15) as u8 };
        Some(config)
    }
}

/// Multichannel decoder: one of symphonia's decoders for each element.
pub(super) struct Surround {
    params: AudioCodecParameters,
    rate_index: u8,
    parts: Vec<Part>,
    buffer: AudioBuffer<f32>,
}

/// The decoder of one element.
struct Part {
    channels: usize,
    decoder: Box<dyn AudioDecoder>,
}

impl Surround {
    pub(super) fn new(params: &AudioCodecParameters) -> Result<Self> {
        let config = params.extra_data.as_deref().and_then(Config::parse);
        let Some(config) = config.filter(|config| config.object == LOW_COMPLEXITY) else {
            return unsupported_error("aac: only low complexity can be decoded");
        };
        if usize::from(config.rate_index) >= RATES.len() {
            return unsupported_error("aac: unusual sample rate");
        }
        let mut surround = Surround {
            params: params.clone(),
            rate_index: config.rate_index,
            parts: Vec::new(),
            buffer: AudioBuffer::default(),
        };
        surround.params.with_sample_rate(surround.rate());
        // Fail now if symphonia has no AAC decoder, while ffmpeg can still be tried.
        surround.part(1)?;
        Ok(surround)
    }

    fn rate(&self) -> u32 {
        RATES.get(usize::from(self.rate_index)).copied().unwrap_or_default()
    }

    fn part(&self, channels: usize) -> Result<Part> {
        let mut params = AudioCodecParameters::new();
        params.for_codec(CODEC_ID_AAC).with_sample_rate(self.rate());
        params.with_extra_data(config(LOW_COMPLEXITY, self.rate(), channels as u8));
        let decoder = opus::codecs().make_audio_decoder(&params, &AudioDecoderOptions::default())?;
        Ok(Part { channels, decoder })
    }

    /// Creates a decoder for each element and the output buffer, unless those of the last frame fit.
    fn prepare(&mut self, elements: &[Element]) -> Result<()> {
        let fits = self.parts.iter().map(|part| part.channels).eq(elements.iter().map(|element| element.channels));
        if fits && !self.buffer.is_unused() {
            return Ok(());
        }
        let channels: usize = elements.iter().map(|element| element.channels).sum();
        if !(1..=MAX_CHANNELS).contains(&channels) {
            return decode_error("aac: a frame without channels, or with too many");
        }
        self.parts = elements.iter().map(|element| self.part(element.channels)).collect::<Result<_>>()?;
        self.buffer = AudioBuffer::new(AudioSpec::new(self.rate(), Channels::Discrete(channels as u16)), FRAME);
        Ok(())
    }

    fn decode(&mut self, packet: &PacketRef<'_>) -> Result<()> {
        let Some(elements) = elements::split(packet.data, usize::from(self.rate_index)) else {
            return decode_error("aac: the frame is damaged");
        };
        self.prepare(&elements)?;
        self.buffer.clear();
        self.buffer.render_uninit(Some(FRAME));
        let mut channel = 0;
        let mut interleaved: Vec<f32> = Vec::new();
        for (element, part) in elements.iter().zip(&mut self.parts) {
            let frame = element.as_frame(packet.data);
            let decoded = part.decoder.decode_ref(&PacketRef::new(0, packet.pts, packet.dur, &frame))?;
            if (decoded.frames(), decoded.num_planes()) != (FRAME, part.channels) {
                return decode_error("aac: an element of another length");
            }
            decoded.copy_to_vec_interleaved(&mut interleaved);
            for offset in 0..part.channels {
                let plane = self.buffer.plane_mut(channel).ok_or(Error::DecodeError("aac: too many channels"))?;
                let samples = interleaved.iter().skip(offset).step_by(part.channels);
                plane.iter_mut().zip(samples).for_each(|(to, from)| *to = *from);
                channel += 1;
            }
        }
        Ok(())
    }
}

impl AudioDecoder for Surround {
    fn reset(&mut self) {
        self.parts.iter_mut().for_each(|part| part.decoder.reset());
    }

    fn codec_info(&self) -> &CodecInfo {
        const INFO: CodecInfo = CodecInfo { short_name: "aac", long_name: "Advanced Audio Coding", profiles: &[] };
        &INFO
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.params
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        if let Err(error) = self.decode(packet) {
            self.buffer.clear();
            return Err(error);
        }
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}
