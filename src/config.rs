//! Options of the transcription pipeline: one field for each stage.

use crate::asr::AsrOptions;
use crate::audio::DecodeOptions;
use crate::channels::ChannelSpeakers;
use crate::hub::BUILTIN;
use crate::pipeline::{SpeakerOptions, WordTimes};
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
