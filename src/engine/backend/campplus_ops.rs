//! Primitives of CAM++ speaker embeddings (a densely connected time-delay network): the [`CampplusOps`] trait.
//!
//! All arithmetic is f32, because embeddings are compared with a threshold.
//!
//! Clips of different lengths are concatenated without padding: a tensor `[R, C]` has one row per frame of every clip,
//! see [`Clips`]. Each layer of a dense block appends its channels to those of the layers before. The tensor of a block
//! is allocated as wide as its result; a layer reads the first columns and writes the next ones.
//!
//! The free functions check every shape once.

pub use super::clips::{Clips, SEGMENT};
use super::device::Device;
use super::filter::{CHANNEL_STEP, FilterShape, HostFilter};
use super::host::{self, HostForm};
use super::shape::{check, wrong};
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::engine::weights::HostMatrix;
use crate::error::Result;

/// Largest number of taps over time of a [`ClipConv`].
pub const MAX_TAPS: usize = 5;

/// A batch norm at inference: scale and shift of each channel.
pub struct Affine<B: Device> {
    /// `[K]`
    pub scale: Tensor<B, f32>,
    /// `[K]`
    pub shift: Tensor<B, f32>,
}

impl<B: Device> Affine<B> {
    /// A copy on the host device.
    fn on_host(&self, be: &B) -> Result<Affine<B::Host>> {
        Ok(Affine { scale: host::copy(be, &self.scale)?, shift: host::copy(be, &self.shift)? })
    }
}

/// The epilogue of [`ClipConv`], applied after the bias.
pub enum ClipConvEpilogue<'a, B: Device> {
    /// None.
    Store,
    /// ReLU.
    Relu,
    /// Multiplication with gates `[S, N]`: each row with the gate of its segment.
    Gate(&'a Tensor<B, f32>),
}

/// A 1-D convolution over time, padded with `dilation * (taps / 2)` zeros at both ends of each clip.
pub struct ClipConv<'a, B: CampplusOps> {
    /// `[N, W * K]`: tap by tap, channels contiguous within a tap; `W` odd, [`MAX_TAPS`] at most.
    pub weight: &'a B::ClipWeight,
    /// `W`
    pub taps: usize,
    /// Stride in frames of `x`.
    pub stride: usize,
    /// Dilation: frames of `x` from tap to tap.
    pub dilation: usize,
    /// Batch norm and ReLU applied to `x` first; with one tap only.
    pub before: Option<&'a Affine<B>>,
    /// `[N]`
    pub bias: Option<&'a Tensor<B, f32>>,
    /// The epilogue.
    pub finish: ClipConvEpilogue<'a, B>,
    /// First of the `N` columns of the output tensor that are written.
    pub column: usize,
}

