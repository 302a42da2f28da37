//! PyanNet: the [`SegmentationOps`] primitives on the CPU.

use rayon::prelude::*;

use super::matrix::WeightType;
use super::{Cpu, Matrix, gemm, lstm, pool_norm};
use crate::engine::segmentation_ops::{Activation, EPS, InstanceNorm, LEAK, Overlap, SegmentationOps};
use crate::engine::weights::HostMatrix;
use crate::engine::{Epilogue, Tensor};
use crate::error::Result;

/// Values per task of an activation function.
const PIECE: usize = 1 << 14;

/// Batch size in windows: a few hundred megabytes.
const WINDOWS: usize = 32;

impl SegmentationOps for Cpu {
    type F32Matrix = Matrix;

    fn window_batch(&self) -> usize {
        WINDOWS
    }

    fn f32_matrix(&self, weight: &HostMatrix) -> Result<Matrix> {
        Ok(Matrix::pack(weight.into(), WeightType::F32, self.level.panel_width()))
    }

    fn f32_matrix_shape(&self, weight: &Matrix) -> (usize, usize) {
        (weight.n, weight.k)
    }

    fn window_affine(
        &self,
        out: &mut Tensor<Self, f32>,
        samples: &Tensor<Self, f32>,
        window: usize,
        step: usize,
        norm: [f32; 2],
    ) -> Result<()> {
        let len = out.len();
        self.threads.run(|| {
            out.buf[..len].par_chunks_exact_mut(2).enumerate().for_each(|(b, out)| {
                out.copy_from_slice(&affine(&samples.buf[b * step..][..window], norm));
            });
        });
        Ok(())
    }

    fn conv1d_f32(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        weight: &Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        activation: Activation,
    ) -> Result<()> {
        let &[_, frames, width] = x.shape() else { return Ok(()) };
        let (out_frames, k, len, rows) = (out.shape()[1], weight.k, out.len(), out.rows());
        let row = |r: usize| &x.buf[(r / out_frames * frames + r % out_frames * stride) * width..][..k];
        let (bias, out) = (bias.map(|b| &b.buf[..weight.n]), &mut out.buf[..len]);
        gemm::gemm(self, row, rows, weight.panels(), bias, Epilogue::Store, out);
        let each = match activation {
            Activation::None => return Ok(()),
            Activation::LeakyRelu => |v: &mut f32| *v = if *v > 0.0 { *v } else { LEAK * *v },
            Activation::Sigmoid => |v: &mut f32| *v = 1.0 / (1.0 + (-*v).exp()),
            Activation::Relu => |v: &mut f32| *v = v.max(0.0),
        };
        self.threads.run(|| out.par_chunks_mut(PIECE).for_each(|piece| piece.iter_mut().for_each(each)));
        Ok(())
    }

    fn pool_norm(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, norm: &InstanceNorm<Self>) -> Result<()> {
        pool_norm::plain(self, out, x, norm);
        Ok(())
    }

    fn overlap_pool_norm(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        norm: &InstanceNorm<Self>,
        windows: &Overlap<Self>,
    ) -> Result<()> {
        pool_norm::overlapping(self, out, x, norm, windows);
        Ok(())
    }

    fn lstm(&self, out: &mut Tensor<Self, f32>, gates: [&mut Tensor<Self, f32>; 2], state: [&Matrix; 2]) -> Result<()> {
        lstm::lstm(self, out, gates, state);
        Ok(())
    }
}

/// Scale and shift that normalise these samples to mean `beta` and standard deviation `gamma`.
fn affine(samples: &[f32], [gamma, beta]: [f32; 2]) -> [f32; 2] {
    let count = samples.len() as f64;
    let mean = samples.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
    let variance = samples.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count;
    let scale = f64::from(gamma) / (variance + f64::from(EPS)).sqrt();
    [scale as f32, (f64::from(beta) - mean * scale) as f32]
}
