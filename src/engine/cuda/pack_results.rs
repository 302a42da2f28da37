//! `pack_results`: collects what the host reads back of the searches into one array.

use super::Cuda;
use super::search::SearchState;
use crate::engine::Tensor;
use crate::engine::decode::DecodeState;
use crate::engine::profile::Work;
use crate::error::Result;

/// See [`SearchOps::pack_results`](crate::engine::backend::SearchOps::pack_results): `out` `[S, COUNT + K + G]`.
pub(super) fn pack_results(be: &Cuda, out: &mut Tensor<Cuda, i32>, state: &DecodeState<Cuda>) -> Result<()> {
    let (slots, len) = (state.sizes.slots, state.sizes.slots * state.sizes.result_width());
    let mut launch = be.device.launch("pack_results", "")?;
    let search = SearchState::new(&mut launch, state, None)?;
    launch.grid(slots, 1, 1).block(128);
    launch.output(&mut out.buf, len).input(&state.no_speech.buf, slots).record(&search);
    // SAFETY: (1) out, no_speech, state, as pack_results.cu declares them; (2) it touches out [S, 4 + K + G], no_speech
    // [S], and the arrays of `SearchState`, whose lengths it checked; (3) a block for each slot.
    unsafe { launch.run(Work::bytes(2 * len * size_of::<i32>())) }
}
