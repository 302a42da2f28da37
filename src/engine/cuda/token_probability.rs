//! `token_probability`: the softmax probability of one token in some rows of logits.

use super::Cuda;
use crate::engine::Tensor;
use crate::engine::profile::Work;
use crate::error::Result;

/// See [`SearchOps::token_probability`](crate::engine::backend::SearchOps::token_probability): `out` `[S]`, `logits`
/// `[R, V]`, `slot` `[R]`, `token` below `V`.
pub(super) fn token_probability(
    be: &Cuda,
    out: &mut Tensor<Cuda, f32>,
    logits: &Tensor<Cuda, f32>,
    slot: &Tensor<Cuda, i32>,
    token: usize,
) -> Result<()> {
    let (rows, vocab, slots) = (slot.len(), logits.width(), out.len());
    let mut launch = be.device.launch("token_probability", "")?;
    launch.grid(rows, 1, 1).block(256);
    launch.output(&mut out.buf, slots).input(&logits.buf, rows * vocab).input(&slot.buf, rows);
    launch.int(slots).int(vocab).int(token);
    // SAFETY: (1) out, logits, slot, slots, vocab, token, as token_probability.cu declares them; (2) it touches logits
    // [R, V], slot [R], and of out only what lies in [S]; `ops` saw to it that token < V; (3) a block for each of R rows.
    unsafe { launch.run(Work::bytes(rows * vocab * size_of::<f32>())) }
}
