//! `conv2d`: 2-D convolutions over feature maps `[T, H, C]`.
//!
//! Convolutions of nine taps and stride 1 use [`winograd`]. The others are matrix products over windows: the receptive
//! field of an output has `taps * C` contiguous values in each input row.
//!
//! Journal: docs/kernels/conv2d-cpu.md.

mod winograd;

use rayon::prelude::*;

use super::isa::{Isa, Kernel, Level};
use super::matrix::{PanelData, WeightType};
use super::{Cpu, Matrix};
use crate::engine::Tensor;
use crate::engine::embedding_ops::{Conv2dEpilogue, FilterShape, HostFilter};
use crate::engine::weights::HostMatrix;

/// Approximate number of outputs per task of [`Windows`].
const OUTPUTS_PER_TASK: usize = 480;

/// Weights and bias of a convolution.
pub struct Filter {
    pub(super) shape: FilterShape,
    /// `[O]`
    pub(super) bias: Vec<f32>,
    weights: Weights,
}

enum Weights {
    /// `[O, taps * taps * C]`
    Windows(Matrix),
    /// `[O, C]` for each point of a transformed tile.
    Winograd(Vec<Matrix>),
}

impl Filter {
    pub(super) fn new(cpu: &Cpu, filter: &HostFilter) -> Self {
        let HostFilter { values, bias, shape } = filter;
        let pack = |values: Vec<f32>, cols: usize| {
            let weight = HostMatrix { values, rows: shape.outputs, cols };
            Matrix::pack((&weight).into(), WeightType::F32, panel_width(cpu.level))
        };
        let weights = if shape.taps == 3 && shape.stride == [1, 1] && shape.inputs > 1 {
            let points = winograd::weights(values, shape).into_iter();
            Weights::Winograd(points.map(|values| pack(values, shape.inputs)).collect())
        } else {
            Weights::Windows(pack(values.clone(), shape.taps * shape.taps * shape.inputs))
        };
        Filter { shape: *shape, bias: bias.clone(), weights }
    }
}

/// The epilogue of a [`Piece`]: bias, residual connection and ReLU.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// `[O]`
    pub bias: &'a [f32],
    /// The residual, of the shape of the piece.
    pub added: Option<&'a [f32]>,
    pub relu: bool,
}

impl Finish<'_> {
    /// Stores the channels from `channel` on of one output, whose values begin at `out[at]`.
    #[inline(always)]
    pub fn store<I: Isa>(&self, isa: I, out: &mut [f32], at: usize, sums: &[I::f32s], channel: usize) {
        let channels = (sums.len() * I::F32_LANES).min(self.bias.len() - channel);
        let (bias, _) = I::as_simd_f32s(&self.bias[channel..channel + channels]);
        let (out, _) = I::as_mut_simd_f32s(&mut out[at..at + channels]);
        let added = self.added.map(|added| I::as_simd_f32s(&added[at..at + channels]).0);
        for (i, (out, bias)) in out.iter_mut().zip(bias).enumerate() {
            let mut y = isa.add_f32s(sums[i], *bias);
            if let Some(added) = added {
                y = isa.add_f32s(y, added[i]);
            }
            *out = if self.relu { isa.max_f32s(y, isa.splat_f32s(0.0)) } else { y };
        }
    }
}

/// One task: some output rows of one feature map.
pub(super) struct Piece<'a> {
    /// The input feature map `[T, H, C]`.
    pub x: &'a [f32],
    /// `T`
    pub frames: usize,
    /// `H`
    pub bands: usize,
    /// The first output row.
    pub first: usize,
    /// `[rows, H', O]`
    pub out: &'a mut [f32],
    pub finish: Finish<'a>,
    pub shape: FilterShape,
}

/// See [`EmbeddingOps::conv2d`](crate::engine::embedding_ops::EmbeddingOps::conv2d).
pub(super) fn conv2d(cpu: &Cpu, out: &mut Tensor<Cpu>, x: &Tensor<Cpu>, filter: &Filter, after: &Conv2dEpilogue<Cpu>) {
    let &[batch, frames, ..] = x.shape() else { return };
    feature_maps(cpu, out, x, filter, after, std::iter::repeat_n(frames, batch));
}

/// [`conv2d`] over concatenated feature maps with these numbers of frames: `out` `[.., H', O]`, `x` `[.., H, C]`.
pub(super) fn feature_maps(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    x: &Tensor<Cpu>,
    filter: &Filter,
    after: &Conv2dEpilogue<Cpu>,
    frames: impl Iterator<Item = usize>,
) {
    let (&[.., bands, _], &[.., columns, _]) = (x.shape(), out.shape()) else { return };
    let shape = filter.shape;
    let (row, len) = (columns * shape.outputs, out.len());
    if len == 0 {
        return;
    }
    let added = match after {
        Conv2dEpilogue::AddRelu(added) => Some(&added.buf[..len]),
        Conv2dEpilogue::Store | Conv2dEpilogue::Relu => None,
    };
    let (mut pieces, mut rest, mut begin, mut read) = (Vec::new(), &mut out.buf[..len], 0, 0);
    for frames in frames {
        let [rows, _] = shape.out([frames, bands]);
        let rows_per_piece = match &filter.weights {
            Weights::Windows(_) => OUTPUTS_PER_TASK.div_ceil(columns),
            Weights::Winograd(_) => winograd::rows_per_piece(rows, columns),
        };
        let x = &x.buf[read..][..frames * bands * shape.inputs];
        let (map, others) = rest.split_at_mut(rows * row);
        (rest, read) = (others, read + x.len());
        for (i, out) in map.chunks_mut(rows_per_piece * row).enumerate() {
            let added = added.map(|added| &added[begin..begin + out.len()]);
            let finish = Finish { bias: &filter.bias, added, relu: !matches!(after, Conv2dEpilogue::Store) };
            begin += out.len();
            pieces.push(Piece { x, frames, bands, first: i * rows_per_piece, out, finish, shape });
        }
    }
    let run = |piece: &mut Piece| match &filter.weights {
        Weights::Windows(weight) => cpu.level.run(Windows { piece, weight }),
        Weights::Winograd(points) => winograd::run(cpu.level, piece, points),
    };
    cpu.threads.run(|| pieces.par_iter_mut().with_max_len(1).for_each(run));
}

