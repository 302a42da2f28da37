//! `list_rows`: gathers token and position of the active rows, before the next steps.

use super::Cuda;
use crate::engine::StepRows;
use crate::engine::decode::DecodeState;
use crate::engine::profile::Work;
use crate::error::Result;

/// See [`SearchOps::list_rows`](crate::engine::backend::SearchOps::list_rows).
pub(super) fn list_rows(be: &Cuda, rows: &mut StepRows<Cuda>, state: &DecodeState<Cuda>) -> Result<()> {
    let (count, all) = (rows.num_rows(), state.sizes.rows());
    let mut launch = be.device.launch("list_rows", "")?;
    launch.grid(count.div_ceil(128), 1, 1).block(128);
    launch.output(&mut rows.token.buf, count).output(&mut rows.position.buf, count).input(&rows.row.buf, count);
    launch.input(&state.token.buf, all).input(&state.position.buf, all).int(count).int(all);
    // SAFETY: (1) token, position, row, all_tokens, all_positions, count, num_rows, as list_rows.cu declares them; (2) it
    // touches token, position, row [R], the state's [S K], and follows no row outside of these; (3) a thread for each row.
    unsafe { launch.run(Work::bytes(5 * count * size_of::<i32>())) }
}
