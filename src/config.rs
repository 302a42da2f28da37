//! Options of the transcription pipeline: one field for each stage.

use crate::align::AlignOptions;
use crate::asr::AsrOptions;
use crate::audio::DecodeOptions;
use crate::channels::ChannelSpeakers;
use crate::diarize;
use crate::diarize::words::WordOptions;
use crate::hub::BUILTIN;
use crate::units::Seconds;
use crate::vad::VadOptions;

/// Options of [`Pipeline::transcribe`](crate::pipeline::Pipeline::transcribe). The defaults are WhisperX's, except
/// that voice activity detection uses signal energy if no VAD network is given.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Decoding of the audio file: the channel to use, the handling of damaged files.
    pub audio: DecodeOptions,
    /// Voice activity detection: thresholds, and the merging of speech into chunks.
    pub vad: VadOptions,
    /// Speech recognition: decoding of chunks to text.
    pub asr: AsrOptions,
    /// Source of the word times. Default: words have no times.
    pub words: WordTimes,
    /// Diarization and the assignment of speakers to words. Default: `None`, no diarization.
    pub speakers: Option<SpeakerOptions>,
    /// Treats each channel of the recording as one speaker and transcribes each channel on its own. Default: `None`,
    /// the channels are mixed. Cannot be combined with [`speakers`](Self::speakers).
    pub channel_speakers: Option<ChannelSpeakers>,
}

impl Options {
    /// The defaults for the recogniser called `name`. The built-in one was trained mostly on windows of a few seconds
    /// and is most accurate on chunks of 5 s.
    pub fn of_model(name: &str) -> Self {
        let usual = VadOptions::default();
        let chunk_size = if name == BUILTIN { Seconds(5.0) } else { usual.chunk_size };
        Options { vad: VadOptions { chunk_size, ..usual }, ..Options::default() }
    }
}

/// Source of the word times.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum WordTimes {
    /// No word times.
    #[default]
    None,
    /// Forced alignment with a wav2vec2 model. If the language has no aligner, the fallback is [`Dtw`](Self::Dtw) if
    /// the recogniser supports it, else no word times; reported with
    /// [`Observer::unaligned`](crate::pipeline::Observer::unaligned).
    Aligned(AlignOptions),
    /// Dynamic time warping over the recogniser's cross-attention weights.
    Dtw,
}

/// Options of the diarization stage.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpeakerOptions {
    /// Bounds on the number of speakers, and other options of the diarizer.
    pub diarize: diarize::Options,
    /// Assignment of speakers to words.
    pub words: WordOptions,
    /// Whether to return [`Transcript::speaker_embeddings`](crate::types::Transcript::speaker_embeddings).
    pub embeddings: bool,
}
