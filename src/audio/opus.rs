//! Opus decoder for symphonia, which demuxes Opus in Ogg, Matroska and MP4 but cannot decode it.

use std::sync::OnceLock;

use opus_pure::{MAX_PACKET_SAMPLES, OpusMSDecoder};
use symphonia::core::audio::{AsGenericAudioBufferRef, Audio, AudioBuffer, AudioMut, AudioSpec, Channels};
use symphonia::core::audio::{GenericAudioBufferRef, layouts};
use symphonia::core::codecs::CodecInfo;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions, FinalizeResult};
use symphonia::core::codecs::registry::{CodecRegistry, RegisterableAudioDecoder, SupportedAudioCodec};
use symphonia::core::errors::{Error, Result};
use symphonia::core::packet::PacketRef;

/// Output sample rate of the decoder in Hz, and the unit of the times in the Opus header.
const RATE: u32 = 48_000;

/// Symphonia's codecs and Opus.
pub(super) fn codecs() -> &'static CodecRegistry {
    static CODECS: OnceLock<CodecRegistry> = OnceLock::new();
    CODECS.get_or_init(|| {
        let mut registry = CodecRegistry::new();
        symphonia::default::register_enabled_codecs(&mut registry);
        registry.register_audio_decoder::<Opus>();
        registry
    })
}

/// The pre-skip in seconds, which the decoder drops at the start.
pub(super) fn delay(params: &AudioCodecParameters) -> f64 {
    let head = params.extra_data.as_deref().and_then(Head::parse);
    head.map_or(0.0, |head| head.pre_skip as f64 / f64::from(RATE))
}

/// The identification header, RFC 7845 section 5.1.
struct Head {
    channels: usize,
    /// Frames (at 48 kHz) to drop at the start.
    pre_skip: usize,
    /// Output gain as a linear factor.
    gain: f32,
    /// Channel mapping family: 0 for mono and stereo, 1 for surround.
    family: u8,
    /// For surround: number of streams, number of coupled (stereo) streams, and the decoded channel of each output
    /// channel.
    layout: Option<(usize, usize, Vec<u8>)>,
}

