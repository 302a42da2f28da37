//! Encoding of clips: ranges of samples or mel frames to encoder output.

use std::ops::Range;

use crate::engine::{Backend, Element, Tensor, ops};
use crate::error::{Error, Result};
use crate::models::whisper::{EncoderScratch, Whisper};
use crate::units::{EncoderFrame, MelFrame};

/// The audio of all clips of a run.
pub enum Clips<'a, B: Backend> {
    /// Clips are ranges of samples. Each clip is zero-padded to the window, and its log-mel spectrogram is normalised
    /// on its own, as in WhisperX.
    Samples(&'a [f32]),
    /// Clips are ranges of mel frames. The log-mel spectrogram is that of the whole recording, normalised as a whole,
    /// as in openai-whisper and faster-whisper.
    Recording {
        /// `[F + 1, M]`; the last row is the padding, all zeros.
        mel: Tensor<B>,
        /// `F`.
        frames: usize,
    },
}

impl<'a, B: Backend> Clips<'a, B> {
    /// Computes the log-mel frames of a whole recording: one for each full 10 ms, plus one, because of the padding of
    /// faster-whisper's `feature_extractor.py`.
    pub fn recording(model: &Whisper<B>, samples: &[f32]) -> Result<Self> {
        let be = &model.be;
        let mels = model.config.num_mel_bins;
        // At least two frames: the Fourier transform's reflection padding needs 200 samples at both ends.
        let frames = (samples.len() / MelFrame::SAMPLES + 1).max(2);
        // Padded on the device: a padded copy on the host would take a quarter of a gigabyte per hour.
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
    pub fn encode(
        &self,
        model: &Whisper<B>,
        scratch: &mut EncoderScratch<B>,
        input: &mut ClipInput<B>,
        clips: &[Range<usize>],
    ) -> Result<()> {
        match self {
            Clips::Samples(samples) => {
                let stretches: Vec<_> = clips.iter().map(|clip| (*samples, clip.clone())).collect();
                encode_samples(model, scratch, input, &stretches)
            }
            Clips::Recording { mel, frames } => {
                let index = upload_frames(model, &mut input.index, *frames, clips)?;
                scratch.mel.reshape(&[clips.len(), window_frames(model), model.config.num_mel_bins])?;
                ops::gather_rows(&model.be, &mut scratch.mel, mel, index)?;
                model.encode_mel(scratch, clips.len())
            }
        }
    }
}

/// Encodes ranges of samples, possibly of different recordings, as for [`Clips::Samples`]. The result is in
/// `scratch.out`.
///
/// # Errors
/// As [`Clips::encode`].
pub fn encode_samples<B: Backend>(
    model: &Whisper<B>,
    scratch: &mut EncoderScratch<B>,
    input: &mut ClipInput<B>,
    stretches: &[(&[f32], Range<usize>)],
) -> Result<()> {
    model.encode(scratch, upload_samples(model, &mut input.audio, stretches)?)
}

/// Input buffers of the encoder for a group of clips, reused by the next group, because freeing memory synchronises a
/// GPU.
pub struct ClipInput<B: Backend> {
    /// `[B, S]`, for clips of samples.
    audio: Option<Tensor<B, f32>>,
    /// `[B F]`, for clips of a recording's frames.
    index: Option<Tensor<B, i32>>,
}

impl<B: Backend> Default for ClipInput<B> {
    fn default() -> Self {
        ClipInput { audio: None, index: None }
    }
}

/// A tensor of this shape: the buffer in `kept` if it is large enough, else a new one.
fn reuse<'t, B: Backend, T: Element>(
    be: &B,
    kept: &'t mut Option<Tensor<B, T>>,
    shape: &[usize],
) -> Result<&'t mut Tensor<B, T>> {
    if kept.as_mut().is_none_or(|tensor| tensor.reshape(shape).is_err()) {
        *kept = None;
    }
    match kept {
        Some(tensor) => Ok(tensor),
        None => Ok(kept.insert(Tensor::zeros(be, shape)?)),
    }
}

/// Checks that a clip is no longer than the model's window; both in `unit`.
///
/// # Errors
/// [`Error::Config`] if it is longer.
pub(super) fn check_length(clip: &Range<usize>, window: usize, unit: &str) -> Result<()> {
    if clip.len() <= window {
        return Ok(());
    }
    let rule = format!("a chunk has {} {unit}, the model's window {window}; lower it", clip.len());
    Err(Error::config("chunk_size", clip.len(), rule))
}

/// Length of the model's window in mel frames.
fn window_frames<B: Backend>(model: &Whisper<B>) -> usize {
    EncoderFrame::MEL_FRAMES * model.config.max_source_positions
}

/// Uploads the samples of the clips, `[B, S]`, zero-padded to the window.
fn upload_samples<'t, B: Backend>(
    model: &Whisper<B>,
    kept: &'t mut Option<Tensor<B, f32>>,
    stretches: &[(&[f32], Range<usize>)],
) -> Result<&'t Tensor<B, f32>> {
    let (be, window) = (&model.be, model.config.window_samples());
    let audio = reuse(be, kept, &[stretches.len(), window])?;
    let mut padding = Vec::new();
    for (i, (samples, clip)) in stretches.iter().enumerate() {
        check_length(clip, window, "samples")?;
        let range = clip.start.min(samples.len())..clip.end.min(samples.len());
        let at = i * window + range.len();
        be.write(&mut audio.buf, i * window, &samples[range])?;
        padding.resize((i + 1) * window - at, 0.0);
        be.write(&mut audio.buf, at, &padding)?;
    }
    Ok(audio)
}

/// Uploads the indices of the clips' mel frames, `[B F]`. After the end of a clip they point to the row of padding.
fn upload_frames<'t, B: Backend>(
    model: &Whisper<B>,
    kept: &'t mut Option<Tensor<B, i32>>,
    frames: usize,
    clips: &[Range<usize>],
) -> Result<&'t Tensor<B, i32>> {
    let window = window_frames(model);
    let mut index = Vec::with_capacity(clips.len() * window);
    for clip in clips {
        check_length(clip, window, "mel frames")?;
        let frame = |i: usize| if i < clip.len() { (clip.start + i).min(frames) } else { frames };
        index.extend((0..window).map(|i| frame(i) as i32));
    }
    let tensor = reuse(&model.be, kept, &[index.len()])?;
    model.be.write(&mut tensor.buf, 0, &index)?;
    Ok(tensor)
}
