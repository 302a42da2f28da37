//! Token timestamps from cross-attention by dynamic time warping (DTW): the [`TimeWarpOps`] primitives.
//!
//! Some cross-attention heads of Whisper's decoder (the alignment heads) attend to the frames in which the next token
//! is spoken. Their attention weights are combined into one matrix `[tokens, frames]`, and the DTW path through it
//! gives the first frame of every token. Only those frames are copied to the host. The free functions of this module
//! check every shape once.
//!
//! Source: openai-whisper `timing.py::find_alignment`.

use super::device::Device;
use super::host;
use super::shape::{check, wrong};
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::error::Result;

/// Width in frames of the median filter over time; the weights are reflected at both ends.
pub const MEDIAN_WIDTH: usize = 7;

/// The columns of the alignment heads of one decoder layer, in the matrices of queries and of keys.
pub struct HeadColumns<B: Device> {
    /// `[A, 2]`: first column of each head in the queries, and in the keys.
    pub device: Tensor<B, i32>,
    /// The same numbers on the host.
    pub host: Vec<[usize; 2]>,
    /// Columns per head.
    pub width: usize,
}

impl<B: Device> HeadColumns<B> {
    /// Copies the first columns of each head's queries and keys to the device; each head has `width` columns.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a column beyond 32 bits.
    pub fn new(be: &B, host: Vec<[usize; 2]>, width: usize) -> Result<Self> {
        let device = Tensor::from_host(be, &[host.len(), 2], &narrow("attention_weights", host.as_flattened())?)?;
        Ok(HeadColumns { device, host, width })
    }

    /// A copy on the host device.
    fn on_host(&self, be: &B) -> Result<HeadColumns<B::Host>> {
        Ok(HeadColumns { device: host::copy(be, &self.device)?, host: self.host.clone(), width: self.width })
    }
}

/// The part of the alignment matrix that belongs to one text and its audio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtwSegment {
    /// Rows of the matrix, one per token.
    pub rows: std::ops::Range<usize>,
    /// Number of columns, from column 0: the frames of audio.
    pub frames: usize,
}

/// The texts aligned by one call.
pub struct DtwSegments<B: Device> {
    /// `[N, 4]`: first row, rows, frames, and the total number of rows of the texts before.
    pub device: Tensor<B, i32>,
    /// The first three of these numbers, on the host.
    pub host: Vec<DtwSegment>,
}

impl<B: Device> DtwSegments<B> {
    /// Copies the texts to the device. The results of [`time_warp`] are in this order.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a number beyond 32 bits.
    pub fn new(be: &B, host: Vec<DtwSegment>) -> Result<Self> {
        let mut numbers = Vec::with_capacity(4 * host.len());
        let mut preceding = 0;
        for segment in &host {
            numbers.extend([segment.rows.start, segment.rows.len(), segment.frames, preceding]);
            preceding += segment.rows.len();
        }
        let device = Tensor::from_host(be, &[host.len(), 4], &narrow("time_warp", &numbers)?)?;
        Ok(DtwSegments { device, host })
    }

    /// Number of tokens of all texts.
    pub fn tokens(&self) -> usize {
        self.host.iter().map(|segment| segment.rows.len()).sum()
    }

    /// A copy on the host device.
    fn on_host(&self, be: &B) -> Result<DtwSegments<B::Host>> {
        Ok(DtwSegments { device: host::copy(be, &self.device)?, host: self.host.clone() })
    }
}

fn narrow(op: &'static str, numbers: &[usize]) -> Result<Vec<i32>> {
    let one = |number: &usize| {
        i32::try_from(*number).map_err(|_| wrong(op, "segment", "below 2^31".into(), number.to_string()))
    };
    numbers.iter().map(one).collect()
}

/// Whether the alignment matrix is overwritten or accumulated into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// The matrix is overwritten: these are the first heads of the text.
    Overwrite,
    /// The matrix holds the sum over other heads, to which these are added.
    Add,
}

