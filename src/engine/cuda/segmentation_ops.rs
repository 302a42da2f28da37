//! The primitives of [`SegmentationOps`] (PyanNet: SincNet and LSTM). Each is one launch, all in f32.

use super::Cuda;
use super::buffer::Buffer;
use super::driver::refuse;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::engine::segmentation_ops::{Activation, EPS, InstanceNorm, LEAK, Overlap, SegmentationOps};
use crate::engine::weights::HostMatrix;
use crate::error::Result;

/// Rows and features per block of `conv1d_f32`.
const TILE: [usize; 2] = [128, 64];
/// Constants of `lstm`: units, clips per block, and shared memory in bytes: 44 of the 128 weights of each of the 512
/// gate rows, and two states of each clip.
const HIDDEN: usize = 128;
const CLIPS: usize = 8;
const LSTM_SHARED: usize = (44 * 4 * HIDDEN + 2 * CLIPS * HIDDEN) * size_of::<f32>();

/// Windows of 10 s per batch. The LSTM has a block for eight windows and one direction, so this fills nearly all of the
/// 132 multiprocessors of an H100; it takes about 3 GB.
const WINDOWS: usize = 512;

/// A row-major f32 weight `[N, K]`.
pub struct F32Matrix {
    pub(super) values: Buffer<f32>,
    n: usize,
    k: usize,
}

impl SegmentationOps for Cuda {
    type F32Matrix = F32Matrix;

    fn window_batch(&self) -> usize {
        WINDOWS
    }

    fn f32_matrix(&self, weight: &HostMatrix) -> Result<F32Matrix> {
        let mut values = Buffer::uninitialised(&self.device, weight.values.len())?;
        values.write(0, &weight.values)?;
        Ok(F32Matrix { values, n: weight.rows, k: weight.cols })
    }

    fn f32_matrix_shape(&self, weight: &F32Matrix) -> (usize, usize) {
        (weight.n, weight.k)
    }

    fn window_affine(
        &self,
        out: &mut Tensor<Self, f32>,
        samples: &Tensor<Self, f32>,
        window: usize,
        step: usize,
        [gamma, beta]: [f32; 2],
    ) -> Result<()> {
        let (windows, len) = (out.rows(), samples.len());
        let mut launch = self.device.launch("window_affine", "")?;
        launch.grid(windows, 1, 1).block(256).output(&mut out.buf, 2 * windows).input(&samples.buf, len);
        launch.int(window).long(step).float(gamma).float(beta).float(EPS);
        // SAFETY: (1) out, samples, window, step, gamma, beta, eps, as window_affine.cu declares them; (2) it touches out
        // [B, 2] and the windows, which segmentation_ops.rs compared with the samples; (3) a block for each window.
        unsafe { launch.run(Work::bytes(2 * windows * window * size_of::<f32>())) }
    }

    fn conv1d_f32(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        weight: &F32Matrix,
        bias: Option<&Tensor<Self, f32>>,
        stride: usize,
        activation: Activation,
    ) -> Result<()> {
        let &[_, frames, width] = x.shape() else { return Ok(()) };
        let (rows, len, F32Matrix { values, n, k }) = (out.rows(), out.len(), weight);
        let mut launch = self.device.launch("conv1d_f32", "")?;
        launch.grid(n.div_ceil(TILE[1]), rows.div_ceil(TILE[0]), 1).block(256);
        launch.output(&mut out.buf, len).input(&x.buf, x.len()).input(values, n * k);
        launch.optional(bias.map(|bias| &bias.buf), *n).long(rows).int(*n).int(*k).int(out.shape()[1]);
        launch.long(frames * width).long(stride * width);
        launch.int(match activation {
            Activation::None => 0,
            Activation::LeakyRelu => 1,
            Activation::Sigmoid => 2,
            Activation::Relu => 3,
        });
        launch.float(LEAK);
        let bytes = ((len + x.len() + n * k) * size_of::<f32>()) as u64;
        // SAFETY: (1) out, x, w, bias, rows, features, width, out_frames, clip, hop, activation, leak, as conv1d_f32.cu declares
        // them; (2) it touches out [B, T, N], x [B, F, C], w [N, K], bias [N], and no frame outside of its clip, which
        // segmentation_ops.rs checked; (3) tiles of 128 rows x 64 features cover [B T, N].
        unsafe { launch.run(Work { bytes, flops: 2 * (len * k) as u64 }) }
    }

