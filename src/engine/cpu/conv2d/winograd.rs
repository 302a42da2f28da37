//! Winograd convolution F(4x4, 3x3), for nine taps and stride 1: a tile of 4 x 4 outputs takes 36 products for each
//! pair of channels instead of 144.
//!
//! Each piece of the output is computed in three steps while it is in the second-level cache: tiles of 6 x 6 inputs are
//! transformed; each of the 36 points is multiplied with the same point of the transformed weights; the sums are
//! transformed back. Tiles are independent, so the result does not depend on the division into pieces.
//!
//! Source: Lavin & Gray 2016 (arXiv:1509.09308), section 4.3. Journal: docs/kernels/conv2d-cpu.md.

use std::cell::Cell;

use super::super::Matrix;
use super::super::aligned::Aligned;
use super::super::isa::{Isa, Kernel, Level};
use super::super::matrix::PanelData;
use super::{Piece, tile};
use crate::engine::embedding_ops::FilterShape;

/// Outputs of a tile in each dimension.
const OUT: usize = 4;
/// Inputs of a tile in each dimension.
const IN: usize = OUT + 2;
/// Points of a transformed tile.
const POINTS: usize = IN * IN;
/// Largest number of tiles per piece: with 64 channels, the transformed tiles fill the second-level cache.
const MOST_TILES: usize = 60;

/// The weight transform, from 3 taps to 6 points.
const WEIGHTS: [[f64; 3]; IN] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// The transformed weights, `[O, C]` for each point, from `[O, 3, 3, C]`.
pub(super) fn weights(values: &[f32], shape: &FilterShape) -> Vec<Vec<f32>> {
    let FilterShape { outputs, inputs, .. } = *shape;
    let point = |p: usize| {
        let (over_time, over_bands) = (WEIGHTS[p / IN], WEIGHTS[p % IN]);
        let value = |at: usize| {
            let taps = (0..9).map(|tap| {
                let value = values[(at / inputs * 9 + tap) * inputs + at % inputs];
                over_time[tap / 3] * over_bands[tap % 3] * f64::from(value)
            });
            taps.sum::<f64>() as f32
        };
        (0..outputs * inputs).map(value).collect()
    };
    (0..POINTS).map(point).collect()
}

/// Output rows per piece, for an output of `rows` by `columns`.
pub(super) fn rows_per_piece(rows: usize, columns: usize) -> usize {
    let per_row = columns.div_ceil(OUT);
    OUT * (MOST_TILES / per_row).clamp(1, rows.div_ceil(OUT))
}

/// Scratch memory, reused by the pieces of a thread.
#[derive(Default)]
struct Scratch {
    /// Transformed inputs, `[36, tiles, C]` with a gap between points.
    transformed: Aligned<f32>,
    /// Sums, `[36, tiles, O]` with a gap between points.
    sums: Aligned<f32>,
    /// A tile padded with zeros at the edge, `[6, 6, C]`.
    edge: Aligned<f32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Stride from point to point: an odd number of cache lines, to avoid cache conflicts between the points of a tile.
fn gapped(values: usize) -> usize {
    ((values / 16) | 1) * 16
}

/// Computes a piece; `points` are the packed [`weights`].
pub(super) fn run(level: Level, piece: &mut Piece, points: &[Matrix]) {
    let FilterShape { outputs, inputs, .. } = piece.shape;
    let per_row = piece.bands.div_ceil(OUT);
    let rows = piece.out.len() / (piece.bands * outputs);
    let tiles = per_row * rows.div_ceil(OUT);
    let mut scratch = SCRATCH.take();
    scratch.transformed.reserve(POINTS * gapped(tiles * inputs));
    scratch.sums.reserve(POINTS * gapped(tiles * outputs));
    scratch.edge.reserve(POINTS * inputs);
    level.run(Tiles { piece, points, scratch: &mut scratch, per_row, rows, tiles });
    SCRATCH.set(scratch);
}

struct Tiles<'p, 'a> {
    piece: &'p mut Piece<'a>,
    points: &'p [Matrix],
    scratch: &'p mut Scratch,
    per_row: usize,
    /// Output rows.
    rows: usize,
    tiles: usize,
}

impl Kernel for Tiles<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(mut self, isa: I) {
        self.transform(isa);
        if I::F32_LANES == 16 {
            self.multiply::<I, 2, 12>(isa)
        } else {
            self.multiply::<I, NV, 6>(isa)
        }
        self.finish(isa);
    }
}

