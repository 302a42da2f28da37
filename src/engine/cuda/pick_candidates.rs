//! `pick_candidates`: the best tokens of each row, or sampled ones.

use super::Cuda;
use super::search::SearchState;
use crate::engine::decode::DecodeState;
use crate::engine::profile::Work;
use crate::engine::{StepRows, Tensor};
use crate::error::Result;

/// See [`SearchOps::pick_candidates`](crate::engine::backend::SearchOps::pick_candidates): `logits` `[R, V]`.
pub(super) fn pick_candidates(
    be: &Cuda,
    state: &mut DecodeState<Cuda>,
    logits: &Tensor<Cuda, f32>,
    rows: &StepRows<Cuda>,
) -> Result<()> {
    let (count, vocab, len) = (rows.num_rows(), logits.width(), logits.len());
    let mut launch = be.device.launch("pick_candidates_step", "")?;
    let search = SearchState::new(&mut launch, state, Some(vocab))?;
    launch.grid(count, 1, 1).block(512);
    launch.record(&search).input(&logits.buf, len).input(&rows.row.buf, count).int(vocab);
    let work = Work::bytes(3 * len * size_of::<f32>());
    // SAFETY: (1) state, logits, rows, vocab, as pick_candidates.cu declares them; (2) it touches logits [R, V], rows [R],
    // and the arrays of `SearchState`, whose lengths it checked and which `state`, borrowed mutably, owns; (3) a block for
    // each of R rows.
    unsafe { launch.run(work) }
}
