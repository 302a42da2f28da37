//! Clips to decode and where their results go: the interface between the scheduler and its callers.

use std::ops::Range;

use super::AsrOptions;
#[cfg(doc)]
use super::clips::Clips;
use super::slots::{Decode, Decoded};
use super::token_times::{Text, TokenTimes};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;

/// A clip to decode. Clips are known by the number their source gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// Its number.
    pub id: usize,
    /// Where it is; see [`Clips`].
    pub range: Range<usize>,
    /// Whether [`Source::begin`] wants the logits after `<|startoftranscript|>`, to tell the language.
    pub detect_language: bool,
}

/// Provides clips to decode and takes their results.
pub trait Source {
    /// The next clip; `None` if there is none, or none before another is finished. It may be asked for before a slot is
    /// free.
    fn next(&mut self) -> Option<Clip>;
    /// How to decode clip `id`, which has been encoded; `None` if it is not to be decoded now. `logits` `[V]` follow
    /// `<|startoftranscript|>`, if wanted.
    fn begin(&mut self, id: usize, logits: Option<&[f32]>) -> Result<Option<Decode>>;
    /// Takes the result of clip `id`. Another search of the same clip, or `None` if it is finished.
    fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>>;
    /// The text of the finished clip `id` whose token times are needed; called only with
    /// [`word_timestamps`](super::AsrOptions::word_timestamps).
    fn wants_times(&mut self, id: usize) -> Option<Text> {
        let _ = id;
        None
    }
    /// Takes the requested token times.
    fn timed(&mut self, id: usize, times: TokenTimes) -> Result<()> {
        let _ = (id, times);
        Ok(())
    }
    /// The samples that clip `id` is a range of, where clips are of several recordings; all clips have such samples, or none.
    fn samples(&self, id: usize) -> Option<&[f32]> {
        let _ = id;
        None
    }
    /// The options of clip `id`, where they are not those of all clips. They need slots of the same kind.
    fn options(&self, id: usize) -> Option<&AsrOptions> {
        let _ = id;
        None
    }
    /// Whether clip `id` was abandoned: its decoding stops, and no result is returned.
    fn is_abandoned(&self, id: usize) -> bool {
        let _ = id;
        false
    }
    /// Whether to stop with [`Error::Cancelled`].
    fn is_cancelled(&self) -> bool;
}