/// A piece as a matrix product over windows of the input.
struct Windows<'p, 'a> {
    piece: &'p mut Piece<'a>,
    weight: &'p Matrix,
}

impl Kernel for Windows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        if I::F32_LANES == 16 { self.rows::<I, 2, 12>(isa) } else { self.rows::<I, NV, 6>(isa) }
    }
}

impl Windows<'_, '_> {
    #[inline(always)]
    fn rows<I: Isa, const NV: usize, const MR: usize>(self, isa: I) {
        let Piece { x, frames, bands, first, ref mut out, finish, shape } = *self.piece;
        let FilterShape { outputs, taps, inputs, stride } = shape;
        let PanelData::F32(weights) = self.weight.panels().data else { return };
        let (columns, half, run) = (bands.div_ceil(stride[1]), taps / 2, taps * inputs);
        // The input rows of one output row, padded with zeros on both sides.
        let padded_len = (bands + 2 * half) * inputs;
        let mut padded = vec![0.0; taps * padded_len];
        for (t, out) in out.chunks_exact_mut(columns * outputs).enumerate() {
            for (tap, padded) in padded.chunks_exact_mut(padded_len).enumerate() {
                let middle = &mut padded[half * inputs..][..bands * inputs];
                match ((first + t) * stride[0] + tap).checked_sub(half).filter(|row| *row < frames) {
                    Some(row) => middle.copy_from_slice(&x[row * bands * inputs..][..bands * inputs]),
                    None => middle.fill(0.0),
                }
            }
            let finish = Finish { added: finish.added.map(|added| &added[t * columns * outputs..]), ..finish };
            for (panel, weights) in weights.chunks_exact(NV * I::F32_LANES * taps * run).enumerate() {
                for h in (0..columns).step_by(MR) {
                    let mut windows: [[&[f32]; MR]; 3] = [[&[]; MR]; 3];
                    for (tap, windows) in windows[..taps].iter_mut().enumerate() {
                        for (i, window) in windows.iter_mut().enumerate() {
                            let column = (h + i).min(columns - 1);
                            *window = &padded[tap * padded_len + column * stride[1] * inputs..][..run];
                        }
                    }
                    let sums = tile::<I, NV, MR>(isa, &windows[..taps], weights);
                    let channel = panel * NV * I::F32_LANES;
                    for (i, sums) in sums.iter().enumerate().take(columns - h) {
                        finish.store(isa, out, (h + i) * outputs + channel, sums, channel);
                    }
                }
            }
        }
    }
}

/// Output channels per panel, chosen so that the accumulators of [`tile`] fit into the registers.
pub(super) fn panel_width(level: Level) -> usize {
    struct Width;
    impl Kernel for Width {
        type Output = usize;
        #[inline(always)]
        fn run<I: Isa, const NV: usize>(self, _: I) -> usize {
            if I::F32_LANES == 16 { 2 * I::F32_LANES } else { NV * I::F32_LANES }
        }
    }
    level.run(Width)
}

/// `MR` rows times a panel: each sum is one chain of fused multiply-adds over the spans; `weights`
/// `[spans * length, NR]`.
///
/// 12 x 2 vectors with 32 registers, so that a panel has 32 channels; 6 x 2 with 16 registers.
#[inline(always)]
pub(super) fn tile<I: Isa, const NV: usize, const MR: usize>(
    isa: I,
    spans: &[[&[f32]; MR]],
    weights: &[f32],
) -> [[I::f32s; NV]; MR] {
    let mut sums = [[isa.splat_f32s(0.0); NV]; MR];
    let mut weights = I::as_simd_f32s(weights).0.as_chunks::<NV>().0;
    for rows in spans {
        let (block, rest) = weights.split_at(rows[0].len());
        weights = rest;
        // Loops instead of closures, which would not be compiled for the instruction set. The slices have the length of
        // `block`, so that the loop needs no bounds checks.
        let mut x: [&[f32]; MR] = [&[]; MR];
        for i in 0..MR {
            x[i] = &rows[i][..block.len()];
        }
        for (k, block) in block.iter().enumerate() {
            for i in 0..MR {
                let x = isa.splat_f32s(x[i][k]);
                for j in 0..NV {
                    sums[i][j] = isa.mul_add_f32s(x, block[j], sums[i][j]);
                }
            }
        }
    }
    sums
}