impl Tiles<'_, '_> {
    /// First output row and column of a tile, relative to the first row of the piece.
    #[inline(always)]
    fn place(&self, tile: usize) -> [usize; 2] {
        [tile / self.per_row * OUT, tile % self.per_row * OUT]
    }

    /// Transforms the inputs of all tiles.
    #[inline(always)]
    fn transform<I: Isa>(&mut self, isa: I) {
        let Piece { x, frames, bands, first, .. } = *self.piece;
        let inputs = self.piece.shape.inputs;
        let vectors = inputs / I::F32_LANES;
        let step = gapped(self.tiles * inputs) / I::F32_LANES;
        for tile in 0..self.tiles {
            let [row, column] = self.place(tile);
            // First input row and column, counted from 1; 0 is the padding.
            let (row, inside) = (first + row, |at: usize, size: usize| at > 0 && at + IN <= size + 1);
            let mut rows: [&[I::f32s]; IN] = [&[]; IN];
            if inside(row, frames) && inside(column, bands) {
                for (i, input) in rows.iter_mut().enumerate() {
                    *input = I::as_simd_f32s(&x[((row + i - 1) * bands + column - 1) * inputs..][..IN * inputs]).0;
                }
            } else {
                let edge = &mut self.scratch.edge[..POINTS * inputs];
                for (p, edge) in edge.chunks_exact_mut(inputs).enumerate() {
                    let (t, h) = (row + p / IN, column + p % IN);
                    if (1..=frames).contains(&t) && (1..=bands).contains(&h) {
                        edge.copy_from_slice(&x[((t - 1) * bands + h - 1) * inputs..][..inputs]);
                    } else {
                        edge.fill(0.0);
                    }
                }
                for (i, input) in rows.iter_mut().enumerate() {
                    *input = I::as_simd_f32s(&edge[i * IN * inputs..][..IN * inputs]).0;
                }
            }
            let (transformed, _) = I::as_mut_simd_f32s(&mut self.scratch.transformed[..]);
            for v in 0..vectors {
                transform_tile(isa, &mut transformed[tile * vectors + v..], step, rows, vectors, v);
            }
        }
    }

    /// Multiplies each point with the weights of that point.
    #[inline(always)]
    fn multiply<I: Isa, const NV: usize, const MR: usize>(&mut self, isa: I) {
        let FilterShape { outputs, inputs, .. } = self.piece.shape;
        let (transformed_step, sums_step) = (gapped(self.tiles * inputs), gapped(self.tiles * outputs));
        let transformed = self.scratch.transformed.chunks_exact(transformed_step);
        let sums = self.scratch.sums.chunks_exact_mut(sums_step);
        for ((transformed, sums), weight) in transformed.zip(sums).zip(self.points) {
            let PanelData::F32(weights) = weight.panels().data else { return };
            for (panel, weights) in weights.chunks_exact(NV * I::F32_LANES * inputs).enumerate() {
                let channel = panel * NV * I::F32_LANES;
                let channels = (NV * I::F32_LANES).min(outputs - channel);
                for first in (0..self.tiles).step_by(MR) {
                    let mut rows: [&[f32]; MR] = [&[]; MR];
                    for (i, row) in rows.iter_mut().enumerate() {
                        *row = &transformed[(first + i).min(self.tiles - 1) * inputs..][..inputs];
                    }
                    let found = tile::<I, NV, MR>(isa, &[rows], weights);
                    for (i, found) in found.iter().enumerate().take(self.tiles - first) {
                        let (out, _) = I::as_mut_simd_f32s(&mut sums[(first + i) * outputs + channel..][..channels]);
                        out.iter_mut().zip(found).for_each(|(out, found)| *out = *found);
                    }
                }
            }
        }
    }

    /// Transforms the sums back and applies the epilogue.
    #[inline(always)]
    fn finish<I: Isa>(&mut self, isa: I) {
        let (outputs, bands) = (self.piece.shape.outputs, self.piece.bands);
        let vectors = outputs / I::F32_LANES;
        let step = gapped(self.tiles * outputs) / I::F32_LANES;
        let (sums, _) = I::as_simd_f32s(&self.scratch.sums);
        for tile in 0..self.tiles {
            let [row, column] = self.place(tile);
            for v in 0..vectors {
                let found = finish_tile(isa, &sums[tile * vectors + v..], step);
                for (i, found) in found.iter().enumerate().take(self.rows - row) {
                    for (j, found) in found.iter().enumerate().take(bands - column) {
                        let channel = v * I::F32_LANES;
                        let at = ((row + i) * bands + column + j) * outputs + channel;
                        self.piece.finish.store(isa, self.piece.out, at, &[*found], channel);
                    }
                }
            }
        }
    }
}

