//! [`Clips`]: the row offsets of clips of different lengths that are concatenated without padding.

use super::device::Device;
use super::host;
use super::shape::wrong;
use super::tensor::Tensor;
use crate::error::Result;

/// Frames per segment in segment pooling: the context of a frame is its segment's mean plus its clip's. The last
/// segment of a clip may be shorter. Source: 3D-Speaker `models/campplus/layers.py::CAMLayer.seg_pooling`.
pub const SEGMENT: usize = 100;

/// The row offsets of concatenated clips of different lengths.
pub struct Clips<B: Device> {
    /// `[N + 1]` the first row of each clip, then the number of rows.
    starts: Vec<usize>,
    /// `[N + 1]` the first segment of each clip, then the number of segments.
    segments: Vec<usize>,
    /// `[N + 1]` a copy of `starts`.
    pub(in crate::engine) starts_on_device: Tensor<B, i32>,
    /// `[N + 1]` a copy of `segments`.
    pub(in crate::engine) segments_on_device: Tensor<B, i32>,
    /// `[R]` the clip of each row.
    pub(in crate::engine) clip_of_row: Tensor<B, i32>,
}

impl<B: Device> Clips<B> {
    /// The offsets of clips with these numbers of frames, each at least 1.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a clip without frames, or 2^31 rows or more.
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

    /// `R`: number of frames of all clips.
    pub fn rows(&self) -> usize {
        self.starts[self.count()]
    }

    /// `S`: number of segments of all clips.
    pub fn num_segments(&self) -> usize {
        self.segments[self.count()]
    }

    /// The first row of each clip, then the number of rows: `[N + 1]`.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The first segment of each clip, then the number of segments: `[N + 1]`.
    pub fn segments(&self) -> &[usize] {
        &self.segments
    }

    /// The number of frames of each clip.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.starts.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// The clips after a layer with this stride: every `stride`-th frame.
    ///
    /// # Errors
    /// Those of the device.
    pub fn strided(&self, be: &B, stride: usize) -> Result<Self> {
        Self::new(be, &self.lengths().map(|length| length.div_ceil(stride)).collect::<Vec<usize>>())
    }

    /// A copy on the host device.
    pub(super) fn on_host(&self, be: &B) -> Result<Clips<B::Host>> {
        Clips::new(host::of(be)?, &self.lengths().collect::<Vec<usize>>())
    }
}
