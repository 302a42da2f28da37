//! `attention`: every frame of a clip attends to all of them.

use super::buffer::Buffer;
use super::{Activation, Cuda, head_dim};
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::error::Result;

/// Queries of a block.
const QUERIES: usize = 64;

/// See [`Backend::attention`](crate::engine::Backend::attention): `out` `[B, T, C]`, `qkv` `[B, T, 3 C]`. With `lengths` `[B]`, see
/// [`Waveform::attention_within`](crate::engine::waveform::Waveform::attention_within).
pub(super) fn attention<A: Activation>(
    be: &Cuda<A>,
    out: &mut Tensor<Cuda<A>>,
    qkv: &Tensor<Cuda<A>>,
    heads: usize,
    scale: f32,
    lengths: Option<&Buffer<i32>>,
) -> Result<()> {
    let &[clips, frames, width] = out.shape() else {
        return Err(crate::error::Error::Shape {
            op: "attention",
            what: "out",
            expected: "[B, T, C]".into(),
            got: format!("{:?}", out.shape()),
        });
    };
    let head_dim = head_dim("attention", width, heads)?;
    let len = out.len();
    let mut launch = be.device.launch(if lengths.is_some() { "attention_within" } else { "attention" }, A::SUFFIX)?;
    launch.grid(frames.div_ceil(QUERIES), heads, clips).block(128);
    launch.output(&mut out.buf, len).input(&qkv.buf, qkv.len());
    if let Some(lengths) = lengths {
        launch.input(lengths, clips);
    }
    launch.int(frames).int(width).int(head_dim).float(scale);
    let work = Work { bytes: (4 * len * size_of::<A>()) as u64, flops: 4 * (len * frames) as u64 };
    // SAFETY: (1) out, qkv, [lengths,] frames, width, head_dim, scale, as attention.cu declares them; (2) it touches out
    // [B, T, C], qkv [B, T, 3 C] and lengths [B]; (3) blocks of 64 queries, for each head and clip.
    unsafe { launch.run(work) }
}
