//! `list_rows`: gathers token and position of the active rows, before the next steps.

use super::{Cpu, out_of_range};
use crate::engine::StepRows;
use crate::engine::decode::DecodeState;
use crate::error::Result;

/// See [`SearchOps::list_rows`](crate::engine::backend::SearchOps::list_rows).
pub(super) fn list_rows(rows: &mut StepRows<Cpu>, state: &DecodeState<Cpu>) -> Result<()> {
    for r in 0..rows.num_rows() {
        let row = usize::try_from(rows.row.buf[r]).ok().filter(|row| *row < state.sizes.rows());
        let row = row.ok_or_else(|| out_of_range("list_rows", "row", state.sizes.rows(), rows.row.buf[r]))?;
        rows.token.buf[r] = state.token.buf[row];
        rows.position.buf[r] = state.position.buf[row];
    }
    Ok(())
}
