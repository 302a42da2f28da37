//! `pack_results`: the results of each slot's search, packed into one row.

use super::Cpu;
use crate::engine::Tensor;
use crate::engine::decode::{DecodeState, result_column};

/// See [`SearchOps::pack_results`](crate::engine::backend::SearchOps::pack_results): `out` `[S, COUNT + K + G]`.
pub(super) fn pack_results(out: &mut Tensor<Cpu, i32>, state: &DecodeState<Cpu>) {
    let (beams, new_tokens, width) = (state.sizes.beams, state.sizes.new_tokens, state.sizes.result_width());
    for (slot, row) in out.buf.chunks_exact_mut(width).take(state.sizes.slots).enumerate() {
        row[result_column::DONE] = state.done.buf[slot];
        row[result_column::LENGTH] = state.best_length.buf[slot];
        row[result_column::SUM] = state.best_sum.buf[slot].to_bits() as i32;
        row[result_column::NO_SPEECH] = state.no_speech.buf[slot].to_bits() as i32;
        let (live, tokens) = row[result_column::COUNT..].split_at_mut(beams);
        live.copy_from_slice(&state.live.buf[slot * beams..][..beams]);
        tokens.copy_from_slice(&state.best_tokens.buf[slot * new_tokens..][..new_tokens]);
    }
}
