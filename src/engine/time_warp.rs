//! The primitives that find out when a decoder's tokens were said: [`TimeWarp`].
//!
//! Some heads of Whisper's decoder look at the frames in which the token they are about to write is said. Their weights
//! are made into one matrix `[tokens, frames]`, and the cheapest way through it gives every token its first frame.
//! Everything but those frames stays on the device. The functions beside the trait check every shape once.
//!
//! Source: openai-whisper `timing.py::find_alignment`.

use super::ops::{check, wrong};
use super::profile::range;
use super::{Backend, Tensor};
use crate::error::Result;

/// Frames whose median replaces the one in their middle; at the ends they are mirrored.
pub const MEDIAN_WIDTH: usize = 7;

/// Where some heads of one decoder layer are in the rows of queries and of keys.
pub struct HeadColumns<B: Backend> {
    /// `[A, 2]`: first column of the head's queries, and of its keys.
    pub device: Tensor<B, i32>,
    /// The same.
    pub host: Vec<[usize; 2]>,
    /// Columns of a head.
    pub width: usize,
}

impl<B: Backend> HeadColumns<B> {
    /// The first columns of each head's queries and keys, `width` columns each.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a column beyond 32 bits.
    pub fn new(be: &B, host: Vec<[usize; 2]>, width: usize) -> Result<Self> {
        let device = Tensor::from_host(be, &[host.len(), 2], &narrow("attention_weights", host.as_flattened())?)?;
        Ok(HeadColumns { device, host, width })
    }
}

/// One text and the audio it is looked for in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarpPlace {
    /// Rows of the matrix, one for each token.
    pub rows: std::ops::Range<usize>,
    /// Frames of audio: columns of those rows, from the first.
    pub frames: usize,
}

/// The texts of one call.
pub struct WarpPlaces<B: Backend> {
    /// `[N, 4]`: first row, rows, frames, and how many rows the texts before have.
    pub device: Tensor<B, i32>,
    /// The same, but for the last.
    pub host: Vec<WarpPlace>,
}

impl<B: Backend> WarpPlaces<B> {
    /// The texts, in the order in which their tokens are answered.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a number beyond 32 bits.
    pub fn new(be: &B, host: Vec<WarpPlace>) -> Result<Self> {
        let mut numbers = Vec::with_capacity(4 * host.len());
        let mut before = 0;
        for place in &host {
            numbers.extend([place.rows.start, place.rows.len(), place.frames, before]);
            before += place.rows.len();
        }
        let device = Tensor::from_host(be, &[host.len(), 4], &narrow("time_warp", &numbers)?)?;
        Ok(WarpPlaces { device, host })
    }

    /// Tokens of all texts.
    pub fn tokens(&self) -> usize {
        self.host.iter().map(|place| place.rows.len()).sum()
    }
}

fn narrow(op: &'static str, numbers: &[usize]) -> Result<Vec<i32>> {
    let one = |number: &usize| {
        i32::try_from(*number).map_err(|_| wrong(op, "place", "below 2^31".into(), number.to_string()))
    };
    numbers.iter().map(one).collect()
}

/// What the matrix holds before some heads are added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing of use: the first heads of a text.
    Nothing,
    /// The share of other heads.
    OtherHeads,
}

/// A device that can tell word times.
pub trait TimeWarp: Backend {
    /// What heads of one layer make of one clip: `out` `[A, L, F]` = softmax over the first `F` frames of `scale` times the
    /// products of the queries, rows `first .. first + L` of `q` `[R, Q]`, with `keys` `[T, K]`.
    fn attention_weights(
        &self,
        out: &mut Tensor<Self, f32>,
        q: &Tensor<Self>,
        keys: &Tensor<Self>,
        heads: &HeadColumns<Self>,
        first: usize,
        scale: f32,
    ) -> Result<()>;
    /// Adds heads to the matrix of a text: `weights` `[A, L, F]` are brought, frame by frame, to mean 0 and variance 1 over
    /// the `L` tokens (all 0 where they are all alike) in place, then smoothed by the median of [`MEDIAN_WIDTH`] frames;
    /// `share` times the sum over the heads goes to rows `first .. first + L` and the first `F` columns of `matrix`
    /// `[R, T]`. Fewer than 4 frames are not smoothed.
    fn alignment_matrix(
        &self,
        matrix: &mut Tensor<Self, f32>,
        weights: &mut Tensor<Self, f32>,
        first: usize,
        share: f32,
        before: Before,
    ) -> Result<()>;
    /// The first frame of each token on the way through its text's part of `matrix` `[R, T]` that adds up to most, from the
    /// first token in the first frame to the last in the last, a token or a frame or both further at a time: `out` `[N]`.
    /// Sums are f32. A way comes from the earlier token and frame, or from the earlier token, only if that costs less than both
    /// others, else from the earlier frame, even if the other two are equal and less: so does the reference.
    fn time_warp(
        &self,
        out: &mut Tensor<Self, i32>,
        matrix: &Tensor<Self, f32>,
        places: &WarpPlaces<Self>,
    ) -> Result<()>;
    /// `out[first + r] = softmax(logits[r, .. classes])[labels[first + r]]` for each row of `logits` `[R, V]`; `out`,
    /// `labels` `[N]`, labels below `classes`.
    fn label_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        labels: &Tensor<Self, i32>,
        first: usize,
        classes: usize,
    ) -> Result<()>;
}