impl Head {
    fn parse(data: &[u8]) -> Option<Self> {
        let body = data.strip_prefix(b"OpusHead")?;
        let (&version, rest) = body.split_first()?;
        // In MP4 the version is 0 and integers are big-endian.
        let u16_at = |at: usize| -> Option<u16> {
            let bytes = [*rest.get(at)?, *rest.get(at + 1)?];
            Some(if version == 0 { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
        };
        let channels = usize::from(*rest.first()?);
        let pre_skip = usize::from(u16_at(1)?);
        // Signed, in 1/256 dB.
        let gain = 10f32.powf(f32::from(u16_at(7)? as i16) / (20.0 * 256.0));
        let family = *rest.get(9)?;
        let layout = match family {
            0 => None,
            _ => {
                let mapping = rest.get(12..12 + channels)?.to_vec();
                Some((usize::from(*rest.get(10)?), usize::from(*rest.get(11)?), mapping))
            }
        };
        Some(Head { channels, pre_skip, gain, family, layout })
    }

    /// The default for a file without the header: mono or stereo without pre-skip.
    fn plain(channels: usize) -> Self {
        Head { channels, pre_skip: 0, gain: 1.0, family: 0, layout: None }
    }

    /// A decoder for the standard mono, stereo and surround layouts, the only ones that encoders write; `None` for
    /// others.
    fn decoder(&self) -> Option<OpusMSDecoder> {
        let decoder = OpusMSDecoder::new(RATE as i32, self.channels, self.family).ok()?;
        let standard = decoder.layout();
        let is_standard = self.layout.as_ref().is_none_or(|(streams, coupled, mapping)| {
            (*streams, *coupled, mapping) == (standard.nb_streams, standard.nb_coupled_streams, &standard.mapping)
        });
        is_standard.then_some(decoder)
    }
}

/// Decodes one or more Opus streams; drops the pre-skip, applies the output gain, and trims the end as the packet
/// states.
struct Opus {
    params: AudioCodecParameters,
    decoder: OpusMSDecoder,
    gain: f32,
    /// Frames still to be dropped at the start.
    skip: usize,
    /// One packet, `[frames, channels]`.
    pcm: Vec<f32>,
    buffer: AudioBuffer<f32>,
}

impl Opus {
    fn new(params: &AudioCodecParameters) -> Result<Self> {
        let stated = params.channels.as_ref().map_or(2, Channels::count);
        let head = match &params.extra_data {
            Some(data) => Head::parse(data).ok_or(Error::DecodeError("opus: the identification header is damaged"))?,
            None => Head::plain(stated),
        };
        let decoder = head.decoder().ok_or(Error::Unsupported("opus: unusual channel mapping"))?;
        let channels = head.channels;
        let layout = match channels {
            1 => layouts::CHANNEL_LAYOUT_MONO,
            2 => layouts::CHANNEL_LAYOUT_STEREO,
            _ => Channels::Discrete(channels as u16),
        };
        Ok(Opus {
            params: params.clone(),
            decoder,
            gain: head.gain,
            skip: head.pre_skip,
            pcm: vec![0.0; MAX_PACKET_SAMPLES * channels],
            buffer: AudioBuffer::new(AudioSpec::new(RATE, layout), MAX_PACKET_SAMPLES),
        })
    }
}

impl AudioDecoder for Opus {
    fn reset(&mut self) {
        // Fails only for sample rates that Opus does not support.
        let _ = self.decoder.reset_state();
    }

    fn codec_info(&self) -> &CodecInfo {
        &SUPPORTED[0].info
    }

    fn codec_params(&self) -> &AudioCodecParameters {
        &self.params
    }

    fn decode_ref(&mut self, packet: &PacketRef<'_>) -> Result<GenericAudioBufferRef<'_>> {
        self.buffer.clear();
        // The decoder would take an empty packet for a lost one and conceal it.
        if packet.data.is_empty() {
            return Err(Error::DecodeError("opus: the packet is empty"));
        }
        let channels = self.buffer.num_planes();
        let frames = self
            .decoder
            .decode(packet.data, MAX_PACKET_SAMPLES, &mut self.pcm)
            .map_err(|_| Error::DecodeError("opus: the packet is damaged"))?;
        let pcm = self.pcm.get_mut(..frames * channels).ok_or(Error::DecodeError("opus: the packet is too long"))?;
        pcm.iter_mut().for_each(|sample| *sample *= self.gain);
        self.buffer.render_uninit(Some(frames));
        self.buffer.copy_from_slice_interleaved(&pcm);
        let start = self.skip.min(frames);
        self.skip -= start;
        let end = usize::try_from(packet.trim_end.get()).unwrap_or(usize::MAX).min(frames - start);
        self.buffer.trim(start, end);
        Ok(self.buffer.as_generic_audio_buffer_ref())
    }

    fn finalize(&mut self) -> FinalizeResult {
        FinalizeResult::default()
    }

    fn last_decoded(&self) -> GenericAudioBufferRef<'_> {
        self.buffer.as_generic_audio_buffer_ref()
    }
}

const SUPPORTED: &[SupportedAudioCodec] = &[SupportedAudioCodec {
    id: CODEC_ID_OPUS,
    info: CodecInfo { short_name: "opus", long_name: "Opus", profiles: &[] },
}];

impl RegisterableAudioDecoder for Opus {
    fn try_registry_new(params: &AudioCodecParameters, _: &AudioDecoderOptions) -> Result<Box<dyn AudioDecoder>> {
        Ok(Box::new(Opus::new(params)?))
    }

    fn supported_codecs() -> &'static [SupportedAudioCodec] {
        SUPPORTED
    }
}
