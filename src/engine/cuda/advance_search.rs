//! `advance_search`: advances greedy search, sampling or beam search by one step.

use super::Cuda;
use super::search::SearchState;
use crate::engine::StepRows;
use crate::engine::decode::DecodeState;
use crate::engine::profile::Work;
use crate::error::Result;

/// See [`SearchOps::advance_search`](crate::engine::backend::SearchOps::advance_search).
pub(super) fn advance_search(be: &Cuda, rows: &mut StepRows<Cuda>, state: &mut DecodeState<Cuda>) -> Result<()> {
    let (count, sizes) = (rows.num_rows(), state.sizes);
    let mut launch = be.device.launch("advance_search_step", "")?;
    let search = SearchState::new(&mut launch, state, None)?;
    launch.grid(sizes.slots, 1, 1).block(128);
    launch.input(&rows.row.buf, count);
    launch.output(&mut rows.token.buf, count).output(&mut rows.position.buf, count);
    launch.record(&search).int(count);
    let moved = sizes.rows() * (sizes.new_tokens + sizes.positions);
    // SAFETY: (1) rows, tokens, positions, state, num_rows, as advance_search.cu declares them; (2) it touches rows, tokens,
    // positions [R], and the arrays of `SearchState`, whose lengths it checked and which `state`, borrowed mutably, owns;
    // (3) a block for each slot.
    unsafe { launch.run(Work::bytes(2 * moved * size_of::<i32>())) }
}