/// Layers of CAM++. The default bodies run on [`Device::Host`].
pub trait CampplusOps: Device {
    /// Weights and bias of a 2-D convolution, in f32.
    type ClipFilter: HostForm<<Self::Host as CampplusOps>::ClipFilter>;
    /// A weight of [`ClipConv`], in f32.
    type ClipWeight: HostForm<<Self::Host as CampplusOps>::ClipWeight>;
    /// Batch size in frames of features: enough to keep the device busy, few enough for its memory.
    fn clip_frames(&self) -> usize {
        host::of(self).map_or(1, |host| host.clip_frames())
    }
    /// Prepares a 2-D convolution. Its sizes were checked.
    fn clip_filter(&self, filter: &HostFilter) -> Result<Self::ClipFilter> {
        host::prepared(host::of(self)?.clip_filter(filter)?)
    }
    /// The sizes of a prepared convolution.
    fn clip_filter_shape(&self, filter: &Self::ClipFilter) -> FilterShape {
        host::of(self).and_then(|host| Ok(host.clip_filter_shape(host::form(filter)?))).unwrap_or_default()
    }
    /// Prepares a weight `[N, W * K]`.
    fn clip_weight(&self, weight: &HostMatrix) -> Result<Self::ClipWeight> {
        host::prepared(host::of(self)?.clip_weight(weight)?)
    }
    /// `(N, W * K)` of a prepared weight.
    fn clip_weight_shape(&self, weight: &Self::ClipWeight) -> (usize, usize) {
        host::of(self).and_then(|host| Ok(host.clip_weight_shape(host::form(weight)?))).unwrap_or_default()
    }
    /// Gathers clips of features and subtracts each band's mean over the clip: `out` `[R, M, 1]`, row `r` from row
    /// `index[r]` of `features` `[F, M]`. The mean is summed in f32 or wider, in an order that depends only on the
    /// length of the clip.
    fn centre_clips(
        &self,
        out: &mut Tensor<Self, f32>,
        features: &Tensor<Self, f32>,
        index: &Tensor<Self, i32>,
        clips: &Clips<Self>,
    ) -> Result<()> {
        let (features, index, clips) = (host::copy(self, features)?, host::copy(self, index)?, clips.on_host(self)?);
        host::update(self, out, |host, out| host.centre_clips(out, &features, &index, &clips))
    }
    /// 2-D convolution over each clip, padded with `taps / 2` zeros on all sides of the clip: `out`
    /// `[R, H / stride, O]` (rounded up), `x` `[R, H, C]`; a tensor added by `after` has the shape of `out`.
    fn clip_conv2d(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        filter: &Self::ClipFilter,
        after: ClipConv2dEpilogue<Self>,
        clips: &Clips<Self>,
    ) -> Result<()> {
        let (x, clips) = (host::copy(self, x)?, clips.on_host(self)?);
        let added = match &after {
            ClipConv2dEpilogue::AddRelu(added) => Some(host::copy(self, added)?),
            _ => None,
        };
        host::update(self, out, |host, out| {
            let after = match (&after, &added) {
                (_, Some(added)) => ClipConv2dEpilogue::AddRelu(added),
                (ClipConv2dEpilogue::Relu, _) => ClipConv2dEpilogue::Relu,
                _ => ClipConv2dEpilogue::Store,
            };
            host.clip_conv2d(out, &x, host::form(filter)?, after, &clips)
        })
    }
    /// 1-D convolution over time: columns `column .. column + N` of `out` `[R', _]` from the first `K` columns of `x`
    /// `[R, _]`; `clips` are those of `x` and those of `out`.
    fn clip_conv(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        conv: &ClipConv<Self>,
        clips: [&Clips<Self>; 2],
    ) -> Result<()> {
        clip_conv_on_host(self, out, x, conv, clips)
    }
    /// Segment pooling: the mean of each segment's frames plus the mean of its clip's frames: `out` `[S, K]`, `x`
    /// `[R, K]`.
    fn segment_context(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, clips: &Clips<Self>) -> Result<()> {
        let (x, clips) = (host::copy(self, x)?, clips.on_host(self)?);
        host::update(self, out, |host, out| host.segment_context(out, &x, &clips))
    }
    /// Statistics pooling: mean and standard deviation over the frames of each clip: `out` `[N, 2, K]`, `x` `[R, K]`.
    /// The variance is divided by the number of frames minus one, so the deviations of a clip of one frame are NaN.
    fn clip_statistics(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, clips: &Clips<Self>) -> Result<()> {
        let (x, clips) = (host::copy(self, x)?, clips.on_host(self)?);
        host::update(self, out, |host, out| host.clip_statistics(out, &x, &clips))
    }
}

/// The epilogue of [`CampplusOps::clip_conv2d`], applied after the bias.
pub enum ClipConv2dEpilogue<'a, B: Device> {
    /// None.
    Store,
    /// ReLU.
    Relu,
    /// Adds a tensor of the same shape (the residual connection), then ReLU.
    AddRelu(&'a Tensor<B, f32>),
}

/// [`CampplusOps::clip_conv`] on the host device.
fn clip_conv_on_host<B: CampplusOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    conv: &ClipConv<B>,
    [inputs, outputs]: [&Clips<B>; 2],
) -> Result<()> {
    let (x, inputs, outputs) = (host::copy(be, x)?, inputs.on_host(be)?, outputs.on_host(be)?);
    let bias = host::copy_option(be, conv.bias)?;
    let before = conv.before.map(|norm| norm.on_host(be)).transpose()?;
    let gates = match &conv.finish {
        ClipConvEpilogue::Gate(gates) => Some(host::copy(be, gates)?),
        _ => None,
    };
    let finish = match (&conv.finish, &gates) {
        (_, Some(gates)) => ClipConvEpilogue::Gate(gates),
        (ClipConvEpilogue::Relu, _) => ClipConvEpilogue::Relu,
        _ => ClipConvEpilogue::Store,
    };
    let conv = ClipConv {
        weight: host::form(conv.weight)?,
        taps: conv.taps,
        stride: conv.stride,
        dilation: conv.dilation,
        before: before.as_ref(),
        bias: bias.as_ref(),
        finish,
        column: conv.column,
    };
    host::update(be, out, |host, out| host.clip_conv(out, &x, &conv, [&inputs, &outputs]))
}