/// Transforms vector `v` of the channels of a tile, `rows` `[6][6, vectors]`. The points are `step` apart in
/// `transformed`.
#[inline(always)]
fn transform_tile<I: Isa>(
    isa: I,
    transformed: &mut [I::f32s],
    step: usize,
    rows: [&[I::f32s]; IN],
    vectors: usize,
    v: usize,
) {
    let mut over_bands = [[isa.splat_f32s(0.0); IN]; IN];
    for i in 0..IN {
        let row = &rows[i][v..][..(IN - 1) * vectors + 1];
        let row = [row[0], row[vectors], row[2 * vectors], row[3 * vectors], row[4 * vectors], row[5 * vectors]];
        over_bands[i] = transform_inputs(isa, row);
    }
    let transformed = &mut transformed[..(POINTS - 1) * step + 1];
    for j in 0..IN {
        let [a, b, c, d, e, f] = over_bands;
        let column = transform_inputs(isa, [a[j], b[j], c[j], d[j], e[j], f[j]]);
        for i in 0..IN {
            transformed[(i * IN + j) * step] = column[i];
        }
    }
}

/// Transforms one vector of channels of a tile back; its points are `step` apart in `sums`.
#[inline(always)]
fn finish_tile<I: Isa>(isa: I, sums: &[I::f32s], step: usize) -> [[I::f32s; OUT]; OUT] {
    let sums = &sums[..(POINTS - 1) * step + 1];
    let mut over_bands = [[isa.splat_f32s(0.0); OUT]; IN];
    for i in 0..IN {
        let at = |j: usize| sums[(i * IN + j) * step];
        over_bands[i] = transform_sums(isa, [at(0), at(1), at(2), at(3), at(4), at(5)]);
    }
    let mut out = [[isa.splat_f32s(0.0); OUT]; OUT];
    for j in 0..OUT {
        let [a, b, c, d, e, f] = over_bands;
        let column = transform_sums(isa, [a[j], b[j], c[j], d[j], e[j], f[j]]);
        for i in 0..OUT {
            out[i][j] = column[i];
        }
    }
    out
}

/// `factor * x + y`
#[inline(always)]
fn times<I: Isa>(isa: I, factor: f32, x: I::f32s, y: I::f32s) -> I::f32s {
    isa.mul_add_f32s(isa.splat_f32s(factor), x, y)
}

/// The input transform, from 6 inputs to 6 points.
#[inline(always)]
fn transform_inputs<I: Isa>(isa: I, [x0, x1, x2, x3, x4, x5]: [I::f32s; IN]) -> [I::f32s; IN] {
    let (even, odd) = (times(isa, -4.0, x2, x4), times(isa, -4.0, x1, x3));
    let (even_half, odd_half) = (isa.sub_f32s(x4, x2), isa.sub_f32s(x3, x1));
    [
        times(isa, 4.0, x0, times(isa, -5.0, x2, x4)),
        isa.add_f32s(even, odd),
        isa.sub_f32s(even, odd),
        times(isa, 2.0, odd_half, even_half),
        times(isa, -2.0, odd_half, even_half),
        times(isa, 4.0, x1, times(isa, -5.0, x3, x5)),
    ]
}

/// The output transform, from 6 points to 4 outputs.
#[inline(always)]
fn transform_sums<I: Isa>(isa: I, [y0, y1, y2, y3, y4, y5]: [I::f32s; IN]) -> [I::f32s; OUT] {
    let (even, odd) = (isa.add_f32s(y1, y2), isa.sub_f32s(y1, y2));
    let (even_far, odd_far) = (isa.add_f32s(y3, y4), isa.sub_f32s(y3, y4));
    [
        isa.add_f32s(y0, isa.add_f32s(even, even_far)),
        times(isa, 2.0, odd_far, odd),
        times(isa, 4.0, even_far, even),
        isa.add_f32s(y5, times(isa, 8.0, odd_far, odd)),
    ]
}
