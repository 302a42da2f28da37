//! The transcription pipeline: runs all stages on a recording and returns the transcript.
//!
//! | stage | file | |
//! |---|---|---|
//! | decode | [`input`](Input) | a file, bytes or samples to 16 kHz mono |
//! | segment, detect speech | `speech` | the diarizer's segmentation network, where it is the detector; chunks of speech |
//! | recognise | [`Recognizer`] | chunks to segments with tokens |
//! | align | [`word_times`](WordTimes) | segments to words with times |
//! | diarize, assign speakers | [`speakers`](Speakers) | turns, and the speaker of every word |
//!
//! Every stage runs inside `Run::stage`, which measures its time, opens a tracing span and a profiler range, notifies the observer and
//! adds the stage's name to errors. No stage calls another. Recordings with one speaker per channel run the stages once for each
//! channel: `channels`. `single_stages` has the stages that a caller can run alone.

pub mod aligners;
mod channels;
mod input;
mod load;
mod observer;
mod prepared;
mod run;
mod single_stages;
mod speakers;
mod speech;
mod word_times;

use std::sync::Arc;

use crate::asr::{Recognizer, WhisperRecognizer};
use crate::config::Options;
use crate::engine::Backend;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::types::Transcript;
use crate::units::Seconds;
use crate::vad::Detector;

use self::run::Run;

pub use crate::config::{SpeakerOptions, WordTimes};
pub use aligners::Aligners;
pub use input::Input;
pub use observer::Observer;
pub use prepared::Prepared;
pub use speakers::Speakers;
pub use word_times::WordTimeFallback;

/// The models of every stage, loaded once. Several threads may use it at the same time.
pub struct Pipeline<B: Backend, R: Recognizer = WhisperRecognizer<B>> {
    /// The device of the aligners.
    pub be: B,
    /// Speech recognition.
    pub recognizer: R,
    /// Voice activity detection. [`Detector::None`] decodes consecutive windows, as openai-whisper does.
    pub detector: Detector,
    /// Forced alignment, for [`WordTimes::Aligned`]. Default: the built-in aligner for English.
    pub aligners: Aligners<B>,
    /// Diarization, for [`Options::speakers`].
    pub speakers: Option<Speakers>,
}

impl<B: Backend, R: Recognizer> Pipeline<B, R> {
    /// Transcribes a recording.
    ///
    /// # Errors
    /// [`Error::Stage`] with the stage that failed and why; [`Error::Cancelled`] if the observer cancelled.
    pub fn transcribe(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        self.finish(&self.prepare(input, options, observer)?, options, observer)
    }

    /// The stages before the recogniser: decoding and voice activity detection. They run on the CPU, except for a network that detects
    /// speech. A caller with several recordings can prepare the next one while the device works on the current one.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe).
    pub fn prepare(&self, input: Input, options: &Options, observer: &mut dyn Observer) -> Result<Prepared> {
        let mut run = Run { observer };
        self.recognizer.check(&options.asr).map_err(|error| error.in_stage("asr"))?;
        let reading = channels::reading(input, options)?;
        let audio = run.stage("audio", |run| run.decode(input, &reading))?;
        run.observer.progress("vad", Seconds(0.0), Some(audio.duration()));
        if let Some(speakers) = &options.channel_speakers {
            speakers.labels(1 + audio.others.len())?;
            return run.stage("vad", |run| self.prepare_channels(audio, options, run));
        }
        let heard = match self.detector {
            Detector::Diarizer => run.stage("segmentation", |run| self.segmentation(&audio.samples, run))?,
            _ => None,
        };
        let chunks = run.stage("vad", |_| self.chunks(&audio.samples, heard.as_ref(), &options.vad))?;
        Ok(Prepared { samples: Arc::new(audio.samples), chunks, heard, ..Prepared::default() })
    }

    /// The stages from the recogniser on. `options` must be those given to [`prepare`](Self::prepare).
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe).
    pub fn finish(&self, prepared: &Prepared, options: &Options, observer: &mut dyn Observer) -> Result<Transcript> {
        let mut run = Run { observer };
        if let Some(speakers) = &options.channel_speakers {
            return self.finish_channels(prepared, speakers, options, &mut run);
        }
        let times = self.choose_word_times(prepared, options, &mut run)?;
        let found = self.recognise(prepared, &times, &mut run)?;
        let found = self.align_words(prepared, times, found, &mut run)?;
        let transcript = prepared.transcript(found);
        match self.find_speakers(prepared, &transcript, options.speakers.as_ref(), &mut run)? {
            Some(speakers) => Ok(speakers.assign(transcript)),
            None => Ok(transcript),
        }
    }
}