/// See [`CampplusOps::clip_filter`].
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for sizes that are not supported.
pub fn clip_filter<B: CampplusOps>(be: &B, filter: &HostFilter) -> Result<B::ClipFilter> {
    let FilterShape { outputs, taps, inputs, stride } = filter.shape;
    let is_multiple = |channels: usize| channels > 0 && channels.is_multiple_of(CHANNEL_STEP);
    let is_single = inputs == 1 && taps == 3 && stride == [1, 1];
    let are_channels_valid = is_multiple(outputs) && (is_multiple(inputs) || is_single);
    if !are_channels_valid || !matches!(taps, 1 | 3) || !matches!(stride, [1, 1 | 2]) {
        let expected =
            format!("1 or 3 taps, stride 1 over time, 1 or 2 over frequency, channels in steps of {CHANNEL_STEP}");
        return Err(wrong("clip_filter", "weight", expected, format!("{:?}", filter.shape)));
    }
    check("clip_filter", "values", &[filter.values.len()], &[outputs * taps * taps * inputs])?;
    check("clip_filter", "bias", &[filter.bias.len()], &[outputs])?;
    be.clip_filter(filter)
}

/// See [`CampplusOps::clip_weight`].
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for a weight without rows or columns.
pub fn clip_weight<B: CampplusOps>(be: &B, weight: &HostMatrix) -> Result<B::ClipWeight> {
    check("clip_weight", "values", &[weight.values.len()], &[weight.rows * weight.cols])?;
    if weight.values.is_empty() {
        return Err(wrong("clip_weight", "weight", "[N, W K]".into(), format!("[{}, {}]", weight.rows, weight.cols)));
    }
    be.clip_weight(weight)
}

/// See [`CampplusOps::centre_clips`].
pub fn centre_clips<B: CampplusOps>(
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

/// See [`CampplusOps::clip_conv2d`].
pub fn clip_conv2d<B: CampplusOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    filter: &B::ClipFilter,
    after: ClipConv2dEpilogue<B>,
    clips: &Clips<B>,
) -> Result<()> {
    let shape = be.clip_filter_shape(filter);
    let &[_, bands, _] = x.shape() else {
        return Err(wrong("clip_conv2d", "x", "[R, H, C]".into(), format!("{:?}", x.shape())));
    };
    check("clip_conv2d", "x", x.shape(), &[clips.rows(), bands, shape.inputs])?;
    check("clip_conv2d", "out", out.shape(), &[clips.rows(), shape.out([1, bands])[1], shape.outputs])?;
    if let ClipConv2dEpilogue::AddRelu(other) = &after {
        check("clip_conv2d", "added", other.shape(), out.shape())?;
    }
    let _range = range("clip_conv2d");
    be.clip_conv2d(out, x, filter, after, clips)
}

/// See [`CampplusOps::clip_conv`].
pub fn clip_conv<B: CampplusOps>(
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
    let is_norm_allowed = taps == 1 || conv.before.is_none();
    let are_taps_valid = taps % 2 == 1 && taps <= MAX_TAPS && k.is_multiple_of(taps);
    if !are_taps_valid || !is_norm_allowed || stride == 0 || dilation == 0 {
        let got = format!(
            "{taps} taps of {k} columns, stride {stride}, dilation {dilation}, scaled first: {}",
            conv.before.is_some()
        );
        return Err(wrong(OP, "conv", format!("1, 3 or {MAX_TAPS} taps, scaled first with one only"), got));
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
    if let ClipConvEpilogue::Gate(gates) = &conv.finish {
        check(OP, "gates", gates.shape(), &[outputs.num_segments(), n])?;
    }
    let _range = range(OP);
    be.clip_conv(out, x, conv, clips)
}

/// See [`CampplusOps::segment_context`].
pub fn segment_context<B: CampplusOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    clips: &Clips<B>,
) -> Result<()> {
    check("segment_context", "x", x.shape(), &[clips.rows(), x.width()])?;
    check("segment_context", "out", out.shape(), &[clips.num_segments(), x.width()])?;
    let _range = range("segment_context");
    be.segment_context(out, x, clips)
}

/// See [`CampplusOps::clip_statistics`].
pub fn clip_statistics<B: CampplusOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    x: &Tensor<B, f32>,
    clips: &Clips<B>,
) -> Result<()> {
    check("clip_statistics", "x", x.shape(), &[clips.rows(), x.width()])?;
    check("clip_statistics", "out", out.shape(), &[clips.count(), 2, x.width()])?;
    let _range = range("clip_statistics");
    be.clip_statistics(out, x, clips)
}