fn at_most(op: &'static str, what: &'static str, got: usize, limit: usize) -> Result<()> {
    if got <= limit {
        return Ok(());
    }
    Err(wrong(op, what, format!("at most {limit}"), got.to_string()))
}

/// `A`, `L` and `F` of the weights of some heads: none of them 0.
fn check_weights<B: Backend>(op: &'static str, weights: &Tensor<B, f32>) -> Result<[usize; 3]> {
    match weights.shape() {
        &[heads, tokens, frames] if heads > 0 && tokens > 0 && frames > 0 => Ok([heads, tokens, frames]),
        other => Err(wrong(op, "weights", "[A, L, F], none of them 0".into(), format!("{other:?}"))),
    }
}

/// See [`TimeWarp::attention_weights`].
pub fn attention_weights<B: TimeWarp>(
    be: &B,
    out: &mut Tensor<B, f32>,
    q: &Tensor<B>,
    keys: &Tensor<B>,
    heads: &HeadColumns<B>,
    first: usize,
    scale: f32,
) -> Result<()> {
    let op = "attention_weights";
    let [count, tokens, frames] = check_weights(op, out)?;
    check(op, "heads", &[heads.host.len()], &[count])?;
    at_most(op, "tokens", first + tokens, q.rows())?;
    at_most(op, "frames", frames, keys.rows())?;
    for [query, key] in &heads.host {
        at_most(op, "query", query + heads.width, q.width())?;
        at_most(op, "key", key + heads.width, keys.width())?;
    }
    let _range = range(op);
    be.attention_weights(out, q, keys, heads, first, scale)
}

/// See [`TimeWarp::alignment_matrix`].
pub fn alignment_matrix<B: TimeWarp>(
    be: &B,
    matrix: &mut Tensor<B, f32>,
    weights: &mut Tensor<B, f32>,
    first: usize,
    share: f32,
    before: Before,
) -> Result<()> {
    let op = "alignment_matrix";
    let [_, tokens, frames] = check_weights(op, weights)?;
    at_most(op, "tokens", first + tokens, matrix.rows())?;
    at_most(op, "frames", frames, matrix.width())?;
    let _range = range(op);
    be.alignment_matrix(matrix, weights, first, share, before)
}

/// See [`TimeWarp::time_warp`].
pub fn time_warp<B: TimeWarp>(
    be: &B,
    out: &mut Tensor<B, i32>,
    matrix: &Tensor<B, f32>,
    places: &WarpPlaces<B>,
) -> Result<()> {
    let op = "time_warp";
    check(op, "out", out.shape(), &[places.tokens()])?;
    for place in &places.host {
        at_most(op, "row", place.rows.end, matrix.rows())?;
        at_most(op, "frames", place.frames, matrix.width())?;
        if place.rows.is_empty() || place.frames == 0 {
            return Err(wrong(op, "place", "a token and a frame at least".into(), format!("{place:?}")));
        }
    }
    let _range = range(op);
    be.time_warp(out, matrix, places)
}

/// See [`TimeWarp::label_probability`].
pub fn label_probability<B: TimeWarp>(
    be: &B,
    out: &mut Tensor<B, f32>,
    logits: &Tensor<B, f32>,
    labels: &Tensor<B, i32>,
    first: usize,
    classes: usize,
) -> Result<()> {
    let op = "label_probability";
    check(op, "labels", labels.shape(), out.shape())?;
    at_most(op, "rows", first + logits.rows(), out.len())?;
    at_most(op, "classes", classes, logits.width())?;
    let _range = range(op);
    be.label_probability(out, logits, labels, first, classes)
}
