//! Names of codecs for people. Symphonia names only those it can decode.

use symphonia::core::codecs::audio::{AudioCodecId, well_known as codecs};

/// The usual name of a codec.
pub(super) fn codec(id: AudioCodecId) -> String {
    let known = match id {
        codecs::CODEC_ID_AC3 => "AC-3",
        codecs::CODEC_ID_EAC3 => "E-AC-3",
        codecs::CODEC_ID_AC4 => "AC-4",
        codecs::CODEC_ID_DCA => "DTS",
        codecs::CODEC_ID_WMA => "WMA",
        codecs::CODEC_ID_SPEEX => "Speex",
        codecs::CODEC_ID_TRUEHD => "TrueHD",
        codecs::CODEC_ID_AAC => "AAC",
        codecs::CODEC_ID_OPUS => "Opus",
        codecs::CODEC_ID_ALAC => "ALAC",
        codecs::CODEC_ID_FLAC => "FLAC",
        codecs::CODEC_ID_VORBIS => "Vorbis",
        codecs::CODEC_ID_MP3 => "MP3",
        codecs::CODEC_ID_WAVPACK => "WavPack",
        codecs::CODEC_ID_MONKEYS_AUDIO => "Monkey's Audio",
        codecs::CODEC_ID_ADPCM_G722 => "G.722",
        codecs::CODEC_ID_ADPCM_G726 => "G.726",
        _ => return format!("codec {id}"),
    };
    known.into()
}