/// Token timestamps. The default bodies run on [`Device::Host`].
pub trait TimeWarpOps: Device {
    /// Cross-attention weights of some heads of one layer for one clip: `out` `[A, L, F]` = softmax over the first `F`
    /// frames of `scale * q k`, with the queries in rows `first .. first + L` of `q` `[R, Q]` and `keys` `[T, K]`.
    fn attention_weights(
        &self,
        out: &mut Tensor<Self, f32>,
        q: &Tensor<Self>,
        keys: &Tensor<Self>,
        heads: &HeadColumns<Self>,
        first: usize,
        scale: f32,
    ) -> Result<()> {
        let (q, keys, heads) = (host::copy_act(self, q)?, host::copy_act(self, keys)?, heads.on_host(self)?);
        host::update(self, out, |host, out| host.attention_weights(out, &q, &keys, &heads, first, scale))
    }
    /// Adds heads to the alignment matrix of a text. `weights` `[A, L, F]` are normalised in place, frame by frame, to
    /// mean 0 and variance 1 over the `L` tokens (0 where all tokens have the same weight), then smoothed over time by
    /// a median filter of [`MEDIAN_WIDTH`] frames. `share` times the sum over the heads goes to rows
    /// `first .. first + L` and the first `F` columns of `matrix` `[R, T]`. With fewer than 4 frames the filter is
    /// skipped.
    fn alignment_matrix(
        &self,
        matrix: &mut Tensor<Self, f32>,
        weights: &mut Tensor<Self, f32>,
        first: usize,
        share: f32,
        accumulate: Accumulate,
    ) -> Result<()> {
        let mut on_host = host::copy(self, weights)?;
        host::update(self, matrix, |host, matrix| {
            host.alignment_matrix(matrix, &mut on_host, first, share, accumulate)
        })?;
        self.write(&mut weights.buf, 0, &on_host.to_host(host::of(self)?)?)
    }
    /// Dynamic time warping: `out` `[N]` is the first frame of each token on the path of the largest sum through its
    /// text's part of `matrix` `[R, T]`. The path leads from the first token and frame to the last ones; each step
    /// advances by one token, one frame or both. Sums are f32. The diagonal predecessor, or the one of the earlier
    /// token, is taken only if its cost is strictly lower than both others; otherwise the predecessor of the earlier
    /// frame is taken, even if the other two tie below it. The reference does the same.
    fn time_warp(
        &self,
        out: &mut Tensor<Self, i32>,
        matrix: &Tensor<Self, f32>,
        segments: &DtwSegments<Self>,
    ) -> Result<()> {
        let (matrix, segments) = (host::copy(self, matrix)?, segments.on_host(self)?);
        host::update(self, out, |host, out| host.time_warp(out, &matrix, &segments))
    }
    /// `out[first + r] = softmax(logits[r, .. classes])[labels[first + r]]` for each row of `logits` `[R, V]`; `out`,
    /// `labels` `[N]`, labels below `classes`.
    fn label_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        labels: &Tensor<Self, i32>,
        first: usize,
        classes: usize,
    ) -> Result<()> {
        let (logits, labels) = (host::copy(self, logits)?, host::copy(self, labels)?);
        host::update(self, out, |host, out| host.label_probability(out, &logits, &labels, first, classes))
    }
}

fn at_most(op: &'static str, what: &'static str, got: usize, limit: usize) -> Result<()> {
    if got <= limit {
        return Ok(());
    }
    Err(wrong(op, what, format!("at most {limit}"), got.to_string()))
}

/// Returns `A`, `L` and `F` of attention weights `[A, L, F]`.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for another number of axes, or if one of them is 0.
fn check_weights<B: Device>(op: &'static str, weights: &Tensor<B, f32>) -> Result<[usize; 3]> {
    match weights.shape() {
        &[heads, tokens, frames] if heads > 0 && tokens > 0 && frames > 0 => Ok([heads, tokens, frames]),
        other => Err(wrong(op, "weights", "[A, L, F], none of them 0".into(), format!("{other:?}"))),
    }
}

/// See [`TimeWarpOps::attention_weights`].
pub fn attention_weights<B: TimeWarpOps>(
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

/// See [`TimeWarpOps::alignment_matrix`].
pub fn alignment_matrix<B: TimeWarpOps>(
    be: &B,
    matrix: &mut Tensor<B, f32>,
    weights: &mut Tensor<B, f32>,
    first: usize,
    share: f32,
    accumulate: Accumulate,
) -> Result<()> {
    let op = "alignment_matrix";
    let [_, tokens, frames] = check_weights(op, weights)?;
    at_most(op, "tokens", first + tokens, matrix.rows())?;
    at_most(op, "frames", frames, matrix.width())?;
    let _range = range(op);
    be.alignment_matrix(matrix, weights, first, share, accumulate)
}

/// See [`TimeWarpOps::time_warp`].
pub fn time_warp<B: TimeWarpOps>(
    be: &B,
    out: &mut Tensor<B, i32>,
    matrix: &Tensor<B, f32>,
    segments: &DtwSegments<B>,
) -> Result<()> {
    let op = "time_warp";
    check(op, "out", out.shape(), &[segments.tokens()])?;
    for segment in &segments.host {
        at_most(op, "row", segment.rows.end, matrix.rows())?;
        at_most(op, "frames", segment.frames, matrix.width())?;
        if segment.rows.is_empty() || segment.frames == 0 {
            return Err(wrong(op, "segment", "a token and a frame at least".into(), format!("{segment:?}")));
        }
    }
    let _range = range(op);
    be.time_warp(out, matrix, segments)
}

/// See [`TimeWarpOps::label_probability`].
pub fn label_probability<B: TimeWarpOps>(
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