    fn pool_norm(&self, out: &mut Tensor<Self, f32>, x: &Tensor<Self, f32>, norm: &InstanceNorm<Self>) -> Result<()> {
        let &[batch, frames, width] = out.shape() else { return Ok(()) };
        let (len, bytes) = (out.len(), (x.len() + 3 * out.len()) * size_of::<f32>());
        let mut launch = self.device.launch("pool_norm", "")?;
        launch.grid(width.div_ceil(32), batch, 1).block(256).output(&mut out.buf, len).input(&x.buf, x.len());
        launch.input(&norm.gamma.buf, width).input(&norm.beta.buf, width);
        launch.int(frames).int(x.shape()[1]).int(width).float(EPS).float(LEAK);
        // SAFETY: (1) out, x, gamma, beta, frames, clip, width, eps, leak, as pool_norm.cu declares them; (2) it touches out
        // [B, F / 3, C], x [B, F, C], gamma, beta [C]; (3) blocks of 32 channels of a clip cover [B, C].
        unsafe { launch.run(Work::bytes(bytes)) }
    }

    fn overlap_pool_norm(
        &self,
        out: &mut Tensor<Self, f32>,
        x: &Tensor<Self, f32>,
        norm: &InstanceNorm<Self>,
        windows: &Overlap<Self>,
    ) -> Result<()> {
        let &[batch, frames, width] = out.shape() else { return Ok(()) };
        let (len, bytes) = (out.len(), (x.len() + 3 * out.len()) * size_of::<f32>());
        let mut launch = self.device.launch("overlap_pool_norm", "")?;
        launch.grid(width.div_ceil(32), batch, 1).block(256).output(&mut out.buf, len).input(&x.buf, x.len());
        launch.input(&norm.gamma.buf, width).input(&norm.beta.buf, width);
        launch.input(&windows.affine.buf, 2 * batch).input(&windows.sums.buf, width);
        launch.int(frames).int(windows.hop).int(width).float(EPS).float(LEAK);
        // SAFETY: (1) out, x, gamma, beta, affine, sums, frames, hop, width, eps, leak, as pool_norm.cu declares them; (2) it
        // touches out [B, F / 3, C], gamma, beta, sums [C], affine [B, 2], and the windows of x, which segmentation_ops.rs compared with
        // its rows; (3) blocks of 32 channels of a window cover [B, C].
        unsafe { launch.run(Work::bytes(bytes)) }
    }

    fn lstm(
        &self,
        out: &mut Tensor<Self, f32>,
        [forward, backward]: [&mut Tensor<Self, f32>; 2],
        state: [&F32Matrix; 2],
    ) -> Result<()> {
        let &[batch, frames, width] = out.shape() else { return Ok(()) };
        if width != 2 * HIDDEN {
            return Err(refuse(
                "lstm",
                format!("has {HIDDEN} units on a GPU, and this network {}; use the CPU", width / 2),
            ));
        }
        let (len, gates) = (out.len(), forward.len());
        let mut launch = self.device.launch("lstm", "")?;
        launch.grid(batch.div_ceil(CLIPS), 2, 1).block(4 * HIDDEN).shared(LSTM_SHARED);
        launch.output(&mut out.buf, len).input(&forward.buf, gates).input(&backward.buf, gates);
        for state in state {
            launch.input(&state.values, 4 * HIDDEN * HIDDEN);
        }
        launch.int(batch).int(frames);
        let bytes = ((len + 2 * gates) * size_of::<f32>()) as u64;
        let flops = 2 * (2 * gates * HIDDEN) as u64;
        // SAFETY: (1) out, forward, backward, w_forward, w_backward, batch, frames, as lstm.cu declares them; (2) it touches out
        // [B, T, 256], both gates [B, T, 512], both weights [512, 128], whose shapes segmentation_ops.rs checked; (3) blocks of 8 clips
        // and a direction cover B, and LSTM_SHARED is what the kernel's constants add up to.
        unsafe { launch.run(Work { bytes, flops }) }
    }
}
