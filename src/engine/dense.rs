//! The primitives of densely connected time-delay networks, CAM++'s, over clips of different lengths: [`Dense`]. All of it in
//! f32, since embeddings are compared with a threshold.
//!
//! Clips lie one behind the other without filling: a tensor `[R, C]` has a row for every frame of every clip, see [`Clips`].
//! A dense block appends the channels of each layer to those before: its tensor is as wide as the block's result, a layer
//! reads the first columns of it and writes the next ones.
//!
//! The functions beside the trait check every shape once, as [`ops`](super::ops) does for [`Backend`]'s.

use super::filter::{CHANNEL_STEP, FilterShape, HostFilter};
use super::ops::{check, wrong};
use super::profile::range;
use super::segmentation_ops::SegmentationOps;
use super::weights::HostMatrix;
use super::{Backend, Tensor};
use crate::error::Result;

/// Most taps over time of a [`ClipConv`].
pub const MOST_TAPS: usize = 5;
/// Frames of a segment, whose mean is part of the context of each of its frames; the last segment of a clip may be shorter.
/// 3D-Speaker `models/campplus/layers.py::CAMLayer.seg_pooling`.
pub const SEGMENT: usize = 100;

/// Where clips of different lengths begin in a tensor that has a row for each of their frames.
pub struct Clips<B: Backend> {
    /// `[N + 1]` the first row of each clip, and the number of rows.
    starts: Vec<usize>,
    /// `[N + 1]` the first segment of each clip, and the number of segments.
    segments: Vec<usize>,
    /// `[N + 1]` both of them.
    pub(super) starts_on_device: Tensor<B, i32>,
    pub(super) segments_on_device: Tensor<B, i32>,
    /// `[R]` the clip of each row.
    pub(super) clip_of_row: Tensor<B, i32>,
}

impl<B: Backend> Clips<B> {
    /// Clips of these numbers of frames, each 1 at least.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a clip without frames, or more rows than 31 bits can count.
    pub fn new(be: &B, lengths: &[usize]) -> Result<Self> {
        let ends = |each: &dyn Fn(usize) -> usize| {
            let mut end = 0usize;
            std::iter::once(0)
                .chain(lengths.iter().map(|length| {
                    end = end.saturating_add(each(*length));
                    end
                }))
                .collect::<Vec<usize>>()
        };
        let (starts, segments) = (ends(&|length| length), ends(&|length| length.div_ceil(SEGMENT)));
        let rows = starts[lengths.len()];
        if lengths.contains(&0) || i32::try_from(rows).is_err() {
            let got = format!("{} clips, {rows} frames", lengths.len());
            return Err(wrong("clips", "lengths", "1 frame each at least, below 2^31 together".into(), got));
        }
        let narrow = |values: &[usize]| values.iter().map(|v| *v as i32).collect::<Vec<i32>>();
        let clip_of_row: Vec<i32> =
            lengths.iter().enumerate().flat_map(|(clip, length)| std::iter::repeat_n(clip as i32, *length)).collect();
        Ok(Clips {
            starts_on_device: Tensor::from_host(be, &[starts.len()], &narrow(&starts))?,
            segments_on_device: Tensor::from_host(be, &[segments.len()], &narrow(&segments))?,
            clip_of_row: Tensor::from_host(be, &[rows], &clip_of_row)?,
            starts,
            segments,
        })
    }

    /// `N`: number of clips.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// `R`: frames of all clips.
    pub fn rows(&self) -> usize {
        self.starts[self.count()]
    }

    /// Segments of all clips.
    pub fn num_segments(&self) -> usize {
        self.segments[self.count()]
    }

    /// The first row of each clip, and the number of rows: `[N + 1]`.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The first segment of each clip, and the number of segments: `[N + 1]`.
    pub fn segments(&self) -> &[usize] {
        &self.segments
    }

