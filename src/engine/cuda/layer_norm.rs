//! `layer_norm` and `layer_norm_gelu`: normalises each row to mean 0 and variance 1, then applies `gamma` and `beta`.

use super::Cuda;
use super::activation::Bits;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::error::Result;

/// See [`TransformerOps::layer_norm`](crate::engine::backend::TransformerOps::layer_norm) and
/// [`Wav2Vec2Ops::layer_norm_gelu`](crate::engine::wav2vec2_ops::Wav2Vec2Ops::layer_norm_gelu); `kernel` is one of the
/// two names.
pub(super) fn run(
    be: &Cuda,
    kernel: &'static str,
    out: &mut Tensor<Cuda>,
    x: &Tensor<Cuda>,
    gamma: &Tensor<Cuda, f32>,
    beta: &Tensor<Cuda, f32>,
    eps: f32,
) -> Result<()> {
    let (rows, width) = (x.rows(), x.width());
    let len = out.len();
    let mut launch = be.device.launch(kernel, be.activation.suffix())?;
    launch.grid(rows.div_ceil(8), 1, 1).block(256);
    launch.output(&mut out.buf, len).input(&x.buf, len).input(&gamma.buf, width).input(&beta.buf, width);
    launch.int(rows).int(width).float(eps);
    // SAFETY: (1) out, x, gamma, beta, rows, width, eps, as layer_norm.cu declares them; (2) it touches out, x [R, C],
    // gamma, beta [C]; (3) blocks of 8 rows cover them.
    unsafe { launch.run(Work::bytes(2 * len * size_of::<Bits>() + 2 * width * size_of::<f32>())) }
}
