//! Weights and sizes of 2-D convolutions over spectrograms.

/// Numbers of output channels, and of input channels unless there is only one, are multiples of this.
pub const CHANNEL_STEP: usize = 16;
/// Sizes of a 2-D convolution over a spectrogram `[frames, bands]`, padded with `taps / 2` zeros on all sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterShape {
    /// `O`: output channels, a multiple of [`CHANNEL_STEP`].
    pub outputs: usize,
    /// 3 or 1, over time and over frequency.
    pub taps: usize,
    /// `C`: input channels, a multiple of [`CHANNEL_STEP`], or 1 (only with 3 taps and stride 1).
    pub inputs: usize,
    /// Stride over time, and over frequency: 1 or 2 each.
    pub stride: [usize; 2],
}

impl FilterShape {
    /// Frames and bands of the output, from those of the input.
    pub fn out(&self, [frames, bands]: [usize; 2]) -> [usize; 2] {
        [frames.div_ceil(self.stride[0]), bands.div_ceil(self.stride[1])]
    }
}

/// The weights of a 2-D convolution on the host, with the batch norm that follows it folded in.
pub struct HostFilter {
    /// `[O, taps, taps, C]`: taps over time, then over frequency.
    pub values: Vec<f32>,
    /// `[O]`
    pub bias: Vec<f32>,
    /// The sizes.
    pub shape: FilterShape,
}