    /// Frames of each clip.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.starts.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// The clips of every `stride`-th frame of these.
    ///
    /// # Errors
    /// Those of the device.
    pub fn strided(&self, be: &B, stride: usize) -> Result<Self> {
        Self::new(be, &self.lengths().map(|length| length.div_ceil(stride)).collect::<Vec<usize>>())
    }
}

/// Scale and shift `[K]` of each channel: a batch norm.
pub struct Affine<B: Backend> {
    /// `[K]`
    pub scale: Tensor<B, f32>,
    /// `[K]`
    pub shift: Tensor<B, f32>,
}

/// What becomes of a sum, bias included, before it is stored.
pub enum Finish<'a, B: Backend> {
    /// Nothing.
    Store,
    /// Zero, where it is below.
    Relu,
    /// Multiplied by the gate `[S, N]` of the segment that its row is in.
    Gate(&'a Tensor<B, f32>),
}

/// A convolution over time, padded with `dilation * (taps / 2)` zeros at both ends of each clip.
pub struct ClipConv<'a, B: Dense> {
    /// `[N, W * K]`: tap by tap, channels contiguous within a tap; `W` odd, [`MOST_TAPS`] at most.
    pub weight: &'a B::ClipWeight,
    /// `W`
    pub taps: usize,
    /// Frames of `x` from one frame of the result to the next.
    pub stride: usize,
    /// Frames of `x` from tap to tap.
    pub dilation: usize,
    /// With one tap only: each value of `x` is scaled and shifted, and becomes zero where it is then below.
    pub before: Option<&'a Affine<B>>,
    /// `[N]`
    pub bias: Option<&'a Tensor<B, f32>>,
    /// What follows.
    pub finish: Finish<'a, B>,
    /// The column of the result's tensor that the `N` channels begin at.
    pub column: usize,
}

/// A device that can run CAM++.
pub trait Dense: SegmentationOps {
    /// Weights and bias of a convolution over pictures, in f32.
    type ClipFilter: Send + Sync;
    /// A weight of [`ClipConv`], in f32.
    type ClipWeight: Send + Sync;

    /// Frames of features that are worth running at once: enough to keep the device busy, few enough for its memory.
    fn clip_frames(&self) -> usize;
    /// Prepares a convolution over pictures. Its sizes were checked.
    fn clip_filter(&self, filter: &HostFilter) -> Result<Self::ClipFilter>;
    /// The sizes of a prepared convolution.
    fn clip_filter_shape(&self, filter: &Self::ClipFilter) -> FilterShape;
    /// Prepares a weight `[N, W * K]`.
    fn clip_weight(&self, weight: &HostMatrix) -> Result<Self::ClipWeight>;
    /// `(N, W * K)` of a prepared weight.
    fn clip_weight_shape(&self, weight: &Self::ClipWeight) -> (usize, usize);

    /// Clips of features, each band less its mean over the clip: `out` `[R, M, 1]`, row `r` from row `index[r]` of `features`
    /// `[F, M]`. The mean is summed in f32 or wider, in an order that depends on the clip's length only.
    fn centre_clips(
        &self,
        out: &mut Tensor<Self, f32>,
        features: &Tensor<Self, f32>,
        index: &Tensor<Self, i32>,
        clips: &Clips<Self>,
    ) -> Result<()>;
    /// A convolution over the pictures of clips, padded with `taps / 2` zeros on all sides of each clip: `out`
    /// `[R, H / stride, O]` (rounded up), `x` `[R, H, C]`, `added` like `out`; then zero where it is below.
    fn clip_conv2d(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        filter: &Self::ClipFilter,
        after: ClipAfter<Self>,
        clips: &Clips<Self>,
    ) -> Result<()>;
    /// A convolution over time: columns `column .. column + N` of `out` `[R', _]`, from the first `K` columns of `x` `[R, _]`;
    /// `clips` are those of `x`, and those of `out`.
    fn clip_conv(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        conv: &ClipConv<Self>,
        clips: [&Clips<Self>; 2],
    ) -> Result<()>;
    /// The context of each segment: the mean of its frames plus that of all frames of its clip: `out` `[S, K]`, `x` `[R, K]`.
    fn segment_context(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, clips: &Clips<Self>) -> Result<()>;
    /// Mean and standard deviation over the frames of each clip: `out` `[N, 2, K]`, `x` `[R, K]`. The divisor of the variance
    /// is one less than the number of frames, so that a clip of one frame has NaN as deviations.
    fn clip_statistics(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, clips: &Clips<Self>) -> Result<()>;
}

