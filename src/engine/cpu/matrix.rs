//! Packed weights for the matrix product: panels of `NR` output features, `K` rows of `NR` values each, so that a panel
//! is read sequentially.

use bytemuck::Zeroable;
use half::f16;

use super::aligned::Aligned;

use crate::engine::weights::{HostInt8, HostMatrix, WeightRef};

/// The storage type of weights. Products are always computed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightType {
    /// f16 for a matrix whose values can all be represented exactly in f16, f32 for any other. Published Whisper
    /// checkpoints are exact in f16: half the memory traffic, identical results. 8-bit weights stay 8-bit.
    #[default]
    Auto,
    /// f32.
    F32,
    /// f16, rounded to nearest.
    F16,
    /// 8-bit integers with one scale per output feature: those of the checkpoint, or `round(127 w / max |w|)`.
    Int8,
}

/// A weight `[N, K]` in panels.
pub struct Matrix {
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) nr: usize,
    storage: Storage,
}

enum Storage {
    F32(Aligned<f32>),
    F16(Aligned<f16>),
    Int8 { values: Aligned<i8>, scales: Vec<f32> },
}

/// A borrowed `[N, K]` operand in panels: `[ceil(N / NR), K, NR]`, the last panel padded with zeros.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    /// `N`: output features.
    pub n: usize,
    /// `K`: input features.
    pub k: usize,
    /// `NR`: output features per panel.
    pub nr: usize,
    /// The values.
    pub data: PanelData<'a>,
}

/// The values of [`Panels`].
#[derive(Clone, Copy)]
pub(super) enum PanelData<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    /// Value = `values * scales[n]`.
    Int8 {
        values: &'a [i8],
        scales: &'a [f32],
    },
}

impl Matrix {
    /// Packs a weight into panels of `nr` output features.
    pub(super) fn pack(weight: WeightRef, kind: WeightType, nr: usize) -> Self {
        match (weight, kind) {
            (WeightRef::Float(weight), _) => Self::pack_float(weight, kind, nr),
            (WeightRef::Int8(weight), WeightType::Auto | WeightType::Int8) => Self::pack_int8(weight, nr),
            (WeightRef::Int8(weight), _) => Self::pack_float(&weight.to_float(), kind, nr),
        }
    }

    fn pack_int8(weight: &HostInt8, nr: usize) -> Self {
        let (n, k) = (weight.rows, weight.cols);
        let values = panels(n, k, nr, |n, k_index| weight.values[n * k + k_index]);
        Matrix { n, k, nr, storage: Storage::Int8 { values, scales: weight.scales.clone() } }
    }

    fn pack_float(weight: &HostMatrix, kind: WeightType, nr: usize) -> Self {
        let (n, k, values) = (weight.rows, weight.cols, &weight.values);
        let kind = match kind {
            WeightType::Auto if values.iter().all(|v| f16::from_f32(*v).to_f32() == *v) => WeightType::F16,
            WeightType::Auto => WeightType::F32,
            given => given,
        };
        let storage = match kind {
            WeightType::F16 => Storage::F16(panels(n, k, nr, |n, k_index| f16::from_f32(values[n * k + k_index]))),
            WeightType::Int8 => {
                let scales: Vec<f32> = values.chunks_exact(k).map(|row| absmax(row) / 127.0).collect();
                let quantise = |n: usize, k_index: usize| {
                    let scale = scales[n];
                    if scale > 0.0 { (values[n * k + k_index] / scale).round() as i8 } else { 0 }
                };
                Storage::Int8 { values: panels(n, k, nr, quantise), scales }
            }
            _ => Storage::F32(panels(n, k, nr, |n, k_index| values[n * k + k_index])),
        };
        Matrix { n, k, nr, storage }
    }

    pub(super) fn panels(&self) -> Panels<'_> {
        let data = match &self.storage {
            Storage::F32(values) => PanelData::F32(values),
            Storage::F16(values) => PanelData::F16(values),
            Storage::Int8 { values, scales } => PanelData::Int8 { values, scales },
        };
        Panels { n: self.n, k: self.k, nr: self.nr, data }
    }

    /// Copies row `n` of the weight, as f32, to `out` `[K]`.
    pub(super) fn read_row(&self, n: usize, out: &mut [f32]) {
        let first = n / self.nr * self.nr * self.k + n % self.nr;
        for (k, o) in out.iter_mut().enumerate() {
            let at = first + k * self.nr;
            *o = match &self.storage {
                Storage::F32(values) => values[at],
                Storage::F16(values) => values[at].to_f32(),
                Storage::Int8 { values, scales } => f32::from(values[at]) * scales[n],
            };
        }
    }
}

fn absmax(row: &[f32]) -> f32 {
    row.iter().fold(0.0, |max, v| max.max(v.abs()))
}

/// Packs panels `[ceil(N / NR), K, NR]` of the values `value(n, k)`.
fn panels<T: Zeroable + Copy>(n: usize, k: usize, nr: usize, value: impl Fn(usize, usize) -> T) -> Aligned<T> {
    let mut out = Aligned::zeros(n.div_ceil(nr) * nr * k);
    for (panel_index, panel) in out.chunks_exact_mut(nr * k).enumerate() {
        let first = panel_index * nr;
        for j in 0..nr.min(n - first) {
            for k_index in 0..k {
                panel[k_index * nr + j] = value(first + j, k_index);
            }
        }
    }
    out
}
