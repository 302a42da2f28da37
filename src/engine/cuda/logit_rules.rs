//! `logit_rules`: sets the logits of tokens that the decoding rules forbid to -inf.

use super::Cuda;
use super::search::SearchState;
use crate::engine::decode::DecodeState;
use crate::engine::profile::Work;
use crate::engine::{StepRows, Tensor};
use crate::error::Result;

/// See [`SearchOps::logit_rules`](crate::engine::backend::SearchOps::logit_rules): `logits` `[R, V]`.
pub(super) fn logit_rules(
    be: &Cuda,
    logits: &mut Tensor<Cuda, f32>,
    rows: &StepRows<Cuda>,
    state: &DecodeState<Cuda>,
) -> Result<()> {
    let (count, vocab, len) = (rows.num_rows(), logits.width(), logits.len());
    let mut launch = be.device.launch("logit_rules_step", "")?;
    let search = SearchState::new(&mut launch, state, Some(vocab))?;
    launch.grid(count, 1, 1).block(512);
    launch.output(&mut logits.buf, len).input(&rows.row.buf, count).record(&search).int(vocab);
    // With timestamps enabled, every logit is read twice and some are written.
    let work = Work::bytes(3 * len * size_of::<f32>());
    // SAFETY: (1) logits, rows, state, vocab, as logit_rules.cu declares them; (2) it touches logits [R, V], rows [R], the
    // arrays of `SearchState`, whose lengths it checked, and no token outside of V, which is the contract of
    // `ops::logit_rules`; (3) a block for each of R rows.
    unsafe { launch.run(work) }
}
