//! Names of codecs for error messages. Symphonia has names only for the codecs that it decodes.

use symphonia::core::codecs::audio::{AudioCodecId, well_known as codecs};

/// The common name of a codec.
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
        codecs::CODEC_ID_TTA => "TTA",
        codecs::CODEC_ID_MUSEPACK => "Musepack",
        codecs::CODEC_ID_ATRAC1 | codecs::CODEC_ID_ATRAC3 | codecs::CODEC_ID_ATRAC3PLUS => "ATRAC",
        codecs::CODEC_ID_SIPR => "Sipro",
        codecs::CODEC_ID_COOK => "RealAudio Cook",
        codecs::CODEC_ID_MONKEYS_AUDIO => "Monkey's Audio",
        codecs::CODEC_ID_ADPCM_G722 => "G.722",
        codecs::CODEC_ID_ADPCM_G726 => "G.726",
        _ => return format!("codec {id}"),
    };
    known.into()
}

/// The common name of a WAV format tag's codec.
pub(super) fn wav_tag(tag: u16) -> &'static str {
    match tag {
        0x0031 => "GSM",
        0x0038 | 0x0040 | 0x0045 | 0x0064 => "G.726",
        0x0042 => "G.723.1",
        0x0065 | 0x028f => "G.722",
        0x0083 => "G.729",
        0x00ff | 0x1600..=0x1610 => "AAC",
        0x0160..=0x0163 => "WMA",
        0x0270..=0x0271 => "ATRAC",
        0x2000 => "AC-3",
        0x2001 => "DTS",
        0xa109 => "Speex",
        0xf1ac => "FLAC",
        _ => "an unknown codec",
    }
}

/// The name of a codec in MP4 that symphonia does not support, by the type of its sample entry.
pub(super) fn mp4_entry(kind: &[u8]) -> Option<&'static str> {
    Some(match kind {
        b"ulaw" => "mu-law",
        b"alaw" => "A-law",
        b"ima4" | b"ms\x00\x02" | b"ms\x00\x11" => "ADPCM",
        b"samr" => "AMR",
        b"sawb" | b"sawp" => "AMR wideband",
        b"ac-3" => "AC-3",
        b"ec-3" => "E-AC-3",
        b"ac-4" => "AC-4",
        b"dtsc" | b"dtse" | b"dtsh" | b"dtsl" => "DTS",
        b"mlpa" => "TrueHD",
        b"agsm" => "GSM",
        b"QDM2" | b"QDMC" => "QDesign Music",
        b"MAC3" | b"MAC6" => "MACE",
        b"Qclp" | b"sqcp" => "QCELP",
        b"sevc" => "EVRC",
        b"drms" | b"enca" => "encrypted audio (DRM)",
        _ => return None,
    })
}
