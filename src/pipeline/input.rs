//! The recording that a pipeline is given, and decoding it.

use std::ops::ControlFlow;
use std::path::Path;

use super::Run;
use crate::audio::{self, Audio};
use crate::config::Options;
use crate::error::Result;
use crate::units::SAMPLE_RATE;

/// A recording, in any form that the caller may have.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// Path of an audio file in any format that [`audio`] reads, or of a named pipe.
    Path(&'a Path),
    /// An audio file on the standard input. It can be read only once.
    Stdin,
    /// An audio file in memory, and a name for error messages.
    Bytes(&'a [u8], &'a str),
    /// Decoded samples: 16 kHz, mono, in `[-1, 1]`.
    Samples(&'a [f32]),
}

impl Run<'_> {
    /// Decodes a recording to 16 kHz mono; with channel speakers, every channel.
    pub(super) fn decode(&mut self, input: Input, options: &Options) -> Result<Audio> {
        let observer = &mut *self.observer;
        let watch = |progress: audio::Progress| {
            observer.progress("audio", progress.decoded, progress.total);
            if observer.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let audio = match input {
            Input::Path(path) => audio::decode(path, &options.audio, watch),
            Input::Stdin => audio::decode_stdin(&options.audio, watch),
            Input::Bytes(bytes, name) => audio::decode_bytes(bytes, name, &options.audio, watch),
            Input::Samples(samples) => audio::from_samples(samples, 1, SAMPLE_RATE as u32, options.audio.channel),
        }?;
        let (container, codec) = (&audio.source.container, &audio.source.codec);
        tracing::info!(%container, %codec, duration = audio.duration().0, "decoded");
        Ok(audio)
    }
}
