//! `attention`: bidirectional self-attention over the frames of each clip, optionally limited to its length.

use super::Cuda;
use super::activation::Bits;
use super::buffer::Buffer;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::error::{Error, Result};

/// Queries per block.
const QUERIES: usize = 64;
/// Largest head dimension: of all attention kernels (`NARROW`), and of `attention_within` (`WIDE`).
pub(super) const NARROW: usize = 64;
const WIDE: usize = 128;

/// See [`TransformerOps::attention`](crate::engine::backend::TransformerOps::attention): `out` `[B, T, C]`, `qkv` `[B,
/// T, 3 C]`. With `lengths` `[B]`, see
/// [`Wav2Vec2Ops::attention_within`](crate::engine::wav2vec2_ops::Wav2Vec2Ops::attention_within).
pub(super) fn attention(
    be: &Cuda,
    out: &mut Tensor<Cuda>,
    qkv: &Tensor<Cuda>,
    heads: usize,
    scale: f32,
    lengths: Option<&Buffer<i32>>,
) -> Result<()> {
    let &[clips, frames, width] = out.shape() else {
        return Err(Error::Shape {
            op: "attention",
            what: "out",
            expected: "[B, T, C]".into(),
            got: format!("{:?}", out.shape()),
        });
    };
    let most = if lengths.is_some() { WIDE } else { NARROW };
    let head_dim = head_dim("attention", width, heads, most)?;
    let len = out.len();
    let kernel = match lengths {
        None => "attention",
        Some(_) if head_dim <= NARROW => "attention_within",
        Some(_) => "attention_within_128",
    };
    let mut launch = be.device.launch(kernel, be.activation.suffix())?;
    launch.grid(frames.div_ceil(QUERIES), heads, clips).block(128);
    launch.output(&mut out.buf, len).input(&qkv.buf, qkv.len());
    if let Some(lengths) = lengths {
        launch.input(lengths, clips);
    }
    launch.int(frames).int(width).int(head_dim).float(scale);
    let work = Work { bytes: (4 * len * size_of::<Bits>()) as u64, flops: 4 * (len * frames) as u64 };
    // SAFETY: (1) out, qkv, [lengths,] frames, width, head_dim, scale, as attention.cu declares them; (2) it touches out
    // [B, T, C], qkv [B, T, 3 C] and lengths [B]; (3) blocks of 64 queries, for each head and clip.
    unsafe { launch.run(work) }
}

/// The head dimension; an error if it is above `most` or not a multiple of 8.
pub(super) fn head_dim(op: &'static str, width: usize, heads: usize, most: usize) -> Result<usize> {
    let head_dim = width / heads.max(1);
    if head_dim > 0 && head_dim <= most && head_dim.is_multiple_of(8) && head_dim * heads == width {
        return Ok(head_dim);
    }
    Err(Error::Shape {
        op,
        what: "head",
        expected: format!("a multiple of 8, at most {most}, on the GPU"),
        got: format!("{width} / {heads} heads"),
    })
}
