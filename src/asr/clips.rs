//! From stretches of a recording to encoder output.

use std::ops::Range;

use crate::engine::{Backend, Tensor, ops};
use crate::error::{Error, Result};
use crate::models::whisper::{EncoderScratch, Whisper};
use crate::units::MelFrame;

/// The audio of all clips of a run.
pub enum Clips<'a, B: Backend> {
    /// Clips are ranges of samples; each is zero-padded to the window and normalised by itself, as WhisperX does.
    Samples(&'a [f32]),
    /// Clips are ranges of mel frames of the whole recording, normalised together, as openai-whisper and
    /// faster-whisper do.
    Recording {
        /// `[F + 1, M]`, the last row all zeros: the padding.
        mel: Tensor<B>,
        /// `F`.
        frames: usize,
    },
}

impl<'a, B: Backend> Clips<'a, B> {
    /// The log-mel frames of a whole recording: one for each full 10 ms, and one more, as faster-whisper's
    /// `feature_extractor.py` pads.
    pub fn recording(model: &Whisper<B>, samples: &[f32]) -> Result<Self> {
        let be = &model.be;
        let mels = model.config.num_mel_bins;
        // two frames at least: the transform reflects 200 samples at both ends
        let frames = (samples.len() / MelFrame::SAMPLES + 1).max(2);
        // a copy on the host as well would be a quarter of a gigabyte an hour
        let mut audio: Tensor<B, f32> = Tensor::zeros(be, &[1, frames * MelFrame::SAMPLES])?;
        be.write(&mut audio.buf, 0, samples)?;
        let mut mel = Tensor::zeros(be, &[1, frames + 1, mels])?;
        mel.reshape(&[1, frames, mels])?;
        ops::log_mel(be, &mut mel, &audio, &be.mel_plan(mels)?)?;
        mel.reshape(&[frames + 1, mels])?;
        Ok(Clips::Recording { mel, frames })
    }

    /// Encodes one clip per range, given in samples or mel frames; the result is in `scratch.out`.
    ///
    /// # Errors
    /// [`Error::Config`] if a clip is longer than the model's window.
    pub fn encode(&self, model: &Whisper<B>, scratch: &mut EncoderScratch<B>, clips: &[Range<usize>]) -> Result<()> {
        match self {
            Clips::Samples(samples) => encode_samples(model, scratch, samples, clips),
            Clips::Recording { mel, frames } => encode_frames(model, scratch, mel, *frames, clips),
        }
    }
}

fn check_length(clip: &Range<usize>, window: usize, unit: &str) -> Result<()> {
    if clip.len() <= window {
        return Ok(());
    }
    let rule = format!("a chunk has {} {unit}, the model's window {window}; lower it", clip.len());
    Err(Error::config("chunk_size", clip.len(), rule))
}

fn encode_samples<B: Backend>(
    model: &Whisper<B>,
    scratch: &mut EncoderScratch<B>,
    samples: &[f32],
    clips: &[Range<usize>],
) -> Result<()> {
    let window = model.config.window_samples();
    let mut padded = vec![0.0; clips.len() * window];
    for (clip, row) in clips.iter().zip(padded.chunks_exact_mut(window)) {
        check_length(clip, window, "samples")?;
        let range = clip.start.min(samples.len())..clip.end.min(samples.len());
        row[..range.len()].copy_from_slice(&samples[range]);
    }
    let audio = Tensor::from_host(&model.be, &[clips.len(), window], &padded)?;
    model.encode(scratch, &audio)
}

fn encode_frames<B: Backend>(
    model: &Whisper<B>,
    scratch: &mut EncoderScratch<B>,
    mel: &Tensor<B>,
    frames: usize,
    clips: &[Range<usize>],
) -> Result<()> {
    let window = 2 * model.config.max_source_positions;
    let mut index = Vec::with_capacity(clips.len() * window);
    for clip in clips {
        check_length(clip, window, "mel frames")?;
        let frame = |i: usize| if i < clip.len() { (clip.start + i).min(frames) } else { frames };
        index.extend((0..window).map(|i| frame(i) as i32));
    }
    let index = Tensor::from_host(&model.be, &[index.len()], &index)?;
    scratch.mel.reshape(&[clips.len(), window, model.config.num_mel_bins])?;
    ops::gather_rows(&model.be, &mut scratch.mel, mel, &index)?;
    model.encode_mel(scratch, clips.len())
}