/// What becomes of a sum of [`Dense::clip_conv2d`], bias included, before it is stored.
pub enum ClipAfter<'a, B: Backend> {
    /// Nothing.
    Store,
    /// Zero, where it is below.
    Relu,
    /// Another picture of the same shape is added, then as [`ClipAfter::Relu`].
    AddRelu(&'a Tensor<B, f32>),
}

/// See [`Dense::clip_filter`].
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for sizes that cannot be computed.
pub fn clip_filter<B: Dense>(be: &B, filter: &HostFilter) -> Result<B::ClipFilter> {
    let FilterShape { outputs, taps, inputs, stride } = filter.shape;
    let step = |channels: usize| channels > 0 && channels.is_multiple_of(CHANNEL_STEP);
    let one = inputs == 1 && taps == 3 && stride == [1, 1];
    if !step(outputs) || !(step(inputs) || one) || !matches!(taps, 1 | 3) || !matches!(stride, [1, 1 | 2]) {
        let expected =
            format!("1 or 3 taps, stride 1 over time, 1 or 2 over frequency, channels in steps of {CHANNEL_STEP}");
        return Err(wrong("clip_filter", "weight", expected, format!("{:?}", filter.shape)));
    }
    check("clip_filter", "values", &[filter.values.len()], &[outputs * taps * taps * inputs])?;
    check("clip_filter", "bias", &[filter.bias.len()], &[outputs])?;
    be.clip_filter(filter)
}

/// See [`Dense::clip_weight`].
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for a weight without rows or columns.
pub fn clip_weight<B: Dense>(be: &B, weight: &HostMatrix) -> Result<B::ClipWeight> {
    check("clip_weight", "values", &[weight.values.len()], &[weight.rows * weight.cols])?;
    if weight.values.is_empty() {
        return Err(wrong("clip_weight", "weight", "[N, W K]".into(), format!("[{}, {}]", weight.rows, weight.cols)));
    }
    be.clip_weight(weight)
}

/// See [`Dense::centre_clips`].
pub fn centre_clips<B: Dense>(
    be: &B,
    out: &mut Tensor<B, f32>,
    features: &Tensor<B, f32>,
    index: &[usize],
    clips: &Clips<B>,
) -> Result<()> {
    let &[rows, bands] = features.shape() else {
        return Err(wrong("centre_clips", "features", "[F, M]".into(), format!("{:?}", features.shape())));
    };
    check("centre_clips", "index", &[index.len()], &[clips.rows()])?;
    check("centre_clips", "out", out.shape(), &[clips.rows(), bands, 1])?;
    if let Some(bad) = index.iter().find(|row| **row >= rows || i32::try_from(**row).is_err()) {
        return Err(wrong("centre_clips", "index", format!("rows below {rows}"), bad.to_string()));
    }
    let index: Vec<i32> = index.iter().map(|row| *row as i32).collect();
    let index = Tensor::from_host(be, &[index.len()], &index)?;
    let _range = range("centre_clips");
    be.centre_clips(out, features, &index, clips)
}

