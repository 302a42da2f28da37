//! `fbank`: log-mel filterbank features as in Kaldi.

use std::f64::consts::TAU;
use std::sync::Arc;

use super::Cuda;
use super::bands::Bands;
use super::buffer::Buffer;
use super::device::Device;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::error::Result;
use crate::features::fbank::{FFT, FLOOR, FRAME, Fbank, PREEMPHASIS, SHIFT, SPECTRUM};

/// Frames per block; a warp computes each.
const FRAMES: usize = 8;
/// Flops of a frame's transform: 4 passes of 64 butterflies with 3 products and 8 sums of complex numbers, then 256
/// bins.
const FLOPS: usize = 4 * 64 * 34 + 256 * 18;

/// Tables and constants of the features.
pub struct FbankPlan {
    pub(super) bands: Bands,
    gain: f32,
    /// `[FRAME]`
    taper: Buffer<f32>,
    /// `[FFT, 2]`: cosine and sine of `2 pi i / FFT`.
    turn: Buffer<f32>,
}

impl FbankPlan {
    pub(super) fn new(device: &Arc<Device>, options: &Fbank) -> Result<Self> {
        let turn = (0..FFT).flat_map(|i| {
            let (sine, cosine) = (TAU * i as f64 / FFT as f64).sin_cos();
            [cosine as f32, sine as f32]
        });
        Ok(FbankPlan {
            bands: Bands::new(device, &options.filters(), SPECTRUM)?,
            gain: options.gain,
            taper: Buffer::upload(device, &options.taper())?,
            turn: Buffer::upload(device, &turn.collect::<Vec<f32>>())?,
        })
    }
}

/// See [`EmbeddingOps::fbank`](crate::engine::embedding_ops::EmbeddingOps::fbank): `out` `[R, M]`, `samples` `[S]`.
pub(super) fn fbank(
    be: &Cuda,
    out: &mut Tensor<Cuda, f32>,
    samples: &Tensor<Cuda, f32>,
    plan: &FbankPlan,
) -> Result<()> {
    let (rows, bands, len) = (out.rows(), plan.bands.count, out.len());
    let heard = rows.saturating_sub(1) * SHIFT + FRAME;
    let mut launch = be.device.launch("fbank", "")?;
    launch.grid(rows.div_ceil(FRAMES), 1, 1).block(32 * FRAMES);
    launch.output(&mut out.buf, len).input(&samples.buf, heard).input(&plan.taper, FRAME).input(&plan.turn, 2 * FFT);
    plan.bands.arguments(&mut launch);
    launch.long(rows).int(bands).float(plan.gain).float(PREEMPHASIS).float(FLOOR);
    let work = Work { bytes: ((heard + len) * size_of::<f32>()) as u64, flops: (rows * FLOPS) as u64 };
    // SAFETY: (1) out, samples, taper, turn, first, count, offset, weights, rows, bands, gain, preemphasis, floor, as fbank.cu
    // declares them; (2) it touches out [R, M], the samples of R frames, taper [400], turn [512, 2], first, count and offset
    // [M], and the weights these lead to, none of which is of the topmost bin (`Fbank::filters`); (3) a warp for each of R
    // frames.
    unsafe { launch.run(work) }
}
