//! What a caller can ask of the whole pipeline: the options of each stage, side by side.

use crate::asr::AsrOptions;
use crate::audio::DecodeOptions;
use crate::channels::ChannelSpeakers;
use crate::hub::BUILTIN;
use crate::pipeline::{SpeakerOptions, WordTimes};
use crate::units::Seconds;
use crate::vad::VadOptions;

/// Options of [`Pipeline::transcribe`](crate::pipeline::Pipeline::transcribe). The defaults are WhisperX's, except
/// that speech is found by energy where no network is given.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which channel, and what to do with damaged files.
    pub audio: DecodeOptions,
    /// How speech is cut into chunks.
    pub vad: VadOptions,
    /// How chunks become text.
    pub asr: AsrOptions,
    /// How words get their times: unless asked for, not at all.
    pub words: WordTimes,
    /// How words get their speakers: unless asked for, not at all.
    pub speakers: Option<SpeakerOptions>,
    /// Each channel of the recording is a speaker, heard by itself: unless asked for, channels are mixed. Not with
    /// [`speakers`](Self::speakers).
    pub channel_speakers: Option<ChannelSpeakers>,
}

impl Options {
    /// The defaults of a recogniser, by its name: the built-in one was taught mostly by windows of a few seconds, and hears chunks
    /// of 5 s best.
    pub fn of_model(name: &str) -> Self {
        let usual = VadOptions::default();
        let chunk_size = if name == BUILTIN { Seconds(5.0) } else { usual.chunk_size };
        Options { vad: VadOptions { chunk_size, ..usual }, ..Options::default() }
    }
}