/// See [`Dense::clip_conv2d`].
pub fn clip_conv2d<B: Dense>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    filter: &B::ClipFilter,
    after: ClipAfter<B>,
    clips: &Clips<B>,
) -> Result<()> {
    let shape = be.clip_filter_shape(filter);
    let &[_, bands, _] = x.shape() else {
        return Err(wrong("clip_conv2d", "x", "[R, H, C]".into(), format!("{:?}", x.shape())));
    };
    check("clip_conv2d", "x", x.shape(), &[clips.rows(), bands, shape.inputs])?;
    check("clip_conv2d", "out", out.shape(), &[clips.rows(), shape.out([1, bands])[1], shape.outputs])?;
    if let ClipAfter::AddRelu(other) = &after {
        check("clip_conv2d", "added", other.shape(), out.shape())?;
    }
    let _range = range("clip_conv2d");
    be.clip_conv2d(out, x, filter, after, clips)
}

/// See [`Dense::clip_conv`].
pub fn clip_conv<B: Dense>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    conv: &ClipConv<B>,
    clips: [&Clips<B>; 2],
) -> Result<()> {
    const OP: &str = "clip_conv";
    let &ClipConv { taps, stride, dilation, column, .. } = conv;
    let (n, k) = be.clip_weight_shape(conv.weight);
    let [inputs, outputs] = clips;
    let plain = taps == 1 || conv.before.is_none();
    let odd = taps % 2 == 1 && taps <= MOST_TAPS && k.is_multiple_of(taps);
    if !odd || !plain || stride == 0 || dilation == 0 {
        let got = format!(
            "{taps} taps of {k} columns, stride {stride}, dilation {dilation}, scaled first: {}",
            conv.before.is_some()
        );
        return Err(wrong(OP, "conv", format!("1, 3 or {MOST_TAPS} taps, scaled first with one only"), got));
    }
    let k = k / taps;
    let (&[rows, width], &[out_rows, out_width]) = (x.shape(), out.shape()) else {
        return Err(wrong(OP, "x, out", "[R, K], [R', N]".into(), format!("{:?}, {:?}", x.shape(), out.shape())));
    };
    check(OP, "x", &[rows], &[inputs.rows()])?;
    check(OP, "out", &[out_rows], &[outputs.rows()])?;
    if width < k || column.checked_add(n).is_none_or(|end| end > out_width) {
        let expected = format!("{k} columns of x, {column} + {n} of out");
        return Err(wrong(OP, "x, out", expected, format!("{width}, {out_width}")));
    }
    if !inputs.lengths().map(|length| length.div_ceil(stride)).eq(outputs.lengths()) {
        return Err(wrong(OP, "clips", format!("those of x, every frame of {stride}"), "others".into()));
    }
    for (what, vector) in [("scale", conv.before.map(|b| &b.scale)), ("shift", conv.before.map(|b| &b.shift))] {
        vector.map_or(Ok(()), |vector| check(OP, what, vector.shape(), &[k]))?;
    }
    conv.bias.map_or(Ok(()), |bias| check(OP, "bias", bias.shape(), &[n]))?;
    if let Finish::Gate(gates) = &conv.finish {
        check(OP, "gates", gates.shape(), &[outputs.num_segments(), n])?;
    }
    let _range = range(OP);
    be.clip_conv(out, x, conv, clips)
}

/// See [`Dense::segment_context`].
pub fn segment_context<B: Dense>(be: &B, out: &mut Tensor<B, f32>, x: &Tensor<B, f32>, clips: &Clips<B>) -> Result<()> {
    check("segment_context", "x", x.shape(), &[clips.rows(), x.width()])?;
    check("segment_context", "out", out.shape(), &[clips.num_segments(), x.width()])?;
    let _range = range("segment_context");
    be.segment_context(out, x, clips)
}

/// See [`Dense::clip_statistics`].
pub fn clip_statistics<B: Dense>(be: &B, out: &mut Tensor<B, f32>, x: &Tensor<B, f32>, clips: &Clips<B>) -> Result<()> {
    check("clip_statistics", "x", x.shape(), &[clips.rows(), x.width()])?;
    check("clip_statistics", "out", out.shape(), &[clips.count(), 2, x.width()])?;
    let _range = range("clip_statistics");
    be.clip_statistics(out, x, clips)
}
