//! The interface between the scheduler and its callers: [`Source`] provides clips to decode and takes their results.

use std::ops::Range;

use super::AsrOptions;
#[cfg(doc)]
use super::clips::Clips;
use super::slots::{Decode, Decoded};
use super::token_times::{KnownText, TokenTimes};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;

/// A clip to decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// Identifies the clip in its source.
    pub id: usize,
    /// Its samples or mel frames; see [`Clips`].
    pub range: Range<usize>,
    /// Whether [`Source::begin`] needs the logits after `<|startoftranscript|>`, for language detection.
    pub detect_language: bool,
}

/// Provides clips to decode and takes their results.
pub trait Source {
    /// The next clip. `None` if there are no more, or none until another clip is finished. Prefetch calls this before a
    /// slot is free.
    fn next(&mut self) -> Option<Clip>;
    /// The first search of clip `id`, which has been encoded. `None` if the clip is not decoded now. `logits` `[V]`:
    /// those after `<|startoftranscript|>`, if [`Clip::detect_language`] is set.
    fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Option<Decode>>;
    /// Takes the result of clip `id`. Returns another search of the same clip, or `None` if the clip is finished.
    fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>>;
    /// The text of the finished clip `id`, if its token times are needed. Called only with
    /// [`word_timestamps`](super::AsrOptions::word_timestamps).
    fn text_to_align(&mut self, id: usize) -> Option<KnownText> {
        let _ = id;
        None
    }
    /// Takes the requested token times.
    fn set_token_times(&mut self, id: usize, times: TokenTimes) -> Result<()> {
        let _ = (id, times);
        Ok(())
    }
    /// The samples of the recording of clip `id`, for a source of several recordings. Either all clips have such
    /// samples, or none has.
    fn samples(&self, id: usize) -> Option<&[f32]> {
        let _ = id;
        None
    }
    /// The options of clip `id`, if they differ from the scheduler's. They must need slots of the same shape.
    fn options(&self, id: usize) -> Option<&AsrOptions> {
        let _ = id;
        None
    }
    /// Whether clip `id` was abandoned. If so, its decoding stops, and it has no result.
    fn is_abandoned(&self, id: usize) -> bool {
        let _ = id;
        false
    }
    /// Whether to stop with [`Error::Cancelled`].
    fn is_cancelled(&self) -> bool;
}
